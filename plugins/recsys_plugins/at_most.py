"""Rule: at most so many items of one brand, artist or category among the first places.

Off without `[settings.at_most] attribute`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.hookspecs import ListView, Rule, hookimpl
from recsys.schema import AttributeValue


class Settings(Section):
    """The table `[settings.at_most]`.

    `attribute`: of items; where it is a list an item counts for each of its values. Empty: the rule
    is off. `items`: how many of one value there may be among the first `places`.
    """

    attribute: str = ""
    items: int = Field(default=2, ge=1)
    places: int = Field(default=10, ge=1)


class AtMost:
    """Goes down the list and passes over what there is enough of.

    Args:
        settings: What is counted, and how many there may be.
    """

    name = "at_most"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def reorder(self, view: ListView) -> NDArray[np.int64]:
        """Choose the first places; where too few are left, fewer: the others follow by score."""
        chosen: list[int] = []
        taken: Counter[AttributeValue] = Counter()
        n_places = min(self._settings.places, view.n_places)
        for position, version in enumerate(view.versions.tolist()):
            if len(chosen) == n_places:
                break
            values = self._values(view, version)
            if all(taken[value] < self._settings.items for value in values):
                taken.update(values)
                chosen.append(position)
        return np.array(chosen, dtype=np.int64)

    def _values(self, view: ListView, version: int) -> set[Any]:
        attributes = view.items.attributes(version) if version >= 0 else {}
        found = attributes.get(self._settings.attribute)
        if found is None:
            return set()
        return set(found) if isinstance(found, list) else {found}


@hookimpl
def recsys_rules(profile: LogProfile, settings: dict[str, Any]) -> list[Rule]:
    """Offer the rule, where it is asked for.

    Raises:
        ValueError: Items have no such attribute.
    """
    chosen = parse_settings(Settings, settings)
    if not chosen.attribute:
        return []
    if chosen.attribute not in profile.items:
        known = ", ".join(sorted(profile.items)) or "none"
        problem = f"items have no attribute {chosen.attribute!r}; expected one of: {known}"
        raise ValueError(problem)
    return [AtMost(chosen)]
