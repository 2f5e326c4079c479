"""Before every RPC, health and reflection included: may this caller do that?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import grpc
from google.protobuf.message import Message

from recsys.errors import AuthenticationError, ScopeError
from recsys.serving.observer import Observer
from recsys.serving.status import code_of
from recsys.serving.tokens import Tokens

_Details: TypeAlias = grpc.HandlerCallDetails
_Continuation: TypeAlias = Callable[[_Details], grpc.RpcMethodHandler | None]


class AuthorizationInterceptor(grpc.ServerInterceptor):
    """Refuses calls without a token that allows them, before their messages are read.

    Args:
        tokens: Who may do what.
        observer: Hears of refused calls.
    """

    def __init__(self, tokens: Tokens, observer: Observer) -> None:
        self._tokens = tokens
        self._observer = observer

    def intercept_service(
        self, continuation: _Continuation, handler_call_details: _Details
    ) -> grpc.RpcMethodHandler | None:
        """Look at a call.

        Returns:
            The handler; or one that refuses; None when there is none for this method.
        """
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        try:
            self._tokens.check(method, handler_call_details.invocation_metadata)
        except (AuthenticationError, ScopeError) as error:
            return self._refusing(handler, method, error)
        return handler

    def _refusing(
        self, handler: grpc.RpcMethodHandler, method: str, error: AuthenticationError | ScopeError
    ) -> grpc.RpcMethodHandler:
        code = code_of(error)

        def refuse(_: Message | Iterator[Message], context: grpc.ServicerContext) -> None:
            self._observer.call_began(method, ())
            self._observer.call_ended(method, code.name, 0.0)
            context.abort(code, str(error))

        if handler.request_streaming:
            is_stream = handler.response_streaming
            kind = "stream_stream" if is_stream else "stream_unary"
        else:
            kind = "unary_stream" if handler.response_streaming else "unary_unary"
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        # The message is not parsed: it is nobody's.
        return make(refuse, lambda data: data, lambda message: message)
