"""Events as columns: one polars frame per kind of event, with the columns of the log's tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import msgspec
import polars as pl

from recsys.schema import (
    Attributes,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

#: The log's tables, in the order in which they are written and listed.
Kind: TypeAlias = Literal["items", "users", "impressions", "interactions"]

SCHEMAS: Final[dict[Kind, pl.Schema]] = {
    "items": pl.Schema({
        "event_id": pl.String(),
        "item_id": pl.String(),
        "attributes": pl.String(),
        "occurred_at": pl.Int64(),
        "visible_at": pl.Int64(),
    }),
    "users": pl.Schema({
        "event_id": pl.String(),
        "user_id": pl.String(),
        "attributes": pl.String(),
        "occurred_at": pl.Int64(),
        "visible_at": pl.Int64(),
    }),
    "impressions": pl.Schema({
        "event_id": pl.String(),
        "impression_id": pl.String(),
        "user_id": pl.String(),
        "session_id": pl.String(),
        "item_ids": pl.List(pl.String()),
        "context": pl.String(),
        "item_attributes": pl.String(),
        "occurred_at": pl.Int64(),
        "visible_at": pl.Int64(),
    }),
    "interactions": pl.Schema({
        "event_id": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "type": pl.String(),
        "impression_id": pl.String(),
        "session_id": pl.String(),
        "value": pl.Float64(),
        "attributes": pl.String(),
        "occurred_at": pl.Int64(),
        "visible_at": pl.Int64(),
    }),
}
KINDS: Final[tuple[Kind, ...]] = tuple(SCHEMAS)

_Row: TypeAlias = tuple[Any, ...]
_encode_json = msgspec.json.Encoder().encode
# Values were checked when they were written; here only their shape is.
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode


def kind_of(event: Event) -> Kind:
    """Say which table an event belongs to.

    Returns:
        The table's name.
    """
    return _KIND_BY_CLASS[type(event)]


class FrameBuilder:
    """Collects events as rows, far smaller than the events, and lays them out in columns."""

    def __init__(self) -> None:
        self._rows: dict[Kind, list[_Row]] = {kind: [] for kind in KINDS}

    def __len__(self) -> int:
        """Count the events that were added.

        Returns:
            All kinds together.
        """
        return sum(map(len, self._rows.values()))

    def add(self, event: Event, visible_at: int) -> None:
        """Add an event.

        Args:
            event: Of any kind; event ids may repeat.
            visible_at: Microseconds since the Unix epoch.
        """
        kind = _KIND_BY_CLASS[type(event)]
        self._rows[kind].append(_ROW_WRITERS[kind](event, visible_at))

    def frames(self) -> dict[Kind, pl.DataFrame]:
        """Lay out what was added.

        Returns:
            One frame per kind, empty ones included, rows in the order in which they were added.
        """
        return {kind: _frame(kind, rows) for kind, rows in self._rows.items()}


def decode_attributes(text: str | None) -> dict[str, Any]:
    """Read attributes from JSON text as the frames hold it.

    Returns:
        The attributes; empty for empty text.
    """
    return _decode_json(text) if text else {}


def event_frames(events: Iterable[VisibleEvent]) -> dict[Kind, pl.DataFrame]:
    """Lay events out in columns.

    Args:
        events: In any order and mixture.

    Returns:
        One frame per kind, empty ones included, rows in the order of the events; event ids
        may repeat.
    """
    builder = FrameBuilder()
    for visible in events:
        builder.add(visible.event, visible.visible_at)
    return builder.frames()


def _frame(kind: Kind, rows: list[_Row]) -> pl.DataFrame:
    # Column by column: many times faster than rows, and no type is ever guessed.
    names = SCHEMAS[kind]
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    series = [
        pl.Series(name, list(values), dtype=dtype)
        for (name, dtype), values in zip(names.items(), columns, strict=True)
    ]
    return pl.DataFrame(series)


def json_of(attributes: Attributes | dict[str, Attributes]) -> str:
    """Write attributes as the frames hold them.

    Returns:
        JSON text.
    """
    return _encode_json(attributes).decode() if attributes else "{}"


def _item_row(event: ItemEvent, visible_at: int) -> _Row:
    return event.event_id, event.item_id, json_of(event.attributes), event.occurred_at, visible_at


def _user_row(event: UserEvent, visible_at: int) -> _Row:
    return event.event_id, event.user_id, json_of(event.attributes), event.occurred_at, visible_at


def _impression_row(event: ImpressionEvent, visible_at: int) -> _Row:
    return (
        event.event_id,
        event.impression_id or event.event_id,
        event.user_id,
        event.session_id,
        event.item_ids,
        json_of(event.context),
        json_of(event.item_attributes),
        event.occurred_at,
        visible_at,
    )


def _interaction_row(event: InteractionEvent, visible_at: int) -> _Row:
    return (
        event.event_id,
        event.user_id,
        event.item_id,
        event.type,
        event.impression_id,
        event.session_id,
        event.value,
        json_of(event.attributes),
        event.occurred_at,
        visible_at,
    )


_KIND_BY_CLASS: Final[dict[type[Event], Kind]] = {
    ItemEvent: "items",
    UserEvent: "users",
    ImpressionEvent: "impressions",
    InteractionEvent: "interactions",
}
_ROW_WRITERS: Final[dict[Kind, Any]] = {
    "items": _item_row,
    "users": _user_row,
    "impressions": _impression_row,
    "interactions": _interaction_row,
}
