"""What one event does to a cell, for every fold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled_loop
from recsys.features.folds import (
    COUNT,
    COUNT_IN_WINDOW,
    DECAYED_COUNT,
    DECAYED_SUM,
    DISTINCT,
    FIRST,
    FIRST_IN_WINDOW,
    LAST,
    LAST_IN_WINDOW,
    MAX,
    MAX_IN_WINDOW,
    MEAN,
    MEAN_IN_WINDOW,
    MIN,
    MIN_IN_WINDOW,
    NEVER,
    RING,
    US,
)


@compiled_loop
def decay(elapsed_us: int, half_life_s: float) -> float:
    """Weigh an event of long ago.

    Returns:
        0.5 ** (elapsed / half life).
    """
    return float(np.exp2(-(elapsed_us / US) / half_life_s))


@compiled_loop
def instant_of(latest: bool, known: int, occurred: int) -> int:
    """Choose the later or the earlier of two instants, of which the first may be missing.

    Returns:
        Microseconds.
    """
    if known == NEVER:
        return occurred
    return max(known, occurred) if latest else min(known, occurred)


@compiled_loop
def extreme_of(largest: bool, known: float, value: float) -> float:
    """Choose the larger or the smaller of two values, of which the first may be missing.

    Returns:
        The value.
    """
    if np.isnan(known):
        return value
    return max(known, value) if largest else min(known, value)


@compiled_loop
def _place(
    code: int, numbers: NDArray[Any], marks: NDArray[np.int64], slot: int, bucket: int
) -> int:
    """Turn the ring of a cell forward to a bucket and empty the places that come round again.

    Returns:
        The place of the bucket.
    """
    newest, latest = marks[slot, 0], bucket % RING
    if bucket > newest:
        n_new = RING if newest == NEVER else min(bucket - newest, RING)
        # Whole rings at once, and no division per place: most cells of a long log are cold.
        place = 0 if n_new == RING else (newest + 1) % RING
        for _ in range(n_new):
            if code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW:
                marks[slot, 1 + place] = NEVER
            elif code == MIN_IN_WINDOW or code == MAX_IN_WINDOW:
                numbers[slot, place] = np.nan
            else:
                numbers[slot, place] = 0
                if code == MEAN_IN_WINDOW:
                    numbers[slot, RING + place] = 0
            place = place + 1 if place + 1 < RING else 0
        marks[slot, 0] = bucket
    return latest


@compiled_loop
def add_plain(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    half_life_s: float,
    slot: int,
    visible: int,
    occurred: int,
    value: float,
) -> None:
    """Fold one event into one cell.

    Args:
        code: The fold.
        numbers: Of all cells.
        marks: Of all cells.
        half_life_s: Of decayed folds.
        slot: The cell.
        visible: When the event became visible, microseconds.
        occurred: When it happened, microseconds.
        value: NaN where it has none.
    """
    if code == COUNT:
        numbers[slot, 0] += 1
    elif code == LAST or code == FIRST:
        marks[slot, 0] = instant_of(code == LAST, marks[slot, 0], occurred)
    elif code == DECAYED_COUNT or code == DECAYED_SUM:
        added = 1.0
        if code == DECAYED_SUM:
            added = 0.0 if np.isnan(value) else value
        if marks[slot, 0] != NEVER:
            numbers[slot, 0] *= decay(visible - marks[slot, 0], half_life_s)
        numbers[slot, 0] += added
        marks[slot, 0] = visible
    elif not np.isnan(value):
        if code == MIN or code == MAX:
            numbers[slot, 0] = extreme_of(code == MAX, numbers[slot, 0], value)
        else:
            numbers[slot, 0] += value
            if code == MEAN:
                numbers[slot, 1] += 1


@compiled_loop
def add_in_window(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    slot: int,
    bucket: int,
    occurred: int,
    value: float,
) -> None:
    """Fold one event into one cell of a windowed fold; see `add_plain`."""
    of_instants = code == LAST_IN_WINDOW or code == FIRST_IN_WINDOW
    if of_instants or not np.isnan(value):
        place = _place(code, numbers, marks, slot, bucket)
        if of_instants:
            known = marks[slot, 1 + place]
            marks[slot, 1 + place] = instant_of(code == LAST_IN_WINDOW, known, occurred)
        elif code == MIN_IN_WINDOW or code == MAX_IN_WINDOW:
            held = numbers[slot, place]
            numbers[slot, place] = extreme_of(code == MAX_IN_WINDOW, held, value)
        else:
            numbers[slot, place] += value
            if code == MEAN_IN_WINDOW:
                numbers[slot, RING + place] += 1


@compiled_loop
def add_count(numbers: NDArray[Any], marks: NDArray[np.int64], slot: int, bucket: int) -> None:
    """Count one event in a window; see `add_plain`."""
    numbers[slot, _place(COUNT_IN_WINDOW, numbers, marks, slot, bucket)] += 1


@compiled_loop
def add_distinct(
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    slot: int,
    bucket: int,
    previous: int,
) -> None:
    """Count one event's item or user where it is new; see `add_plain`.

    `previous` is the bucket in which the pair was seen before, or `NEVER`.
    """
    if code == DISTINCT:
        if previous == NEVER:
            numbers[slot, 0] += 1
        return
    place = _place(code, numbers, marks, slot, bucket)
    if previous != bucket:
        numbers[slot, place] += 1
        if previous > bucket - RING:
            numbers[slot, previous % RING] -= 1
