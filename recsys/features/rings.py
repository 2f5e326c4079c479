"""The last n items of users or sessions, in rings that grow with what they hold."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions
from recsys.features.cells import KeyedRows, bucket_us
from recsys.features.growable import Growable
from recsys.features.ring_loops import (
    Entries,
    LastItems,
    has_room,
    move_rings,
    no_items,
    read_rings,
    room_for_items,
    stream_rings,
)
from recsys.features.vocabulary import Aggregate

_NOTHING: Final = -1


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
        out = room_for_items(len(slots), n)
        read_rings(
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
        if not self._has_room(keyed, actions, wanted):
            counted = keyed.slots[(keyed.slots >= 0) & wanted[actions.types[keyed.rows]]]
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
            column.restore(arrays, name)
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
        stream_rings(
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

    def _has_room(self, keyed: KeyedRows, actions: Actions, wanted: NDArray[np.bool_]) -> bool:
        """Say whether every ring surely takes its events; most do, once they hold n.

        Returns:
            False where one of them may have to grow.
        """
        return has_room(
            keyed.rows, keyed.slots, wanted, actions.types,
            self._capacities.rows, self._counts.rows, self._n,
        )  # fmt: skip

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
        move_rings(
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
