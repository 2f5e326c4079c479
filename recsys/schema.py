"""The records of a behaviour log: what was shown, what was done, and what is known of whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

#: A free-form attribute keeps its type; numbers are floats, lists have one element type.
AttributeValue: TypeAlias = str | float | bool | list[str] | list[float]
Attributes: TypeAlias = dict[str, AttributeValue]

#: Pseudo event type of an item having been shown, used by aggregates beside interaction types.
IMPRESSION: Final = "impression"
#: Pseudo event type of a session having begun; see docs/features.md.
SESSION: Final = "session"

MAX_ID_LENGTH: Final = 256
MAX_LIST_LENGTH: Final = 10_000
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ItemEvent:
    """A version of an item: its attributes from `occurred_at` on, replacing all earlier ones.

    Args:
        event_id: Unique among item events; an event with a known id changes nothing.
        occurred_at: Instant in microseconds since the Unix epoch, UTC.
        item_id: The item.
        attributes: Everything that is known of it.
    """

    event_id: str
    occurred_at: int
    item_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserEvent:
    """A version of a user, as `ItemEvent` is of an item."""

    event_id: str
    occurred_at: int
    user_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImpressionEvent:
    """One list shown to one user at one time, items in the order in which they were shown.

    Args:
        event_id: Unique among impressions.
        occurred_at: Instant in microseconds since the Unix epoch, UTC.
        user_id: Who saw it; empty when unknown.
        item_ids: Shown items, first position first.
        impression_id: What interactions refer to; the event id where the source has no other.
        session_id: The visit, where known.
        context: Request attributes (query, device, ...).
        item_attributes: Attributes of an item within this list only, by item id.
    """

    event_id: str
    occurred_at: int
    user_id: str
    item_ids: list[str]
    impression_id: str = ""
    session_id: str = ""
    context: Attributes = field(default_factory=dict)
    item_attributes: dict[str, Attributes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InteractionEvent:
    """Something that a user did with an item.

    Args:
        event_id: Unique among interactions.
        occurred_at: Instant in microseconds since the Unix epoch, UTC.
        user_id: Who did it; empty when unknown, and then the list or the visit is named.
        item_id: With what.
        type: What was done: view, click, comment, share, purchase, or a name of the caller's.
        impression_id: The list that it came from; empty when it came from none.
        session_id: The visit, where known.
        value: Seconds watched, stars given, money paid; None when it has none.
        attributes: Anything else.
    """

    event_id: str
    occurred_at: int
    user_id: str
    item_id: str
    type: str
    impression_id: str = ""
    session_id: str = ""
    value: float | None = None
    attributes: Attributes = field(default_factory=dict)


Event: TypeAlias = ItemEvent | UserEvent | ImpressionEvent | InteractionEvent


@dataclass(frozen=True, slots=True)
class VisibleEvent:
    """An event together with when the system could first have known it.

    Args:
        event: What happened.
        visible_at: Arrival time when written online, `event.occurred_at` when imported;
            microseconds since the Unix epoch, UTC.
    """

    event: Event
    visible_at: int
