"""The protocol for luck: the same training several times, each with a seed of its own.

A ranker that is grown on a number which differs anywhere is another ranker, and by how much better
or worse it ranks than its like is luck. An interval from resampled users says nothing of that: it
is about one training. Here all numbers are means over trainings, and intervals resample both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.bundle.contents import SplitTimes, read_scorer
from recsys.bundle.store import BundleStore
from recsys.errors import TrainingError
from recsys.evaluation.aside import aside, seeded
from recsys.evaluation.baselines import train_baselines
from recsys.evaluation.report import Collected, Evaluation, Subject, collect, summary
from recsys.evaluation.requests import requests_after
from recsys.events.changed import LogBefore
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

    Raises:
        TrainingError: The log has too little to learn from, or no training was asked for.
    """
    config = workspace.config
    dataset = make_dataset(source, config)
    # Servers may write meanwhile: all trainings see what the first one saw.
    still = LogBefore(source, dataset.digest.last_at + 1)
    collected: list[Collected] = []
    last: Subject | None = None
    split: SplitTimes | None = None
    with aside(workspace, "retrained") as elsewhere:
        for training in range(n_trainings):
            progress("training anew", training, n_trainings)
            one = Workspace(elsewhere.folder, seeded(elsewhere.config, training))
            last = _trained(one, still, dataset, split, baselines=baselines, progress=progress)
            split = split or last.scorer.contents.split
            # The same random ranking for all of them.
            collected.append(collect(last, np.random.default_rng(config.seed), progress))
    if last is None:
        raise TrainingError("retrained", f"{n_trainings} trainings", "at least one")
    return summary(last, collected, np.random.default_rng(config.seed))


def _trained(
    workspace: Workspace,
    source: LogSource,
    dataset: Dataset,
    split: SplitTimes | None,
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
        # The same requests for all of them: drawn negatives may move the end of a slice by a list.
        requests=requests_after(split or scorer.contents.split, dataset, config),
        baselines=train_baselines(baselines, scorer, dataset, config, progress=progress),
        attributes=config.evaluation.segments,
    )
