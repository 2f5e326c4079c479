"""The server's clock: system time, or time that continues from the log's last event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Tells the instant of requests and of events; safe to use from several threads."""

    def now_us(self) -> int:
        """Give the instant in microseconds since the Unix epoch, later than any given before."""
        ...


class SystemClock:
    """System time that never stands still or runs back, whatever is done to the machine's clock.

    Args:
        after_us: All instants are later than this one, in microseconds.
        read_ns: Reads system time in nanoseconds.
    """

    def __init__(self, after_us: int = 0, *, read_ns: Callable[[], int] = time.time_ns) -> None:
        self._last_us = after_us
        self._read_ns = read_ns
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """Give the instant in microseconds since the Unix epoch.

        Returns:
            System time, or one microsecond after the last answer where that is later.
        """
        with self._lock:
            self._last_us = max(self._last_us + 1, self._read_ns() // 1000)
            return self._last_us


class LogClock:
    """Time that continues from an event at the pace of the monotonic clock.

    With it an old log is served as on the day it ends: with system time all windows would be empty.

    Args:
        last_event_us: When the log's last event became visible, in microseconds.
        begun_ns: When the monotonic clock stood at that event; None: now. Processes of one machine
            that are given the same two instants tell the same time.
        read_ns: Reads a monotonic clock in nanoseconds.
    """

    def __init__(
        self,
        last_event_us: int,
        *,
        begun_ns: int | None = None,
        read_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        begun = read_ns() if begun_ns is None else begun_ns
        self._clock = SystemClock(
            last_event_us, read_ns=lambda: last_event_us * 1000 + read_ns() - begun
        )

    def now_us(self) -> int:
        """Give the instant in microseconds since the Unix epoch.

        Returns:
            Later than the log's last event and than every answer before.
        """
        return self._clock.now_us()


def make_clock(
    kind: str, last_event_us: int, anchor: tuple[int, int] | None = None
) -> tuple[Clock, tuple[int, int]]:
    """Make the clock that the configuration names.

    Args:
        kind: `system` or `log`.
        last_event_us: When the log's last event became visible, in microseconds.
        anchor: Of the clock of another process, to tell the same time; None: a new one.

    Returns:
        The clock, ahead of the log from the first call on with either kind, and its anchor: an
        event's instant and when the monotonic clock stood there.
    """
    anchor = anchor or (last_event_us, time.monotonic_ns())
    if kind == "log":
        return LogClock(anchor[0], begun_ns=anchor[1]), anchor
    return SystemClock(last_event_us), anchor
