"""Several observers as one that cannot fail, and observers that gather what belongs to a call."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.serving.logs import log_error
from recsys.serving.observer import Observer

#: What an observer may hear; the watch is the same for all.
_HEARD: Final = tuple(
    name
    for name in dir(Observer)
    if not name.startswith("_") and name not in {"now", "stage", "plugin_ran"}
)
#: How long an observer's failures at one sort of call are not told of again, in seconds.
_QUIET_S: Final = 60.0


class Listeners(Observer):
    """Tells several observers everything, and raises nothing.

    Calls are told of in threads whose end would be everybody's: gRPC's own, and the one that
    commits. So the server tells nobody but through this. An observer that fails hears of the next
    call all the same, and the others hear of this one.

    Args:
        all_of_them: The observers, in the order in which they hear.
    """

    def __init__(self, all_of_them: Iterable[Observer]) -> None:
        observers = tuple(all_of_them)
        for name in _HEARD:
            # Who does not care is not called: it would be most calls of most observers.
            those = [one for one in observers if not _is_deaf(one, name)]
            if those:
                setattr(self, name, _telling(those, name))


def _is_deaf(one: Observer, name: str) -> bool:
    return getattr(getattr(one, name), "__func__", None) is getattr(Observer, name)


def _telling(those: list[Observer], name: str) -> Callable[..., None]:
    all_of_them = [getattr(one, name) for one in those]
    quiet_until = dict.fromkeys(all_of_them, -math.inf)

    def tell(*what: object, **more: object) -> None:
        for hear in all_of_them:
            try:
                hear(*what, **more)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not the caller's
                log_unless_quiet(hear, error)

    def log_unless_quiet(hear: Callable[..., None], error: Exception) -> None:
        now = time.monotonic()
        if now >= quiet_until[hear]:
            quiet_until[hear] = now + _QUIET_S
            observer = type(those[all_of_them.index(hear)]).__name__
            log_error("observer_failed", error, observer=observer, call=name)

    return tell


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


class CallListener(Observer):
    """Gathers what belongs to one call, and hears of it when the call has ended."""

    _MOST_STAGES = 100

    def __init__(self) -> None:
        self._here = threading.local()

    def call_began(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> None:
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
        self, method: str, metadata: Sequence[tuple[str, str | bytes]], code: str, seconds: float
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
