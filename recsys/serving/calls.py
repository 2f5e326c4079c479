"""What the synchronous and the asyncio client say: options, messages, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypedDict

import grpc
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from recsys.schema import Attributes, Event, ImpressionEvent
from recsys.serving.attributes import struct_of
from recsys.serving.event_messages import event_message
from recsys.v1 import event_pb2, model_pb2, ranking_pb2

#: Times that a write is sent of which the server counted fewer events than there are.
_ATTEMPTS: Final = 3
_BATCH_EVENTS: Final = 500
_BATCH_BYTES: Final = 1024 * 1024
#: One per candidate in their order, or by item id; None: missing.
CandidateValues: TypeAlias = (
    Sequence[float | None]
    | Sequence[str | None]
    | Mapping[str, float | None]
    | Mapping[str, str | None]
)


class RankOptions(TypedDict, total=False):
    """What may be said of a request to rank or to recommend.

    Args:
        request_id: Echoed.
        context: Request attributes.
        top_k: How many items to return; 0: all, or the default of `recommend`.
        explain_top_k: How many of them to explain.
        exclude_item_ids: Never returned.
        session_id: The visit, as in the events.
        candidate_attributes: Values of the candidates by name: a list as long as that of the
            candidates, or values by item id; numbers (booleans) or texts, None: missing.
        seed_item_ids: What the user is looking at, the most important first; what `recommend` finds
            goes with them.
    """

    request_id: str
    context: Attributes
    top_k: int
    explain_top_k: int
    exclude_item_ids: Sequence[str]
    session_id: str
    candidate_attributes: Mapping[str, CandidateValues]
    seed_item_ids: Sequence[str]


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

    @property
    def n_events(self) -> int:
        """How many events the server has seen."""
        return self.accepted + self.duplicates + self.rejected


class ShortWriteError(grpc.RpcError):
    """A write of which the server saw fewer events than were sent.

    gRPC's own retry of a call that streams has been seen to leave a message out.
    """

    def __init__(self, seen: int, sent: int) -> None:
        text = (
            f"the server saw {seen} of {sent} events; write them again, known ones are passed over"
        )
        super().__init__(text)

    def code(self) -> grpc.StatusCode:
        """Give the status.

        Returns:
            One that says: try again.
        """
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Say what happened.

        Returns:
            Both counts.
        """
        return str(self)


def _check_iterable(events: object) -> None:
    if not isinstance(events, Iterable):
        problem = f"events is {type(events).__name__}; expected a list of events"
        raise TypeError(problem)


def _check_sendable(position: int, event: object) -> None:
    if not isinstance(event, Event):
        found = type(event).__name__
        problem = f"events[{position}] is {found}; expected an event of recsys.schema"
        raise TypeError(problem)
    instant: object = event.occurred_at
    if not isinstance(instant, int):
        found = type(instant).__name__
        problem = f"events[{position}].occurred_at is {found}; expected microseconds, int"
        raise TypeError(problem)
    if isinstance(event, ImpressionEvent):
        _check_no_text(f"events[{position}].item_ids", event.item_ids)


class Batches:
    """The messages of one write, and how many events are in them.

    Args:
        events: To be written; what can be read but once is sent but once.
        attempts: How often they may be sent, this time included.

    Raises:
        TypeError: Something in a sequence is no event; of what can be read but once gRPC says no
            more than that it raised.
    """

    def __init__(self, events: Iterable[Event], attempts: int = _ATTEMPTS) -> None:
        _check_iterable(events)
        for position, event in enumerate(events if isinstance(events, Sequence) else ()):
            _check_sendable(position, event)
        self._events = events
        self._attempts = attempts if isinstance(events, Sequence) else 1
        self._n_events = 0

    def __iter__(self) -> Iterator[event_pb2.WriteEventsRequest]:
        """Make the messages.

        Yields:
            One after another.
        """
        for message in batches_of(self._events):
            self._n_events += len(message.events)
            yield message

    def were_seen(self, report: WriteReport) -> bool:
        """Say whether the server has seen all events.

        Returns:
            False where some are missing.
        """
        return report.n_events == self._n_events

    def again(self, report: WriteReport) -> Batches:
        """Send all once more.

        Returns:
            The messages of the next attempt.

        Raises:
            ShortWriteError: There is none.
        """
        if self._attempts <= 1:
            raise ShortWriteError(report.n_events, self._n_events)
        return Batches(self._events, self._attempts - 1)


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


