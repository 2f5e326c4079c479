"""The server: services, health and reflection on one port, from start to graceful stop."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from recsys.bundle.store import BundleStore
from recsys.config import ServingConfig
from recsys.errors import RecsysError
from recsys.events.following import SpoolFollower
from recsys.events.spool import SpoolWriter, spool_folder
from recsys.pipeline.age import warn_of_old_log
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.feature_log import FeatureLog
from recsys.serving.admission import Crowd
from recsys.serving.clock import Clock, make_clock
from recsys.serving.commit import GroupCommit
from recsys.serving.contracts import BundleCatalogue, EventFollower, EventWriter, RankingEngine
from recsys.serving.cores import free_core, keep_to, keeps_to_cores
from recsys.serving.event_service import EventService
from recsys.serving.listening import Listeners
from recsys.serving.logs import log_to_stderr
from recsys.serving.model_service import ModelService
from recsys.serving.observer import Observer
from recsys.serving.port import Doors, check_host, credentials_of, listen, make_server
from recsys.serving.ranking_service import RankingService
from recsys.serving.shadow import SHADOW, Shadow
from recsys.serving.switch import EngineSwitch
from recsys.serving.watching import observers_of
from recsys.v1 import (
    event_pb2,
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
)
from recsys.workspace import Workspace

SERVICES: Final = (
    ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name,
    event_pb2.DESCRIPTOR.services_by_name["EventService"].full_name,
    model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)

#: How often this process looks which bundle others have made the active one, in seconds.
_FOLLOW_STORE_S: Final = 0.25
#: How often the thread that waits for signals looks whether one came, in seconds.
_AWAKE_S: Final = 1.0
#: After a state could not be made anew, in seconds.
_RENEW_PAUSE_S: Final = 30.0

_log = structlog.get_logger("recsys.serving")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server serves.

    Args:
        engine: Answers requests.
        bundles: What can be activated.
        writer: Where events become durable; the server closes it.
        clock: The server's time.
        observers: Hear what the server does; the server closes them.
        feature_log: Where the engine keeps a sample of what it served; the server closes it.
        follower: Gives events of other processes; the server closes it. None: there are none.
        is_shared: Whether other processes listen on the same port.
        clock_anchor: Of the clock.
        folder: What paths of the configuration are relative to.
    """

    engine: RankingEngine
    bundles: BundleCatalogue
    writer: EventWriter
    clock: Clock
    observers: Sequence[Observer] = ()
    feature_log: FeatureLog | None = None
    follower: EventFollower | None = None
    is_shared: bool = False
    clock_anchor: tuple[int, int] = (0, 0)
    folder: Path = Path()


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
        check_host(config)
        self._drain_s = config.drain_s
        self._feature_log = parts.feature_log
        #: Of the clock: other processes that are given it tell the same time.
        self.clock_anchor = parts.clock_anchor
        for lacking in parts.engine.warm_up():
            # Who answers with less answers more than who does not start.
            _log.warning("starting_degraded", found=lacking)
        self._observer = Listeners(parts.observers)
        self._switch = EngineSwitch(parts.engine, parts.bundles, self._observer)
        self._switch.split(config.variants)
        self._shadow = _open_shadow(self._switch, config, self._observer)
        credentials = credentials_of(config, parts.folder)
        self._doors = Doors.of(config, self._observer)
        self._server = make_server(
            config, parts.folder, self._doors, self._observer, is_shared=parts.is_shared
        )
        self.address = listen(self._server, config.host, port, credentials)
        self._commit = GroupCommit(
            self._switch,
            parts.writer,
            parts.clock,
            follower=parts.follower,
            gather_ms=config.group_commit_ms,
            observer=self._observer,
        )
        self._health = health.HealthServicer()
        self._add_services(self._switch, parts, config)
        self._stopped = threading.Event()
        self._renew_after_s = 0.0
        self._watch = threading.Thread(target=self._follow_store, name="models", daemon=True)
        self._server.start()
        self._watch.start()
        self._observer.ready(is_ready=True)

    def stop(self) -> None:
        """Refuse new calls, let those at work end, and make everything acknowledged durable."""
        self._observer.ready(is_ready=False)
        self._health.enter_graceful_shutdown()
        self._stopped.set()
        self._server.stop(self._drain_s).wait()
        self._commit.close()
        self._switch.close()
        try:
            self._switch.engine.save_state()
        except OSError as error:
            # The next start reads the log instead.
            _log.warning("state_not_saved", found=type(error).__name__)
        if self._feature_log is not None:
            self._feature_log.close()
        if self._shadow is not None:
            self._shadow.close()
        self._watch.join()
        self._observer.close()

    def _follow_store(self) -> None:
        while not self._stopped.wait(_FOLLOW_STORE_S):
            self._switch.follow_store()
            self._renew()

    def _renew(self) -> None:
        if time.monotonic() < self._renew_after_s:
            return
        try:
            if self._switch.renew() and self._shadow is not None:
                self._shadow.use(self._switch.beside(SHADOW))
        except RecsysError as error:
            # The users are forgotten; what is shared with others is set right by the next attempt.
            self._renew_after_s = time.monotonic() + _RENEW_PAUSE_S
            _log.error("state_not_made_anew", found=str(error))

    def _add_services(self, switch: EngineSwitch, parts: Parts, config: ServingConfig) -> None:
        server, clock, observer = self._server, parts.clock, self._observer
        crowd = Crowd(self._doors.rank, config)
        ranking = RankingService(
            switch, clock, config, observer=observer, crowd=crowd, shadow=self._shadow
        )
        ranking_pb2_grpc.add_RankingServiceServicer_to_server(ranking, server)  # type: ignore[no-untyped-call]
        events = EventService(self._commit, clock, observer)
        event_pb2_grpc.add_EventServiceServicer_to_server(events, server)  # type: ignore[no-untyped-call]
        self._doors.events.serve(events)
        model_pb2_grpc.add_ModelServiceServicer_to_server(  # type: ignore[no-untyped-call]
            ModelService(switch, observer), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for name in SERVICES:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if not config.reflection:
            return
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.ReflectionServicer(names), server
        )


