"""A numpy array that grows at the end at constant cost per element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recsys.features.mapped import ROOM


class Growable:
    """Rows of one dtype and shape; new rows start at a fill value.

    Args:
        dtype: Of the elements.
        fill: Value of rows that were never written.
        shape: Of one row; empty for a one-dimensional array.
    """

    __slots__ = ("_address", "_buffer", "_fill", "_size")

    def __init__(self, dtype: DTypeLike, fill: float, shape: tuple[int, ...] = ()) -> None:
        self._fill = fill
        self._size = 0
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
            # Large arrays grow by less: half of a gigabyte unused is too much.
            room = max(size, 64, min(2 * self._size, self._size + self._size // 4 + 65_536))
            buffer = np.full((room, *self._buffer.shape[1:]), self._fill, dtype=self._buffer.dtype)
            buffer[: self._size] = self._buffer[: self._size]
            self._hold(buffer)
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
        if self._fill != 0:
            self._buffer[self._size :] = self._fill

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Set rows back to the fill value."""
        self._buffer[rows] = self._fill

    def reorder(self, rows: NDArray[np.integer]) -> None:
        """Keep some rows only, in another order, and no room beyond them."""
        self._hold(self._buffer[rows])
        self._size = len(rows)

    def _hold(self, buffer: NDArray[Any]) -> None:
        self._buffer = buffer
        # Asked for at every growth, not at every read: to ask costs more than a compiled loop.
        self._address: int = buffer.__array_interface__["data"][0]
