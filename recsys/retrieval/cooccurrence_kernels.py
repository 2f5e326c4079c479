"""Inner loops of `cooccurrence`, compiled; imported when first needed: numba is slow to load."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled


@compiled
def list_pairs(
    chosen: NDArray[np.int32],
    offsets: NDArray[np.int64],
    histories: NDArray[np.int32],
    keys: NDArray[np.int64],
) -> int:
    """Write the key of every pair: items of the past with chosen ones, and chosen ones in order.

    Returns:
        How many keys were written.
    """
    n = 0
    for request in range(len(offsets) - 1):
        past = histories[request]
        start, stop = offsets[request], offsets[request + 1]
        for place in range(start, stop):
            item = chosen[place]
            for k in range(len(past)):
                other = past[k]
                if min(item, other) >= 0 and other != item and not np.any(past[:k] == other):
                    keys[n] = np.int64(other) << 32 | np.int64(item)
                    n += 1
            for earlier in range(start, place):
                other = chosen[earlier]
                if min(item, other) >= 0 and other != item:
                    keys[n] = np.int64(other) << 32 | np.int64(item)
                    n += 1
    return n


@compiled
def score_requests(
    table: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]],
    candidates: NDArray[np.int32],
    requests: tuple[NDArray[np.int64], NDArray[np.int32]],
    scores: NDArray[np.float32],
) -> None:
    """Write mean, best and newest similarity of candidates; NaN stays where nothing is known."""
    offsets, histories = requests
    dense = np.zeros((len(table[0]) - 1, 3), dtype=np.float32)
    for request in range(len(offsets) - 1):
        n_known = _add_rows(table, histories[request], dense)
        if n_known == 0:
            continue
        for row in range(offsets[request], offsets[request + 1]):
            item = candidates[row]
            if item >= 0:
                scores[row, 0] = dense[item, 0] / n_known
                scores[row, 1] = dense[item, 1]
                scores[row, 2] = dense[item, 2]
        _clear_rows(table, histories[request], dense)


@compiled
def _add_rows(
    table: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]],
    history: NDArray[np.int32],
    dense: NDArray[np.float32],
) -> int:
    starts, items, similarities = table
    n_known = 0
    for item in history:
        if item < 0:
            continue
        for place in range(starts[item], starts[item + 1]):
            other, value = items[place], similarities[place]
            dense[other, 0] += value
            dense[other, 1] = max(dense[other, 1], value)
            if n_known == 0:
                dense[other, 2] = value
        n_known += 1
    return n_known


@compiled
def _clear_rows(
    table: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]],
    history: NDArray[np.int32],
    dense: NDArray[np.float32],
) -> None:
    starts, items, _ = table
    for item in history:
        if item >= 0:
            for place in range(starts[item], starts[item + 1]):
                dense[items[place]] = 0.0
