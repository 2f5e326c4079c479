"""Erasures: users whose name is to be taken out of the log, and how that is asked for.

An erasure is a small file in the spool. It counts from the moment in which it is durable: whoever
reads the log from then on takes the name out of everything that was visible by then, and servers
that follow the spool forget the user. The bytes go when it is carried out (`rewriting`), and its
file goes last, so that a process which is killed on the way leaves a log that reads the same.

What a user did stays, done by nobody in particular: how often an item was clicked is not the user's
alone. User and session ids, everything said of the user, attributes of interactions, and ids that
contain the user's go.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from recsys.config import LogConfig
from recsys.errors import SpoolDamagedError
from recsys.events.frames import Kind
from recsys.events.spool import spool_folder, sync_folder

ERASURE_SUFFIX: Final = ".erasure"
_PARTIAL_SUFFIX: Final = ".erasing"
_EMPTY: Final = "{}"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One user who is to be forgotten.

    Args:
        user_id: Who.
        visible_at: Up to when, in microseconds; who comes back later is somebody new.
        salt: Makes the names that replace ids which contain the user's; gone with the erasure.
        name: Tells it from all others, and nothing of the user.
    """

    user_id: str
    visible_at: int
    salt: str
    name: str


@dataclass(frozen=True, slots=True)
class ErasureFile:
    """An erasure in the spool.

    Args:
        path: Its file.
        erasure: What it says.
    """

    path: Path
    erasure: Erasure

    @property
    def asked_ns(self) -> int:
        """When it was asked for, by the clock of the machine."""
        return int(self.path.name.partition("-")[0])


def ask_to_erase(config: LogConfig, user_ids: Sequence[str], visible_at: int) -> None:
    """Make erasures durable; from now on nobody who reads the log finds the users.

    Args:
        config: The log.
        user_ids: Whom to forget.
        visible_at: Up to when, in microseconds.
    """
    folder = spool_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    for user_id in user_ids:
        stem = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        erasure = Erasure(user_id, visible_at, secrets.token_hex(16), stem)
        partial = folder / f"{stem}{_PARTIAL_SUFFIX}"
        with partial.open("xb") as file:
            file.write(msgspec.json.encode(erasure))
            file.flush()
            os.fsync(file.fileno())
        partial.rename(folder / f"{stem}{ERASURE_SUFFIX}")
    sync_folder(folder)


def erasure_files(folder: Path) -> list[ErasureFile]:
    """List the erasures that are not carried out yet.

    Args:
        folder: The spool; it may not exist.

    Returns:
        Oldest first.

    Raises:
        SpoolDamagedError: A file does not hold what was written.
    """
    found: list[ErasureFile] = []
    for path in sorted(folder.glob(f"*{ERASURE_SUFFIX}")):
        erasure = read_erasure(path)
        if erasure is not None:
            found.append(ErasureFile(path, erasure))
    return found


def read_erasure(path: Path) -> Erasure | None:
    """Read one erasure.

    Returns:
        What it says; None when it was carried out meanwhile.

    Raises:
        SpoolDamagedError: The file does not hold what was written.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Erasure)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise SpoolDamagedError(path, 0, "no erasure") from error


def pending_erasures(config: LogConfig) -> list[Erasure]:
    """List what a reader of the log has to leave out; ask before the log is read.

    Returns:
        Erasures that are not carried out yet, oldest first.
    """
    return [file.erasure for file in erasure_files(spool_folder(config))]


@dataclass(slots=True)
class Eraser:
    """Takes names out of tables.

    Args:
        erasures: Whose.
        counts: Rows that named one of them, by table; grows.
    """

    erasures: Sequence[Erasure]
    counts: Counter[Kind] = field(default_factory=Counter)
    _renamed: dict[str, str] = field(default_factory=dict)

    def tables(self, frames: Mapping[Kind, pl.DataFrame]) -> dict[Kind, pl.DataFrame]:
        """Take names out of all tables.

        Args:
            frames: In the order of `KINDS`.

        Returns:
            The tables without; rows in another order.
        """
        return {kind: self.table(kind, frame) for kind, frame in frames.items()}

    def table(self, kind: Kind, frame: pl.DataFrame) -> pl.DataFrame:
        """Take names out of a table, or of a part of it; impressions before interactions.

        Returns:
            The rows without, in another order.
        """
        if kind == "items":
            return frame
        for erasure in self.erasures:
            is_theirs = (pl.col("user_id") == erasure.user_id) & (
                pl.col("visible_at") <= erasure.visible_at
            )
            theirs = frame.filter(is_theirs)
            self.counts[kind] += theirs.height
            if theirs.is_empty():
                continue
            others = frame.filter(~is_theirs)
            unnamed = theirs.clear() if kind == "users" else self._unnamed(theirs, erasure)
            frame = pl.concat([others, unnamed])
        if kind == "interactions" and self._renamed:
            names = pl.col("impression_id").replace(self._renamed)
            frame = frame.with_columns(names.alias("impression_id"))
        return frame

    def _unnamed(self, theirs: pl.DataFrame, erasure: Erasure) -> pl.DataFrame:
        user = re.escape(erasure.user_id)
        mentions = re.compile(f"(?<![0-9A-Za-z]){user}(?![0-9A-Za-z])")
        columns: dict[str, list[str]] = {
            "user_id": [""] * theirs.height,
            "session_id": [""] * theirs.height,
        }
        for name in ("event_id", "impression_id"):
            columns[name] = [
                _other_name(text, erasure) if mentions.search(text) else text
                for text in theirs[name].to_list()
            ]
        if "context" in theirs.columns:
            changed = zip(theirs["impression_id"].to_list(), columns["impression_id"], strict=True)
            self._renamed |= {old: new for old, new in changed if old != new}
            columns["context"] = [
                _EMPTY if mentions.search(text) else text for text in theirs["context"].to_list()
            ]
        else:
            columns["attributes"] = [_EMPTY] * theirs.height
        return theirs.with_columns(
            pl.Series(name, values, dtype=pl.String) for name, values in columns.items()
        )


def _other_name(text: str, erasure: Erasure) -> str:
    return f"erased-{hashlib.sha256(f'{erasure.salt}{text}'.encode()).hexdigest()[:32]}"


def without(
    frames: Mapping[Kind, pl.DataFrame], erasures: Iterable[Erasure]
) -> Mapping[Kind, pl.DataFrame]:
    """Take names out of a log that was read.

    Returns:
        The same frames where there is nothing to take out.
    """
    wanted = list(erasures)
    return Eraser(wanted).tables(frames) if wanted else frames
