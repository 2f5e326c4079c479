"""How many calls of each sort the server takes on: the rest is refused where it arrives.

Every sort of work has threads of its own, so none keeps another, or health, from its turn. A call
for which there is none is refused in the thread that gRPC polls with, before its message is read:
with many more callers than capacity most calls are refused, and each refusal takes from the
answers. Refusing in a thread of a pool, with the message read, costs two and a half times as much
CPU. A bound of all calls (`maximum_concurrent_rpcs`) is as cheap, but refuses health checks too.

gRPC asks a behaviour for `experimental_thread_pool`, and runs it there. Were that no longer so,
refusals would be as right and dearer, and `tests/serving/test_doors.py` would say so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import grpc

from recsys.errors import OverloadError
from recsys.serving import grpc_parts
from recsys.serving.logs import only_logged
from recsys.serving.observer import Observer
from recsys.serving.status import code_of

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")
_Details: TypeAlias = grpc.HandlerCallDetails
_Continuation: TypeAlias = Callable[[_Details], grpc.RpcMethodHandler | None]

#: Where gRPC looks for the threads of a behaviour.
_POOL: Final = "experimental_thread_pool"


class Door(ThreadPoolExecutor):
    """The threads for one sort of work, and how many calls are inside.

    Args:
        what: Named in refusals.
        size: How many calls may be inside, at work or waiting for a turn.
        observer: Hears of who enters, leaves and is refused.
    """

    def __init__(self, what: str, size: int, observer: Observer) -> None:
        super().__init__(size, thread_name_prefix=what)
        self.what = what
        self.size = size
        self._observer = observer
        self._lock = threading.Lock()
        self._n_inside = 0

    @property
    def is_full(self) -> bool:
        """Whether one more call would have no thread; only gRPC's own thread lets calls in."""
        return self._n_inside >= self.size

    @property
    def n_inside(self) -> int:
        """How many calls are at work or wait for a turn."""
        return self._n_inside

    def submit(
        self, call: Callable[_Given, _Got], /, *args: _Given.args, **kwargs: _Given.kwargs
    ) -> Future[_Got]:
        """Let a call in.

        Returns:
            Done when it has left.
        """
        future = super().submit(call, *args, **kwargs)
        self.count(future)
        return future

    def count(self, call: Future[Any]) -> None:
        """Count a call as inside until it is done."""
        self._count(1)
        call.add_done_callback(lambda _: self._count(-1))

    def _count(self, change: int) -> None:
        with self._lock:
            self._n_inside += change
        self._observer.queued(self.what, change)


class _Here(ThreadPoolExecutor):
    """Runs what it is given at once, in the thread that gives it."""

    def __init__(self) -> None:
        super().__init__(1)
        #: The same for all: nobody asks for the result of a refusal, only whether it is over.
        self._done: Future[Any] = Future()
        self._done.set_result(None)

    def submit(
        self, call: Callable[_Given, _Got], /, *args: _Given.args, **kwargs: _Given.kwargs
    ) -> Future[_Got]:
        """Refuse a call.

        Returns:
            Done, with no result.
        """
        given: tuple[Any, ...] = args
        if grpc_parts.IS_AS_KNOWN and isinstance(refusal := given[3], _Refusal):
            # Without what gRPC makes for a behaviour: a context, and an exception that ends it.
            # And without its guard: an error would end this thread, and with it the server.
            refusal.tell()
            with only_logged("call_not_refused"):
                grpc_parts.abort(given[1], given[2], code=refusal.code, details=refusal.details)
        else:
            call(*args, **kwargs)
        return self._done


_HERE: Final = _Here()


class DoorInterceptor(grpc.ServerInterceptor):
    """Sends every call through its door, or away.

    Args:
        doors: By method, such as `/recsys.v1.RankingService/Rank`; other calls use the server's own
            threads.
        observer: Hears of refused calls.
    """

    def __init__(self, doors: Mapping[str, Door], observer: Observer) -> None:
        self._doors = doors
        self._observer = observer
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._refusing: dict[str, grpc.RpcMethodHandler] = {}

    def intercept_service(
        self, continuation: _Continuation, handler_call_details: _Details
    ) -> grpc.RpcMethodHandler | None:
        """Look at a call.

        Returns:
            Its handler, or one that refuses; None when there is none for this method.
        """
        method = handler_call_details.method
        door = self._doors.get(method)
        if door is None:
            return continuation(handler_call_details)
        if method not in self._handlers:
            handler = continuation(handler_call_details)
            if handler is None:
                return None
            setattr(_behaviour_of(handler), _POOL, door)
            self._handlers[method] = handler
            error = OverloadError(door.what, door.size)
            self._refusing[method] = refusing(handler, method, error, self._observer)
        if door.is_full:
            self._observer.shed(door.what, "full")
            return self._refusing[method]
        return self._handlers[method]


def refusing(
    handler: grpc.RpcMethodHandler, method: str, error: Exception, observer: Observer
) -> grpc.RpcMethodHandler:
    """Make a handler that refuses calls of a method without reading their messages.

    Args:
        handler: Of the method.
        method: Its name.
        error: Why.
        observer: Hears of every refused call.

    Returns:
        The handler; of a streaming kind, because only those may leave messages unread.
    """
    refuse = _Refusal(method, error, observer)
    kind = "stream_stream" if handler.response_streaming else "stream_unary"
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    refuser: grpc.RpcMethodHandler = make(refuse)
    return refuser


class _Refusal:
    """A behaviour that refuses.

    Nothing but the count is kept of a refused call: with ten times the capacity there are nine of
    them for each answer, and what listens to a call costs as much as gRPC's part of a refusal.

    Args:
        method: That is called.
        error: Why it is refused.
        observer: Hears of it.
    """

    def __init__(self, method: str, error: Exception, observer: Observer) -> None:
        self.code, self._text = code_of(error), str(error)
        self.details = self._text.encode()
        self._method, self._name = method, self.code.name
        self._observer = observer
        setattr(self, _POOL, _HERE)

    def tell(self) -> None:
        """Let the observer know."""
        self._observer.call_refused(self._method, self._name)

    def __call__(self, _: Iterator[bytes], context: grpc.ServicerContext) -> None:
        self.tell()
        context.abort(self.code, self._text)


def _behaviour_of(handler: grpc.RpcMethodHandler) -> object:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    return next(behaviour for behaviour in kinds if behaviour is not None)
