"""Beyond accuracy: what the first ten places look like, whoever is right.

A ranking may be accurate by giving everybody the same ten items. Coverage says how much of the
catalogue anybody gets to see, novelty how little known it is, diversity how different the items of
one list are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import FittedFeatureModel, item_vectors_of
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import count

K: Final = 10


class FirstPlaces:
    """Collects the first places of every ranking.

    Args:
        reader: The log that features see.
        models: Fitted feature models; one that knows items as vectors tells how alike items are.
    """

    def __init__(self, reader: OfflineReader, models: Mapping[str, FittedFeatureModel]) -> None:
        self._reader = reader
        self._vectors = item_vectors_of(models)
        self._candidates: set[int] = set()
        self._placed: dict[str, set[int]] = defaultdict(set)
        self._sums: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))

    def add(self, slates: Slates, scores: Mapping[str, NDArray[np.float64]]) -> None:
        """Look at the first places of some requests.

        Args:
            slates: The requests; all candidates are of the catalogue.
            scores: float64 (n_candidates,) by name of the ranking.
        """
        actions = self._reader.read(count("actions", "*", by="item"), slates)
        everything = self._reader.read(count("all_actions", "*", by="global"), slates)
        surprise = -np.log2((actions + 1.0) / (everything + len(self._reader.items.ids)))
        self._candidates.update(np.unique(slates.items).tolist())
        for name, values in scores.items():
            first = _first_places(slates, values)
            self._placed[name].update(np.unique(slates.items[first]).tolist())
            different, n_lists = self._differences(slates, first)
            found = (surprise[first].sum(), len(first), different, n_lists)
            self._sums[name] += np.array(found)

    def results(self) -> dict[str, dict[str, float]]:
        """Put everything together.

        Returns:
            By ranking: `coverage@10`, the share of all candidates that stood in any first ten
            places; `novelty@10`, the mean surprise of such an item in bits (-log2 of its share of
            all actions so far); `diversity@10`, the mean cosine distance between two items of one
            list, where a model knows items as vectors.
        """
        found: dict[str, dict[str, float]] = {}
        for name, placed in self._placed.items():
            surprise, n_placed, different, n_lists = self._sums[name].tolist()
            found[name] = {
                "coverage@10": len(placed) / len(self._candidates),
                "novelty@10": surprise / n_placed,
            }
            if n_lists:
                found[name]["diversity@10"] = different / n_lists
        return found

    def _differences(self, slates: Slates, first: NDArray[np.int64]) -> tuple[float, int]:
        """Measure how far apart the items of each list are.

        Returns:
            The sum of mean distances, and the number of lists with at least two items.
        """
        if self._vectors is None:
            return 0.0, 0
        versions = self._reader.item_versions(slates)[first]
        vectors = self._vectors[np.maximum(versions, 0)] * (versions >= 0)[:, None]
        lists = np.searchsorted(slates.offsets, first, side="right") - 1
        _, starts, sizes = np.unique(lists, return_index=True, return_counts=True)
        sums = np.add.reduceat(vectors, starts, axis=0)
        alone = np.add.reduceat((vectors**2).sum(axis=1), starts)
        several = sizes > 1
        pairs = sizes * (sizes - 1.0)
        alike = ((sums**2).sum(axis=1) - alone)[several] / pairs[several]
        return float((1.0 - alike).sum()), int(several.sum())


def _first_places(slates: Slates, scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose the best candidates of each request; of equal ones the first.

    Returns:
        int64: rows, request after request, best first.
    """
    groups = np.repeat(np.arange(len(slates)), slates.sizes)
    order = np.lexsort((-scores, groups))
    places = np.arange(len(order)) - np.repeat(slates.offsets[:-1], slates.sizes)
    first: NDArray[np.int64] = order[places < K]
    return first
