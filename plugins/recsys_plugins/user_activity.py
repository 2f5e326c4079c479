"""How active a user is, and how choosy."""

from __future__ import annotations

import polars as pl

from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, count, distinct, since_last
from recsys.hookspecs import hookimpl
from recsys.schema import IMPRESSION


@hookimpl
def recsys_aggregates() -> list[Aggregate]:
    """Count what the user did and saw, also with this very item."""
    return [
        count("user_actions", "*", by="user"),
        count("user_shows", IMPRESSION, by="user"),
        distinct("user_items", "*", by="user"),
        since_last("user_last_action_s", "*", by="user"),
        count("user_item_actions", "*", by="user*item"),
        count("user_item_shows", IMPRESSION, by="user*item"),
        since_last("user_item_last_action_s", "*", by="user*item"),
    ]


@hookimpl
def recsys_features(profile: LogProfile) -> list[Feature]:
    """Offer the counts and the user's own rate."""
    names = [
        "user_actions",
        "user_items",
        "user_last_action_s",
        "user_item_actions",
        "user_item_last_action_s",
    ]
    features = [Feature(name=name, expr=pl.col(name)) for name in names]
    if profile.n_impressions:
        features += [
            Feature(name="user_shows", expr=pl.col("user_shows")),
            Feature(name="user_item_shows", expr=pl.col("user_item_shows")),
            Feature(
                name="user_action_rate",
                expr=(pl.col("user_actions") + 1.0) / (pl.col("user_shows") + 10.0),
                description="share of what a user was shown that they acted on",
            ),
        ]
    return features
