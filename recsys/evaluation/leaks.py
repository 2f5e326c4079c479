"""Features that are too good to be true.

A column that knows the answer beforehand is rarely meant to: an attribute that was counted later, a
join by the wrong instant, a way of making lists that shows in the data. Three marks give it away:
alone it orders nearly every list; it is missing, or zero, almost only where something was done; it
was worth far more in the lists that were learned from than in those after. They are marks, not
proofs, so they are reported and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.plan import FeaturePlan
from recsys.ranking.metrics import auc, rank_impressions
from recsys.training.dataset import Dataset
from recsys.training.labels import LabelledSlates

_LISTS: Final = 1_000
#: AUC of a column alone, in the better direction.
_ORDERS_ALL: Final = 0.95
#: AUC that a column may lose after the lists that were learned from.
_FADES: Final = 0.15
#: Rows that must be missing (or zero), and the share of them that was acted on.
_FEW_ROWS: Final = 50
_GIVES_AWAY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A feature that may know what it should not.

    Args:
        feature: Its name.
        plugin: Whose it is.
        reason: What is too good.
    """

    feature: str
    plugin: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Sample:
    matrix: NDArray[np.float32]
    grades: NDArray[np.float32]
    sizes: NDArray[np.int64]


def find_leaks(dataset: Dataset, plan: FeaturePlan, test_start: int) -> list[Suspicion]:
    """Look at every column alone; those of feature models are left out, they are meant to be good.

    Args:
        dataset: The log with its lists.
        plan: The features.
        test_start: First list that was not learned from.

    Returns:
        Suspicions in the order of the columns; at most one per column.
    """
    plain = plan.without_models()
    labelled = dataset.labelled
    older = _sample(labelled.part(0, test_start), dataset, plain)
    newer = _sample(labelled.part(test_start, len(labelled.slates)), dataset, plain)
    found = []
    for position, name in enumerate(plain.names):
        reason = _reason(_column(older, position), _column(newer, position))
        if reason:
            found.append(Suspicion(name, plan.owners[name], reason))
    return found


def _sample(lists: LabelledSlates, dataset: Dataset, plan: FeaturePlan) -> _Sample:
    """Take the newest lists with both labels.

    Returns:
        Their features and grades.
    """
    telling = lists.where(lists.informative())
    telling = telling.part(max(0, len(telling.slates) - _LISTS), len(telling.slates))
    matrix = plan.matrix(telling.slates, dataset.reader, {})
    return _Sample(matrix, telling.grades, telling.slates.sizes)


def _column(sample: _Sample, position: int) -> _Sample:
    return _Sample(sample.matrix[:, position], sample.grades, sample.sizes)


def _reason(older: _Sample, newer: _Sample) -> str:
    before, after = _worth(older), _worth(newer)
    if max(before, after) >= _ORDERS_ALL:
        return f"alone it orders lists with an AUC of {max(before, after):.3f}"
    for value in ("missing", "zero"):
        share = _acted_on(older, value)
        if share >= _GIVES_AWAY:
            return f"{share:.0%} of the candidates where it is {value} were acted on"
    if before - after >= _FADES:
        return f"alone it had an AUC of {before:.3f} in older lists and has {after:.3f} in newer"
    return ""


def _worth(sample: _Sample) -> float:
    """Measure a column alone, in the better direction; missing counts as the middle.

    Returns:
        Mean AUC, 0.5 or more.
    """
    if not len(sample.grades):
        return 0.5
    there = np.isfinite(sample.matrix)
    middle = float(np.median(sample.matrix[there])) if there.any() else 0.0
    scores = np.where(there, sample.matrix, middle)
    found = auc(rank_impressions(scores, sample.grades, sample.sizes))
    mean = float(found.mean()) if len(found) else 0.5
    return max(mean, 1.0 - mean)


def _acted_on(sample: _Sample, value: str) -> float:
    rows = np.isnan(sample.matrix) if value == "missing" else sample.matrix == 0
    acted_on = sample.grades > 0
    # Where most candidates were acted on there is nothing to give away.
    if rows.sum() < _FEW_ROWS or acted_on.mean() > 0.5:
        return 0.0
    return float(acted_on[rows].mean())
