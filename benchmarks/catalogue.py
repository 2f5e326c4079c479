"""What a request and an event cost in a large catalogue: a made shop of any size.

Items have a title, a category and a price; two thirds of the purchases are from what a user likes,
the others by popularity. Many items share one of 5,000 texts, so that encoding does not take long;
all have vectors of their own to be searched.

    python benchmarks/catalogue.py --items 200000 --json

The workspace stays in build/catalogue-ITEMS and is used again.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from minutes_to_feature import run
from rank import measure, measure_recommend, show

from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.requests import RecommendQuery
from recsys.schema import ItemEvent, VisibleEvent
from recsys.workspace import open_workspace

N_TEXTS, N_TOPICS, N_EVENTS = 5_000, 100, 300_000
START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
WORDS = """
oak pine steel glass cotton wool linen silk lamp chair table shelf mirror carpet curtain
kettle pan knife bowl plate cup fork spoon oven grill tent stove rope boot jacket glove
scarf hat belt watch ring bracelet camera lens tripod drone speaker cable charger keyboard
mouse screen printer paper pencil brush paint canvas clay bead yarn needle button zip
seed pot spade hose rake bulb fern rose cactus tea coffee honey jam rice bean spice
"""


def write_log(path: Path, n_items: int) -> None:
    """Write items, then purchases, one every five seconds."""
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS.split(), 4)) for _ in range(N_TEXTS)]
    topics = rng.integers(0, N_TOPICS, n_items)
    by_topic = [np.flatnonzero(topics == topic) for topic in range(N_TOPICS)]
    popular = np.cumsum(rng.permutation(1.0 / np.arange(1, n_items + 1) ** 0.8))
    n_users = n_items // 4
    likes = rng.integers(0, N_TOPICS, (n_users, 3))
    with path.open("w", encoding="utf-8") as file:
        for item, topic in enumerate(topics.tolist()):
            text = texts[(topic * 50 + int(rng.integers(50))) % N_TEXTS]
            price = round(float(rng.gamma(2, 20)), 2)
            attributes = {"title": text, "category": f"c{topic % 20}", "price": price}
            told = {"item_id": f"p{item}", "attributes": attributes}
            file.write(line(f"i{item}", START, item=told))
        users = rng.integers(0, n_users, N_EVENTS)
        chosen = np.searchsorted(popular, rng.random(N_EVENTS) * popular[-1])
        for event, user in enumerate(users.tolist()):
            if event % 3:
                liked = by_topic[likes[user, event % 2]]
                chosen[event] = liked[int(rng.exponential(len(liked) / 8)) % len(liked)]
            told = {"user_id": f"u{user}", "item_id": f"p{chosen[event]}", "type": "purchase"}
            file.write(line(f"e{event}", START + 5 * (event + 1), interaction=told))


def line(event_id: str, at: float, **told: dict) -> str:
    return json.dumps({"event_id": event_id, "occurred_at": int(at * 1e6), **told}) + "\n"


def prepare(folder: Path, n_items: int) -> dict[str, float]:
    """Import and train, where that was not done before."""
    if (folder / "bundles").exists():
        return {}
    here = ("--workspace", str(folder))
    run("init", *here)
    write_log(folder / "shop.jsonl", n_items)
    imported_s, _ = run("events", "import", str(folder / "shop.jsonl"), *here)
    trained_s, _ = run("train", *here)
    return {"import_s": round(imported_s, 1), "train_s": round(trained_s, 1)}


def changes(engine: Engine, n: int = 200) -> dict[str, float]:
    """Change prices, one event at a time, and recommend something after each."""
    ids, users, now = engine.item_ids(), engine.user_ids(), engine.now("log")
    taken, after = [], []
    for number in range(n):
        attributes = {"title": "oak table lamp", "category": "c1", "price": float(number)}
        event = ItemEvent(f"change-{number}", now, ids[number * 7], attributes)
        begun = time.perf_counter()
        engine.apply([VisibleEvent(event, now + number)])
        engine.catch_up()
        known = time.perf_counter()
        engine.recommend(RecommendQuery(users[number], now + number + 1))
        taken.append((known - begun) * 1000)
        after.append((time.perf_counter() - known) * 1000)
    # The first one loads the encoder, where its text is new.
    return {
        "first_ms": round(taken[0], 1),
        "p50_ms": round(float(np.median(taken[1:])), 3),
        "p99_ms": round(float(np.percentile(taken[1:], 99)), 3),
        "recommend_after_p50_ms": round(float(np.median(after[1:])), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.workspace or Path(f"build/catalogue-{arguments.items}")
    found: dict[str, object] = {"items": arguments.items, **prepare(folder, arguments.items)}
    begun = time.perf_counter()
    engine = load_engine(open_workspace(folder))
    engine.warm_up()
    found["start_s"] = round(time.perf_counter() - begun, 1)
    found["rank"] = [measure(engine, n) for n in (24, 100, 500)]
    found["recommend"] = measure_recommend(engine, 20)
    found["change"] = changes(engine)
    if arguments.json:
        print(json.dumps(found))
        return
    print({name: value for name, value in found.items() if not isinstance(value, list | dict)})
    for row in found["rank"]:
        show(f"{row['candidates']:>5} candidates", row)
    show("the best 20", found["recommend"])
    print(f"an event that changes an item: {found['change']}")


if __name__ == "__main__":
    main()
