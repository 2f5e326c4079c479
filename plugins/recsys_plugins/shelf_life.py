"""Filter: a recommendation is no older than `[settings.shelf_life] days`; off without them."""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import since_first
from recsys.hookspecs import Filter, hookimpl
from recsys.schema import IMPRESSION

_DAY_S = 86_400.0


class Settings(Section):
    """The table `[settings.shelf_life]`.

    `days`: how old a recommended item may be; 0: any age. `attribute`: a number that items carry,
    seconds since 1970, from which the age is told; empty: since an item was first shown or acted
    on. What has no age, because nobody met it yet or it carries no such number, is kept.
    """

    days: float = Field(default=0.0, ge=0)
    attribute: str = ""


@hookimpl
def recsys_filters(profile: LogProfile, settings: dict[str, Any]) -> list[Filter]:
    """Offer the filter, where it is asked for.

    Raises:
        ValueError: Items carry no number of that name.
    """
    chosen = parse_settings(Settings, settings)
    if not chosen.days:
        return []
    name = chosen.attribute
    if not name:
        # The same as that of `recency`: one state for both, where both are there.
        age = since_first("item_age_s", (IMPRESSION, "*"), by="item")
        keep = _within(pl.col("item_age_s"), chosen.days)
        return [Filter(name="shelf_life", keep=keep, aggregates=(age,))]
    numbers = sorted(n for n, found in profile.items.items() if found.kind == "number")
    if name not in numbers:
        problem = f"attribute {name!r} is no number of items; expected one of {', '.join(numbers)}"
        raise ValueError(problem)
    age_s = pl.col("as_of") / 1_000_000 - pl.col(f"item.{name}")
    return [Filter(name="shelf_life", keep=_within(age_s, chosen.days))]


def _within(age_s: pl.Expr, days: float) -> pl.Expr:
    return age_s.fill_nan(None) <= days * _DAY_S
