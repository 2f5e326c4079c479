"""Seed items: what a user is looking at while they ask, such as the product of the page.

No event says so yet, so counts know nothing of it. The last items of a past do: a seed stands in
front of them, as though it had just been acted on, and whatever was learned of the newest item of a
past holds for it. Nothing is learned of seeds themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import Histories


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seed items of a batch of requests.

    Args:
        rows: int32 (n_seeds,) for each request: item rows, the most important first.
        event_type: What they count as.
    """

    rows: Sequence[NDArray[np.int32]]
    event_type: str

    def take(self, requests: NDArray[np.int64]) -> Seeds:
        """Choose requests.

        Returns:
            Their seeds.
        """
        return Seeds([self.rows[i] for i in requests.tolist()], self.event_type)


def in_front(
    past: Histories, rows: Sequence[NDArray[np.int32]], versions: NDArray[np.int32], kind: int
) -> Histories:
    """Put seeds before what was done; what no longer fits falls off at the end.

    Args:
        past: The histories.
        rows: Seeds of each request, as in `Seeds`.
        versions: int32 (n_seeds,): version rows of all of them, request after request.
        kind: Index of the event type that they count as.

    Returns:
        Histories of the same width.
    """
    places = past.items.shape[1]
    items, found = past.items.copy(), past.versions.copy()
    types, ages, values = past.types.copy(), past.ages_s.copy(), past.values.copy()
    stop = 0
    for request, seeds in enumerate(rows):
        start, stop = stop, stop + len(seeds)
        n = min(len(seeds), places)
        for column in (items, found, types, ages, values):
            column[request, n:] = column[request, : places - n].copy()
        items[request, :n] = seeds[:n]
        found[request, :n] = versions[start : start + n]
        types[request, :n], ages[request, :n], values[request, :n] = kind, 0.0, np.nan
    return Histories(items, found, types, ages, values)
