"""Named baselines: the ranker again, trained on some of the columns only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from recsys.bundle.contents import Scorer
from recsys.config import Config
from recsys.errors import TrainingError
from recsys.evaluation.requests import first_test_list
from recsys.events.progress import Progress
from recsys.features.plan import FeaturePlan
from recsys.ranking.ranker import Ranker
from recsys.training.dataset import Dataset
from recsys.training.rehearsal import rehearse
from recsys.training.split import TimeSplit
from recsys.training.train import fit_ranker, ranking_rows


def matching_features(plan: FeaturePlan, patterns: Sequence[str]) -> tuple[str, ...]:
    """Choose features by name.

    Args:
        plan: All features; those that need a feature model are left out.
        patterns: Of feature names, or of plugin/feature, with `*` and `?`.

    Returns:
        Features that match any pattern, in the order of the plan.
    """
    return tuple(
        name
        for name in plan.without_models().names
        if any(
            fnmatchcase(name, p) or fnmatchcase(f"{plan.owners[name]}/{name}", p) for p in patterns
        )
    )


def train_baselines(
    names: Sequence[str],
    scorer: Scorer,
    dataset: Dataset,
    config: Config,
    *,
    progress: Progress,
) -> Mapping[str, Ranker]:
    """Train baselines as the bundle's ranker was: same requests, same settings, same seed.

    Args:
        names: Of baselines of the configuration.
        scorer: The bundle.
        dataset: The log.
        config: Baselines, and the ranker's settings.
        progress: Called as work goes on.

    Returns:
        Rankers by name.

    Raises:
        TrainingError: A baseline is not configured, or none of its features is there.
    """
    rankers: dict[str, Ranker] = {}
    plan, times = scorer.plan, scorer.contents.split
    as_of = dataset.labelled.slates.as_of
    test = first_test_list(times, dataset)
    split = TimeSplit(int(np.searchsorted(as_of, times.train_end_at)), test, len(as_of))
    seen = dataset.labelled.part(0, test)
    for name in names:
        known = config.evaluation.baselines
        if name not in known:
            expected = f"one of: {', '.join(sorted(known))}"
            raise TrainingError(name, "no baseline of [evaluation.baselines]", expected)
        columns = matching_features(plan, known[name])
        if not columns:
            raise TrainingError(name, "no feature that the baseline names", "at least one")
        smaller = plan.only(columns)
        matrix = smaller.matrix(seen.slates, dataset.reader, {})
        rehearse(matrix, smaller, dataset, n_lists=split.train_end, scores={}, config=config)

        def report(_: str, done: int, total: int, name: str = name) -> None:
            progress(f"training the baseline {name}", done, total)

        rankers[name], _ = fit_ranker(ranking_rows(seen, matrix, columns), split, config, report)
    return rankers
