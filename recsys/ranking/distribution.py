"""How the values of a column are spread, and how far other values of it are from that.

The population stability index compares shares p and q of bins, here tenths of the reference and one
bin for what is missing: the sum of (q - p) ln(q / p). By custom below 0.1 is stable and above 0.25
has shifted. It is 0 for equal spreads and symmetric; a few hundred values of each side make some
hundredths of noise.

Source: psi
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: An index that is called a shift, by custom.
SHIFTED: Final = 0.25
_BINS: Final = 10
#: An empty bin counts as this share: the index stays finite.
_LEAST: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Distribution:
    """The spread of a column.

    Args:
        edges: Inner edges of the bins, ascending, each once; a value on one is above it.
        shares: Of the present values, one more than edges; they add up to 1 - `missing`.
        missing: Share of the values that are missing.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float

    def shift(self, values: NDArray[np.float32]) -> float:
        """Measure how far other values of the column are from this.

        Args:
            values: float32 (n,): NaN where missing; at least one.

        Returns:
            The population stability index, from 0 on.
        """
        shares, missing = _shares(values, np.array(self.edges, dtype=np.float64))
        p = np.maximum([*self.shares, self.missing], _LEAST)
        q = np.maximum([*shares, missing], _LEAST)
        return float(((q - p) * np.log(q / p)).sum())


def distribution_of(values: NDArray[np.float32]) -> Distribution:
    """Describe a column.

    Args:
        values: float32 (n,): NaN where missing; at least one.

    Returns:
        Its tenths; fewer bins where values repeat.
    """
    present = values[~np.isnan(values)].astype(np.float64)
    edges = np.zeros(0)
    if len(present):
        inner = np.linspace(0, 1, _BINS + 1)[1:-1]
        edges = np.unique(np.quantile(present, inner, method="lower"))
        # A bin below the least value would be empty by its making.
        edges = edges[edges > present.min()]
    shares, missing = _shares(values, edges)
    return Distribution(tuple(edges.tolist()), tuple(shares.tolist()), missing)


def _shares(
    values: NDArray[np.float32], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    present = values[~np.isnan(values)]
    bins = np.searchsorted(edges, present.astype(np.float64), side="right")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return counts / len(values), 1.0 - len(present) / len(values)
