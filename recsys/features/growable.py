"""A numpy array that grows at the end at constant cost per element, where it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recsys.features.mapped import ROOM
from recsys.features.reserved import reserve

#: From here on a copy takes longer than a group of events may.
_RESERVED_BYTES: Final = 4 << 20
#: Rows that are filled ahead.
_FILLED_AHEAD: Final = 4096


class Growable:
    """Rows of one dtype and shape; new rows start at a fill value.

    Args:
        dtype: Of the elements.
        fill: Value of rows that were never written.
        shape: Of one row; empty for a one-dimensional array.
    """

    __slots__ = ("_address", "_buffer", "_fill", "_filled", "_size")

    def __init__(self, dtype: DTypeLike, fill: float, shape: tuple[int, ...] = ()) -> None:
        self._fill = fill
        self._size = self._filled = 0
        self._hold(np.full((0, *shape), fill, dtype=dtype))

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> NDArray[Any]:
        """A writable view of all rows; valid until the next growth."""
        return self._buffer[: self._size]

    @property
    def address(self) -> int:
        """Where the rows begin in memory; valid until the next growth."""
        return self._address

    @property
    def buffer(self) -> NDArray[Any]:
        """The rows and the room behind them; who reads at the address keeps this alive."""
        return self._buffer

    def resize(self, size: int) -> None:
        """Grow to `size` rows; never shrinks."""
        if size > len(self._buffer):
            self._move(size)
        if size > self._filled:
            end = min(len(self._buffer), size + _FILLED_AHEAD)
            self._buffer[self._filled : end] = self._fill
            self._filled = end
        self._size = max(self._size, size)

    def extend(self, values: NDArray[Any]) -> None:
        """Add rows at the end."""
        start = self._size
        self.resize(start + len(values))
        self._buffer[start : self._size] = values

    def restore(self, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
        """Become an array of a snapshot without copying it; grow into the room that it has.

        Args:
            arrays: Of the snapshot; nobody else may change them.
            name: Of the array.
        """
        rows = arrays[name]
        self._size = len(rows)
        self._hold(arrays.get(name + ROOM, rows))
        self._filled = self._size

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Set rows back to the fill value."""
        self._buffer[rows] = self._fill

    def reorder(self, rows: NDArray[np.integer]) -> None:
        """Keep some rows only, in another order, and no room beyond them."""
        self._hold(self._buffer[rows])
        self._size = self._filled = len(rows)

    def _move(self, size: int) -> None:
        """Copy the rows to where `size` of them find room, a large array once for all."""
        # Where no addresses can be had: half of a gigabyte unused would be too much.
        n_rows = max(size, 64, min(2 * self._size, self._size + self._size // 4 + 65_536))
        shape, dtype = self._buffer.shape[1:], self._buffer.dtype
        row_bytes = dtype.itemsize * math.prod(shape)
        memory = reserve(n_rows * row_bytes) if n_rows * row_bytes >= _RESERVED_BYTES else None
        if memory is None:
            buffer = np.empty((n_rows, *shape), dtype)
        else:
            buffer = np.ndarray((len(memory) // row_bytes, *shape), dtype, memory)
        buffer[: self._size] = self._buffer[: self._size]
        self._filled = self._size
        self._hold(buffer)

    def _hold(self, buffer: NDArray[Any]) -> None:
        self._buffer = buffer
        # Asked for at every growth, not at every read: to ask costs more than a compiled loop.
        self._address: int = buffer.__array_interface__["data"][0]
