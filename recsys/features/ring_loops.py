"""The compiled loops of rings of last items, and the columns that they take."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled, compiled_loop
from recsys.features.vocabulary import WINDOW_BUCKETS
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


def room_for_items(n_requests: int, n: int) -> LastItems:
    """Make room for last items that are all written, padding too.

    Returns:
        Whatever was in memory.
    """
    shape = (n_requests, n)
    return LastItems(
        np.empty(shape, dtype=np.int32),
        np.empty(shape, dtype=np.int16),
        np.empty(shape, dtype=np.int64),
        np.empty(shape, dtype=np.float32),
    )


def no_items(n_requests: int, n: int) -> LastItems:
    """Make room for last items of which only some are written.

    Returns:
        Padding only.
    """
    out = room_for_items(n_requests, n)
    out.items.fill(_NOTHING)
    out.types.fill(_NOTHING)
    out.occurred.fill(0)
    out.values.fill(np.nan)
    return out


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
) -> int:
    n_held = int(min(counts[slot], capacities[slot], out.items.shape[1]))
    for back in range(n_held):
        place = offsets[slot] + (counts[slot] - 1 - back) % capacities[slot]
        if len(ring.visible) > 0 and ring.visible[place] // step < oldest:
            return back
        out.items[request, back] = ring.items[place]
        out.types[request, back] = ring.types[place]
        out.occurred[request, back] = ring.occurred[place]
        out.values[request, back] = ring.values[place]
    return n_held


@compiled
def read_rings(
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
    """Read the rings of slots.

    Args:
        slots: int32 (n_requests,): a slot without a ring, or a negative one, reads nothing.
        as_of: int64 (n_requests,).
        step: Microseconds of a bucket of the window.
        windowed: Whether there is a window.
        offsets: int64 (n_slots,): where each ring begins.
        capacities: int32 (n_slots,): how many events it can hold.
        counts: int64 (n_slots,): how many events it was given.
        ring: The places of all rings.
        out: Written, padding too.
    """
    for request in range(len(slots)):
        n_read = 0
        if 0 <= slots[request] < len(counts):
            oldest = as_of[request] // step - WINDOW_BUCKETS + 1 if windowed else 0
            n_read = _read_one(
                slots[request], request, oldest, step, offsets, capacities, counts, ring, out
            )  # fmt: skip
        out.items[request, n_read:] = _NOTHING
        out.types[request, n_read:] = _NOTHING
        out.occurred[request, n_read:] = 0
        out.values[request, n_read:] = np.nan


@compiled
def stream_rings(
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
    """Fold events in and read in between; most arguments as in `Rings.stream` and `read_rings`.

    Args:
        rows: int32 (n,): event of each key, ascending.
        slots: int32 (n,): its ring.
        wanted: bool (n_types,): event types that count.
        n_events: Events of the batch.
        ends: int64 (n_requests,): events before each request.
        read_slots: int32 (n_requests,): ring that each request reads; -1: none.
        as_of: int64 (n_requests,).
        step: As in `read_rings`.
        windowed: The same.
        offsets: The same.
        capacities: The same.
        counts: The same; written.
        ring: The same; written.
        events: The events.
        out: Written.
    """
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


@compiled_loop
def has_room(
    rows: NDArray[np.int32],
    slots: NDArray[np.int32],
    wanted: NDArray[np.bool_],
    types: NDArray[np.int16],
    capacities: NDArray[np.int32],
    counts: NDArray[np.int64],
    n: int,
) -> bool:
    """Say whether rings have room for events, as if all of them fell into each one.

    Args:
        rows: int32 (n_keys,): events.
        slots: int32 (n_keys,): their rings; negative: none.
        wanted: bool (n_types,): event types that count.
        types: int16 (n_events,).
        capacities: int32 (n_slots,): how much rings can hold.
        counts: int64 (n_slots,): how many events they were given.
        n: How many they must hold at most.

    Returns:
        False where one of them may have to grow.
    """
    n_counted = 0
    for k in range(len(rows)):
        if slots[k] >= 0 and wanted[types[rows[k]]]:
            n_counted += 1
    for k in range(len(rows)):
        if slots[k] >= 0 and wanted[types[rows[k]]]:
            if slots[k] >= len(capacities):
                return False
            if capacities[slots[k]] < min(counts[slots[k]] + n_counted, n):
                return False
    return True


@compiled
def move_rings(
    slots: NDArray[np.int64],
    old_offsets: NDArray[np.int64],
    old_capacities: NDArray[np.int32],
    offsets: NDArray[np.int64],
    capacities: NDArray[np.int32],
    counts: NDArray[np.int64],
    ring: Entries,
) -> None:
    """Move what rings hold to where there is more room.

    Args:
        slots: int64 (n,): rings that moved.
        old_offsets: int64 (n,): where they were.
        old_capacities: int32 (n,): how much they could hold there; 0: there was no ring.
        offsets: int64 (n_slots,): where all rings are now.
        capacities: int32 (n_slots,): how much they can hold now.
        counts: int64 (n_slots,): how many events they were given.
        ring: The places of all rings; written.
    """
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
def ages_of(
    types: NDArray[np.int16],
    occurred: NDArray[np.int64],
    as_of: NDArray[np.int64],
    ages_s: NDArray[np.float32],
) -> None:
    """Say how long ago last items were acted on.

    Args:
        types: As in `LastItems`.
        occurred: The same.
        as_of: int64 (n_requests,).
        ages_s: float32 (n_requests, n): written; NaN: padding.
    """
    for request in range(len(types)):
        for i in range(types.shape[1]):
            age = (as_of[request] - occurred[request, i]) / MICROSECONDS
            ages_s[request, i] = age if types[request, i] >= 0 else np.nan


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
    ages_of(types, occurred, as_of, ages_s)
