"""What the first of several processes hands to those that fit with it: its log, its run.

Servers may write while processes start, so two of them that read the log by themselves would not
read the same. The first one copies what it reads, piece by piece, into the folder of its run; the
others wait for the name of that folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import polars as pl

from recsys.bundle.locks import exclusive, is_held
from recsys.config import Config
from recsys.errors import ProcessesError
from recsys.events.frames import KINDS
from recsys.events.snapshot import LogSnapshot
from recsys.features.actions import EncodedLog
from recsys.interest.sharing import as_the_first_says, n_processes

_COPY: Final = "snapshot"
_PIECES: Final = "pieces"


class Copies:
    """Copies of the pieces of a log, for the other processes: a watcher of `encode_log`.

    Args:
        folder: Where to; None: there are no other processes, and nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._n, self._n_erased = 0, 0

    def __call__(self, piece: LogSnapshot, log: EncodedLog) -> None:
        """Copy a piece."""
        del log
        if self._folder is None:
            return
        for kind in KINDS:
            getattr(piece, kind).write_ipc(_file(self._folder, self._n, kind))
        self._n, self._n_erased = self._n + 1, piece.erasures

    def hand_over(self, run: Path, config: Config) -> None:
        """Tell the other processes, if there are any, what to fit on.

        Args:
            run: The folder of the run, which the copies are moved to.
            config: Which the others must have too.
        """
        if self._folder is None:
            return
        clear(run)
        self._folder.rename(run / _COPY)
        said = {
            "folder": str(run.resolve()),
            "config": _hash(config),
            "erasures": self._n_erased,
            _PIECES: self._n,
        }
        as_the_first_says(json.dumps(said))


@contextmanager
def copying(runs: Path) -> Iterator[Copies]:
    """Make a folder for copies of a log, and remove those of processes that were cut off.

    Args:
        runs: Where runs lie.

    Yields:
        What copies; nothing is left of it but what was handed over.
    """
    if n_processes() == 1:
        yield Copies(None)
        return
    runs.mkdir(parents=True, exist_ok=True)
    for left in runs.glob(f"{_COPY}-*"):
        if not is_held(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(mkdtemp(prefix=f"{_COPY}-", dir=runs))
    with exclusive(folder):
        try:
            yield Copies(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class CopiedLog:
    """A log that another process copied.

    Args:
        folder: With the copies.
        n_pieces: Of the log.
        erasures: How many users were taken out of it.
    """

    folder: Path
    n_pieces: int
    erasures: int

    @property
    def scratch(self) -> Path:
        """The folder of the copies."""
        return self.folder

    def pieces(self) -> Iterator[LogSnapshot]:
        """Read the copies.

        Yields:
            The pieces, as they were.
        """
        for number in range(self.n_pieces):
            tables = {kind: pl.read_ipc(_file(self.folder, number, kind)) for kind in KINDS}
            yield LogSnapshot(**tables, erasures=self.erasures)


def take_over(config: Config) -> tuple[CopiedLog, Path]:
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
    return CopiedLog(folder / _COPY, int(said[_PIECES]), int(said["erasures"])), folder


def clear(run: Path) -> None:
    """Remove the copy of the log from a run's folder."""
    shutil.rmtree(run / _COPY, ignore_errors=True)


def _file(folder: Path, piece: int, table: str) -> Path:
    return folder / f"{piece}-{table}.arrow"


def _hash(config: Config) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()
