"""Exact nearest neighbours: one matrix product over all items.

Right below about 50,000 items, where it takes a few milliseconds; an approximate index would trade
recall for nothing there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.retrieval.best import best_rows


def nearest(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], there: NDArray[np.bool_], n: int
) -> NDArray[np.int64]:
    """Find the rows that are most similar to any of the queries.

    Args:
        queries: float32 (n_queries, embedding_size): at least one, unit length.
        vectors: float32 (n_rows, embedding_size): unit length.
        there: bool (n_rows,): which rows may be found.
        n: How many rows at most.

    Returns:
        int64 (<= n,): rows, most similar first, ties in order of rows.
    """
    best = (queries @ vectors.T).max(axis=0)
    best[~there] = np.nan
    return best_rows(best, n)
