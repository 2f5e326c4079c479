"""The best few of many, without sorting the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_rows(values: NDArray[np.floating], n: int) -> NDArray[np.int64]:
    """Find the rows with the largest values.

    Args:
        values: (n_rows,): NaN is never found.
        n: How many rows at most.

    Returns:
        int64 (<= n,): rows, largest value first, ties in order of rows: what a stable sort of
        everything would begin with.
    """
    rows = np.flatnonzero(~np.isnan(values))
    falling = -values[rows]
    if 0 < n < len(rows):
        rows = rows[kept := falling <= np.partition(falling, n - 1)[n - 1]]
        falling = falling[kept]
    order = np.argsort(falling, kind="stable")[: max(n, 0)]
    found: NDArray[np.int64] = rows[order]
    return found
