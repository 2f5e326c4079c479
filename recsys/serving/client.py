"""A typed client: one channel, deadlines on every call, retries where a retry changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, Unpack

import grpc

from recsys.pipeline.requests import RankedList
from recsys.schema import Event
from recsys.serving.calls import (
    Batches,
    RankOptions,
    WriteReport,
    field_violations,
    model_of,
    rank_request,
    report_of,
    set_options,
)
from recsys.serving.connecting import CHANNEL_OPTIONS, SERVICE_CONFIG, TIMEOUT_S, Caller, Tls
from recsys.serving.ranking_messages import ranked_list_of
from recsys.serving.throttle import Throttle
from recsys.v1 import (
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
)

__all__ = ["SERVICE_CONFIG", "Client", "RankOptions", "Tls", "WriteReport", "field_violations"]


class Client:
    """Calls a server; safe to use from several threads, and a context manager.

    Every method raises `grpc.RpcError` when the call fails; `field_violations` reads what was wrong
    with its fields. A server that refuses most requests to rank is sent fewer: the others fail
    here, with the same code, `RESOURCE_EXHAUSTED`. Every method takes a `timeout_s`, the deadline
    of its call in seconds.

    Args:
        address: Such as `127.0.0.1:50051`.
        timeout_s: Deadline of calls that are not given one, in seconds; switching models has five
            minutes.
        tls: None: nothing is encrypted.
        token: Bearer token; sent with every call.
        allow_insecure: Send the token to another machine although nothing is encrypted.

    Raises:
        ValueError: There is a token for another machine without `tls`, and that was not allowed.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = TIMEOUT_S,
        tls: Tls | None = None,
        token: str | None = None,
        allow_insecure: bool = False,
    ) -> None:
        self._caller = Caller(
            address, timeout_s=timeout_s, tls=tls, token=token, allow_insecure=allow_insecure
        )
        self._throttle = Throttle(random.Random())
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        else:
            credentials = tls.credentials()
            self._channel = grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
        self._ranking = ranking_pb2_grpc.RankingServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._events = event_pb2_grpc.EventServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def rank(
        self,
        user_id: str,
        item_ids: Sequence[str],
        *,
        timeout_s: float | None = None,
        **options: Unpack[RankOptions],
    ) -> RankedList:
        """Order candidates for a user.

        Args:
            user_id: Unknown: a newcomer. Empty: nobody in particular.
            item_ids: Candidates.
            timeout_s: Deadline of this call.
            **options: As in `RankOptions`.

        Returns:
            The ranked list.
        """
        request = rank_request(user_id, item_ids, options)
        with self._throttle.request():
            return ranked_list_of(self._ranking.Rank(request, **self._caller.usual(timeout_s)))

    def recommend(
        self, user_id: str, *, timeout_s: float | None = None, **options: Unpack[RankOptions]
    ) -> RankedList:
        """Find items for a user and order them.

        Args:
            user_id: Unknown: a newcomer. Empty: nobody in particular.
            timeout_s: Deadline of this call.
            **options: As in `RankOptions`.

        Returns:
            The ranked list.
        """
        request = ranking_pb2.RecommendRequest(user_id=user_id)
        set_options(request, options)
        with self._throttle.request():
            return ranked_list_of(self._ranking.Recommend(request, **self._caller.usual(timeout_s)))

    def write_events(
        self, events: Iterable[Event], *, timeout_s: float | None = None
    ) -> WriteReport:
        """Write events; returns when those that were accepted are durable.

        Args:
            events: With an `occurred_at` of 0 the server's clock says when they happened.
            timeout_s: Deadline of this call.

        Returns:
            What became of them.

        Raises:
            RpcError: It failed, or the server has not seen all of them.
        """
        sent = Batches(events)
        report = report_of(self._events.WriteEvents(iter(sent), **self._caller.usual(timeout_s)))
        while not sent.were_seen(report):
            sent = sent.again(report)
            report = report_of(
                self._events.WriteEvents(iter(sent), **self._caller.usual(timeout_s))
            )
        return report

    def active_model(self, *, timeout_s: float | None = None) -> model_pb2.Model:
        """Describe the bundle that ranks.

        Returns:
            Its description.
        """
        request = model_pb2.GetActiveModelRequest()
        response = self._models.GetActiveModel(request, **self._caller.usual(timeout_s))
        return model_of(response)

    def models(self, *, timeout_s: float | None = None) -> list[model_pb2.Model]:
        """List all bundles.

        Returns:
            Oldest first.
        """
        request = model_pb2.ListModelsRequest()
        return list(self._models.ListModels(request, **self._caller.usual(timeout_s)).models)

    def activate(self, version: str, *, timeout_s: float | None = None) -> model_pb2.Model:
        """Let another bundle rank.

        Returns:
            The bundle that ranks now.
        """
        request = model_pb2.ActivateModelRequest(version=version)
        return model_of(self._models.ActivateModel(request, **self._caller.switching(timeout_s)))

    def roll_back(self, *, timeout_s: float | None = None) -> model_pb2.Model:
        """Let the bundle rank that was active before.

        Returns:
            The bundle that ranks now.
        """
        request = model_pb2.RollBackModelRequest()
        return model_of(self._models.RollBackModel(request, **self._caller.switching(timeout_s)))

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
