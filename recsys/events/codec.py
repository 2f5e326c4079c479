"""Events as JSON: the record of files and of the spool, named as the gRPC message is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec

from recsys.errors import EventError
from recsys.schema import (
    Attributes,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

#: As decoded: whether a list is of one type is checked afterwards.
JsonValue: TypeAlias = str | float | bool | list[str | float]
JsonAttributes: TypeAlias = dict[str, JsonValue]

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: Fields that may be whole numbers in a file.
_IDS: Final = frozenset({
    *("event_id", "item_id", "item_ids", "user_id", "impression_id", "session_id"),
})
#: Objects of names and values, in which a file may say null of what it does not know.
_OBJECTS: Final = frozenset({"attributes", "context", "item_attributes"})
#: What programs write for a number that JSON does not have.
_NO_NUMBER: Final = re.compile(rb"[:\[,]\s*-?(?:NaN|Infinity)\b")


class _Item(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    item_id: str = ""
    attributes: JsonAttributes = {}


class _User(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    user_id: str = ""
    attributes: JsonAttributes = {}


class _Impression(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    impression_id: str = ""
    user_id: str = ""
    session_id: str = ""
    item_ids: list[str] = []
    context: JsonAttributes = {}
    item_attributes: dict[str, JsonAttributes] = {}


class _Interaction(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    user_id: str = ""
    item_id: str = ""
    type: str = ""
    impression_id: str = ""
    session_id: str = ""
    value: float | None = None
    attributes: JsonAttributes = {}


class _Record(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    event_id: str
    occurred_at: int | str
    item: _Item | None = None
    user: _User | None = None
    impression: _Impression | None = None
    interaction: _Interaction | None = None


class _VisibleRecord(_Record, gc=False, kw_only=True):
    visible_at: int


_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_visible_record = msgspec.json.Decoder(_VisibleRecord).decode


def encode_event(event: Event) -> bytes:
    """Write an event as one line of JSON, without the line feed.

    Returns:
        UTF-8 text with `occurred_at` in microseconds; fields that have their default are left out.
    """
    return _encode(_fill(_Record(event.event_id, event.occurred_at), event))


def decode_event(line: bytes) -> Event:
    """Read one line of the project's own format; its values are left to `check_event`.

    Ids may be whole numbers; they become text. Attributes that are null are left out.

    Returns:
        The event; an impression without an id of its own has its event id.

    Raises:
        EventError: It is not JSON, or a field is unknown, missing or of another type.
    """
    try:
        return _event_of(decode_line(_decode_record, line))
    except EventError as error:
        # Only here, so that lines that need it not pay nothing for the others.
        if not _is_mended(error):
            raise
    return event_of_record(_mended(decode_line(_decode_object, line)))


def encode_visible_event(visible: VisibleEvent) -> bytes:
    """Write an event together with when it became visible, as one line of JSON.

    Returns:
        What `decode_visible_event` reads.
    """
    event = visible.event
    record = _VisibleRecord(event.event_id, event.occurred_at, visible_at=visible.visible_at)
    return _encode(_fill(record, event))


def decode_visible_event(line: bytes) -> VisibleEvent:
    """Read what `encode_visible_event` wrote.

    Returns:
        The event.

    Raises:
        EventError: As of `decode_event`.
    """
    record = decode_line(_decode_visible_record, line)
    return VisibleEvent(_event_of(record), record.visible_at)


def event_of_record(record: dict[str, Any]) -> Event:
    """Read a record that is already an object of Python, as `decode_event` reads its text.

    Args:
        record: Names and values; ids are texts.

    Returns:
        The event.

    Raises:
        EventError: As of `decode_event`.
    """
    try:
        return _event_of(msgspec.convert(record, _Record))
    except msgspec.ValidationError as error:
        raise EventError(**_problem(error)) from error


def _is_mended(error: EventError) -> bool:
    name = error.field.partition("[")[0].rpartition(".")[2]
    return name in _IDS or (name in _OBJECTS and error.reason.endswith("got `null`"))


def _mended(record: dict[str, Any]) -> dict[str, Any]:
    found = {name: _text_id(name, value) for name, value in record.items()}
    for kind, event in record.items():
        if isinstance(event, dict):
            found[kind] = {
                name: without_nulls(value) if name in _OBJECTS else _text_id(name, value)
                for name, value in event.items()
            }
    return found


def without_nulls(value: object) -> object:
    """Leave out what is null in an object, and in objects in it.

    Returns:
        Another object; anything else as it is.
    """
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(found) for name, found in value.items() if found is not None}


def _text_id(name: str, value: object) -> object:
    if name == "item_ids" and isinstance(value, list):
        return [_text_id("item_id", element) for element in value]
    return str(value) if name in _IDS and type(value) is int else value


def decode_line(decode: Callable[[bytes], T], line: bytes) -> T:
    """Run a JSON decoder, and say in words of this project what was wrong.

    Returns:
        What the decoder returns.

    Raises:
        EventError: With the path of the field at fault, where there is one.
    """
    try:
        return decode(line)
    except msgspec.ValidationError as error:
        raise EventError(**_problem(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(reason=_why_no_json(line)) from error


def _why_no_json(line: bytes) -> str:
    if _NO_NUMBER.search(line):
        return "is not JSON: it has no NaN or Infinity; expected null or nothing"
    return "is not JSON"


def instant_of(text: str) -> int:
    """Read an RFC 3339 instant.

    Returns:
        Microseconds since the Unix epoch.

    Raises:
        EventError: It is no instant, or has no time zone.
    """
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise EventError(
            field="occurred_at", reason="is not an instant; expected RFC 3339 or microseconds"
        ) from error
    if moment.tzinfo is None:
        raise EventError(field="occurred_at", reason="has no time zone; expected an offset or Z")
    return microseconds_of(moment)


def microseconds_of(moment: datetime) -> int:
    """Write an instant as the log does.

    Args:
        moment: With a time zone.

    Returns:
        Microseconds since the Unix epoch.
    """
    return (moment - _EPOCH) // _MICROSECOND


def _problem(error: msgspec.ValidationError) -> dict[str, str]:
    reason, _, path = str(error).partition(" - at `$")
    return {"reason": reason, "field": path.removeprefix(".").removesuffix("`")}


def _event_of(record: _Record) -> Event:
    present = (record.item, record.user, record.impression, record.interaction)
    if present.count(None) != len(present) - 1:
        raise EventError(reason="expected exactly one of item, user, impression, interaction")
    event_id, raw_at = record.event_id, record.occurred_at
    occurred_at = raw_at if isinstance(raw_at, int) else instant_of(raw_at)
    if record.interaction is not None:
        return _interaction(event_id, occurred_at, record.interaction)
    if record.impression is not None:
        return _impression(event_id, occurred_at, record.impression)
    if record.item is not None:
        item = record.item
        return ItemEvent(event_id, occurred_at, item.item_id, cast(Attributes, item.attributes))
    user = cast(_User, record.user)
    return UserEvent(event_id, occurred_at, user.user_id, cast(Attributes, user.attributes))


def _interaction(event_id: str, occurred_at: int, found: _Interaction) -> InteractionEvent:
    return InteractionEvent(
        event_id=event_id,
        occurred_at=occurred_at,
        user_id=found.user_id,
        item_id=found.item_id,
        type=found.type,
        impression_id=found.impression_id,
        session_id=found.session_id,
        value=found.value,
        attributes=cast(Attributes, found.attributes),
    )


def _impression(event_id: str, occurred_at: int, found: _Impression) -> ImpressionEvent:
    return ImpressionEvent(
        event_id=event_id,
        occurred_at=occurred_at,
        user_id=found.user_id,
        item_ids=found.item_ids,
        impression_id=found.impression_id or event_id,
        session_id=found.session_id,
        context=cast(Attributes, found.context),
        item_attributes=cast(dict[str, Attributes], found.item_attributes),
    )


def _fill(record: _Record, event: Event) -> _Record:
    if isinstance(event, InteractionEvent):
        record.interaction = _Interaction(
            user_id=event.user_id,
            item_id=event.item_id,
            type=event.type,
            impression_id=event.impression_id,
            session_id=event.session_id,
            value=event.value,
            attributes=cast(JsonAttributes, event.attributes),
        )
    elif isinstance(event, ImpressionEvent):
        record.impression = _Impression(
            impression_id=event.impression_id,
            user_id=event.user_id,
            session_id=event.session_id,
            item_ids=event.item_ids,
            context=cast(JsonAttributes, event.context),
            item_attributes=cast(dict[str, JsonAttributes], event.item_attributes),
        )
    elif isinstance(event, ItemEvent):
        record.item = _Item(event.item_id, cast(JsonAttributes, event.attributes))
    else:
        record.user = _User(event.user_id, cast(JsonAttributes, event.attributes))
    return record
