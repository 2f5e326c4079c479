"""Small writes that no thread waits for: gRPC's own thread takes them in, the commit answers them.

A click is a call with one message, and most of what it costs in a thread is waking that thread: for
the message, for the end of the stream, for the commit. Here the thread that polls reads the first
message and hands its events in, and the thread that commits sends the answer. What is anything else
than one small message of good events goes on in a thread of the pool, as gRPC would have begun it,
and where gRPC is not made as it was known (`recsys.serving.grpc_parts`) everything does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import grpc
import structlog
from grpc_status import rpc_status

from recsys.serving import grpc_parts
from recsys.serving.commit import Ticket
from recsys.serving.doors import Door
from recsys.serving.observer import Observer
from recsys.serving.status import status_of

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")

WRITE_EVENTS: Final = "/recsys.v1.EventService/WriteEvents"
#: A longer message is checked in a thread; the events of this one take a millisecond or two.
_SMALL_BYTES: Final = 2_048

_log = structlog.get_logger("recsys.serving")


class SmallWrites(Protocol):
    """Takes small messages of good events in, and makes the answer."""

    def enter(self) -> None:
        """Say that a caller has come who may hand in events."""
        ...

    def leave(self) -> None:
        """Say that a caller has gone, or goes on in a thread."""
        ...

    def take(self, message: object, then: Callable[[Ticket], None]) -> Ticket | None:
        """Hand in the events of a message.

        Args:
            message: What the deserializer gave.
            then: Called with the ticket when it is settled; must not raise.

        Returns:
            None: nothing was done, and a thread must do it.
        """
        ...

    def answer(self, ticket: Ticket) -> bytes:
        """Make the answer to a call of one message.

        Returns:
            The answer, serialised; an error where the events could not be written.
        """
        ...


class EventDoor(Door):
    """The door of those who write events.

    Args:
        size: How many calls may be inside.
        observer: Hears of who enters, leaves and is refused.
    """

    def __init__(self, size: int, observer: Observer) -> None:
        super().__init__("write events", size, observer)
        self.observer = observer
        self._service: SmallWrites | None = None

    def serve(self, service: SmallWrites) -> None:
        """Let small writes be taken in without a thread."""
        self._service = service

    def submit(
        self, call: Callable[_Given, _Got], /, *args: _Given.args, **kwargs: _Given.kwargs
    ) -> Future[_Got]:
        """Let a call in.

        Returns:
            Done when it has left.
        """
        given: tuple[Any, ...] = args
        if self._service is None or not grpc_parts.is_unary_answer(given[0]):
            return super().submit(call, *args, **kwargs)
        arriving = _Arriving(self, self._service, call, given)
        self.count(arriving.over)
        arriving.begin()
        return arriving.over

    def thread(self, call: Callable[..., Any], *args: object) -> Future[Any]:
        """Give a call that is inside a thread.

        Returns:
            Done when it has ended.
        """
        return ThreadPoolExecutor.submit(self, call, *args)


class _Arriving:
    """A call, from its arrival to its answer or to its thread.

    Args:
        door: Through which it came.
        service: Takes its events.
        call: What gRPC would have run in a thread.
        args: With these: what it does, the event, the call's state, the behaviour, what gives the
            messages, and what reads and writes them.
    """

    def __init__(
        self,
        door: EventDoor,
        service: SmallWrites,
        call: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        self._begun = time.perf_counter()
        self._door = door
        self._service = service
        self._call, self._args = call, args
        self._event, self._state = args[1], args[2]
        self._parse: Callable[[bytes], object] = args[5]
        self._ticket: Ticket | None = None
        self._has_ended = self._is_settled = False
        self.over: Future[Any] = Future()

    def begin(self) -> None:
        """Ask for the first message; gRPC holds the lock of the call."""
        self._service.enter()
        grpc_parts.ask(self._event, self._state, self._first)

    def _first(self, event: object) -> grpc_parts.Finished:
        data = grpc_parts.message_of(event)
        if data is not None and len(data) <= _SMALL_BYTES:
            self._ticket = self._taken(data)
            if self._ticket is not None:
                # It may be settled already, and is answered when the caller has said all.
                with self._state.condition:
                    grpc_parts.ask(self._event, self._state, self._second)
                return None, ()
        return self._go_on([] if data is None else [data], is_last=data is None)

    def _taken(self, data: bytes) -> Ticket | None:
        try:
            return self._service.take(self._parse(data), self._settled)
        except Exception:  # noqa: BLE001 - would end gRPC's thread, and with it the server
            return None  # a thread comes to the same error, and tells it

    def _second(self, event: object) -> grpc_parts.Finished:
        data = grpc_parts.message_of(event)
        if data is not None and self._ticket is not None:
            return self._go_on([self._ticket, data], is_last=False)
        finished = grpc_parts.received(self._state, is_last=True)
        with self._state.condition:
            self._has_ended, is_settled = True, self._is_settled
        if is_settled:
            self._answer()
        return finished

    def _settled(self, ticket: Ticket) -> None:
        """Hear of the commit, in its thread; the end may not have been read yet."""
        with self._state.condition:
            self._ticket, self._is_settled = ticket, True
            has_ended = self._has_ended
        if has_ended:
            self._answer()

    def _go_on(self, read: list[bytes | Ticket], *, is_last: bool) -> grpc_parts.Finished:
        """Go on in a thread with what was read, and with what gRPC reads from there on.

        Returns:
            For gRPC's thread.
        """
        finished = grpc_parts.received(self._state, is_last=is_last)
        rest = self._args[4]()

        def messages() -> Iterator[object]:
            for one in read:
                yield self._parse(one) if isinstance(one, bytes) else one
            yield from rest

        self._service.leave()
        thread = self._door.thread(self._call, *self._args[:4], messages, *self._args[5:])
        thread.add_done_callback(lambda _: self.over.set_result(None))
        return finished

    def _answer(self) -> None:
        """Answer; nobody may be there any more."""
        code = grpc.StatusCode.UNKNOWN
        try:
            code = self._status()
        except Exception as error:  # noqa: BLE001 - other callers of the group wait for theirs
            _log.error("call_not_answered", found=type(error).__name__)
        finally:
            self._service.leave()
            seconds = time.perf_counter() - self._begun
            metadata = self._event.invocation_metadata
            self._door.observer.call_passed(WRITE_EVENTS, metadata, code.name, seconds)
            self.over.set_result(None)

    def _status(self) -> grpc.StatusCode:
        assert self._ticket is not None
        try:
            response = self._service.answer(self._ticket)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            status = rpc_status.to_status(status_of(error))
            grpc_parts.abort(
                self._event,
                self._state,
                code=status.code,
                details=status.details.encode(),
                trailing=status.trailing_metadata,
            )
            code: grpc.StatusCode = status.code
            return code
        is_there = grpc_parts.answer(self._event, self._state, response)
        return grpc.StatusCode.OK if is_there else grpc.StatusCode.CANCELLED
