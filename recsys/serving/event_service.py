"""`EventService`: check events one by one, commit them in groups, answer when they are durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import grpc

from recsys.errors import EventError, RequestError
from recsys.events.checks import check_event
from recsys.schema import MAX_ID_LENGTH, MAX_LIST_LENGTH, Event
from recsys.serving.admission import remaining_s
from recsys.serving.clock import Clock
from recsys.serving.commit import GroupCommit, Ticket
from recsys.serving.event_messages import event_of
from recsys.serving.observer import Observer
from recsys.v1 import event_pb2, event_pb2_grpc

#: Rejected events that an answer lists; all are counted.
MAX_LISTED: Final = 1_000
#: An answer quotes what was sent, and must not grow with it.
_LONGEST_FIELD: Final = 300
#: Messages of one call that may be on their way to the disk while the next one is read.
_PIPELINED: Final = 4
#: Fields of the event itself; all others are fields of its kind.
_OUTER_FIELDS: Final = frozenset({"", "event_id", "occurred_at"})


class EventService(event_pb2_grpc.EventServiceServicer):
    """Takes events in.

    Args:
        commit: Makes them durable and visible.
        clock: Stamps those that do not say when they happened, and judges those that do.
        observer: Hears what became of events.
    """

    def __init__(self, commit: GroupCommit, clock: Clock, observer: Observer) -> None:
        self._commit = commit
        self._clock = clock
        self._observer = observer

    def WriteEvents(  # noqa: N802 - the name of the RPC
        self,
        request_iterator: Iterator[event_pb2.WriteEventsRequest | Ticket],
        context: grpc.ServicerContext,
    ) -> event_pb2.WriteEventsResponse:
        """Write events.

        Args:
            request_iterator: Messages; a ticket stands for one that `take` has taken in.
            context: Of the call.

        Returns:
            What became of them, once all that were accepted are durable.
        """
        writing = _Writing(self._commit, self._clock, context)
        with self._commit.writing():
            for request in request_iterator:
                if isinstance(request, Ticket):
                    writing.taken(request)
                else:
                    writing.take(request.events)
            response = writing.finish()
        self._observer.events_written(response.accepted, response.duplicates, response.rejected)
        return response

    def enter(self) -> None:
        """Say that a caller has come who may hand in events."""
        self._commit.enter()

    def leave(self) -> None:
        """Say that a caller has gone, or goes on in a thread."""
        self._commit.leave()

    def take(self, message: object, then: Callable[[Ticket], None]) -> Ticket | None:
        """Hand in the events of a message without waiting, where all is well with them.

        Args:
            message: As it was parsed.
            then: Called with the ticket once it is settled, in the thread that commits.

        Returns:
            None: nothing was done. `WriteEvents` waits for room, and says what is wrong.
        """
        if not isinstance(message, event_pb2.WriteEventsRequest) or not message.events:
            return None
        try:
            events = [_checked(found, self._clock) for found in message.events]
        except EventError:
            return None
        return self._commit.try_submit(events, then)

    def answer(self, ticket: Ticket) -> bytes:
        """Make the answer to a call of one message that `take` has taken in.

        Args:
            ticket: Settled.

        Returns:
            The answer, serialised.

        Raises:
            RecsysError: The events could not be written.
        """
        ticket.check()
        self._observer.events_written(ticket.n_accepted, ticket.n_duplicates, 0)
        response = event_pb2.WriteEventsResponse(
            accepted=ticket.n_accepted, duplicates=ticket.n_duplicates
        )
        return bytes(response.SerializeToString())


def _checked(message: event_pb2.Event, clock: Clock) -> Event:
    now_us = clock.now_us()
    event = event_of(message, now_us)
    check_event(event, now_us=now_us)
    return event


class _Writing:
    """One call: its events on their way to the disk, and what became of the others."""

    def __init__(self, commit: GroupCommit, clock: Clock, context: grpc.ServicerContext) -> None:
        self._commit = commit
        self._clock = clock
        self._context = context
        self._tickets: deque[Ticket] = deque()
        self._response = event_pb2.WriteEventsResponse()
        self._n_events = 0

    def take(self, messages: Iterable[event_pb2.Event]) -> None:
        """Check the events of one message, and hand the good ones to the committing thread.

        Raises:
            RequestError: They are too many for one message.
        """
        found = list(messages)
        if len(found) > MAX_LIST_LENGTH:
            text = f"has {len(found)} events; expected at most {MAX_LIST_LENGTH} in a message"
            raise RequestError([("events", text)])
        events = [event for message in found if (event := self._good(message)) is not None]
        if events:
            self._tickets.append(self._commit.submit(events, remaining_s(self._context)))
        if len(self._tickets) > _PIPELINED:
            self._settle(self._tickets.popleft())

    def taken(self, ticket: Ticket) -> None:
        """Count in a message that was handed in before."""
        self._n_events += len(ticket.events)
        self._tickets.append(ticket)

    def finish(self) -> event_pb2.WriteEventsResponse:
        """Wait for all that is on its way.

        Returns:
            What became of all events.
        """
        while self._tickets:
            self._settle(self._tickets.popleft())
        return self._response

    def _good(self, message: event_pb2.Event) -> Event | None:
        try:
            return _checked(message, self._clock)
        except EventError as error:
            self._reject(message, error)
            return None
        finally:
            self._n_events += 1

    def _reject(self, message: event_pb2.Event, error: EventError) -> None:
        self._response.rejected += 1
        if self._response.rejected > MAX_LISTED:
            return
        kind = message.WhichOneof("kind")
        is_outer = error.field in _OUTER_FIELDS
        self._response.rejections.add(
            event_index=self._n_events,
            event_id=message.event_id[:MAX_ID_LENGTH],
            field=(error.field if is_outer else f"{kind}.{error.field}")[:_LONGEST_FIELD],
            reason=error.reason,
        )

    def _settle(self, ticket: Ticket) -> None:
        ticket.wait(remaining_s(self._context))
        self._response.accepted += ticket.n_accepted
        self._response.duplicates += ticket.n_duplicates
