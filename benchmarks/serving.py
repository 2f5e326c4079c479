"""What the server does under load: latency, throughput, events, overload, switches, kills, a soak.

The server runs in processes of its own on a copy of the workspace; this process makes the load.
Arrivals are Poisson and wait for no answer, and times count from the instant of arrival, so a stall
is charged to everybody who would have come (no coordinated omission).

    python benchmarks/serving.py --workspace build/demo --json
    python benchmarks/serving.py --only rank workers
    python benchmarks/serving.py --only chaos --kills 50
    python benchmarks/serving.py --only events --rates 500 1000
    python benchmarks/serving.py --only events --against ../main/.venv/bin/python --rounds 4
    python benchmarks/serving.py --only peer     # needs build/peer, see benchmarks/load/peer.py
    python benchmarks/serving.py --only feast    # needs build/feast, see load/beside_feast.py
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

import numpy as np
from load.arrivals import Outcome, channels
from load.servers import CORES, Served, served
from load.wire import WireLoad, body_of

from recsys.events.snapshot import read_snapshot
from recsys.v1 import ranking_pb2
from recsys.workspace import open_workspace

SEED = 7
N_REQUESTS = 1000
DEADLINE_S = 1.0
RANK = "/recsys.v1.RankingService/Rank"
#: Parts that have a module of their own: `compare` of it.
APART = {
    "events": "load.writes",
    "activations": "load.switching",
    "peer": "load.peer",
    "feast": "load.beside_feast",
}
PARTS = ("rank", "workers", "events", "overload", "activations", "soak", "chaos")


class Bench:
    """The parts; each gives a table as a dictionary."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.workspace: Path = arguments.workspace
        log = read_snapshot(open_workspace(self.workspace).log_config)
        self.users = log.impressions["user_id"].unique(maintain_order=True).to_list()
        self.items = log.items["item_id"].unique(maintain_order=True).to_list()
        self.rng = np.random.default_rng(SEED)
        self.cores = sorted(CORES)
        self.python = sys.executable
        # The load is made on the last core, so that it takes nothing from a server on the first.
        os.sched_setaffinity(0, {self.cores[-1]})

    def served(self, *options: str, **more: object) -> AbstractContextManager[Served]:
        """Serve a copy of the workspace, by the checkout whose turn it is."""
        return served(self.workspace, *options, python=self.python, **more)

    def run(self, part: str) -> dict:
        """Run a part."""
        if part in APART:
            return import_module(APART[part]).compare(self)
        return getattr(self, part)()

    def run_in_turns(self, part: str, other: Path) -> dict:
        """Run a part with servers of this checkout and of another one, A B A B.

        Both get the same load, made by this checkout.
        """
        found: dict[str, list[dict]] = {"here": [], "there": []}
        for _ in range(self.arguments.rounds):
            for name, python in (("here", sys.executable), ("there", str(other))):
                self.python = python
                self.rng = np.random.default_rng(SEED)
                found[name].append(self.run(part))
        return {**found, "here_over_there": ratios(found["here"], found["there"])}

    def requests(self, n_candidates: int) -> list[ranking_pb2.RankRequest]:
        """Draw distinct requests."""
        return [
            ranking_pb2.RankRequest(
                user_id=str(self.rng.choice(self.users)),
                item_ids=[
                    str(item)
                    for item in self.rng.choice(
                        self.items, min(n_candidates, len(self.items)), replace=False
                    )
                ],
            )
            for _ in range(N_REQUESTS)
        ]

    def bodies(self, n_candidates: int) -> list[bytes]:
        """Draw distinct requests, serialised."""
        return [body_of(request.SerializeToString()) for request in self.requests(n_candidates)]

    def capacity(
        self, server: Served, n: int, *, n_callers: int = 4, seconds: float = 4.0
    ) -> Outcome:
        """Measure what callers get who wait for their answers, each on a connection of its own."""
        bodies = self.bodies(n)
        load = WireLoad(server.address, RANK, n_connections=n_callers)
        load.closed_loop(lambda k: bodies[k % N_REQUESTS], seconds=1.0)
        outcome = load.closed_loop(
            lambda k: bodies[k % N_REQUESTS], seconds=seconds, cpu=server.cpu_s
        )
        load.close()
        return outcome

    def arrivals(
        self, address: str, n: int, *, rate: float, seconds: float, hold_back: bool = False
    ) -> Outcome:
        """Let requests arrive at random instants on eight connections."""
        load = WireLoad(address, RANK, n_connections=8, deadline_s=DEADLINE_S, hold_back=hold_back)
        outcome = load.open_loop(self.bodies(n), rate=rate, seconds=seconds, rng=self.rng)
        load.close()
        return outcome

    def rank(self) -> dict:
        """Latency of an open loop at half of capacity, one worker on one core."""
        found = {}
        with self.served(cores={self.cores[0]}) as server:
            for n in (24, 100, 500):
                closed = self.capacity(server, n, n_callers=2)
                rate = closed.goodput / 2
                outcome = self.arrivals(server.address, n, rate=rate, seconds=8)
                found[n] = {
                    "capacity_per_s": round(closed.goodput, 1),
                    "cpu_ms": round(closed.cpu_ms, 2),
                    "p50_ms": round(outcome.quantile_ms(0.5), 2),
                    "p99_ms": round(outcome.quantile_ms(0.99), 2),
                    "codes": dict(outcome.codes),
                }
        return found

    def workers(self) -> dict:
        """Throughput of one worker on one core and of two on two over 32 connections, A B A B.

        Answers are whole in both: one worker with so many callers would else leave text out, and
        cost less. Workers keep to a core each, and once more to none (`spread`), for comparison.
        """
        two = {self.cores[0], self.cores[1]}
        kinds = {
            "one": ((), {self.cores[0]}, True),
            "two": (("--workers", "2"), two, True),
            "spread": (("--workers", "2"), two, False),
        }
        found: dict[str, dict[int, list[Outcome]]] = {kind: {100: [], 500: []} for kind in kinds}
        for _ in range(self.arguments.rounds):
            for kind, (options, cores, pin) in kinds.items():
                more = {"max_in_flight": 32, "brownout": 2, "pin": pin}
                with self.served(*options, cores=cores, **more) as server:
                    for n, outcomes in found[kind].items():
                        outcomes.append(self.capacity(server, n, n_callers=32))
        return {
            n: {kind: _beside(found["one"][n], found[kind][n]) for kind in kinds}
            for n in (100, 500)
        }

    def overload(self) -> dict:
        """Goodput at twice and ten times the capacity, health meanwhile, recovery afterwards.

        Machines drift by a quarter within a minute: the capacity is measured before and after each
        load, and goodput is the share of their mean.
        """
        found = {}
        with self.served(cores={self.cores[0]}) as server:
            capacities = [self.capacity(server, 500, n_callers=4).goodput]
            for name, times in (("x2", 2), ("x10", 10), ("x10_holding_back", 10)):
                health = _Health(server.address)
                rate = capacities[-1] * times
                hold_back = name.endswith("back")
                outcome = self.arrivals(
                    server.address, 500, rate=rate, seconds=8, hold_back=hold_back
                )
                recovery_s = self._recovery_s(server.address, capacities[-1])
                capacities.append(self.capacity(server, 500, n_callers=4).goodput)
                found[name] = {
                    "goodput": round(outcome.goodput / statistics.mean(capacities[-2:]), 3),
                    "p99_ms": round(outcome.quantile_ms(0.99), 1),
                    "load_core_share": round(outcome.load_cpu_s / outcome.wall_s, 2),
                    "incomplete": outcome.n_incomplete,
                    "codes": dict(outcome.codes),
                    "health": health.stop(),
                    "recovery_s": recovery_s,
                }
        found["capacities_per_s"] = [round(capacity, 1) for capacity in capacities]
        return found

    def _recovery_s(self, address: str, capacity: float) -> float:
        """Say how long after a load a light one is answered whole again."""
        began = time.perf_counter()
        while True:
            light = self.arrivals(address, 500, rate=capacity / 4, seconds=0.5)
            if set(light.codes) == {"OK"} and not light.n_incomplete:
                return round(time.perf_counter() - began - light.wall_s, 2)

    def soak(self) -> dict:
        """Answer many requests, or as many as there is time for, and watch the memory."""
        wanted, end_at = self.arguments.requests, time.monotonic() + self.arguments.within
        with self.served() as server:
            self.capacity(server, 24, n_callers=4, seconds=10.0)
            before, done = server.rss_mb(), 0
            readings = [round(before)]
            while done < wanted and time.monotonic() < end_at:
                done += self.capacity(server, 24, n_callers=4, seconds=10.0).codes["OK"]
                readings.append(round(server.rss_mb()))
            after = server.rss_mb()
        return {
            "requests": done,
            "rss_mb": [readings[0], readings[len(readings) // 2], readings[-1]],
            "growth_percent": round(100 * (after / before - 1), 2),
        }

    def chaos(self) -> dict:
        """Kill workers under load and look for every acknowledged event."""
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serving"))
        from chaos import kill_workers

        with self.served("--workers", "2") as server:
            account = kill_workers(
                server.process.pid,
                server.address,
                n_kills=self.arguments.kills,
                rng=random.Random(SEED),
                within_s=self.arguments.within,
            )
            log = read_snapshot(open_workspace(server.folder).log_config)
        ids = Counter(log.interactions["event_id"].to_list())
        return {
            "kills": len(account.replaced_s),
            "replaced_after_s": round(statistics.median(account.replaced_s), 1),
            "acknowledged": len(account.acknowledged),
            "lost": len(account.acknowledged - ids.keys()),
            "doubled": sum(n > 1 for n in ids.values()),
            "ranked": account.n_ranked,
            "failed": dict(account.n_failed),
            "under_way_at_kills": account.n_at_risk,
            "malformed": len(account.malformed),
        }


def _beside(one: list[Outcome], other: list[Outcome]) -> dict:
    """Say how much more is answered than by one worker, and at what cost each."""
    pairs = list(zip(one, other, strict=True))
    return {
        "per_s": [round(outcome.goodput) for outcome in other],
        "ratio": round(statistics.median(b.goodput / a.goodput for a, b in pairs), 2),
        "cpu_ratio": round(statistics.median(b.cpu_ms / a.cpu_ms for a, b in pairs), 2),
    }


def ratios(here: list[dict], there: list[dict]) -> dict:
    """Compare two lists of tables, pair by pair.

    Returns:
        For every number that no pair lacks or has as zero: the median of the ratios, and all.
    """
    found = {}
    for key in here[0]:
        pairs = [(a.get(key), b.get(key)) for a, b in zip(here, there, strict=True)]
        if all(isinstance(value, dict) for pair in pairs for value in pair):
            found[key] = ratios(*map(list, zip(*pairs, strict=True)))
        elif all(isinstance(value, int | float) and value for pair in pairs for value in pair):
            each = [round(a / b, 3) for a, b in pairs]
            found[key] = {"median": round(statistics.median(each), 3), "each": each}
    return found


class _Health:
    """Asks ten times a second whether the server is healthy."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopped = threading.Event()
        self._times: list[float] = []
        self._n_failed = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        (channel,) = channels(self._address, 1)
        stub = health_pb2_grpc.HealthStub(channel)
        while not self._stopped.wait(0.1):
            start = time.perf_counter()
            try:
                stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                self._times.append(time.perf_counter() - start)
            except Exception:  # noqa: BLE001 - counted, whatever it is
                self._n_failed += 1
        channel.close()

    def stop(self) -> dict:
        self._stopped.set()
        self._thread.join()
        worst = max(self._times, default=float("nan"))
        return {
            "asked": len(self._times) + self._n_failed,
            "failed": self._n_failed,
            "worst_ms": round(worst * 1000),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workspace", type=Path, default=Path("build/demo"))
    parser.add_argument("--only", nargs="+", choices=(*PARTS, "peer", "feast"), default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="python of another checkout, to take turns")
    rates = {"type": int, "nargs": "+", "default": [500, 1000, 1500]}
    parser.add_argument("--rates", **rates, help="of single events, per second")
    parser.add_argument("--activations", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=20_000, help="of the soak")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--within", type=float, default=480.0, help="seconds for kills or soak")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.against and not os.access(arguments.against, os.X_OK):
        parser.error(
            f"--against {arguments.against}: no program; expected CHECKOUT/.venv/bin/python"
        )
    if arguments.against and not set(arguments.only) <= set(PARTS):
        parser.error(f"--against compares servers; expected --only of {', '.join(PARTS)}")
    bench = Bench(arguments)
    results = {}
    for part in arguments.only:
        if arguments.against:
            results[part] = bench.run_in_turns(part, arguments.against)
        else:
            results[part] = bench.run(part)
        if not arguments.json:
            print(f"{part}: {json.dumps(results[part], indent=1)}", flush=True)
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
