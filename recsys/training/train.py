"""The one place where a bundle is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Contents, SplitTimes, Spreads, write_contents
from recsys.bundle.manifest import LogFacts, ManifestDraft, PluginVersion
from recsys.bundle.store import BundleStore, OpenBundle
from recsys.config import Config, LabelsConfig
from recsys.events.progress import Progress
from recsys.events.snapshot import LogSource
from recsys.features.plan import FeaturePlan
from recsys.features.store import ColumnStore
from recsys.interest.sharing import leave, why_unrepeatable
from recsys.plugins.registry import load_capabilities
from recsys.ranking.distribution import distribution_of
from recsys.ranking.metrics import measure
from recsys.ranking.ranker import Ranker
from recsys.ranking.rows import RankingRows
from recsys.ranking.training import train_ranker
from recsys.training.dataset import Dataset, make_dataset
from recsys.training.labels import LabelledSlates, grade_of
from recsys.training.processes import clear, copying, take_over
from recsys.training.rehearsal import rehearse
from recsys.training.reuse import Requests, Reused, read_reused, reuse_models, write_scores
from recsys.training.runs import open_run
from recsys.training.split import TimeSplit, split_by_time
from recsys.training.stacking import Stack, Stacking
from recsys.workspace import Workspace


@dataclass(frozen=True, slots=True)
class GradedType:
    """What an interaction type was taken for.

    Args:
        name: The type.
        n_events: How many interactions of it the log has.
        grade: Graded relevance of a candidate with which it was done; 0: no reason to rank it up.
        listed: Whether `[labels.grades]` names it.
        least_value: With a smaller value the grade is 0; None: values do not matter.
    """

    name: str
    n_events: int
    grade: float
    listed: bool
    least_value: float | None


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training run made.

    Args:
        version: The bundle, published and not yet activated.
        n_features: Columns of the ranker.
        n_requests: Labelled requests of the log, all slices.
        metrics: On the validation slice; the test slice was not looked at.
        types: Interaction types, and what they were taken for.
    """

    version: str
    n_features: int
    n_requests: int
    metrics: dict[str, float]
    types: tuple[GradedType, ...]


def train(
    workspace: Workspace,
    source: LogSource,
    progress: Progress,
    *,
    reuse: OpenBundle | None = None,
) -> TrainReport:
    """Train feature models and rankers on a log and publish them as a bundle.

    A run on the same log and configuration that was cut off is gone on with. Where this is the
    first of several processes that joined, the others call `assist` meanwhile.

    Args:
        workspace: Where plugins, runs and bundles live.
        source: The log.
        progress: Called with (what, done, total).
        reuse: Take the feature models of this bundle and their scores; only rankers are trained.

    Returns:
        The report.

    Raises:
        TrainingError: The log has too little to learn from, or nothing can be reused.
    """
    config = workspace.config
    progress("reading the log", 0, 1)
    reused = read_reused(workspace, reuse) if reuse is not None else None
    types = reused.event_types if reused else ()
    with copying(workspace.runs) as copies:
        dataset = make_dataset(source, config, types, [] if reused else [copies])
        with open_run(workspace.runs, config, dataset.digest.key) as folder:
            if reused is None:
                copies.hand_over(folder, config)
            return _train(workspace, dataset, folder, progress=progress, reused=reused)


def assist(workspace: Workspace) -> None:
    """Fit feature models together with the first process, and write nothing.

    Args:
        workspace: The one that the first process trains on.

    Raises:
        TrainingError: The processes differ in what they see.
    """
    config = workspace.config
    source, folder = take_over(config)
    dataset = make_dataset(source, config)
    plan = load_capabilities(workspace.folder, config, dataset.profile).plan
    split = split_by_time(dataset.labelled, config.split)
    _stack(config, plan, dataset, split, folder=folder, progress=lambda *_: None)
    leave()


def _train(
    workspace: Workspace,
    dataset: Dataset,
    folder: Path,
    *,
    progress: Progress,
    reused: Reused | None,
) -> TrainReport:
    config = workspace.config
    profile = reused.in_its_order(dataset.profile) if reused else dataset.profile
    capabilities = load_capabilities(workspace.folder, config, profile)
    split = split_by_time(dataset.labelled, config.split)
    seen = Requests(dataset.labelled.slates.part(0, split.validation_end), dataset.log)
    if reused:
        stack = reuse_models(reused, capabilities.plan, dataset.reader, seen)
    else:
        stack = _stack(config, capabilities.plan, dataset, split, folder=folder, progress=progress)
        leave()
        clear(folder)
    progress("computing features", 0, 1)
    rows = ranker_rows(
        capabilities.plan, dataset, split, stack, workspace=workspace, progress=progress
    )
    rankers, metrics = _fit_rankers(
        capabilities.plan, rows, split, config=config, progress=progress
    )
    spreads = _spreads(rows, split)
    contents = Contents(
        profile=profile,
        split=_split_times(dataset.labelled.slates.as_of, split),
        ranker=rankers[0],
        fallback=rankers[1],
        models=stack.models,
    )
    device = config.interest.device
    draft = ManifestDraft(
        log=_log_facts(dataset),
        config=config.model_dump(mode="json"),
        plugins=tuple(PluginVersion(n, v) for n, v in capabilities.plugins.items()),
        feature_names=capabilities.plan.names,
        metrics=metrics,
        not_reproducible=(
            reused.bundle.manifest.not_reproducible if reused else why_unrepeatable(device)
        ),
    )

    def write(folder: Path) -> ManifestDraft:
        write_contents(folder, contents, spreads)
        return draft

    version = BundleStore(workspace.bundles).publish(write)
    write_scores(workspace, version, seen, stack)
    names = capabilities.plan.names
    types = _graded(config.labels, dataset.profile.event_types)
    return TrainReport(version, len(names), len(dataset.labelled.slates), metrics, types)


