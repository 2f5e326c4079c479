"""Events between their messages and the domain."""

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from recsys.errors import EventError
from recsys.schema import (
    MICROSECONDS,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
)
from recsys.serving.attributes import attributes_of, struct_of
from recsys.v1 import event_pb2

_NANOSECONDS: Final = 1_000_000_000


def event_of(message: event_pb2.Event, now_us: int) -> Event:
    """Read an event; its values are left to `check_event`.

    Args:
        message: As it came.
        now_us: Stands in for an `occurred_at` that is absent.

    Returns:
        The event; an impression without an id of its own has its event id.

    Raises:
        EventError: It has no kind, its instant is none, or an attribute has a type that a log
            cannot hold; the field is relative to the kind.
    """
    kind = message.WhichOneof("kind")
    occurred_at = _instant_of(message.occurred_at) if message.HasField("occurred_at") else now_us
    if kind == "interaction":
        return _interaction_of(message.event_id, occurred_at, message.interaction)
    if kind == "impression":
        return _impression_of(message.event_id, occurred_at, message.impression)
    if kind == "item":
        attributes = attributes_of(message.item.attributes, "attributes")
        return ItemEvent(message.event_id, occurred_at, message.item.item_id, attributes)
    if kind == "user":
        attributes = attributes_of(message.user.attributes, "attributes")
        return UserEvent(message.event_id, occurred_at, message.user.user_id, attributes)
    raise EventError(reason="has no kind; expected one of item, user, impression, interaction")


def event_message(event: Event) -> event_pb2.Event:
    """Write an event.

    Args:
        event: With an `occurred_at` of 0 it leaves the instant to the server's clock.

    Returns:
        Its message.
    """
    message = event_pb2.Event(event_id=event.event_id)
    if event.occurred_at:
        seconds, rest_us = divmod(event.occurred_at, MICROSECONDS)
        instant = Timestamp(seconds=seconds, nanos=rest_us * 1000)
        message.occurred_at.CopyFrom(instant)
    if isinstance(event, InteractionEvent):
        message.interaction.CopyFrom(_interaction_message(event))
    elif isinstance(event, ImpressionEvent):
        message.impression.CopyFrom(_impression_message(event))
    elif isinstance(event, ItemEvent):
        item = event_pb2.Item(item_id=event.item_id, attributes=struct_of(event.attributes))
        message.item.CopyFrom(item)
    else:
        user = event_pb2.User(user_id=event.user_id, attributes=struct_of(event.attributes))
        message.user.CopyFrom(user)
    return message


def _instant_of(timestamp: Timestamp) -> int:
    if not 0 <= timestamp.nanos < _NANOSECONDS:
        raise EventError(field="occurred_at", reason="has nanos outside of a second")
    return int(timestamp.seconds * MICROSECONDS + timestamp.nanos // 1000)


def _interaction_of(
    event_id: str, occurred_at: int, found: event_pb2.Interaction
) -> InteractionEvent:
    return InteractionEvent(
        event_id=event_id,
        occurred_at=occurred_at,
        user_id=found.user_id,
        item_id=found.item_id,
        type=found.type,
        impression_id=found.impression_id,
        session_id=found.session_id,
        value=found.value if found.HasField("value") else None,
        # Most have none, and a message that is not there need not be made.
        attributes=(
            attributes_of(found.attributes, "attributes") if found.HasField("attributes") else {}
        ),
    )


def _impression_of(event_id: str, occurred_at: int, found: event_pb2.Impression) -> ImpressionEvent:
    return ImpressionEvent(
        event_id=event_id,
        occurred_at=occurred_at,
        user_id=found.user_id,
        item_ids=list(found.item_ids),
        impression_id=found.impression_id or event_id,
        session_id=found.session_id,
        context=attributes_of(found.context, "context"),
        item_attributes={
            item_id: attributes_of(struct, "item_attributes")
            for item_id, struct in found.item_attributes.items()
        },
    )


def _interaction_message(event: InteractionEvent) -> event_pb2.Interaction:
    return event_pb2.Interaction(
        user_id=event.user_id,
        item_id=event.item_id,
        type=event.type,
        impression_id=event.impression_id,
        session_id=event.session_id,
        value=event.value,
        attributes=struct_of(event.attributes),
    )


def _impression_message(event: ImpressionEvent) -> event_pb2.Impression:
    message = event_pb2.Impression(
        impression_id=event.impression_id,
        user_id=event.user_id,
        session_id=event.session_id,
        item_ids=event.item_ids,
        context=struct_of(event.context),
    )
    for item_id, attributes in event.item_attributes.items():
        message.item_attributes[item_id].update(attributes)
    return message
