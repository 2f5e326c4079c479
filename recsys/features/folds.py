"""The folds: their codes, what a cell of each is made of, and what the compiled loops take.

A cell is a row of two tables: `numbers` (counts, sums, extremes) and `marks` (instants and bucket
numbers). A window is a ring of `WINDOW_BUCKETS` places; `marks[:, 0]` holds the newest bucket of
the ring, and a place that comes round again starts anew. Events come in order of `visible_at`.
What one event does to a cell stands in fold_add.py, what a cell reads in fold_read.py, the walk
over events and requests in fold_walk.py; both executions call this very code.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.vocabulary import WINDOW_BUCKETS
from recsys.schema import MICROSECONDS

# Folds over everything, then folds over a window, then counts of different things.
COUNT: Final = 0
SUM: Final = 1
MEAN: Final = 2
MIN: Final = 3
MAX: Final = 4
LAST: Final = 5
FIRST: Final = 6
DECAYED_COUNT: Final = 7
DECAYED_SUM: Final = 8
FIRST_WINDOWED: Final = 9
COUNT_IN_WINDOW: Final = 9
SUM_IN_WINDOW: Final = 10
MEAN_IN_WINDOW: Final = 11
MIN_IN_WINDOW: Final = 12
MAX_IN_WINDOW: Final = 13
LAST_IN_WINDOW: Final = 14
FIRST_IN_WINDOW: Final = 15
DISTINCT: Final = 16
DISTINCT_IN_WINDOW: Final = 17

#: How the values of several keys become one: mean, max, min, sum.
MEAN_OF: Final = 0
MAX_OF: Final = 1
MIN_OF: Final = 2
REDUCE_CODES: Final = {"mean": MEAN_OF, "max": MAX_OF, "min": MIN_OF, "sum": 3}
#: The mark of something that has not happened.
NEVER: Final = np.iinfo(np.int64).min

#: Places of a ring.
RING: Final = WINDOW_BUCKETS
#: Microseconds of a second, as a float.
US: Final = float(MICROSECONDS)


class State(NamedTuple):
    """One aggregate's cells.

    Args:
        code: The fold.
        numbers: (n_slots, width): counts, sums or extremes.
        marks: int64 (n_slots, width): instants and buckets.
        step: Microseconds of a bucket.
        half_life_s: Of decayed folds.
    """

    code: int
    numbers: NDArray[Any]
    marks: NDArray[np.int64]
    step: int
    half_life_s: float


class Events(NamedTuple):
    """What folds read of events.

    Args:
        types: int16 (n_events,).
        wanted: bool (n_types,): event types that count.
        visible: int64 (n_events,): when they became visible.
        occurred: int64 (n_events,): when they happened.
        values: float64 (n_events,): NaN where an event has none.
    """

    types: NDArray[np.int16]
    wanted: NDArray[np.bool_]
    visible: NDArray[np.int64]
    occurred: NDArray[np.int64]
    values: NDArray[np.float64]


class Keyed(NamedTuple):
    """Cells that events fall into.

    Args:
        rows: int32 (n,): event of each key, ascending.
        slots: int32 (n,): its cell; -1: none.
        previous: int64 (n,) of `distinct` folds: bucket in which the pair was seen before, `NEVER`
            for a new one; empty for all other folds.
    """

    rows: NDArray[np.int32]
    slots: NDArray[np.int32]
    previous: NDArray[np.int64]


class Asked(NamedTuple):
    """Requests among a batch of events, and what they read.

    Args:
        ends: int64 (n_requests,): events of the batch before each request, ascending.
        offsets: int64 (n_requests + 1,): candidates of each request, as for `starts`.
        slots: int32 (n_keys,): cells that candidates read.
        starts: int64 (n_candidates + 1,): keys of candidate c are `starts[c]:starts[c + 1]`.
        as_of: int64 (n_requests,).
    """

    ends: NDArray[np.int64]
    offsets: NDArray[np.int64]
    slots: NDArray[np.int32]
    starts: NDArray[np.int64]
    as_of: NDArray[np.int64]


#: Folds that share a loop: those over everything, counts in a window, all else in a window, and
#: counts of different things.
PLAIN_LOOP: Final = 0
COUNT_LOOP: Final = 1
WINDOW_LOOP: Final = 2
DISTINCT_LOOP: Final = 3


def loop_of(code: int) -> int:
    """Say in which loop a fold is computed.

    Returns:
        One of the four.
    """
    if code >= DISTINCT:
        return DISTINCT_LOOP
    if code < FIRST_WINDOWED:
        return PLAIN_LOOP
    return COUNT_LOOP if code == COUNT_IN_WINDOW else WINDOW_LOOP
