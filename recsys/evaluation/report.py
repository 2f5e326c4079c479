"""The evaluation of a bundle on requests that came after everything it learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.bundle.contents import Scorer, read_profile, read_scorer
from recsys.bundle.store import BundleStore
from recsys.errors import TrainingError
from recsys.evaluation.rankings import baseline_scores, bundle_scores
from recsys.events.snapshot import LogSnapshot
from recsys.ranking.metrics import Interval, RankingMetrics, bootstrap_difference, measure
from recsys.training.dataset import Dataset, make_dataset
from recsys.training.labels import LabelledSlates
from recsys.workspace import Workspace

REFERENCE = "without_text"
METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Rankings of the same requests by the same metric code.

    Args:
        version: The bundle.
        n_requests: Test requests.
        n_measured: Those with items acted on and items not; metrics are averaged over them.
        sampled: Candidates were drawn, because the log has no impressions.
        rankings: Mean of each metric by name of the ranking.
        differences: To the ranker without text, by ranking and metric, with 95 % intervals from
            resampled users.
    """

    version: str
    n_requests: int
    n_measured: int
    sampled: bool
    rankings: dict[str, dict[str, float]]
    differences: dict[str, dict[str, Interval]]


def evaluate(workspace: Workspace, snapshot: LogSnapshot, version: str | None = None) -> Evaluation:
    """Evaluate a bundle on the requests after its validation slice.

    Args:
        workspace: The workspace.
        snapshot: Its log; what came after training widens the test slice.
        version: None: the active bundle.

    Returns:
        The evaluation.

    Raises:
        TrainingError: No request came after the validation slice.
    """
    bundle = BundleStore(workspace.bundles).open(version)
    types = tuple(read_profile(bundle).event_types)
    dataset = make_dataset(snapshot, workspace.config, types)
    scorer = read_scorer(bundle, workspace, dataset.log.items)
    test = _test_slice(dataset, scorer)
    rng = np.random.default_rng(workspace.config.seed)
    scores = {
        **baseline_scores(test, dataset.reader, rng),
        **bundle_scores(test, dataset.reader, scorer),
    }
    found = {
        name: measure(values, test.grades, test.slates.sizes) for name, values in scores.items()
    }
    return Evaluation(
        version=scorer.version,
        n_requests=len(test.slates),
        n_measured=len(found[REFERENCE].impressions),
        sampled=test.sampled,
        rankings={name: metrics.means() for name, metrics in found.items()},
        differences=_differences(test, found, rng),
    )


def _test_slice(dataset: Dataset, scorer: Scorer) -> LabelledSlates:
    as_of = dataset.labelled.slates.as_of
    split = scorer.contents.split
    start = int(np.searchsorted(as_of, split.validation_end_at)) + split.n_ties
    test = dataset.labelled.part(start, len(as_of))
    if not test.informative().any():
        found = "no list with both labels after the validation slice"
        raise TrainingError("test", found, "one")
    return test


def _differences(
    test: LabelledSlates, found: dict[str, RankingMetrics], rng: np.random.Generator
) -> dict[str, dict[str, Interval]]:
    reference = found[REFERENCE].by_name()
    users = test.slates.users[found[REFERENCE].impressions]
    differences: dict[str, dict[str, Interval]] = {}
    for name, metrics in found.items():
        if name == REFERENCE:
            continue
        values = metrics.by_name()
        differences[name] = {
            metric: bootstrap_difference(values[metric], reference[metric], rng, clusters=users)
            for metric in METRICS
        }
    return differences
