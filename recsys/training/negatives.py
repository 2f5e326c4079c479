"""Slates for logs without impressions: what was done, among items that could have been.

Negatives are drawn in part in proportion to how often an item had been acted on so far, and for the
rest evenly over all items known so far. Only the past is drawn from: an item is no candidate before
its first event. An item that was acted on before any event had named it is no candidate either: no
request could have held it, and a ranker would learn that what has no past is always wanted.

What is drawn by popularity makes popular items look unwanted: beside a positive there are as many
of them as popularity itself would put there. So each candidate carries log q, the logarithm of its
chance to be drawn, and a model that learns with log q taken off its scores learns how probable an
item is among all items, and not among those that were drawn.

Source: logq
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.config import LabelsConfig, SplitConfig
from recsys.features.actions import EncodedLog
from recsys.features.naming import first_named
from recsys.features.sessions import somebody
from recsys.features.slates import Slates
from recsys.features.spilled import GrowingColumns, let_go
from recsys.training.labels import Grader, LabelledSlates

#: Rows that are looked at at a time.
_PIECE: Final = 1_000_000
#: Slates after which the pages that they touched, all over the log, are let go.
_SLATES: Final = 4_096
#: Lists with hardly more negatives than positives teach little, however long they are.
_FEWEST_PER_POSITIVE: Final = 2
#: What an item counts for that was never acted on, where negatives are drawn by popularity alone.
_LEAST_ACTIONS: Final = 0.5
#: A share of the draws that leaves some chance not to be drawn.
_MOST_OFTEN: Final = 1.0 - 1e-9


def sampled_slates(
    log: EncodedLog,
    labels: LabelsConfig,
    split: SplitConfig,
    rng: np.random.Generator,
    *,
    scratch: Path | None = None,
) -> LabelledSlates:
    """Make one request of everything that a user, or an unnamed visitor, did at one instant.

    Args:
        log: A log with interactions.
        labels: Grade of each interaction type.
        split: How many negatives per positive, and how many slates at most.
        rng: Draws negatives.
        scratch: A folder with room for a part of the log; None: there is room in memory.

    Returns:
        Requests oldest first; positives and negatives in random order.
    """
    actions = _of_somebody(log, scratch)
    since = first_named(log, "items")
    order = np.argsort(since, kind="stable").astype(np.int32)
    past = _Past(actions.items, order, since[order], split.popular_negatives)
    grade = Grader(labels, log.types.names)
    users, as_of, items, grades, chances, visitors = [], [], [], [], [], []
    for start, stop in _baskets(actions, split.max_slates).tolist():
        rows = slice(start, stop)
        instant = actions.occurred[start]
        known = since[actions.items[rows]] < instant
        graded = grade(actions.types[rows], actions.values[rows])
        best = _best_grades(actions.items[rows][known], graded[known])
        n_drawn = _n_negatives(len(best), split)
        drawn = past.draw(start, instant, n_drawn, rng)
        negatives = [item for item in drawn.tolist() if item not in best]
        if not negatives:
            continue
        slate = np.array([*best, *dict.fromkeys(negatives)], dtype=np.int32)
        shuffled = rng.permutation(len(slate))
        labelled = np.array([best.get(item, 0.0) for item in slate.tolist()], dtype=np.float32)
        users.append(actions.users[start])
        visitors.append(actions.visitors[start])
        as_of.append(instant)
        items.append(slate[shuffled])
        grades.append(labelled[shuffled])
        chances.append(past.log_q(slate[shuffled], start, instant, n_drawn))
        if len(items) % _SLATES == 0:
            actions.let_go()
    slates = _slates(users, as_of, items)
    # What was done in the visit before is known while serving: to who trains without, it never is.
    sessions = log.visitors.session_ids(np.array(visitors, dtype=np.int32))
    return LabelledSlates(replace(slates, sessions=sessions), _joined(grades), _joined(chances))


def _n_negatives(n_positives: int, split: SplitConfig) -> int:
    most = max(split.max_negatives, _FEWEST_PER_POSITIVE * n_positives)
    return min(split.negatives * n_positives, most)


class _Done(NamedTuple):
    """What was done by somebody, in the order in which it became visible.

    Args:
        types: int16 (n,): event types.
        users: int32 (n,): user rows, or `ANONYMOUS`.
        items: int32 (n,): item rows.
        visitors: int32 (n,): visitor rows, none negative.
        occurred: int64 (n,): microseconds.
        values: float64 (n,): NaN where an event has none.
    """

    types: NDArray[np.int16]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    visitors: NDArray[np.int32]
    occurred: NDArray[np.int64]
    values: NDArray[np.float64]

    def let_go(self) -> None:
        """Take what is mapped from files out of this process's memory."""
        for column in self:
            let_go(column)


