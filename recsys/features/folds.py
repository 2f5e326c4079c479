"""What every fold does with one event and with one read; both executions call this very code.

A cell is a row of two tables: `numbers` (counts, sums, extremes) and `marks` (instants and bucket
numbers). A window is a ring of `WINDOW_BUCKETS` places; `marks[:, 0]` holds the newest bucket of the
ring, and a place that comes round again starts anew. Events come in order of `visible_at`.

The offline execution interleaves events and reads in one pass over the log (`stream`), so its cost
is linear in both and its state is what was asked for, however long the log is. The alternative,
sorting events by key and searching, was measured slower from a million events on and needs the
whole log in memory.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled
from recsys.features.vocabulary import WINDOW_BUCKETS
from recsys.schema import MICROSECONDS

COUNT: Final = 0
COUNT_IN_WINDOW: Final = 1
SUM: Final = 2
SUM_IN_WINDOW: Final = 3
MEAN: Final = 4
MEAN_IN_WINDOW: Final = 5
MIN: Final = 6
MIN_IN_WINDOW: Final = 7
MAX: Final = 8
MAX_IN_WINDOW: Final = 9
LAST: Final = 10
LAST_IN_WINDOW: Final = 11
FIRST: Final = 12
FIRST_IN_WINDOW: Final = 13
DECAYED_COUNT: Final = 14
DECAYED_SUM: Final = 15
DISTINCT: Final = 16
DISTINCT_IN_WINDOW: Final = 17

#: How the values of several keys become one: mean, max, min, sum.
REDUCE_CODES: Final = {"mean": 0, "max": 1, "min": 2, "sum": 3}
#: The mark of something that has not happened.
NEVER: Final = np.iinfo(np.int64).min

_RING: Final = WINDOW_BUCKETS
_US: Final = float(MICROSECONDS)


@compiled
def decay(elapsed_us: int, half_life_s: float) -> float:
    """Weigh an event of long ago.

    Returns:
        0.5 ** (elapsed / half life).
    """
    return float(np.exp2(-(elapsed_us / _US) / half_life_s))


@compiled
def _place(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    slot: int,
    bucket: int,
) -> int:
    """Turn the ring of a cell forward to a bucket and empty the places that come round again.

    Returns:
        The place of the bucket.
    """
    newest = marks[slot, 0]
    if bucket > newest:
        first = max(newest + 1, bucket - _RING + 1) if newest != NEVER else bucket - _RING + 1
        for number in range(first, bucket + 1):
            place = number % _RING
            if code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW:
                marks[slot, 1 + place] = NEVER
            elif code == MIN_IN_WINDOW or code == MAX_IN_WINDOW:
                numbers[slot, place] = np.nan
            else:
                numbers[slot, place] = 0
                if code == MEAN_IN_WINDOW:
                    numbers[slot, _RING + place] = 0
        marks[slot, 0] = bucket
    return bucket % _RING


@compiled
def add_one(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slot: int,
    visible: int,
    occurred: int,
    value: float,
    previous: int,
) -> None:
    """Fold one event into one cell.

    Args:
        code: The fold.
        numbers: (n_slots, width): counts, sums or extremes.
        marks: int64 (n_slots, width): instants and buckets.
        step: Microseconds of a bucket.
        half_life_s: Of decayed folds.
        slot: The cell.
        visible: When the event became visible.
        occurred: When it happened.
        value: Its value; NaN where it has none.
        previous: Of `distinct`: bucket in which this pair was seen before, `NEVER` for a new one.
    """
    if code == COUNT:
        numbers[slot, 0] += 1
    elif code == COUNT_IN_WINDOW:
        numbers[slot, _place(code, numbers, marks, slot, visible // step)] += 1
    elif code == SUM:
        if not np.isnan(value):
            numbers[slot, 0] += value
    elif code == SUM_IN_WINDOW:
        if not np.isnan(value):
            numbers[slot, _place(code, numbers, marks, slot, visible // step)] += value
    elif code == MEAN:
        if not np.isnan(value):
            numbers[slot, 0] += value
            numbers[slot, 1] += 1
    elif code == MEAN_IN_WINDOW:
        if not np.isnan(value):
            place = _place(code, numbers, marks, slot, visible // step)
            numbers[slot, place] += value
            numbers[slot, _RING + place] += 1
    elif code == MIN or code == MAX:
        if not np.isnan(value):
            numbers[slot, 0] = _extreme(code == MAX, numbers[slot, 0], value)
    elif code == MIN_IN_WINDOW or code == MAX_IN_WINDOW:
        if not np.isnan(value):
            place = _place(code, numbers, marks, slot, visible // step)
            numbers[slot, place] = _extreme(code == MAX_IN_WINDOW, numbers[slot, place], value)
    elif code == LAST or code == FIRST:
        marks[slot, 0] = _instant(code == LAST, marks[slot, 0], occurred)
    elif code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW:
        place = 1 + _place(code, numbers, marks, slot, visible // step)
        marks[slot, place] = _instant(code == LAST_IN_WINDOW, marks[slot, place], occurred)
    elif code == DECAYED_COUNT or code == DECAYED_SUM:
        added = 1.0
        if code == DECAYED_SUM:
            added = 0.0 if np.isnan(value) else value
        if marks[slot, 0] != NEVER:
            numbers[slot, 0] *= decay(visible - marks[slot, 0], half_life_s)
        numbers[slot, 0] += added
        marks[slot, 0] = visible
    elif code == DISTINCT:
        if previous == NEVER:
            numbers[slot, 0] += 1
    elif code == DISTINCT_IN_WINDOW:
        bucket = visible // step
        place = _place(code, numbers, marks, slot, bucket)
        if previous != bucket:
            numbers[slot, place] += 1
            if previous > bucket - _RING:
                numbers[slot, previous % _RING] -= 1


@compiled
def _extreme(largest: bool, known: float, value: float) -> float:
    if np.isnan(known):
        return value
    return max(known, value) if largest else min(known, value)


@compiled
def _instant(latest: bool, known: int, occurred: int) -> int:
    if known == NEVER:
        return occurred
    return max(known, occurred) if latest else min(known, occurred)


@compiled
def read_one(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slot: int,
    as_of: int,
) -> float:
    """Read one cell at an instant later than everything folded into it.

    Returns:
        The value; NaN where nothing is there and that does not mean 0. A slot of -1 has no events.
    """
    additive = code <= SUM_IN_WINDOW or code >= DECAYED_COUNT
    if slot < 0:
        return 0.0 if additive else np.nan
    if code == COUNT or code == SUM or code == DISTINCT or code == MIN or code == MAX:
        return float(numbers[slot, 0])
    if code == MEAN:
        return numbers[slot, 0] / numbers[slot, 1] if numbers[slot, 1] > 0 else np.nan
    if code == LAST or code == FIRST:
        return (as_of - marks[slot, 0]) / _US if marks[slot, 0] != NEVER else np.nan
    if code == DECAYED_COUNT or code == DECAYED_SUM:
        if marks[slot, 0] == NEVER:
            return 0.0
        return float(numbers[slot, 0] * decay(as_of - marks[slot, 0], half_life_s))
    return _read_window(code, numbers, marks, step, slot, as_of)


@compiled
def _read_window(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    slot: int,
    as_of: int,
) -> float:
    additive = code <= SUM_IN_WINDOW or code >= DECAYED_COUNT
    newest = marks[slot, 0]
    if newest == NEVER:
        return 0.0 if additive else np.nan
    total, n_values = 0.0, 0.0
    extreme, instant = np.nan, NEVER
    oldest = max(as_of // step - _RING + 1, newest - _RING + 1)
    for bucket in range(oldest, newest + 1):
        place = bucket % _RING
        if code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW:
            if marks[slot, 1 + place] != NEVER:
                instant = _instant(code == LAST_IN_WINDOW, instant, marks[slot, 1 + place])
        elif code == MIN_IN_WINDOW or code == MAX_IN_WINDOW:
            if not np.isnan(numbers[slot, place]):
                extreme = _extreme(code == MAX_IN_WINDOW, extreme, numbers[slot, place])
        else:
            total += numbers[slot, place]
            if code == MEAN_IN_WINDOW:
                n_values += numbers[slot, _RING + place]
    if additive:
        return total
    if code == MEAN_IN_WINDOW:
        return total / n_values if n_values > 0 else np.nan
    if code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW:
        return (as_of - instant) / _US if instant != NEVER else np.nan
    return extreme


@compiled
def _read_reduced(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slots: NDArray[np.int32],
    first: int,
    stop: int,
    as_of: int,
    reduce: int,
) -> float:
    """Read the cells of one candidate and make one value of them; missing ones are left out.

    Returns:
        The value; NaN without any.
    """
    result, n_found = np.nan, 0
    for k in range(first, stop):
        value = read_one(code, numbers, marks, step, half_life_s, slots[k], as_of)
        if np.isnan(value):
            continue
        n_found += 1
        if n_found == 1:
            result = value
        elif reduce == 1:
            result = max(result, value)
        elif reduce == 2:
            result = min(result, value)
        else:
            result += value
    if reduce == 0 and n_found > 1:
        result /= n_found
    return result


@compiled
def add_all(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    rows: NDArray[np.int32],
    slots: NDArray[np.int32],
    types: NDArray[np.int16],
    wanted: NDArray[np.bool_],
    visible: NDArray[np.int64],
    occurred: NDArray[np.int64],
    values: NDArray[np.float64],
    previous: NDArray[np.int64],
) -> None:
    """Fold a batch of events in.

    Args:
        code: The fold.
        numbers: State.
        marks: State.
        step: Microseconds of a bucket.
        half_life_s: Of decayed folds.
        rows: int32 (n,): event of each key.
        slots: int32 (n,): cell of each key; -1: none.
        types: int16 (n_events,).
        wanted: bool (n_types,): event types that count.
        visible: int64 (n_events,).
        occurred: int64 (n_events,).
        values: float64 (n_events,).
        previous: int64 (n,) of `distinct` folds, else empty.
    """
    pairs = len(previous) > 0
    for i in range(len(rows)):
        row = rows[i]
        if slots[i] >= 0 and wanted[types[row]]:
            before = previous[i] if pairs else NEVER
            add_one(
                code, numbers, marks, step, half_life_s, slots[i],
                visible[row], occurred[row], values[row], before,
            )  # fmt: skip


@compiled
def read_all(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slots: NDArray[np.int32],
    starts: NDArray[np.int64],
    owners: NDArray[np.int32],
    as_of: NDArray[np.int64],
    reduce: int,
    out: NDArray[np.float64],
) -> None:
    """Read one value per candidate.

    Args:
        code: The fold.
        numbers: State.
        marks: State.
        step: Microseconds of a bucket.
        half_life_s: Of decayed folds.
        slots: int32 (n_keys,): cells; -1: a key without events.
        starts: int64 (n_candidates + 1,): keys of candidate c are `starts[c]:starts[c + 1]`.
        owners: int32 (n_candidates,): request of each candidate.
        as_of: int64 (n_requests,).
        reduce: How several values become one.
        out: float64 (n_candidates,), written.
    """
    for c in range(len(out)):
        out[c] = _read_reduced(
            code, numbers, marks, step, half_life_s, slots, starts[c], starts[c + 1],
            as_of[owners[c]], reduce,
        )  # fmt: skip


@compiled
def stream(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    rows: NDArray[np.int32],
    slots: NDArray[np.int32],
    types: NDArray[np.int16],
    wanted: NDArray[np.bool_],
    visible: NDArray[np.int64],
    occurred: NDArray[np.int64],
    values: NDArray[np.float64],
    previous: NDArray[np.int64],
    ends: NDArray[np.int64],
    offsets: NDArray[np.int64],
    read_slots: NDArray[np.int32],
    starts: NDArray[np.int64],
    as_of: NDArray[np.int64],
    reduce: int,
    out: NDArray[np.float64],
) -> None:
    """Fold events in and read in between: every request sees the events before it.

    Args:
        code: The fold.
        numbers: State; goes on from what was folded before.
        marks: State.
        step: Microseconds of a bucket.
        half_life_s: Of decayed folds.
        rows: int32 (n,): event of each key, ascending.
        slots: int32 (n,): cell of each key; -1: nobody asks.
        types: int16 (n_events,).
        wanted: bool (n_types,): event types that count.
        visible: int64 (n_events,).
        occurred: int64 (n_events,).
        values: float64 (n_events,).
        previous: int64 (n,) of `distinct` folds, else empty.
        ends: int64 (n_requests,): events before each request, ascending.
        offsets: int64 (n_requests + 1,): candidates of each request, as for `starts`.
        read_slots: int32 (n_keys,): cells that candidates read.
        starts: int64 (n_candidates + 1,): keys of each candidate.
        as_of: int64 (n_requests,).
        reduce: How several values become one.
        out: float64 (n_candidates,), written.
    """
    pairs = len(previous) > 0
    position = 0
    for request in range(len(ends) + 1):
        end = ends[request] if request < len(ends) else len(types)
        while position < len(rows) and rows[position] < end:
            row = rows[position]
            if slots[position] >= 0 and wanted[types[row]]:
                before = previous[position] if pairs else NEVER
                add_one(
                    code, numbers, marks, step, half_life_s, slots[position],
                    visible[row], occurred[row], values[row], before,
                )  # fmt: skip
            position += 1
        if request < len(ends):
            for c in range(offsets[request], offsets[request + 1]):
                out[c] = _read_reduced(
                    code, numbers, marks, step, half_life_s, read_slots, starts[c], starts[c + 1],
                    as_of[request], reduce,
                )  # fmt: skip
