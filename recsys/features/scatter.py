"""Events folded into all aggregates in a few compiled calls; see `recsys.features.tables`.

What `Gather` is to reading: for every key of the state the cells that events fall into are found,
or made, in one loop, and all aggregates take the events in in another. Between the two only tables
that are full need the interpreter. Both executions fold with the same loops (`fold_walk`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import EventTypes
from recsys.features.blocks import insert
from recsys.features.compiled import compiled
from recsys.features.fold_walk import add_all
from recsys.features.folds import DISTINCT
from recsys.features.pairs import EventPairs, Sources, event_owners
from recsys.features.state import Batch, KeyState
from recsys.features.tables import (
    ATTRIBUTE,
    COMBINED,
    END_CELLS,
    FIRST_CELLS,
    FOLD,
    IS_WHOLE,
    ITEM,
    N_SLOTS,
    NO_PART,
    PART,
    STEP,
    Tables,
    attribute_of,
    blocks_of,
    counts_of,
    marks_of,
    sums_of,
)
from recsys.schema import SESSION

_NOTHING: Final = -1


class Scatter:
    """Folds events into all aggregates of a state.

    Args:
        states: State of every key, with all aggregates that will ever be kept.
        sources: Where attributes come from.
        types: All event types; grows.
    """

    def __init__(self, states: Iterable[KeyState], sources: Sources, types: EventTypes) -> None:
        self._states = list(states)
        self._sources = sources
        self._types = types
        chosen = [(state, list(state.kept.values())) for state in self._states]
        self._tables = Tables(chosen, sources.items)
        self._kept = [(state, aggregate) for state in self._states for aggregate in state.kept]
        self._is_begun = np.array([a.of == (SESSION,) for _, a in self._kept], dtype=np.bool_)
        self._memories = [n for n, state in enumerate(self._states) if state.has_memory]
        #: One key for each part of the request that is in keys: those of others are the same.
        self._requests = {state.key.request: state.key for state in self._states}
        parts = list(self._requests)
        #: int64 (n_keys,): which of them is in each key.
        self._which = np.array([parts.index(state.key.request) for state in self._states])
        self._n_types = len(types.names)
        self._wanted = self._masks()

    def add(self, batch: Batch) -> None:
        """Fold events in, in order of `visible_at`."""
        actions, tables = batch.actions, self._tables
        if not self._states:
            return
        tables.refresh()
        asked = (tables.keys, self._which, self._owners(batch), actions.items, actions.versions)
        starts = np.empty(len(self._states) + 1, dtype=np.int64)
        _count_pairs(*asked, starts)
        rows, owners, codes, slots = np.empty((4, int(starts[-1])), dtype=np.int32)
        _pair_up(*asked, rows, owners, codes)
        is_full = np.zeros(len(self._states), dtype=np.bool_)
        _find_slots(tables.keys, starts, owners, codes, slots, is_full)
        full = np.flatnonzero(is_full).tolist()
        memories = [n for n in self._memories if starts[n] < starts[n + 1]]
        parts = {n: slice(starts[n], starts[n + 1]) for n in (*full, *memories)}
        pairs = {n: EventPairs(rows[p], owners[p], codes[p]) for n, p in parts.items()}
        for number in full:
            self._states[number].make_room(pairs[number], slots[parts[number]])
        if full:
            tables.refresh()
        if self._n_types < len(self._types.names):
            self._n_types, self._wanted = len(self._types.names), self._masks()
        _fold(
            tables.keys, tables.cells, tables.half_lives, self._is_begun, self._wanted,
            starts, rows, slots,
            actions.types, batch.begins, actions.visible, actions.occurred, actions.values,
        )  # fmt: skip
        for number in memories:
            self._states[number].remember(pairs[number], slots[parts[number]], batch)

    def _owners(self, batch: Batch) -> NDArray[np.int32]:
        """Find the parts of the request that are in keys.

        Returns:
            int32 (n_parts, n_events): 0 where a key has none.
        """
        actions = batch.actions
        owners = np.zeros((len(self._requests), len(actions)), dtype=np.int32)
        for row, key in zip(owners, self._requests.values(), strict=True):
            if key.request:
                row[:] = event_owners(key, actions, self._sources, batch.sessions)
        return owners

    def _masks(self) -> NDArray[np.bool_]:
        """Say which event types each aggregate is made of.

        Returns:
            bool (n_aggregates, n_types), at least two types: see `type_mask`.
        """
        masks = np.zeros((len(self._kept), max(2, len(self._types.names))), dtype=np.bool_)
        for row, (state, aggregate) in zip(masks, self._kept, strict=True):
            mask = state.mask(aggregate.of)
            row[: len(mask)] = mask
        return masks


@compiled
def _count_pairs(
    keys: NDArray[np.int64],
    which: NDArray[np.int64],
    owners: NDArray[np.int32],
    items: NDArray[np.int32],
    versions: NDArray[np.int32],
    starts: NDArray[np.int64],
) -> None:
    """Say where the pairs of each key begin: `starts`, int64 (n_keys + 1,), written."""
    starts[0] = 0
    for k in range(len(keys)):
        n, part = 0, keys[k, PART]
        offsets, _ = attribute_of(keys[k])
        for i in range(len(items)):
            if owners[which[k], i] < 0:
                continue
            if part == ATTRIBUTE:
                if versions[i] >= 0:
                    n += offsets[versions[i] + 1] - offsets[versions[i]]
            elif part == NO_PART or items[i] >= 0:
                n += 1
        starts[k + 1] = starts[k] + n


@compiled
def _pair_up(
    keys: NDArray[np.int64],
    which: NDArray[np.int64],
    owners: NDArray[np.int32],
    items: NDArray[np.int32],
    versions: NDArray[np.int32],
    rows: NDArray[np.int32],
    parts: NDArray[np.int32],
    codes: NDArray[np.int32],
) -> None:
    """List the pairs that events count for, key after key: see `EventPairs`; the last three."""
    n = 0
    for k in range(len(keys)):
        part = keys[k, PART]
        offsets, known = attribute_of(keys[k])
        for i in range(len(items)):
            owner = owners[which[k], i]
            if owner < 0:
                continue
            if part == ATTRIBUTE:
                if versions[i] >= 0:
                    for j in range(offsets[versions[i]], offsets[versions[i] + 1]):
                        rows[n], parts[n], codes[n] = i, owner, known[j]
                        n += 1
            elif part == NO_PART or items[i] >= 0:
                rows[n], parts[n] = i, owner
                codes[n] = items[i] if part == ITEM else 0
                n += 1


@compiled
def _find_slots(
    keys: NDArray[np.int64],
    starts: NDArray[np.int64],
    owners: NDArray[np.int32],
    codes: NDArray[np.int32],
    slots: NDArray[np.int32],
    is_full: NDArray[np.bool_],
) -> None:
    """Find the cells of pairs, or take free ones; mark the keys that have too few."""
    for k in range(len(keys)):
        key = keys[k]
        if not key[COMBINED]:
            for i in range(starts[k], starts[k + 1]):
                slots[i] = owners[i] if key[PART] == NO_PART else codes[i]
                is_full[k] |= slots[i] >= key[N_SLOTS]
            continue
        held, offsets, logs, sizes = blocks_of(key)
        for i in range(starts[k], starts[k + 1]):
            slots[i] = insert(held, offsets, logs, sizes, owners[i], codes[i])
            is_full[k] |= slots[i] == _NOTHING


@compiled
def _fold(
    keys: NDArray[np.int64],
    cells: NDArray[np.int64],
    half_lives: NDArray[np.float64],
    is_begun: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    slots: NDArray[np.int32],
    types: NDArray[np.int16],
    begins: NDArray[np.int16],
    visible: NDArray[np.int64],
    occurred: NDArray[np.int64],
    values: NDArray[np.float64],
) -> None:
    """Fold events into every aggregate but those of different things, which remember pairs."""
    for k in range(len(keys)):
        first, stop = starts[k], starts[k + 1]
        if first == stop:
            continue
        for n in range(keys[k, FIRST_CELLS], keys[k, END_CELLS]):
            _fold_one(
                cells[n], half_lives[n], wanted[n], rows[first:stop], slots[first:stop],
                begins if is_begun[n] else types, visible, occurred, values,
            )  # fmt: skip


@compiled
def _fold_one(
    cells: NDArray[np.int64],
    half_life_s: float,
    wanted: NDArray[np.bool_],
    rows: NDArray[np.int32],
    slots: NDArray[np.int32],
    types: NDArray[np.int16],
    visible: NDArray[np.int64],
    occurred: NDArray[np.int64],
    values: NDArray[np.float64],
) -> None:
    if cells[FOLD] >= DISTINCT:
        return
    fold, step, marks = cells[FOLD], cells[STEP], marks_of(cells)
    # Only folds of different things read what was seen before; any column stands for it.
    if cells[IS_WHOLE]:
        add_all(
            fold, counts_of(cells), marks, step, half_life_s,
            rows, slots, occurred, types, wanted, visible, occurred, values,
        )  # fmt: skip
    else:
        add_all(
            fold, sums_of(cells), marks, step, half_life_s,
            rows, slots, occurred, types, wanted, visible, occurred, values,
        )  # fmt: skip
