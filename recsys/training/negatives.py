"""Slates for logs without impressions: what was done, among items that could have been.

Negatives are drawn half in proportion to how often an item had been acted on so far and half evenly
over the items seen so far. Popular items are then neither free of blame nor all of it (the even
half), and the ranker does not learn that whatever is popular is a negative (the proportional half
alone would teach that). Only the past is drawn from: an item is no candidate before its first
event.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.config import LabelsConfig, SplitConfig
from recsys.features.actions import EncodedLog
from recsys.features.slates import Slates
from recsys.training.labels import LabelledSlates, grade_of


def sampled_slates(
    log: EncodedLog, labels: LabelsConfig, split: SplitConfig, rng: np.random.Generator
) -> LabelledSlates:
    """Make one request of everything that a user did at one instant.

    Args:
        log: A log with interactions.
        labels: Grade of each interaction type.
        split: How many negatives per positive, and how many slates at most.
        rng: Draws negatives.

    Returns:
        Requests oldest first; positives and negatives in random order.
    """
    actions = log.actions.where(log.actions.users >= 0)
    baskets = _baskets(actions.users, actions.occurred)
    first_items = _distinct_so_far(actions.items)
    by_type = np.array([grade_of(labels, name) for name in log.types.names], dtype=np.float32)
    chosen = _thinned(len(baskets) - 1, split.max_slates)
    users, as_of, items, grades = [], [], [], []
    for basket in chosen.tolist():
        start, stop = int(baskets[basket]), int(baskets[basket + 1])
        best = _best_grades(actions.items[start:stop], by_type[actions.types[start:stop]])
        n_drawn = split.negatives * len(best)
        drawn = _draw(actions.items, first_items, n_past=start, n=n_drawn, rng=rng)
        negatives = [item for item in drawn.tolist() if item not in best]
        if not negatives:
            continue
        slate = np.array([*best, *dict.fromkeys(negatives)], dtype=np.int32)
        order = rng.permutation(len(slate))
        labelled = np.array([best.get(item, 0.0) for item in slate.tolist()], dtype=np.float32)
        users.append(actions.users[start])
        as_of.append(actions.occurred[start])
        items.append(slate[order])
        grades.append(labelled[order])
    return LabelledSlates(_slates(users, as_of, items), _joined(grades), sampled=True)


def _slates(users: list[np.int32], as_of: list[np.int64], items: list[NDArray[np.int32]]) -> Slates:
    sizes = [len(slate) for slate in items]
    return Slates(
        users=np.array(users, dtype=np.int32),
        as_of=np.array(as_of, dtype=np.int64),
        items=np.concatenate([np.zeros(0, dtype=np.int32), *items]),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, dtype=np.float32), *parts])


def _baskets(users: NDArray[np.int32], instants: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find where a run of one user at one instant begins.

    Returns:
        int64 (n_baskets + 1,): starts, and the end of the last.
    """
    changed = (users[1:] != users[:-1]) | (instants[1:] != instants[:-1])
    return np.concatenate([[0], np.flatnonzero(changed) + 1, [len(users)]])


def _distinct_so_far(items: NDArray[np.int32]) -> NDArray[np.int64]:
    """List the row at which each item is first seen.

    Returns:
        int64 (n_items,): ascending rows.
    """
    return np.sort(np.unique(items, return_index=True)[1])


def _thinned(n_baskets: int, most: int) -> NDArray[np.int64]:
    if n_baskets <= most:
        return np.arange(n_baskets)
    return np.linspace(0, n_baskets - 1, most).astype(np.int64)


def _best_grades(items: NDArray[np.int32], grades: NDArray[np.float32]) -> dict[int, float]:
    best: dict[int, float] = {}
    for item, grade in zip(items.tolist(), grades.tolist(), strict=True):
        best[item] = max(grade, best.get(item, 0.0))
    return {item: grade for item, grade in best.items() if grade > 0}


def _draw(
    items: NDArray[np.int32],
    first_rows: NDArray[np.int64],
    *,
    n_past: int,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    if not n_past or not n:
        return np.zeros(0, dtype=np.int32)
    n_seen = int(np.searchsorted(first_rows, n_past))
    by_count = items[rng.integers(0, n_past, size=n - n // 2)]
    evenly = items[first_rows[rng.integers(0, n_seen, size=n // 2)]]
    return np.concatenate([by_count, evenly])
