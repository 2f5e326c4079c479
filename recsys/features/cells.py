"""What the online execution keeps per key: one small array program per fold.

Every kind of cell takes a batch of events (in order of `visible_at`) and reads at any later
instant. A batch of one and a batch of a whole log end in the same state.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions
from recsys.features.growable import Growable
from recsys.features.reading import age_s, bucket_us, decay
from recsys.features.vocabulary import WINDOW_BUCKETS, Aggregate

_NEVER = np.iinfo(np.int64).min


class Cells(Protocol):
    """State of one scalar aggregate, by slot."""

    def add(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Fold events in; `slots` are the keys' slots, one per event."""
        ...

    def read(self, slots: NDArray[np.int64], instants: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read slots at instants: float64 (n,); a slot of -1 has no events."""
        ...


def make_cells(aggregate: Aggregate) -> Cells:
    """Choose the cells of a scalar aggregate.

    Returns:
        Empty cells.

    Raises:
        ValueError: The fold is not a scalar one.
    """
    if aggregate.fold in {"count", "sum"}:
        if aggregate.window_s is not None:
            return WindowCells(aggregate)
        return TotalCells(weighted=aggregate.fold == "sum")
    if aggregate.fold == "distinct_items":
        return DistinctCells()
    if aggregate.fold == "decayed_count":
        return DecayedCells(aggregate.half_life_s or 1.0)
    if aggregate.fold in {"since_last", "since_first"}:
        return InstantCells(latest=aggregate.fold == "since_last")
    text = f"aggregate {aggregate.name!r}: found fold {aggregate.fold!r}; expected a scalar fold"
    raise ValueError(text)


def _grow(column: Growable, slots: NDArray[np.int64]) -> None:
    if len(slots):
        column.resize(int(slots.max()) + 1)


def _known(column: Growable, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.flatnonzero((slots >= 0) & (slots < len(column)))


def _weights(actions: Actions, *, weighted: bool) -> NDArray[np.float64]:
    return np.nan_to_num(actions.values, nan=0.0) if weighted else np.ones(len(actions))


class TotalCells:
    """A count, or a sum of values."""

    def __init__(self, *, weighted: bool) -> None:
        self._weighted = weighted
        self._totals = Growable(np.float64, 0.0)

    def add(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Fold events in."""
        _grow(self._totals, slots)
        np.add.at(self._totals.rows, slots, _weights(actions, weighted=self._weighted))

    def read(self, slots: NDArray[np.int64], instants: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read totals.

        Returns:
            float64 (n,).
        """
        del instants
        values = np.zeros(len(slots))
        known = _known(self._totals, slots)
        values[known] = self._totals.rows[slots[known]]
        return values


class WindowCells:
    """A count or sum over the last `WINDOW_BUCKETS` buckets, in a ring per slot."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._weighted = aggregate.fold == "sum"
        self._step = bucket_us(aggregate, WINDOW_BUCKETS)
        self._totals = Growable(np.float64, 0.0, WINDOW_BUCKETS)
        self._buckets = Growable(np.int64, _NEVER, WINDOW_BUCKETS)

    def add(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Fold events in; a ring place that comes round again starts from zero."""
        _grow(self._totals, slots)
        _grow(self._buckets, slots)
        buckets = actions.visible // self._step
        places = (slots, buckets % WINDOW_BUCKETS)
        before = self._buckets.rows[places]
        np.maximum.at(self._buckets.rows, places, buckets)
        after = self._buckets.rows[places]
        stale = np.flatnonzero(before != after)
        self._totals.rows[slots[stale], places[1][stale]] = 0.0
        current = np.flatnonzero(after == buckets)
        weights = _weights(actions, weighted=self._weighted)
        np.add.at(self._totals.rows, (slots[current], places[1][current]), weights[current])

    def read(self, slots: NDArray[np.int64], instants: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read what lies within the window.

        Returns:
            float64 (n,).
        """
        values = np.zeros(len(slots))
        known = _known(self._totals, slots)
        oldest = instants[known] // self._step - WINDOW_BUCKETS + 1
        rows = slots[known]
        inside = self._buckets.rows[rows] >= oldest[:, None]
        values[known] = (self._totals.rows[rows] * inside).sum(axis=1)
        return values


class InstantCells:
    """The latest or the earliest `occurred_at`, read as an age."""

    def __init__(self, *, latest: bool) -> None:
        self._latest = latest
        self._none = _NEVER if latest else np.iinfo(np.int64).max
        self._instants = Growable(np.int64, self._none)

    def add(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Fold events in."""
        _grow(self._instants, slots)
        extreme = np.maximum if self._latest else np.minimum
        extreme.at(self._instants.rows, slots, actions.occurred)

    def read(self, slots: NDArray[np.int64], instants: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read ages.

        Returns:
            float64 (n,): seconds, NaN where there was no event.
        """
        values = np.full(len(slots), np.nan)
        known = _known(self._instants, slots)
        found = self._instants.rows[slots[known]]
        some = found != self._none
        values[known[some]] = age_s(instants[known[some]], found[some])
        return values


class DecayedCells:
    """A sum of decayed events, kept as of the latest event of its slot."""

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._sums = Growable(np.float64, 0.0)
        self._latest = Growable(np.int64, _NEVER)

    def add(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Fold events in: bring each slot's sum forward to its latest event, then add all."""
        _grow(self._sums, slots)
        _grow(self._latest, slots)
        distinct = np.unique(slots)
        before = self._latest.rows[distinct]
        np.maximum.at(self._latest.rows, slots, actions.visible)
        old = before != _NEVER
        moved = distinct[old]
        elapsed = self._latest.rows[moved] - before[old]
        self._sums.rows[moved] *= decay(elapsed, self._half_life_s)
        ages = self._latest.rows[slots] - actions.visible
        np.add.at(self._sums.rows, slots, decay(ages, self._half_life_s))

    def read(self, slots: NDArray[np.int64], instants: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read sums as of instants.

        Returns:
            float64 (n,).
        """
        values = np.zeros(len(slots))
        known = _known(self._sums, slots)
        some = known[self._latest.rows[slots[known]] != _NEVER]
        elapsed = instants[some] - self._latest.rows[slots[some]]
        values[some] = self._sums.rows[slots[some]] * decay(elapsed, self._half_life_s)
        return values


class DistinctCells:
    """How many different items, remembered one by one."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._totals = Growable(np.float64, 0.0)

    def add(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Fold events in."""
        _grow(self._totals, slots)
        for pair in zip(slots.tolist(), actions.items.tolist(), strict=True):
            if pair not in self._seen:
                self._seen.add(pair)
                self._totals.rows[pair[0]] += 1.0

    def read(self, slots: NDArray[np.int64], instants: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read how many.

        Returns:
            float64 (n,).
        """
        del instants
        values = np.zeros(len(slots))
        known = _known(self._totals, slots)
        values[known] = self._totals.rows[slots[known]]
        return values


class HistoryCells:
    """The last n items of each user, in a ring per slot."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._counts = Growable(np.int64, 0)
        self._items = Growable(np.int32, -1, n)
        self._types = Growable(np.int16, -1, n)
        self._occurred = Growable(np.int64, 0, n)

    def add(self, slots: NDArray[np.int64], actions: Actions) -> None:
        """Fold events in; of more than n for one slot in a batch only the last n are written."""
        for column in (self._counts, self._items, self._types, self._occurred):
            _grow(column, slots)
        order = np.argsort(slots, kind="stable")
        distinct, starts, counts = np.unique(slots[order], return_index=True, return_counts=True)
        within = np.arange(len(order)) - np.repeat(starts, counts)
        kept = np.flatnonzero(within >= np.repeat(counts, counts) - self._n)
        chosen, rows = order[kept], slots[order[kept]]
        places = (rows, (self._counts.rows[rows] + within[kept]) % self._n)
        self._items.rows[places] = actions.items[chosen]
        self._types.rows[places] = actions.types[chosen]
        self._occurred.rows[places] = actions.occurred[chosen]
        self._counts.rows[distinct] += counts

    def read(
        self, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int64]]:
        """Read items, types and `occurred_at`, newest first.

        Returns:
            Three arrays (n_slots, n); items and types are -1 where there is nothing.
        """
        there = (slots >= 0) & (slots < len(self._counts))
        if not there.any():
            shape = (len(slots), self._n)
            empty = np.full(shape, -1, dtype=np.int32)
            return empty, empty.astype(np.int16), np.zeros(shape, dtype=np.int64)
        rows = np.where(there, slots, 0)
        counts = np.where(there, self._counts.rows[rows], 0)
        back = np.arange(self._n)[None, :]
        places = (rows[:, None], (counts[:, None] - 1 - back) % self._n)
        filled = back < counts[:, None]
        return (
            np.where(filled, self._items.rows[places], np.int32(-1)),
            np.where(filled, self._types.rows[places], np.int16(-1)),
            self._occurred.rows[places],
        )
