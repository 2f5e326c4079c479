"""Metrics of several rankings on the same requests, put together part by part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.slates import Slates
from recsys.ranking.metrics import Interval, RankingMetrics, bootstrap_trainings, measure
from recsys.training.labels import LabelledSlates

#: What differences are taken to: the ranker that knows no text, and popularity.
REFERENCE: Final = "without_text"
POPULARITY: Final = "click_rate"

Differences = dict[str, dict[str, Interval]]


@dataclass(frozen=True, slots=True)
class Table:
    """Rankings of the same requests by the same metric code.

    Args:
        n_measured: Requests with candidates acted on and others; metrics are averaged over them.
        rankings: Mean of each metric by name of the ranking; empty when nothing was measured.
        differences: To the ranker without text, by ranking and metric, with 95 % intervals from
            resampled users, and trainings where there were several.
        differences_to: The same to other rankings: popularity, and every baseline.
    """

    n_measured: int = 0
    rankings: dict[str, dict[str, float]] = field(default_factory=dict)
    differences: Differences = field(default_factory=dict)
    differences_to: dict[str, Differences] = field(default_factory=dict)


class Measured:
    """Collects the metrics of one segment.

    Args:
        others: Rankings that all others are compared with as well.
        reference: The ranking that all others are compared with first.
    """

    def __init__(
        self, others: Iterable[str] = (POPULARITY,), *, reference: str = REFERENCE
    ) -> None:
        self._reference = reference
        self._others = tuple(others)
        self._found: dict[str, list[RankingMetrics]] = defaultdict(list)
        self._users: list[NDArray[np.int64]] = []
        self._lists: list[NDArray[np.int64]] = []
        self._n_lists = 0
        self._visits: dict[str, int] = {}

    def add(
        self,
        test: LabelledSlates,
        scores: Mapping[str, NDArray[np.float64]],
        rows: NDArray[np.bool_] | None = None,
    ) -> None:
        """Measure all rankings on some requests.

        Args:
            test: The requests.
            scores: float64 (n_candidates,) by name of the ranking.
            rows: bool (n_candidates,): which candidates count; None: all.
        """
        grades, sizes = test.grades, test.slates.sizes
        if rows is not None:
            if not (grades[rows] > 0).any():
                self._n_lists += len(test.slates)
                return
            groups = np.repeat(np.arange(len(sizes)), sizes)
            sizes = np.bincount(groups[rows], minlength=len(sizes))
            grades = grades[rows]
            scores = {name: values[rows] for name, values in scores.items()}
        for name, values in scores.items():
            self._found[name].append(measure(values, grades, sizes))
        impressions = self._found[self._reference][-1].impressions
        self._users.append(self._visitors(test.slates, impressions))
        self._lists.append(self._n_lists + impressions)
        self._n_lists += len(test.slates)

    @property
    def lists(self) -> NDArray[np.int64]:
        """Which of the requests that were added have a measure, counted from 0, ascending."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._lists])

    def table(self, rng: np.random.Generator, chosen: NDArray[np.bool_] | None = None) -> Table:
        """Put everything together.

        Args:
            rng: Draws the resamples of the intervals.
            chosen: bool, one for each of `lists`: which of them; None: all.

        Returns:
            The table.
        """
        return table_of([self], rng, chosen)

    def means(self) -> dict[str, dict[str, float]]:
        """Average each metric over the requests.

        Returns:
            By ranking and metric; empty when nothing was measured.
        """
        if not len(self.lists):
            return {}
        values = self._values()
        return {
            name: {metric: float(found.mean()) for metric, found in metrics.items()}
            for name, metrics in values.items()
        }

    def _values(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        return {name: _joined(parts) for name, parts in self._found.items()}

    def _visitors(self, slates: Slates, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Say whose lists are alike: those of one user, else of one visit, else each by itself.

        Returns:
            int64 (n_chosen,): equal where lists are to be resampled together. All lists of people
            without an id as one would leave nothing to resample.
        """
        found = slates.users[chosen].astype(np.int64)
        for place in np.flatnonzero(found < 0).tolist():
            visit = slates.sessions[chosen[place]] if slates.sessions else ""
            number = len(self._visits)
            found[place] = -1 - self._visits.setdefault(visit or f"list {number}", number)
        return found


def table_of(
    trainings: Sequence[Measured],
    rng: np.random.Generator,
    chosen: NDArray[np.bool_] | None = None,
) -> Table:
    """Put together what several trainings gave on the same requests.

    Args:
        trainings: Each with the rankings of all requests, in one order.
        rng: Draws the resamples of the intervals.
        chosen: As of `Measured.table`.

    Returns:
        The table: means over requests and trainings.
    """
    first = trainings[0]
    users = np.concatenate([np.zeros(0, dtype=np.int64), *first._users])
    if chosen is not None:
        users = users[chosen]
    if not len(users):
        return Table()
    found = [one._values() for one in trainings]
    values = {
        name: {
            metric: _chosen(np.stack([one[name][metric] for one in found], axis=1), chosen)
            for metric in metrics
        }
        for name, metrics in found[0].items()
    }
    if (users == users[0]).all():
        # Of one user nothing but lists can be resampled; with the user all resamples are one.
        users = np.arange(len(users))
    return Table(
        n_measured=len(users),
        rankings={
            name: {metric: float(found.mean()) for metric, found in metrics.items()}
            for name, metrics in values.items()
        },
        differences=_differences(values, first._reference, users, rng),
        differences_to={other: _differences(values, other, users, rng) for other in first._others},
    )


def _chosen(values: NDArray[np.float64], chosen: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    return values if chosen is None else values[chosen]


def _joined(parts: list[RankingMetrics]) -> dict[str, NDArray[np.float64]]:
    named = [part.by_name() for part in parts]
    return {metric: np.concatenate([one[metric] for one in named]) for metric in named[0]}


def _differences(
    values: dict[str, dict[str, NDArray[np.float64]]],
    reference: str,
    users: NDArray[np.int64],
    rng: np.random.Generator,
) -> Differences:
    others = [name for name in values if name != reference]
    pairs = [(name, metric) for name in others for metric in values[name]]
    columns = np.stack([values[n][m] - values[reference][m] for n, m in pairs], axis=2)
    found = bootstrap_trainings(columns, rng, clusters=users)
    differences: Differences = {name: {} for name in others}
    for (name, metric), interval in zip(pairs, found, strict=True):
        differences[name][metric] = interval
    return differences
