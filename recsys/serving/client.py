"""A typed client: one channel, deadlines on every call, retries where a retry changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypedDict, Unpack

import grpc
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from recsys.pipeline.requests import RankedList
from recsys.schema import Attributes, Event
from recsys.serving.attributes import struct_of
from recsys.serving.event_messages import event_message
from recsys.serving.ranking_messages import ranked_list_of
from recsys.v1 import (
    event_pb2,
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
)

#: gRPC's own service config: only calls that can be repeated safely, only when nobody answered.
SERVICE_CONFIG: Final = json.dumps({
    "methodConfig": [
        {
            "name": [
                {"service": "recsys.v1.RankingService"},
                {"service": "recsys.v1.EventService"},
                {"service": "recsys.v1.ModelService", "method": "GetActiveModel"},
                {"service": "recsys.v1.ModelService", "method": "ListModels"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
})

_TIMEOUT_S: Final = 10.0
_SWITCH_TIMEOUT_S: Final = 300.0
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_BATCH_EVENTS: Final = 500
_BATCH_BYTES: Final = 1024 * 1024


class RankOptions(TypedDict, total=False):
    """What may be said of a request to rank or to recommend.

    Args:
        request_id: Echoed.
        context: Request attributes.
        top_k: How many items to return; 0: all, or the default of `recommend`.
        explain_top_k: How many of them to explain.
        exclude_item_ids: Never returned.
    """

    request_id: str
    context: Attributes
    top_k: int
    explain_top_k: int
    exclude_item_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of events that were written.

    Args:
        accepted: New ones, durable now.
        duplicates: Known ones, which changed nothing.
        rejected: Refused ones.
        rejections: (position, event id, field, reason) of the first 1,000 refused.
    """

    accepted: int
    duplicates: int
    rejected: int
    rejections: list[tuple[int, str, str, str]]


class Client:
    """Calls a server; safe to use from several threads, and a context manager.

    Every method raises `grpc.RpcError` when the call fails; `field_violations` reads what was wrong
    with its fields.

    Args:
        address: Such as `127.0.0.1:50051`.
        timeout_s: Deadline of every call, in seconds; switching models has five minutes.
    """

    def __init__(self, address: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(
            address,
            options=(
                ("grpc.service_config", SERVICE_CONFIG),
                ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
                # A connection of its own: workers behind one port are chosen by connection.
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )
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
        request = ranking_pb2.RankRequest(user_id=user_id, item_ids=item_ids)
        _set_options(request, options)
        return ranked_list_of(self._ranking.Rank(request, timeout=self._timeout_s))

    def recommend(self, user_id: str, **options: Unpack[RankOptions]) -> RankedList:
        """Find items for a user and order them.

        Args:
            user_id: Empty or unknown: the cold-start list.
            **options: As in `RankOptions`.

        Returns:
            The ranked list.
        """
        request = ranking_pb2.RecommendRequest(user_id=user_id)
        _set_options(request, options)
        return ranked_list_of(self._ranking.Recommend(request, timeout=self._timeout_s))

    def write_events(self, events: Iterable[Event]) -> WriteReport:
        """Write events; returns when those that were accepted are durable.

        Args:
            events: With an `occurred_at` of 0 the server's clock says when they happened.

        Returns:
            What became of them.
        """
        response = self._events.WriteEvents(_batches(events), timeout=self._timeout_s)
        return WriteReport(
            accepted=response.accepted,
            duplicates=response.duplicates,
            rejected=response.rejected,
            rejections=[
                (found.event_index, found.event_id, found.field, found.reason)
                for found in response.rejections
            ],
        )

    def active_model(self) -> model_pb2.Model:
        """Describe the bundle that ranks.

        Returns:
            Its description.
        """
        request = model_pb2.GetActiveModelRequest()
        response = self._models.GetActiveModel(request, timeout=self._timeout_s)
        return _model(response)

    def models(self) -> list[model_pb2.Model]:
        """List all bundles.

        Returns:
            Oldest first.
        """
        request = model_pb2.ListModelsRequest()
        return list(self._models.ListModels(request, timeout=self._timeout_s).models)

    def activate(self, version: str) -> model_pb2.Model:
        """Let another bundle rank.

        Returns:
            The bundle that ranks now.
        """
        request = model_pb2.ActivateModelRequest(version=version)
        return _model(self._models.ActivateModel(request, timeout=_SWITCH_TIMEOUT_S))

    def roll_back(self) -> model_pb2.Model:
        """Let the bundle rank that was active before.

        Returns:
            The bundle that ranks now.
        """
        request = model_pb2.RollBackModelRequest()
        return _model(self._models.RollBackModel(request, timeout=_SWITCH_TIMEOUT_S))

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


def field_violations(error: grpc.RpcError) -> list[tuple[str, str]]:
    """Read which fields a refused call had wrong.

    Args:
        error: As a call raised it.

    Returns:
        (field, description) pairs; empty when the call failed for another reason.
    """
    status = rpc_status.from_call(error)
    found: list[tuple[str, str]] = []
    for detail in status.details if status is not None else ():
        bad_request = BadRequest()
        if detail.Unpack(bad_request):
            found += [(v.field, v.description) for v in bad_request.field_violations]
    return found


def _set_options(
    request: ranking_pb2.RankRequest | ranking_pb2.RecommendRequest, options: RankOptions
) -> None:
    request.request_id = options.get("request_id", "")
    request.top_k = options.get("top_k", 0)
    request.explain_top_k = options.get("explain_top_k", 0)
    request.exclude_item_ids.extend(options.get("exclude_item_ids", ()))
    if "context" in options:
        request.context.CopyFrom(struct_of(options["context"]))


def _batches(events: Iterable[Event]) -> Iterator[event_pb2.WriteEventsRequest]:
    batch: list[event_pb2.Event] = []
    n_bytes = 0
    for event in events:
        message = event_message(event)
        n_bytes += message.ByteSize()
        if batch and (len(batch) == _BATCH_EVENTS or n_bytes > _BATCH_BYTES):
            yield event_pb2.WriteEventsRequest(events=batch)
            batch, n_bytes = [], message.ByteSize()
        batch.append(message)
    if batch:
        yield event_pb2.WriteEventsRequest(events=batch)


def _model(
    response: model_pb2.GetActiveModelResponse
    | model_pb2.ActivateModelResponse
    | model_pb2.RollBackModelResponse,
) -> model_pb2.Model:
    return response.model
