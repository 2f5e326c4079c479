"""kill -9 while clients write: what was acknowledged is in the log, once, and a retry says so."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import grpc

from recsys.events.spool import read_spool
from recsys.schema import InteractionEvent
from recsys.serving.client import Client

ROUNDS = 3
WRITERS = 3
BATCH = 20


@contextmanager
def server_process(folder):
    script = Path(__file__).with_name("spool_server.py")
    with subprocess.Popen(
        [sys.executable, script, folder], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process, process.stdout.readline().removeprefix("listening on ").strip()
        finally:
            process.kill()


class Writer(threading.Thread):
    """Writes batches until the server is gone, and remembers which were acknowledged."""

    def __init__(self, address, prefix) -> None:
        super().__init__()
        self._address = address
        self._prefix = prefix
        self.acknowledged = []
        self.in_flight = []

    def run(self):
        with Client(self._address) as client:
            for number in range(100_000):
                self.in_flight = [
                    InteractionEvent(f"{self._prefix}-{number}-{n}", 0, "u", "i", "click")
                    for n in range(BATCH)
                ]
                try:
                    report = client.write_events(self.in_flight)
                except grpc.RpcError:
                    return
                assert report.accepted == BATCH
                self.acknowledged += self.in_flight


def write_until_killed(folder, name):
    with server_process(folder) as (process, address):
        writers = [Writer(address, f"{name}-{n}") for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        while min(len(writer.acknowledged) for writer in writers) < 5 * BATCH:
            time.sleep(0.005)
        process.kill()
        for writer in writers:
            writer.join(30)
    return writers


def test_nothing_acknowledged_is_lost_or_doubled(tmp_path):
    acknowledged, torn = [], []
    for round_number in range(ROUNDS):
        for writer in write_until_killed(tmp_path, f"round{round_number}"):
            acknowledged += writer.acknowledged
            torn += writer.in_flight
    stored = Counter(visible.event.event_id for visible in read_spool(tmp_path))
    assert {event.event_id for event in acknowledged} <= stored.keys()
    assert set(stored.values()) == {1}
    with server_process(tmp_path) as (_, address), Client(address) as client:
        assert client.write_events(acknowledged).duplicates == len(acknowledged)
        client.write_events(torn)
    stored = Counter(visible.event.event_id for visible in read_spool(tmp_path))
    assert stored.keys() == {event.event_id for event in acknowledged + torn}
    assert set(stored.values()) == {1}
    instants = [visible.visible_at for visible in read_spool(tmp_path)]
    assert instants == sorted(set(instants))
