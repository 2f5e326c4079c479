"""What the parts of first-party plugins that are not plain expressions cost for 500 candidates.

python benchmarks/first_party.py [--json]; medians of fresh inputs in rotation, one thread.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl
from recsys_plugins.diversity import tag_overlap
from recsys_plugins.user_agent import parse_agent
from recsys_plugins.vectors import Settings, recsys_features

from recsys.features.profile import LogProfile, profile_attributes
from recsys.retrieval.bm25 import TermTable, describe
from recsys.retrieval.cooccurrence import Neighbours, score

N_ITEMS, N_CANDIDATES, N_ROUNDS = 20_000, 500, 300
WORDS = [f"w{number}" for number in range(N_ITEMS)]
AGENT = (
    "Mozilla/5.0 (Linux; Android 13; P{}) AppleWebKit/537.36 Chrome/{}.0.0.0 Mobile Safari/537.36"
)


def median_us(run: Callable[[int], object]) -> float:
    run(0)
    took = []
    for number in range(1, N_ROUNDS):
        start = time.perf_counter()
        run(number)
        took.append(time.perf_counter() - start)
    return round(float(np.median(took)) * 1e6, 1)


def together(rng: np.random.Generator) -> Callable[[int], object]:
    starts = np.arange(0, 200 * N_ITEMS + 1, 200)
    items = rng.integers(0, N_ITEMS, 200 * N_ITEMS).astype(np.int32)
    table = Neighbours(starts, items, rng.random(len(items)).astype(np.float32))
    lists = rng.integers(0, N_ITEMS, (N_ROUNDS, N_CANDIDATES)).astype(np.int32)
    past = rng.integers(0, N_ITEMS, (N_ROUNDS, 1, 30)).astype(np.int32)
    offsets = np.array([0, N_CANDIDATES])
    return lambda number: score(table, lists[number], offsets, past[number])


def match(rng: np.random.Generator) -> Callable[[int], object]:
    table = TermTable()
    for _ in range(N_ITEMS):
        table.append(tuple(WORDS[w] for w in rng.zipf(1.3, 8) % N_ITEMS))
    lists = rng.integers(0, N_ITEMS, (N_ROUNDS, N_CANDIDATES)).astype(np.int32)
    corpus = describe([("w1", "w2")] * 10)
    return lambda number: table.match(("w1", "w3", f"w{number}"), lists[number], corpus)


def overlap(rng: np.random.Generator) -> Callable[[int], object]:
    tags = [
        pl.Series([[WORDS[w] for w in rng.integers(0, 50, 5)] for _ in range(N_CANDIDATES)])
        for _ in range(N_ROUNDS)
    ]
    return lambda number: tag_overlap(tags[number])


def distance(rng: np.random.Generator) -> Callable[[int], object]:
    profile = profile_attributes([{"v": [1.0]}])
    offered = recsys_features(LogProfile(items=profile, context=profile), Settings().model_dump())
    expr = next(f.expr for f in offered if f.name.endswith("distance"))
    shape = (N_CANDIDATES, 64)
    frames = [
        pl.DataFrame({
            "item.v": rng.random(shape).tolist(),
            "context.v": rng.random(shape).tolist(),
        })
        for _ in range(N_ROUNDS)
    ]
    return lambda number: frames[number].select(expr)


def agent(_: np.random.Generator) -> Callable[[int], object]:
    return lambda number: parse_agent(AGENT.format(number % 7, number))


def main() -> None:
    rng = np.random.default_rng(0)
    parts = {
        "together, 30 last items x 200 neighbours": together,
        "field_match, one field of 8 words": match,
        "diversity, 5 tags": overlap,
        "vectors, one distance of 64 numbers": distance,
        "user_agent, a new text": agent,
    }
    found = {name: median_us(make(rng)) for name, make in parts.items()}
    if "--json" in sys.argv:
        print(json.dumps(found))
        return
    for name, took in found.items():
        print(f"{name:45s} {took:8.1f} us")


if __name__ == "__main__":
    main()
