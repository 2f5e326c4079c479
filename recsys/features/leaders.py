"""The items with the largest counts, without looking at all others again.

Counts of an item only grow with its events, and where they decay all do so alike, which leaves
their order as it is. So what is among the largest now was among them before, or has had an event
since, or is new. The answer is that of a search through everything, as long as the values of
different counts can be told apart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.best import best_rows
from recsys.features.vocabulary import Aggregate

#: Folds that only grow, or decay all alike.
_GROWING: Final = {"count", "decayed_count"}
#: Items that are known at least, so that a longer list seldom needs a search.
_LEAST_KEPT: Final = 1_000
#: Of longer lists nothing is kept: a search through everything costs no more.
_MOST_KEPT: Final = 5_000
#: Events since the last question from which on everything is looked at.
_MOST_EVENTS: Final = 65_536

Read = Callable[[NDArray[np.int32]], NDArray[np.float64]]


@dataclass(slots=True)
class _Board:
    """What is known of one aggregate.

    Args:
        n_kept: Items of `rows`, where there are as many.
        n_items: Items that there were.
        rows: int32: the largest, largest first.
        acted_on: Items of the events since.
        n_events: Their number.
    """

    n_kept: int
    n_items: int
    rows: NDArray[np.int32]
    acted_on: list[NDArray[np.int32]] = field(default_factory=list)
    n_events: int = 0


class Leaders:
    """The items with the largest values, by aggregate.

    A plugin that is late may still ask while events are taken in; what it finds is then not kept.
    """

    def __init__(self) -> None:
        self._boards: dict[Aggregate, _Board] = {}
        self._n_adds = 0
        self._lock = threading.Lock()

    def add(self, items: NDArray[np.int32]) -> None:
        """Take note of events.

        Args:
            items: int32 (n_events,): item of each; negative ones are passed over.
        """
        with self._lock:
            self._n_adds += 1
            for aggregate, board in list(self._boards.items()):
                board.acted_on.append(items)
                board.n_events += len(items)
                if board.n_events > _MOST_EVENTS:
                    del self._boards[aggregate]

    def best(self, aggregate: Aggregate, n: int, n_items: int, read: Read) -> NDArray[np.int32]:
        """Find the items with the largest values.

        Args:
            aggregate: A scalar one.
            n: How many at most.
            n_items: How many there are.
            read: Gives the values of items, float64; NaN is never found.

        Returns:
            int32 (<= n,): largest first, ties in order of rows.
        """
        with self._lock:
            board, n_adds = self._boards.get(aggregate), self._n_adds
        if n > _MOST_KEPT or not _only_grows(aggregate):
            everything = np.arange(n_items, dtype=np.int32)
            return everything[best_rows(read(everything), n)]
        if board is None or board.n_kept < n:
            everything = np.arange(n_items, dtype=np.int32)
            board = _Board(max(n, _LEAST_KEPT), n_items, everything)
        elif not board.acted_on and board.n_items == n_items:
            return board.rows[:n].copy()
        else:
            new = np.arange(board.n_items, n_items, dtype=np.int32)
            found = np.unique(np.concatenate([board.rows, new, *board.acted_on]))
            board = _Board(board.n_kept, n_items, found[found >= 0])
        board.rows = board.rows[best_rows(read(board.rows), board.n_kept)]
        with self._lock:
            if n_adds == self._n_adds:
                self._boards[aggregate] = board
        return board.rows[:n].copy()


def _only_grows(aggregate: Aggregate) -> bool:
    return aggregate.by == "item" and aggregate.fold in _GROWING and aggregate.window_s is None
