"""Group commit: one thread makes events of many callers durable together, then visible.

A caller hands in a batch and gets a ticket. The thread takes every batch that has arrived, leaves
out what is known, appends the rest to the spool, syncs once, applies it to the online state and
settles the tickets. Before each group, and twenty times a second, it takes in what other processes
have made durable, so a retry that comes to another process is known there. So an fsync is shared by
all who wait for one, an acknowledged event survives the process, and it counts for the next
request. The queue is bounded: who writes faster than the disk takes waits, and then is refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from recsys.errors import DeadlineError, LogError, OverloadError, RecsysError
from recsys.schema import MICROSECONDS, Event, VisibleEvent
from recsys.serving.clock import Clock
from recsys.serving.contracts import EventFollower, EventWriter
from recsys.serving.logs import only_logged
from recsys.serving.observer import Observer
from recsys.serving.switch import EngineSwitch

_WHAT: Final = "write events"
#: What waits for the disk.
_EVENTS: Final = "events"
#: Events that may wait for the disk; more make their callers wait.
_QUEUE_EVENTS: Final = 20_000
#: A group of this size does not wait for more.
_GROUP_EVENTS: Final = 2_000
#: Callers in a group from which on the next one may gather for longer. Most of what a group costs
#: it costs whatever its size, so many callers are served sooner by fewer groups.
_MANY_CALLERS: Final = 8
_LONGER: Final = 4
#: How often the events of other processes are looked for, in seconds.
_FOLLOW_S: Final = 0.05
#: Events that change the online state in one go; ranking waits while they do.
_APPLY_EVENTS: Final = 256

_log = structlog.get_logger("recsys.serving")


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class Ticket:
    """A batch on its way to the disk.

    Args:
        events: Checked events.
        n_accepted: How many of them were new; known when it is settled, as is the next.
        n_duplicates: How many were known.
        then: Called with the ticket once it is settled, in the thread that commits; what it raises
            is logged. None: somebody waits.
    """

    events: Sequence[Event]
    n_accepted: int = 0
    n_duplicates: int = 0
    then: Callable[[Ticket], None] | None = None
    _failure: Exception | None = None
    _is_settled: bool = False
    #: Held until the ticket is settled; a lock alone costs a fifth of an event.
    _pending: threading.Lock = field(default_factory=_held_lock)

    def wait(self, timeout_s: float) -> None:
        """Wait until the batch is durable and visible.

        Raises:
            DeadlineError: It is not yet; it may become so.
            RecsysError: It could not be written; nothing of it was.
        """
        if not self._pending.acquire(timeout=max(0.0, timeout_s)):
            raise DeadlineError(_WHAT)
        self.check()

    def check(self) -> None:
        """Raise what kept a settled batch from being written."""
        if self._failure is not None:
            raise self._failure

    def settle(self, failure: Exception | None = None) -> None:
        """Release whoever waits; what is settled stays as it is."""
        if self._is_settled:
            return
        self._is_settled, self._failure = True, failure
        self._pending.release()
        # Who waits and the ticket know each other: what is left to the collector stops all threads.
        then, self.then = self.then, None
        if then is not None:
            with only_logged("settled_batch_not_answered"):
                then(self)


class GroupCommit:
    """Writes batches of events, many callers' at a time.

    Args:
        switch: Holds the engines whose state the events change.
        writer: Where they become durable; closed together with this.
        clock: Gives every event the instant from which on it is visible.
        follower: Gives events of other processes; closed together with this. None: there are none.
        gather_ms: How long the first batch of a group waits for those of other callers who have
            begun to write; four times as long while many do.
        observer: Hears of every group.
    """

    def __init__(
        self,
        switch: EngineSwitch,
        writer: EventWriter,
        clock: Clock,
        *,
        follower: EventFollower | None = None,
        gather_ms: float,
        observer: Observer,
    ) -> None:
        self._observer = observer
        self._switch = switch
        self._writer = writer
        self._clock = clock
        self._follower = follower
        self._is_behind = False
        self._n_erased = 0
        self._gather_s = gather_ms / 1000
        self._waiting: deque[Ticket] = deque()
        self._n_events = 0
        self._n_writers = 0
        self._was_crowded = False
        self._closed = False
        lock = threading.Lock()
        # One lock, three things to wait for: nobody is woken for what another waits for.
        self._arrived = threading.Condition(lock)
        self._filled = threading.Condition(lock)
        self._room = threading.Condition(lock)
        #: Durable, though the state failed to take them: a retry must not write them again.
        self._unapplied: set[tuple[type[Event], str]] = set()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say that a caller may hand in batches in the block: a group waits for no other callers.

        Yields:
            Nothing.
        """
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Say that one more caller may hand in batches."""
        with self._arrived:
            self._n_writers += 1

    def leave(self) -> None:
        """Say that one less may."""
        with self._arrived:
            self._n_writers -= 1

    def submit(self, events: Sequence[Event], timeout_s: float) -> Ticket:
        """Hand in a batch.

        Args:
            events: Checked events.
            timeout_s: How long to wait for room in the queue.

        Returns:
            Its ticket.

        Raises:
            OverloadError: There was no room in time, or the server is stopping.
        """
        ticket = Ticket(events)
        with self._room:
            if not self._room.wait_for(self._has_room, timeout_s):
                self._observer.shed(_EVENTS, "full")
                raise OverloadError(_WHAT, _QUEUE_EVENTS)
            if self._closed:
                raise OverloadError(_WHAT, _QUEUE_EVENTS)
            self._put(ticket)
        self._observer.queued(_EVENTS, len(events))
        return ticket

    def try_submit(self, events: Sequence[Event], then: Callable[[Ticket], None]) -> Ticket | None:
        """Hand in a batch, and wait for nothing.

        Args:
            events: Checked events.
            then: Called with the ticket once it is settled, in the thread that commits.

        Returns:
            Its ticket; None: there is no room now.
        """
        ticket = Ticket(events, then=then)
        with self._room:
            if self._closed or not self._has_room():
                return None
            self._put(ticket)
        self._observer.queued(_EVENTS, len(events))
        return ticket

    def _put(self, ticket: Ticket) -> None:
        self._waiting.append(ticket)
        self._n_events += len(ticket.events)
        if len(self._waiting) == 1:
            self._arrived.notify()
        if self._is_group_full():
            self._filled.notify()

    def close(self) -> None:
        """Commit what is waiting, then close the spool."""
        with self._room:
            self._closed = True
            for condition in (self._arrived, self._filled, self._room):
                condition.notify_all()
        self._thread.join()
        self._writer.close()
        if self._follower is not None:
            self._follower.close()

    def _has_room(self) -> bool:
        return self._closed or self._n_events < _QUEUE_EVENTS

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            try:
                self._follow()
                if group:
                    self._commit(group)
            except Exception as error:  # noqa: BLE001 - belongs to the callers, not to this thread
                if group:
                    self._observer.commit_failed("log" if isinstance(error, LogError) else "other")
                for ticket in group:
                    ticket.settle(error)

    def _next_group(self) -> list[Ticket] | None:
        """Take all batches that have arrived.

        Returns:
            None of them when it is time to look for others' events; None when everything is
            written and no more will come.
        """
        wait_s = None if self._follower is None else _FOLLOW_S
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._closed, wait_s)
            if self._waiting:
                longer = _LONGER if self._was_crowded else 1
                self._filled.wait_for(self._is_group_full, longer * self._gather_s)
            elif self._closed:
                return None
            group, n_events = list(self._waiting), self._n_events
            self._waiting.clear()
            self._was_crowded = len(group) >= _MANY_CALLERS
            self._n_events = 0
            self._room.notify_all()
        self._observer.queued(_EVENTS, -n_events)
        return group

    def _follow(self) -> None:
        """Take in what other processes have made durable; what fails there is not this one's."""
        if self._follower is None:
            return
        try:
            found = self._follower.read(self._switch.engine.last_event_us)
        except (RecsysError, OSError) as error:
            if not self._is_behind:
                _log.error("events_of_others_not_read", found=str(error))
            self._is_behind = True
            return
        self._is_behind = False
        self._follow_events(found)
        erased = self._follower.erased()
        n_erased = self._follower.n_erased
        if erased or n_erased > max(self._n_erased, self._switch.engine.n_erased):
            self._n_erased = n_erased
            # What is in the file names them: a merge can write it anew once it is closed.
            self._writer.close()
            self._switch.forget(erased)

    def _follow_events(self, found: list[VisibleEvent]) -> None:
        if found:
            self._observer.followed(
                "spool", max(0, self._clock.now_us() - found[0].visible_at) / MICROSECONDS
            )
            self._apply(found)

    def _is_group_full(self) -> bool:
        is_everybody_here = len(self._waiting) >= self._n_writers
        return self._closed or self._n_events >= _GROUP_EVENTS or is_everybody_here

    def _commit(self, group: list[Ticket]) -> None:
        new = self._new_events(group)
        if new:
            start = time.perf_counter()
            self._writer.append(new)
            self._writer.sync()
            self._apply(new)
            self._observer.committed(len(new), time.perf_counter() - start)
        for ticket in group:
            ticket.settle()

    def _new_events(self, group: list[Ticket]) -> list[VisibleEvent]:
        taken: set[tuple[type[Event], str]] = set()
        new: list[VisibleEvent] = []
        # Asked once for all: a question costs more than its events.
        seen = iter(self._switch.seen([event for ticket in group for event in ticket.events]))
        for ticket in group:
            before = len(new)
            for event, is_seen in zip(ticket.events, seen, strict=False):
                key = (type(event), event.event_id)
                if is_seen or key in taken or key in self._unapplied:
                    continue
                taken.add(key)
                new.append(VisibleEvent(event, self._clock.now_us()))
            ticket.n_accepted = len(new) - before
            ticket.n_duplicates = len(ticket.events) - ticket.n_accepted
        return new

    def _apply(self, new: list[VisibleEvent]) -> None:
        try:
            for start in range(0, len(new), _APPLY_EVENTS):
                if start:
                    time.sleep(0)  # lets a request that waits for the state have its turn
                self._switch.apply(new[start : start + _APPLY_EVENTS])
        except Exception:
            self._unapplied |= {(type(v.event), v.event.event_id) for v in new}
            _log.error("durable events did not reach the online state", n_events=len(new))
            raise
