"""Windowed counts of items before as many requests as events, beside DuckDB's RANGE windows.

Both on one thread, by the processor's time. DuckDB's windows begin at the bucket that ours begin
with, so that both count the same events. How long it takes depends on how uneven the items are: it
partitions by item. Items of a shop or a film site follow Zipf's law; the exponent of MovieTweetings
is 0.92 (ranks 5 to 1000).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import duckdb
import numpy as np
import polars as pl

from feature_engine.made import (
    N_ITEMS,
    actions_of,
    made_columns,
    made_log,
    made_slates,
    ratios,
)
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import count

HOUR_S, DAY_S = 3_600, 86_400
WINDOWS_S = {"one": [DAY_S], "four": [HOUR_S, DAY_S, 7 * DAY_S, 30 * DAY_S]}


def windows(arguments: argparse.Namespace) -> dict:
    found = {}
    for exponent in arguments.zipf:
        for name in arguments.windows:
            sizes = WINDOWS_S[name]
            found[f"zipf {exponent}, {name} window(s)"] = _compared(arguments, exponent, sizes)
    return {"events": arguments.events, "requests": arguments.events, "shapes": found}


def _compared(
    arguments: argparse.Namespace, exponent: float, windows_s: list[int]
) -> dict[str, float]:
    rng = np.random.default_rng(5)
    columns, slates = made_columns(arguments.events, rng), made_slates(arguments.events, 1, rng)
    columns["items"] = _items(arguments.events, exponent, rng)
    asked = _items(arguments.events, exponent, rng)
    slates = Slates(slates.users, slates.as_of, asked, slates.offsets)
    log = made_log(actions_of(columns))
    connection = duckdb.connect(config={"threads": 1, "memory_limit": "10GB"})
    shown = {"t": columns["visible"], "item": columns["items"], "one": 1, "n": -1}
    requests = {"t": slates.as_of, "item": asked, "n": np.arange(len(slates))}
    connection.register("events", pl.DataFrame(shown).to_arrow())
    connection.register("asked", pl.DataFrame(requests).to_arrow())
    sql = _sql(windows_s)
    wanted = [
        count(f"w{window}", "click", by="item", window_s=float(window)) for window in windows_s
    ]
    OfflineReader(log).read_many(wanted, slates.part(0, 10))  # compiles
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        mine, seconds = _timed(lambda: OfflineReader(log).read_many(wanted, slates))
        ours.append(seconds)
        table, seconds = _timed(lambda: connection.sql(sql).pl())
        theirs.append(seconds)
        for aggregate, column in zip(wanted, mine, strict=True):
            np.testing.assert_array_equal(column, table[aggregate.name].to_numpy())
    return ratios(ours, theirs)


def _items(n: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    shares = np.cumsum(np.arange(1, N_ITEMS + 1) ** -exponent)
    return np.searchsorted(shares / shares[-1], rng.random(n)).astype(np.int32)


def _sql(windows_s: list[int]) -> str:
    columns = []
    for window in windows_s:
        step = window * 1_000_000 // 12
        start = f"t - (t // {step} - 11) * {step}"
        columns.append(
            "count(one) OVER (PARTITION BY item ORDER BY t"
            f" RANGE BETWEEN {start} PRECEDING AND 1 PRECEDING) AS w{window}"
        )
    return f"""SELECT n, {", ".join(columns)}
        FROM (SELECT t, item, one, n FROM events UNION ALL SELECT t, item, NULL, n FROM asked)
        QUALIFY n >= 0 ORDER BY n"""


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    begun = time.process_time()
    found = work()
    return found, time.process_time() - begun
