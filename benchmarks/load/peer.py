r"""Compares with a plain Python service on the same core, A B A B, medians of ratios.

    python -m venv build/peer
    build/peer/bin/pip install fastapi uvicorn pandas
    python -c "import site; print(site.getsitepackages()[0])" \\
        > build/peer/lib/python3.11/site-packages/recsys.pth

The last line lends the peer this environment's numpy, LightGBM, torch and transformers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from load.arrivals import closed_loop
from load.servers import cpu_of, served
from recsys.bundle.store import BundleStore
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.workspace import open_workspace

if TYPE_CHECKING:
    from serving import Bench

PYTHON = Path("build/peer/bin/python")
SERVICE = Path(__file__).with_name("plain_service.py")
N_CALLERS = 2


def compare(bench: Bench) -> dict:
    """Measure callers' rates and CPU per request, for 100 and 500 candidates."""
    if not PYTHON.exists():
        raise SystemExit(__doc__)
    cores = {bench.cores[0]}
    rates: dict[str, dict[int, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _export(bench.workspace, folder)
        for _ in range(bench.arguments.rounds):
            with served(bench.workspace, cores=cores) as server:
                for n in (100, 500):
                    closed = bench.capacity(server, n, n_callers=N_CALLERS)
                    found = closed.goodput, closed.cpu_ms
                    rates.setdefault("recsys", {}).setdefault(n, []).append(found)
            for kind in ("vectors", "history"):
                with _plain(folder, kind, cores) as (port, pid):
                    for n in (100, 500):
                        found = _ask(bench, port, pid, n)
                        rates.setdefault(kind, {}).setdefault(n, []).append(found)
    return {
        name: {
            n: {
                "per_s": round(statistics.median(rate for rate, _ in found), 1),
                "cpu_ms": round(statistics.median(cpu for _, cpu in found), 2),
                "times_slower": _median_ratio(rates["recsys"][n], found, 0),
                "times_cpu": _median_ratio(found, rates["recsys"][n], 1),
            }
            for n, found in by_size.items()
        }
        for name, by_size in rates.items()
    }


def _median_ratio(
    one: list[tuple[float, float]], other: list[tuple[float, float]], what: int
) -> float:
    return round(statistics.median(a[what] / b[what] for a, b in zip(one, other, strict=True)), 1)


def _ask(bench: Bench, port: int, pid: int, n: int) -> tuple[float, float]:
    bodies = [
        json.dumps({"user_id": request.user_id, "item_ids": list(request.item_ids)})
        for request in bench.requests(n)
    ]
    opened = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(N_CALLERS)]

    def call(caller: int, number: int) -> None:
        headers = {"Content-Type": "application/json"}
        body = bodies[(caller * 97 + number) % len(bodies)]
        opened[caller].request("POST", "/rank", body, headers)
        answer = json.loads(opened[caller].getresponse().read())
        if len(answer["item_ids"]) != n:
            raise ValueError(answer)

    closed_loop(call, n_callers=N_CALLERS, seconds=1.0)
    closed = closed_loop(call, n_callers=N_CALLERS, seconds=4.0, cpu=lambda: cpu_of(pid))
    return closed.goodput, closed.cpu_ms


@contextlib.contextmanager
def _plain(folder: Path, kind: str, cores: set[int]) -> Iterator[tuple[int, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pinned = ["taskset", "-c", ",".join(map(str, sorted(cores)))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [*pinned, PYTHON, SERVICE, folder, str(port), kind]
    process = subprocess.Popen(command, env=environment)
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.socket() as probe:
                probe.connect(("127.0.0.1", port))
                break
            if process.poll() is not None:
                raise ChildProcessError(command)
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _export(workspace: Path, folder: Path) -> None:
    """Write what such a service would be given: counters, attributes, vectors, the same ranker."""
    opened = open_workspace(workspace)
    log = read_snapshot(opened.log_config)
    bundle = BundleStore(opened.bundles).open()
    shutil.copy(bundle.path / "ranker.txt", folder)
    items = _items(log)
    items.write_parquet(folder / "items.parquet")
    _users(log).write_parquet(folder / "users.parquet")
    histories = log.interactions.group_by("user_id").agg("item_id").iter_rows()
    (folder / "histories.json").write_text(json.dumps(dict(histories)))
    latest = log.items.unique("item_id", keep="last", maintain_order=True)
    titles = {
        item: str(json.loads(text).get("title", item))
        for item, text in latest.select("item_id", "attributes").iter_rows()
    }
    (folder / "titles.json").write_text(json.dumps(titles))
    attributes = {
        item: {name: value for name, value in json.loads(text).items() if isinstance(value, list)}
        for item, text in latest.select("item_id", "attributes").iter_rows()
    }
    (folder / "attributes.json").write_text(json.dumps(attributes))
    (folder / "tastes.json").write_text(json.dumps(_tastes(log, attributes)))
    vectors = np.random.default_rng(1).standard_normal((items.height, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", vectors)


def _tastes(log: LogSnapshot, attributes: dict) -> dict:
    """Count the values of what each user acted on, attribute by attribute."""
    tastes: dict[str, dict[str, Counter[str]]] = {}
    for user, item in log.interactions.select("user_id", "item_id").iter_rows():
        mine = tastes.setdefault(user, {})
        for name, values in attributes.get(item, {}).items():
            mine.setdefault(name, Counter()).update(map(str, values))
    return tastes


def _items(log: LogSnapshot) -> pl.DataFrame:
    shown_at = log.impressions.select("visible_at", item_id="item_ids").explode("item_id")
    shown = shown_at.select("item_id")
    counts = shown.group_by("item_id").agg(shown=pl.len())
    for kind in log.interactions["type"].unique(maintain_order=True):
        done = log.interactions.filter(type=kind).group_by("item_id").len(f"n_{kind}")
        counts = counts.join(done, on="item_id", how="left")
    last_us = int(log.impressions["visible_at"].max())
    for minutes in (1, 5, 15):
        since = last_us - minutes * 60_000_000
        for name, frame in (("shown", shown_at), ("acted", log.interactions)):
            found = frame.filter(pl.col("visible_at") > since).group_by("item_id")
            counts = counts.join(found.len(f"{name}_{minutes}"), on="item_id", how="left")
    latest = log.items.unique("item_id", keep="last", maintain_order=True)
    attributes = [json.loads(text) for text in latest["attributes"]]
    names = sorted({
        name for row in attributes for name, value in row.items() if isinstance(value, int | float)
    })
    numbers = pl.DataFrame({
        name: [
            float(row[name]) if isinstance(row.get(name), int | float) else None
            for row in attributes
        ]
        for name in names
    }).with_columns(item_id=latest["item_id"])
    return (
        latest
        .select("item_id")
        .join(counts, on="item_id", how="left")
        .join(numbers, on="item_id", how="left")
    )


def _users(log: LogSnapshot) -> pl.DataFrame:
    lists = log.impressions.group_by("user_id").agg(user_lists=pl.len())
    done = log.interactions.group_by("user_id").agg(
        user_actions=pl.len(), user_last=pl.col("occurred_at").max().cast(pl.Float64)
    )
    return lists.join(done, on="user_id", how="left")
