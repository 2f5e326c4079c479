"""What an item says in numbers, on one scale: its place among the catalogue's values."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ItemSource
from recsys.schema import Attributes

_SAMPLE: Final = 2_000
#: More columns than this are more than a user's taste can be told apart by.
_MOST: Final = 16
#: A number that most items lack says nothing of most items.
_LEAST_SHARE: Final = 0.2
_LEVELS: Final = 65
#: Uniform ranks times this have variance one.
_SPREAD: Final = 3.46
_NOT_A_SIZE: Final = re.compile(r"(^|_)(id|ids|uuid|code|zip|phone)($|_)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NumberScale:
    """Where values stand among the catalogue's.

    Args:
        names: Numeric attributes.
        levels: float64 (n_names, n_levels): quantiles, ascending.
    """

    names: tuple[str, ...]
    levels: NDArray[np.float64]

    def scaled(self, rows: Sequence[Attributes]) -> NDArray[np.float32]:
        """Place items.

        Args:
            rows: Attributes of one item version each.

        Returns:
            float32 (n, n_names): even over the catalogue, mean 0, variance 1; 0 where missing.
        """
        found = np.zeros((len(rows), len(self.names)), dtype=np.float32)
        places = np.linspace(-0.5, 0.5, self.levels.shape[1])
        for column, name in enumerate(self.names):
            values = np.array([_number(row.get(name)) for row in rows])
            levels = self.levels[column]
            # Equal values share the middle of their ranks.
            low = np.searchsorted(levels, values, side="left")
            high = np.maximum(np.searchsorted(levels, values, side="right") - 1, low)
            tied = (places[np.minimum(low, len(places) - 1)] + places[high % len(places)]) / 2
            between = np.interp(values, levels, places)
            scaled = np.where(high > low, tied, between)
            found[:, column] = np.where(np.isnan(values), 0.0, _SPREAD * scaled)
        return found


def no_scale() -> NumberScale:
    """Start with no number at all.

    Returns:
        A scale without names.
    """
    return NumberScale((), np.zeros((0, _LEVELS)))


def find_scale(items: ItemSource) -> NumberScale:
    """Find the numbers of a catalogue and how they are spread.

    Args:
        items: The catalogue; a sample of it is read.

    Returns:
        The scale of every numeric attribute that varies and that enough items have.
    """
    step = max(1, len(items) // _SAMPLE)
    sample = range(0, len(items), step)
    values: dict[str, list[float]] = defaultdict(list)
    for row in sample:
        for name, value in items.attributes(row).items():
            number = _number(value)
            if not np.isnan(number):
                values[name].append(number)
    kept = [
        name
        for name, found in sorted(values.items())
        if len(found) >= _LEAST_SHARE * len(sample)
        and min(found) < max(found)
        and not _NOT_A_SIZE.search(name)
    ][:_MOST]
    if not kept:
        return no_scale()
    levels = [np.quantile(values[name], np.linspace(0.0, 1.0, _LEVELS)) for name in kept]
    return NumberScale(tuple(kept), np.stack(levels))


def _number(value: object) -> float:
    number = float(value) if isinstance(value, int | float) else np.nan
    return number if np.isfinite(number) else np.nan
