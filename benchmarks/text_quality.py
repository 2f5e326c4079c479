"""Text as the only signal: fine-tuned on behaviour, against a frozen encoder and a TF-IDF profile.

All three see the same texts and the same past of a user and rank the same lists: what was shown on
RankLens, the whole catalogue on Online Retail and MovieTweetings. Nothing else is used: no counter
of an item, and no number of it. What was fitted was fitted on train and validation requests; the
test slice is only ranked. Random, popularity and how often the user acted on the very item stand
beside. People come back to what they had, so there is a second table where it is left out of the
lists: `new_to_user`.

    python benchmarks/text_quality.py ranklens movietweetings online_retail --json

MovieTweetings has titles and genres; where title and year are those of a film of RankLens, the film
gets RankLens' texts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys.bundle.contents import SplitTimes
from recsys.cli.output import print_table
from recsys.config import Config, EvaluationConfig, LogConfig, SplitConfig
from recsys.evaluation.requests import requests_after
from recsys.events.formats import Formats
from recsys.events.frames import decode_attributes
from recsys.events.importing import import_events
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.features.models import FittedFeatureModel
from recsys.features.offline import OfflineReader
from recsys.features.plan import FeaturePlan, Offer, make_plan
from recsys.features.slates import Slates
from recsys.features.vocabulary import count, last_items
from recsys.interest.model import TextInterestModel
from recsys.interest.text import choose_fields, item_text
from recsys.plugins.registry import load_importers
from recsys.ranking.metrics import Interval, RankingMetrics, bootstrap_means, measure
from recsys.training.dataset import Dataset, make_dataset
from recsys.training.labels import LabelledSlates
from recsys.training.split import TimeSplit, split_by_time
from recsys.training.stacking import Stacking

DATA = Path(__file__).parents[1] / "data"
DATA_SETS = ("ranklens", "movietweetings", "online_retail")
PAIRS = (
    ("fine_tuned", "frozen"),
    ("frozen", "tf_idf"),
    ("fine_tuned", "tf_idf"),
    ("fine_tuned_personal", "frozen"),
    ("fine_tuned", "popularity"),
)
METRICS = ("auc", "mrr", "ndcg@10", "recall@10")
MEMORY = last_items("history", "*", n=30)
CHUNK_ROWS = 100_000

Scores = dict[str, NDArray[np.float64]]


def read_log(name: str) -> LogSnapshot:
    with tempfile.TemporaryDirectory() as folder:
        config = LogConfig(path=f"{folder}/log.duckdb")
        formats = Formats(load_importers(Path(folder), Config()))
        rejects = Path(folder) / "rejects.jsonl"
        import_events(config, [DATA / name], rejects=rejects, formats=formats)
        return read_snapshot(config)


def film_key(title: str, year: object) -> tuple[str, int]:
    return "".join(c for c in title.casefold() if c.isalnum()), int(float(str(year)))


def with_ranklens_texts(films: LogSnapshot, ranklens: LogSnapshot) -> tuple[LogSnapshot, int]:
    """Give films of MovieTweetings the texts that RankLens has of the same film."""
    texts: dict[tuple[str, int], dict[str, Any]] = {}
    for attributes in map(decode_attributes, ranklens.items["attributes"]):
        if "title" in attributes and "release_date" in attributes:
            year = datetime.fromtimestamp(attributes["release_date"], UTC).year
            texts[film_key(attributes["title"], year)] = {
                name: attributes[name]
                for name in ("tags", "actors", "director", "description")
                if name in attributes
            }
    joined, n_joined = [], 0
    for attributes in map(decode_attributes, films.items["attributes"]):
        found = texts.get(film_key(attributes["title"], attributes.get("year", 0)), {})
        n_joined += bool(found)
        joined.append(msgspec.json.encode({**found, **attributes}).decode())
    items = films.items.with_columns(attributes=pl.Series(joined))
    return replace(films, items=items), n_joined


def texts_alone(snapshot: LogSnapshot) -> LogSnapshot:
    """Take numbers away from items, because the fitted model would read them beside the text."""
    texts = []
    for attributes in map(decode_attributes, snapshot.items["attributes"]):
        kept = {
            name: value
            for name, value in attributes.items()
            if isinstance(value, str | list) and all(isinstance(v, str) for v in value)
        }
        texts.append(msgspec.json.encode(kept).decode())
    return replace(snapshot, items=snapshot.items.with_columns(attributes=pl.Series(texts)))


class TfIdf:
    """The mean TF-IDF vector of what a user acted on, against the vector of a candidate."""

    def __init__(self, reader: OfflineReader, fields: tuple[str, ...]) -> None:
        rows = range(len(reader.items))
        texts = [item_text(reader.items.attributes(row), fields) for row in rows]
        # One more, without words, for what nothing is known of.
        self._vectors = TfidfVectorizer(
            sublinear_tf=True, stop_words="english", min_df=2
        ).fit_transform([*texts, ""])

    def scores(self, slates: Slates, reader: OfflineReader) -> NDArray[np.float64]:
        """Score all candidates: (n_candidates,); 0 where a user has no past."""
        past = reader.histories(MEMORY, slates).versions
        candidates = reader.item_versions(slates)
        found = np.zeros(len(candidates))
        for request in range(len(slates)):
            rows = slice(int(slates.offsets[request]), int(slates.offsets[request + 1]))
            liked = past[request][past[request] >= 0]
            if len(liked):
                profile = np.asarray(self._vectors[liked].mean(axis=0)).ravel()
                found[rows] = self._vectors[candidates[rows]] @ profile
        return found


def fit(
    config: Config, plan: FeaturePlan, dataset: Dataset, split: TimeSplit
) -> tuple[FittedFeatureModel, FittedFeatureModel]:
    """Give the model before any fitting, and the one fitted on train and validation requests."""
    (model,) = plan.models.values()
    frozen = model.unfitted(dataset.reader.items)
    seen = dataset.labelled.part(0, split.validation_end)
    with tempfile.TemporaryDirectory() as folder:
        stacking = Stacking(
            *(plan, dataset.reader, seen, split, config.labels, Path(folder), config.seed),
            lambda *_: None,
        )
        return frozen, stacking.build(1).models[model.name]


def score(
    test: LabelledSlates,
    dataset: Dataset,
    plan: FeaturePlan,
    signals: tuple[FittedFeatureModel, FittedFeatureModel, TfIdf],
    *,
    rng: np.random.Generator,
) -> Scores:
    frozen, tuned, tf_idf = signals
    slates, reader = test.slates, dataset.reader
    (name,) = plan.models
    plain = plan.scores(slates, reader, {name: frozen})
    fitted = plan.scores(slates, reader, {name: tuned})
    personal = known(fitted["text_interest"])
    return {
        "random": rng.random(len(slates.items)),
        "popularity": reader.read(count("actions", "*", by="item"), slates),
        "own_past": own_past(test, dataset),
        "tf_idf": tf_idf.scores(slates, reader),
        "frozen": known(plain["text_liked_mean"]),
        "frozen_best": known(plain["text_liked_best"]),
        "fine_tuned_personal": personal,
        "fine_tuned": personal + known(fitted["text_appeal"]),
    }


def own_past(test: LabelledSlates, dataset: Dataset) -> NDArray[np.float64]:
    """Count how often the user acted on the candidate: (n_candidates,)."""
    actions = dataset.reader.read(count("own_actions", "*", by="user*item"), test.slates)
    return np.nan_to_num(actions.astype(np.float64), nan=0.0)


def known(column: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where text says nothing it says that nothing is near: zero."""
    return np.nan_to_num(column.astype(np.float64), nan=0.0)


