"""Observers that hear durations: what metrics, traces and log lines have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.serving.observer import Observer


class Listener(Observer):
    """An observer with a watch."""

    def now(self) -> float:
        """Start the watch.

        Returns:
            An instant in seconds.
        """
        return time.perf_counter()

    def stage(self, name: str, since: float) -> float:
        """Hear that a stage has ended.

        Returns:
            The instant at which the next one begins.
        """
        now = time.perf_counter()
        self.stage_took(name, now - since)
        return now

    def plugin_ran(self, plugin: str, since: float) -> float:
        """Hear that a plugin's own code has ended.

        Returns:
            The instant at which the next one begins.
        """
        now = time.perf_counter()
        self.plugin_took(plugin, now - since)
        return now

    def stage_took(self, name: str, seconds: float) -> None:
        """Hear how long a stage took."""

    def plugin_took(self, plugin: str, seconds: float) -> None:
        """Hear how long a plugin's own code took."""


class Listeners(Listener):
    """Tells several listeners everything.

    Args:
        all_of_them: The listeners, in the order in which they hear.
    """

    def __init__(self, all_of_them: Sequence[Listener]) -> None:
        self._all = tuple(all_of_them)

    def call_began(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Tell all."""
        pairs = tuple(metadata)
        for one in self._all:
            one.call_began(method, pairs)

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Tell all."""
        for one in self._all:
            one.call_ended(method, code, seconds)

    def call_passed(
        self, method: str, metadata: Iterable[tuple[str, str | bytes]], code: str, seconds: float
    ) -> None:
        """Tell all."""
        for one in self._all:
            one.call_passed(method, metadata, code, seconds)

    def call_refused(self, method: str, code: str) -> None:
        """Tell all."""
        for one in self._all:
            one.call_refused(method, code)

    def stage_took(self, name: str, seconds: float) -> None:
        """Tell all."""
        for one in self._all:
            one.stage_took(name, seconds)

    def plugin_took(self, plugin: str, seconds: float) -> None:
        """Tell all."""
        for one in self._all:
            one.plugin_took(plugin, seconds)

    def plugin_failed(self, plugin: str) -> None:
        """Tell all."""
        for one in self._all:
            one.plugin_failed(plugin)

    def scored(self, matrix: NDArray[np.float32], scores: NDArray[np.float64]) -> None:
        """Tell all."""
        for one in self._all:
            one.scored(matrix, scores)

    def degraded(self, reason: str) -> None:
        """Tell all."""
        for one in self._all:
            one.degraded(reason)

    def shed(self, what: str, reason: str) -> None:
        """Tell all."""
        for one in self._all:
            one.shed(what, reason)

    def queued(self, what: str, change: int) -> None:
        """Tell all."""
        for one in self._all:
            one.queued(what, change)

    def events_written(self, accepted: int, duplicates: int, rejected: int) -> None:
        """Tell all."""
        for one in self._all:
            one.events_written(accepted, duplicates, rejected)

    def committed(self, n_events: int, seconds: float) -> None:
        """Tell all."""
        for one in self._all:
            one.committed(n_events, seconds)

    def followed(self, follower: str, lag_s: float) -> None:
        """Tell all."""
        for one in self._all:
            one.followed(follower, lag_s)

    def model_active(self, name: str, version: str) -> None:
        """Tell all."""
        for one in self._all:
            one.model_active(name, version)

    def compared(self, name: str, agreement: float, seconds: float) -> None:
        """Tell all."""
        for one in self._all:
            one.compared(name, agreement, seconds)

    def ready(self, *, is_ready: bool) -> None:
        """Tell all."""
        for one in self._all:
            one.ready(is_ready=is_ready)

    def close(self) -> None:
        """Tell all."""
        for one in self._all:
            one.close()


class Took(NamedTuple):
    """A stage of a call.

    Args:
        stage: Its name.
        ended_s: When it ended, in seconds after the call began.
        seconds: How long it took.
    """

    stage: str
    ended_s: float
    seconds: float


@dataclass(slots=True)
class Call:
    """A call under way.

    Args:
        method: Such as `/recsys.v1.RankingService/Rank`.
        metadata: As the caller sent it.
        begun: By `time.perf_counter`.
        begun_ns: Since the Unix epoch.
        stages: Those that have ended; a long stream keeps its first ones.
        n_candidates: That were scored.
    """

    method: str
    metadata: tuple[tuple[str, str | bytes], ...]
    begun: float = field(default_factory=time.perf_counter)
    begun_ns: int = field(default_factory=time.time_ns)
    stages: list[Took] = field(default_factory=list)
    n_candidates: int = 0


class CallListener(Listener):
    """Gathers what belongs to one call, and hears of it when the call has ended."""

    _MOST_STAGES = 100

    def __init__(self) -> None:
        self._here = threading.local()

    def call_began(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Begin to gather, in this thread."""
        self._here.call = Call(method, tuple(metadata))
        self.began(self._here.call)

    def stage_took(self, name: str, seconds: float) -> None:
        """Keep a stage of the call of this thread; stages of no call are not kept."""
        call = self._call()
        if call is not None and len(call.stages) < self._MOST_STAGES:
            call.stages.append(Took(name, time.perf_counter() - call.begun, seconds))

    def scored(self, matrix: NDArray[np.float32], scores: NDArray[np.float64]) -> None:
        """Count the candidates."""
        del matrix
        call = self._call()
        if call is not None:
            call.n_candidates += len(scores)

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """End gathering."""
        del method
        call = self._call()
        if call is not None:
            self._here.call = None
            self.ended(call, code, seconds)

    def call_passed(
        self, method: str, metadata: Iterable[tuple[str, str | bytes]], code: str, seconds: float
    ) -> None:
        """Hear of a call that began and ended elsewhere."""
        now, now_ns = time.perf_counter(), time.time_ns()
        began_ns = now_ns - int(seconds * 1e9)
        call = Call(method, tuple(metadata), begun=now - seconds, begun_ns=began_ns)
        self.began(call)
        self.ended(call, code, seconds)

    def began(self, call: Call) -> None:
        """Hear of a call that begins, in its thread."""

    def ended(self, call: Call, code: str, seconds: float) -> None:
        """Hear of a call that has ended, in its thread."""

    def _call(self) -> Call | None:
        found: Call | None = getattr(self._here, "call", None)
        return found
