"""The state of one aggregate: tables of numbers and marks, one row (a cell) per key."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features import fold_walk, folds
from recsys.features.growable import Growable
from recsys.features.vocabulary import WINDOW_BUCKETS, Aggregate
from recsys.schema import MICROSECONDS


class Layout(NamedTuple):
    """How a fold lays out its cells.

    Args:
        code: Of the fold, for the compiled loops.
        n_numbers: Numbers per cell.
        n_marks: Marks per cell.
        fill: What an untouched number is.
        whole: Numbers are counts.
    """

    code: int
    n_numbers: int
    n_marks: int
    fill: float
    whole: bool


_RING: Final = WINDOW_BUCKETS
_LAYOUTS: Final[dict[tuple[str, bool], Layout]] = {
    ("count", False): Layout(folds.COUNT, 1, 0, 0.0, True),
    ("count", True): Layout(folds.COUNT_IN_WINDOW, _RING, 1, 0.0, True),
    ("sum", False): Layout(folds.SUM, 1, 0, 0.0, False),
    ("sum", True): Layout(folds.SUM_IN_WINDOW, _RING, 1, 0.0, False),
    ("mean", False): Layout(folds.MEAN, 2, 0, 0.0, False),
    ("mean", True): Layout(folds.MEAN_IN_WINDOW, 2 * _RING, 1, 0.0, False),
    ("min", False): Layout(folds.MIN, 1, 0, np.nan, False),
    ("min", True): Layout(folds.MIN_IN_WINDOW, _RING, 1, np.nan, False),
    ("max", False): Layout(folds.MAX, 1, 0, np.nan, False),
    ("max", True): Layout(folds.MAX_IN_WINDOW, _RING, 1, np.nan, False),
    ("since_last", False): Layout(folds.LAST, 0, 1, 0.0, True),
    ("since_last", True): Layout(folds.LAST_IN_WINDOW, 0, 1 + _RING, 0.0, True),
    ("since_first", False): Layout(folds.FIRST, 0, 1, 0.0, True),
    ("since_first", True): Layout(folds.FIRST_IN_WINDOW, 0, 1 + _RING, 0.0, True),
    ("decayed_count", False): Layout(folds.DECAYED_COUNT, 1, 1, 0.0, False),
    ("decayed_sum", False): Layout(folds.DECAYED_SUM, 1, 1, 0.0, False),
    ("distinct", False): Layout(folds.DISTINCT, 1, 0, 0.0, True),
    ("distinct", True): Layout(folds.DISTINCT_IN_WINDOW, _RING, 1, 0.0, True),
}


class KeyedRows(NamedTuple):
    """The cells that events of a batch fall into.

    Args:
        rows: int32 (n,): event of each key, ascending.
        slots: int32 (n,): its cell; -1: none.
    """

    rows: NDArray[np.int32]
    slots: NDArray[np.int32]


def cell_key(aggregate: Aggregate) -> Aggregate:
    """Name the state of an aggregate: those that differ in name or reduction share it.

    Returns:
        An aggregate that stands for all of them.
    """
    return Aggregate(
        name="",
        fold=aggregate.fold,
        of=tuple(sorted(set(aggregate.of))),
        by=aggregate.by,
        window_s=aggregate.window_s,
        half_life_s=aggregate.half_life_s,
        n=aggregate.n,
        what=aggregate.what if aggregate.fold == "distinct" else "item",
    )


def bucket_us(aggregate: Aggregate) -> int:
    """Give the length of one bucket of a windowed aggregate.

    Returns:
        Microseconds, at least one.
    """
    return max(1, round((aggregate.window_s or 0) * MICROSECONDS / WINDOW_BUCKETS))


class Cells:
    """Cells of one scalar aggregate.

    Args:
        aggregate: What is kept.
        n_slots: Cells at the start.
    """

    def __init__(self, aggregate: Aggregate, n_slots: int = 0) -> None:
        layout = _LAYOUTS[aggregate.fold, aggregate.window_s is not None]
        self._code = layout.code
        self._step = bucket_us(aggregate)
        self.half_life_s = float(aggregate.half_life_s or 1.0)
        self.numbers = Growable(
            np.uint32 if layout.whole else np.float64, layout.fill, (layout.n_numbers,)
        )
        self.marks = Growable(np.int64, folds.NEVER, (layout.n_marks,))
        self.resize(n_slots)

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return int(self.numbers.rows.nbytes + self.marks.rows.nbytes)

    def resize(self, n_slots: int) -> None:
        """Make room for as many cells; never shrinks."""
        self.numbers.resize(n_slots)
        self.marks.resize(n_slots)

    def move(self, old: NDArray[np.int64], new: NDArray[np.int64]) -> None:
        """Move cells to other slots; those that they leave are empty again."""
        for column in (self.numbers, self.marks):
            column.rows[new] = column.rows[old]
            column.clear(old)

    def reorder(self, slots: NDArray[np.int64]) -> None:
        """Keep the cells of some slots only, in another order."""
        self.numbers.reorder(slots)
        self.marks.reorder(slots)

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Forget what cells hold."""
        self.numbers.clear(slots)
        self.marks.clear(slots)

    def uncount(self, slots: NDArray[np.int64], buckets: NDArray[np.int64]) -> None:
        """Take pairs out of a `distinct` fold.

        Args:
            slots: int64 (n,): cells.
            buckets: int64 (n,): bucket in which each pair was seen last.
        """
        places = np.zeros(len(slots), dtype=np.int64)
        if self._code == folds.DISTINCT_IN_WINDOW:
            held = buckets > self.marks.rows[slots, 0] - _RING
            slots, places = slots[held], buckets[held] % _RING
        np.subtract.at(self.numbers.rows, (slots, places), 1)

    def add(self, keyed: folds.Keyed, events: folds.Events) -> None:
        """Fold a batch of events in, in order of `visible_at`."""
        fold_walk.add_all(
            *self.state, keyed.rows, keyed.slots, keyed.previous,
            events.types, events.wanted, events.visible, events.occurred, events.values,
        )  # fmt: skip

    def stream(
        self,
        keyed: folds.Keyed,
        events: folds.Events,
        asked: folds.Asked,
        reduce: str,
        *,
        out: NDArray[np.float64],
    ) -> None:
        """Fold a batch of events in and answer the requests among them.

        Args:
            keyed: Which cells the events fall into.
            events: In order of `visible_at`.
            asked: The requests, and the cells that they read.
            reduce: How several values become one.
            out: float64 (n_candidates,): written.
        """
        fold_walk.stream(self.state, keyed, events, asked, folds.REDUCE_CODES[reduce], out)

    @property
    def state(self) -> folds.State:
        """What the compiled folds take; views that are valid until the next growth."""
        return folds.State(
            self._code, self.numbers.rows, self.marks.rows, self._step, self.half_life_s
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the state as arrays, for a snapshot.

        Returns:
            By name; views that must not be changed.
        """
        return {"numbers": self.numbers.rows, "marks": self.marks.rows}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the state from arrays that `arrays` gave."""
        for column, name in ((self.numbers, "numbers"), (self.marks, "marks")):
            column.restore(arrays, name)
