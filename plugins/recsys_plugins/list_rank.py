"""Where a candidate stands in its list: by price, by popularity, by any number; list-wise.

A tree cannot compare a candidate with its neighbours, a rank within the list can. In a log without
impressions the lists of training are drawn and not shown, so a place in one means nothing for the
lists of serving: nothing is offered there unless settings ask for it.
"""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, count
from recsys.hookspecs import hookimpl

_PRICES = re.compile(r"(^|_)(price|cost|amount|fee)($|_)")


class Settings(Section):
    """The table `[settings.list_rank]`.

    `columns` are ranked: item attributes (`item.price`), or `item_actions`; left out: every number
    of items that is named like a price.
    """

    columns: tuple[str, ...] | None = None


@hookimpl
def recsys_aggregates() -> list[Aggregate]:
    """Count what was done with items."""
    return [count("item_actions", "*", by="item")]


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer shares of the list that a candidate exceeds: 0 the lowest, 1 the highest."""
    columns = parse_settings(Settings, settings).columns
    if columns is None:
        columns = _defaults(profile) if profile.n_impressions else ()
    return [
        Feature(
            name=f"list_rank_{name.removeprefix('item.').removeprefix('item_')}",
            expr=_percentile(pl.col(name)),
            listwise=True,
            description=f"rank by {name} within the list, 0 lowest to 1 highest",
        )
        for name in columns
    ]


def _defaults(profile: LogProfile) -> tuple[str, ...]:
    prices = [n for n, a in profile.items.items() if a.kind == "number" and _PRICES.search(n)]
    return tuple(f"item.{name}" for name in prices)


def _percentile(column: pl.Expr) -> pl.Expr:
    # A list of one has no ranks: 0 / 0 is missing.
    return (column.rank("average") - 1.0) / (column.count() - 1.0)
