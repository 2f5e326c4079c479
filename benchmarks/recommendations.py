"""What `Recommend` finds of what users really did next, with and without repeats.

    python benchmarks/recommendations.py online_retail data/online_retail [--json]

The log is cut in time: a bundle is trained on what comes before, and users who come back afterwards
are recommended twenty items each, with what was known at the cut. Found is what they did on the
first day on which they came back. Beside it what was most popular in the month before the cut,
which is the same for everybody. The configuration may be changed by variables `RECSYS_...`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

# As the command line does: threads that wait must sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import duckdb
import numpy as np
import polars as pl

from recsys.bundle.store import BundleStore
from recsys.cli.output import print_table
from recsys.cli.workspace import make_workspace
from recsys.config import Config
from recsys.events.formats import Formats
from recsys.events.importing import import_events
from recsys.events.pieces import StoredLog
from recsys.events.snapshot import read_snapshot
from recsys.pipeline.engine import load_engine
from recsys.pipeline.requests import RecommendQuery
from recsys.plugins.registry import load_importers
from recsys.ranking.metrics import bootstrap_difference
from recsys.training.train import train
from recsys.workspace import Workspace, open_workspace

DAY_US = 86_400_000_000
TOP_K = 20


def cut_log(folder: Path, name: str, source: Path, span: tuple[float, float]) -> pl.DataFrame:
    """Make a workspace whose log ends at a share of its interactions.

    Returns:
        What came after, up to the second share: user_id, item_id, occurred_at.
    """
    make_workspace(folder, clock="log")
    workspace = open_workspace(folder)
    formats = Formats(load_importers(folder, workspace.config), name)
    import_events(workspace.log_config, [source], rejects=folder / "rejects.jsonl", formats=formats)
    done = read_snapshot(workspace.log_config).interactions.sort("occurred_at")
    cut, until = (done["occurred_at"].quantile(share, "nearest") for share in span)
    with duckdb.connect(str(folder / "log.duckdb")) as database:
        for table in ("interactions", "impressions", "items", "users"):
            database.execute(f"DELETE FROM {table} WHERE occurred_at > ?", [cut])
    later = done.filter(pl.col("occurred_at").is_between(cut, until, closed="right"))
    known = done.filter(pl.col("occurred_at") <= cut)["user_id"].unique()
    named = pl.col("user_id").is_in(known.to_list()) & (pl.col("user_id") != "")
    return later.filter(named).select("user_id", "item_id", "occurred_at")


def first_days(later: pl.DataFrame, most: int) -> list[tuple[str, int, set[str]]]:
    """List users who come back: id, when, and what they did within a day; evenly chosen."""
    first = later.with_columns(since=pl.col("occurred_at").min().over("user_id"))
    day = first.filter(pl.col("occurred_at") < pl.col("since") + DAY_US)
    found = day.group_by("user_id").agg("since", "item_id").sort("user_id")
    chosen = np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)
    rows = found[chosen.tolist()].iter_rows()
    return [(user, since[0], set(items)) for user, since, items in rows]


def popular(workspace: Workspace) -> list[str]:
    done = read_snapshot(workspace.log_config).interactions
    recent = done.filter(pl.col("occurred_at") > done["occurred_at"].max() - 30 * DAY_US)
    counts = recent["item_id"].value_counts().sort("count", "item_id", descending=[True, False])
    return counts["item_id"].head(TOP_K).to_list()


def recommended(
    workspace: Workspace, users: list[tuple[str, int, set[str]]], repeats: str
) -> list[list[str]]:
    settings = {**workspace.config.settings, "repeats": {"recommend": repeats}}
    config = Config(**{**workspace.config.model_dump(), "settings": settings})
    engine = load_engine(replace(workspace, config=config))
    return [
        engine.recommend(RecommendQuery(user, since, top_k=TOP_K)).item_ids
        for user, since, _ in users
    ]


def recall(lists: list[list[str]], users: list[tuple[str, int, set[str]]]) -> np.ndarray:
    """Measure the share of what a user did that is in the list, of as much as it can hold."""
    return np.array([
        len(done & set(items)) / min(len(done), TOP_K)
        for items, (_, _, done) in zip(lists, users, strict=True)
    ])


def run(name: str, source: Path, span: tuple[float, float], most: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        users = first_days(cut_log(Path(folder) / "w", name, source, span), most)
        workspace = open_workspace(Path(folder) / "w")
        report = train(workspace, StoredLog(workspace.log_config), lambda *_: None)
        BundleStore(workspace.bundles).activate(report.version)
        lists = {"popular of the last month": [popular(workspace)] * len(users)}
        for repeats in ("never", "always", "auto"):
            lists[f"recommend, repeats {repeats}"] = recommended(workspace, users, repeats)
    found = {what: recall(items, users) for what, items in lists.items()}
    never = found["recommend, repeats never"]
    rows = {}
    for what, values in found.items():
        interval = bootstrap_difference(values, never, np.random.default_rng(0))
        rows[what] = {
            "recall@20": round(float(values.mean()), 4),
            "hit@20": round(float((values > 0).mean()), 4),
            "minus_never": [round(float(value), 4) for value in interval],
        }
    return {"data_set": name, "span": span, "users": len(users), "found": rows}


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
        [what, f"{row['recall@20']:.4f}", f"{row['hit@20']:.4f}", str(row["minus_never"])]
        for what, row in result["found"].items()
    ]
    title = f"{result['data_set']}: {result['users']} users who came back"
    print_table(title, ("list", "recall@20", "hit@20", "recall minus that of never"), rows)


if __name__ == "__main__":
    main()
