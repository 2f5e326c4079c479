"""Address space set aside for an array, so that it grows where it lies and is never copied.

To copy a table of a gigabyte takes a second in which nobody is served. Reserved addresses cost
nothing until they are written to: no memory, and no share of what a container may take. They count
as virtual size (`VIRT` in `top`). Where the system counts them as memory (`overcommit_memory` 2),
limits them (`ulimit -v`), or is not Linux, nothing is reserved and arrays are copied to grow.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

#: Addresses per byte in use: the whole address space of a process, 128 TiB, is then reached when
#: 512 GiB are in use.
_SHARE: Final = 256
#: Of Linux; Python 3.11 does not name them.
_MAP_FIXED: Final = 0x10
_MAP_NORESERVE: Final = 0x4000
_STRICT: Final = "2"


def reserve(n_bytes: int) -> mmap.mmap | None:
    """Set addresses aside for an array that will grow.

    Args:
        n_bytes: What it takes now.

    Returns:
        Zeros, many times as many; None where that cannot be had.
    """
    if not _can_reserve():
        return None
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        memory = mmap.mmap(-1, n_bytes * _SHARE, flags=flags)
    except (OSError, OverflowError):
        return None
    with contextlib.suppress(OSError):  # a system without them
        # As numpy does: folds and reads go to any place of a table.
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def reserve_over(file: int, offset: int, n_bytes: int) -> mmap.mmap | None:
    """Set addresses aside for an array that lies in a file, and map it at their beginning.

    Args:
        file: Descriptor; may be closed afterwards.
        offset: Where the array begins in it, at a page.
        n_bytes: What it takes there.

    Returns:
        A private copy of the file's bytes (copy on write), and behind them zeros up to many times
        as many; the rest of the last page is the file's. None where that cannot be had.
    """
    memory = reserve(n_bytes)
    if memory is None:
        return None
    address = np.frombuffer(memory, dtype=np.uint8).__array_interface__["data"][0]
    access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _MAP_FIXED
    placed = _mmap()(address, n_bytes, access, flags, file, offset)
    return memory if placed == address else None


@cache
def _can_reserve() -> bool:
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return False
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() != _STRICT
    except OSError:
        return False


@cache
def _mmap() -> Callable[..., int]:
    # Python's own call chooses the address itself.
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    return call
