"""Integer keys as dense slots, for keys that are made of two parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class CombinedSlots:
    """Gives each (user, item) or (user, attribute value) key a slot, in order of first sight.

    Keys live in one dictionary per upper half (the user), because a request asks for one user and
    many
    items: the user's keys are then one small sorted array, made when first asked for after a
        change.
    """

    def __init__(self) -> None:
        self._size = 0
        self._by_upper: dict[int, dict[int, int]] = {}
        self._sorted: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def assign(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the slots of keys, giving new ones.

        Returns:
            int64 (n,): slots.
        """
        distinct, inverse = np.unique(keys, return_inverse=True)
        slots = np.empty(len(distinct), dtype=np.int64)
        for i, key in enumerate(distinct.tolist()):
            upper = self._by_upper.setdefault(key >> 32, {})
            slot = upper.get(key)
            if slot is None:
                slot = upper[key] = self._size
                self._size += 1
                self._sorted.pop(key >> 32, None)
            slots[i] = slot
        return slots[inverse]

    def look_up(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the slots of keys.

        Returns:
            int64 (n,): slots, -1 for a key without events.
        """
        slots = np.full(len(keys), -1, dtype=np.int64)
        uppers = keys >> 32
        if len(keys) and uppers[0] == uppers[-1] and (uppers == uppers[0]).all():
            self._look_up_one(int(uppers[0]), keys, slots, slice(None))
            return slots
        for upper in np.unique(uppers).tolist():
            rows = np.flatnonzero(uppers == upper)
            self._look_up_one(upper, keys[rows], slots, rows)
        return slots

    def _look_up_one(
        self,
        upper: int,
        keys: NDArray[np.int64],
        slots: NDArray[np.int64],
        rows: NDArray[np.int64] | slice,
    ) -> None:
        mine = self._by_upper.get(upper)
        if not mine:
            return
        if upper not in self._sorted:
            known = np.fromiter(mine.keys(), dtype=np.int64, count=len(mine))
            order = np.argsort(known)
            values = np.fromiter(mine.values(), dtype=np.int64, count=len(mine))
            self._sorted[upper] = (known[order], values[order])
        known, values = self._sorted[upper]
        found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        slots[rows] = np.where(known[found] == keys, values[found], -1)
