"""What an item says of itself: its numbers as they are, and how much text and how many values."""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import AttributeProfile, LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl


class Settings(Section):
    """The table `[settings.item_metadata]`.

    `words` names texts whose words are counted; left out: those of more than three words on
    average.
    """

    words: tuple[str, ...] | None = None


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer numbers and booleans, word counts and list lengths."""
    words = parse_settings(Settings, settings).words
    features: list[Feature] = []
    for name, attribute in profile.items.items():
        is_counted = attribute.mean_words > 3 if words is None else name in words
        features += _columns(name, attribute, is_counted=is_counted)
    return features


def _columns(name: str, attribute: AttributeProfile, *, is_counted: bool) -> list[Feature]:
    column = pl.col(f"item.{name}")
    if attribute.numeric:
        return [Feature(name=f"item_{name}", expr=column)]
    if attribute.kind == "string" and is_counted:
        words = column.str.count_matches(r"\S+")
        return [Feature(name=f"item_{name}_words", expr=words, description=f"words in {name}")]
    if attribute.kind in {"strings", "numbers"}:
        return [Feature(name=f"item_{name}_n", expr=column.list.len())]
    return []
