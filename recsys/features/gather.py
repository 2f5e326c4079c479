"""Many aggregates of a batch of requests in one compiled call.

A request reads some forty aggregates by a dozen keys. One call each would cost more than the reads
themselves: arrays are checked and unpacked for every call. Here the places of all tables are
written down once, as addresses, and every request goes through them in one loop.

Addresses hold until a table grows, so the owner takes new ones after every change of the state
(`Gather.refresh`). The arrays behind them are kept alive here all the same: at worst a read would
be old, never of memory that is somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from recsys.features import folds
from recsys.features.blocks import look_up_owner
from recsys.features.compiled import compiled
from recsys.features.fold_walk import read_all
from recsys.features.keys import Key
from recsys.features.pairs import MISSING, Sources
from recsys.features.state import KeyState
from recsys.features.vocabulary import Aggregate

#: Objects of numba's compiler, which has no types.
_Numba: TypeAlias = Any

# Columns of the table of keys. An address is followed by the length of the array.
_PART: Final = 0  # which part of the item is in the key: one of the three below
_COMBINED: Final = 1
_N_SLOTS: Final = 2
_OFFSETS: Final = 3
_CODES: Final = 5
_BLOCK_CODES: Final = 7
_BLOCK_OFFSETS: Final = 9
_BLOCK_LOGS: Final = 11
_N_CODES: Final = 13
_FIRST_CELLS: Final = 14
_END_CELLS: Final = 15
_KEY_COLUMNS: Final = 16
_NO_PART: Final = 0
_ITEM: Final = 1
_ATTRIBUTE: Final = 2

# Columns of the table of cells.
_FOLD: Final = 0
_IS_WHOLE: Final = 1
_NUMBERS: Final = 2
_WIDTH: Final = 4
_MARKS: Final = 5
_MARKS_WIDTH: Final = 7
_STEP: Final = 8
_REDUCE: Final = 9
_OUT: Final = 10
_CELL_COLUMNS: Final = 11


class Gather:
    """Reads one set of aggregates.

    Args:
        aggregates: What is read, in this order.
        keys: State by key; has all of them.
        sources: Where attributes come from.
    """

    def __init__(
        self, aggregates: Sequence[Aggregate], keys: Mapping[str, KeyState], sources: Sources
    ) -> None:
        self.aggregates = tuple(aggregates)
        self._sources = sources
        by_key: dict[str, list[int]] = {}
        for position, aggregate in enumerate(aggregates):
            by_key.setdefault(aggregate.by, []).append(position)
        self._states = [(keys[by], positions) for by, positions in by_key.items()]
        self.keys: tuple[Key, ...] = tuple(state.key for state, _ in self._states)
        self._alive: list[NDArray[Any]] = []
        self._keys = np.zeros((len(self._states), _KEY_COLUMNS), dtype=np.int64)
        self._cells = np.zeros((len(aggregates), _CELL_COLUMNS), dtype=np.int64)
        self._half_lives = np.ones(len(aggregates))
        self.refresh()

    @property
    def needs_versions(self) -> bool:
        """Whether attributes of items are part of a key."""
        return any(key.item_attribute for key in self.keys)

    def refresh(self) -> None:
        """Take the addresses of all tables anew; the state has changed."""
        alive: list[NDArray[Any]] = []
        n_cells = 0
        for row, (state, positions) in zip(self._keys, self._states, strict=True):
            self._refresh_key(row, state, alive)
            row[_FIRST_CELLS], row[_END_CELLS] = n_cells, n_cells + len(positions)
            for position in positions:
                self._refresh_cells(n_cells, state, position, alive)
                n_cells += 1
        self._alive = alive

    def read(
        self,
        owners: NDArray[np.int32],
        items: NDArray[np.int32],
        versions: NDArray[np.int32],
        offsets: NDArray[np.int64],
        as_of: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Read everything.

        Args:
            owners: int32 (n_keys, n_requests): the request's part of each key; 0 where it has none.
            items: int32 (n_candidates,): item rows.
            versions: int32 (n_candidates,): version rows of the items; empty: no key asks.
            offsets: int64 (n_requests + 1,): candidates of each request.
            as_of: int64 (n_requests,).

        Returns:
            float64 (n_aggregates, n_candidates): NaN where it is missing.
        """
        out = np.empty((len(self.aggregates), len(items)))
        _read_keys(
            self._keys, self._cells, self._half_lives, owners, items, versions, offsets, as_of, out
        )
        return out

    def _refresh_key(
        self, row: NDArray[np.int64], state: KeyState, alive: list[NDArray[Any]]
    ) -> None:
        key = state.key
        row[_PART] = _NO_PART if not key.item else _ATTRIBUTE if key.item_attribute else _ITEM
        row[_COMBINED] = key.combined
        row[_N_SLOTS] = state.n_slots
        row[_N_CODES] = len(self._sources.items.ids)
        if key.item_attribute:
            known = self._sources.items.codes(key.item_attribute)
            offsets, codes = known.ragged
            row[_N_CODES] = len(known.values)
            _note(row, _OFFSETS, offsets, alive)
            _note(row, _CODES, codes, alive)
        if state.blocks is not None:
            block_codes, block_offsets, block_logs = state.blocks.tables
            _note(row, _BLOCK_CODES, block_codes, alive)
            _note(row, _BLOCK_OFFSETS, block_offsets, alive)
            _note(row, _BLOCK_LOGS, block_logs, alive)

    def _refresh_cells(
        self, n: int, state: KeyState, position: int, alive: list[NDArray[Any]]
    ) -> None:
        aggregate, row = self.aggregates[position], self._cells[n]
        cells = state.cells(aggregate).state
        row[_FOLD], row[_STEP] = cells.code, cells.step
        row[_IS_WHOLE] = cells.numbers.dtype == np.uint32
        _note(row, _NUMBERS, cells.numbers, alive)
        row[_WIDTH] = cells.numbers.shape[1]
        _note(row, _MARKS, cells.marks, alive)
        row[_MARKS_WIDTH] = cells.marks.shape[1]
        row[_REDUCE], row[_OUT] = folds.REDUCE_CODES[aggregate.reduce], position
        self._half_lives[n] = cells.half_life_s


