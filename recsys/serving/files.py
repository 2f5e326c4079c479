"""Files that may be replaced while the server runs: read again on a change, kept when broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from recsys.errors import ConfigError

_T = TypeVar("_T")

#: Files are looked at no more often than this, in seconds.
_LOOK_EVERY_S: Final = 1.0

_log = structlog.get_logger("recsys.serving")


class Reloaded(Generic[_T]):
    """What files say, as of their last good state; safe to use from several threads.

    Args:
        what: Named in the log.
        paths: The files.
        read: Reads them; raises `ConfigError`.
        look_every_s: How long a state is used before the files are looked at again.

    Raises:
        ConfigError: They cannot be used as they are at first.
    """

    def __init__(
        self,
        what: str,
        paths: tuple[Path, ...],
        read: Callable[[], _T],
        *,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._what = what
        self._paths = paths
        self._read = read
        self._look_every_s = look_every_s
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._stamps = self._stamp()
        self._value = read()

    @property
    def value(self) -> _T:
        """What the files say."""
        if time.monotonic() - self._looked_at >= self._look_every_s and self._lock.acquire(
            blocking=False
        ):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._value

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        stamps = self._stamp()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._value = self._read()
        except ConfigError as error:
            _log.warning("files_not_reloaded", what=self._what, cause=str(error), used="as before")
        else:
            _log.info("files_reloaded", what=self._what)

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp_of(path) for path in self._paths)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
