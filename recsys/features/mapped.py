"""Arrays in one file that processes map into memory instead of reading it: they share its pages.

Each process sees a private copy that is made page by page where it writes (copy on write), so
workers that start from one snapshot hold once what none of them has changed. Behind every large
array addresses are reserved, so that it can grow where it lies.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.reserved import reserve_over

#: Beside the name of an array: the same rows and the room behind them.
ROOM: Final = "+"
#: Arrays from this size on have pages of their own, and room behind them.
_LARGE_BYTES: Final = 65_536
_ALIGNED: Final = 64


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Where an array lies.

    Args:
        name: Its name.
        dtype: As numpy writes it.
        shape: Of its rows.
        offset: Of its first byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> list[StoredArray]:
    """Write arrays durably.

    Args:
        path: A new file.
        arrays: By name.

    Returns:
        Where each of them lies.
    """
    stored, end = [], 0
    with path.open("xb") as file:
        for name, array in arrays.items():
            step = mmap.PAGESIZE if array.nbytes >= _LARGE_BYTES else _ALIGNED
            offset = _round_up(end, step)
            stored.append(StoredArray(name, array.dtype.str, array.shape, offset))
            file.seek(offset)
            file.write(np.ascontiguousarray(array).data)
            end = _round_up(offset + array.nbytes, step)
        file.truncate(max(end, 1))
        file.flush()
        os.fsync(file.fileno())
    return stored


def map_arrays(path: Path, stored: list[StoredArray]) -> dict[str, NDArray[Any]]:
    """Map what `write_arrays` wrote; whole and unchanged, its caller has seen to that.

    Args:
        path: The file; it may be removed or replaced by another one afterwards.
        stored: Where the arrays lie.

    Returns:
        By name: arrays that can be written, without anybody else seeing it; and by the name with
        `ROOM` behind it the rows of a large array together with the room, where there is any.
    """
    found: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        for array in stored:
            rows: NDArray[Any] = np.ndarray(array.shape, array.dtype, whole, array.offset)
            is_large = rows.nbytes >= _LARGE_BYTES
            room = with_room(file.fileno(), array.offset, rows) if is_large else None
            if room is not None:
                found[array.name + ROOM], rows = room, room[: len(rows)]
            found[array.name] = rows
    return found


def with_room(file: int, offset: int, rows: NDArray[Any]) -> NDArray[Any] | None:
    """Map an array of a file once more, with addresses behind it.

    Args:
        file: Descriptor; may be closed afterwards.
        offset: Of the array's first byte.
        rows: The array.

    Returns:
        The same rows and room for many times as many; None where that cannot be had.
    """
    before = offset % mmap.PAGESIZE  # of the page in which the array begins
    memory = reserve_over(file, offset - before, rows.nbytes + before) if rows.nbytes else None
    if memory is None:
        return None
    n_rows = (len(memory) - before) * len(rows) // rows.nbytes
    return np.ndarray((n_rows, *rows.shape[1:]), rows.dtype, memory, before)


def _round_up(n_bytes: int, step: int) -> int:
    return -(-n_bytes // step) * step
