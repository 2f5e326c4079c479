"""A copy of the log in memory: what trainers, batch jobs and a starting server work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from recsys.events.frames import Kind, event_frames
from recsys.schema import VisibleEvent


@dataclass(frozen=True, slots=True)
class LogSnapshot:
    """The log at one moment, one frame per table; each event id once per table.

    Every frame is sorted by (visible_at, event_id). Instants are Int64 microseconds since the Unix
    epoch, attributes, context and item attributes are JSON text, missing strings are empty.

    Args:
        items: event_id, item_id, attributes, occurred_at, visible_at.
        users: event_id, user_id, attributes, occurred_at, visible_at.
        impressions: event_id, impression_id, user_id, session_id, item_ids (in shown order),
            context, item_attributes, occurred_at, visible_at.
        interactions: event_id, user_id, item_id, type, impression_id, session_id, value (null
            when it has none), attributes, occurred_at, visible_at.
    """

    items: pl.DataFrame
    users: pl.DataFrame
    impressions: pl.DataFrame
    interactions: pl.DataFrame


def snapshot_of(events: Iterable[VisibleEvent]) -> LogSnapshot:
    """Build a snapshot from events in memory.

    Args:
        events: In any order; of several with one event id the first visible counts, of those the
            first given.

    Returns:
        What `read_snapshot` would give of a log that holds these events.
    """
    frames = event_frames(events)
    return _snapshot({kind: first_visible(frame) for kind, frame in frames.items()})


def first_visible(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep of each event id the row that was visible first, of equals the first in the frame.

    Returns:
        Rows in order of `visible_at`.
    """
    return frame.sort("visible_at", maintain_order=True).unique(
        "event_id", keep="first", maintain_order=True
    )


def _snapshot(frames: dict[Kind, pl.DataFrame]) -> LogSnapshot:
    ordered = {kind: frame.sort("visible_at", "event_id") for kind, frame in frames.items()}
    return LogSnapshot(**ordered)
