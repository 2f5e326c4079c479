"""The HTTP port for operators: `/metrics`, `/live` and `/ready`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from recsys.config import MetricsConfig
from recsys.errors import ServerError

#: Where several processes keep their metrics; read by prometheus_client when it is imported.
SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_PLAIN: Final = "text/plain; charset=utf-8"


def registry_of_all() -> CollectorRegistry:
    """Make a registry that answers for all processes that share a folder.

    Returns:
        The registry.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ[SHARED_FOLDER])  # type: ignore[no-untyped-call]
    return registry


class MetricsPort:
    """Answers scrapes and probes in threads of its own.

    Args:
        config: Where to listen.
        registry: What to tell.
        is_ready: Whether calls would be answered.

    Raises:
        ServerError: The port cannot be listened on.
    """

    def __init__(
        self, config: MetricsConfig, registry: CollectorRegistry, is_ready: Callable[[], bool]
    ) -> None:
        def answer(path: str) -> tuple[int, str, bytes]:
            if path == "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
            if path == "/live":
                return 200, _PLAIN, b"live\n"
            if path == "/ready":
                return (200, _PLAIN, b"ready\n") if is_ready() else (503, _PLAIN, b"not ready\n")
            return 404, _PLAIN, b"expected /metrics, /live or /ready\n"

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                status, kind, body = answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: probes come every few seconds."""

        where = f"{config.host}:{config.port}"
        try:
            self._server = ThreadingHTTPServer((config.host, config.port), Handler)
        except OSError as error:
            expected = "a free port; serving.metrics.port names another, 0 a free one"
            raise ServerError(where, f"cannot serve metrics there ({error})", expected) from error
        self.address = f"{config.host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
