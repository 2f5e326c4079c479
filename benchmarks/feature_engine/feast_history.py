"""Point-in-time counts beside Feast's `get_historical_features`."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from feature_engine.made import made_columns, ratios
from recsys.events.snapshot import LogSnapshot, snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import count

FEAST = Path("build/feast/bin/python")
INSTALL = "python -m venv build/feast && build/feast/bin/pip install feast"


def feast(arguments: argparse.Namespace) -> dict:
    """Both read the same Parquet files; Feast's rows hold the counts that ours have to be made."""
    if not FEAST.exists():
        raise SystemExit(INSTALL)
    rng = np.random.default_rng(5)
    columns = made_columns(arguments.feast_events, rng)
    columns["visible"] = np.arange(len(columns["types"])) * 2_000_000  # odd seconds: requests
    events = pl.DataFrame({
        "item_id": pl.Series(columns["items"]).cast(pl.String).str.replace("^", "i"),
        "t": columns["visible"],
    })
    events = events.with_columns(
        clicks_so_far=pl.int_range(1, pl.len() + 1).over("item_id").cast(pl.Float64),
        event_timestamp=pl.col("t").cast(pl.Datetime("us", "UTC")),
    )
    asked = events.sample(arguments.feast_requests, seed=3, shuffle=True).select(
        "item_id",
        event_timestamp=(pl.col("t") + 1_000_000).cast(pl.Datetime("us", "UTC")),
        request=pl.int_range(pl.len()),
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        events.drop("t").write_parquet(folder / "rows.parquet")
        asked.write_parquet(folder / "requests.parquet")
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            begun = time.perf_counter()
            mine = _clicks_before(folder / "rows.parquet", folder / "requests.parquet")
            ours.append(time.perf_counter() - begun)
            theirs.append(_feast_seconds(folder))
            found = pl.read_parquet(folder / "out.parquet")["clicks_so_far"].to_numpy()
            np.testing.assert_array_equal(mine, found)
    sizes = {"events": events.height, "requests": asked.height}
    return {**sizes, **ratios(ours, theirs)}


def _clicks_before(rows: Path, requests: Path) -> np.ndarray:
    """Read events, resolve ids, and count before each request, as training does."""
    events = pl.read_parquet(rows, columns=["item_id", "event_timestamp"])
    asked = pl.read_parquet(requests)
    at = pl.col("event_timestamp").cast(pl.Datetime("us")).cast(pl.Int64)
    empty = snapshot_of([])
    plain = {"user_id": "", "type": "click", "impression_id": "", "session_id": ""}
    interactions = events.with_columns(
        **{name: pl.lit(value) for name, value in plain.items()},
        event_id=pl.lit(""),
        value=pl.lit(None, dtype=pl.Float64),
        attributes=pl.lit("{}"),
        occurred_at=at,
        visible_at=at,
    ).select(empty.interactions.columns)
    log = encode_log(LogSnapshot(empty.items, empty.users, empty.impressions, interactions))
    slates = Slates(
        users=np.full(asked.height, -1, np.int32),
        as_of=asked.select(at).to_series().to_numpy(),
        items=log.items.rows_of(asked["item_id"]),
        offsets=np.arange(asked.height + 1),
    )
    return OfflineReader(log).read(count("clicks", "click", by="item"), slates)


def _feast_seconds(folder: Path) -> float:
    script = Path(__file__).parent.parent / "load" / "feast_history.py"
    files = [str(folder / f"{name}.parquet") for name in ("rows", "requests", "out")]
    done = subprocess.run(
        [FEAST, script, *files], check=True, capture_output=True, text=True,
        env={**os.environ, "FEAST_USAGE": "False"},
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])
