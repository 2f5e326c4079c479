"""What the caller says of each candidate, as columns: a search engine's relevancy, a bid, a stock.

Values come with the request (`candidate_attributes`) and with past impressions
(`item_attributes`). The place in the list is not among them: it is known only afterwards.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl


class Settings(Section):
    """The table `[settings.relevancy]`.

    `attributes` are names of numbers; those that the log lacks are passed over. Left out: every
    number or boolean that impressions carry for their items and that is not always the same.
    """

    attributes: tuple[str, ...] | None = None


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the values as they are."""
    named = parse_settings(Settings, settings).attributes
    known = {name: found for name, found in profile.candidates.items() if found.numeric}
    if named is None:
        named = tuple(name for name, found in known.items() if found.n_distinct > 1)
    return [
        Feature(
            name=f"candidate.{name}",
            expr=pl.col(f"candidate.{name}"),
            description=f"{name} that the caller gives the candidate",
        )
        for name in named
        if name in known
    ]
