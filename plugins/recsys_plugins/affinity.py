"""How a user reacted to an item's genres, tags or people before, and how everybody did."""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, count
from recsys.hookspecs import hookimpl
from recsys.schema import IMPRESSION

_MOST_ATTRIBUTES = 8
#: A user is believed to like a genre as much as others do until they saw about this much of it.
_PRIOR_SHOWS = 5.0


def chosen_attributes(profile: LogProfile, settings: dict[str, Any]) -> list[str]:
    """Choose the attributes: `attributes` of the settings, else all whose values come back.

    Returns:
        Names, those with the fewest distinct values first.
    """
    named = settings.get("attributes")
    if named is not None:
        return [name for name in named if name in profile.items]
    found = [name for name, attribute in profile.items.items() if attribute.categorical]
    return sorted(found, key=lambda name: profile.items[name].n_distinct)[:_MOST_ATTRIBUTES]


@hookimpl
def recsys_aggregates(profile: LogProfile, settings: dict[str, Any]) -> list[Aggregate]:
    """Count actions and shows by attribute value, for the user and for everybody."""
    aggregates = []
    for name in chosen_attributes(profile, settings):
        for scope, by in (("user", f"user*item.{name}"), ("all", f"item.{name}")):
            aggregates += [
                count(f"{scope}_{name}_actions", "*", by=by),
                count(f"{scope}_{name}_shows", IMPRESSION, by=by),
            ]
        aggregates.append(
            count(f"user_{name}_most_actions", "*", by=f"user*item.{name}", reduce="max")
        )
    return aggregates


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the user's rate per attribute, smoothed towards everybody's, and both alone."""
    features = []
    for name in chosen_attributes(profile, settings):
        features += [
            Feature(name=f"user_{name}_actions", expr=pl.col(f"user_{name}_actions")),
            Feature(name=f"user_{name}_most_actions", expr=pl.col(f"user_{name}_most_actions")),
        ]
        if profile.n_impressions:
            features += _rates(name)
    return features


def _rates(name: str) -> list[Feature]:
    everybody = (pl.col(f"all_{name}_actions") + 1.0) / (pl.col(f"all_{name}_shows") + 10.0)
    mine = (pl.col(f"user_{name}_actions") + _PRIOR_SHOWS * everybody) / (
        pl.col(f"user_{name}_shows") + _PRIOR_SHOWS
    )
    return [
        Feature(
            name=f"user_{name}_affinity",
            expr=mine / everybody,
            description=f"how much more than others the user acts on an item's {name}",
        ),
        Feature(
            name=f"all_{name}_rate",
            expr=everybody,
            description=f"how often an item's {name} are acted on by anybody",
        ),
    ]
