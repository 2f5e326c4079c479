"""How long ago the user last acted on something of the same kind: genre, brand, author."""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, since_last
from recsys.hookspecs import hookimpl

_MOST = 2
#: What was done minutes ago is no recency; the times of such a log may well be made up.
_MIN_SPAN_S = 2 * 86_400.0


class Settings(Section):
    """The table `[settings.attribute_recency]`.

    `attributes` of items; left out: of those whose values come back the two with the fewest, where
    the log spans two days.
    """

    attributes: tuple[str, ...] | None = None


@hookimpl
def recsys_aggregates(profile: LogProfile, settings: dict[str, Any]) -> list[Aggregate]:
    """Remember the user's last action per value; of several values the latest counts."""
    return [
        since_last(f"user_{name}_last_action_s", "*", by=f"user*item.{name}")
        for name in _chosen(profile, settings)
    ]


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer seconds."""
    return [
        Feature(
            name=f"user_{name}_last_action_s",
            expr=pl.col(f"user_{name}_last_action_s"),
            description=f"seconds since the user acted on an item with one of its {name}",
        )
        for name in _chosen(profile, settings)
    ]


def _chosen(profile: LogProfile, settings: dict[str, Any]) -> list[str]:
    named = parse_settings(Settings, settings).attributes
    if named is not None:
        return [name for name in named if name in profile.items]
    if profile.span_s < _MIN_SPAN_S:
        return []
    found = [name for name, attribute in profile.items.items() if attribute.categorical]
    return sorted(found, key=lambda name: profile.items[name].n_distinct)[:_MOST]
