"""One answer for the metrics of several processes: they share a folder, this process reads it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator

from recsys.config import MetricsConfig
from recsys.serving.metrics_port import SHARED_FOLDER, MetricsPort, registry_of_all


@contextlib.contextmanager
def published_metrics(config: MetricsConfig, is_ready: Callable[[], bool]) -> Iterator[None]:
    """Give processes that are started in the block a folder for metrics, and tell them to scrapers.

    Args:
        config: Where the port is.
        is_ready: Whether any process takes calls.

    Yields:
        Nothing.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder
        try:
            port = MetricsPort(config, registry_of_all(), is_ready)
            line = {"event": "metrics_served", "address": port.address, "level": "info"}
            sys.stderr.write(json.dumps(line) + "\n")
            try:
                yield
            finally:
                port.close()
        finally:
            del os.environ[SHARED_FOLDER]


def forget_process(process_id: int) -> None:
    """Leave out what a process that has ended was doing; what it has counted stays."""
    folder = os.environ.get(SHARED_FOLDER)
    if folder:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(process_id, folder)  # type: ignore[no-untyped-call]
