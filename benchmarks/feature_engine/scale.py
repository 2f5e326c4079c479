"""A DuckDB log of 1, 10 and 100 M events: read, encoded and asked, each size in its own process."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import numpy as np

from feature_engine.made import N_ITEMS, N_USERS, SPAN_US, made_slates
from recsys.config import LogConfig
from recsys.events.pieces import read_pieces
from recsys.events.snapshot import snapshot_of
from recsys.events.warehouse import open_warehouse
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.features.spilled import encode_pieces
from recsys.features.vocabulary import Aggregate, count, since_last, total

SCALED: list[Aggregate] = [
    count("item_clicks", "click", by="item"),
    count("item_clicks_1d", "click", by="item", window_s=86_400.0),
    total("item_value", "click", by="item"),
    since_last("user_last", "click", by="user"),
    count("user_item", "click", by="user*item"),
]
PIECE = 1_000_000


def scale(arguments: argparse.Namespace) -> dict:
    """Requests are as many for all sizes."""
    found = []
    for n_events in arguments.sizes:
        done = subprocess.run(
            [sys.executable, sys.argv[0], "--one-size", str(n_events)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {"candidates": 1_000_000, "aggregates": [a.name for a in SCALED], "sizes": found}


def one_size(n_events: int) -> dict:
    with tempfile.TemporaryDirectory(dir="build") as temporary:
        folder = Path(temporary)
        config = LogConfig(path=str(folder / "log.duckdb"), memory_limit="1GB", threads=1)
        # In a process of its own: what writing takes is no part of what reading takes.
        writer = multiprocessing.get_context("spawn").Process(
            target=_write, args=(config, n_events)
        )
        writer.start()
        writer.join()
        (folder / "columns").mkdir()
        with _Peak() as peak:
            encoded, asked, alone = _read(config, folder / "columns")
        size_mb = Path(config.path).stat().st_size / 2**20
    return {
        "events": n_events,
        "log_file_mb": round(size_mb),
        "read_and_encode_s": round(encoded, 1),
        "five_aggregates_s": round(asked, 2),
        "us_per_event": round(1e6 * (encoded + asked) / n_events, 3),
        "one_new_aggregate_s": round(alone, 2),
        "process_mb": round(peak.highest_mb),
    }


def _read(config: LogConfig, folder: Path) -> tuple[float, float, float]:
    """Do what a run over a long log does; the columns that are asked for are written as they come.

    Returns:
        Seconds of reading and encoding, of five aggregates, and of one alone.
    """
    begun = time.perf_counter()
    log = encode_pieces(read_pieces(config, n_events=PIECE), folder)
    encoded = time.perf_counter()
    rng = np.random.default_rng(5)
    made = made_slates(100_000, 10, rng)
    users = log.users.rows([f"u{number}" for number in made.users.tolist()])
    items = log.items.rows([f"i{number}" for number in made.items.tolist()])
    slates = Slates(users, made.as_of, items, made.offsets)
    OfflineReader(encode_log(snapshot_of([]))).read_many(SCALED, slates.part(0, 1))  # compiles
    ready = time.perf_counter()
    for aggregate, column in zip(SCALED, OfflineReader(log).read_many(SCALED, slates), strict=True):
        np.save(folder / aggregate.name, column)
    asked = time.perf_counter()
    OfflineReader(log).read(SCALED[-1], slates)
    return encoded - begun, asked - ready, time.perf_counter() - asked


def _write(config: LogConfig, n_events: int) -> None:
    """Fill the table of interactions: few items have most clicks, users are alike."""
    open_warehouse(config).__exit__(None, None, None)  # makes the tables
    connection = duckdb.connect(config.path, config={"threads": 1, "memory_limit": "2GB"})
    connection.execute(
        f"""INSERT INTO interactions
        SELECT 'e' || n, 'u' || (hash(n) % {N_USERS}),
            'i' || floor({N_ITEMS} * pow((hash(n + 7) % 1000003) / 1000003, 2))::BIGINT, 'click',
            '', '', (hash(n + 13) % 1000) / 1000, '{{}}', t, t
        FROM (SELECT n, (n * ({SPAN_US} / {n_events}))::BIGINT AS t FROM range({n_events}) r(n))"""
    )
    connection.close()


class _Peak:
    """Watches the memory of the process that is not a file's (what no kernel can take back)."""

    def __enter__(self) -> _Peak:
        self.highest_mb, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.highest_mb = max(self.highest_mb, _anonymous_mb())


def _anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0
