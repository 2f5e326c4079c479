"""Where the state has its tables in memory, written down for compiled loops over many of them.

A request reads some forty aggregates by a dozen keys, and an event changes as many. One compiled
call each would cost more than the work itself: arrays are checked and unpacked for every call. Here
the places of all tables are written down once, as addresses, for one loop over all.

Addresses hold until a table grows, so whoever has them takes new ones after every change of the
state (`Tables.refresh`), which looks at what has moved only. The arrays behind them are kept alive
here all the same: at worst a read would be old, never of memory that is somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from recsys.features.cells import Cells
from recsys.features.compiled import compiled
from recsys.features.entities import Entities
from recsys.features.growable import Growable
from recsys.features.keys import Key
from recsys.features.state import KeyState

#: Objects of numba's compiler, which has no types.
_Numba: TypeAlias = Any

# Columns of the table of keys. An address is followed by the length of the array, and is read by
# the functions below.
PART: Final = 0  # which part of the item is in the key: one of the three below
COMBINED: Final = 1
N_SLOTS: Final = 2
_OFFSETS: Final = 3
_CODES: Final = 5
_BLOCK_CODES: Final = 7
_BLOCK_OFFSETS: Final = 9
_BLOCK_LOGS: Final = 11
_BLOCK_SIZES: Final = 13
N_CODES: Final = 15
FIRST_CELLS: Final = 16
END_CELLS: Final = 17
_KEY_COLUMNS: Final = 18
NO_PART: Final = 0
ITEM: Final = 1
ATTRIBUTE: Final = 2

# Columns of the table of cells.
FOLD: Final = 0
IS_WHOLE: Final = 1
_NUMBERS: Final = 2
_WIDTH: Final = 4
_MARKS: Final = 5
_MARKS_WIDTH: Final = 7
STEP: Final = 8
_CELL_COLUMNS: Final = 9


class Tables:
    """Tables of some keys, and of some cells of each.

    Args:
        chosen: Keys and their cells.
        items: The catalogue, whose attributes may be part of keys.
    """

    def __init__(self, chosen: Sequence[tuple[KeyState, Sequence[Cells]]], items: Entities) -> None:
        self._chosen = chosen
        self._items = items
        cells = [one for _, found in chosen for one in found]
        #: int64 (n_keys, ...): a row per key; see the columns above.
        self.keys: NDArray[np.int64] = np.zeros((len(chosen), _KEY_COLUMNS), dtype=np.int64)
        #: int64 (n_cells, ...): a row per aggregate, those of one key side by side.
        self.cells: NDArray[np.int64] = np.zeros((len(cells), _CELL_COLUMNS), dtype=np.int64)
        #: float64 (n_cells,): of decayed folds.
        self.half_lives: NDArray[np.float64] = np.array([one.half_life_s for one in cells])
        self._seen = (-1, -1)
        self._n_moves = [-1] * len(chosen)
        self._alive: list[list[NDArray[Any]]] = [[] for _ in chosen]
        self._attributes: list[list[NDArray[Any]]] = [[] for _ in chosen]
        self._begin()
        self.refresh()

    def refresh(self) -> None:
        """Take the addresses of what has moved anew; the state has changed."""
        items = self._items
        seen = (len(items.ids), len(items))
        if seen != self._seen:
            self._seen = seen
            for number, (state, _) in enumerate(self._chosen):
                self._note_items(number, state.key)
        for number, (state, found) in enumerate(self._chosen):
            if self._n_moves[number] != state.n_moves:
                self._n_moves[number] = state.n_moves
                self._note_key(number, state, found)

    def _begin(self) -> None:
        """Write down what never changes."""
        n_cells = 0
        for row, (state, found) in zip(self.keys, self._chosen, strict=True):
            key = state.key
            row[PART] = NO_PART if not key.item else ATTRIBUTE if key.item_attribute else ITEM
            row[COMBINED] = key.combined
            row[FIRST_CELLS], row[END_CELLS] = n_cells, n_cells + len(found)
            for cells in found:
                where, held = self.cells[n_cells], cells.state
                where[FOLD], where[STEP] = held.code, held.step
                where[IS_WHOLE] = held.numbers.dtype == np.uint32
                where[_WIDTH], where[_MARKS_WIDTH] = held.numbers.shape[1], held.marks.shape[1]
                n_cells += 1

    def _note_items(self, number: int, key: Key) -> None:
        alive: list[NDArray[Any]] = []
        row = self.keys[number]
        row[N_CODES] = len(self._items.ids)
        if key.item_attribute:
            known = self._items.codes(key.item_attribute)
            row[N_CODES] = len(known.values)
            offsets, codes = known.columns
            _note(row, _OFFSETS, offsets, alive)
            _note(row, _CODES, codes, alive)
        self._attributes[number] = alive

    def _note_key(self, number: int, state: KeyState, found: Sequence[Cells]) -> None:
        alive: list[NDArray[Any]] = []
        row = self.keys[number]
        row[N_SLOTS] = state.n_slots
        if state.blocks is not None:
            codes, offsets, logs, sizes = state.blocks.columns
            _note(row, _BLOCK_CODES, codes, alive)
            _note(row, _BLOCK_OFFSETS, offsets, alive)
            _note(row, _BLOCK_LOGS, logs, alive)
            _note(row, _BLOCK_SIZES, sizes, alive)
        places = self.cells[row[FIRST_CELLS] : row[END_CELLS]]
        for cells, where in zip(found, places, strict=True):
            _note(where, _NUMBERS, cells.numbers, alive)
            _note(where, _MARKS, cells.marks, alive)
        self._alive[number] = alive


def _note(row: NDArray[np.int64], column: int, table: Growable, alive: list[NDArray[Any]]) -> None:
    row[column] = table.address
    row[column + 1] = len(table)
    alive.append(table.buffer)


def _to_pointer(_context: _Numba, _address: _Numba) -> _Numba:
    def generate(_: _Numba, builder: _Numba, __: _Numba, arguments: _Numba) -> _Numba:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


#: In compiled code: the pointer that an address means, and the array that begins there.
_pointer: _Numba = intrinsic(_to_pointer)
_array_at: _Numba = numba.carray  # type: ignore[attr-defined]  # it is, if not by name


@compiled
def attribute_of(key: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Give the values of the attribute in a key; see `MultiCodes.ragged`.

    Returns:
        Offsets and codes; empty where there is no attribute in it.
    """
    offsets = _array_at(_pointer(key[_OFFSETS]), key[_OFFSETS + 1], np.int64)
    return offsets, _array_at(_pointer(key[_CODES]), key[_CODES + 1], np.int32)


