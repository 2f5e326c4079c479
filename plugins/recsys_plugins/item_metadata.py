"""What an item says of itself: its numbers as they are, and how much text and how many values."""

from __future__ import annotations

import polars as pl

from recsys.features.profile import AttributeProfile, LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl


@hookimpl
def recsys_features(profile: LogProfile) -> list[Feature]:
    """Offer numbers and booleans, word counts and list lengths."""
    features: list[Feature] = []
    for name, attribute in profile.items.items():
        features += _columns(name, attribute)
    return features


def _columns(name: str, attribute: AttributeProfile) -> list[Feature]:
    column = pl.col(f"item.{name}")
    if attribute.numeric:
        return [Feature(name=f"item_{name}", expr=column)]
    if attribute.kind == "string" and attribute.mean_words > 3:
        words = column.str.count_matches(r"\S+")
        return [Feature(name=f"item_{name}_words", expr=words, description=f"words in {name}")]
    if attribute.kind in {"strings", "numbers"}:
        return [Feature(name=f"item_{name}_n", expr=column.list.len())]
    return []
