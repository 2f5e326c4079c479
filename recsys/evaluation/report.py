"""The evaluation of a bundle on requests that came after everything it learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from recsys.bundle.contents import Scorer, read_profile, read_scorer
from recsys.bundle.durable import write_durably
from recsys.bundle.store import BundleStore
from recsys.evaluation.baselines import train_baselines
from recsys.evaluation.beyond import FirstPlaces
from recsys.evaluation.leaks import Suspicion, find_leaks
from recsys.evaluation.rankings import Rankings
from recsys.evaluation.requests import TestRequests, first_test_list, requests_after
from recsys.evaluation.segments import TITLES, AttributeSegments, segment_rows
from recsys.evaluation.tables import POPULARITY, Differences, Measured, Table, table_of
from recsys.events.progress import Progress, tell_nobody
from recsys.events.snapshot import LogSource
from recsys.features.models import ItemVectors, reads_text
from recsys.ranking.ranker import Ranker
from recsys.training.dataset import Dataset, make_dataset
from recsys.workspace import Workspace

Candidates: TypeAlias = Literal["shown", "catalogue"]

#: Candidates whose features are held at a time.
_CHUNK_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Rankings of the same requests by the same metric code.

    Args:
        version: The bundle.
        protocol: `standard`; `cold-items`: a tenth of the items was hidden from all learning;
            `retrained`: means over several trainings with seeds of their own.
        candidates: What was shown, or the whole catalogue where the log has no impressions.
        n_requests: Test requests.
        n_measured: Those with items acted on and items not; metrics are averaged over them.
        n_unreachable: What was done with items that no event had named before; nothing ranks them.
        n_with_text: Versions of items that the text model can read; 0: "with text" means without.
        rankings: Mean of each metric by name of the ranking.
        differences: To the ranker without text, by ranking and metric, with 95 % intervals from
            resampled users.
        differences_to: The same to other rankings: popularity, and every baseline.
        segments: Tables of their own for what is new.
        beyond_accuracy: Coverage, novelty and diversity of the first ten places by ranking, where
            the whole catalogue is ranked.
        leaks: Features that are too good to be true.
        trainings: Of the protocol `retrained`: mean of each metric by ranking, for each training.
    """

    version: str
    protocol: str
    candidates: Candidates
    n_requests: int
    n_measured: int
    n_unreachable: int
    n_with_text: int
    rankings: dict[str, dict[str, float]]
    differences: Differences
    differences_to: dict[str, Differences]
    segments: dict[str, Table]
    beyond_accuracy: dict[str, dict[str, float]]
    leaks: list[Suspicion]
    trainings: list[dict[str, dict[str, float]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated, and on what.

    Args:
        protocol: Name of the protocol.
        scorer: The bundle.
        dataset: The log as features see it.
        requests: Test requests.
        baselines: Rankers over some of the bundle's columns.
        attributes: Of requests, by whose values there are tables of their own.
    """

    protocol: str
    scorer: Scorer
    dataset: Dataset
    requests: TestRequests
    baselines: Mapping[str, Ranker]
    attributes: Sequence[str] = ()


def save_evaluation(workspace: Workspace, evaluation: Evaluation) -> Path:
    """Keep an evaluation in the workspace; a later one of the same bundle takes its place.

    Returns:
        The file: JSON with the fields of `Evaluation`.
    """
    folder = workspace.reports / "evaluations"
    folder.mkdir(parents=True, exist_ok=True)
    what = "" if evaluation.protocol == "standard" else f"-{evaluation.protocol}"
    path = folder / f"{evaluation.version}{what}.json"
    write_durably(path, msgspec.json.format(msgspec.json.encode(evaluation), indent=2))
    return path


def evaluate(
    workspace: Workspace,
    source: LogSource,
    version: str | None = None,
    baselines: Sequence[str] = (),
    *,
    progress: Progress = tell_nobody,
) -> Evaluation:
    """Evaluate a bundle on the requests after its validation slice.

    Args:
        workspace: The workspace.
        source: Its log; what came after training widens the test slice.
        version: None: the active bundle.
        baselines: Names of baselines to train beside.
        progress: Called with (label, done, total) as work goes on.

    Returns:
        The evaluation.
    """
    config = workspace.config
    bundle = BundleStore(workspace.bundles).open(version)
    dataset = make_dataset(source, config, tuple(read_profile(bundle).event_types))
    scorer = read_scorer(bundle, workspace, dataset.log.items)
    subject = Subject(
        protocol="standard",
        scorer=scorer,
        dataset=dataset,
        requests=requests_after(scorer.contents.split, dataset, config),
        baselines=train_baselines(baselines, scorer, dataset, config, progress=progress),
        attributes=config.evaluation.segments,
    )
    return measure_all(subject, np.random.default_rng(config.seed), progress)


@dataclass(frozen=True, slots=True)
class Collected:
    """What was measured with one bundle.

    Args:
        whole: All requests.
        segments: By name.
        by_attribute: Of which requests there are tables of their own.
        beyond_accuracy: As in `Evaluation`.
    """

    whole: Measured
    segments: dict[str, Measured]
    by_attribute: AttributeSegments
    beyond_accuracy: dict[str, dict[str, float]]


def measure_all(subject: Subject, rng: np.random.Generator, progress: Progress) -> Evaluation:
    """Score and measure all requests, part by part.

    Returns:
        The evaluation.
    """
    return summary(subject, [collect(subject, rng, progress)], rng)


def collect(subject: Subject, rng: np.random.Generator, progress: Progress) -> Collected:
    """Score and measure all requests with one bundle.

    Returns:
        Metrics of each request.
    """
    has_rules = bool(subject.scorer.capabilities.rules)
    others = (POPULARITY, *subject.baselines, *(["full"] if has_rules else []))
    whole = Measured(others)
    segments = {name: Measured(others) for name in TITLES}
    by_attribute = AttributeSegments(subject.attributes, subject.dataset.reader)
    sampled = subject.dataset.labelled.sampled
    places = FirstPlaces(subject.dataset.reader, subject.scorer.contents.models)
    n_done = 0
    rankings: Rankings | None = None
    for test in subject.requests.chunks(_CHUNK_ROWS):
        rankings = rankings or _rankings(subject, int(test.slates.as_of[0]))
        scores = rankings.scores(test, rng)
        whole.add(test, scores)
        if sampled or has_rules:
            places.add(test.slates, scores)
        for name, rows in segment_rows(test, subject.dataset.reader).items():
            segments[name].add(test, scores, rows)
        by_attribute.add(test)
        n_done += len(test.slates)
        progress("ranking test requests", n_done, len(subject.requests))
    return Collected(whole, segments, by_attribute, places.results())


def summary(
    subject: Subject, trainings: Sequence[Collected], rng: np.random.Generator
) -> Evaluation:
    """Put together what one bundle, or several trainings of one kind, gave on the same requests.

    Args:
        subject: The last of them.
        trainings: What was measured with each.
        rng: Draws the resamples of the intervals.

    Returns:
        The evaluation; its numbers are means over trainings.
    """
    first = trainings[0]
    wholes = [one.whole for one in trainings]
    table = table_of(wholes, rng)
    segments = {
        name: table_of([one.segments[name] for one in trainings], rng) for name in first.segments
    }
    return Evaluation(
        version=subject.scorer.version,
        protocol=subject.protocol,
        candidates="catalogue" if subject.dataset.labelled.sampled else "shown",
        n_requests=len(subject.requests),
        n_measured=table.n_measured,
        n_unreachable=subject.requests.n_unreachable,
        n_with_text=n_with_text(subject.scorer),
        rankings=table.rankings,
        differences=table.differences,
        differences_to=table.differences_to,
        segments=segments
        | {
            name: table_of(wholes, rng, has_it[first.whole.lists])
            for name, has_it in first.by_attribute.frequent().items()
        },
        beyond_accuracy=_means([one.beyond_accuracy for one in trainings]),
        leaks=find_leaks(
            subject.dataset,
            subject.scorer.plan,
            first_test_list(subject.scorer.contents.split, subject.dataset),
        ),
        trainings=[one.whole.means() for one in trainings] if len(trainings) > 1 else [],
    )


def _means(found: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            measure: float(np.mean([one[name][measure] for one in found])) for measure in measures
        }
        for name, measures in found[0].items()
    }


def n_with_text(scorer: Scorer) -> int:
    """Count the version rows of which a text model knows a vector.

    Returns:
        Those of the model that reads most; 0 without such a model.
    """
    names = [n for n, model in scorer.plan.models.items() if reads_text(model)]
    fitted = [scorer.contents.models[name] for name in names]
    found = [m.item_vectors().any(axis=1).sum() for m in fitted if isinstance(m, ItemVectors)]
    return int(max(found, default=0))


def _rankings(subject: Subject, frozen_at: int) -> Rankings:
    return Rankings(
        reader=subject.dataset.reader,
        scorer=subject.scorer,
        baselines=subject.baselines,
        frozen_at=frozen_at,
        shown=not subject.dataset.labelled.sampled,
    )
