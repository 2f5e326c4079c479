"""What every fold does with one event and with one read; both executions call this very code.

A cell is a row of two tables: `numbers` (counts, sums, extremes) and `marks` (instants and bucket
numbers). A window is a ring of `WINDOW_BUCKETS` places; `marks[:, 0]` holds the newest bucket of
the ring, and a place that comes round again starts anew. Events come in order of `visible_at`.

The offline execution interleaves events and reads in one pass over the log (`stream`), so its cost
is linear in both and its state is what was asked for, however long the log is. The alternative,
sorting events by key and searching, was measured slower from a million events on and needs the
whole log in memory.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled
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
_MEAN: Final = 0
_MAX: Final = 1
_MIN: Final = 2
REDUCE_CODES: Final = {"mean": _MEAN, "max": _MAX, "min": _MIN, "sum": 3}
#: The mark of something that has not happened.
NEVER: Final = np.iinfo(np.int64).min

_RING: Final = WINDOW_BUCKETS
_US: Final = float(MICROSECONDS)


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


_NOBODY: Final = Asked(
    ends=np.zeros(0, dtype=np.int64),
    offsets=np.zeros(1, dtype=np.int64),
    slots=np.zeros(0, dtype=np.int32),
    starts=np.zeros(1, dtype=np.int64),
    as_of=np.zeros(0, dtype=np.int64),
)
_NO_VALUES: Final = np.zeros(0)


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
    step: int,
    half_life_s: float,
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
        if code in (LAST_IN_WINDOW, FIRST_IN_WINDOW):
            for number in range(first, bucket + 1):
                marks[slot, 1 + number % _RING] = NEVER
        elif code in (MIN_IN_WINDOW, MAX_IN_WINDOW):
            for number in range(first, bucket + 1):
                numbers[slot, number % _RING] = np.nan
        else:
            for number in range(first, bucket + 1):
                numbers[slot, number % _RING] = 0
            if code == MEAN_IN_WINDOW:
                for number in range(first, bucket + 1):
                    numbers[slot, _RING + number % _RING] = 0
        marks[slot, 0] = bucket
    return bucket % _RING


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
def _add_plain(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slot: int,
    visible: int,
    occurred: int,
    value: float,
) -> None:
    if code == COUNT:
        numbers[slot, 0] += 1
    elif code in (LAST, FIRST):
        marks[slot, 0] = _instant(code == LAST, marks[slot, 0], occurred)
    elif code in (DECAYED_COUNT, DECAYED_SUM):
        added = 1.0
        if code == DECAYED_SUM:
            added = 0.0 if np.isnan(value) else value
        if marks[slot, 0] != NEVER:
            numbers[slot, 0] *= decay(visible - marks[slot, 0], half_life_s)
        numbers[slot, 0] += added
        marks[slot, 0] = visible
    elif not np.isnan(value):
        if code in (MIN, MAX):
            numbers[slot, 0] = _extreme(code == MAX, numbers[slot, 0], value)
        else:
            numbers[slot, 0] += value
            if code == MEAN:
                numbers[slot, 1] += 1


@compiled
def _add_in_window(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slot: int,
    visible: int,
    occurred: int,
    value: float,
) -> None:
    bucket = visible // step
    if code == COUNT_IN_WINDOW:
        numbers[slot, _place(code, numbers, marks, step, half_life_s, slot, bucket)] += 1
    elif code in (LAST_IN_WINDOW, FIRST_IN_WINDOW):
        place = 1 + _place(code, numbers, marks, step, half_life_s, slot, bucket)
        known = marks[slot, place]
        marks[slot, place] = _instant(code == LAST_IN_WINDOW, known, occurred)
    elif not np.isnan(value):
        place = _place(code, numbers, marks, step, half_life_s, slot, bucket)
        if code in (MIN_IN_WINDOW, MAX_IN_WINDOW):
            known_value = numbers[slot, place]
            numbers[slot, place] = _extreme(code == MAX_IN_WINDOW, known_value, value)
        else:
            numbers[slot, place] += value
            if code == MEAN_IN_WINDOW:
                numbers[slot, _RING + place] += 1


@compiled
def _add_distinct(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slot: int,
    visible: int,
    previous: int,
) -> None:
    if code == DISTINCT:
        if previous == NEVER:
            numbers[slot, 0] += 1
        return
    bucket = visible // step
    place = _place(code, numbers, marks, step, half_life_s, slot, bucket)
    if previous != bucket:
        numbers[slot, place] += 1
        if previous > bucket - _RING:
            numbers[slot, previous % _RING] -= 1


@compiled
def _add_event(
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
    """Fold one event into one cell."""
    if code >= DISTINCT:
        _add_distinct(code, numbers, marks, step, half_life_s, slot, visible, previous)
    elif code >= FIRST_WINDOWED:
        _add_in_window(code, numbers, marks, step, half_life_s, slot, visible, occurred, value)
    else:
        _add_plain(code, numbers, marks, step, half_life_s, slot, visible, occurred, value)


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
    if slot < 0:
        return 0.0 if _is_additive(code) else np.nan
    if FIRST_WINDOWED <= code < DISTINCT or code == DISTINCT_IN_WINDOW:
        return _read_window(code, numbers, marks, step, half_life_s, slot, as_of)
    if code == MEAN:
        return numbers[slot, 0] / numbers[slot, 1] if numbers[slot, 1] > 0 else np.nan
    if code in (LAST, FIRST):
        return (as_of - marks[slot, 0]) / _US if marks[slot, 0] != NEVER else np.nan
    if code in (DECAYED_COUNT, DECAYED_SUM):
        if marks[slot, 0] == NEVER:
            return 0.0
        return float(numbers[slot, 0] * decay(as_of - marks[slot, 0], half_life_s))
    return float(numbers[slot, 0])


@compiled
def _is_additive(code: int) -> bool:
    plain = code in (COUNT, SUM, DECAYED_COUNT, DECAYED_SUM)
    return plain or code in (COUNT_IN_WINDOW, SUM_IN_WINDOW) or code >= DISTINCT


@compiled
def _read_window(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    slot: int,
    as_of: int,
) -> float:
    newest = marks[slot, 0]
    if newest == NEVER:
        return 0.0 if _is_additive(code) else np.nan
    total, n_values, extreme, instant = 0.0, 0.0, np.nan, NEVER
    oldest = max(as_of // step - _RING + 1, newest - _RING + 1)
    for bucket in range(oldest, newest + 1):
        place = bucket % _RING
        if code in (LAST_IN_WINDOW, FIRST_IN_WINDOW):
            if marks[slot, 1 + place] != NEVER:
                instant = _instant(code == LAST_IN_WINDOW, instant, marks[slot, 1 + place])
        elif code in (MIN_IN_WINDOW, MAX_IN_WINDOW):
            if not np.isnan(numbers[slot, place]):
                extreme = _extreme(code == MAX_IN_WINDOW, extreme, numbers[slot, place])
        else:
            total += numbers[slot, place]
            if code == MEAN_IN_WINDOW:
                n_values += numbers[slot, _RING + place]
    if _is_additive(code):
        return total
    if code == MEAN_IN_WINDOW:
        return total / n_values if n_values > 0 else np.nan
    if code in (LAST_IN_WINDOW, FIRST_IN_WINDOW):
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
        elif reduce == _MAX:
            result = max(result, value)
        elif reduce == _MIN:
            result = min(result, value)
        else:
            result += value
    if reduce == _MEAN and n_found > 1:
        result /= n_found
    return result


def add_all(state: State, keyed: Keyed, events: Events) -> None:
    """Fold a batch of events in."""
    stream(state, keyed, events, _NOBODY, 0, _NO_VALUES)


def stream(
    state: State, keyed: Keyed, events: Events, asked: Asked, reduce: int, out: NDArray[np.float64]
) -> None:
    """Fold events in and read in between: every request sees the events before it.

    Args:
        state: The cells; goes on from what was folded before.
        keyed: Cells that the events fall into.
        events: A batch.
        asked: The requests among them.
        reduce: How several values become one.
        out: float64 (n_candidates,), written.
    """
    # Array by array: what is taken out of a tuple within a compiled loop is counted as a reference,
    # which costs several times what it takes to add one to a counter.
    _stream(
        *state,
        keyed.rows, keyed.slots, keyed.previous,
        events.types, events.wanted, events.visible, events.occurred, events.values,
        asked.ends, asked.offsets, asked.slots, asked.starts, asked.as_of,
        reduce, out,
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
    asking: NDArray[np.int64],
    as_of: NDArray[np.int64],
    reduce: int,
    out: NDArray[np.float64],
) -> None:
    """Read one value per candidate.

    Args:
        code: As in `State`, and so are the four that follow.
        numbers: Its cells.
        marks: Its cells.
        step: Of its buckets.
        half_life_s: Of its decay.
        slots: int32 (n_keys,): cells; -1: a key without events.
        starts: int64 (n_candidates + 1,): keys of candidate c are `starts[c]:starts[c + 1]`.
        asking: int64 (n_candidates,): request of each candidate.
        as_of: int64 (n_requests,).
        reduce: How several values become one.
        out: float64 (n_candidates,), written.
    """
    if code in (COUNT, SUM, DISTINCT):
        _read_sums(numbers, slots, starts, reduce, out)
        return
    for c in range(len(out)):
        out[c] = _read_reduced(
            code, numbers, marks, step, half_life_s,
            slots, starts[c], starts[c + 1], as_of[asking[c]], reduce,
        )  # fmt: skip


@compiled
def _stream(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    step: int,
    half_life_s: float,
    rows: NDArray[np.int32],
    slots: NDArray[np.int32],
    previous: NDArray[np.int64],
    types: NDArray[np.int16],
    wanted: NDArray[np.bool_],
    visible: NDArray[np.int64],
    occurred: NDArray[np.int64],
    values: NDArray[np.float64],
    ends: NDArray[np.int64],
    offsets: NDArray[np.int64],
    read_slots: NDArray[np.int32],
    starts: NDArray[np.int64],
    as_of: NDArray[np.int64],
    reduce: int,
    out: NDArray[np.float64],
) -> None:
    position, n_requests, has_pairs = 0, len(ends), len(previous) > 0
    for request in range(n_requests + 1):
        end = ends[request] if request < n_requests else len(types)
        while position < len(rows) and rows[position] < end:
            row = rows[position]
            if slots[position] >= 0 and wanted[types[row]]:
                before = previous[position] if has_pairs else NEVER
                _add_event(
                    code, numbers, marks, step, half_life_s, slots[position],
                    visible[row], occurred[row], values[row], before,
                )  # fmt: skip
            position += 1
        if request == n_requests:
            return
        for c in range(offsets[request], offsets[request + 1]):
            out[c] = _read_reduced(
                code, numbers, marks, step, half_life_s,
                read_slots, starts[c], starts[c + 1], as_of[request], reduce,
            )  # fmt: skip


@compiled
def _read_sums(
    numbers: NDArray[Any],
    slots: NDArray[np.int32],
    starts: NDArray[np.int64],
    reduce: int,
    out: NDArray[np.float64],
) -> None:
    """Do what `_read_reduced` does, of folds that are never missing: a few times as fast."""
    for c in range(len(out)):
        first, stop = starts[c], starts[c + 1]
        result = np.nan
        for k in range(first, stop):
            value = float(numbers[slots[k], 0]) if slots[k] >= 0 else 0.0
            if k == first:
                result = value
            elif reduce == _MAX:
                result = max(result, value)
            elif reduce == _MIN:
                result = min(result, value)
            else:
                result += value
        out[c] = result / (stop - first) if reduce == _MEAN and stop - first > 1 else result
