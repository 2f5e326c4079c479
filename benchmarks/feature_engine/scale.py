"""A DuckDB log of 1, 10 and 100 M events, backfilled: each size in its own process."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np

from feature_engine.made import N_ITEMS, N_USERS, SPAN_US
from recsys.config import CONFIG_NAME
from recsys.events.pieces import StoredLog
from recsys.events.snapshot import LogSource, read_snapshot
from recsys.events.warehouse import open_warehouse
from recsys.features.store import Backfill
from recsys.training.columns import backfill_columns
from recsys.workspace import Workspace, open_workspace

#: What DuckDB may take of the memory; beyond it, nothing should grow with the log.
LIMIT_MB = 1_024
CONFIG = f"""
[log]
memory_limit = "{LIMIT_MB}MiB"
threads = 1
"""
NEW_PLUGIN = '''
"""A column over an aggregate that nothing else reads."""

import polars as pl

from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl


@hookimpl
def recsys_aggregates():
    return [count("clicks_3d", "click", by="item", window_s=259_200.0)]


@hookimpl
def recsys_features():
    return [Feature(name="clicks_3d", expr=pl.col("clicks_3d"))]
'''


def scale(arguments: argparse.Namespace) -> dict:
    """Requests are as many for all sizes: what `[split] max_slates` lets there be.

    Each size is a line on standard error as soon as it is done, and so is the new column.
    """
    found = []
    for n_events in arguments.sizes:
        done = subprocess.run(
            [sys.executable, sys.argv[0], "--one-size", str(n_events)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found.append(json.loads(done.stdout.splitlines()[-1]))
        _tell(found[-1])
    return {"duckdb_limit_mb": LIMIT_MB, "sizes": found}


def _tell(size: dict) -> None:
    millions = f"{size['events'] / 1e6:g} M events"
    lines = [
        f"{millions}: {size['columns']} columns in {size['backfill_s']} s,"
        f" {size['us_per_event']} us an event ({size['cpu_us_per_event']} of the processor);"
        f" peak memory {size['anonymous_mb']} MB, and {size['mapped_mb']} MB mapped from files"
    ]
    if "one_new_column_s" in size:
        lines.append(f"one new aggregate over {millions}: {size['one_new_column_s']} s")
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def one_size(n_events: int) -> dict:
    Path("build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="build") as temporary:
        folder = Path(temporary)
        (folder / CONFIG_NAME).write_text(CONFIG, encoding="utf-8")
        workspace = open_workspace(folder)
        # In processes of their own: what writing takes is no part of what reading takes.
        _aside(_write, folder, n_events)
        _aside(_compile, folder)
        with _Peak() as peak:
            cpu = time.process_time()
            whole, filled = _backfill(workspace, StoredLog(workspace.log_config))
            cpu = time.process_time() - cpu
        found = {
            "events": n_events,
            "log_file_mb": round(Path(workspace.log_config.path).stat().st_size / 2**20),
            "candidates": filled.n_rows,
            "columns": len(filled.computed),
            "backfill_s": round(whole, 1),
            "us_per_event": round(1e6 * whole / n_events, 3),
            "cpu_us_per_event": round(1e6 * cpu / n_events, 3),
            "anonymous_mb": round(peak.anonymous_mb),
            "mapped_mb": round(peak.mapped_mb),
        }
        if n_events <= _ONE_MORE:
            found |= _one_new_column(workspace)
        if n_events <= _COMPARED:
            _aside(_compare, folder)
            found["as_in_memory"] = json.loads((folder / "compared.json").read_text())
        return found


#: Logs of so many events are gone through once more for one new column.
_ONE_MORE = 10_000_000
#: Logs of so many events are read whole as well, and the columns compared.
_COMPARED = 1_000_000


def _one_new_column(workspace: Workspace) -> dict:
    plugins = workspace.folder / "plugins"
    plugins.mkdir()
    (plugins / "clicks.py").write_text(NEW_PLUGIN, encoding="utf-8")
    seconds, added = _backfill(workspace, StoredLog(workspace.log_config))
    return {"one_new_column_s": round(seconds, 1), "new": added.computed}


def _backfill(workspace: Workspace, source: LogSource) -> tuple[float, Backfill]:
    begun = time.perf_counter()
    found = backfill_columns(workspace, source, lambda *_: None)
    return time.perf_counter() - begun, found


def _aside(work: Callable[..., None], *arguments: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{work.__name__} failed")


def _compile(folder: Path) -> None:
    """Leave compiled loops in the cache."""
    small = folder / "small"
    small.mkdir()
    (small / CONFIG_NAME).write_text(CONFIG, encoding="utf-8")
    _write(small, 20_000)
    workspace = open_workspace(small)
    _backfill(workspace, StoredLog(workspace.log_config, n_events=5_000))


def _compare(folder: Path) -> None:
    """Compute the same columns of the log in memory, and of the log in smaller pieces."""
    workspace = open_workspace(folder)
    sources = [read_snapshot(workspace.log_config), StoredLog(workspace.log_config, 70_000)]
    for name, source in zip(("memory", "pieces"), sources, strict=True):
        aside = Workspace(folder / name, workspace.config)
        aside.folder.mkdir()
        _backfill(aside, source)
    found = {
        name: [np.load(path) for path in sorted((folder / name / "columns").glob("*/*.npy"))]
        for name in ("memory", "pieces")
    }
    n_equal = sum(
        bool(np.array_equal(mine, theirs, equal_nan=True))
        for mine, theirs in zip(found["memory"], found["pieces"], strict=True)
    )
    verdict = {"columns": len(found["memory"]), "equal": n_equal}
    (folder / "compared.json").write_text(json.dumps(verdict))


def _write(folder: Path, n_events: int) -> None:
    """Fill the table of interactions: few items have most clicks, users are alike."""
    config = open_workspace(folder).log_config
    open_warehouse(config).__exit__(None, None, None)  # makes the tables
    connection = duckdb.connect(config.path, config={"threads": 1, "memory_limit": "2GB"})
    connection.execute("SET enable_progress_bar = false")
    connection.execute(
        f"""INSERT INTO interactions
        SELECT 'e' || n, 'u' || (hash(n) % {N_USERS}),
            'i' || floor({N_ITEMS} * pow((hash(n + 7) % 1000003) / 1000003, 2))::BIGINT, 'click',
            '', '', (hash(n + 13) % 1000) / 1000, '{{}}', t, t
        FROM (SELECT n, (n * ({SPAN_US} / {n_events}))::BIGINT AS t FROM range({n_events}) r(n))"""
    )
    connection.close()


class _Peak:
    """Watches the memory of the process: its own, and pages of files.

    The kernel can take pages of files back; they are the libraries and the log as integers.
    """

    def __enter__(self) -> _Peak:
        self.anonymous_mb, self.mapped_mb, self._done = 0.0, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            status = Path("/proc/self/status").read_text().splitlines()
            held = {line.split()[0]: line.split()[1] for line in status if line.startswith("Rss")}
            self.anonymous_mb = max(self.anonymous_mb, int(held["RssAnon:"]) / 1024)
            self.mapped_mb = max(self.mapped_mb, int(held["RssFile:"]) / 1024)
