"""Noise, as a control: a column that helps no more than this one does not help.

Drawn from the user's id, the item's and the instant, so that training and serving agree. Off unless
`[settings.random_control]` asks for columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl


class Settings(Section):
    """The table `[settings.random_control]`."""

    columns: int = Field(default=0, ge=0, le=100)


@hookimpl
def recsys_features(settings: dict[str, Any]) -> list[Feature]:
    """Offer columns that are even between 0 and 1; missing for items that nobody named."""
    ids = [pl.col("item_id"), pl.col("user_id"), pl.col("as_of")]
    return [
        Feature(
            name=f"random_{number}",
            expr=pl.map_batches(ids, _draw(number), return_dtype=pl.Float64),
            description="noise, a control",
        )
        for number in range(parse_settings(Settings, settings).columns)
    ]


def _draw(number: int) -> Callable[[Sequence[pl.Series]], pl.Series]:
    def draw(columns: Sequence[pl.Series]) -> pl.Series:
        items, users, instants = columns
        mixed = _hashes(items, number) ^ _mixed(_hashes(users, number + 1000))
        mixed = _mixed(mixed ^ instants.cast(pl.UInt64).to_numpy())
        values = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
        return pl.Series(items.name, np.where(items.is_null(), np.nan, values), nan_to_null=True)

    return draw


def _hashes(ids: pl.Series, seed: int) -> NDArray[np.uint64]:
    texts: list[str | None] = ids.to_list()
    known = {t: xxhash.xxh3_64_intdigest((t or "").encode(), seed) for t in set(texts)}
    return np.array([known[text] for text in texts], dtype=np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finish a 64-bit hash as MurmurHash3 does: every bit of the input moves all others."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))
