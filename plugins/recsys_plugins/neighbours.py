"""Candidate source: items whose text is nearest to what the user acted on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import Histories, ItemVectors
from recsys.features.vocabulary import Aggregate, last_items
from recsys.hookspecs import CandidateSource, SourceView, hookimpl
from recsys.retrieval.exact import nearest

_LAST = 10


class NearestToInterests:
    """Exact nearest neighbours of each of the user's last items, merged by their best similarity.

    One query per item, not one of their mean: the mean of a western and a cartoon is neither.
    Exact search over 50,000 items of 64 dimensions costs about two milliseconds.
    """

    name = "neighbours"

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Read the user's last items."""
        return (last_items("user_last_items", "*", n=_LAST),)

    def propose(self, view: SourceView, n: int) -> NDArray[np.int32]:
        """Propose the n nearest items."""
        vectors = _vectors(view)
        interests = _interests(view.histories["user_last_items"])
        if vectors is None or not len(interests):
            return np.zeros(0, dtype=np.int32)
        rows = nearest(vectors[interests], vectors, len(vectors))
        items = dict.fromkeys(view.item_rows[rows].tolist())
        return np.array(list(items), dtype=np.int32)[:n]


def _vectors(view: SourceView) -> NDArray[np.float32] | None:
    for model in view.models.values():
        if isinstance(model, ItemVectors):
            return model.item_vectors()
    return None


def _interests(histories: Histories) -> NDArray[np.int32]:
    versions: NDArray[np.int32] = histories.versions[0]
    return versions[versions >= 0].astype(np.int32)


@hookimpl
def recsys_candidate_sources() -> list[CandidateSource]:
    """Offer the source."""
    return [NearestToInterests()]
