"""The server: services, health and reflection on one port, from start to graceful stop."""

from __future__ import annotations

import ipaddress
import random
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from recsys.bundle.store import BundleStore
from recsys.config import ServingConfig
from recsys.errors import ConfigError, ServerError
from recsys.events.spool import SpoolWriter, spool_folder
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.feature_log import FeatureLog
from recsys.serving.admission import Gate
from recsys.serving.clock import Clock, make_clock
from recsys.serving.commit import GroupCommit
from recsys.serving.contracts import BundleCatalogue, EventWriter, RankingEngine
from recsys.serving.event_service import EventService
from recsys.serving.interceptor import StatusInterceptor
from recsys.serving.logs import log_to_stderr
from recsys.serving.model_service import ModelService
from recsys.serving.observer import DEAF, Observer
from recsys.serving.ranking_service import RankingService
from recsys.serving.switch import EngineSwitch
from recsys.v1 import (
    event_pb2,
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
)
from recsys.workspace import Workspace

#: Room for 20,000 ids as long as they may be.
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
SERVICES: Final = (
    ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name,
    event_pb2.DESCRIPTOR.services_by_name["EventService"].full_name,
    model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)

#: Threads for models, health and reflection, so that work never keeps them waiting.
_CONTROL_THREADS: Final = 6
_REFLECTIONS: Final = 2
#: Calls beyond all threads that may wait for one, to be refused with a reason; gRPC refuses more.
_BACKLOG: Final = 64
_KEEPALIVE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server serves.

    Args:
        engine: Answers requests.
        bundles: What can be activated.
        writer: Where events become durable; the server closes it.
        clock: The server's time.
        observer: Hears what the server does.
        feature_log: Where the engine keeps a sample of what it served; the server closes it.
    """

    engine: RankingEngine
    bundles: BundleCatalogue
    writer: EventWriter
    clock: Clock
    observer: Observer = DEAF
    feature_log: FeatureLog | None = None


class RunningServer:
    """A server that takes calls.

    Args:
        parts: What it serves.
        config: How.
        port: 0: a free one.

    Raises:
        ConfigError: The host is not of this machine, and that was not allowed.
        ServerError: The port cannot be listened on.
    """

    def __init__(self, parts: Parts, config: ServingConfig, port: int) -> None:
        _check_host(config)
        self._drain_s = config.drain_s
        self._feature_log = parts.feature_log
        self._server = _make_server(config, parts.observer)
        self.address = _listen(self._server, config.host, port)
        switch = EngineSwitch(parts.engine, parts.bundles, parts.observer)
        self._commit = GroupCommit(
            switch,
            parts.writer,
            parts.clock,
            gather_ms=config.group_commit_ms,
            observer=parts.observer,
        )
        self._health = health.HealthServicer()
        self._add_services(switch, parts, config)
        self._server.start()

    def stop(self) -> None:
        """Refuse new calls, let those at work end, and make everything acknowledged durable."""
        self._health.enter_graceful_shutdown()
        self._server.stop(self._drain_s).wait()
        self._commit.close()
        if self._feature_log is not None:
            self._feature_log.close()

    def _add_services(self, switch: EngineSwitch, parts: Parts, config: ServingConfig) -> None:
        server, clock, observer = self._server, parts.clock, parts.observer
        ranking_pb2_grpc.add_RankingServiceServicer_to_server(  # type: ignore[no-untyped-call]
            RankingService(switch, clock, config, observer), server
        )
        event_pb2_grpc.add_EventServiceServicer_to_server(  # type: ignore[no-untyped-call]
            EventService(self._commit, clock, config, observer), server
        )
        model_pb2_grpc.add_ModelServiceServicer_to_server(  # type: ignore[no-untyped-call]
            ModelService(switch, observer), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for name in SERVICES:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            _Reflection(names, observer), server
        )


class _Reflection(reflection.ReflectionServicer):
    """Reflection for a few callers at once: each open call holds a thread."""

    def __init__(self, names: tuple[str, ...], observer: Observer) -> None:
        super().__init__(names)
        self._gate = Gate(
            "reflection", running=_REFLECTIONS, inside=_REFLECTIONS, observer=observer
        )

    def ServerReflectionInfo(  # noqa: N802 - the name of the RPC
        self, request_iterator: Iterator[Message], context: grpc.ServicerContext
    ) -> Iterator[Message]:
        with self._gate.enter(context):
            yield from super().ServerReflectionInfo(request_iterator, context)


def start_server(
    workspace: Workspace, *, port: int | None = None, engine: Engine | None = None
) -> RunningServer:
    """Serve the active bundle of a workspace.

    Args:
        workspace: The workspace.
        port: 0: a free one; None: as configured.
        engine: One that is open already, not older than the log; None: opens the active bundle.

    Returns:
        The server, already taking calls.
    """
    config = workspace.config.serving
    _check_host(config)
    engine = engine or load_engine(workspace)
    feature_log = _open_feature_log(workspace)
    engine.record_features(feature_log)
    parts = Parts(
        engine=engine,
        bundles=BundleStore(workspace.bundles),
        writer=SpoolWriter(spool_folder(workspace.log_config)),
        clock=make_clock(config.clock, engine.last_event_us),
        feature_log=feature_log,
    )
    return RunningServer(parts, config, config.port if port is None else port)


def _open_feature_log(workspace: Workspace) -> FeatureLog | None:
    config = workspace.config.serving
    if not config.feature_log_share:
        return None
    max_bytes = config.feature_log_mb * 1024 * 1024
    return FeatureLog(workspace.feature_log, config.feature_log_share, max_bytes, random.Random())


def serve(workspace: Workspace, *, port: int | None = None) -> None:
    """Serve the active bundle of a workspace until SIGTERM or SIGINT.

    Args:
        workspace: The workspace.
        port: 0: a free one; None: as configured.
    """
    log_to_stderr()
    run_until_signal(start_server(workspace, port=port))


def run_until_signal(server: RunningServer) -> None:
    """Say where a server listens, wait for SIGTERM or SIGINT, and stop it gracefully."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    sys.stdout.write(f"listening on {server.address}\n")
    sys.stdout.flush()
    asked.wait()
    server.stop()


def _check_host(config: ServingConfig) -> None:
    if config.allow_insecure or _is_loopback(config.host):
        return
    problem = (
        f"serving.host: found {config.host!r}; expected an address of this machine alone, because"
        " nothing is encrypted yet; serving.allow_insecure = true listens there all the same"
    )
    raise ConfigError("configuration", [problem])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _make_server(config: ServingConfig, observer: Observer) -> grpc.Server:
    n_threads = config.max_in_flight + 2 * config.max_streams + _CONTROL_THREADS
    return grpc.server(
        ThreadPoolExecutor(n_threads, thread_name_prefix="rpc"),
        interceptors=(StatusInterceptor(observer),),
        maximum_concurrent_rpcs=n_threads + _BACKLOG,
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ),
    )


def _listen(server: grpc.Server, host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    try:
        bound = server.add_insecure_port(f"{name}:{port}")
    except RuntimeError as error:
        raise ServerError(f"{name}:{port}", "cannot listen there", "a free port") from error
    return f"{name}:{bound}"
