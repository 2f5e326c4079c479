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
    CHANNEL_OPTIONS,
    SERVICE_CONFIG,
    SWITCH_TIMEOUT_S,
    TIMEOUT_S,
    Batches,
    RankOptions,
    Tls,
    Usual,
    WriteReport,
    field_violations,
    metadata_of,
    model_of,
    rank_request,
    report_of,
    set_options,
)
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
    with its fields. A server that refuses most requests to rank is sent fewer of them: the others
    fail here, with the same code, `RESOURCE_EXHAUSTED`.

    Args:
        address: Such as `127.0.0.1:50051`.
        timeout_s: Deadline of every call, in seconds; switching models has five minutes.
        tls: None: nothing is encrypted.
        token: Bearer token; sent with every call.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = TIMEOUT_S,
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        metadata = metadata_of(token)
        self._throttle = Throttle(random.Random())
        self._usual = Usual(timeout=timeout_s, metadata=metadata)
        self._slow = Usual(timeout=SWITCH_TIMEOUT_S, metadata=metadata)
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        else:
            credentials = tls.credentials()
            self._channel = grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
        self._ranking = ranking_pb2_grpc.RankingServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._events = event_pb2_grpc.EventServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def rank(
        self, user_id: str, item_ids: Sequence[str], **options: Unpack[RankOptions]
    ) -> RankedList:
        """Order candidates for a user.

        Args:
            user_id: Empty or unknown: the cold-start list.
            item_ids: Candidates.
            **options: As in `RankOptions`.

        Returns:
            The ranked list.
        """
        request = rank_request(user_id, item_ids, options)
        with self._throttle.request():
            return ranked_list_of(self._ranking.Rank(request, **self._usual))

    def recommend(self, user_id: str, **options: Unpack[RankOptions]) -> RankedList:
        """Find items for a user and order them.

        Args:
            user_id: Empty or unknown: the cold-start list.
            **options: As in `RankOptions`.

        Returns:
            The ranked list.
        """
        request = ranking_pb2.RecommendRequest(user_id=user_id)
        set_options(request, options)
        with self._throttle.request():
            return ranked_list_of(self._ranking.Recommend(request, **self._usual))

    def write_events(self, events: Iterable[Event]) -> WriteReport:
        """Write events; returns when those that were accepted are durable.

        Args:
            events: With an `occurred_at` of 0 the server's clock says when they happened.

        Returns:
            What became of them.

        Raises:
            RpcError: It failed, or the server has not seen all of them.
        """
        sent = Batches(events)
        report = report_of(self._events.WriteEvents(iter(sent), **self._usual))
        while not sent.were_seen(report):
            sent = sent.again(report)
            report = report_of(self._events.WriteEvents(iter(sent), **self._usual))
        return report

    def active_model(self) -> model_pb2.Model:
        """Describe the bundle that ranks.

        Returns:
            Its description.
        """
        request = model_pb2.GetActiveModelRequest()
        response = self._models.GetActiveModel(request, **self._usual)
        return model_of(response)

    def models(self) -> list[model_pb2.Model]:
        """List all bundles.

        Returns:
            Oldest first.
        """
        request = model_pb2.ListModelsRequest()
        return list(self._models.ListModels(request, **self._usual).models)

    def activate(self, version: str) -> model_pb2.Model:
        """Let another bundle rank.

        Returns:
            The bundle that ranks now.
        """
        request = model_pb2.ActivateModelRequest(version=version)
        return model_of(self._models.ActivateModel(request, **self._slow))

    def roll_back(self) -> model_pb2.Model:
        """Let the bundle rank that was active before.

        Returns:
            The bundle that ranks now.
        """
        request = model_pb2.RollBackModelRequest()
        return model_of(self._models.RollBackModel(request, **self._slow))

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
