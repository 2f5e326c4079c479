"""How tired a user may be of an item: seen how often, how lately, and never acted on."""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, count, decayed_count, since_last
from recsys.hookspecs import hookimpl
from recsys.schema import IMPRESSION


class Settings(Section):
    """The table `[settings.fatigue]`; on a log shorter than `min_span_s` nothing is offered."""

    half_life_s: float = Field(default=86_400.0, gt=0)
    min_span_s: float = Field(default=2 * 86_400.0, ge=0)


@hookimpl
def recsys_aggregates(profile: LogProfile, settings: dict[str, Any]) -> list[Aggregate]:
    """Count shows of this very item to this very user; a log without impressions has none."""
    chosen = parse_settings(Settings, settings)
    if not profile.n_impressions or profile.span_s < chosen.min_span_s:
        return []
    half_life_s = chosen.half_life_s
    return [
        count("user_item_shows", IMPRESSION, by="user*item"),
        count("user_item_actions", "*", by="user*item"),
        decayed_count("user_item_fatigue", IMPRESSION, by="user*item", half_life_s=half_life_s),
        since_last("user_item_last_show_s", IMPRESSION, by="user*item"),
    ]


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer them; an item that the user never saw is novel: no shows, and no time since."""
    if not recsys_aggregates(profile, settings):
        return []
    unacted = pl.col("user_item_shows") - pl.col("user_item_actions")
    return [
        Feature(
            name="user_item_shows_in_vain",
            expr=unacted.clip(lower_bound=0),
            description="how often the user saw this item beyond acting on it",
        ),
        Feature(
            name="user_item_fatigue",
            expr=pl.col("user_item_fatigue"),
            description="how often the user saw this item, old shows weighing less",
        ),
        Feature(name="user_item_last_show_s", expr=pl.col("user_item_last_show_s")),
    ]