def _graded(labels: LabelsConfig, n_events: dict[str, int]) -> tuple[GradedType, ...]:
    return tuple(
        GradedType(
            name, n, grade_of(labels, name), name in labels.grades, labels.least_value.get(name)
        )
        for name, n in n_events.items()
    )


def _stack(
    config: Config,
    plan: FeaturePlan,
    dataset: Dataset,
    split: TimeSplit,
    *,
    folder: Path,
    progress: Progress,
) -> Stack:
    """Fit the feature models; only requests before the test slice are touched.

    Returns:
        Fitted models and out-of-time scores.
    """
    seen = dataset.labelled.part(0, split.validation_end)
    stacking = Stacking(
        plan, dataset.reader, seen, split, config.labels, folder, config.seed, progress
    )
    return stacking.build(config.interest.windows)


def _fit_rankers(
    plan: FeaturePlan, rows: RankingRows, split: TimeSplit, *, config: Config, progress: Progress
) -> tuple[tuple[Ranker, Ranker], dict[str, float]]:
    """Fit the ranker over all columns, and the one without those of feature models.

    Returns:
        Rankers, and their metrics on the validation slice.
    """
    found: dict[tuple[str, ...], tuple[Ranker, float]] = {}
    wanted = {"full": plan.names, "without_text": plan.without_text().names}
    for name, names in wanted.items():
        if names not in found:  # without a text model both are the same
            titled = _titled(progress, name)
            found[names] = fit_ranker(rows.only(names), split, config, titled)
    metrics = {f"validation_{name}_ndcg@10": found[names][1] for name, names in wanted.items()}
    return (found[wanted["full"]][0], found[wanted["without_text"]][0]), metrics


def _spreads(rows: RankingRows, split: TimeSplit) -> Spreads:
    """Describe the columns of the newest requests that were learned from.

    Returns:
        By column.
    """
    newest = rows.split(split.train_end)[1]
    matrix = newest.matrix if len(newest.matrix) else rows.matrix
    return {name: distribution_of(matrix[:, i]) for i, name in enumerate(rows.feature_names)}


def ranker_rows(
    plan: FeaturePlan,
    dataset: Dataset,
    split: TimeSplit,
    stack: Stack,
    *,
    workspace: Workspace,
    progress: Progress,
) -> RankingRows:
    """Compute all columns of the requests before the test slice, and rehearse new items in them.

    Args:
        plan: The columns.
        dataset: The log.
        split: Where slices end.
        stack: Out-of-time scores of feature models.
        workspace: Where columns are kept.
        progress: Called with (what, candidates done, candidates in all).

    Returns:
        Rows of the train and validation slices; those of the latter are as they were.
    """
    seen = dataset.labelled.part(0, split.validation_end)
    store = ColumnStore(workspace.columns, dataset.digest.key, dataset.log, seen.slates)
    matrix = store.matrix(plan, dataset.reader, stack.scores, progress)
    n_lists, scores, config = split.train_end, stack.scores, workspace.config
    rehearse(matrix, plan, dataset, n_lists=n_lists, scores=scores, config=config)
    return ranking_rows(seen, matrix, plan.names)


def fit_ranker(
    rows: RankingRows, split: TimeSplit, config: Config, progress: Progress
) -> tuple[Ranker, float]:
    """Find the number of trees on the validation slice, then learn from both slices with as many.

    Args:
        rows: Requests of both slices.
        split: Where the train slice ends.
        config: Settings of the ranker, and the seed.
        progress: Called as trees grow.

    Returns:
        The ranker, and nDCG@10 on the validation slice before it was learned from.
    """
    older, newer = rows.split(split.train_end)
    chosen = config.ranker.for_rows(len(rows))
    stopped = train_ranker(older, newer, chosen, config.seed, progress=progress)
    scores = newer.corrected(stopped.score(newer.matrix))
    found = measure(scores, newer.grades, newer.group_sizes).means()
    as_many = chosen.model_copy(update={"trees": stopped.n_trees // chosen.bags})
    nothing = rows.split(0)[0]
    again = _called(progress, "ranker on both slices")
    fitted = train_ranker(rows, nothing, as_many, config.seed, progress=again)
    return fitted, found["ndcg@10"]


def ranking_rows(
    labelled: LabelledSlates, matrix: NDArray[np.float32], names: tuple[str, ...]
) -> RankingRows:
    """Put requests and their features together for the ranker.

    Returns:
        The rows.
    """
    return RankingRows(matrix, labelled.grades, labelled.slates.sizes, names, labelled.log_q)


def _titled(progress: Progress, name: str) -> Progress:
    return lambda what, done, total: progress(f"training the {what} ({name})", done, total)


def _called(progress: Progress, what: str) -> Progress:
    return lambda _, done, total: progress(what, done, total)


def _split_times(as_of: NDArray[np.int64], split: TimeSplit) -> SplitTimes:
    validation_end_at = int(as_of[split.validation_end])
    return SplitTimes(
        train_end_at=int(as_of[split.train_end]),
        validation_end_at=validation_end_at,
        n_ties=split.validation_end - int(np.searchsorted(as_of, validation_end_at)),
    )


def _log_facts(dataset: Dataset) -> LogFacts:
    n_events = dataset.digest.n_events
    return LogFacts(
        n_items=dataset.profile.n_items,
        n_users=dataset.profile.n_users,
        n_impressions=n_events["impressions"],
        n_interactions=n_events["interactions"],
        first_at=dataset.digest.first_at,
        last_at=dataset.digest.last_at,
    )
