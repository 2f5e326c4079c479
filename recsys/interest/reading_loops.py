"""The compiled loops of `recsys.interest.reading`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled
from recsys.interest.buckets import N_AGES, N_TYPES


@compiled
def keep_speaking(
    texts: NDArray[np.int32], rows: NDArray[np.int32], out: NDArray[np.int32]
) -> None:
    """Keep version rows that have text.

    Args:
        texts: int32 (n_versions,): text row of each version; -1: none.
        rows: int32 (n,): version rows.
        out: int32 (n,): written; -1 where there is none.
    """
    for i in range(len(rows)):
        out[i] = rows[i] if 0 <= rows[i] < len(texts) and texts[rows[i]] >= 0 else -1


@compiled
def _age_bucket(seconds: float) -> int:
    if not seconds > 0.0:
        return 0
    # The exponent of a number is the logarithm, rounded down, to the bit.
    return min(math.frexp(1.0 + min(seconds, 2.0**N_AGES))[1] - 1, N_AGES - 1)


@compiled
def _read_side(
    texts: NDArray[np.int32],
    row: int,
    kind: int,
    seconds: float,
) -> tuple[int, int, int]:
    is_there = 0 <= row < len(texts) and texts[row] >= 0
    return row if is_there else -1, min(max(kind, 0), N_TYPES - 1), _age_bucket(seconds)


@compiled
def split_past(
    table: tuple[NDArray[np.int32], NDArray[np.int32]],
    liked: tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.float32]],
    shown: tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.float32]],
    out: tuple[
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
    ],
) -> None:
    """Tell what was liked from what was passed over.

    Args:
        table: Text row and item of each version row.
        liked: Version rows, types and ages of what was acted on, (n_requests, n) each.
        shown: The same of what was shown.
        out: Rows, types and ages of what was liked, then of what was passed over: written.
    """
    texts, items = table
    liked_rows, liked_types, liked_ages = liked
    shown_rows, shown_types, shown_ages = shown
    to_rows, to_types, to_ages, past_rows, past_types, past_ages = out
    n_requests, n_liked = liked_rows.shape
    for request in range(n_requests):
        for i in range(n_liked):
            to_rows[request, i], to_types[request, i], to_ages[request, i] = _read_side(
                texts, liked_rows[request, i], liked_types[request, i], liked_ages[request, i]
            )
        for i in range(shown_rows.shape[1]):
            row = shown_rows[request, i]
            found, kind, age = _read_side(
                texts, row, shown_types[request, i], shown_ages[request, i]
            )
            if found >= 0:
                for k in range(n_liked):
                    other = liked_rows[request, k]
                    if 0 <= other < len(items) and items[other] == items[row]:
                        found = -1
                        break
            past_rows[request, i], past_types[request, i], past_ages[request, i] = found, kind, age
