"""Candidate source: items whose text is nearest to what the user acted on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import (
    FittedFeatureModel,
    Histories,
    ItemVectors,
    vector_model_of,
)
from recsys.features.vocabulary import Aggregate, last_items
from recsys.hookspecs import CandidateSource, SourceView, hookimpl
from recsys.retrieval.nearest import NearestRows

_LAST = 10
#: Versions of items that are looked at for each item that is wanted, and how many times as many
#: where these are of too few items.
_VERSIONS = 2
_DEEPER = 4


class NearestToInterests:
    """The nearest neighbours of each of the user's last items, merged by their best similarity.

    One query per item, not one of their mean: the mean of a western and a cartoon is neither.
    """

    name = "neighbours"

    def __init__(self) -> None:
        self._rows: tuple[ItemVectors | None, NearestRows] = None, NearestRows()

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Read the user's last items."""
        return (last_items("user_last_items", "*", n=_LAST),)

    def prepare(self, models: Mapping[str, FittedFeatureModel]) -> None:
        """Make the index of a large catalogue."""
        model = vector_model_of(models)
        if model is not None:
            self._rows_of(model).prepare(model.item_vectors())

    def propose(self, view: SourceView, n: int) -> NDArray[np.int32]:
        """Propose the n nearest items."""
        model = vector_model_of(view.models)
        interests = _interests(view.histories["user_last_items"])
        if model is None or not len(interests):
            return np.zeros(0, dtype=np.int32)
        vectors, n_versions = model.item_vectors(), _VERSIONS * n
        queries = vectors[interests[interests < len(vectors)]]
        while len(queries):
            rows = self._rows_of(model).find(queries, vectors, n_versions)
            items = dict.fromkeys(view.item_rows[rows].tolist())
            if len(items) >= n or n_versions >= len(vectors):
                return np.array(list(items), dtype=np.int32)[:n]
            n_versions *= _DEEPER
        return np.zeros(0, dtype=np.int32)

    def _rows_of(self, model: ItemVectors) -> NearestRows:
        if self._rows[0] is not model:
            self._rows = model, NearestRows()
        return self._rows[1]


def _interests(histories: Histories) -> NDArray[np.int32]:
    versions: NDArray[np.int32] = histories.versions[0]
    return versions[versions >= 0].astype(np.int32)


@hookimpl
def recsys_candidate_sources() -> list[CandidateSource]:
    """Offer the source."""
    return [NearestToInterests()]
