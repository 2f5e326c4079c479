"""Rule: no two places of a list that say the same; off without `[settings.variety] strength`.

Place by place the candidate is taken that is good and unlike what stands above it (maximal marginal
relevance). How alike two items are is told by the vectors of the text model, which was tuned on
what people did, so that two films of one series are alike and two of one length are not.

Source: mmr
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.models import item_vectors_of
from recsys.hookspecs import ListView, Rule, hookimpl

_TINY: Final = 1e-9


class Settings(Section):
    """The table `[settings.variety]`.

    `strength`: what an item loses for being like one above it, beside what it has by its score; 0:
    the rule is off. `places`: how many first places it fills. `among`: of how many best candidates.
    """

    strength: float = Field(default=0.0, ge=0, lt=1)
    places: int = Field(default=20, ge=1)
    among: int = Field(default=100, ge=2)


class Variety:
    """Maximal marginal relevance over the first places.

    Args:
        settings: How much, and how far down.
    """

    name = "variety"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def reorder(self, view: ListView) -> NDArray[np.int64]:
        """Choose the first places; nothing where no model knows items as vectors."""
        vectors = _vectors(view, self._settings.among)
        if vectors is None:
            return np.zeros(0, dtype=np.int64)
        n_places = min(self._settings.places, view.n_places, len(vectors))
        return mmr(view.scores[: len(vectors)], vectors, n_places, self._settings.strength)


def mmr(
    scores: NDArray[np.float64], vectors: NDArray[np.float32], n_places: int, strength: float
) -> NDArray[np.int64]:
    """Take candidates one by one: (1 - strength) x score - strength x similarity to those above.

    Args:
        scores: float64 (n,): in any unit; standardised before they are compared.
        vectors: float32 (n, size): unit length, zero where nothing is known of an item.
        n_places: How many to take, at most n.
        strength: 0 to 1.

    Returns:
        int64 (n_places,): positions; of equal ones the first.
    """
    worth = (1.0 - strength) * (scores - scores.mean()) / max(float(scores.std()), _TINY)
    nearest = np.zeros(len(scores))
    chosen = np.empty(n_places, dtype=np.int64)
    for place in range(n_places):
        best = int(np.argmax(worth - strength * nearest))
        chosen[place] = best
        worth[best] = -np.inf
        np.maximum(nearest, vectors @ vectors[best], out=nearest)
    return chosen


def _vectors(view: ListView, n: int) -> NDArray[np.float32] | None:
    known = item_vectors_of(view.models)
    if known is None:
        return None
    versions = view.versions[:n]
    # An item that came in this moment has no vector yet.
    there = (versions >= 0) & (versions < len(known))
    found: NDArray[np.float32] = known[np.where(there, versions, 0)] * there[:, None]
    return found


@hookimpl
def recsys_rules(settings: dict[str, Any]) -> list[Rule]:
    """Offer the rule, where it is asked for."""
    chosen = parse_settings(Settings, settings)
    return [Variety(chosen)] if chosen.strength else []
