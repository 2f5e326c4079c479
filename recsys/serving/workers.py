"""Several server processes on one port: started, watched, replaced when they die, stopped together.

Each worker is a whole server with state of its own; the kernel spreads connections over them
(SO_REUSEPORT). What holds them together is the log: every worker follows the spool of all others,
and the store's choice of the active bundle. This process serves nobody, and imports next to
nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from recsys.errors import ServerError
from recsys.serving.cores import free_core, keeps_to_cores
from recsys.serving.shared_metrics import forget_process, published_metrics
from recsys.workspace import Workspace

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 30.0
#: A worker that lived for as long as this starts anew without a pause.
_STABLE_S: Final = 60.0
#: What a draining worker may take beyond `drain_s`, to make everything durable.
_GRACE_S: Final = 20.0
#: Requests are spread over processes and threads already; a pool per library only adds switches.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


class Assignment(NamedTuple):
    """What a worker is told.

    Args:
        workspace: Folder.
        port: Shared with all others.
        anchor: Of the clock that all share; None: the worker makes one.
        trace: Whether it prints the stages of calls.
        core: That it keeps to; None: any.
    """

    workspace: str
    port: int
    anchor: tuple[int, int] | None
    trace: bool = False
    core: int | None = None


class Ready(NamedTuple):
    """What a worker says when it takes calls.

    Args:
        address: Where.
        anchor: Of its clock.
    """

    address: str
    anchor: tuple[int, int]


def serve_with_workers(
    workspace: Workspace, *, port: int, n_workers: int, trace: bool = False
) -> None:
    """Serve with several processes until SIGTERM or SIGINT; SIGHUP replaces them one by one.

    Args:
        workspace: The workspace.
        port: 0: a free one.
        n_workers: How many.
        trace: Whether they print the stages of calls.

    Raises:
        ServerError: The port is taken, or no worker can be started; the worker has said why.
    """
    config = workspace.config.serving
    stopping, renewing = threading.Event(), threading.Event()
    with _reserved(config.host, port) as port_taken, contextlib.ExitStack() as stack:
        workers = _Workers(workspace, port_taken, n_workers, trace=trace)
        if config.metrics.enabled:
            metrics = config.metrics if port else config.metrics.model_copy(update={"port": 0})
            stack.enter_context(published_metrics(metrics, workers.any_ready))
        signals = {signal.SIGTERM: stopping, signal.SIGINT: stopping, signal.SIGHUP: renewing}
        for number, event in signals.items():
            signal.signal(number, lambda *_, event=event: event.set())
        try:
            address = workers.start(stopping)
            if address:
                sys.stdout.write(f"listening on {address}\n")
                sys.stdout.flush()
            while not stopping.wait(0.1):
                workers.replace_dead(stopping)
                if renewing.is_set():
                    renewing.clear()
                    workers.renew(stopping)
        finally:
            workers.stop()


class _Workers:
    """The processes."""

    def __init__(self, workspace: Workspace, port: int, n_workers: int, *, trace: bool) -> None:
        self._workspace = workspace
        self._port = port
        self._n_workers = n_workers
        self._trace = trace
        self._config = workspace.config.serving
        self._have_cores = keeps_to_cores(self._config.pin, n_workers)
        self._anchor: tuple[int, int] | None = None
        self._running: list[_Worker] = []
        self._pause_s = _FIRST_PAUSE_S
        self._not_before = 0.0

    def start(self, stopping: threading.Event) -> str:
        """Start all; the first one alone, because it sets the clock of the others.

        Returns:
            The address; empty when it was told to stop meanwhile.

        Raises:
            ServerError: One ended before it took calls.
        """
        address = ""
        for wanted in (1, self._n_workers):
            new = self._spawn_all(wanted - len(self._running))
            for worker in new:
                ready = worker.wait_ready(stopping)
                if ready is None and not stopping.is_set():
                    address = f"port {self._port}"
                    raise ServerError(address, "a worker that ended", "one that serves")
                if ready is not None:
                    self._anchor, address = ready.anchor, ready.address
        return "" if stopping.is_set() else address

    def replace_dead(self, stopping: threading.Event) -> None:
        """Start a new worker for each that has ended."""
        dead = [worker for worker in self._running if worker.process.poll() is not None]
        if not dead or time.monotonic() < self._not_before:
            return
        lived_s = min(time.monotonic() - worker.started_at for worker in dead)
        self._pause_s = _FIRST_PAUSE_S if lived_s > _STABLE_S else self._pause_s
        for worker in dead:
            status = worker.process.returncode
            _tell("worker_ended", status=status, lived_s=round(lived_s, 1))
            worker.close()
        self._running = [worker for worker in self._running if worker not in dead]
        new = self._spawn_all(len(dead))
        if any(worker.wait_ready(stopping) is None for worker in new):
            self._not_before = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        else:
            self._pause_s = _FIRST_PAUSE_S

    def renew(self, stopping: threading.Event) -> None:
        """Replace every worker by a new process, one after another, without refusing a call."""
        for worker in list(self._running):
            successor = self._spawn([w for w in self._running if w is not worker])
            if successor.wait_ready(stopping) is None:
                successor.close()
                _tell("worker_not_renewed")
                return
            self._running.append(successor)
            self._running.remove(worker)
            worker.process.send_signal(signal.SIGTERM)
            worker.wait_ended(self._config.drain_s + _GRACE_S)

    def any_ready(self) -> bool:
        """Say whether any takes calls.

        Returns:
            True while one does.
        """
        return any(w.is_ready and w.process.poll() is None for w in list(self._running))

    def stop(self) -> None:
        """Let all drain, and end those that do not."""
        for worker in self._running:
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGTERM)
        for worker in self._running:
            worker.wait_ended(self._config.drain_s + _GRACE_S)

    def _spawn_all(self, n_workers: int) -> list[_Worker]:
        new = []
        for _ in range(n_workers):
            new.append(self._spawn(self._running))
            self._running.append(new[-1])
        return new

    def _spawn(self, beside: Sequence[_Worker]) -> _Worker:
        core = free_core(worker.core for worker in beside) if self._have_cores else None
        folder = str(self._workspace.folder)
        return _Worker(Assignment(folder, self._port, self._anchor, self._trace, core))


class _Worker:
    """One process."""

    def __init__(self, assignment: Assignment) -> None:
        self.started_at = time.monotonic()
        self.core = assignment.core
        self.is_ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recsys.serving.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**dict.fromkeys(_ONE_THREAD, "1"), **os.environ},
            text=True,
        )
        with contextlib.suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(assignment._asdict()) + "\n")
            self.process.stdin.flush()

    def wait_ready(self, stopping: threading.Event) -> Ready | None:
        """Wait until it takes calls.

        Returns:
            What it said; None when it has ended, or is to stop.
        """
        found: list[str] = []
        assert self.process.stdout is not None
        reading = threading.Thread(
            target=lambda out: found.append(out.readline()), args=(self.process.stdout,)
        )
        reading.start()
        while reading.is_alive():
            reading.join(0.05)
            if stopping.is_set():
                self.process.terminate()
        said = found[0] if found else ""
        if not said:
            return None
        ready = json.loads(said)
        self.is_ready = True
        return Ready(ready["address"], tuple(ready["anchor"]))

    def wait_ended(self, timeout_s: float) -> None:
        """Wait until it has ended, and end it when it does not."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.close()

    def close(self) -> None:
        """Let go of its pipes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        forget_process(self.process.pid)


@contextlib.contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """Hold a port without listening, so that it stays ours while workers come and go.

    Yields:
        The port.

    Raises:
        ServerError: It is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            reservation.bind((host, port))
        except OSError as error:
            address = f"{host}:{port}"
            raise ServerError(address, "cannot listen there", "a free port") from error
        yield int(reservation.getsockname()[1])


def _tell(event: str, **facts: object) -> None:
    """Write a line of the server's log; this process has no use for a logging library."""
    sys.stderr.write(json.dumps({"event": event, **facts, "level": "warning"}) + "\n")
    sys.stderr.flush()


def one_thread_each() -> None:
    """Keep libraries that are loaded later in this process from starting pools of threads."""
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
