"""The protocol for luck: the same training several times, each with a seed of its own.

A ranker that is grown on a number which differs anywhere is another ranker, and by how much better
or worse it ranks than its like is luck. An interval from resampled users says nothing of that: it
is about one training. Here all numbers are means over trainings, and intervals resample both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.bundle.contents import read_scorer
from recsys.bundle.store import BundleStore
from recsys.evaluation.aside import aside, seeded
from recsys.evaluation.baselines import train_baselines
from recsys.evaluation.report import Evaluation, Subject, collect, summary
from recsys.evaluation.requests import requests_after
from recsys.events.progress import Progress, tell_nobody
from recsys.events.snapshot import LogSource
from recsys.training.dataset import Dataset, make_dataset
from recsys.training.train import train
from recsys.workspace import Workspace


def evaluate_retrained(
    workspace: Workspace,
    source: LogSource,
    n_trainings: int,
    baselines: Sequence[str] = (),
    *,
    progress: Progress = tell_nobody,
) -> Evaluation:
    """Train several times, and measure what each gives on the same requests.

    Args:
        workspace: Configuration and plugins; its bundles stay as they are.
        source: The log; gone through once for each training, and once before.
        n_trainings: How many, at least two.
        baselines: Names of baselines to train beside, each time.
        progress: Called with (label, done, total) as work goes on.

    Returns:
        The evaluation of bundles that are gone afterwards.
    """
    config, found = workspace.config, []
    dataset = make_dataset(source, config)
    with aside(workspace, "retrained") as elsewhere:
        for training in range(n_trainings):
            progress("training anew", training, n_trainings)
            one = Workspace(elsewhere.folder, seeded(elsewhere.config, training))
            subject = _trained(one, source, dataset, baselines=baselines, progress=progress)
            # The same random ranking for all of them.
            rng = np.random.default_rng(config.seed)
            found.append((subject, collect(subject, rng, progress)))
        last, _ = found[-1]
        return summary(last, [one for _, one in found], np.random.default_rng(config.seed))


def _trained(
    workspace: Workspace,
    source: LogSource,
    dataset: Dataset,
    *,
    baselines: Sequence[str],
    progress: Progress,
) -> Subject:
    bundle = BundleStore(workspace.bundles).open(train(workspace, source, progress).version)
    scorer = read_scorer(bundle, workspace, dataset.log.items)
    config = workspace.config
    return Subject(
        protocol="retrained",
        scorer=scorer,
        dataset=dataset,
        requests=requests_after(scorer.contents.split, dataset, config),
        baselines=train_baselines(baselines, scorer, dataset, config, progress=progress),
        attributes=config.evaluation.segments,
    )
