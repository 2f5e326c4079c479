"""What makes an event acceptable: the same rules for imports and for events written online."""

from __future__ import annotations

import math
from typing import Final, cast

from recsys.errors import EventError
from recsys.schema import (
    IMPRESSION,
    MAX_ID_LENGTH,
    MAX_LIST_LENGTH,
    MICROSECONDS,
    SESSION,
    Attributes,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
)

#: An event from further ahead than this comes from a wrong clock, and would leak into the past.
MAX_AHEAD_US: Final = 5 * 60 * MICROSECONDS
_YEAR_10000_US: Final = 253_402_300_800 * MICROSECONDS

#: What counts a type of these names counts something else.
_NO_INTERACTIONS: Final = {
    IMPRESSION: "is reserved; expected an impression event for what was shown",
    SESSION: "is reserved; expected another name: sessions begin by themselves",
}


def check_event(event: Event, *, now_us: int | None = None) -> None:
    """Check an event; types are taken for granted but for those of attribute values.

    Args:
        event: Any event.
        now_us: The clock that `occurred_at` may be at most five minutes ahead of, in microseconds;
            None: not checked.

    Raises:
        EventError: Names the first field at fault, relative to the record.
    """
    _check_id("event_id", event.event_id)
    _check_instant(event.occurred_at, now_us)
    if isinstance(event, InteractionEvent):
        _check_interaction(event)
    elif isinstance(event, ImpressionEvent):
        _check_impression(event)
    elif isinstance(event, ItemEvent):
        _check_id("item_id", event.item_id)
        check_attributes("attributes", event.attributes)
    else:
        _check_id("user_id", event.user_id)
        check_attributes("attributes", event.attributes)


def _check_interaction(event: InteractionEvent) -> None:
    # Of a visitor without an id the list, or the visit, is known.
    named = event.impression_id or event.session_id
    (_check_length if named else _check_id)("user_id", event.user_id)
    _check_id("item_id", event.item_id)
    _check_id("type", event.type)
    if event.type in _NO_INTERACTIONS:
        raise EventError(field="type", reason=_NO_INTERACTIONS[event.type])
    _check_length("impression_id", event.impression_id)
    _check_length("session_id", event.session_id)
    if event.value is not None and not math.isfinite(event.value):
        raise EventError(field="value", reason="is not finite; expected a finite number")
    check_attributes("attributes", event.attributes)


def _check_impression(event: ImpressionEvent) -> None:
    _check_length("user_id", event.user_id)
    _check_length("impression_id", event.impression_id)
    _check_length("session_id", event.session_id)
    if not 1 <= len(event.item_ids) <= MAX_LIST_LENGTH:
        found = "is empty" if not event.item_ids else "is too long"
        raise EventError(field="item_ids", reason=f"{found}; expected 1 to {MAX_LIST_LENGTH} items")
    for position, item_id in enumerate(event.item_ids):
        if not 0 < len(item_id) <= MAX_ID_LENGTH:
            _check_id(f"item_ids[{position}]", item_id)
    check_attributes("context", event.context)
    if not event.item_attributes:
        return
    if not event.item_attributes.keys() <= set(event.item_ids):
        raise EventError(field="item_attributes", reason="names an item that is not in item_ids")
    for attributes in event.item_attributes.values():
        check_attributes("item_attributes", attributes)


def _check_id(field: str, value: str) -> None:
    if not value:
        raise EventError(field=field, reason="is empty; expected an id")
    _check_length(field, value)


def _check_length(field: str, value: str) -> None:
    if len(value) > MAX_ID_LENGTH:
        raise EventError(
            field=field, reason=f"is too long; expected at most {MAX_ID_LENGTH} characters"
        )


def _check_instant(occurred_at: int, now_us: int | None) -> None:
    if not 0 <= occurred_at < _YEAR_10000_US:
        raise EventError(field="occurred_at", reason="is not between the years 1970 and 9999")
    if now_us is not None and occurred_at > now_us + MAX_AHEAD_US:
        raise EventError(
            field="occurred_at",
            reason=f"clock ahead; expected at most {MAX_AHEAD_US // MICROSECONDS} s after now",
        )


def check_attributes(field: str, attributes: Attributes) -> None:
    """Check attributes of an item, a user, an interaction or a request.

    Raises:
        EventError: Names the first one at fault.
    """
    for name, value in attributes.items():
        if not 0 < len(name) <= MAX_ID_LENGTH:
            raise EventError(
                field=field, reason=f"has a name that is not 1 to {MAX_ID_LENGTH} characters long"
            )
        reason = _value_problem(value)
        if reason:
            raise EventError(reason, field=f"{field}.{name}")


def _value_problem(value: object) -> str:
    # By exact type: this runs for every attribute of every event, and is the cost of a check.
    found = type(value)
    if found is str or found is bool:
        return ""
    if found is float or found is int:
        return (
            "" if math.isfinite(cast(float, value)) else "is not finite; expected a finite number"
        )
    if not isinstance(value, list):
        return "has an unknown type; expected text, number, boolean or a list of texts or numbers"
    if all(isinstance(element, str) for element in value):
        return ""
    if not all(type(element) in {float, int} for element in value):
        return "is a list of something else or of both; expected texts only or numbers only"
    return "" if all(map(math.isfinite, value)) else "is not finite; expected finite numbers"
