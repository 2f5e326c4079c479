"""Texts with few values as columns: one per value, or a place in a list, or a bucket of a hash.

Values are those that the log's profile names, which is stored in the bundle: a column means the
same while serving as it did while training, and a value that came later has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import polars as pl
import xxhash
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import AttributeProfile, LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl

#: LightGBM takes no JSON punctuation in the names of columns.
_NOT_IN_NAMES = re.compile(r'[\s",:\[\]{}]+')

#: A label has a few words; a user agent, which has a plugin of its own, has many.
_MOST_WORDS = 4.0


class Settings(Section):
    """The table `[settings.categories]`.

    Names are `item.NAME`, `user.NAME`, `context.NAME`, `candidate.NAME`; those that the log lacks
    are passed over.
    `one_hot` left out: every text of users, requests and candidates, and every single text of
    items, that has at most `values` values.
    """

    one_hot: tuple[str, ...] | None = None
    index: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    values: int = Field(default=8, ge=1, le=32)
    buckets: int = Field(default=1024, ge=2)


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the columns; a value of several words is named with underscores."""
    chosen = parse_settings(Settings, settings)
    known = _texts(profile)
    features: list[Feature] = []
    for name, found in known.items():
        few = _few_values(name, found, chosen) if chosen.one_hot is None else name in chosen.one_hot
        features += _one_hot(name, found, chosen.values) if few else []
        features += [_index(name, found)] if name in chosen.index else []
        features += [_hashed(name, found, chosen.buckets)] if name in chosen.hashed else []
    return features


def _texts(profile: LogProfile) -> dict[str, AttributeProfile]:
    return {
        f"{scope}.{name}": attribute
        for scope, attributes in profile.scopes.items()
        for name, attribute in attributes.items()
        if attribute.kind in {"string", "strings"}
    }


def _few_values(name: str, attribute: AttributeProfile, settings: Settings) -> bool:
    of_items_list = name.startswith("item.") and attribute.kind == "strings"
    few = 2 <= attribute.n_distinct <= settings.values and attribute.mean_words < _MOST_WORDS
    return few and attribute.categorical and not of_items_list


def _one_hot(name: str, attribute: AttributeProfile, most: int) -> list[Feature]:
    column = pl.col(name)
    features: dict[str, Feature] = {}
    for value in attribute.frequent[:most]:
        is_value = column == value if attribute.kind == "string" else column.list.contains(value)
        label = f"{name}={_NOT_IN_NAMES.sub('_', value)}"
        # Two values may read alike without their punctuation; the more frequent one has the column.
        features.setdefault(label, _feature(label, name, is_value))
    return list(features.values())


def _index(name: str, attribute: AttributeProfile) -> Feature:
    places = {value: float(place) for place, value in enumerate(attribute.frequent)}
    place = _first(name, attribute).replace_strict(places, default=None, return_dtype=pl.Float32)
    return _feature(f"{name}_index", name, place)


def _hashed(name: str, attribute: AttributeProfile, buckets: int) -> Feature:
    bucket = _first(name, attribute).map_batches(_bucketing(buckets), return_dtype=pl.Float32)
    return _feature(f"{name}_bucket", name, bucket)


def _first(name: str, attribute: AttributeProfile) -> pl.Expr:
    column = pl.col(name)
    return column if attribute.kind == "string" else column.list.first()


def _feature(label: str, name: str, expr: pl.Expr) -> Feature:
    return Feature(name=label, expr=expr, per_request=name.startswith(("user.", "context.")))


def _bucketing(buckets: int) -> Callable[[pl.Series], pl.Series]:
    def read(texts: pl.Series) -> pl.Series:
        values = [None if text is None else _hash(text) % buckets for text in texts.to_list()]
        return pl.Series(texts.name, values, dtype=pl.Float32)

    return read


@lru_cache(maxsize=100_000)
def _hash(text: str) -> int:
    # Not polars' own hash, which may change from one version to the next.
    return xxhash.xxh3_64_intdigest(text.encode())
