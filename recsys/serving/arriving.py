"""Small writes that no thread waits for: gRPC's own thread takes them in, the commit answers them.

A click is a call with one message, and most of what it costs in a thread is waking that thread: for
the message, for the end of the stream, for the commit. Here the thread that polls reads the first
message and hands its events in, and the thread that commits sends the answer. What is anything else
than one small message of good events goes on in a thread of the pool, as gRPC would have begun it,
and where gRPC is not made as it was known (`recsys.serving.grpc_parts`) everything does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import grpc
from grpc_status import rpc_status

from recsys.serving import grpc_parts
from recsys.serving.commit import Ticket
from recsys.serving.doors import Door
from recsys.serving.logs import only_logged
from recsys.serving.observer import Observer
from recsys.serving.status import status_of

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")

WRITE_EVENTS: Final = "/recsys.v1.EventService/WriteEvents"
#: A longer message is checked in a thread; the events of this one take a millisecond or two.
_SMALL_BYTES: Final = 2_048


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
            then: Called with the ticket when it is settled.

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
        self._has_ended = self._is_settled = self._has_left = False
        self.over: Future[Any] = Future()

    def begin(self) -> None:
        """Ask for the first message; gRPC holds the lock of the call."""
        self._service.enter()
        try:
            grpc_parts.ask(self._event, self._state, self._heard)
        except Exception as error:  # noqa: BLE001 - see `_heard`
            self._end(partial(self._refuse, error))

    def _heard(self, event: object) -> grpc_parts.Finished:
        """Take in what came; an error would end gRPC's thread, and with it the server.

        Returns:
            For gRPC's thread.
        """
        finished: grpc_parts.Finished | None = None
        try:
            data = grpc_parts.message_of(event)
            if self._ticket is None and data is not None and self._is_taken(data):
                # It may be settled already, and is answered when the caller has said all.
                with self._state.condition:
                    grpc_parts.ask(self._event, self._state, self._heard)
                return None, ()
            finished = grpc_parts.received(self._state, is_last=data is None)
            if self._ticket is None or data is not None:
                self._go_on([one for one in (self._ticket, data) if one is not None])
            else:
                self._heard_all()
        except Exception as error:  # noqa: BLE001
            self._end(partial(self._refuse, error))
        return finished or grpc_parts.received(self._state, is_last=False)

    def _is_taken(self, data: bytes) -> bool:
        if len(data) <= _SMALL_BYTES:
            # A thread comes to the same error, and tells it.
            with contextlib.suppress(Exception):
                self._ticket = self._service.take(self._parse(data), self._settled)
        return self._ticket is not None

    def _heard_all(self) -> None:
        with self._state.condition:
            self._has_ended, is_settled = True, self._is_settled
        if is_settled:
            self._end(self._answer)

    def _settled(self, _: Ticket) -> None:
        """Hear of the commit, in its thread; the end may not have been read yet."""
        with self._state.condition:
            self._is_settled, has_ended = True, self._has_ended
        if has_ended:
            self._end(self._answer)

    def _go_on(self, read: list[bytes | Ticket]) -> None:
        """Go on in a thread with what was read, and with what gRPC reads from there on."""
        rest = self._args[4]()

        def messages() -> Iterator[object]:
            for one in read:
                yield self._parse(one) if isinstance(one, bytes) else one
            yield from rest

        def unless_over() -> Iterator[object] | None:
            # A call that got no thread is refused, and yet waits in the pool for one.
            return None if self.over.done() else messages()

        self._leave()
        thread = self._door.thread(self._call, *self._args[:4], unless_over, *self._args[5:])
        thread.add_done_callback(lambda _: self.over.set_result(None))

    def _leave(self) -> None:
        if not self._has_left:
            self._has_left = True
            self._service.leave()

    def _end(self, how: Callable[[], grpc.StatusCode]) -> None:
        """End the call, and raise nothing: all calls need the thread that does it.

        Args:
            how: Sends answer or status; gives the code that counts.
        """
        code = grpc.StatusCode.UNKNOWN
        with only_logged("call_not_answered"):
            code = how()
        self._leave()
        with only_logged("call_not_observed"):
            seconds = time.perf_counter() - self._begun
            metadata = self._event.invocation_metadata
            self._door.observer.call_passed(WRITE_EVENTS, metadata, code.name, seconds)
        self.over.set_result(None)

    def _answer(self) -> grpc.StatusCode:
        assert self._ticket is not None
        try:
            response = self._service.answer(self._ticket)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            return self._refuse(error)
        return grpc_parts.answer(self._event, self._state, response)

    def _refuse(self, error: Exception) -> grpc.StatusCode:
        status = rpc_status.to_status(status_of(error))
        return grpc_parts.abort(
            self._event,
            self._state,
            code=status.code,
            details=status.details.encode(),
            trailing=status.trailing_metadata,
        )
