"""What `Recommend` finds of what users really did next, with and without repeats.

    python benchmarks/recommendations.py online_retail data/online_retail [--json]

The log is cut in time: a bundle is trained on what comes before. What comes after is replayed into
the engine event by event, and users who come back are recommended twenty items each at the instant
at which they do. Found is what they did on that day. Beside it what was most popular in the month
before, as it stands at that instant. The configuration may be changed by variables `RECSYS_...`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# As the command line does: threads that wait must sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.bundle.store import BundleStore
from recsys.cli.output import print_table
from recsys.cli.workspace import make_workspace
from recsys.config import Config
from recsys.events.formats import Formats
from recsys.events.importing import import_events
from recsys.events.pieces import StoredLog
from recsys.events.replay import visible_events
from recsys.events.snapshot import read_snapshot
from recsys.pipeline.engine import load_engine
from recsys.pipeline.requests import RecommendQuery
from recsys.plugins.registry import load_importers
from recsys.ranking.metrics import bootstrap_difference
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent
from recsys.training.train import train
from recsys.workspace import Workspace, open_workspace

DAY_US = 86_400_000_000
TOP_K = 20


@dataclass(frozen=True)
class Return:
    """A user who came back: at which instant, and what they did within a day."""

    user_id: str
    at: int
    done: set[str]


@dataclass(frozen=True)
class Future:
    """What came after the cut: all events in order, and the users who came back, in order."""

    events: list[VisibleEvent]
    returns: list[Return]


def cut_log(
    folder: Path, name: str, source: Path, span: tuple[float, float]
) -> tuple[list[VisibleEvent], set[str]]:
    """Make a workspace whose log ends at a share of its interactions.

    Returns:
        What came after, and who had done something before.
    """
    make_workspace(folder, clock="log")
    workspace = open_workspace(folder)
    formats = Formats(load_importers(folder, workspace.config), name)
    import_events(workspace.log_config, [source], rejects=folder / "rejects.jsonl", formats=formats)
    log = read_snapshot(workspace.log_config)
    instants = np.sort(log.interactions["visible_at"].to_numpy())
    cut, until = (int(instants[round(share * (len(instants) - 1))]) for share in span)
    later = [event for event in visible_events(log) if cut < event.visible_at <= until]
    with duckdb.connect(str(folder / "log.duckdb")) as database:
        for table in ("interactions", "impressions", "items", "users"):
            database.execute(f"DELETE FROM {table} WHERE visible_at > ?", [cut])
    before = log.interactions.filter(pl.col("visible_at") <= cut)
    return later, set(before["user_id"].unique()) - {""}


def returns(events: list[VisibleEvent], known: set[str], most: int) -> list[Return]:
    """List known users who come back, evenly chosen, in order of their instants."""
    found: dict[str, Return] = {}
    for event, at in ((e.event, e.visible_at) for e in events):
        if isinstance(event, InteractionEvent) and event.user_id in known:
            back = found.setdefault(event.user_id, Return(event.user_id, at, set()))
            if at < back.at + DAY_US:
                back.done.add(event.item_id)
    rows = [found[user] for user in sorted(found)]
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
    return sorted((rows[i] for i in chosen.tolist()), key=lambda back: back.at)


def replayed(future: Future) -> Iterator[tuple[list[VisibleEvent], Return]]:
    """Give, for each user who comes back, the events since the one before, and the user."""
    place = 0
    for back in future.returns:
        start = place
        while place < len(future.events) and future.events[place].visible_at < back.at:
            place += 1
        yield future.events[start:place], back


def popular(workspace: Workspace, future: Future) -> list[list[str]]:
    """List the items that were acted on most in the month before each user came back."""
    log = (
        read_snapshot(workspace.log_config)
        .interactions.select("visible_at", "item_id")
        .sort("visible_at")
    )
    recent, counts = deque(log.iter_rows()), Counter(log["item_id"].to_list())
    lists = []
    for events, back in replayed(future):
        for event in events:
            if isinstance(event.event, InteractionEvent):
                recent.append((event.visible_at, event.event.item_id))
                counts[event.event.item_id] += 1
        while recent and recent[0][0] < back.at - 30 * DAY_US:
            counts[recent.popleft()[1]] -= 1
        lists.append([item for item, _ in counts.most_common(TOP_K)])
    return lists


def recommended(workspace: Workspace, future: Future, repeats: str) -> list[list[str]]:
    """Recommend to each user who comes back, with everything known that came before."""
    settings = {**workspace.config.settings, "repeats": {"recommend": repeats}}
    config = Config(**{**workspace.config.model_dump(), "settings": settings})
    engine = load_engine(replace(workspace, config=config))
    lists = []
    for events, back in replayed(future):
        engine.apply(events)
        if any(isinstance(event.event, ItemEvent) for event in events):
            engine.catch_up()
        lists.append(engine.recommend(RecommendQuery(back.user_id, back.at, top_k=TOP_K)).item_ids)
    return lists


def recall(lists: list[list[str]], future: Future) -> NDArray[np.float64]:
    """Measure the share of what a user did that is in the list, of as much as it can hold."""
    pairs = zip(lists, future.returns, strict=True)
    return np.array([
        len(back.done & set(items)) / min(len(back.done), TOP_K) for items, back in pairs
    ])


def run(name: str, source: Path, span: tuple[float, float], most: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        later, known = cut_log(Path(folder) / "w", name, source, span)
        future = Future(later, returns(later, known, most))
        workspace = open_workspace(Path(folder) / "w")
        report = train(workspace, StoredLog(workspace.log_config), lambda *_: None)
        BundleStore(workspace.bundles).activate(report.version)
        lists = {"most popular of the last month": popular(workspace, future)}
        for repeats in ("never", "auto"):
            lists[f"recommend, repeats {repeats}"] = recommended(workspace, future, repeats)
    found = {what: recall(items, future) for what, items in lists.items()}
    simple = next(iter(found.values()))
    rows = {}
    for what, values in found.items():
        interval = bootstrap_difference(values, simple, np.random.default_rng(0))
        rows[what] = {
            "recall@20": round(float(values.mean()), 4),
            "hit@20": round(float((values > 0).mean()), 4),
            "minus_popular": [round(float(value), 4) for value in interval],
        }
    return {"data_set": name, "span": span, "users": len(future.returns), "found": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("name", help="of an importer, such as online_retail")
    parser.add_argument("source", type=Path)
    parser.add_argument("--cut", type=float, default=0.8, help="share of the interactions before")
    parser.add_argument("--until", type=float, default=1.0, help="share that is looked at in all")
    parser.add_argument("--users", type=int, default=1000, help="asked for at most")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = run(
        arguments.name, arguments.source, (arguments.cut, arguments.until), arguments.users
    )
    if arguments.json:
        json.dump(result, sys.stdout, indent=2)
        return
    rows = [
        [what, f"{row['recall@20']:.4f}", f"{row['hit@20']:.4f}", str(row["minus_popular"])]
        for what, row in result["found"].items()
    ]
    title = f"{result['data_set']}: {result['users']} users who came back"
    print_table(title, ("list", "recall@20", "hit@20", "recall minus that of popular"), rows)


if __name__ == "__main__":
    main()