def rank_request(
    user_id: str, item_ids: Sequence[str], options: RankOptions
) -> ranking_pb2.RankRequest:
    """Write a request to rank.

    Returns:
        The message.

    Raises:
        TypeError: An id is no text, a text stands for a list, or an option has no such name.
    """
    _check_no_text("item_ids", item_ids)
    items = list(item_ids)
    ids: list[object] = [user_id, *items]
    if not all(isinstance(found, str) for found in ids):
        problem = "ids are texts; found another type: write str(id)"
        raise TypeError(problem)
    request = ranking_pb2.RankRequest(user_id=user_id, item_ids=items)
    set_options(request, options)
    return request


def _check_no_text(name: str, ids: object) -> None:
    if isinstance(ids, str):  # else each of its characters would be an id
        problem = f"{name} is a text; expected a list of texts"
        raise TypeError(problem)


def set_options(
    request: ranking_pb2.RankRequest | ranking_pb2.RecommendRequest, options: RankOptions
) -> None:
    """Write options into a request.

    Raises:
        TypeError: An option has no such name, and would be passed over in silence, or a text stands
            for a list.
    """
    unknown = options.keys() - RankOptions.__annotations__.keys()
    if unknown:
        expected = ", ".join(RankOptions.__annotations__)
        problem = f"no option {', '.join(sorted(unknown))}; expected some of: {expected}"
        raise TypeError(problem)
    for name in ("exclude_item_ids", "seed_item_ids"):
        _check_no_text(name, options.get(name))
    request.request_id = options.get("request_id", "")
    request.top_k = options.get("top_k", 0)
    request.explain_top_k = options.get("explain_top_k", 0)
    request.exclude_item_ids.extend(options.get("exclude_item_ids", ()))
    request.session_id = options.get("session_id", "")
    request.seed_item_ids.extend(options.get("seed_item_ids", ()))
    if "context" in options:
        request.context.CopyFrom(struct_of(options["context"]))
    for name, said in options.get("candidate_attributes", {}).items():
        request.candidate_attributes.append(_given_message(name, said))


def _given_message(name: str, said: CandidateValues) -> ranking_pb2.CandidateAttribute:
    message = ranking_pb2.CandidateAttribute(name=name)
    values: list[float | str | None] = []
    if isinstance(said, Mapping):
        message.item_ids.extend(said)
        values.extend(said.values())
    else:
        values.extend(said)
    if any(isinstance(value, str) for value in values):
        # A number among texts is refused here: the message takes texts alone.
        message.texts.extend("" if value is None else value for value in values)
    else:
        message.numbers.extend(math.nan if v is None else v for v in values)
    return message


def batches_of(events: Iterable[Event]) -> Iterator[event_pb2.WriteEventsRequest]:
    """Write events as messages of moderate size.

    Yields:
        The messages of one call.
    """
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


def report_of(response: event_pb2.WriteEventsResponse) -> WriteReport:
    """Read what became of events.

    Returns:
        The report.
    """
    return WriteReport(
        accepted=response.accepted,
        duplicates=response.duplicates,
        rejected=response.rejected,
        rejections=[
            (found.event_index, found.event_id, found.field, found.reason)
            for found in response.rejections
        ],
    )


def model_of(
    response: model_pb2.GetActiveModelResponse
    | model_pb2.ActivateModelResponse
    | model_pb2.RollBackModelResponse,
) -> model_pb2.Model:
    """Read the bundle that an answer is about.

    Returns:
        Its description.
    """
    return response.model
