"""Folds the spool into the tables: one transaction, then the removal of what it holds.

Killed before the commit, nothing has happened; killed after it, the next run reads the same events
again, finds their ids known, and removes the files.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from recsys.config import LogConfig
from recsys.events.following import FOLLOWERS, KEPT_S
from recsys.events.frames import KINDS, FrameBuilder, Kind
from recsys.events.snapshot import WAIT_S
from recsys.events.spool import (
    FOLDED_SUFFIX,
    OPENING_SUFFIX,
    read_spool_files,
    spool_files,
    spool_folder,
    sync_folder,
)
from recsys.events.warehouse import Warehouse, open_warehouse
from recsys.schema import VisibleEvent

_BATCH_EVENTS: Final = 50_000


@dataclass(slots=True)
class MergeReport:
    """What a merge did.

    Args:
        read: Events in the spool.
        new: Events that the tables did not have, by table.
        files_removed: Files whose writer is gone; while servers follow the spool they are kept
            for a minute more under another name, and removed by a later merge.
        files_kept: Files that a live writer may append to; they are folded as far as they go.
    """

    read: int = 0
    new: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    files_removed: int = 0
    files_kept: int = 0


def merge_spool(config: LogConfig, *, wait_s: float = WAIT_S) -> MergeReport:
    """Fold all events of the spool into the tables.

    Args:
        config: The log; made where it is missing.
        wait_s: How long to wait for other processes to let go of the tables, seconds.

    Returns:
        What was found and done.

    Raises:
        LogError: The log is held by another process, or cannot be written.
        SpoolDamagedError: A spool file is damaged; nothing was changed.
    """
    report = MergeReport()
    folder = spool_folder(config)
    if not folder.exists():
        return report
    with open_warehouse(config, wait_s=wait_s) as warehouse, ExitStack() as locks:
        files = spool_files(folder)
        complete = [path for path in files if locks.enter_context(_locked(path))]
        with warehouse.transaction():
            _fold(warehouse, read_spool_files(files), report)
        # Out of the write-ahead log before the only other copy goes.
        warehouse.checkpoint()
        _remove(folder, complete)
    report.files_removed = len(complete)
    report.files_kept = len(files) - len(complete)
    return report


def _fold(warehouse: Warehouse, events: Iterator[VisibleEvent], report: MergeReport) -> None:
    batch = FrameBuilder()
    for visible in events:
        batch.add(visible.event, visible.visible_at)
        report.read += 1
        if len(batch) >= _BATCH_EVENTS:
            _write(warehouse, batch, report)
            batch = FrameBuilder()
    _write(warehouse, batch, report)


def _write(warehouse: Warehouse, batch: FrameBuilder, report: MergeReport) -> None:
    for kind, n_new in warehouse.write(batch.frames()).items():
        report.new[kind] += n_new


def is_written(path: Path) -> bool:
    """Say whether a spool file has a live writer.

    Returns:
        False for one that is gone.
    """
    with suppress(FileNotFoundError), _locked(path) as is_complete:
        return not is_complete
    return False


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Try to take the lock that a live writer holds on its file.

    Yields:
        Whether the writer is gone; the lock is held until the block ends.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove(folder: Path, complete: list[Path]) -> None:
    with _alone(folder) as is_alone:
        if is_alone:
            for path in [*complete, *folder.glob(f"*{FOLDED_SUFFIX}")]:
                path.unlink()
        else:
            _set_aside(folder, complete)
    for path in folder.glob(f"*{OPENING_SUFFIX}"):
        # Gone already where its writer has just given it its name.
        with suppress(FileNotFoundError), _locked(path) as is_leftover:
            if is_leftover:
                path.unlink()
    sync_folder(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Keep followers from starting while files are removed.

    Yields:
        Whether nobody follows the spool.
    """
    path = folder / FOLLOWERS
    if not path.exists():
        # Who starts now reads the log afterwards, and the tables hold what is removed.
        yield True
        return
    with _locked(path) as is_alone:
        yield is_alone


def _set_aside(folder: Path, complete: list[Path]) -> None:
    """Keep what was folded now for those who follow; remove what they had time enough to read."""
    for path in folder.glob(f"*{FOLDED_SUFFIX}"):
        if time.time() - path.stat().st_mtime > KEPT_S:
            path.unlink()
    for path in complete:
        os.utime(path)
        path.rename(path.with_suffix(FOLDED_SUFFIX))
