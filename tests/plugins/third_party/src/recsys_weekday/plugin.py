"""On which weekday a request is made, and how much is done with the item at all."""

import polars as pl

from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl

DAY_US = 86_400_000_000


@hookimpl
def recsys_aggregates():
    return [count("weekday_actions", "*", by="item")]


@hookimpl
def recsys_features():
    # The epoch was a Thursday: Monday is 0.
    weekday = (pl.col("as_of") // DAY_US + 3) % 7
    actions = pl.col("weekday_actions")
    return [
        Feature(name="weekday", expr=weekday),
        Feature(name="weekend_actions", expr=pl.when(weekday >= 5).then(actions).otherwise(0.0)),
    ]