def split_times(dataset: Dataset, split: TimeSplit) -> SplitTimes:
    as_of = dataset.labelled.slates.as_of
    end = int(as_of[split.validation_end])
    n_ties = split.validation_end - int(np.searchsorted(as_of, end))
    return SplitTimes(int(as_of[split.train_end]), end, n_ties)


class Measured:
    """Metrics of all rankings on some of the candidates, part by part."""

    def __init__(self) -> None:
        self._found: dict[str, list[RankingMetrics]] = {}
        self._users: list[NDArray[np.int32]] = []

    def add(self, test: LabelledSlates, scores: Scores, rows: NDArray[np.bool_]) -> None:
        """Measure all rankings on the candidates of `rows`."""
        groups = np.repeat(np.arange(len(test.slates)), test.slates.sizes)[rows]
        sizes = np.bincount(groups, minlength=len(test.slates))
        for ranking, values in scores.items():
            found = measure(values[rows], test.grades[rows], sizes)
            self._found.setdefault(ranking, []).append(found)
        self._users.append(test.slates.users[self._found["random"][-1].impressions])

    def result(self, rng: np.random.Generator) -> dict[str, Any]:
        """Give means, and differences with intervals."""
        values = {
            ranking: {m: np.concatenate([p.by_name()[m] for p in parts]) for m in METRICS}
            for ranking, parts in self._found.items()
        }
        means = {
            ranking: {metric: float(v.mean()) for metric, v in metrics.items()}
            for ranking, metrics in values.items()
        }
        return {
            "n_measured": len(values["random"]["auc"]),
            "rankings": means,
            "differences": differences(values, np.concatenate(self._users), rng),
        }


