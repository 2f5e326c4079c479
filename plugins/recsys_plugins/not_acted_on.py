"""Filter: a recommendation is something that the user has not acted on yet."""

from __future__ import annotations

import polars as pl

from recsys.features.vocabulary import count
from recsys.hookspecs import Filter, hookimpl


@hookimpl
def recsys_filters() -> list[Filter]:
    """Offer the filter."""
    return [
        Filter(
            name="not_acted_on",
            keep=pl.col("user_item_actions") == 0,
            aggregates=(count("user_item_actions", "*", by="user*item"),),
        )
    ]
