"""Metarank's event lines (item, user, ranking, interaction), read as they are."""

from __future__ import annotations

from typing import Final, TypeAlias, cast

import msgspec

from recsys.errors import EventError
from recsys.events.codec import JsonValue, decode_line, instant_of
from recsys.schema import (
    Attributes,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
)

_MICROSECONDS_PER_MS: Final = 1_000
_USUAL_START: Final = b'{"event":'


class _Field(msgspec.Struct, gc=False):
    name: str
    value: JsonValue


_Fields: TypeAlias = list[_Field] | None


class _ItemLine(msgspec.Struct, gc=False, tag_field="event", tag="item"):
    id: str
    timestamp: int | float | str
    item: str
    fields: _Fields = None


class _UserLine(msgspec.Struct, gc=False, tag_field="event", tag="user"):
    id: str
    timestamp: int | float | str
    user: str
    fields: _Fields = None


class _RankedItem(msgspec.Struct, gc=False):
    id: str
    fields: _Fields = None


class _RankingLine(msgspec.Struct, gc=False, tag_field="event", tag="ranking"):
    id: str
    timestamp: int | float | str
    items: list[_RankedItem]
    user: str | None = None
    session: str | None = None
    fields: _Fields = None


class _InteractionLine(msgspec.Struct, gc=False, tag_field="event", tag="interaction"):
    id: str
    timestamp: int | float | str
    item: str
    type: str
    user: str | None = None
    session: str | None = None
    ranking: str | None = None
    fields: _Fields = None


class _Probe(msgspec.Struct):
    event: object = None


_decode_probe = msgspec.json.Decoder(_Probe).decode
_decode = msgspec.json.Decoder(_ItemLine | _UserLine | _RankingLine | _InteractionLine).decode


def is_metarank_line(line: bytes) -> bool:
    """Say whether a line has Metarank's key `event`; the project's own records never do.

    Returns:
        False also for what is no JSON object.
    """
    if line.startswith(_USUAL_START):
        return True
    if b'"event"' not in line:
        return False
    try:
        return _decode_probe(line).event is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def decode_metarank_line(line: bytes) -> Event:
    """Read one of Metarank's events; its values are left to `check_event`.

    Returns:
        The event; a ranking becomes an impression whose id is the ranking's, and the fields of its
        items become attributes of those items within the list.

    Raises:
        EventError: It is not JSON, or a field is missing or of another type.
    """
    found = decode_line(_decode, line)
    occurred_at = _instant(found.timestamp)
    attributes = _attributes(found.fields)
    if isinstance(found, _InteractionLine):
        return InteractionEvent(
            event_id=found.id,
            occurred_at=occurred_at,
            user_id=found.user or "",
            item_id=found.item,
            type=found.type,
            impression_id=found.ranking or "",
            session_id=found.session or "",
            attributes=attributes,
        )
    if isinstance(found, _RankingLine):
        return _impression(found, occurred_at, attributes)
    if isinstance(found, _ItemLine):
        return ItemEvent(found.id, occurred_at, found.item, attributes)
    return UserEvent(found.id, occurred_at, found.user, attributes)


def _impression(found: _RankingLine, occurred_at: int, attributes: Attributes) -> ImpressionEvent:
    return ImpressionEvent(
        event_id=found.id,
        occurred_at=occurred_at,
        user_id=found.user or "",
        item_ids=[item.id for item in found.items],
        impression_id=found.id,
        session_id=found.session or "",
        context=attributes,
        item_attributes={item.id: _attributes(item.fields) for item in found.items if item.fields},
    )


def _attributes(fields: _Fields) -> Attributes:
    if not fields:
        return {}
    return cast(Attributes, {field.name: field.value for field in fields})


def _instant(timestamp: int | float | str) -> int:
    if isinstance(timestamp, str):
        if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 18:
            return instant_of(timestamp)
        timestamp = int(timestamp)
    if isinstance(timestamp, float) and not timestamp.is_integer():
        raise EventError(field="timestamp", reason="is not whole; expected milliseconds")
    return int(timestamp) * _MICROSECONDS_PER_MS
