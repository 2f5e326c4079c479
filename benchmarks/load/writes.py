"""Durable events: batches of 100 from one and four callers, single events on 50 connections.

Single events come twice: from callers who never pause, where the time of a call is the number of
callers over the rate and says what a call costs, and at random instants at stated rates, where it
says how long a click waits.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from load.arrivals import Outcome, closed_loop
from load.servers import Served
from load.wire import WireLoad, body_of
from recsys.schema import InteractionEvent
from recsys.serving.client import Client
from recsys.serving.event_messages import event_message
from recsys.v1 import event_pb2

if TYPE_CHECKING:
    from serving import Bench

WRITE = "/recsys.v1.EventService/WriteEvents"
N_CONNECTIONS = 50
SECONDS = 5.0
BATCH = 100


def compare(bench: Bench) -> dict:
    """Measure a server on one core."""
    found = {}
    with bench.served(cores={bench.cores[0]}, max_streams=64) as server:
        for name, n_callers in (("batch_1", 1), ("batch_4", 4)):
            found[name] = _batches(bench, server, name, n_callers)
        load = WireLoad(server.address, WRITE, n_connections=N_CONNECTIONS)
        load.closed_loop(lambda k: _click(bench, f"warm-{k}"), seconds=1.0)
        closed = load.closed_loop(
            lambda k: _click(bench, f"one-{k}"), seconds=SECONDS, cpu=server.cpu_s
        )
        found["one_closed"] = _told(closed, closed.codes["OK"])
        for rate in bench.arguments.rates:
            bodies = [_click(bench, f"at-{rate}-{k}") for k in range(round(rate * SECONDS))]
            opened = load.open_loop(
                bodies, rate=rate, seconds=SECONDS, rng=bench.rng, cpu=server.cpu_s
            )
            found[f"one_at_{rate}_per_s"] = _told(opened, opened.codes["OK"])
        load.close()
    return found


def _click(bench: Bench, event_id: str) -> bytes:
    """Write one event as the body of a call."""
    message = event_pb2.WriteEventsRequest(
        events=[event_message(_event(bench, event_id, hash(event_id)))]
    )
    return body_of(message.SerializeToString())


def _event(bench: Bench, event_id: str, number: int) -> InteractionEvent:
    user, item = bench.users[number % len(bench.users)], bench.items[number % len(bench.items)]
    return InteractionEvent(event_id, 0, user, item, "click")


def _batches(bench: Bench, server: Served, name: str, n_callers: int) -> dict:
    clients = [Client(server.address) for _ in range(n_callers)]
    made: Counter[int] = Counter()

    def call(caller: int, number: int) -> None:
        written = clients[caller].write_events([
            _event(bench, f"{name}-{caller}-{number}-{n}", caller + number + n)
            for n in range(BATCH)
        ])
        made[caller] += written.accepted

    outcome = closed_loop(call, n_callers=n_callers, seconds=SECONDS, cpu=server.cpu_s)
    for client in clients:
        client.close()
    return _told(outcome, sum(made.values()))


def _told(outcome: Outcome, n_events: int) -> dict:
    return {
        "events_per_s": round(n_events / outcome.wall_s),
        "events_per_cpu_s": round(n_events / outcome.cpu_s),
        "server_core_share": round(outcome.cpu_s / outcome.wall_s, 2),
        "load_core_share": round(outcome.load_cpu_s / outcome.wall_s, 2),
        "p50_ms": round(outcome.quantile_ms(0.5), 2),
        "p99_ms": round(outcome.quantile_ms(0.99), 2),
        "codes": dict(outcome.codes),
    }
