"""What a batch of requests asks of one key, and the cells that are kept for it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled
from recsys.features.interning import KeyTable
from recsys.features.keys import Key
from recsys.features.pairs import (
    CandidatePairs,
    Sources,
    candidate_pairs,
    one_each,
    request_owners,
)
from recsys.features.slates import Slates

#: The request's part takes the upper 32 bits of a combined key, the item's the lower.
_SHIFT = np.int64(32)


class KeyReads(NamedTuple):
    """What requests read of one key.

    Args:
        pairs: By candidate, or by request where the key has no part of the item.
        n_readers: Candidates, or requests.
    """

    pairs: CandidatePairs
    n_readers: int


def ask(
    key: Key,
    slates: Slates,
    sources: Sources,
    *,
    item_rows: NDArray[np.int32],
    user_versions: NDArray[np.int32],
    sessions: NDArray[np.int32] | None,
) -> KeyReads:
    """Find the pairs that requests read.

    Args:
        key: The key.
        slates: The requests.
        sources: Where attributes come from.
        item_rows: int32 (n_candidates,): version rows for keys by attribute, else item rows.
        user_versions: int32 (n_requests,): version rows of the users.
        sessions: int32 (n_requests,): running sessions, of keys by session.

    Returns:
        The pairs.
    """
    owners = np.zeros(len(slates), dtype=np.int32)
    if key.request:
        owners = request_owners(key, slates, sources, user_versions, sessions)
    if not key.item:
        return KeyReads(one_each(owners, np.zeros(len(slates), dtype=np.int32)), len(slates))
    spread = slates.spread(owners).astype(np.int32, copy=False)
    pairs = candidate_pairs(key, sources.items, item_rows, spread)
    return KeyReads(pairs, len(slates.items))


def combine(owners: NDArray[np.int32], codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pack both parts of a key into one integer.

    Returns:
        int64 (n,): -1 where a part is negative.
    """
    packed = (owners.astype(np.int64) << _SHIFT) | codes.astype(np.int64)
    return np.where((owners < 0) | (codes < 0), np.int64(-1), packed)


class SlotMap:
    """Numbers the keys that requests ask for; all other keys have no cell.

    Args:
        key: The key.
        asked: What is asked for.
    """

    def __init__(self, key: Key, asked: CandidatePairs) -> None:
        self._by_owner = not key.item
        self._table: KeyTable | None = None
        self._index = np.zeros(0, dtype=np.int32)
        self._asking = np.zeros(0, dtype=np.bool_)
        if key.combined:
            self._table = KeyTable()
            self._table.insert(combine(asked.owners, asked.codes))
            self.n_slots = len(self._table)
            self._asking = np.zeros(int(asked.owners.max(initial=-1)) + 1, dtype=np.bool_)
            self._asking[asked.owners[asked.owners >= 0]] = True
            return
        parts = asked.owners if self._by_owner else asked.codes
        is_asked = np.zeros(int(parts.max(initial=-1)) + 1, dtype=np.bool_)
        is_asked[parts[parts >= 0]] = True
        found = np.flatnonzero(is_asked)
        self._index = np.full(len(is_asked), -1, dtype=np.int32)
        self._index[found] = np.arange(len(found), dtype=np.int32)
        self.n_slots = len(found)

    def slots(self, owners: NDArray[np.int32], codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Find the cells of keys.

        Returns:
            int32 (n,): -1 for a key that nobody asks for.
        """
        if self._table is not None:
            return self._table.look_up(combine(owners, codes))
        parts = owners if self._by_owner else codes
        inside = (parts >= 0) & (parts < len(self._index))
        if not len(self._index):
            return np.full(len(parts), -1, dtype=np.int32)
        return np.where(inside, self._index[np.where(inside, parts, 0)], np.int32(-1))

    def keyed(
        self,
        owners: NDArray[np.int32] | None,
        items: NDArray[np.int32],
        types: NDArray[np.int16],
        counted: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Find the cells of events, one at most for each, of those that have one.

        Args:
            owners: int32 (n_events,): the request's part; None: the key has none.
            items: int32 (n_events,): the item's part, of a key that has one.
            types: int16 (n_events,).
            counted: bool (n_types,): event types that count for anything.

        Returns:
            Events (int32, ascending) and their cells (int32).
        """
        counts = counted[types]
        if self._table is not None and owners is not None:
            # Most events are of owners who ask for nothing: a look into a small table finds them.
            counts &= (owners >= 0) & (owners < len(self._asking))
            near = np.flatnonzero(counts)
            rows = near[self._asking[owners[near]]].astype(np.int32)
            slots = self._table.look_up(combine(owners[rows], items[rows]))
            return rows[slots >= 0], slots[slots >= 0]
        parts = owners if self._by_owner else items
        if parts is None:
            parts = np.zeros(len(types), dtype=np.int32)
        return _indexed(parts, counts, self._index)


@compiled
def _indexed(
    parts: NDArray[np.int32], counts: NDArray[np.bool_], index: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    rows = np.empty(len(parts), dtype=np.int32)
    slots = np.empty(len(parts), dtype=np.int32)
    n = 0
    for row in range(len(parts)):
        if counts[row] and 0 <= parts[row] < len(index):
            slot = index[parts[row]]
            if slot >= 0:
                rows[n] = row
                slots[n] = slot
                n += 1
    return rows[:n], slots[:n]
