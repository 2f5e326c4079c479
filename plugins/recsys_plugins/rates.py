"""How often one thing leads to another: actions per show, purchases per click; smoothed.

A rate starts at the rate of everything and trusts its own counts with time. What `popularity` says
of any action, this says of each type, of what a request asks for, and of whatever settings name.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import ANY_INTERACTION, Aggregate, Feature, count
from recsys.hookspecs import hookimpl
from recsys.schema import IMPRESSION

_MOST_TYPES = 6
_MOST_REQUEST_ATTRIBUTES = 3
#: A query has a few words; a user agent, which is no kind of wish, has many.
_MOST_WORDS = 8.0


class Rate(Section):
    """One rate: how many events of `top` there are for one of `bottom`.

    Args:
        name: Of the column, `rate_NAME`.
        top: Event types.
        bottom: Event types; `impression`: shows.
        by: Key of both, such as `item`, `item.brand`, `context.query*item`.
        window_s: Only the last seconds; None: ever.
        prior: Events of `bottom` before the rate is more its own than that of everything.
    """

    name: str
    top: str | tuple[str, ...]
    bottom: str | tuple[str, ...] = IMPRESSION
    by: str = "item"
    window_s: float | None = Field(default=None, gt=0)
    prior: float = Field(default=20.0, gt=0)


class Settings(Section):
    """The table `[settings.rates]`; its `rate` left out: found from the log."""

    rate: tuple[Rate, ...] | None = None


@hookimpl
def recsys_aggregates(profile: LogProfile, settings: dict[str, Any]) -> list[Aggregate]:
    """Count top and bottom, by the key and overall."""
    return [
        count(f"rate_{rate.name}_{scope}_{part}", of, by=by, window_s=rate.window_s)
        for rate in _chosen(profile, settings)
        for part, of in (("top", rate.top), ("bottom", rate.bottom))
        for scope, by in (("own", rate.by), ("all", "global"))
    ]


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the rates."""
    return [
        Feature(
            name=f"rate_{rate.name}",
            expr=_smoothed(f"rate_{rate.name}", rate.prior),
            description=f"{_said(rate.top)} per {_said(rate.bottom)}, by {rate.by}",
        )
        for rate in _chosen(profile, settings)
    ]


def _chosen(profile: LogProfile, settings: dict[str, Any]) -> tuple[Rate, ...]:
    chosen = parse_settings(Settings, settings).rate
    if chosen is None:
        chosen = (*_of_types(profile), *_of_requests(profile))
    return chosen


def _of_types(profile: LogProfile) -> list[Rate]:
    """Choose each type per show or, where nothing is known of shows, per the most frequent type."""
    types = sorted(profile.event_types, key=lambda name: -profile.event_types[name])[:_MOST_TYPES]
    if len(types) < 2:
        return []
    if profile.n_impressions:
        return [Rate(name=name, top=name) for name in types]
    return [Rate(name=f"{n}_per_{types[0]}", top=n, bottom=types[0]) for n in types[1:]]


def _of_requests(profile: LogProfile) -> list[Rate]:
    """Choose how an item does for what a request asks: this query, this device."""
    if not profile.n_impressions:
        return []
    found = {n: a for n, a in profile.context.items() if a.kind == "string" and a.categorical}
    found = {n: a for n, a in found.items() if a.mean_words < _MOST_WORDS}
    fewest = sorted(found, key=lambda name: found[name].n_distinct)[:_MOST_REQUEST_ATTRIBUTES]
    return [Rate(name=f"in_{n}", top=ANY_INTERACTION, by=f"context.{n}*item") for n in fewest]


def _smoothed(name: str, prior: float) -> pl.Expr:
    everything = (pl.col(f"{name}_all_top") + 1.0) / (pl.col(f"{name}_all_bottom") + 10.0)
    top = pl.col(f"{name}_own_top") + prior * everything
    return top / (pl.col(f"{name}_own_bottom") + prior)


def _said(of: str | tuple[str, ...]) -> str:
    names = (of,) if isinstance(of, str) else of
    return " or ".join({"*": "actions", IMPRESSION: "show"}.get(name, name) for name in names)
