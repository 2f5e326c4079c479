"""Whether a recommendation may hold what the user acted on before: filter and candidate source.

People buy the same coffee again, and hardly see a film twice. The log says which it is: where one
interaction in twenty is with an item that its user had acted on a day before or longer, what was
acted on stays a candidate, a source proposes it, and the ranker decides. Elsewhere it is left out.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Section, parse_settings
from recsys.features.best import best_rows
from recsys.features.profile import LogProfile
from recsys.features.repeats import MANY_REPEATS
from recsys.features.vocabulary import Aggregate, count, since_last
from recsys.hookspecs import CandidateSource, Filter, SourceView, hookimpl

#: An action that long ago counts half.
_FORGOTTEN_S: Final = 30 * 86_400.0
# The same as those of `user_activity`: one state for both.
_COUNT: Final = count("user_item_actions", "*", by="user*item")
_AGE: Final = since_last("user_item_last_action_s", "*", by="user*item")


class Settings(Section):
    """The table `[settings.repeats]`.

    `recommend`: whether what the user acted on is recommended again; `auto`: as the log suggests.
    """

    recommend: Literal["auto", "always", "never"] = "auto"


class ActedOnBefore:
    """What the user acted on, most often and lately first; the ranker orders it anew."""

    name = "again"

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Read how often and how long ago."""
        return (_COUNT, _AGE)

    def propose(self, view: SourceView, n: int) -> NDArray[np.int32]:
        """Propose at most n items."""
        rows = view.items.of_user(_COUNT.name)
        counts, ages_s = (view.items.values(kept.name, rows) for kept in (_COUNT, _AGE))
        worth = np.where(counts > 0, counts / (1.0 + ages_s / _FORGOTTEN_S), np.nan)
        return rows[best_rows(worth, n)]


@hookimpl
def recsys_filters(profile: LogProfile, settings: dict[str, Any]) -> list[Filter]:
    """Offer the filter, where repeats are not wanted."""
    if _wanted(profile, settings):
        return []
    keep = pl.col(_COUNT.name) == 0
    return [Filter(name="not_acted_on", keep=keep, aggregates=(_COUNT,))]


@hookimpl
def recsys_candidate_sources(
    profile: LogProfile, settings: dict[str, Any]
) -> list[CandidateSource]:
    """Offer the source, where repeats are wanted."""
    return [ActedOnBefore()] if _wanted(profile, settings) else []


def _wanted(profile: LogProfile, settings: dict[str, Any]) -> bool:
    chosen = parse_settings(Settings, settings).recommend
    return profile.repeat_share >= MANY_REPEATS if chosen == "auto" else chosen == "always"
