"""How much a user did, by type, with things that have what the candidate has: clicks on its genres.

`affinity` counts every type alike, as a rate; this counts the types that settings name, alone or
together, in the running session or within a window. Off unless `[settings.interacted_with]` names
rules.
"""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import ANY_INTERACTION, Aggregate, Feature, Reduce, count
from recsys.hookspecs import hookimpl


class Rule(Section):
    """One column.

    Args:
        attribute: Of items; a rule whose attribute the log lacks is passed over.
        types: Event types that count; one that the log lacks counts nothing.
        by: Whose events: the user's, or those of the running session.
        window_s: Only the last seconds; None: ever.
        reduce: How the counts of a candidate's several values become one number.
        name: Of the column; empty: made of types and attribute.
    """

    attribute: str
    types: str | tuple[str, ...] = ANY_INTERACTION
    by: Literal["user", "session"] = "user"
    window_s: float | None = Field(default=None, gt=0)
    reduce: Reduce = "sum"
    name: str = ""

    @property
    def label(self) -> str:
        """Name of the column."""
        types = (self.types,) if isinstance(self.types, str) else self.types
        said = "_".join("action" if kind == ANY_INTERACTION else kind for kind in types)
        return self.name or f"{self.by}_{self.attribute}_{said}"


class Settings(Section):
    """The table `[settings.interacted_with]`; `[[settings.interacted_with.rule]]` names columns."""

    rule: tuple[Rule, ...] = ()


@hookimpl
def recsys_aggregates(profile: LogProfile, settings: dict[str, Any]) -> list[Aggregate]:
    """Count events by value of the attribute."""
    return [
        count(
            rule.label,
            rule.types,
            by=f"{rule.by}*item.{rule.attribute}",
            window_s=rule.window_s,
            reduce=rule.reduce,
        )
        for rule in _chosen(profile, settings)
    ]


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the counts."""
    return [
        Feature(
            name=rule.label,
            expr=pl.col(rule.label),
            description=f"what the {rule.by} did ({rule.types}) with the item's {rule.attribute}",
        )
        for rule in _chosen(profile, settings)
    ]


def _chosen(profile: LogProfile, settings: dict[str, Any]) -> list[Rule]:
    rules = parse_settings(Settings, settings).rule
    return [rule for rule in rules if rule.attribute in profile.items]
