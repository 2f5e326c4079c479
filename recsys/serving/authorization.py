"""Before every RPC, health and reflection included: may this caller do that?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import grpc

from recsys.errors import AuthenticationError, ScopeError
from recsys.serving.doors import refusing
from recsys.serving.observer import Observer
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
            return refusing(handler, method, error, self._observer)
        return handler
