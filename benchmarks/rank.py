"""How long `Rank` and `Recommend` take inside the server process, and where the time goes.

Requests rotate over 1,000 distinct ones (users and candidates of the workspace's log, fresh
strings), so that no cache answers twice. Figures are wall time on one core.

    python benchmarks/rank.py --workspace build/demo --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.observing import RequestObserver
from recsys.pipeline.requests import RankQuery, RecommendQuery
from recsys.workspace import open_workspace

N_REQUESTS = 1000


def requests_of(engine: Engine, n_candidates: int, rng: np.random.Generator) -> list[RankQuery]:
    users, items = engine.user_ids(), engine.item_ids()
    as_of = engine.now("log")
    return [
        RankQuery(
            user_id=str(rng.choice(users)),
            item_ids=[str(item) for item in rng.choice(items, n_candidates)],
            as_of=as_of,
        )
        for _ in range(N_REQUESTS)
    ]


class Watch(RequestObserver):
    """Notes how long every stage took."""

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = {}

    def now(self) -> float:
        """Start the watch."""
        return time.perf_counter()

    def stage(self, name: str, since: float) -> float:
        """Note a stage."""
        now = time.perf_counter()
        self.stages.setdefault(name, []).append((now - since) * 1000)
        return now


def profile(ask: Callable[..., object], queries: Sequence[object]) -> dict[str, float]:
    """Say where the time goes: medians, in milliseconds; `rest` is all the other code."""
    watch, times = Watch(), []
    for query in queries:
        start = time.perf_counter()
        ask(query, watch)
        times.append((time.perf_counter() - start) * 1000)
    stages = {name: statistics.median(found) for name, found in watch.stages.items()}
    stages["rest"] = statistics.median(times) - sum(stages.values())
    return {name: round(found, 3) for name, found in stages.items()}


def measure(engine: Engine, n_candidates: int) -> dict:
    queries = requests_of(engine, n_candidates, np.random.default_rng(7))
    return {"candidates": n_candidates, **timed(engine.rank, queries)}


def measure_recommend(engine: Engine, top_k: int) -> dict:
    rng, users = np.random.default_rng(7), engine.user_ids()
    as_of = engine.now("log")
    queries = [
        RecommendQuery(str(rng.choice(users)), as_of, top_k=top_k) for _ in range(N_REQUESTS)
    ]
    found = timed(engine.recommend, queries)
    return {"items": len(engine.item_ids()), "top_k": top_k, **found}


def timed(ask: Callable[..., object], queries: Sequence[object]) -> dict:
    for query in queries[:50]:
        ask(query)
    times, cpu = [], time.process_time()
    for query in queries:
        start = time.perf_counter()
        ask(query)
        times.append((time.perf_counter() - start) * 1000)
    cpu_ms = (time.process_time() - cpu) / len(queries) * 1000
    return {
        "p50_ms": round(statistics.median(times), 3),
        "p99_ms": round(float(np.percentile(times, 99)), 3),
        "cpu_ms": round(cpu_ms, 3),
        "stages_ms": profile(ask, queries[:300]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("build/demo"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    engine = load_engine(open_workspace(arguments.workspace))
    found = [measure(engine, n) for n in (24, 100, 500)]
    recommended = measure_recommend(engine, 20)
    if arguments.json:
        n_features = len(engine.feature_names)
        print(json.dumps({"features": n_features, "rank": found, "recommend": recommended}))
        return
    print(f"{len(engine.feature_names)} features, {N_REQUESTS} distinct requests each")
    for row in found:
        show(f"{row['candidates']:>5} candidates", row)
    show(f"the best {recommended['top_k']} of {recommended['items']:,} items", recommended)


def show(what: str, row: dict) -> None:
    times = ", ".join(f"{name} {row[f'{name}_ms']} ms" for name in ("p50", "p99", "cpu"))
    print(f"{what}: {times}")
    print("      " + ", ".join(f"{name} {ms}" for name, ms in row["stages_ms"].items()))


if __name__ == "__main__":
    main()
