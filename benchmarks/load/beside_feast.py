r"""Compares a whole Rank with Feast's local online store alone, on the same core, A B A B.

    python -m venv build/feast
    build/feast/bin/pip install feast

Feast fetches as many columns as `rank` computes, of the same items; nobody ranks them. One caller
waits for each answer. Times of Rank are its caller's, over the wire; Feast's are those of a call in
its own process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from load.servers import served

if TYPE_CHECKING:
    from serving import Bench

PYTHON = Path("build/feast/bin/python")
FETCH = Path(__file__).with_name("feast_online.py")
N_COLUMNS = 40
SIZES = (100, 500)
N_REQUESTS = 60


def compare(bench: Bench) -> dict:
    """Measure both, and give medians over rounds and medians of ratios."""
    if not PYTHON.exists():
        raise SystemExit(__doc__)
    cores, found = {bench.cores[0]}, {n: {"recsys": [], "feast": []} for n in SIZES}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        values = bench.rng.standard_normal((len(bench.items), N_COLUMNS))
        rows = pl.DataFrame(values, schema=[f"f{n}" for n in range(N_COLUMNS)]).with_columns(
            item_id=pl.Series(bench.items), event_timestamp=pl.lit(datetime(2026, 1, 1, tzinfo=UTC))
        )
        rows.write_parquet(folder / "rows.parquet")
        requests = [list(r.item_ids) for n in SIZES for r in bench.requests(n)[:N_REQUESTS]]
        (folder / "requests.json").write_text(json.dumps(requests))
        for _ in range(bench.arguments.rounds):
            with served(bench.workspace, cores=cores) as server:
                for n in SIZES:
                    outcome = bench.capacity(server, n, n_callers=1, seconds=3.0)
                    found[n]["recsys"].append({
                        "p50_ms": outcome.quantile_ms(0.5),
                        "p99_ms": outcome.quantile_ms(0.99),
                        "cpu_ms": outcome.cpu_ms,
                    })
            fetched = _fetched(folder, bench.cores[0])
            for n in SIZES:
                found[n]["feast"].append(fetched[str(n)])
    return {n: _told(by_name["recsys"], by_name["feast"]) for n, by_name in found.items()}


def _fetched(folder: Path, core: int) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FEAST_USAGE": "False"}
    done = subprocess.run(
        [
            "taskset",
            "-c",
            str(core),
            PYTHON.absolute(),
            FETCH.absolute(),
            "rows.parquet",
            "requests.json",
        ],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _told(mine: list[dict], others: list[dict]) -> dict:
    told = {
        f"{name}_{what}": round(statistics.median(found[what] for found in rounds), 2)
        for name, rounds in (("recsys", mine), ("feast", others))
        for what in ("p50_ms", "p99_ms", "cpu_ms")
    }
    for what in ("p50_ms", "cpu_ms"):
        ratios = [b[what] / a[what] for a, b in zip(mine, others, strict=True)]
        told[f"times_{what.removesuffix('_ms')}"] = round(statistics.median(ratios), 1)
    return told
