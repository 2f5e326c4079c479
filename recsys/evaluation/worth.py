"""What a plugin is worth: the ranker with its columns and without, on the same later requests.

Both rankers learn from the train slice and are sized and measured on the validation slice. Sizing
where they are measured flatters both alike; the test slice is not looked at, so this may be asked
as often as ideas come. Feature models are those of the active bundle, with the scores that they
gave out of time, as for `recsys train --ranker-only`.

The interval says how much the difference would change with other people. Training has luck of its
own, because every tree draws from the columns; several rounds with other seeds average it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.store import BundleStore
from recsys.config import Config
from recsys.errors import TrainingError
from recsys.evaluation.tables import Measured
from recsys.events.progress import Progress
from recsys.events.snapshot import LogSource
from recsys.features.plan import FeaturePlan
from recsys.plugins.registry import load_capabilities
from recsys.ranking.metrics import Interval
from recsys.ranking.ranker import Ranker
from recsys.ranking.rows import RankingRows
from recsys.ranking.training import train_ranker
from recsys.training.dataset import make_dataset
from recsys.training.labels import LabelledSlates
from recsys.training.reuse import Requests, read_reused, reuse_models
from recsys.training.split import TimeSplit, split_by_time
from recsys.training.train import ranker_rows
from recsys.workspace import Workspace

WITH = "with"
WITHOUT = "without"
#: Between the seeds of two rounds: far from those of the boosters of one.
_SEED_STEP = 1_000_003


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """What the ranker made of a column.

    Args:
        feature: The column.
        gain: Its share of all that the splits of the ranker won, 0 to 1; mean of the rounds.
        place: Among all columns by gain, 1 is the most used.
    """

    feature: str
    gain: float
    place: int


@dataclass(frozen=True, slots=True)
class Worth:
    """What a plugin is worth on the validation slice.

    Args:
        plugin: Its name.
        n_columns: Columns of the ranker that has them all.
        n_measured: Lists with items acted on and items not.
        rounds: Pairs of rankers that were averaged.
        rankings: Mean of each metric, `with` the plugin's columns and `without`.
        difference: With - without, by metric, with 95 % intervals from resampled users.
        columns: The plugin's, most used first.
    """

    plugin: str
    n_columns: int
    n_measured: int
    rounds: int
    rankings: dict[str, dict[str, float]]
    difference: dict[str, Interval]
    columns: list[ColumnUse]


def plugin_worth(
    workspace: Workspace,
    source: LogSource,
    plugin: str,
    *,
    rounds: int = 1,
    progress: Progress,
) -> Worth:
    """Measure the ranker with and without the columns of a plugin.

    Args:
        workspace: With an active bundle, whose feature models are taken as they are.
        source: Its log.
        plugin: Its name.
        rounds: How many pairs of rankers, each with another seed.
        progress: Called with (what, done, total).

    Returns:
        What was found.

    Raises:
        TrainingError: The plugin offers no column on this log, nothing else is left, the log has
            too little to learn from, or the bundle's feature models cannot be taken over.
    """
    config = workspace.config
    progress("reading the log", 0, 1)
    reused = read_reused(workspace, BundleStore(workspace.bundles).open())
    dataset = make_dataset(source, config, reused.event_types)
    profile = reused.in_its_order(dataset.profile)
    plan = load_capabilities(workspace.folder, config, profile).plan
    own = tuple(name for name in plan.names if plan.owners[name] == plugin)
    what = f"plugin {plugin}"
    if not own:
        some = ", ".join(sorted(set(plan.owners.values())))
        raise TrainingError(what, "no column on this log", f"one that has some: {some}")
    if len(own) == len(plan.names):
        raise TrainingError(what, "all columns on this log", "some of other plugins")
    split = split_by_time(dataset.labelled, config.split)
    seen = dataset.labelled.part(0, split.validation_end)
    stack = reuse_models(reused, plan, dataset.reader, Requests(seen.slates, dataset.log))
    rows = ranker_rows(plan, dataset, split, stack, workspace=workspace, progress=progress)
    pair = _Pair(plan, own, config, rows, split, progress)
    return _measure(pair, plugin, seen.part(split.train_end, len(seen.slates)), rounds)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Trains rankers with and without some columns.

    Args:
        plan: All columns.
        own: Those in question.
        config: Settings of the ranker, and the seed.
        rows: Train and validation slice.
        split: Where the train slice ends.
        progress: Called as trees grow.
    """

    plan: FeaturePlan
    own: tuple[str, ...]
    config: Config
    rows: RankingRows
    split: TimeSplit
    progress: Progress

    def rankers(self, rounds: int) -> Iterator[dict[str, tuple[Ranker, NDArray[np.float64]]]]:
        """Train and score, pair by pair.

        Yields:
            Ranker and scores of the validation slice, with and without.
        """
        for number in range(rounds):
            yield {name: self._ranker(name, number, rounds) for name in (WITH, WITHOUT)}

    def _ranker(self, name: str, number: int, rounds: int) -> tuple[Ranker, NDArray[np.float64]]:
        rest = tuple(n for n in self.plan.names if n not in self.own)
        rows = self.rows if name == WITH else self.rows.only(rest)
        older, newer = rows.split(self.split.train_end)
        seed = self.config.seed + _SEED_STEP * number
        title = f"training the ranker {name}" + (f", {number + 1} of {rounds}" * (rounds > 1))

        def report(_: str, done: int, total: int) -> None:
            self.progress(title, done, total)

        # Settled by all rows, as in a training, which learns from both slices in the end.
        chosen = self.config.ranker.for_rows(len(rows))
        ranker = train_ranker(older, newer, chosen, seed, progress=report)
        return ranker, newer.corrected(ranker.score(newer.matrix))


def _measure(pair: _Pair, plugin: str, newer: LabelledSlates, rounds: int) -> Worth:
    # The lists of all rounds together: those of one user are resampled together, round by round.
    measured = Measured((), reference=WITHOUT)
    gains = np.zeros(len(pair.plan.names))
    for trained in pair.rankers(rounds):
        measured.add(newer, {name: scores for name, (_, scores) in trained.items()})
        shares = trained[WITH][0].gain_shares()
        gains += np.array([shares[name] for name in pair.plan.names]) / rounds
    table = measured.table(np.random.default_rng(pair.config.seed))
    places = np.empty(len(gains), dtype=np.int64)
    places[np.argsort(-gains, kind="stable")] = np.arange(1, len(gains) + 1)
    at = [pair.plan.names.index(name) for name in pair.own]
    uses = [
        ColumnUse(n, float(gains[i]), int(places[i])) for n, i in zip(pair.own, at, strict=True)
    ]
    return Worth(
        plugin=plugin,
        n_columns=len(gains),
        n_measured=table.n_measured // rounds,
        rounds=rounds,
        rankings=table.rankings,
        difference=table.differences[WITH],
        columns=sorted(uses, key=lambda use: use.place),
    )
