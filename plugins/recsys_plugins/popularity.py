"""How much an item is acted on, and how often it is when it is shown."""

from __future__ import annotations

import polars as pl

from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, count, decayed_count, since_last
from recsys.hookspecs import hookimpl
from recsys.schema import IMPRESSION

#: An item is believed to be as good as all items together until it has been shown about this often.
_PRIOR_SHOWS = 20.0
_DAY_S = 86_400.0


@hookimpl
def recsys_aggregates(profile: LogProfile) -> list[Aggregate]:
    """Count what was done with items, per type, recently and ever."""
    per_type = [count(f"item_{name}", name, by="item") for name in profile.event_types]
    return [
        *per_type,
        count("item_actions", "*", by="item"),
        count("item_shows", IMPRESSION, by="item"),
        count("all_actions", "*", by="global"),
        count("all_shows", IMPRESSION, by="global"),
        count("item_actions_1d", "*", by="item", window_s=_DAY_S),
        count("item_shows_1d", IMPRESSION, by="item", window_s=_DAY_S),
        decayed_count("item_heat", "*", by="item", half_life_s=7 * _DAY_S),
        since_last("item_last_action_s", "*", by="item"),
    ]


@hookimpl
def recsys_features(profile: LogProfile) -> list[Feature]:
    """Offer counts, and rates smoothed towards the rate of all items."""
    features = [
        Feature(name="item_actions", expr=pl.col("item_actions")),
        Feature(name="item_actions_1d", expr=pl.col("item_actions_1d")),
        Feature(name="item_heat", expr=pl.col("item_heat")),
        Feature(name="item_last_action_s", expr=pl.col("item_last_action_s")),
    ]
    if len(profile.event_types) > 1:
        names = [f"item_{name}" for name in profile.event_types]
        features += [Feature(name=name, expr=pl.col(name)) for name in names]
    if profile.n_impressions:
        features += [
            Feature(name="item_shows", expr=pl.col("item_shows")),
            Feature(
                name="item_action_rate",
                expr=smoothed_rate("item_actions", "item_shows"),
                description="share of an item's shows that were acted on, so far",
            ),
            Feature(
                name="item_action_rate_1d",
                expr=smoothed_rate("item_actions_1d", "item_shows_1d"),
                description="the same over the last day",
            ),
        ]
    return features


def smoothed_rate(actions: str, shows: str) -> pl.Expr:
    """Estimate a rate that starts at the rate of all items and trusts an item's own with time.

    Returns:
        An expression over two counts and the global ones.
    """
    prior = (pl.col("all_actions") + 1.0) / (pl.col("all_shows") + 10.0)
    return (pl.col(actions) + _PRIOR_SHOWS * prior) / (pl.col(shows) + _PRIOR_SHOWS)
