"""Many aggregates of a batch of requests in one compiled call; see `recsys.features.tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.features import folds
from recsys.features.blocks import look_up_owner
from recsys.features.compiled import compiled
from recsys.features.fold_walk import read_all
from recsys.features.keys import Key
from recsys.features.pairs import MISSING, Sources
from recsys.features.state import KeyState
from recsys.features.tables import (
    ATTRIBUTE,
    COMBINED,
    END_CELLS,
    FIRST_CELLS,
    FOLD,
    IS_WHOLE,
    N_CODES,
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
from recsys.features.vocabulary import Aggregate


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
        by_key: dict[str, list[int]] = {}
        for position, aggregate in enumerate(aggregates):
            by_key.setdefault(aggregate.by, []).append(position)
        chosen = [
            (keys[by], [keys[by].cells(aggregates[position]) for position in positions])
            for by, positions in by_key.items()
        ]
        self.keys: tuple[Key, ...] = tuple(state.key for state, _ in chosen)
        self._tables = Tables(chosen, sources.items)
        order = [position for positions in by_key.values() for position in positions]
        reduce = [folds.REDUCE_CODES[aggregates[position].reduce] for position in order]
        #: int64 (n_aggregates, 2): of each row of cells, the reduction and the column to write.
        self._outs = np.array([reduce, order], dtype=np.int64).T.reshape(-1, 2).copy()

    @property
    def needs_versions(self) -> bool:
        """Whether attributes of items are part of a key."""
        return any(key.item_attribute for key in self.keys)

    def refresh(self) -> None:
        """Take the addresses of what has moved anew; the state has changed."""
        self._tables.refresh()

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
        tables = self._tables
        _read_keys(
            tables.keys, tables.cells, tables.half_lives, self._outs,
            owners, items, versions, offsets, as_of, out,
        )  # fmt: skip
        return out


@compiled
def _read_keys(
    keys: NDArray[np.int64],
    cells: NDArray[np.int64],
    half_lives: NDArray[np.float64],
    outs: NDArray[np.int64],
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
        part, first, end = keys[k, PART], keys[k, FIRST_CELLS], keys[k, END_CELLS]
        if part == NO_PART:
            starts, slots = _owner_slots(keys[k], owners[k])
            for n in range(first, end):
                _read_cells(
                    cells[n], half_lives[n], outs[n, 0], starts, slots, requests, as_of, per_request
                )
                for c in range(len(items)):
                    out[outs[n, 1], c] = per_request[asking[c]]
            continue
        if part == ATTRIBUTE:
            starts, codes = _codes_by_attribute(keys[k], owners[k], versions, asking)
        else:
            starts, codes = _codes_of_items(owners[k], items, asking)
        slots = _code_slots(keys[k], owners[k], starts, codes, offsets)
        for n in range(first, end):
            _read_cells(
                cells[n], half_lives[n], outs[n, 0], starts, slots, asking, as_of, out[outs[n, 1]]
            )


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
            slots[n] = owner if 0 <= owner < key[N_SLOTS] else -1
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
    offsets, codes = attribute_of(key)
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
    if not key[COMBINED]:
        for i in range(len(codes)):
            slots[i] = codes[i] if 0 <= codes[i] < key[N_SLOTS] else -1
        return slots
    block_codes, block_offsets, block_logs, _ = blocks_of(key)
    for request in range(len(owners)):
        low, high = starts[offsets[request]], starts[offsets[request + 1]]
        look_up_owner(
            block_codes, block_offsets, block_logs, owners[request],
            codes[low:high], key[N_CODES], slots[low:high],
        )  # fmt: skip
    return slots


@compiled
def _read_cells(
    cells: NDArray[np.int64],
    half_life_s: float,
    reduce: int,
    starts: NDArray[np.int64],
    slots: NDArray[np.int32],
    asking: NDArray[np.int64],
    as_of: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    fold, step, marks = cells[FOLD], cells[STEP], marks_of(cells)
    if cells[IS_WHOLE]:
        read_all(
            fold, counts_of(cells), marks, step, half_life_s,
            slots, starts, asking, as_of, reduce, out,
        )  # fmt: skip
    else:
        read_all(
            fold, sums_of(cells), marks, step, half_life_s,
            slots, starts, asking, as_of, reduce, out,
        )  # fmt: skip
