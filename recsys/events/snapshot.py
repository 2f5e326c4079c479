"""A copy of the log in memory: what trainers, batch jobs and a starting server work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import polars as pl

from recsys.config import LogConfig
from recsys.events.erasure import Erasure, pending_erasures, without
from recsys.events.frames import KINDS, Kind, event_frames
from recsys.events.spool import read_spool, spool_folder
from recsys.events.spool_tail import read_spool_tail
from recsys.schema import VisibleEvent

if TYPE_CHECKING:
    from recsys.events.warehouse import CarriedOut

#: Events of each table that stand for what lately happened.
N_LATEST: Final = 320
#: How long readers and writers usually wait for a process that holds the tables, seconds.
WAIT_S: Final = 30.0


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
        erasures: How many users were taken out of this log so far; what was made of a log with
            fewer names somebody who is not here.
    """

    items: pl.DataFrame
    users: pl.DataFrame
    impressions: pl.DataFrame
    interactions: pl.DataFrame
    erasures: int = 0

    @property
    def scratch(self) -> None:
        """None: what is in memory is encoded in memory."""
        return

    def pieces(self) -> Iterator[LogSnapshot]:
        """Go through it as through any log.

        Yields:
            Itself.
        """
        yield self


class LogSource(Protocol):
    """A log that is gone through once, from the first event to the last.

    In memory it is a `LogSnapshot`, on disk a `recsys.events.pieces.StoredLog`.
    """

    @property
    def scratch(self) -> Path | None:
        """A folder with room for the log as integers; None: there is room in memory."""
        ...

    def pieces(self) -> Iterator[LogSnapshot]:
        """Give the log in pieces, each later than the one before."""
        ...


def snapshot_of(events: Iterable[VisibleEvent]) -> LogSnapshot:
    """Build a snapshot from events in memory.

    Args:
        events: In any order; of several with one event id the first visible counts, of those the
            first given.

    Returns:
        What `read_snapshot` would give of a log that holds these events.
    """
    frames = event_frames(events)
    return as_snapshot({kind: first_visible(frame) for kind, frame in frames.items()})


def read_snapshot(config: LogConfig, *, wait_s: float = WAIT_S) -> LogSnapshot:
    """Copy tables and spool, and let go of them.

    Args:
        config: The log; a missing one is empty.
        wait_s: How long to wait for a process that writes the tables, seconds.

    Returns:
        Everything that was durable when the call began; a row of the tables wins over the spool.

    Raises:
        LogError: The log cannot be opened, or is damaged.
        SpoolDamagedError: The spool is damaged.
    """
    # Plugins import this module for its types; DuckDB is loaded when a log is really read.
    from recsys.events.warehouse import open_warehouse

    # The spool first: what a merge moves out of it meanwhile is then read twice, never missed; and
    # before it what is to be left out, which does no harm where it is gone already.
    erasures = pending_erasures(config)
    spooled = event_frames(read_spool(spool_folder(config)))
    if not Path(config.path).exists():
        return as_snapshot({k: _first(frame) for k, frame in spooled.items()}, erasures)
    with open_warehouse(config, read_only=True, wait_s=wait_s) as warehouse:
        stored, before = {kind: warehouse.read(kind) for kind in KINDS}, warehouse.erasures()
    whole = {kind: _first(stored[kind].vstack(spooled[kind])) for kind in KINDS}
    return as_snapshot(whole, erasures, before)


def read_newer(config: LogConfig, after_us: int, *, wait_s: float = WAIT_S) -> LogSnapshot:
    """Copy from the tables what became visible after an instant; the spool is left out.

    Args:
        config: The log; a missing one is empty.
        after_us: The instant, microseconds.
        wait_s: How long to wait for a process that writes the tables, seconds.

    Returns:
        The rows.

    Raises:
        LogError: The log cannot be opened, or is damaged.
    """
    from recsys.events.warehouse import open_warehouse

    if not Path(config.path).exists():
        return snapshot_of(())
    erasures = pending_erasures(config)
    with open_warehouse(config, read_only=True, wait_s=wait_s) as warehouse:
        newer = {kind: warehouse.read(kind, after_us) for kind in KINDS}
        return as_snapshot(newer, erasures, warehouse.erasures())


@dataclass(frozen=True, slots=True)
class LogTail:
    """What a log holds from an instant on, and the ids of everything before.

    Args:
        tail: Events that became visible at or after the instant.
        older: Event ids of all others, by table.
        latest: The last few hundred events of each table, whenever they became visible.
    """

    tail: LogSnapshot
    older: dict[Kind, pl.Series]
    latest: LogSnapshot


def read_tail(config: LogConfig, since_us: int, *, wait_s: float = WAIT_S) -> LogTail:
    """Read the end of a log whose beginning is known already.

    Args:
        config: The log.
        since_us: Where the end begins, microseconds.
        wait_s: How long to wait for a process that writes the tables, seconds.

    Returns:
        The end, as `read_snapshot` would give it.

    Raises:
        LogError: The log cannot be opened, or is damaged.
        SpoolDamagedError: The spool is damaged.
    """
    from recsys.events.warehouse import open_warehouse

    erasures = pending_erasures(config)
    carried_out: CarriedOut | None = None
    spool = read_spool_tail(spool_folder(config), since_us, N_LATEST)
    spooled, before = event_frames(spool.recent), event_frames(spool.latest)
    stored, older = {kind: frame.clear() for kind, frame in spooled.items()}, {}
    latest = dict(stored)
    ids = {kind: pl.Series("event_id", [], dtype=pl.String) for kind in KINDS}
    if Path(config.path).exists():
        with open_warehouse(config, read_only=True, wait_s=wait_s) as warehouse:
            carried_out = warehouse.erasures()
            for kind in KINDS:
                stored[kind] = warehouse.read(kind, since_us - 1)
                latest[kind] = warehouse.read_last(kind, N_LATEST)
                sql = f"SELECT event_id FROM {kind} WHERE visible_at < ?"
                ids[kind] = warehouse.query(sql, [since_us])["event_id"]
    for kind, event_ids in spool.older.items():
        in_spool = pl.Series("event_id", event_ids, dtype=pl.String)
        older[kind] = ids[kind].append(in_spool).unique()
    tail = {k: _first(stored[k].vstack(spooled[k])) for k in KINDS}
    newest = {k: _first(latest[k].vstack(before[k]).vstack(spooled[k])) for k in KINDS}
    return LogTail(
        as_snapshot(tail, erasures, carried_out),
        older,
        as_snapshot(newest, erasures, carried_out),
    )


def first_visible(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep of each event id the row that was visible first, of equals the first in the frame.

    Returns:
        Rows in order of `visible_at`.
    """
    return _first(frame.sort("visible_at", maintain_order=True))


def _first(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.unique("event_id", keep="first", maintain_order=True)


def as_snapshot(
    frames: Mapping[Kind, pl.DataFrame],
    erasures: Sequence[Erasure] = (),
    before: CarriedOut | None = None,
) -> LogSnapshot:
    """Put rows of the log into order.

    Args:
        frames: By table, each event id once.
        erasures: What is to be left out of them.
        before: What was left out of the tables already.

    Returns:
        The snapshot.
    """
    kept = without(frames, erasures)
    ordered = {kind: frame.sort("visible_at", "event_id") for kind, frame in kept.items()}
    n_erased = before.among(erasure.name for erasure in erasures) if before else len(erasures)
    return LogSnapshot(**ordered, erasures=n_erased)
