"""Who listens to a server, by its configuration: metrics, lines, traces."""

from __future__ import annotations

import structlog
from prometheus_client import CollectorRegistry

from recsys.config import MetricsConfig, ServingConfig
from recsys.serving.lines import LogLines, TraceLines
from recsys.serving.metrics import Metrics
from recsys.serving.metrics_port import MetricsPort
from recsys.serving.observer import Observer

_log = structlog.get_logger("recsys.serving")


class PublishedMetrics(Metrics):
    """Metrics with a port of their own.

    Args:
        config: Where.
        registry: Where the metrics are known.
    """

    def __init__(self, config: MetricsConfig, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._is_ready = False
        self.port = MetricsPort(config, registry, lambda: self._is_ready)
        _log.info("metrics_served", address=self.port.address)

    def ready(self, *, is_ready: bool) -> None:
        """Answer probes accordingly."""
        self._is_ready = is_ready

    def close(self) -> None:
        """Stop answering."""
        self.port.close()


def observers_of(
    config: ServingConfig, *, port: int, is_shared: bool = False, trace: bool = False
) -> list[Observer]:
    """Open everything that listens.

    Args:
        config: Which.
        port: Of the server; 0: the metrics take a free one, too.
        is_shared: Other processes share the port; who watches over them publishes the metrics.
        trace: Print the stages of calls.

    Returns:
        The observers; the server closes them.

    Raises:
        ConfigError: Traces are wanted and cannot be sent.
        ServerError: The metrics port cannot be listened on.
    """
    found: list[Observer] = [LogLines(every_call=config.log_calls)]
    if config.traces:
        from recsys.serving.tracing import exported_spans

        found.append(exported_spans())
    if trace:
        found.append(TraceLines())
    if config.metrics.enabled:
        registry = CollectorRegistry()
        metrics = config.metrics if port else config.metrics.model_copy(update={"port": 0})
        found.append(Metrics(registry) if is_shared else PublishedMetrics(metrics, registry))
    return found
