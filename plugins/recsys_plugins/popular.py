"""Candidate source: what is acted on most lately."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.features.vocabulary import Aggregate, decayed_count
from recsys.hookspecs import CandidateSource, SourceView, hookimpl

_HALF_LIFE_S = 7 * 86_400.0


class PopularItems:
    """Items by decayed number of actions; knows nothing of the user."""

    name = "popular"

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Read the heat of items."""
        return (decayed_count("item_heat", "*", by="item", half_life_s=_HALF_LIFE_S),)

    def propose(self, view: SourceView, n: int) -> NDArray[np.int32]:
        """Propose the n hottest items."""
        return view.items.best("item_heat", n)


@hookimpl
def recsys_candidate_sources() -> list[CandidateSource]:
    """Offer the source."""
    return [PopularItems()]