@compiled
def blocks_of(
    key: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int8], NDArray[np.int32]]:
    """Give the blocks of a combined key; see `Blocks.columns`.

    Returns:
        Codes, offsets, logs and sizes.
    """
    return (
        _array_at(_pointer(key[_BLOCK_CODES]), key[_BLOCK_CODES + 1], np.int32),
        _array_at(_pointer(key[_BLOCK_OFFSETS]), key[_BLOCK_OFFSETS + 1], np.int64),
        _array_at(_pointer(key[_BLOCK_LOGS]), key[_BLOCK_LOGS + 1], np.int8),
        _array_at(_pointer(key[_BLOCK_SIZES]), key[_BLOCK_SIZES + 1], np.int32),
    )


@compiled
def counts_of(cells: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Give the numbers of cells that are whole.

    Returns:
        uint32 (n_slots, width).
    """
    shape = (cells[_NUMBERS + 1], cells[_WIDTH])
    found: NDArray[np.uint32] = _array_at(_pointer(cells[_NUMBERS]), shape, np.uint32)
    return found


@compiled
def sums_of(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the numbers of cells that are not whole.

    Returns:
        float64 (n_slots, width).
    """
    shape = (cells[_NUMBERS + 1], cells[_WIDTH])
    found: NDArray[np.float64] = _array_at(_pointer(cells[_NUMBERS]), shape, np.float64)
    return found


@compiled
def marks_of(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the marks of cells.

    Returns:
        int64 (n_slots, width).
    """
    shape = (cells[_MARKS + 1], cells[_MARKS_WIDTH])
    found: NDArray[np.int64] = _array_at(_pointer(cells[_MARKS]), shape, np.int64)
    return found
