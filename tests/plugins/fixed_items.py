"""What a candidate source may ask of items, from arrays."""

from __future__ import annotations

import numpy as np

from recsys.features.best import best_rows


class FixedItems:
    """Values of aggregates by name; the user's items are those with a value above 0."""

    def __init__(self, **values):
        self._values = {name: np.array(array, dtype=np.float64) for name, array in values.items()}

    def best(self, name, n):
        return best_rows(self._values[name], n).astype(np.int32)

    def of_user(self, name):
        return np.flatnonzero(self._values[name] > 0).astype(np.int32)

    def values(self, name, rows=None):
        return self._values[name] if rows is None else self._values[name][rows]
