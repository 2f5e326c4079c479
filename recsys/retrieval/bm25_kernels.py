"""Inner loop of `bm25`, compiled; imported when first needed: numba is slow to load."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled

_K1: Final = 1.2
_B: Final = 0.75


@compiled
def match_rows(
    table: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]],
    rows: NDArray[np.int32],
    query: tuple[NDArray[np.float32], int, float],
    found: NDArray[np.float32],
) -> None:
    """Write share and BM25 of every row that has a text.

    Args:
        table: Starts of rows, term codes, their counts, and terms per row.
        rows: Which rows; those outside of the table are left as they are.
        query: Weight of each term code, 0: not asked for; terms of the query, and of a text on
            average.
        found: float32 (n, 2).
    """
    starts, terms, counts, lengths = table
    weights, n_asked, mean_terms = query
    for place in range(len(rows)):
        row = rows[place]
        if row < 0 or row >= len(lengths) or lengths[row] == 0:
            continue
        n_found, score = 0, 0.0
        slack = _K1 * (1 - _B + _B * lengths[row] / mean_terms)
        for position in range(starts[row], starts[row + 1]):
            weight = weights[terms[position]]
            if weight > 0:
                n_found += 1
                score += weight * counts[position] * (_K1 + 1) / (counts[position] + slack)
        found[place, 0] = n_found / n_asked
        found[place, 1] = score
