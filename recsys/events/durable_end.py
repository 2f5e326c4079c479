"""Up to where a spool file is durable, told by its writer to other processes through a lock.

A batch that could not be brought to disk is cut off again, so nobody else may act on bytes before
their `fsync`. The writer holds a lock on every byte from its last synchronised one on; a reader
asks the system where that lock begins. It costs one system call a commit, needs no other file, and
ends with the process: what a killed writer left behind is then everybody's.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

#: `struct flock` of Linux on 64 bits: type, whence, start, length (0: to the end), process.
_FLOCK: Final = struct.Struct("hhqqi4x")
#: Elsewhere there are no such locks, and a reader sees what was written.
_HAS_LOCKS: Final = hasattr(fcntl, "F_OFD_SETLK")


def hold_all(file: int) -> None:
    """Mark a new file, open for writing: nothing in it is durable."""
    if _HAS_LOCKS:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))


def release_to(file: int, end: int) -> None:
    """Mark everything before a position as durable."""
    if _HAS_LOCKS and end:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, end, 0))


def durable_end(file: int) -> tuple[int, bool]:
    """Ask how far a file may be read.

    Args:
        file: Open for reading.

    Returns:
        A position, and whether its writer lives.
    """
    if _HAS_LOCKS:
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, start, _, _ = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
        if kind != fcntl.F_UNLCK:
            return int(start), True
    return os.fstat(file).st_size, False
