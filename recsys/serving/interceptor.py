"""Around every RPC: errors become statuses, messages that cannot be parsed become errors.

The observer hears of every call here, with the code that its caller gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc_status import rpc_status

from recsys.errors import OverloadError, RequestError
from recsys.serving.observer import Observer
from recsys.serving.status import code_of, status_of

_Behaviour: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]
_Parse: TypeAlias = Callable[[bytes], Message]
_Details: TypeAlias = grpc.HandlerCallDetails

#: Stands for a message that is none; for an error in parsing gRPC itself would answer `INTERNAL`.
_MALFORMED: Final = Empty()


class StatusInterceptor(grpc.ServerInterceptor):
    """Maps errors to statuses by the table of `recsys.serving.status`.

    Args:
        observer: Hears of calls.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def intercept_service(
        self,
        continuation: Callable[[_Details], grpc.RpcMethodHandler],
        handler_call_details: _Details,
    ) -> grpc.RpcMethodHandler:
        """Wrap a handler.

        Returns:
            The handler; None when there is none for this method.
        """
        handler = continuation(handler_call_details)
        # A watch of the health service pushes answers by itself and reports no errors this way.
        if handler is None or (handler.response_streaming and not handler.request_streaming):
            return handler
        make, behaviour = _kind_of(handler)
        wrap = _streaming if handler.response_streaming else _single
        parse = _tolerant(handler.request_deserializer)
        checked = _checked_stream(behaviour) if handler.request_streaming else _checked(behaviour)
        call = _Call(self._observer, handler_call_details.method)
        return make(wrap(checked, call), parse, handler.response_serializer)


def _kind_of(handler: grpc.RpcMethodHandler) -> tuple[Callable[..., Any], _Behaviour]:
    if not handler.request_streaming:
        return grpc.unary_unary_rpc_method_handler, handler.unary_unary
    if not handler.response_streaming:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    return grpc.stream_stream_rpc_method_handler, handler.stream_stream


def _tolerant(parse: _Parse) -> _Parse:
    def parse_or_mark(data: bytes) -> Message:
        try:
            return parse(data)
        except Exception:  # noqa: BLE001 - protobuf's own error differs between its backends
            return _MALFORMED

    return parse_or_mark


def _check_parsed(request: Message) -> Message:
    if request is _MALFORMED:
        raise RequestError([("", "the message cannot be parsed; expected one of recsys.v1")])
    return request


def _checked(behaviour: _Behaviour) -> _Behaviour:
    return lambda request, context: behaviour(_check_parsed(request), context)


def _checked_stream(behaviour: _Behaviour) -> _Behaviour:
    return lambda requests, context: behaviour(map(_check_parsed, requests), context)


class _Call:
    """How calls of one method end."""

    def __init__(self, observer: Observer, method: str) -> None:
        self._observer = observer
        self._method = method

    @contextmanager
    def answering(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Turn what the block raises into the call's status, and tell the observer.

        Yields:
            Nothing.

        Raises:
            RpcError: The call ended while its messages were read.
        """
        start, code = time.perf_counter(), grpc.StatusCode.OK
        self._observer.call_began(self._method, context.invocation_metadata())
        try:
            yield
        except grpc.RpcError:
            # The call is over: gRPC raised this while its messages were read, and knows it again.
            code = grpc.StatusCode.CANCELLED
            raise
        except OverloadError as error:
            # The same as below without details, which there are none of: refusing must cost little.
            code = code_of(error)
            context.abort(code, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            code = code_of(error)
            context.abort_with_status(rpc_status.to_status(status_of(error)))
        finally:
            self._observer.call_ended(self._method, code.name, time.perf_counter() - start)


def _single(behaviour: _Behaviour, call: _Call) -> _Behaviour:
    def answer(request: Message, context: grpc.ServicerContext) -> Message:
        with call.answering(context):
            return behaviour(request, context)

    return answer


def _streaming(behaviour: _Behaviour, call: _Call) -> _Behaviour:
    def answer(requests: Iterator[Message], context: grpc.ServicerContext) -> Iterator[Message]:
        with call.answering(context):
            yield from behaviour(requests, context)

    return answer