def _note(
    row: NDArray[np.int64], column: int, array: NDArray[Any], alive: list[NDArray[Any]]
) -> None:
    row[column] = array.__array_interface__["data"][0]
    row[column + 1] = len(array)
    alive.append(array)


def _to_pointer(_context: _Numba, _address: _Numba) -> _Numba:
    def generate(_: _Numba, builder: _Numba, __: _Numba, arguments: _Numba) -> _Numba:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


#: In compiled code: the pointer that an address means, and the array that begins there.
_pointer: _Numba = intrinsic(_to_pointer)
_array: _Numba = numba.carray  # type: ignore[attr-defined]  # it is, if not by name


@compiled
def _read_keys(
    keys: NDArray[np.int64],
    cells: NDArray[np.int64],
    half_lives: NDArray[np.float64],
    owners: NDArray[np.int32],
    items: NDArray[np.int32],
    versions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    as_of: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    n_requests = len(as_of)
    requests, asking = np.arange(n_requests), np.empty(len(items), dtype=np.int64)
    for request in range(n_requests):
        asking[offsets[request] : offsets[request + 1]] = request
    per_request = np.empty(n_requests)
    for k in range(len(keys)):
        part, first, end = keys[k, _PART], keys[k, _FIRST_CELLS], keys[k, _END_CELLS]
        if part == _NO_PART:
            starts, slots = _owner_slots(keys[k], owners[k])
            for n in range(first, end):
                _read_cells(cells[n], half_lives[n], starts, slots, requests, as_of, per_request)
                for c in range(len(items)):
                    out[cells[n, _OUT], c] = per_request[asking[c]]
            continue
        if part == _ATTRIBUTE:
            starts, codes = _codes_by_attribute(keys[k], owners[k], versions, asking)
        else:
            starts, codes = _codes_of_items(owners[k], items, asking)
        slots = _code_slots(keys[k], owners[k], starts, codes, offsets)
        for n in range(first, end):
            _read_cells(cells[n], half_lives[n], starts, slots, asking, as_of, out[cells[n, _OUT]])


@compiled
def _owner_slots(
    key: NDArray[np.int64], owners: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the one cell of each request; one without an owner has none.

    Returns:
        Where cells of each request begin, and cells.
    """
    starts = np.zeros(len(owners) + 1, dtype=np.int64)
    slots = np.empty(len(owners), dtype=np.int32)
    for request in range(len(owners)):
        n, owner = starts[request], owners[request]
        if owner != MISSING:
            slots[n] = owner if 0 <= owner < key[_N_SLOTS] else -1
            n += 1
        starts[request + 1] = n
    return starts, slots


@compiled
def _codes_of_items(
    owners: NDArray[np.int32], items: NDArray[np.int32], asking: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the item's part of the key of each candidate; none where its request has no owner.

    Returns:
        Where codes of each candidate begin, and codes.
    """
    starts = np.zeros(len(items) + 1, dtype=np.int64)
    codes = np.empty(len(items), dtype=np.int32)
    for c in range(len(items)):
        n = starts[c]
        if owners[asking[c]] != MISSING:
            codes[n] = items[c]
            n += 1
        starts[c + 1] = n
    return starts, codes[: starts[-1]]


@compiled
def _codes_by_attribute(
    key: NDArray[np.int64],
    owners: NDArray[np.int32],
    versions: NDArray[np.int32],
    asking: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the item's parts of the keys of each candidate, one per value of the attribute.

    Returns:
        Where codes of each candidate begin, and codes.
    """
    offsets = _array(_pointer(key[_OFFSETS]), key[_OFFSETS + 1], np.int64)
    codes = _array(_pointer(key[_CODES]), key[_CODES + 1], np.int32)
    starts = np.zeros(len(versions) + 1, dtype=np.int64)
    for c in range(len(versions)):
        version = versions[c]
        n = offsets[version + 1] - offsets[version] if version >= 0 else 0
        starts[c + 1] = starts[c] + (n if owners[asking[c]] != MISSING else 0)
    found = np.empty(starts[-1], dtype=np.int32)
    for c in range(len(versions)):
        if starts[c + 1] > starts[c]:
            first = offsets[versions[c]]
            for i in range(starts[c + 1] - starts[c]):
                found[starts[c] + i] = codes[first + i]
    return starts, found


@compiled
def _code_slots(
    key: NDArray[np.int64],
    owners: NDArray[np.int32],
    starts: NDArray[np.int64],
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Find cells.

    Returns:
        int32 (n_codes,): -1 for a key without one.
    """
    slots = np.empty(len(codes), dtype=np.int32)
    if not key[_COMBINED]:
        for i in range(len(codes)):
            slots[i] = codes[i] if 0 <= codes[i] < key[_N_SLOTS] else -1
        return slots
    block_codes = _array(_pointer(key[_BLOCK_CODES]), key[_BLOCK_CODES + 1], np.int32)
    block_offsets = _array(_pointer(key[_BLOCK_OFFSETS]), key[_BLOCK_OFFSETS + 1], np.int64)
    block_logs = _array(_pointer(key[_BLOCK_LOGS]), key[_BLOCK_LOGS + 1], np.int8)
    for request in range(len(owners)):
        low, high = starts[offsets[request]], starts[offsets[request + 1]]
        look_up_owner(
            block_codes, block_offsets, block_logs, owners[request],
            codes[low:high], key[_N_CODES], slots[low:high],
        )  # fmt: skip
    return slots


@compiled
def _read_cells(
    cells: NDArray[np.int64],
    half_life_s: float,
    starts: NDArray[np.int64],
    slots: NDArray[np.int32],
    asking: NDArray[np.int64],
    as_of: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    shape = (cells[_NUMBERS + 1], cells[_WIDTH])
    address = _pointer(cells[_NUMBERS])
    marks_shape = (cells[_MARKS + 1], cells[_MARKS_WIDTH])
    marks = _array(_pointer(cells[_MARKS]), marks_shape, np.int64)
    fold, step, reduce = cells[_FOLD], cells[_STEP], cells[_REDUCE]
    if cells[_IS_WHOLE]:
        read_all(
            fold, _array(address, shape, np.uint32), marks, step, half_life_s,
            slots, starts, asking, as_of, reduce, out,
        )  # fmt: skip
    else:
        read_all(
            fold, _array(address, shape, np.float64), marks, step, half_life_s,
            slots, starts, asking, as_of, reduce, out,
        )  # fmt: skip
