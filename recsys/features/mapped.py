"""Arrays in one file that processes map into memory instead of reading it: they share its pages.

Each process sees a private copy that is made page by page where it writes (copy on write), so
workers that start from one snapshot hold once what none of them has changed. Behind every large
array there is room, so that it can grow where it lies: one that had to be moved to grow would be
copied as a whole. The room is a hole in the file, which takes no place on disk.
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

#: Beside the name of an array: the same rows and the room behind them.
ROOM: Final = "+"
#: Arrays from this size on begin at a page of their own, and have room.
_LARGE_BYTES: Final = 65_536
_ROOM_SHARE: Final = 8
_ALIGNED: Final = 64


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Where an array lies.

    Args:
        name: Its name.
        dtype: As numpy writes it.
        shape: Of its rows.
        n_room: Rows that there is room for, its own included.
        offset: Of its first byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    n_room: int
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
            is_large = array.nbytes >= _LARGE_BYTES
            n_room = len(array) + (len(array) // _ROOM_SHARE if is_large else 0)
            step = mmap.PAGESIZE if is_large else _ALIGNED
            offset = -(-end // step) * step
            stored.append(StoredArray(name, array.dtype.str, array.shape, n_room, offset))
            file.seek(offset)
            file.write(np.ascontiguousarray(array).data)
            row_bytes = array.nbytes // len(array) if len(array) else 0
            end = offset + n_room * row_bytes
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
        `ROOM` behind it the rows of an array together with the room.
    """
    found: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    for array in stored:
        shape = (array.n_room, *array.shape[1:])
        room: NDArray[Any] = np.ndarray(shape, array.dtype, memory, array.offset)
        found[array.name] = room[: array.shape[0]]
        found[array.name + ROOM] = room
    return found
