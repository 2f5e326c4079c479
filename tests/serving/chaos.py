"""Kills workers while clients write and rank, and keeps account of what was acknowledged."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from recsys.schema import InteractionEvent
from recsys.serving.client import Client

BATCH = 10


@dataclass
class Account:
    """What callers saw.

    Args:
        acknowledged: Ids of events that a server said to have.
        unsure: Ids of events of calls that failed.
        n_ranked: Answers.
        n_failed: Calls that failed, by code.
        n_at_risk: Calls that were under way when workers were killed, on whatever worker.
        malformed: Answers that are no ranked list of what was asked.
        replaced_s: How long it took after each kill until as many workers listened as before.
    """

    acknowledged: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    n_ranked: int = 0
    n_failed: Counter = field(default_factory=Counter)
    n_at_risk: int = 0
    malformed: list[object] = field(default_factory=list)
    replaced_s: list[float] = field(default_factory=list)
    _n_under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def under_way(self):
        """Count a call while it is made."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def kill(self, pid: int) -> None:
        """Kill a worker, and count who may notice."""
        with self._lock:
            self.n_at_risk += self._n_under_way
            os.kill(pid, signal.SIGKILL)

    def _count(self, change: int) -> None:
        with self._lock:
            self._n_under_way += change


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listening(pid: int, port: str) -> bool:
    """Say whether a process takes connections on a port."""
    sockets = set()
    with contextlib.suppress(FileNotFoundError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                sockets.add(str(path.readlink()))
    tables = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    for line in tables.splitlines():
        fields = line.split()
        is_mine = fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets
        if is_mine and int(fields[1].rpartition(":")[2], 16) == int(port):
            return True
    return False


def batch(name: str, number: int) -> list[InteractionEvent]:
    return [
        InteractionEvent(f"{name}-{number}-{n}", 0, f"u{n}", "item1", "click") for n in range(BATCH)
    ]


def write(address: str, name: str, account: Account, stopped: threading.Event) -> None:
    """Write until told to stop; what failed is written again, as callers do."""
    number = 0
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(address))
        while not stopped.is_set():
            events = batch(name, number)
            ids = {event.event_id for event in events}
            try:
                with account.under_way():
                    report = client.write_events(events)
            except grpc.RpcError as error:
                account.n_failed[error.code().name] += 1
                account.unsure |= ids
                time.sleep(0.02)
                client = stack.enter_context(Client(address))
                continue
            if report.accepted + report.duplicates != BATCH:
                account.malformed.append(report)
            account.acknowledged |= ids
            number += 1


def rank(address: str, account: Account, stopped: threading.Event) -> None:
    asked = [f"item{n}" for n in range(20)]
    with Client(address) as client:
        while not stopped.is_set():
            try:
                with account.under_way():
                    answer = client.rank("u1", asked)
            except grpc.RpcError as error:
                account.n_failed[error.code().name] += 1
                time.sleep(0.02)
                continue
            fits = sorted(answer.item_ids) == sorted(asked)
            if not fits or answer.scores != sorted(answer.scores, reverse=True):
                account.malformed.append(answer)
            account.n_ranked += 1


def kill_workers(
    pid: int, address: str, *, n_kills: int, rng: random.Random, within_s: float = math.inf
) -> Account:
    """Kill a worker again and again under load, each time once it has been replaced.

    No worker is killed when `within_s` have passed, in seconds.
    """
    account, stopped = Account(), threading.Event()
    callers = [
        *(threading.Thread(target=write, args=(address, f"w{n}", account, stopped)) for n in "abc"),
        *(threading.Thread(target=rank, args=(address, account, stopped)) for _ in range(2)),
    ]
    for caller in callers:
        caller.start()
    n_workers, port = len(children(pid)), address.rpartition(":")[2]
    last = time.monotonic() + within_s
    while len(account.replaced_s) < n_kills and time.monotonic() < last:
        victim = rng.choice(children(pid))
        time.sleep(rng.uniform(0.05, 0.5))
        account.kill(victim)
        began = time.monotonic()
        end = time.monotonic() + 300
        while (
            victim in (left := children(pid))
            or sum(listening(child, port) for child in left) < n_workers
        ):
            if time.monotonic() > end:
                raise TimeoutError(victim)
            time.sleep(0.02)
        account.replaced_s.append(time.monotonic() - began)
    time.sleep(0.5)
    stopped.set()
    for caller in callers:
        caller.join()
    return account
