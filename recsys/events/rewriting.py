"""Carries erasures out: the log is written anew without the names, and takes the old one's place.

DuckDB keeps the bytes of deleted rows in its file, so the tables are copied into a new one. It is
complete and on disk before it is renamed over the old; what of the spool is left is written anew
likewise, and the files that asked for the erasures go last. Killed at any point, the log reads the
same, and the next run goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from recsys.config import LogConfig
from recsys.events.erasure import Eraser, Erasure, ErasureFile, erasure_files
from recsys.events.frames import KINDS, Kind, event_frames
from recsys.events.merge import is_written, merge_spool
from recsys.events.replay import visible_events
from recsys.events.snapshot import WAIT_S, LogSnapshot
from recsys.events.spool import (
    FOLDED_SUFFIX,
    read_spool_files,
    record_line,
    spool_files,
    spool_folder,
    sync_folder,
)
from recsys.events.warehouse import Warehouse, open_warehouse

#: Servers look twenty times a second.
_SERVERS_S: Final = 5.0
_BATCH_ROWS: Final = 500_000


@dataclass(slots=True)
class ErasureReport:
    """What became of the erasures that were asked for.

    Args:
        users: Erasures that were carried out.
        rows: Rows that named one of the users, by table.
        waiting: Spool files that a server goes on writing though it was to begin another one; the
            erasures stay asked for until a later run finds them closed.
    """

    users: int = 0
    rows: dict[Kind, int] = field(default_factory=dict)
    waiting: int = 0


def carry_out_erasures(
    config: LogConfig,
    *,
    also: Callable[[], object] = lambda: None,
    wait_s: float = WAIT_S,
    servers_s: float = _SERVERS_S,
) -> ErasureReport:
    """Carry out all erasures that were asked for.

    Args:
        config: The log.
        also: Called when servers know of the erasures and the log is written anew, before the
            erasures count as carried out.
        wait_s: How long to wait for other processes to let go of the tables, seconds.
        servers_s: How long to wait for servers to begin another spool file, seconds.

    Returns:
        What was done.

    Raises:
        LogError: The log is held by another process, or cannot be written.
        SpoolDamagedError: The spool is damaged.
    """
    folder = spool_folder(config)
    wanted = erasure_files(folder)
    if not wanted:
        return ErasureReport()
    waiting = _wait_for_servers(folder, wanted[-1].asked_ns, servers_s)
    merge_spool(config, wait_s=wait_s)
    eraser = Eraser([file.erasure for file in wanted])
    with open_warehouse(config, wait_s=wait_s) as warehouse:
        # Files before tables: which lists have other names now, only the old tables know.
        for path in folder.glob(f"*{FOLDED_SUFFIX}"):
            _rewrite_file(path, warehouse, eraser.erasures)
        _rewrite_tables(config, warehouse, eraser, [] if waiting else wanted)
    also()
    report = ErasureReport(rows={kind: eraser.counts[kind] for kind in KINDS}, waiting=waiting)
    if not waiting:
        _remove(folder, wanted)
        report.users = len(wanted)
    return report


def _wait_for_servers(folder: Path, asked_ns: int, wait_s: float) -> int:
    """Wait until no server writes a file any more that it began before an erasure.

    Returns:
        How many such files there still are.
    """
    deadline = time.monotonic() + wait_s
    while True:
        older = [p for p in spool_files(folder) if int(p.name.partition("-")[0]) <= asked_ns]
        n_written = sum(is_written(path) for path in older)
        if not n_written or time.monotonic() >= deadline:
            return n_written
        time.sleep(0.02)


def _rewrite_tables(
    config: LogConfig, warehouse: Warehouse, eraser: Eraser, carried_out: Sequence[ErasureFile]
) -> None:
    path = Path(config.path)
    target = path.with_name(f".{path.name}.rewriting")
    for leftover in (target, target.with_name(f"{target.name}.wal")):
        leftover.unlink(missing_ok=True)
    copied = config.model_copy(update={"path": str(target)})
    with open_warehouse(copied) as new:
        with new.transaction():
            for kind in KINDS:
                for frame in warehouse.batches(kind, _BATCH_ROWS):
                    new.append(kind, eraser.table(kind, frame))
            names = [file.erasure.name for file in carried_out]
            new.set_erasures(warehouse.erasures().and_also(names))
        new.checkpoint()
    with target.open("rb") as file:
        os.fsync(file.fileno())
    target.rename(path)
    sync_folder(path.parent)


def _rewrite_file(path: Path, warehouse: Warehouse, erasures: Sequence[Erasure]) -> None:
    """Take names out of what a merge keeps for servers that may not have read it."""
    eraser, users = Eraser(erasures), [erasure.user_id for erasure in erasures]
    eraser.table("impressions", warehouse.read_shown_to(users))
    before = event_frames(read_spool_files([path]))
    frames = eraser.tables(before)
    if all(frames[kind].equals(before[kind]) for kind in KINDS):
        return
    partial = path.with_name(f".{path.name}.rewriting")
    with partial.open("wb") as file:
        for line in _lines(frames):
            file.write(line)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def _lines(frames: dict[Kind, pl.DataFrame]) -> Iterator[bytes]:
    ordered = {kind: frame.sort("visible_at", "event_id") for kind, frame in frames.items()}
    return map(record_line, visible_events(LogSnapshot(**ordered, erasures=0)))


def _remove(folder: Path, carried_out: list[ErasureFile]) -> None:
    for file in carried_out:
        file.path.unlink()
    sync_folder(folder)
