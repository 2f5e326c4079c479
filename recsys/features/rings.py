"""The last n items of users or sessions, in rings that grow with what they hold."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions
from recsys.features.cells import KeyedRows, bucket_us
from recsys.features.compiled import compiled
from recsys.features.growable import Growable
from recsys.features.vocabulary import WINDOW_BUCKETS, Aggregate
from recsys.schema import MICROSECONDS

_NOTHING: Final = -1


class LastItems(NamedTuple):
    """What `n_requests` users or sessions did last, newest first.

    Args:
        items: int32 (n_requests, n): item rows; -1: padding.
        types: int16 (n_requests, n): event types; -1: padding.
        occurred: int64 (n_requests, n): microseconds; 0: padding.
        values: float32 (n_requests, n): values of the events; NaN: none, or padding.
    """

    items: NDArray[np.int32]
    types: NDArray[np.int16]
    occurred: NDArray[np.int64]
    values: NDArray[np.float32]

    def part(self, rows: slice) -> LastItems:
        """Cut out consecutive rows.

        Returns:
            Views of them.
        """
        return LastItems(self.items[rows], self.types[rows], self.occurred[rows], self.values[rows])


class Entries(NamedTuple):
    """Columns of events, and of the places of rings.

    Args:
        items: int32 (n,).
        types: int16 (n,).
        occurred: int64 (n,).
        values: float (n,).
        visible: int64 (n,).
    """

    items: NDArray[np.int32]
    types: NDArray[np.int16]
    occurred: NDArray[np.int64]
    values: NDArray[np.floating]
    visible: NDArray[np.int64]


def no_items(n_requests: int, n: int) -> LastItems:
    """Make room for last items.

    Returns:
        Padding only.
    """
    shape = (n_requests, n)
    return LastItems(
        np.full(shape, _NOTHING, dtype=np.int32),
        np.full(shape, _NOTHING, dtype=np.int16),
        np.zeros(shape, dtype=np.int64),
        np.full(shape, np.nan, dtype=np.float32),
    )


@compiled
def _add_one(
    slot: int,
    row: int,
    offsets: NDArray[np.int64],
    capacities: NDArray[np.int32],
    counts: NDArray[np.int64],
    ring: Entries,
    events: Entries,
) -> None:
    place = offsets[slot] + counts[slot] % capacities[slot]
    ring.items[place] = events.items[row]
    ring.types[place] = events.types[row]
    ring.occurred[place] = events.occurred[row]
    ring.values[place] = events.values[row]
    if len(ring.visible) > 0:
        ring.visible[place] = events.visible[row]
    counts[slot] += 1


@compiled
def _read_one(
    slot: int,
    request: int,
    oldest: int,
    step: int,
    offsets: NDArray[np.int64],
    capacities: NDArray[np.int32],
    counts: NDArray[np.int64],
    ring: Entries,
    out: LastItems,
) -> None:
    n_held = min(counts[slot], capacities[slot])
    for back in range(min(n_held, out.items.shape[1])):
        place = offsets[slot] + (counts[slot] - 1 - back) % capacities[slot]
        if len(ring.visible) > 0 and ring.visible[place] // step < oldest:
            return
        out.items[request, back] = ring.items[place]
        out.types[request, back] = ring.types[place]
        out.occurred[request, back] = ring.occurred[place]
        out.values[request, back] = ring.values[place]


@compiled
def _read_all(
    slots: NDArray[np.int32],
    as_of: NDArray[np.int64],
    step: int,
    windowed: bool,
    offsets: NDArray[np.int64],
    capacities: NDArray[np.int32],
    counts: NDArray[np.int64],
    ring: Entries,
    out: LastItems,
) -> None:
    for request in range(len(slots)):
        if 0 <= slots[request] < len(counts):
            oldest = as_of[request] // step - WINDOW_BUCKETS + 1 if windowed else 0
            _read_one(
                slots[request], request, oldest, step, offsets, capacities, counts, ring, out
            )  # fmt: skip


@compiled
def _stream(
    rows: NDArray[np.int32],
    slots: NDArray[np.int32],
    wanted: NDArray[np.bool_],
    n_events: int,
    ends: NDArray[np.int64],
    read_slots: NDArray[np.int32],
    as_of: NDArray[np.int64],
    step: int,
    windowed: bool,
    offsets: NDArray[np.int64],
    capacities: NDArray[np.int32],
    counts: NDArray[np.int64],
    ring: Entries,
    events: Entries,
    out: LastItems,
) -> None:
    position = 0
    for request in range(len(ends) + 1):
        end = ends[request] if request < len(ends) else n_events
        while position < len(rows) and rows[position] < end:
            row = rows[position]
            if slots[position] >= 0 and wanted[events.types[row]]:
                _add_one(slots[position], row, offsets, capacities, counts, ring, events)
            position += 1
        if request < len(ends) and read_slots[request] >= 0:
            oldest = as_of[request] // step - WINDOW_BUCKETS + 1 if windowed else 0
            _read_one(
                read_slots[request], request, oldest, step,
                offsets, capacities, counts, ring, out,
            )  # fmt: skip


@compiled
def _move_all(
    slots: NDArray[np.int64],
    old_offsets: NDArray[np.int64],
    old_capacities: NDArray[np.int32],
    offsets: NDArray[np.int64],
    capacities: NDArray[np.int32],
    counts: NDArray[np.int64],
    ring: Entries,
) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if old_capacities[i] == 0:
            continue
        first = max(0, counts[slot] - old_capacities[i])
        for event in range(first, counts[slot]):
            old = old_offsets[i] + event % old_capacities[i]
            new = offsets[slot] + event % capacities[slot]
            ring.items[new] = ring.items[old]
            ring.types[new] = ring.types[old]
            ring.occurred[new] = ring.occurred[old]
            ring.values[new] = ring.values[old]
            if len(ring.visible) > 0:
                ring.visible[new] = ring.visible[old]


@compiled
def describe(
    items: NDArray[np.int32],
    types: NDArray[np.int16],
    occurred: NDArray[np.int64],
    current: NDArray[np.int32],
    as_of: NDArray[np.int64],
    versions: NDArray[np.int32],
    ages_s: NDArray[np.float32],
) -> None:
    """Say of last items which version is the latest, and how long ago they were acted on.

    Args:
        items: As in `LastItems`.
        types: The same.
        occurred: The same.
        current: int32 (n_items,): version row by item row.
        as_of: int64 (n_requests,).
        versions: int32 (n_requests, n): written; -1: nothing is known, or padding.
        ages_s: float32 (n_requests, n): written; NaN: padding.
    """
    for request in range(len(items)):
        for i in range(items.shape[1]):
            item = items[request, i]
            versions[request, i] = current[item] if 0 <= item < len(current) else -1
            is_there = types[request, i] >= 0
            age = (as_of[request] - occurred[request, i]) / MICROSECONDS
            ages_s[request, i] = age if is_there else np.nan


class Rings:
    """The last items by slot.

    Args:
        aggregate: A `last_items` aggregate.
    """

    def __init__(self, aggregate: Aggregate) -> None:
        self._n = aggregate.n
        self._windowed = aggregate.window_s is not None
        self._step = bucket_us(aggregate)
        self._offsets = Growable(np.int64, 0)
        self._capacities = Growable(np.int32, 0)
        self._counts = Growable(np.int64, 0)
        self._columns = {
            "items": Growable(np.int32, _NOTHING),
            "types": Growable(np.int16, _NOTHING),
            "occurred": Growable(np.int64, 0),
            "values": Growable(np.float32, np.nan),
        }
        #: Only a window asks when an event became visible.
        self._visible = Growable(np.int64, 0)
        self._unused: dict[int, list[int]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all rings."""
        small = (self._offsets, self._capacities, self._counts, self._visible)
        return sum(int(c.rows.nbytes) for c in (*small, *self._columns.values()))

    def add(self, keyed: KeyedRows, actions: Actions, wanted: NDArray[np.bool_]) -> None:
        """Fold a batch of events in, in order of `visible_at`."""
        nothing = np.zeros(0, dtype=np.int64)
        slots, out = np.zeros(0, dtype=np.int32), no_items(0, self._n)
        self.stream(keyed, actions, wanted, ends=nothing, slots=slots, as_of=nothing, out=out)

    @property
    def n(self) -> int:
        """Items that are kept of each."""
        return self._n

    def read(self, slots: NDArray[np.int32], as_of: NDArray[np.int64], n: int) -> LastItems:
        """Read the rings of slots; -1: an empty one.

        Args:
            slots: int32 (n_requests,).
            as_of: int64 (n_requests,).
            n: How many items of each, at most as many as are kept.

        Returns:
            One row per slot.
        """
        out = no_items(len(slots), n)
        _read_all(
            slots, as_of, self._step, self._windowed, self._offsets.rows, self._capacities.rows,
            self._counts.rows, self._ring, out,
        )  # fmt: skip
        return out

    def stream(
        self,
        keyed: KeyedRows,
        actions: Actions,
        wanted: NDArray[np.bool_],
        *,
        ends: NDArray[np.int64],
        slots: NDArray[np.int32],
        as_of: NDArray[np.int64],
        out: LastItems,
    ) -> None:
        """Fold a batch of events in and read in between.

        Args:
            keyed: Which rings the events fall into.
            actions: The events.
            wanted: bool (n_types,): event types that count.
            ends: int64 (n_requests,): events before each request, ascending.
            slots: int32 (n_requests,): ring that each request reads; -1: none.
            as_of: int64 (n_requests,).
            out: One row per request, written.
        """
        counted = keyed.slots[(keyed.slots >= 0) & wanted[actions.types[keyed.rows]]]
        if len(counted):
            found, added = np.unique(counted, return_counts=True)
            self._make_room(found.astype(np.int64), added)
        if len(slots):
            self._resize(int(slots.max(initial=-1)) + 1)
        self._run(keyed, actions, wanted, ends=ends, slots=slots, as_of=as_of, out=out)

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Forget what rings hold."""
        inside = slots[slots < len(self._counts)]
        for slot in inside[self._capacities.rows[inside] > 0].tolist():
            capacity, offset = int(self._capacities.rows[slot]), int(self._offsets.rows[slot])
            self._unused.setdefault(capacity, []).append(offset)
            for column in self._columns.values():
                column.clear(np.arange(offset, offset + capacity))
        self._capacities.rows[inside] = 0
        self._counts.rows[inside] = 0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the state as arrays, for a snapshot.

        Returns:
            By name; views that must not be changed.
        """
        pairs = [(size, offset) for size, found in self._unused.items() for offset in found]
        return {
            **{name: column.rows for name, column in self._columns.items()},
            "visible": self._visible.rows,
            "offsets": self._offsets.rows,
            "capacities": self._capacities.rows,
            "counts": self._counts.rows,
            "unused": np.array(pairs, dtype=np.int64).reshape(-1, 2),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the state from arrays that `arrays` gave."""
        small = {
            "visible": self._visible,
            "offsets": self._offsets,
            "capacities": self._capacities,
            "counts": self._counts,
        }
        for name, column in {**self._columns, **small}.items():
            column.resize(len(arrays[name]))
            column.rows[:] = arrays[name]
        for size, offset in arrays["unused"].tolist():
            self._unused.setdefault(size, []).append(offset)

    def _run(
        self,
        keyed: KeyedRows,
        actions: Actions,
        wanted: NDArray[np.bool_],
        ends: NDArray[np.int64],
        slots: NDArray[np.int32],
        as_of: NDArray[np.int64],
        out: LastItems,
    ) -> None:
        events = Entries(
            actions.items, actions.types, actions.occurred, actions.values, actions.visible
        )
        _stream(
            keyed.rows, keyed.slots, wanted, len(events.types), ends, slots, as_of,
            self._step, self._windowed, self._offsets.rows, self._capacities.rows,
            self._counts.rows, self._ring, events, out,
        )  # fmt: skip

    @property
    def _ring(self) -> Entries:
        columns = self._columns
        return Entries(
            columns["items"].rows,
            columns["types"].rows,
            columns["occurred"].rows,
            columns["values"].rows,
            self._visible.rows,
        )

    def _resize(self, n_slots: int) -> None:
        for column in (self._offsets, self._capacities, self._counts):
            column.resize(n_slots)

    def _make_room(self, slots: NDArray[np.int64], added: NDArray[np.int64]) -> None:
        self._resize(int(slots[-1]) + 1)
        needed = np.minimum(self._counts.rows[slots] + added, self._n)
        small = self._capacities.rows[slots] < needed
        slots, needed = slots[small], needed[small]
        old_offsets, old_capacities = self._offsets.rows[slots], self._capacities.rows[slots]
        rounded = (1 << np.ceil(np.log2(needed)).astype(np.int64)) if len(needed) else needed
        capacities = np.minimum(np.maximum(rounded, 2), max(self._n, 2))
        self._offsets.rows[slots] = self._allocate(capacities)
        self._capacities.rows[slots] = capacities
        _move_all(
            slots, old_offsets, old_capacities, self._offsets.rows, self._capacities.rows,
            self._counts.rows, self._ring,
        )  # fmt: skip
        for capacity, offset in zip(old_capacities.tolist(), old_offsets.tolist(), strict=True):
            if capacity:
                self._unused.setdefault(capacity, []).append(offset)

    def _allocate(self, capacities: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.empty(len(capacities), dtype=np.int64)
        end = len(self._columns["items"])
        for i, capacity in enumerate(capacities.tolist()):
            unused = self._unused.get(capacity)
            if unused:
                found[i] = unused.pop()
            else:
                found[i] = end
                end += capacity
        for column in self._columns.values():
            column.resize(end)
        if self._windowed:
            self._visible.resize(end)
        return found
