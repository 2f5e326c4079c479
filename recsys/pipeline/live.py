"""What is known now: online state, the ids of the events in it, and how popular every item is.

Bundles that read the same aggregates share one; so a bundle can be opened beside another without
reading the log again. Thread-safe: one lock serialises changes and reads.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.events.snapshot import LogSnapshot
from recsys.features.actions import EncodedLog, EventTypes
from recsys.features.growable import Growable
from recsys.features.online import OnlineState
from recsys.pipeline.known import KnownEvents
from recsys.pipeline.warming import RecentRequests
from recsys.schema import Event, InteractionEvent, VisibleEvent


class LiveState:
    """The state of a log that goes on.

    Args:
        log: The log so far.
        snapshot: The same, with event ids.
        scorer: Whose aggregates are kept.
    """

    def __init__(self, log: EncodedLog, snapshot: LogSnapshot, scorer: Scorer) -> None:
        #: Held by whoever reads or changes the state.
        self.lock = threading.RLock()
        self._aggregates = dict(scorer.capabilities.plan.aggregates)
        self._acted_on = _count(log)
        self.state = OnlineState(log, tuple(self._aggregates.values()))
        self._known = KnownEvents(snapshot)
        #: To try bundles on.
        self.requests = RecentRequests(snapshot)
        self._journals: list[list[VisibleEvent]] = []
        # Weak: an activation that fails after loading leaves nobody else holding the copy.
        self._copies: weakref.WeakSet[LiveState] = weakref.WeakSet()

    @property
    def last_event_us(self) -> int:
        """When the newest event became visible, in microseconds; 0 for an empty log."""
        return self._known.last_visible_at

    @property
    def n_events(self) -> int:
        """How many events are in the state."""
        return self._known.n_events

    def serves(self, scorer: Scorer) -> bool:
        """Say whether a bundle reads nothing but what is kept here.

        Returns:
            True when its aggregates are kept and its models know event types by the same index.
        """
        types = EventTypes(tuple(scorer.contents.profile.event_types)).names
        wanted = scorer.capabilities.plan.aggregates
        same_types = self.state.types.names[: len(types)] == types
        return same_types and all(self._aggregates.get(n) == a for n, a in wanted.items())

    def seen(self, events: Sequence[Event]) -> list[bool]:
        """Say which events, by kind and id, are in the state already.

        Returns:
            One answer per event; True for a retry.
        """
        with self.lock:
            return self._known.seen(events)

    def apply(self, events: Sequence[VisibleEvent]) -> None:
        """Take events in; those that are known already change nothing.

        Args:
            events: In order of `visible_at`, but for those of other processes.
        """
        with self.lock:
            new = self._known.add(events)
            self.state.apply(new)
            self._count_in(new)
            self.requests.add(new)
            for journal in self._journals:
                journal.extend(new)
            copies = list(self._copies)
        for copy in copies:
            copy.apply(new)

    def popularity(self, rows: NDArray[np.int32]) -> NDArray[np.float64]:
        """Say how often items were acted on; call it with the lock held.

        Args:
            rows: int32 (n,): item rows; negative: unknown.

        Returns:
            float64 (n,)
        """
        known = (rows >= 0) & (rows < len(self._acted_on))
        counts = np.zeros(len(rows))
        counts[known] = self._acted_on.rows[rows[known]]
        return counts

    @contextmanager
    def journal(self) -> Iterator[list[VisibleEvent]]:
        """Keep the events that arrive within a block, for a copy of this state that is being made.

        Yields:
            The events so far; grows.
        """
        arrived: list[VisibleEvent] = []
        with self.lock:
            self._journals.append(arrived)
        try:
            yield arrived
        finally:
            with self.lock:
                self._journals = [journal for journal in self._journals if journal is not arrived]

    def hand_on_to(self, copy: LiveState, arrived: Sequence[VisibleEvent]) -> None:
        """Let a copy take in what arrived while it was made, and everything from now on."""
        with self.lock:
            copy.apply(arrived)
            self._copies.add(copy)

    def _count_in(self, new: Sequence[VisibleEvent]) -> None:
        acted_on = [v.event.item_id for v in new if isinstance(v.event, InteractionEvent)]
        if acted_on:
            self._acted_on.resize(len(self.state.items.ids))
            np.add.at(self._acted_on.rows, self.state.items.rows(acted_on), 1.0)


def _count(log: EncodedLog) -> Growable:
    counts = Growable(np.float64, 0.0)
    acted_on = log.actions.items[log.actions.types != 0]
    counts.extend(np.bincount(acted_on, minlength=len(log.items.ids)).astype(np.float64))
    return counts