def start_server(
    workspace: Workspace,
    *,
    port: int | None = None,
    engine: Engine | None = None,
    anchor: tuple[int, int] | None = None,
    is_shared: bool = False,
    trace: bool = False,
) -> RunningServer:
    """Serve the active bundle of a workspace.

    Args:
        workspace: The workspace.
        port: 0: a free one; None: as configured.
        engine: One that is open already, not older than the log; None: opens the active bundle.
        anchor: Of the clock of other processes on this log; None: a new one.
        is_shared: Whether they listen on the same port.
        trace: Print the stages of a call a second.

    Returns:
        The server, already taking calls.
    """
    config = workspace.config.serving
    check_host(config)
    writer = SpoolWriter(spool_folder(workspace.log_config))
    port = config.port if port is None else port
    with contextlib.ExitStack() as opened:  # closed again when something does not open
        # Before the log is read: what others write meanwhile is then read or followed, not missed.
        follower = SpoolFollower(workspace.log_config, own=writer.token)
        opened.callback(follower.close)
        engine = engine or load_engine(workspace, for_others=True)
        feature_log = _open_feature_log(workspace)
        engine.record_features(feature_log)
        observers = observers_of(config, port=port, is_shared=is_shared, trace=trace)
        opened.callback(Listeners(observers).close)
        clock, anchor = make_clock(config.clock, engine.last_event_us, anchor)
        warn_of_old_log(engine.last_event_us, clock.now_us())
        parts = Parts(
            engine=engine,
            bundles=BundleStore(workspace.bundles),
            writer=writer,
            clock=clock,
            observers=observers,
            feature_log=feature_log,
            follower=follower,
            is_shared=is_shared,
            clock_anchor=anchor,
            folder=workspace.folder,
        )
        server = RunningServer(parts, config, port)
        opened.pop_all()
    return server


def _open_feature_log(workspace: Workspace) -> FeatureLog | None:
    config = workspace.config.serving
    if not config.feature_log_share:
        return None
    max_bytes = config.feature_log_mb * 1024 * 1024
    return FeatureLog(workspace.feature_log, config.feature_log_share, max_bytes, random.Random())


def serve(workspace: Workspace, *, port: int | None = None, trace: bool = False) -> None:
    """Serve the active bundle of a workspace until SIGTERM or SIGINT.

    Args:
        workspace: The workspace.
        port: 0: a free one; None: as configured.
        trace: Print the stages of a call a second.
    """
    log_to_stderr()
    # What is made while it starts stays; walks over it were a tenth of that time, a third with much
    # to catch up with. `run_until_signal` collects again.
    gc.disable()
    if keeps_to_cores(workspace.config.serving.pin, n_processes=1):
        keep_to(free_core(()))
    run_until_signal(start_server(workspace, port=port, trace=trace))


def run_until_signal(server: RunningServer, say: Callable[[], object] | None = None) -> None:
    """Say where a server listens, wait for SIGTERM or SIGINT, and stop it gracefully.

    Args:
        server: It takes calls.
        say: Says so; None: a line on standard output.
    """
    asked = threading.Event()
    numbers = {signal.SIGTERM, signal.SIGINT}
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: asked.set())
    _keep_for_good()
    if say is None:
        sys.stdout.write(f"listening on {server.address}\n")
        sys.stdout.flush()
    else:
        say()
    # A signal may be taken by another thread, for example while a debugger holds this one, and only
    # this thread runs its handler, once it is awake.
    while not asked.wait(_AWAKE_S):
        pass
    server.stop()
    gc.unfreeze()  # libraries look at the end for what nobody let go


def _keep_for_good() -> None:
    """Take what is in memory now out of garbage collection.

    State, bundle and libraries are millions of objects, and a walk over them stops every thread for
    100 to 160 ms, several times a minute under load. What comes from now on is collected.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def _open_shadow(switch: EngineSwitch, config: ServingConfig, observer: Observer) -> Shadow | None:
    if not config.shadow:
        return None
    return Shadow(switch.open_beside(SHADOW, config.shadow), config.shadow_share, observer)
