"""A log as a stream of events, in the order in which a server would have met them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSource
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent, VisibleEvent


def visible_events(source: LogSource) -> Iterator[VisibleEvent]:
    """Walk through a log by `visible_at`.

    Ties: item versions, then user versions, impressions, interactions, each by event id. Both
    executions of the aggregates count on this order.

    Yields:
        Every event of the log.
    """
    for piece in source.pieces():
        streams = [
            _stream(0, piece.items, _item),
            _stream(1, piece.users, _user),
            _stream(2, piece.impressions, _impression),
            _stream(3, piece.interactions, _interaction),
        ]
        for _, _, _, visible in heapq.merge(*streams, key=lambda entry: entry[:3]):
            yield visible


def _stream(
    kind: int, frame: pl.DataFrame, make: Callable[[dict[str, Any]], Any]
) -> Iterator[tuple[int, int, str, VisibleEvent]]:
    for row in frame.iter_rows(named=True):
        visible_at = row["visible_at"]
        yield visible_at, kind, row["event_id"], VisibleEvent(make(row), visible_at)


def _item(row: dict[str, Any]) -> ItemEvent:
    return ItemEvent(
        row["event_id"], row["occurred_at"], row["item_id"], decode_attributes(row["attributes"])
    )


def _user(row: dict[str, Any]) -> UserEvent:
    return UserEvent(
        row["event_id"], row["occurred_at"], row["user_id"], decode_attributes(row["attributes"])
    )


def _impression(row: dict[str, Any]) -> ImpressionEvent:
    return ImpressionEvent(
        event_id=row["event_id"],
        occurred_at=row["occurred_at"],
        user_id=row["user_id"],
        item_ids=row["item_ids"],
        impression_id=row["impression_id"],
        session_id=row["session_id"],
        context=decode_attributes(row["context"]),
        item_attributes=decode_attributes(row["item_attributes"]),
    )


def _interaction(row: dict[str, Any]) -> InteractionEvent:
    return InteractionEvent(
        event_id=row["event_id"],
        occurred_at=row["occurred_at"],
        user_id=row["user_id"],
        item_id=row["item_id"],
        type=row["type"],
        impression_id=row["impression_id"],
        session_id=row["session_id"],
        value=row["value"],
        attributes=decode_attributes(row["attributes"]),
    )
