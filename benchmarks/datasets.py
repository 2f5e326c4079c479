"""The field's data sets in one command: import, train, evaluate, beside published figures.

    python benchmarks/datasets.py mind MINDsmall_train MINDsmall_dev
    python benchmarks/datasets.py movietweetings data/movietweetings

The folders are those that the owners of the data give out (docs/benchmarks.md says where). The
requests from `--test-from` on are the test slice; of those before, the newest tenth validates. A
workspace with the log and the bundle is left in `--workspace`; a second run imports nothing anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

# As the command line does: threads that wait must sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from recsys.bundle.store import BundleStore
from recsys.cli.output import print_table
from recsys.cli.workspace import make_workspace
from recsys.config import CONFIG_NAME
from recsys.evaluation.report import evaluate
from recsys.events.formats import Formats
from recsys.events.importing import import_events
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.plugins.registry import load_importers
from recsys.training.train import train
from recsys.workspace import Workspace, open_workspace

METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10")
VALIDATION = 0.1


@dataclass(frozen=True)
class Published:
    """A figure of somebody else; None: not given."""

    what: str
    auc: float | None
    mrr: float | None
    ndcg_5: float | None
    ndcg_10: float | None
    source: str


@dataclass(frozen=True)
class DataSet:
    """How a data set is split by those who publish on it, and what they found."""

    test_from: str
    published: tuple[Published, ...] = ()


NEWSREX = "NewsReX model cards"
YUSANSHI = "yusanshi/news-recommendation"
YADAYUKI = "YadaYuki/news-recommendation-llm; its MRR and nDCG do not line up with others"
DATA_SETS = {
    "mind": DataSet(
        "2019-11-15T00:00:00",
        (
            Published("random", 0.500, 0.201, 0.203, 0.267, YADAYUKI),
            Published("NRMS", 0.6419, 0.2989, 0.3252, 0.3889, YUSANSHI),
            Published("NRMS (GloVe)", 0.6614, 0.3135, 0.3469, 0.4096, NEWSREX),
            Published("TANR", 0.6609, 0.3115, 0.3422, 0.4080, YUSANSHI),
            Published("NAML", 0.6677, 0.3163, 0.3480, 0.4111, YUSANSHI),
            Published("PP-Rec", 0.6681, 0.3302, 0.3692, 0.4272, NEWSREX),
            Published("NRMS + DistilBERT", 0.674, 0.297, 0.322, 0.387, YADAYUKI),
            Published("NRMS + BERT-base", 0.689, 0.306, 0.336, 0.400, YADAYUKI),
        ),
    ),
    "ebnerd": DataSet(
        "2023-05-25T07:00:00",
        (
            Published("DIN", 0.873, None, None, None, "RecSys Challenge 2024, hidden test set"),
            Published("CatBoost", 0.879, None, None, None, "the same; features that partly leak"),
        ),
    ),
    "movielens": DataSet(""),
    "movietweetings": DataSet(""),
    "online_retail": DataSet(""),
}


def fill(folder: Path, name: str, sources: list[Path]) -> Workspace:
    if not (folder / CONFIG_NAME).exists():
        make_workspace(folder, clock="log")
    workspace = open_workspace(folder)
    formats = Formats(load_importers(folder, workspace.config), name)
    rejects = workspace.reports / "rejects.jsonl"
    report = import_events(workspace.log_config, sources, rejects=rejects, formats=formats)
    for kind, found in report.kinds.items():
        note(f"{kind}: {found.read:,} read, {found.new:,} new")
    for reason, n_records in (report.left_out + report.rejected).most_common():
        note(f"not taken: {n_records:,}: {reason}")
    return workspace


def with_split(workspace: Workspace, snapshot: LogSnapshot, test_from: str) -> Workspace:
    """Set the shares of the split so that the test slice begins where others begin it."""
    if not test_from or snapshot.impressions.is_empty():
        return workspace
    instant = datetime.fromisoformat(test_from).replace(tzinfo=UTC).timestamp() * 1_000_000
    earlier = float((snapshot.impressions["occurred_at"] < instant).mean())
    if not 0 < earlier < 1:
        sys.exit(f"{earlier:.0%} of the impressions come before {test_from}; name --test-from")
    shares = {"train": earlier * (1 - VALIDATION), "validation": earlier * VALIDATION}
    split = workspace.config.split.model_copy(update=shares)
    return Workspace(workspace.folder, workspace.config.model_copy(update={"split": split}))


def note(text: str) -> None:
    sys.stderr.write(text + "\n")


def progress(label: str, done: int, total: int) -> None:
    if done in {0, total}:
        note(f"{label}: {done:,} of {total:,}")


def run(
    name: str, sources: list[Path], folder: Path, *, test_from: str, baselines: list[str]
) -> dict[str, object]:
    workspace = fill(folder, name, sources)
    snapshot = read_snapshot(workspace.log_config)
    workspace = with_split(workspace, snapshot, test_from)
    report = train(workspace, snapshot, progress)
    BundleStore(workspace.bundles).activate(report.version)
    found = evaluate(workspace, snapshot, baselines=baselines, progress=progress)
    published = [
        {"what": p.what, **dict(zip(METRICS, values(p), strict=True)), "source": p.source}
        for p in DATA_SETS[name].published
    ]
    return {
        "data_set": name,
        "candidates": found.candidates,
        "n_requests": found.n_requests,
        "n_measured": found.n_measured,
        "ours": found.rankings,
        "differences": found.differences,
        "differences_to": found.differences_to,
        "published": published,
    }


def values(published: Published) -> tuple[float | None, ...]:
    return (published.auc, published.mrr, published.ndcg_5, published.ndcg_10)


def print_result(result: dict[str, object]) -> None:
    def cells(metrics: dict[str, float | None]) -> list[str]:
        found = [metrics.get(metric) for metric in METRICS]
        return ["-" if value is None or np.isnan(value) else f"{value:.4f}" for value in found]

    rows = [[name, *cells(metrics), "measured here"] for name, metrics in result["ours"].items()]
    rows += [[p["what"], *cells(p), f"published: {p['source']}"] for p in result["published"]]
    title = f"{result['data_set']}: {result['n_measured']} lists, candidates {result['candidates']}"
    print_table(title, ("ranking", "AUC", "MRR", "nDCG@5", "nDCG@10", "from"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", choices=sorted(DATA_SETS))
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--test-from", help="first instant of the test slice, UTC")
    parser.add_argument(
        "--baseline", action="append", default=[], help="of [evaluation.baselines]; may come again"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    name = arguments.name
    if not name or not arguments.sources:
        parser.print_help()
        return
    folder = arguments.workspace or Path("build") / "datasets" / name
    test_from = arguments.test_from or DATA_SETS[name].test_from
    baselines = arguments.baseline
    result = run(name, arguments.sources, folder, test_from=test_from, baselines=baselines)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_result(result)


if __name__ == "__main__":
    main()
