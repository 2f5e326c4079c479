"""The walk: events are folded into cells and requests read them, in order of time.

The offline execution interleaves both in one pass over the log (`stream`), so its cost is linear in
both and its state is what was asked for, however long the log is. There are four kinds of loops,
so that what windows need is no part of the others; the bucket of an instant is computed only
when it changes: a division per event costs more than a count.

Events and reads fall on cells all over a table that no cache holds, but which cells come next is
known: they are fetched while others are worked on (`prefetch`), which makes a walk two to three
times as fast. Sorting events and reads by cell instead would keep one cell at a time in the cache,
and needs a copy of both; it was not tried.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled_loop, inlined
from recsys.features.fold_add import add_count, add_distinct, add_in_window, add_plain
from recsys.features.fold_read import read_reduced
from recsys.features.folds import (
    COUNT,
    COUNT_LOOP,
    DISTINCT,
    DISTINCT_LOOP,
    MAX_OF,
    MEAN_OF,
    MIN_OF,
    NEVER,
    PLAIN_LOOP,
    SUM,
    WINDOW_LOOP,
    Asked,
    Events,
    Keyed,
    State,
    loop_of,
)
from recsys.features.prefetching import prefetch

#: How many cells ahead of the one that is worked on are fetched.
_AHEAD: Final = 16
_loop_of = inlined(loop_of)


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
    _stream_of(loop_of(state.code))(
        *state,
        keyed.rows, keyed.slots, keyed.previous,
        events.types, events.wanted, events.visible, events.occurred, events.values,
        asked.ends, asked.offsets, asked.slots, asked.starts, asked.as_of,
        reduce, out,
    )  # fmt: skip


@compiled_loop
def _read_sums(
    numbers: NDArray[Any],
    slots: NDArray[np.int32],
    starts: NDArray[np.int64],
    reduce: int,
    out: NDArray[np.float64],
) -> None:
    """Do what `read_reduced` does, of folds that are never missing: a few times as fast."""
    for c in range(len(out)):
        first, stop = starts[c], starts[c + 1]
        result = np.nan
        for k in range(first, stop):
            value = float(numbers[slots[k], 0]) if slots[k] >= 0 else 0.0
            if k == first:
                result = value
            elif reduce == MAX_OF:
                result = max(result, value)
            elif reduce == MIN_OF:
                result = min(result, value)
            else:
                result += value
        out[c] = result / (stop - first) if reduce == MEAN_OF and stop - first > 1 else result


@compiled_loop
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
    if code == COUNT or code == SUM or code == DISTINCT:
        _read_sums(numbers, slots, starts, reduce, out)
        return
    loop, bucket, bucket_of = _loop_of(code), 0, -1
    for c in range(len(out)):
        request = asking[c]
        if loop != PLAIN_LOOP and request != bucket_of:
            bucket, bucket_of = as_of[request] // step, request
        out[c] = read_reduced(
            loop, code, numbers, marks, half_life_s,
            slots, starts[c], starts[c + 1], as_of[request], bucket, reduce,
        )  # fmt: skip


@inlined
def _fetch(
    numbers: NDArray[Any], marks: NDArray[np.int64], slots: NDArray[np.int32], k: int
) -> None:
    if k < len(slots):
        prefetch(numbers, slots[k])
        prefetch(marks, slots[k])


@inlined
def _add_one(
    loop: int,
    code: int,
    numbers: NDArray[Any],
    marks: NDArray[np.int64],
    half_life_s: float,
    slot: int,
    bucket: int,
    previous: int,
    visible: int,
    occurred: int,
    value: float,
) -> None:
    if loop == COUNT_LOOP:
        add_count(numbers, marks, slot, bucket)
    elif loop == DISTINCT_LOOP:
        add_distinct(code, numbers, marks, slot, bucket, previous)
    elif loop == WINDOW_LOOP:
        add_in_window(code, numbers, marks, slot, bucket, occurred, value)
    else:
        add_plain(code, numbers, marks, half_life_s, slot, visible, occurred, value)


@inlined
def _add_until(
    end: int,
    position: int,
    bucket: int,
    bucket_end: int,
    loop: int,
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
) -> tuple[int, int, int]:
    """Fold events before `end` in, from a position on.

    Returns:
        Where to go on, and the bucket of the newest event with the instant at which it ends.
    """
    while position < len(rows) and rows[position] < end:
        row, slot = rows[position], slots[position]
        _fetch(numbers, marks, slots, position + _AHEAD)
        if slot >= 0 and wanted[types[row]]:
            if loop != PLAIN_LOOP and visible[row] >= bucket_end:
                bucket = visible[row] // step
                bucket_end = (bucket + 1) * step
            _add_one(
                loop, code, numbers, marks, half_life_s, slot, bucket,
                previous[position] if loop == DISTINCT_LOOP else NEVER,
                visible[row], occurred[row], values[row],
            )  # fmt: skip
        position += 1
    return position, bucket, bucket_end


@cache
def _stream_of(loop: int) -> Callable[..., None]:
    """Make one of the four loops; it is compiled when first called.

    Returns:
        The loop.
    """

    @compiled_loop
    def stream_all(
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
        position, n_requests = 0, len(ends)
        windowed = loop != PLAIN_LOOP
        bucket, bucket_end, read_bucket, read_end = 0, NEVER, 0, NEVER
        for request in range(n_requests + 1):
            end = ends[request] if request < n_requests else len(types)
            position, bucket, bucket_end = _add_until(
                end, position, bucket, bucket_end, loop, code, numbers, marks, step, half_life_s,
                rows, slots, previous, types, wanted, visible, occurred, values,
            )  # fmt: skip
            if request == n_requests:
                return
            if windowed and as_of[request] >= read_end:
                read_bucket = as_of[request] // step
                read_end = (read_bucket + 1) * step
            for c in range(offsets[request], offsets[request + 1]):
                for k in range(starts[c], starts[c + 1]):
                    _fetch(numbers, marks, read_slots, k + _AHEAD)
                out[c] = read_reduced(
                    loop, code, numbers, marks, half_life_s, read_slots,
                    starts[c], starts[c + 1], as_of[request], read_bucket, reduce,
                )  # fmt: skip

    return stream_all


@compiled_loop
def add_all(
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
) -> None:
    """Fold a batch of events in; nobody asks in between.

    Args:
        code: As in `State`, and so are the four that follow.
        numbers: Its cells.
        marks: Its cells.
        step: Of its buckets.
        half_life_s: Of its decay.
        rows: As in `Keyed`, and so are the two that follow.
        slots: Cells that the events fall into.
        previous: Of `distinct` folds.
        types: As in `Events`, and so are the four that follow.
        wanted: Event types that count.
        visible: When they became visible.
        occurred: When they happened.
        values: Of the events.
    """
    _add_until(
        len(types), 0, 0, NEVER, _loop_of(code), code, numbers, marks, step, half_life_s,
        rows, slots, previous, types, wanted, visible, occurred, values,
    )  # fmt: skip
