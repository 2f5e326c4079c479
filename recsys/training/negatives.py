"""Slates for logs without impressions: what was done, among items that could have been.

Negatives are drawn in part in proportion to how often an item had been acted on so far, and for the
rest evenly over all items known so far. Only the past is drawn from: an item is no candidate before
its first event. An item that was acted on before any event had named it is no candidate either: no
request could have held it, and a ranker would learn that what has no past is always wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.config import LabelsConfig, SplitConfig
from recsys.features.actions import EncodedLog
from recsys.features.slates import Slates
from recsys.training.labels import LabelledSlates, grade_of

_NEVER = np.iinfo(np.int64).max


def known_since(log: EncodedLog) -> NDArray[np.int64]:
    """Find when each item was first named by any event.

    Returns:
        int64 (n_items,): microseconds; the latest instant there is for an item that no event names.
    """
    since = np.full(len(log.items.ids), _NEVER, dtype=np.int64)
    owners, visible, _ = log.items.version_table()
    np.minimum.at(since, owners, visible)
    there = log.actions.items >= 0
    np.minimum.at(since, log.actions.items[there], log.actions.visible[there])
    return since


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
    since = known_since(log)
    order = np.argsort(since, kind="stable").astype(np.int32)
    past = _Past(actions.items, order, since[order], split.popular_negatives)
    by_type = np.array([grade_of(labels, name) for name in log.types.names], dtype=np.float32)
    chosen = _thinned(len(baskets) - 1, split.max_slates)
    users, as_of, items, grades = [], [], [], []
    for basket in chosen.tolist():
        rows = slice(int(baskets[basket]), int(baskets[basket + 1]))
        instant = actions.occurred[rows.start]
        known = since[actions.items[rows]] < instant
        best = _best_grades(actions.items[rows][known], by_type[actions.types[rows]][known])
        drawn = past.draw(rows.start, instant, split.negatives * len(best), rng)
        negatives = [item for item in drawn.tolist() if item not in best]
        if not negatives:
            continue
        slate = np.array([*best, *dict.fromkeys(negatives)], dtype=np.int32)
        shuffled = rng.permutation(len(slate))
        labelled = np.array([best.get(item, 0.0) for item in slate.tolist()], dtype=np.float32)
        users.append(actions.users[rows.start])
        as_of.append(instant)
        items.append(slate[shuffled])
        grades.append(labelled[shuffled])
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


def _thinned(n_baskets: int, most: int) -> NDArray[np.int64]:
    if n_baskets <= most:
        return np.arange(n_baskets)
    return np.linspace(0, n_baskets - 1, most).astype(np.int64)


def _best_grades(items: NDArray[np.int32], grades: NDArray[np.float32]) -> dict[int, float]:
    best: dict[int, float] = {}
    for item, grade in zip(items.tolist(), grades.tolist(), strict=True):
        best[item] = max(grade, best.get(item, 0.0))
    return {item: grade for item, grade in best.items() if grade > 0}


@dataclass(frozen=True, slots=True)
class _Past:
    """What negatives are drawn from.

    Args:
        acted_on: int32 (n_actions,): items of all actions, oldest first.
        known: int32 (n_items,): all items in the order in which they became known.
        known_at: int64 (n_items,): when they did.
        popular: Share of the draws that is made from actions.
    """

    acted_on: NDArray[np.int32]
    known: NDArray[np.int32]
    known_at: NDArray[np.int64]
    popular: float

    def draw(
        self, n_actions: int, instant: int, n: int, rng: np.random.Generator
    ) -> NDArray[np.int32]:
        """Draw items from before an instant, before which there were so many actions.

        Returns:
            int32: n items, one may come several times; none where nothing was known.
        """
        n_known = int(np.searchsorted(self.known_at, instant))
        if not n_known or not n:
            return np.zeros(0, dtype=np.int32)
        n_popular = round(n * self.popular) if n_actions else 0
        by_count = self.acted_on[rng.integers(0, max(n_actions, 1), size=n_popular)]
        evenly = self.known[rng.integers(0, n_known, size=n - n_popular)]
        return np.concatenate([by_count, evenly])
