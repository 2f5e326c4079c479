"""Parts of gRPC's own server that its public interface does not offer, where they are as known.

A handler of gRPC for Python is a function that runs in a thread and waits there. What need not wait
is done by the functions of `grpc._server` that its own handlers are made of. They are not public,
so whoever uses them asks `IS_AS_KNOWN` first and has another way, as right and dearer
(docs/decisions/0190-small-writes-have-no-thread.md).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import grpc
from grpc import _server  # noqa: PLC2701 - what this module is for
from grpc._cython import cygrpc  # noqa: PLC2701

#: What gRPC's thread is told after an event: a call that is over, and what to do about it.
Finished: TypeAlias = tuple[Any, Any]

_IN_POOL: Final = (
    "rpc_event",
    "state",
    "behavior",
    "argument_thunk",
    "request_deserializer",
    "response_serializer",
)
_PARAMETERS: Final = {
    "_serialized_request": ("request_event",),
    "_possibly_finish_call": ("state", "token"),
    "_status": ("rpc_event", "state", "serialized_response"),
    "_abort": ("state", "call", "code", "details"),
    "_unary_response_in_pool": _IN_POOL,
    "_stream_response_in_pool": _IN_POOL,
}
_STATE: Final = (
    "condition",
    "due",
    "client",
    "code",
    "details",
    "trailing_metadata",
    "statused",
)
_NAMES: Final = ("_RECEIVE_MESSAGE_TOKEN", "_OPEN", "_CLOSED", "_CANCELLED")


def _is_as_known() -> bool:
    for name, parameters in _PARAMETERS.items():
        found = getattr(_server, name, None)
        if found is None or tuple(inspect.signature(found).parameters) != parameters:
            return False
    has_names = all(hasattr(_server, name) for name in _NAMES)
    return has_names and hasattr(cygrpc, "ReceiveMessageOperation") and _is_state_as_known()


def _is_state_as_known() -> bool:
    try:
        found = set(vars(_server._RPCState()))
    except (AttributeError, TypeError):  # no such class, made otherwise, or without a dictionary
        return False
    return found.issuperset(_STATE)


#: Whether the rest of this module may be used.
IS_AS_KNOWN: Final = _is_as_known()


def is_unary_answer(task: object) -> bool:
    """Say whether a pool is given a call that has one answer.

    Args:
        task: What gRPC gives to the pool first.

    Returns:
        True where the arguments that follow are the event, the call's state, the behaviour, what
        makes its argument, the deserializer and the serializer.
    """
    return IS_AS_KNOWN and task is _server._unary_response_in_pool


def ask(event: Any, state: Any, then: Callable[[Any], Finished]) -> None:  # noqa: ANN401
    """Ask for a message of a call.

    Args:
        event: With which the call came.
        state: Of the call.
        then: Called by gRPC's thread with an event for `message_of`.
    """
    event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), then)
    state.due.add(_server._RECEIVE_MESSAGE_TOKEN)


def message_of(event: Any) -> bytes | None:  # noqa: ANN401
    """Give what came.

    Returns:
        A message; None: there are no more, or the call is over.
    """
    found: bytes | None = _server._serialized_request(event)
    return found


def received(state: Any, *, is_last: bool) -> Finished:  # noqa: ANN401
    """Note that no message is asked for any more, and whether the caller has sent all.

    Returns:
        For gRPC's thread.
    """
    with state.condition:
        if is_last and state.client is _server._OPEN:
            state.client = _server._CLOSED
        token = _server._RECEIVE_MESSAGE_TOKEN
        finished: Finished = _server._possibly_finish_call(state, token)
    return finished


def answer(event: Any, state: Any, response: bytes) -> grpc.StatusCode:  # noqa: ANN401
    """End a call with an answer.

    Returns:
        `OK`, or why nobody was there any more.
    """
    _server._status(event, state, response)
    return _unless_gone(event, state, grpc.StatusCode.OK)


def abort(
    event: Any,  # noqa: ANN401
    state: Any,  # noqa: ANN401
    *,
    code: grpc.StatusCode,
    details: bytes,
    trailing: Any = None,  # noqa: ANN401
) -> grpc.StatusCode:
    """End a call with a status other than `OK`.

    Returns:
        Its code, or why nobody was there any more.
    """
    with state.condition:
        state.code, state.details, state.trailing_metadata = code, details, trailing
        _server._abort(state, event.call, cygrpc.StatusCode.unknown, b"")
    return _unless_gone(event, state, code)


def _unless_gone(event: Any, state: Any, code: grpc.StatusCode) -> grpc.StatusCode:  # noqa: ANN401
    if state.client is not _server._CANCELLED:
        return code
    # gRPC says that a call is over, and not whether its caller or its deadline ended it.
    is_late = time.time() >= event.call_details.deadline
    return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
