"""Follows a spool: what other processes append arrives here moments after it is durable.

Files stay open while they are followed, so one that a merge takes away is still read to its end. A
merge also keeps what it folded for a minute while somebody follows, so a file that began and ended
between two looks is still found. Whoever did not look for longer than half of that minute reads
what is newer from the tables instead.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from recsys.config import LogConfig
from recsys.errors import SpoolDamagedError
from recsys.events.durable_end import durable_end
from recsys.events.erasure import ERASURE_SUFFIX, read_erasure
from recsys.events.replay import visible_events
from recsys.events.snapshot import read_newer
from recsys.events.spool import FOLDED_SUFFIX, SUFFIX, read_record, spool_folder
from recsys.schema import MICROSECONDS, VisibleEvent

FOLLOWERS: Final = "followers"
#: How long a merge keeps a folded file that somebody may not have read, in seconds.
KEPT_S: Final = 60.0
_LONGEST_GAP_S: Final = KEPT_S / 2
#: Clocks stamp an event before its file begins; a commit that waits for a disk takes this long.
_MARGIN_US: Final = 300 * MICROSECONDS
_CHUNK_BYTES: Final = 4 * 1024 * 1024

_log = structlog.get_logger("recsys.events")


class SpoolFollower:
    """Gives what was made durable by any other process since the last look.

    Made before the log is read: what is durable then is in that reading, and is not given again.
    Events may come that the log had all the same; whoever takes them knows their ids.

    Args:
        config: The log; its spool need not exist yet.
        own: Token of a writer whose files are passed over.
        read_s: Reads a clock that also runs while the machine sleeps, seconds.
    """

    def __init__(
        self, config: LogConfig, *, own: str = "", read_s: Callable[[], float] | None = None
    ) -> None:
        self._config = config
        self._folder = spool_folder(config)
        self._own = own
        self._read_s = read_s or _boot_time_s
        self._tails: dict[str, _Tail] = {}
        self._done: set[str] = set()
        self._asked: set[str] = set()
        self._erased: list[str] = []
        #: How many users were taken out of the log, as far as that was looked for; it is after a
        #: pause in which an erasure may have come and gone.
        self.n_erased = 0
        self._folder.mkdir(parents=True, exist_ok=True)
        # Waits for a merge that is removing files, so that none goes unseen from here on.
        self._presence = (self._folder / FOLLOWERS).open("ab")
        fcntl.flock(self._presence, fcntl.LOCK_SH)
        self._looked_s = self._read_s()
        self._open_new(at_end=True)
        self.erased()  # whoever reads the log from now on leaves these out

    def erased(self) -> list[str]:
        """Take the users who are to be forgotten since the last call.

        Returns:
            Their ids, as far as `read` has come.
        """
        found, self._erased = self._erased, []
        return found

    def read(self, newest_us: int) -> list[VisibleEvent]:
        """Read what is new.

        Args:
            newest_us: `visible_at` of the newest event that the caller knows, microseconds.

        Returns:
            In order of `visible_at` as far as every file is in that order.
        """
        now_s = self._read_s()
        missed: list[VisibleEvent] = []
        if now_s - self._looked_s > _LONGEST_GAP_S:
            newer = read_newer(self._config, newest_us - _MARGIN_US)
            missed, self.n_erased = list(visible_events(newer)), newer.erasures
        self._open_new(at_end=False)
        new = [missed, *(self._read_tail(stem, tail) for stem, tail in list(self._tails.items()))]
        self._looked_s = now_s
        return list(heapq.merge(*filter(None, new), key=lambda visible: visible.visible_at))

    def close(self) -> None:
        """Let go of all files."""
        for tail in self._tails.values():
            tail.file.close()
        self._tails = {}
        self._presence.close()

    def _open_new(self, *, at_end: bool) -> None:
        listed, asked = set(), set()
        for entry in os.scandir(self._folder):
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - twenty times a second
            if suffix == ERASURE_SUFFIX:
                asked.add(stem)
                if stem not in self._asked:
                    self._read_erasure(self._folder / entry.name)
                continue
            if suffix not in {SUFFIX, FOLDED_SUFFIX} or (self._own and stem.endswith(self._own)):
                continue
            listed.add(stem)
            if stem not in self._tails and stem not in self._done:
                self._open(stem, at_end=at_end)
        self._done &= listed
        self._asked = asked

    def _read_erasure(self, path: Path) -> None:
        try:
            erasure = read_erasure(path)
        except SpoolDamagedError as error:
            _log.error("erasure_not_read", found=str(error))
            return
        if erasure is not None:
            self._erased.append(erasure.user_id)

    def _open(self, stem: str, *, at_end: bool) -> None:
        for suffix in (SUFFIX, FOLDED_SUFFIX):
            path = self._folder / f"{stem}{suffix}"
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:  # a merge renamed or removed it after the listing
                continue
            self._tails[stem] = _Tail(path, file, at_end=at_end)
            return

    def _read_tail(self, stem: str, tail: _Tail) -> list[VisibleEvent]:
        try:
            events = list(tail.read())
        except SpoolDamagedError as error:
            # One damaged file must not keep the events of all others from this process.
            _log.error("spool_file_not_followed", found=str(error))
            tail.is_finished = True
            events = []
        if tail.is_finished:
            tail.file.close()
            del self._tails[stem]
            self._done.add(stem)
        return events


class _Tail:
    """One file and how far it was read."""

    def __init__(self, path: Path, file: BinaryIO, *, at_end: bool) -> None:
        self.path = path
        self.file = file
        self.is_finished = False
        self._position = 0
        if at_end:
            self._position = _last_line_end(file, durable_end(file.fileno())[0])

    def read(self) -> Iterator[VisibleEvent]:
        """Read all complete lines that are durable.

        Yields:
            Their events.
        """
        end, is_growing = durable_end(self.file.fileno())
        while self._position < end:
            size = min(_CHUNK_BYTES, end - self._position)
            data = os.pread(self.file.fileno(), size, self._position)
            lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
            if not lines:
                break  # a torn last line; a line is never longer than a chunk
            for line in lines:
                yield read_record(line, self.path, self._position)
                self._position += len(line)
        self.is_finished = not is_growing


def _last_line_end(file: BinaryIO, end: int) -> int:
    """Find where the last complete line before a position ends.

    Returns:
        A position; 0 when there is none.
    """
    while end > 0:
        start = max(0, end - _CHUNK_BYTES)
        found = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _boot_time_s() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
