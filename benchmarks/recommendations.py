r"""What `Recommend` finds of what users really did next, with and without repeats.

    python benchmarks/recommendations.py online_retail data/online_retail [--related] [--json]

The log is cut in time: a bundle is trained on what comes before. What comes after is replayed into
the engine event by event, and users who come back are recommended twenty items each at the instant
at which they do. Found is what they did on that day. Beside it, as they stand at that instant: what
was most popular in the month before, and what the user did most often. The configuration may be
changed by variables `RECSYS_...`.

Collaborative filters of the library implicit, fitted on what was before the cut, are asked too
where there is an environment that has it:

    python -m venv build/implicit
    build/implicit/bin/pip install implicit pyarrow

`--related`: the first item of the day is the seed, and found is what else was done on that day.
Beside it what was done most often on one day with the seed before the cut.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

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
from recsys.features.profile import profile_log
from recsys.features.repeats import MANY_REPEATS
from recsys.pipeline.engine import load_engine
from recsys.pipeline.requests import RecommendQuery
from recsys.plugins.registry import load_importers
from recsys.ranking.metrics import bootstrap_difference
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent
from recsys.training.train import train
from recsys.workspace import Workspace, open_workspace

DAY_US = 86_400_000_000
TOP_K = 20
IMPLICIT = Path("build/implicit/bin/python")
Lists = dict[str, list[list[str]]]


@dataclass(frozen=True)
class Return:
    """A user who came back: at which instant, and what they did within a day, in order."""

    user_id: str
    at: int
    done: list[str]

    @property
    def seed(self) -> str:
        """What they did first."""
        return self.done[0]


@dataclass(frozen=True)
class Future:
    """What came after the cut: all events in order, and the users who came back, in order."""

    events: list[VisibleEvent]
    returns: list[Return]


@dataclass(frozen=True)
class Way:
    """How `Recommend` is asked."""

    repeats: str = "auto"
    of_user: bool = True
    seeded: bool = False


PLAIN = {
    "recommend, repeats never": Way(repeats="never"),
    "recommend": Way(),
}
RELATED = {
    "recommend without the seed": Way(),
    "recommend with the seed, to nobody": Way(of_user=False, seeded=True),
    "recommend with the seed": Way(seeded=True),
}


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
            back = found.setdefault(event.user_id, Return(event.user_id, at, []))
            if at < back.at + DAY_US and event.item_id not in back.done:
                back.done.append(event.item_id)
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


def acted(events: list[VisibleEvent]) -> Iterator[tuple[int, str, str]]:
    """Give instant, user and item of each interaction."""
    for event in events:
        if isinstance(event.event, InteractionEvent):
            yield event.visible_at, event.event.user_id, event.event.item_id


def popular(before: pl.DataFrame, future: Future) -> list[list[str]]:
    """List the items that were acted on most in the month before each user came back."""
    recent = deque(before.select("visible_at", "item_id").iter_rows())
    counts = Counter(before["item_id"].to_list())
    lists = []
    for events, back in replayed(future):
        for at, _, item in acted(events):
            recent.append((at, item))
            counts[item] += 1
        while recent and recent[0][0] < back.at - 30 * DAY_US:
            counts[recent.popleft()[1]] -= 1
        lists.append([item for item, _ in counts.most_common(TOP_K)])
    return lists


def own_favourites(before: pl.DataFrame, future: Future) -> list[list[str]]:
    """List what each user did most often, of equals what all did; then what all do most often."""
    everybody, own = Counter(before["item_id"].to_list()), defaultdict(Counter)
    for user, item in before.select("user_id", "item_id").iter_rows():
        own[user][item] += 1
    lists = []
    for events, back in replayed(future):
        for _, user, item in acted(events):
            own[user][item] += 1
            everybody[item] += 1
        counts = own[back.user_id]
        mine = sorted(counts, key=lambda item: (-counts[item], -everybody[item]))[:TOP_K]
        others = (item for item, _ in everybody.most_common() if item not in counts)
        lists.append([*mine, *islice(others, TOP_K - len(mine))])
    return lists


def of_one_day(before: pl.DataFrame, future: Future) -> list[list[str]]:
    """List what was done most often on one day with the seed."""
    log = before.with_columns(day=pl.col("visible_at") // DAY_US)
    days = log.group_by("user_id", "day").agg(pl.col("item_id").unique())["item_id"].to_list()
    seeds = {back.seed for back in future.returns}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for items in days:
        for seed in seeds.intersection(items):
            counts[seed].update(items)
    return [
        [item for item, _ in counts[back.seed].most_common(TOP_K + 1) if item != back.seed][:TOP_K]
        for back in future.returns
    ]


def ask_implicit(workspace: Workspace, before: pl.DataFrame, future: Future) -> Lists:
    """Let the library implicit make lists, where it is installed."""
    if not IMPLICIT.exists():
        return {}
    profile, _ = profile_log(StoredLog(workspace.log_config))
    steps = [
        {"events": [(user, item) for _, user, item in acted(events)], "user": back.user_id}
        for events, back in replayed(future)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        actions, asked, out = (Path(temporary) / name for name in ("a.parquet", "q", "lists"))
        before.select("user_id", "item_id").write_parquet(actions)
        repeats = profile.repeat_share >= MANY_REPEATS
        asked.write_text(json.dumps({"steps": steps, "repeats": repeats}), encoding="utf-8")
        script = Path(__file__).parent / "load" / "implicit_lists.py"
        quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run([IMPLICIT, script, actions, asked, out], check=True, env=quiet)
        return json.loads(out.read_text(encoding="utf-8"))


def recommended(workspace: Workspace, future: Future, ways: dict[str, Way]) -> Lists:
    """Recommend to each user who comes back, with everything known that came before."""
    engines = {}
    for repeats in {way.repeats for way in ways.values()}:
        settings = {**workspace.config.settings, "repeats": {"recommend": repeats}}
        config = Config(**{**workspace.config.model_dump(), "settings": settings})
        engines[repeats] = load_engine(replace(workspace, config=config))
    lists: Lists = {name: [] for name in ways}
    for events, back in replayed(future):
        for engine in engines.values():
            engine.apply(events)
            if any(isinstance(event.event, ItemEvent) for event in events):
                engine.catch_up()
        for name, way in ways.items():
            query = RecommendQuery(
                back.user_id if way.of_user else "",
                back.at,
                top_k=TOP_K,
                seed_item_ids=[back.seed] if way.seeded else [],
            )
            lists[name].append(engines[way.repeats].recommend(query).item_ids)
    return lists


def recall(lists: list[list[str]], future: Future, *, related: bool) -> NDArray[np.float64]:
    """Measure the share of what a user did that is in the list, of as much as it can hold."""
    found = []
    for items, back in zip(lists, future.returns, strict=True):
        wanted = set(back.done[1:] if related else back.done)
        found.append(len(wanted & set(items)) / min(len(wanted), TOP_K))
    return np.array(found)


def run(name: str, source: Path, span: tuple[float, float], most: int, *, related: bool) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        later, known = cut_log(Path(folder) / "w", name, source, span)
        future = Future(later, returns(later, known, most))
        if related:
            future = replace(future, returns=[b for b in future.returns if len(b.done) > 1])
        workspace = open_workspace(Path(folder) / "w")
        before = read_snapshot(workspace.log_config).interactions.sort("visible_at")
        lists: Lists = {"most popular of the last month": popular(before, future)}
        if related:
            lists["most often on one day with the seed"] = of_one_day(before, future)
        else:
            lists["what the user did most often"] = own_favourites(before, future)
            lists |= ask_implicit(workspace, before, future)
        report = train(workspace, StoredLog(workspace.log_config), lambda *_: None)
        BundleStore(workspace.bundles).activate(report.version)
        lists |= recommended(workspace, future, RELATED if related else PLAIN)
    found = {what: recall(items, future, related=related) for what, items in lists.items()}
    ours = list(found.values())[-1]
    rows = {}
    for what, values in found.items():
        interval = bootstrap_difference(ours, values, np.random.default_rng(0))
        rows[what] = {
            "recall@20": round(float(values.mean()), 4),
            "hit@20": round(float((values > 0).mean()), 4),
            "ours_minus_it": [round(float(value), 4) for value in interval],
        }
    return {"data_set": name, "span": span, "users": len(future.returns), "found": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("name", help="of an importer, such as online_retail")
    parser.add_argument("source", type=Path)
    parser.add_argument("--cut", type=float, default=0.8, help="share of the interactions before")
    parser.add_argument("--until", type=float, default=1.0, help="share that is looked at in all")
    parser.add_argument("--users", type=int, default=1000, help="asked for at most")
    parser.add_argument("--related", action="store_true", help="what goes with a seed")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    span = (arguments.cut, arguments.until)
    result = run(arguments.name, arguments.source, span, arguments.users, related=arguments.related)
    if arguments.json:
        json.dump(result, sys.stdout, indent=2)
        return
    rows = [
        [what, f"{row['recall@20']:.4f}", f"{row['hit@20']:.4f}", str(row["ours_minus_it"])]
        for what, row in result["found"].items()
    ]
    title = f"{result['data_set']}: {result['users']} users who came back"
    print_table(title, ("list", "recall@20", "hit@20", "the last one minus it, recall"), rows)


if __name__ == "__main__":
    main()
