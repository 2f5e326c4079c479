"""Activations and roll-backs while callers ask."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from load.arrivals import channels
from recsys.bundle.manifest import MANIFEST_NAME, ManifestDraft
from recsys.bundle.store import BundleStore
from recsys.serving.client import Client
from recsys.v1 import ranking_pb2_grpc

if TYPE_CHECKING:
    from serving import Bench

DEADLINE_S = 1.0


def compare(bench: Bench) -> dict:
    """Activate and roll back under load."""
    stopped, codes, versions, times = threading.Event(), Counter(), set(), []
    with bench.served() as server:
        store = BundleStore(server.folder / "bundles")
        first = store.active()
        second = store.publish(lambda folder: _copied(store, first, folder))
        requests = bench.requests(24)

        def ask() -> None:
            (channel,) = channels(server.address, 1)
            stub, number = ranking_pb2_grpc.RankingServiceStub(channel), 0
            while not stopped.wait(0.005):
                number += 1
                try:
                    answer = stub.Rank(requests[number % len(requests)], timeout=DEADLINE_S)
                    codes["OK"] += 1
                    versions.add(answer.model_version)
                except Exception as error:  # noqa: BLE001 - counted, whatever it is
                    codes[str(error)[:80]] += 1
            channel.close()

        asking = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
        for thread in asking:
            thread.start()
        memory = server.rss_mb()
        with Client(server.address) as client:
            for number in range(bench.arguments.activations):
                start = time.perf_counter()
                client.roll_back() if number % 2 else client.activate(second)
                times.append(time.perf_counter() - start)
        stopped.set()
        for thread in asking:
            thread.join()
        grown = server.rss_mb() - memory
    return {
        "switches": len(times),
        "median_ms": round(statistics.median(times) * 1000, 1),
        "first_ms": round(times[0] * 1000),
        "codes": dict(codes),
        "versions": len(versions),
        "rss_growth_mb": round(grown, 1),
    }


def _copied(store: BundleStore, version: str, folder: Path) -> ManifestDraft:
    """Publish the same artefacts under another version."""
    opened = store.open(version)
    shutil.copytree(
        opened.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_NAME)
    )
    known = msgspec.structs.asdict(opened.manifest)
    return ManifestDraft(**{name: known[name] for name in ManifestDraft.__struct_fields__})
