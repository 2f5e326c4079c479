"""What the first of several processes hands to those that fit with it: its log, its run.

Servers may write while processes start, so two of them that read the log by themselves would not
read the same. The first one copies what it read into the folder of its run; the others wait for the
name of that folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Final

import polars as pl

from recsys.config import Config
from recsys.errors import ProcessesError
from recsys.events.frames import KINDS
from recsys.events.snapshot import LogSnapshot
from recsys.interest.sharing import as_the_first_says, n_processes

_COPY: Final = "snapshot"


def hand_over(snapshot: LogSnapshot, folder: Path, config: Config) -> None:
    """Tell the other processes, if there are any, what to fit on.

    Args:
        snapshot: The log.
        folder: Of the run; it receives a copy of the log.
        config: Which the others must have too.
    """
    if n_processes() == 1:
        return
    copy = folder / _COPY
    copy.mkdir(exist_ok=True)
    for kind in KINDS:
        getattr(snapshot, kind).write_ipc(_file(folder, kind))
    said = {
        "folder": str(folder.resolve()),
        "config": _hash(config),
        "erasures": snapshot.erasures,
    }
    as_the_first_says(json.dumps(said))


def take_over(config: Config) -> tuple[LogSnapshot, Path]:
    """Hear from the first process what to fit on; waits for it.

    Args:
        config: Of this process.

    Returns:
        The log and the folder of the run.

    Raises:
        ProcessesError: This process has another configuration, or does not see the first one's
            files.
    """
    said = json.loads(as_the_first_says(""))
    folder = Path(said["folder"])
    if said["config"] != _hash(config):
        found = "another configuration than the first process has"
        expected = "one recsys.toml and one environment"
        raise ProcessesError(found, expected)
    if not (folder / _COPY).is_dir():
        found = f"no {folder / _COPY}"
        expected = "a workspace on a file system that all processes share"
        raise ProcessesError(found, expected)
    tables = {kind: pl.read_ipc(_file(folder, kind)) for kind in KINDS}
    return LogSnapshot(**tables, erasures=int(said["erasures"])), folder


def clear(folder: Path) -> None:
    """Remove the copy of the log from a run's folder."""
    shutil.rmtree(folder / _COPY, ignore_errors=True)


def _file(folder: Path, table: str) -> Path:
    return folder / _COPY / f"{table}.arrow"


def _hash(config: Config) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()
