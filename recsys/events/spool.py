"""The spool: where online writers put events until a merge folds them into the tables.

One append-only file per process; one record per line: CRC-32 of the JSON in hexadecimal, a space,
the JSON of a `VisibleEvent`. A writer holds a lock on its file for as long as it lives, so that a
merge can tell files that may grow from files that are complete, and tells readers how far the file
is durable (`durable_end`): nobody reads further.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import secrets
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from recsys.config import LogConfig
from recsys.errors import EventError, LogError, SpoolDamagedError
from recsys.events.codec import decode_visible_event, encode_visible_event
from recsys.events.durable_end import durable_end, hold_all, release_to
from recsys.schema import VisibleEvent

SUFFIX: Final = ".log"
#: What a merge has folded, kept for a while for followers that have not read it to the end.
FOLDED_SUFFIX: Final = ".folded"
OPENING_SUFFIX: Final = ".opening"
_FILE_BYTES: Final = 64 * 1024 * 1024
_CRC_DIGITS: Final = 8
_HEAD_BYTES: Final = _CRC_DIGITS + 1


def spool_folder(config: LogConfig) -> Path:
    """Say where the spool of a log is.

    Returns:
        A folder beside the database; it may not exist.
    """
    return Path(f"{config.path}.spool")


def spool_files(folder: Path) -> list[Path]:
    """List the spool files.

    Returns:
        In order of their creation; empty when there is no spool.
    """
    return sorted(folder.glob(f"*{SUFFIX}"))


class SpoolWriter:
    """Appends events to a file of its own; safe to use from several threads.

    Args:
        folder: The spool; made where it is missing.
        file_bytes: A file that has grown to this size is closed and another one begun.
    """

    def __init__(self, folder: Path, *, file_bytes: int = _FILE_BYTES) -> None:
        #: In the names of all files of this writer.
        self.token = secrets.token_hex(6)
        self._folder = folder
        self._file_bytes = file_bytes
        self._lock = threading.Lock()
        self._file: int | None = None
        self._written = 0
        self._synced = 0
        self._lost: OSError | None = None

    def append(self, batch: Iterable[VisibleEvent]) -> None:
        """Write events; they are durable once `sync` has returned.

        Args:
            batch: Checked events, in the order of `visible_at`.

        Raises:
            LogError: The disk is full or fails; nothing of the batch was kept, and later calls are
                clean.
        """
        data = b"".join(map(record_line, batch))
        with self._lock:
            try:
                if self._written >= self._file_bytes:
                    self._sync()
                    self._close()
                _write_all(self._open(), data)
            except OSError as error:
                self._cut()
                raise self._problem(error) from error
            self._written += len(data)

    def sync(self) -> None:
        """Make everything appended so far durable.

        Raises:
            LogError: The disk fails; whatever was appended since the last call may be lost.
        """
        with self._lock:
            try:
                if self._lost:
                    raise self._lost
                self._sync()
            except OSError as error:
                self._written = self._synced
                self._cut()
                self._lost = None
                raise self._problem(error) from error

    def close(self) -> None:
        """Make everything durable, and leave the file to be folded and removed by a merge."""
        self.sync()
        with self._lock:
            self._close()

    def _open(self) -> int:
        if self._file is None:
            self._file = _create(self._folder, self.token)
            self._written = self._synced = 0
        return self._file

    def _sync(self) -> None:
        if self._file is None or self._synced == self._written:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            # A second attempt may succeed without the data, so it must not count.
            self._lost = error
            raise
        self._synced = self._written
        release_to(self._file, self._synced)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None
        self._written = self._synced = 0

    def _cut(self) -> None:
        """Cut the file back to its last good record and leave it.

        Another file is begun, because a follower may have read beyond the cut.
        """
        if self._file is None:
            return
        try:
            os.ftruncate(self._file, self._written)
            if self._lost is None:
                self._sync()
        except OSError as error:
            self._lost = error
        self._close()

    def _problem(self, error: OSError) -> LogError:
        return LogError(
            self._folder, error.strerror or "cannot be written", "a spool that can be written"
        )


def read_spool(folder: Path) -> Iterator[VisibleEvent]:
    """Read all complete records; a torn last line was never acknowledged, and is passed over.

    Args:
        folder: The spool; it may not exist.

    Returns:
        Events in order of `visible_at`, as far as every file is in that order.

    A complete line that is not what was written raises `SpoolDamagedError` when it is reached.
    """
    return read_spool_files(spool_files(folder))


def read_spool_files(files: Iterable[Path]) -> Iterator[VisibleEvent]:
    """Read some files of a spool, as `read_spool` reads all.

    Args:
        files: Those that are gone meanwhile are passed over: a merge has folded them.

    Returns:
        Events in order of `visible_at`, as far as every file is in that order.
    """
    return heapq.merge(*map(_file_events, files), key=_visible_at)


def _file_events(path: Path) -> Iterator[VisibleEvent]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        end, _ = durable_end(file.fileno())
        for position, line in complete_lines(file, end):
            yield read_record(line, path, position)


def complete_lines(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """Read a spool file line by line, without a torn last one.

    Args:
        file: At its beginning.
        end: How far it is durable, in bytes.

    Yields:
        Where a line begins, in bytes, and the line with its end.
    """
    position = 0
    for line in file:
        if not line.endswith(b"\n") or position + len(line) > end:
            return
        yield position, line
        position += len(line)


def read_record(line: bytes, path: Path, position: int) -> VisibleEvent:
    """Read one complete line of a spool file.

    Args:
        line: With its end.
        path: Of the file, for errors.
        position: Where the line begins, in bytes.

    Returns:
        The event.

    Raises:
        SpoolDamagedError: The line is not what was written.
    """
    try:
        return decode_visible_event(checked_json(line, path, position))
    except EventError as error:
        raise SpoolDamagedError(path, position, str(error)) from error


def checked_json(line: bytes, path: Path, position: int) -> bytes:
    """Check one complete line of a spool file against its checksum.

    Args:
        line: With its end.
        path: Of the file, for errors.
        position: Where the line begins, in bytes.

    Returns:
        The JSON of the event.

    Raises:
        SpoolDamagedError: The line is not what was written.
    """
    checksum, json = line[:_CRC_DIGITS], line[_CRC_DIGITS + 1 : -1]
    if line[_CRC_DIGITS:_HEAD_BYTES] != b" " or checksum != _checksum(json):
        raise SpoolDamagedError(path, position, "a line with another checksum")
    return json


def record_line(visible: VisibleEvent) -> bytes:
    """Write one complete line of a spool file.

    Returns:
        What `read_record` reads.
    """
    json = encode_visible_event(visible)
    return b"%b %b\n" % (_checksum(json), json)


def _checksum(json: bytes) -> bytes:
    return b"%08x" % zlib.crc32(json)


def _visible_at(visible: VisibleEvent) -> int:
    return visible.visible_at


def _create(folder: Path, token: str) -> int:
    """Begin a file and lock it; it gets its name last, so that no merge takes it for a dead one.

    Returns:
        Its descriptor.
    """
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    while True:
        name = f"{time.time_ns():020d}-{os.getpid()}-{token}"
        opening = folder / f"{name}{OPENING_SUFFIX}"
        file = os.open(opening, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hold_all(file)
            opening.rename(folder / f"{name}{SUFFIX}")
            sync_folder(folder)
        except (BlockingIOError, FileNotFoundError):
            # A merge took the unnamed file for the leftover of a killed process.
            os.close(file)
        except BaseException:
            os.close(file)
            raise
        else:
            return file


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
