"""What a cell reads at an instant, for every fold, and how several cells become one value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled_loop
from recsys.features.fold_add import decay, extreme_of, instant_of
from recsys.features.folds import (
    COUNT,
    COUNT_IN_WINDOW,
    COUNT_LOOP,
    DECAYED_COUNT,
    DECAYED_SUM,
    DISTINCT,
    DISTINCT_IN_WINDOW,
    FIRST,
    FIRST_IN_WINDOW,
    LAST,
    LAST_IN_WINDOW,
    MAX_IN_WINDOW,
    MAX_OF,
    MEAN,
    MEAN_IN_WINDOW,
    MEAN_OF,
    MIN_IN_WINDOW,
    MIN_OF,
    NEVER,
    RING,
    SUM,
    SUM_IN_WINDOW,
    US,
    WINDOW_LOOP,
)


@compiled_loop
def _is_additive(code: int) -> bool:
    plain = code == COUNT or code == SUM or code == DECAYED_COUNT or code == DECAYED_SUM
    return plain or (code == COUNT_IN_WINDOW or code == SUM_IN_WINDOW) or code >= DISTINCT


@compiled_loop
def _read_plain(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    half_life_s: float,
    slot: int,
    as_of: int,
) -> float:
    if code == MEAN:
        return numbers[slot, 0] / numbers[slot, 1] if numbers[slot, 1] > 0 else np.nan
    if code == LAST or code == FIRST:
        return (as_of - marks[slot, 0]) / US if marks[slot, 0] != NEVER else np.nan
    if code == DECAYED_COUNT or code == DECAYED_SUM:
        if marks[slot, 0] == NEVER:
            return 0.0
        return float(numbers[slot, 0] * decay(as_of - marks[slot, 0], half_life_s))
    return float(numbers[slot, 0])


@compiled_loop
def _count_in_window(
    numbers: NDArray[Any], marks: NDArray[np.int64], slot: int, bucket: int
) -> float:
    """Add a ring up and take off what has left the window since its newest event.

    Whole numbers may be taken off again; sums of values may not, because of their rounding.

    Returns:
        The count.
    """
    newest, total = marks[slot, 0], 0
    if newest == NEVER or bucket - newest >= RING:
        return 0.0
    for place in range(RING):
        total += numbers[slot, place]
    place = (newest + 1) % RING
    for _ in range(bucket - newest):
        total -= numbers[slot, place]
        place = place + 1 if place + 1 < RING else 0
    return float(total)


@compiled_loop
def _read_window(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    slot: int,
    as_of: int,
    bucket: int,
) -> float:
    newest = marks[slot, 0]
    if newest == NEVER:
        return 0.0 if code == SUM_IN_WINDOW else np.nan
    total, n_values, extreme, instant = 0.0, 0.0, np.nan, NEVER
    for number in range(max(bucket, newest) - RING + 1, newest + 1):
        place = number % RING
        if code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW:
            if marks[slot, 1 + place] != NEVER:
                instant = instant_of(code == LAST_IN_WINDOW, instant, marks[slot, 1 + place])
        elif code == MIN_IN_WINDOW or code == MAX_IN_WINDOW:
            if not np.isnan(numbers[slot, place]):
                extreme = extreme_of(code == MAX_IN_WINDOW, extreme, numbers[slot, place])
        else:
            total += numbers[slot, place]
            if code == MEAN_IN_WINDOW:
                n_values += numbers[slot, RING + place]
    if code == SUM_IN_WINDOW:
        return total
    if code == MEAN_IN_WINDOW:
        return total / n_values if n_values > 0 else np.nan
    if code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW:
        return (as_of - instant) / US if instant != NEVER else np.nan
    return extreme


@compiled_loop
def _read_one(
    loop: int,
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    half_life_s: float,
    slot: int,
    as_of: int,
    bucket: int,
) -> float:
    """Read one cell at an instant later than everything folded into it.

    Returns:
        The value; NaN where nothing is there and that does not mean 0. A slot of -1 has no events.
    """
    if slot < 0:
        return 0.0 if _is_additive(code) else np.nan
    if loop == COUNT_LOOP or code == DISTINCT_IN_WINDOW:
        return _count_in_window(numbers, marks, slot, bucket)
    if loop == WINDOW_LOOP:
        return _read_window(code, numbers, marks, slot, as_of, bucket)
    return _read_plain(code, numbers, marks, half_life_s, slot, as_of)


@compiled_loop
def read_reduced(
    loop: int,
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    half_life_s: float,
    slots: NDArray[np.int32],
    first: int,
    stop: int,
    as_of: int,
    bucket: int,
    reduce: int,
) -> float:
    """Read the cells of one candidate and make one value of them; missing ones are left out.

    Args:
        loop: In which it is computed.
        code: The fold.
        numbers: Of all cells.
        marks: Of all cells.
        half_life_s: Of decayed folds.
        slots: int32 (n_keys,): cells; -1: a key without events.
        first: The candidate's first key.
        stop: The one after its last.
        as_of: Of the request, microseconds.
        bucket: The bucket in which that is, of windowed folds.
        reduce: How several values become one.

    Returns:
        The value; NaN without any.
    """
    result, n_found = np.nan, 0
    for k in range(first, stop):
        value = _read_one(loop, code, numbers, marks, half_life_s, slots[k], as_of, bucket)
        if np.isnan(value):
            continue
        n_found += 1
        if n_found == 1:
            result = value
        elif reduce == MAX_OF:
            result = max(result, value)
        elif reduce == MIN_OF:
            result = min(result, value)
        else:
            result += value
    if reduce == MEAN_OF and n_found > 1:
        result /= n_found
    return result