def run(name: str, n_requests: int, n_lists: int) -> dict[str, Any]:
    started = time.perf_counter()
    snapshot, n_joined = read_log(name), 0
    if name == "movietweetings":
        snapshot, n_joined = with_ranklens_texts(snapshot, read_log("ranklens"))
    snapshot = texts_alone(snapshot)
    config = Config(
        split=SplitConfig(max_slates=n_lists), evaluation=EvaluationConfig(requests=n_requests)
    )
    dataset = make_dataset(snapshot, config)
    split = split_by_time(dataset.labelled, config.split)
    model = TextInterestModel(config.interest)
    plan = make_plan(dataset.profile, [Offer("text_quality", models=(model,))])
    fields = choose_fields(dataset.reader.items, config.interest.text_fields)
    signals = (*fit(config, plan, dataset, split), TfIdf(dataset.reader, fields))
    requests = requests_after(split_times(dataset, split), dataset, config)
    measured, new_to_user = Measured(), Measured()
    rng = np.random.default_rng(config.seed)
    for test in requests.chunks(CHUNK_ROWS):
        scores = score(test, dataset, plan, signals, rng=rng)
        measured.add(test, scores, np.ones(len(test.grades), dtype=np.bool_))
        new_to_user.add(test, scores, scores["own_past"] == 0)
    return {
        "data_set": name,
        "candidates": "catalogue" if dataset.labelled.sampled else "shown",
        "n_learned_from": split.validation_end,
        "text_fields": fields,
        "films_with_ranklens_texts": n_joined,
        **measured.result(rng),
        "new_to_user": new_to_user.result(rng),
        "seconds": round(time.perf_counter() - started, 1),
    }


def differences(
    values: dict[str, dict[str, NDArray[np.float64]]],
    users: NDArray[np.int32],
    rng: np.random.Generator,
) -> dict[str, dict[str, Interval]]:
    columns = [values[a][m] - values[b][m] for a, b in PAIRS for m in METRICS]
    intervals = iter(bootstrap_means(np.stack(columns, axis=1), rng, clusters=users))
    return {f"{a} - {b}": {m: next(intervals) for m in METRICS} for a, b in PAIRS}


def print_result(result: dict[str, Any]) -> None:
    title = f"{result['data_set']}, candidates {result['candidates']}"
    print_tables(title, result)
    print_tables(f"{title}, what the user had not acted on before", result["new_to_user"])


def print_tables(title: str, result: dict[str, Any]) -> None:
    rows = [
        [name, *(f"{metrics[metric]:.4f}" for metric in METRICS)]
        for name, metrics in result["rankings"].items()
    ]
    print_table(f"{title}: {result['n_measured']} lists", ("only signal", *METRICS), rows)
    rows = [
        [pair, *(f"{m:+.4f} [{low:+.4f}, {high:+.4f}]" for m, low, high in found.values())]
        for pair, found in result["differences"].items()
    ]
    print_table("Differences with 95 % intervals", ("pair", *METRICS), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data_sets", nargs="*", help=f"default: {' '.join(DATA_SETS)}")
    parser.add_argument("--requests", type=int, default=1_000, help="against a whole catalogue")
    parser.add_argument(
        "--lists", type=int, default=10_000, help="to learn from, where they are made of actions"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = arguments.data_sets or DATA_SETS
    if unknown := set(names) - set(DATA_SETS):
        sys.exit(f"no data set {', '.join(sorted(unknown))}; expected {', '.join(DATA_SETS)}")
    results = [run(name, arguments.requests, arguments.lists) for name in names]
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        print_result(result)


if __name__ == "__main__":
    main()
