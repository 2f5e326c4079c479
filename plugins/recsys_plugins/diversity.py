"""How much a candidate differs from its list: in a number, or in its tags; list-wise."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl


class Settings(Section):
    """The table `[settings.diversity]`.

    `numbers` and `tags` are item attributes; those that the log lacks are passed over. In a log
    without impressions the lists of training are drawn and not shown: do not ask for it there.
    """

    numbers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the distance from the list's median, and how common a candidate's tags are in it."""
    chosen = parse_settings(Settings, settings)
    kinds = {name: attribute.kind for name, attribute in profile.items.items()}
    numbers = [name for name in chosen.numbers if kinds.get(name) == "number"]
    tags = [name for name in chosen.tags if kinds.get(name) in {"string", "strings"}]
    return [*map(_distance, numbers), *map(_overlap, tags)]


def _distance(name: str) -> Feature:
    column = pl.col(f"item.{name}")
    return Feature(
        name=f"list_{name}_distance",
        expr=(column - column.median()).abs(),
        listwise=True,
        description=f"distance of {name} from the list's median",
    )


def _overlap(name: str) -> Feature:
    return Feature(
        name=f"list_{name}_overlap",
        expr=pl.col(f"item.{name}").map_batches(tag_overlap, return_dtype=pl.Float64),
        listwise=True,
        description=f"share of the other candidates that have a {name} of this one, mean over its",
    )


def tag_overlap(tags: pl.Series) -> pl.Series:
    """Compare tags with those of the rest of the list.

    Args:
        tags: Of one list: a text or a list of texts per candidate.

    Returns:
        Share of the other candidates with a tag, mean over a candidate's tags; null without tags
        and in a list of one.
    """
    sets = [_distinct(value) for value in tags.to_list()]
    n_with = Counter(chain.from_iterable(sets))
    n_others = len(tags) - 1
    means = [
        sum(n_with[tag] - 1 for tag in found) / (len(found) * n_others)
        if found and n_others
        else None
        for found in sets
    ]
    return pl.Series(tags.name, means, dtype=pl.Float64)


def _distinct(value: str | list[str | None] | None) -> set[str]:
    texts = [value] if isinstance(value, str) else value or []
    return {text for text in texts if text is not None}
