"""What a log holds, in numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl

from recsys.config import LogConfig
from recsys.events.erasure import pending_erasures
from recsys.events.frames import KINDS, Kind, decode_attributes
from recsys.events.snapshot import WAIT_S, LogSnapshot, read_snapshot
from recsys.events.spool import spool_files, spool_folder
from recsys.events.warehouse import open_warehouse
from recsys.schema import Attributes


@dataclass(frozen=True, slots=True)
class LogStats:
    """A log in numbers; tables and spool together.

    Args:
        rows: Events by table.
        interaction_types: Interactions by type, most frequent first.
        n_items: Items with at least one version.
        n_users: Users that were shown something, did something, or are described.
        first_at: Earliest `occurred_at`, microseconds; None when the log is empty.
        last_at: Latest.
        spool_files: Files that wait to be merged.
        spool_bytes: Their size.
        erasures_waiting: Users who are left out and whose bytes are still there; `recsys events
            forget` finishes that.
        items_unknown: Share of shown items, in a log without impressions of items acted on, of
            which no version was visible by then; None in an empty log. Attributes and texts of
            such items are missing.
        interactions_linked: Share of interactions whose impression is in the log; None without
            interactions.
    """

    rows: dict[Kind, int]
    interaction_types: dict[str, int]
    n_items: int
    n_users: int
    first_at: int | None
    last_at: int | None
    spool_files: int
    spool_bytes: int
    erasures_waiting: int
    items_unknown: float | None
    interactions_linked: float | None


def log_stats(config: LogConfig) -> LogStats:
    """Count what a log holds.

    Args:
        config: The log; a missing one is empty.

    Returns:
        The numbers.

    Raises:
        LogError: The log cannot be opened, or is damaged.
        SpoolDamagedError: The spool is damaged.
    """
    files = list(_sizes(spool_folder(config)))
    log = read_snapshot(config)
    frames = {kind: _frame(log, kind) for kind in KINDS}
    instants = pl.concat([frame["occurred_at"] for frame in frames.values()])
    bounds = (None, None) if instants.is_empty() else (instants.min(), instants.max())
    return LogStats(
        rows={kind: frame.height for kind, frame in frames.items()},
        interaction_types=_types(log.interactions),
        n_items=log.items["item_id"].n_unique(),
        n_users=_users(log),
        first_at=cast(int | None, bounds[0]),
        last_at=cast(int | None, bounds[1]),
        spool_files=len(files),
        spool_bytes=sum(files),
        erasures_waiting=len(pending_erasures(config)),
        items_unknown=_share_unknown(log),
        interactions_linked=_share_linked(log),
    )


def sample_of_items(config: LogConfig, n: int) -> list[Attributes]:
    """Read what some versions of items say of them.

    Args:
        config: The log; its spool is not looked at.
        n: How many at most, drawn at random.

    Returns:
        Attributes of each.

    Raises:
        LogError: The log cannot be opened, or is damaged.
    """
    with open_warehouse(config, read_only=True, wait_s=WAIT_S) as warehouse:
        sql = f"SELECT attributes FROM items USING SAMPLE reservoir({n:d} ROWS) REPEATABLE (17)"
        return [decode_attributes(text) for text in warehouse.query(sql)["attributes"]]


def _sizes(folder: Path) -> Iterator[int]:
    for path in spool_files(folder):
        # A merge may remove it between the two calls.
        with contextlib.suppress(FileNotFoundError):
            yield path.stat().st_size


def _frame(log: LogSnapshot, kind: Kind) -> pl.DataFrame:
    frame: pl.DataFrame = getattr(log, kind)
    return frame


def _types(interactions: pl.DataFrame) -> dict[str, int]:
    counts = interactions.group_by("type").len().sort(["len", "type"], descending=[True, False])
    return {str(name): int(n) for name, n in counts.iter_rows()}


def _users(log: LogSnapshot) -> int:
    users = pl.concat([
        log.users["user_id"],
        log.impressions["user_id"],
        log.interactions["user_id"],
    ])
    return users.filter(users != "").n_unique()


def _share_unknown(log: LogSnapshot) -> float | None:
    shown = log.impressions.select("visible_at", item_id="item_ids").explode("item_id")
    if shown.is_empty():
        shown = log.interactions.select("visible_at", "item_id")
    if shown.is_empty():
        return None
    first = log.items.group_by("item_id").agg(first_at=pl.col("visible_at").min())
    known = shown.join(first, on="item_id", how="left").select(
        (pl.col("first_at") < pl.col("visible_at")).fill_null(value=False).mean()
    )
    return 1.0 - float(known.item())


def _share_linked(log: LogSnapshot) -> float | None:
    if log.interactions.is_empty():
        return None
    linked = log.interactions.join(
        log.impressions.unique("impression_id"), on="impression_id", how="semi"
    )
    return linked.height / log.interactions.height
