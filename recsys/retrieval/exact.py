"""Exact nearest neighbours: one matrix product over all items.

Right below about 50,000 items, where it takes a few milliseconds; an approximate index would trade
recall for nothing there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.features.best import best_rows
from recsys.features.growable import Growable


class NearestRows:
    """Finds the nearest rows of a matrix that grows at the end."""

    def __init__(self) -> None:
        self._there = Growable(np.bool_, False)

    def find(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], n: int
    ) -> NDArray[np.int64]:
        """Find the rows that are most similar to any of the queries.

        Args:
            queries: float32 (n_queries, embedding_size): at least one, unit length.
            vectors: float32 (n_rows, embedding_size): unit length; rows of zeros are never found.
                Those of a later call begin with those of an earlier one.
            n: How many rows at most.

        Returns:
            int64 (<= n,): rows, most similar first, ties in order of rows.
        """
        new = vectors[len(self._there) :]
        if len(new):
            self._there.extend(np.asarray(new.any(axis=1)))
        best = (queries @ vectors.T).max(axis=0)
        best[~self._there.rows[: len(vectors)]] = np.nan
        return best_rows(best, n)
