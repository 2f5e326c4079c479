"""How old an item is: since the log first named it, and since it was first shown or acted on."""

from __future__ import annotations

import polars as pl

from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, since_first
from recsys.hookspecs import hookimpl
from recsys.schema import IMPRESSION


@hookimpl
def recsys_aggregates() -> list[Aggregate]:
    """Remember first sights."""
    return [
        since_first("item_age_s", (IMPRESSION, "*"), by="item"),
        since_first("user_age_s", (IMPRESSION, "*"), by="user"),
    ]


@hookimpl
def recsys_features(profile: LogProfile) -> list[Feature]:
    """Offer ages in seconds, and the age of items whose attributes carry a date of their own."""
    features = [
        Feature(name="item_age_s", expr=pl.col("item_age_s")),
        Feature(name="user_age_s", expr=pl.col("user_age_s")),
    ]
    for name, attribute in profile.items.items():
        if attribute.kind == "number" and name.endswith(("_at", "_date", "_time", "timestamp")):
            seconds = pl.col("as_of") / 1_000_000 - pl.col(f"item.{name}")
            features.append(
                Feature(
                    name=f"item_{name}_age_s",
                    expr=seconds,
                    description=f"age by the item's own {name}, read as seconds since 1970",
                )
            )
    return features
