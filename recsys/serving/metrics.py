"""Prometheus metrics of a server process; no label carries anything of callers.

Several workers share a folder of memory-mapped files (`PROMETHEUS_MULTIPROC_DIR`), and the process
that watches over them answers for all. A single server answers for itself.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from recsys.serving.observer import Observer

_SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
_LAG_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 300.0)
_COUNTS: Final = (1, 10, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_SCORES: Final = (-8.0, -4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
_SHARES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


class _ByLabels(dict[tuple[str, ...], _Metric]):
    """The children of a metric by their labels: a look-up of prometheus_client costs a lock."""

    def __init__(self, metric: _Metric) -> None:
        super().__init__()
        self._metric: _Metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> _Metric:
        child: _Metric = self._metric.labels(*labels)
        self[labels] = child
        return child


class Metrics(Observer):
    """Counts what it hears.

    Args:
        registry: Where the metrics are known.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._versions: dict[str, str] = {}
        self._lock = threading.Lock()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"recsys_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"recsys_{name}", text, labels, buckets=buckets, registry=registry)

        self._requests = _ByLabels(counter("requests", "RPCs answered", "method", "code"))
        self._seconds = _ByLabels(
            histogram("request_seconds", "Time of an RPC", _SECONDS, "method")
        )
        self._stages = _ByLabels(histogram("stage_seconds", "Time of a stage", _SECONDS, "stage"))
        self._plugins = _ByLabels(
            histogram("plugin_seconds", "Time of a plugin", _SECONDS, "plugin")
        )
        self._failures = _ByLabels(
            counter("plugin_failures", "Columns lost to a plugin's failure", "plugin")
        )
        self._candidates = histogram("candidates", "Candidates of a request", _COUNTS)
        self._scores = _ByLabels(
            histogram("scores", "Best and median score of a list", _SCORES, "of")
        )
        self._values = counter("feature_values", "Values given to the ranker")
        self._missing = counter("feature_values_missing", "Those of them that were missing")
        self._shed = _ByLabels(
            counter("shed", "Work refused before it was begun", "what", "reason")
        )
        self._degraded = _ByLabels(counter("degraded", "Requests answered by less", "reason"))
        self._events = _ByLabels(counter("events", "Events that came in", "outcome"))
        self._commits = histogram("commit_seconds", "Time of a group commit", _SECONDS)
        self._commit_events = histogram("commit_events", "Events of a group commit", _COUNTS)
        self._commit_failures = _ByLabels(
            counter("commit_failures", "Groups that could not be written", "reason")
        )
        self._lag = histogram("follower_lag_seconds", "Age of events of others", _LAG_SECONDS)
        self._agreement = _ByLabels(histogram("agreement", "Of compared answers", _SHARES, "slot"))
        self._compared = _ByLabels(
            histogram("compared_seconds", "Time of compared answers", _SECONDS, "slot")
        )

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            mode: Literal["livesum"] = "livesum"
            return Gauge(f"recsys_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        # At zero from the start: a rate sees no first failure that comes with its own series.
        for reason in ("log", "other"):
            self._commit_failures[reason,].inc(0)
        self._queued = _ByLabels(gauge("queued", "At work or waiting", "what"))
        self._models = gauge("model", "1 for the bundle that answers", "slot", "version")

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Count an RPC."""
        self._requests[method, code].inc()
        self._seconds[method,].observe(seconds)

    def call_passed(
        self, method: str, metadata: Sequence[tuple[str, str | bytes]], code: str, seconds: float
    ) -> None:
        """Count an RPC that had no thread."""
        del metadata
        self.call_ended(method, code, seconds)

    def call_refused(self, method: str, code: str) -> None:
        """Count an RPC that took no time."""
        self._requests[method, code].inc()

    def stage_took(self, name: str, seconds: float) -> None:
        """Count a stage."""
        self._stages[name,].observe(seconds)

    def plugin_took(self, plugin: str, seconds: float) -> None:
        """Count the time of a plugin."""
        self._plugins[plugin,].observe(seconds)

    def plugin_failed(self, plugin: str) -> None:
        """Count a failure."""
        self._failures[plugin,].inc()

    def scored(self, matrix: NDArray[np.float32], scores: NDArray[np.float64]) -> None:
        """Count candidates, missing values and scores."""
        self._candidates.observe(len(scores))
        self._values.inc(matrix.size)
        self._missing.inc(int(np.isnan(matrix).sum()))
        if len(scores):
            self._scores["best",].observe(float(scores.max()))
            middle = np.partition(scores, len(scores) // 2)[len(scores) // 2]
            self._scores["median",].observe(float(middle))

    def degraded(self, reason: str) -> None:
        """Count a lesser answer."""
        self._degraded[reason,].inc()

    def shed(self, what: str, reason: str) -> None:
        """Count a refusal."""
        self._shed[what, reason].inc()

    def queued(self, what: str, change: int) -> None:
        """Keep the length of a queue."""
        self._queued[what,].inc(change)

    def events_written(self, accepted: int, duplicates: int, rejected: int) -> None:
        """Count events."""
        for outcome, n_events in (
            ("accepted", accepted),
            ("duplicate", duplicates),
            ("rejected", rejected),
        ):
            found = self._events[outcome,]  # known from the first call on, if at zero
            if n_events:
                found.inc(n_events)

    def committed(self, n_events: int, seconds: float) -> None:
        """Count a group commit."""
        self._commits.observe(seconds)
        self._commit_events.observe(n_events)

    def commit_failed(self, reason: str) -> None:
        """Count a group that could not be written."""
        self._commit_failures[reason,].inc()

    def followed(self, follower: str, lag_s: float) -> None:
        """Count how old events of others were when they arrived here."""
        del follower
        self._lag.observe(lag_s)

    def model_active(self, name: str, version: str) -> None:
        """Name the bundle that answers."""
        with self._lock:
            former = self._versions.get(name)
            if former is not None:
                self._models.labels(name, former).set(0)
            self._versions[name] = version
            self._models.labels(name, version).set(1)

    def compared(self, name: str, agreement: float, seconds: float) -> None:
        """Count a comparison."""
        self._agreement[name,].observe(agreement)
        self._compared[name,].observe(seconds)
