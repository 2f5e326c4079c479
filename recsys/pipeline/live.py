"""What is known now: online state, the ids of the events in it, and how popular every item is.

Bundles that read the same aggregates share one; so a bundle can be opened beside another without
reading the log again. Thread-safe: one lock serialises changes and reads.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.config import LogConfig
from recsys.errors import CheckpointError
from recsys.events.replay import visible_events
from recsys.events.snapshot import read_tail, snapshot_of
from recsys.features.actions import EncodedLog, EventTypes, encode_log
from recsys.features.checkpoint import load_state, save_state
from recsys.features.growable import Growable
from recsys.features.online import OnlineState
from recsys.features.vocabulary import Aggregate
from recsys.pipeline.known import KnownEvents
from recsys.pipeline.noting import LogNotes
from recsys.pipeline.recent_requests import RecentRequests, one_of_each
from recsys.schema import Event, InteractionEvent, VisibleEvent

_N_ERASED: Final = "n_erased"


class LiveState:
    """The state of a log that goes on.

    Args:
        state: Online state.
        aggregates: What it keeps, by name.
        known: Ids of the events in it.
        requests: Some that were lately made.
        acted_on: float64 (n_items,): how often each item was acted on.
        n_erased: How many users had been taken out of the log that the state was made of.
    """

    def __init__(
        self,
        state: OnlineState,
        aggregates: Mapping[str, Aggregate],
        *,
        known: KnownEvents,
        requests: RecentRequests,
        acted_on: NDArray[np.float64],
        n_erased: int = 0,
    ) -> None:
        #: Held by whoever reads or changes the state.
        self.lock = threading.RLock()
        self._aggregates = dict(aggregates)
        self._acted_on = Growable(np.float64, 0.0)
        self._acted_on.extend(acted_on)
        self.state = state
        self._known = known
        self.n_erased = n_erased
        #: Events of the state on disk; None: there is none that this one went on from or left.
        self.n_saved: int | None = None
        #: Whether users were forgotten since the state was made of the log, which goes further.
        self._has_forgotten = False
        #: To try bundles on.
        self.requests = requests
        self._journals: list[list[VisibleEvent]] = []
        # Weak: an activation that fails after loading leaves nobody else holding the copy.
        self._copies: weakref.WeakSet[LiveState] = weakref.WeakSet()

    def save(self, folder: Path) -> None:
        """Write the state to disk; events wait meanwhile.

        Args:
            folder: Replaced when everything is there.
        """
        with self.lock:
            if self._has_forgotten:
                return  # the next start makes a state of the log
            extra = {**self._known.arrays(), "acted_on": self._acted_on.rows}
            extra[_N_ERASED] = np.array([self.n_erased])
            save_state(self.state, tuple(self._aggregates.values()), folder, extra)
            self.n_saved = self.n_events

    def warm_up(self) -> None:
        """Take made-up events into a state of nothing, so that what folds events is compiled.

        Otherwise the first event that is written does that, for up to twenty seconds with a new
        installation, and everybody who ranks waits with it.
        """
        names, nothing = self.state.types.names[1:], snapshot_of([])
        scratch = live_state_of(encode_log(nothing, names), LogNotes(), self._aggregates)
        for visible in one_of_each(names):
            scratch.apply([visible])

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

    def forget(self, user_ids: Sequence[str]) -> None:
        """Forget users at once; `OnlineState.forget_user` says what is left of them."""
        with self.lock:
            for user_id in user_ids:
                self.state.forget_user(user_id)
            self.requests.forget(user_ids)
            self._has_forgotten = True
            copies = list(self._copies)
        for copy in copies:
            copy.forget(user_ids)

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


def live_state_of(
    log: EncodedLog, notes: LogNotes, aggregates: Mapping[str, Aggregate]
) -> LiveState:
    """Fold a log into a state.

    Args:
        log: The log so far.
        notes: What was noted when it was encoded.
        aggregates: What is kept, by name.

    Returns:
        The state.
    """
    acted_on = np.zeros(len(log.items.ids), dtype=np.int64)
    for part in log.actions.pieces():
        acted_on += np.bincount(part.items[part.types != 0], minlength=len(acted_on))
    return LiveState(
        OnlineState(log, tuple(aggregates.values())),
        aggregates,
        known=notes.known,
        requests=RecentRequests(notes.latest),
        acted_on=acted_on.astype(np.float64),
        n_erased=notes.n_erased,
    )


def restart_live_state(
    log: LogConfig, aggregates: Mapping[str, Aggregate], folder: Path
) -> LiveState:
    """Go on from a state on disk with what the log has gained since.

    Args:
        log: The log.
        aggregates: What is kept, by name.
        folder: What `LiveState.save` wrote.

    Returns:
        The state, equal to one that is folded from the whole log.

    Raises:
        CheckpointError: There is none that can be used, or the log has other events than it.
    """
    state, extra = load_state(tuple(aggregates.values()), folder)
    known = KnownEvents()
    known.restore(extra)
    found = read_tail(log, known.last_visible_at)
    n_erased = int(extra.get(_N_ERASED, np.zeros(1))[0])
    if n_erased != found.tail.erasures or not known.are(found.older, found.tail):
        raise CheckpointError(folder, "other events than the log has", "those of the log")
    live = LiveState(
        state,
        aggregates,
        known=known,
        requests=RecentRequests(found.latest),
        acted_on=extra["acted_on"],
        n_erased=n_erased,
    )
    live.n_saved = known.n_events
    live.apply(list(visible_events(found.tail)))
    return live