def _of_somebody(log: EncodedLog, scratch: Path | None) -> _Done:
    dtypes = {name: getattr(log.actions, name).dtype for name in _Done._fields}
    columns = GrowingColumns(dtypes, scratch)
    for part in log.actions.pieces():
        there = part.visitors >= 0  # a user without a session is a visitor too
        columns.append({name: getattr(part, name)[there] for name in dtypes})
    return _Done(**columns.finish())


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


def _baskets(done: _Done, most: int) -> NDArray[np.int64]:
    """Find runs of one user or visitor at one instant; of more than are wanted some, evenly.

    Returns:
        int64 (n, 2): where a run begins and ends.
    """
    n_runs = sum(len(starts) for starts in _run_starts(done))
    chosen = np.arange(n_runs)
    if n_runs > most:
        chosen = np.linspace(0, n_runs - 1, most).astype(np.int64)
    ends = np.full((len(chosen), 2), len(done.occurred), dtype=np.int64)
    n_before = 0
    for starts in _run_starts(done):
        for side, runs in enumerate((chosen, chosen + 1)):
            there = (runs >= n_before) & (runs < n_before + len(starts))
            ends[there, side] = starts[runs[there] - n_before]
        n_before += len(starts)
    return ends


def _run_starts(done: _Done) -> Iterator[NDArray[np.int64]]:
    """Find where runs begin, a piece of the log at a time.

    Yields:
        int64: positions, ascending.
    """
    for start in range(0, len(done.occurred), _PIECE):
        part = slice(max(start - 1, 0), start + _PIECE)
        who, instants = somebody(done.users[part], done.visitors[part]), done.occurred[part]
        begins = (who[1:] != who[:-1]) | (instants[1:] != instants[:-1])
        yield np.flatnonzero(begins if start else np.concatenate([[True], begins])) + start
        done.let_go()


def _best_grades(items: NDArray[np.int32], grades: NDArray[np.float32]) -> dict[int, float]:
    best: dict[int, float] = {}
    for item, grade in zip(items.tolist(), grades.tolist(), strict=True):
        best[item] = max(grade, best.get(item, 0.0))
    return {item: grade for item, grade in best.items() if grade > 0}


class _Past:
    """What negatives are drawn from; asked about ever later instants.

    Args:
        acted_on: int32 (n_actions,): items of all actions, oldest first.
        known: int32 (n_items,): all items in the order in which they became known.
        known_at: int64 (n_items,): when they did.
        popular: Share of the draws that is made from actions.
    """

    def __init__(
        self,
        acted_on: NDArray[np.int32],
        known: NDArray[np.int32],
        known_at: NDArray[np.int64],
        popular: float,
    ) -> None:
        self._acted_on, self._known, self._known_at = acted_on, known, known_at
        self._popular = popular
        self._counts = np.zeros(len(known), dtype=np.int64)
        self._n_counted = 0

    def draw(
        self, n_actions: int, instant: int, n: int, rng: np.random.Generator
    ) -> NDArray[np.int32]:
        """Draw items from before an instant, before which there were so many actions.

        Returns:
            int32: n items, one may come several times; none where nothing was known.
        """
        n_known = self._n_known(instant)
        if not n_known or not n:
            return np.zeros(0, dtype=np.int32)
        n_popular = self._n_popular(n, n_actions)
        by_count = self._acted_on[rng.integers(0, max(n_actions, 1), size=n_popular)]
        evenly = self._known[rng.integers(0, n_known, size=n - n_popular)]
        return np.concatenate([by_count, evenly])

    def log_q(
        self, items: NDArray[np.int32], n_actions: int, instant: int, n: int
    ) -> NDArray[np.float32]:
        """Compute how probable it was that items would be drawn, with the arguments of `draw`.

        Returns:
            float32 (n_items,): the logarithm of the chance that an item is among the n drawn.
        """
        np.add.at(self._counts, self._acted_on[self._n_counted : n_actions], 1)
        self._n_counted = n_actions
        n_popular = self._n_popular(n, n_actions)
        counts = self._counts[items].astype(np.float64)
        if n_popular == n:
            # A positive that could not have been drawn: as if it had been acted on a little.
            counts = np.maximum(counts, _LEAST_ACTIONS)
        by_count = np.minimum(counts / max(n_actions, 1), _MOST_OFTEN)
        evenly = min(1.0 / self._n_known(instant), _MOST_OFTEN)
        log_missed = n_popular * np.log1p(-by_count) + (n - n_popular) * np.log1p(-evenly)
        chance: NDArray[np.float32] = np.log(-np.expm1(log_missed)).astype(np.float32)
        return chance

    def _n_known(self, instant: int) -> int:
        return int(np.searchsorted(self._known_at, instant))

    def _n_popular(self, n: int, n_actions: int) -> int:
        return round(n * self._popular) if n_actions else 0
