"""The compiled loops of `recsys.interest.scoring`.

The past of a request is laid out once, so that every candidate goes through it in a few straight
loops.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled_loop, compiled_sums, inlined
from recsys.interest.scratch import AT_ONCE, ITEMS, Scratch, Work, filled
from recsys.interest.stored_vectors import Vector
from recsys.interest.taste_loops import find_taste
from recsys.interest.vector_loops import compare_four, exponentials, product

#: Log weight of an item that counts for nothing.
_NOTHING: Final = np.float32(-100.0)
_ZERO: Final = np.float32(0.0)
_filled = inlined(filled)


@compiled_loop
def score_requests(
    lists: tuple[NDArray[np.int32], NDArray[np.int64]], work: Work, scores: Vector
) -> None:
    """Score all candidates of all requests.

    Args:
        lists: Version rows with text, int32 (n_candidates,), -1: none; and where requests begin,
            int64 (n_requests + 1,).
        work: Pasts, model, and where to lay a request out.
        scores: float32 (n_candidates, 5), NaN: written, columns as in `scoring.COLUMNS`.
    """
    candidates, offsets = lists
    fitted = len(work.head.mix) > 0
    for request in range(len(offsets) - 1):
        laid = _lay_out(work, request, fitted)
        if fitted and laid[0] + laid[1] > 0:
            _weigh(work, request)
            find_taste(work, request)
        place, end = offsets[request], offsets[request + 1]
        while place < end:
            place, n = _take(candidates, place, end, work.scratch)
            if n > 0:
                _score_four(work, laid, n, scores)


@compiled_loop
def _take(candidates: NDArray[np.int32], place: int, end: int, scratch: Scratch) -> tuple[int, int]:
    """Take the next candidates with text; the last one stands for those that are missing to four.

    So all are compared by the same code, and a score does not depend on what else is scored.

    Returns:
        Where the rest begins, and how many were taken.
    """
    four, rows, n = scratch.four, scratch.four_rows, 0
    while place < end and n < len(four):
        if candidates[place] >= 0:
            four[n], rows[n] = place, candidates[place]
            n += 1
        place += 1
    for j in range(n, len(four)):
        four[j], rows[j] = four[n - 1], rows[n - 1]
    return place, n


@compiled_loop
def _score_four(work: Work, laid: tuple[int, int, int, int], n: int, scores: Vector) -> None:
    """Score the candidates that `_take` took against what `_lay_out` laid out."""
    stored, scratch, near = work.stored, work.scratch, work.scratch.near
    rows, text_rows = scratch.four_rows, stored.text_rows
    n_liked, n_passed, base, end = laid
    fitted = len(work.head.mix) > 0
    if n_liked > 0:
        _gather(stored.plain, text_rows, rows, scratch.four_plain)
        compare_four(scratch.four_plain, scratch.plain, n_liked, near)
        for j in range(n):
            found = scores[scratch.four[j]]
            found[3], found[4] = _mean_and_most(near[j, :n_liked])
    if fitted:
        for j in range(n):
            scores[scratch.four[j], 2] = stored.appeal[text_rows[rows[j]]]
    if fitted and n_liked + n_passed > 0:
        _gather(stored.points, text_rows, rows, scratch.four_points)
        compare_four(scratch.four_points, scratch.points, n_liked, near)
        compare_four(scratch.four_points, scratch.points[base:], n_passed, near[:, base:])
        for j in range(n):
            found = scores[scratch.four[j]]
            found[1] = product(stored.traits[rows[j]], scratch.taste)
            found[0] = found[1] + _attend(work, base, end, near[j])


@compiled_loop
def _gather(
    vectors: Vector, text_rows: NDArray[np.int32], rows: NDArray[np.int32], out: Vector
) -> None:
    """Copy the vectors of four versions."""
    for j in range(len(rows)):
        text_row = text_rows[rows[j]]
        for k in range(out.shape[1]):
            out[j, k] = vectors[text_row, k]


@compiled_loop
def _lay_out(work: Work, request: int, fitted: bool) -> tuple[int, int, int, int]:
    """Copy the vectors of a past.

    Returns:
        How many were liked and passed over; where the latter begin; where all end.
    """
    liked, passed_over = work.pasts[0].rows[request], work.pasts[1].rows[request]
    stored, scratch = work.stored, work.scratch
    n_liked, n_passed = _copy(stored.plain, stored.text_rows, liked, scratch.plain), 0
    base = _filled(n_liked, ITEMS)
    if fitted:
        _copy(stored.points, stored.text_rows, liked, scratch.points)
        n_passed = _copy(stored.points, stored.text_rows, passed_over, scratch.points[base:])
    end = base + _filled(n_passed, ITEMS)
    for j in range(len(scratch.near)):
        for i in range(end):
            scratch.near[j, i] = _ZERO
    return n_liked, n_passed, base, end


@compiled_loop
def _copy(
    vectors: Vector, text_rows: NDArray[np.int32], rows: NDArray[np.int32], out: Vector
) -> int:
    """Copy the vectors of one kind of past, and vectors of zeros behind.

    Returns:
        How many there are.
    """
    n = 0
    for row in rows:
        if row >= 0:
            for k in range(out.shape[1]):
                out[n, k] = vectors[text_rows[row], k]
            n += 1
    for i in range(n, _filled(n, AT_ONCE)):
        for k in range(out.shape[1]):
            out[i, k] = _ZERO
    return n


@compiled_loop
def _weigh(work: Work, request: int) -> None:
    """Weigh each item of a past by what it is, what was done with it and how long ago."""
    stored, head, scratch = work.stored, work.head, work.scratch
    sharpness, offset, shares = scratch.sharpness, scratch.offset, scratch.shares
    base = 0
    for side in range(2):
        past, temperature = work.pasts[side], head.temperature[side]
        n = base
        for i in range(past.rows.shape[1]):
            row = past.rows[request, i]
            if row >= 0:
                weight = stored.values[stored.text_rows[row], side]
                weight += head.age_bias[side, past.ages[request, i]]
                if side == 0:
                    weight += head.type_bias[past.types[request, i]]
                # No similarity is above one, so no power is too large.
                shares[n], sharpness[n], offset[n] = weight, temperature, weight - temperature
                n += 1
        end = base + _filled(n - base, ITEMS)
        for i in range(n, end):
            shares[i], sharpness[i], offset[i] = _NOTHING, _ZERO, _NOTHING
        exponentials(shares[base:end], scratch.bits, scratch.powers)
        share = head.mix[2 * side] / (np.float32(n - base) + head.shrinkage[side])
        for i in range(base, end):
            shares[i] *= share
        base = end


@compiled_sums
def _mean_and_most(values: Vector) -> tuple[np.float32, np.float32]:
    total, most = _ZERO, values[0]
    for i in range(len(values)):
        total += values[i]
        most = max(most, values[i])
    return total / np.float32(len(values)), most


@compiled_sums
def _attend(work: Work, base: int, end: int, near: Vector) -> np.float32:
    """Compare a candidate with both kinds of past, its similarities being known.

    Returns:
        What mean and attended similarities add up to.
    """
    mix, scratch = work.head.mix, work.scratch
    attention = scratch.attention
    interest = _ZERO
    for i in range(end):
        attention[i] = near[i] * scratch.sharpness[i] + scratch.offset[i]
        interest += near[i] * scratch.shares[i]
    exponentials(attention[:end], scratch.bits, scratch.powers)
    low, high = 0, base
    for side in range(2):
        attended, total = _ZERO, _ZERO
        for i in range(low, high):
            attended += near[i] * attention[i]
            total += attention[i]
        if low < high:
            interest += mix[2 * side + 1] * (attended / total)
        low, high = base, end
    return interest
