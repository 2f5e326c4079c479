"""Every word of the vocabulary keeps the contract on logs full of accidents."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from recsys.features.vocabulary import (
    Aggregate,
    Feature,
    count,
    decayed_count,
    decayed_total,
    distinct,
    maximum,
    mean,
    minimum,
    since_first,
    since_last,
    total,
)
from recsys.hookspecs import hookimpl
from recsys.testing.contracts import PluginContract, check_plugin
from recsys.testing.limits import Limits
from recsys.testing.random_log import random_log

HOUR, DAY = 3_600.0, 86_400.0
REQUEST_PARTS = ("user", "session", "visit", "user.country", "context.device")
ITEM_PARTS = ("item", "item.category", "item.tags")
PAIRS = [f"{first}*{second}" for first, second in product(REQUEST_PARTS, ITEM_PARTS)]
KEYS = ("global", *REQUEST_PARTS, *ITEM_PARTS, *PAIRS)
FOLDS = (
    lambda name, by: count(name, ("view", "impression"), by=by, window_s=DAY),
    lambda name, by: total(name, "*", by=by),
    lambda name, by: mean(name, "*", by=by, window_s=7 * DAY),
    lambda name, by: minimum(name, "*", by=by),
    lambda name, by: maximum(name, "click", by=by, window_s=DAY),
    lambda name, by: distinct(name, "*", by=by, what="user"),
    lambda name, by: since_last(name, "impression", by=by),
    lambda name, by: since_first(name, "*", by=by, window_s=3 * DAY),
    lambda name, by: decayed_count(name, "*", by=by, half_life_s=HOUR),
    lambda name, by: decayed_total(name, "purchase", by=by, half_life_s=DAY),
)


def aggregates(numbers: range) -> list[Aggregate]:
    return [FOLDS[n](f"a{n}_{i}", by) for n in numbers for i, by in enumerate(KEYS)]


def plugin_of(numbers: range) -> SimpleNamespace:
    @hookimpl
    def recsys_aggregates():
        return aggregates(numbers)

    @hookimpl
    def recsys_features():
        return [Feature(name=a.name, expr=pl.col(a.name)) for a in aggregates(numbers)]

    return SimpleNamespace(
        __name__=f"words{numbers.start}",
        recsys_aggregates=recsys_aggregates,
        recsys_features=recsys_features,
    )


class Words(PluginContract):
    """All folds with all keys: more than any plugin would cost."""

    plugin = plugin_of(range(len(FOLDS)))
    limits = Limits(latency_ms=1e6, bytes_per_key=1e6)


@pytest.mark.parametrize(
    "part", ["missing data", "determinism", "isolation", "future-blindness", "equality"]
)
def test_every_fold_with_every_key_keeps_the_contract(part) -> None:
    assert len(Words.plugin.recsys_aggregates()) == 240
    Words()._check(part)


@hookimpl
def recsys_features():
    return [
        Feature(name="words", expr=pl.col("context.query").str.len_chars(), per_request=True),
        Feature(name="rank", expr=pl.col("item.price").rank(), listwise=True),
        Feature(name="second", expr=pl.col("as_of") // 1_000_000 % 60),
        Feature(name="fits", expr=pl.col("item.category") == pl.col("user.country")),
    ]


class TestColumns(PluginContract):
    """Attributes of all scopes, list-wise and per request."""

    plugin = SimpleNamespace(__name__="columns", recsys_features=recsys_features)
    events = random_log(np.random.default_rng(9))


def test_an_id_that_no_event_had_named_yet_is_as_missing_in_training_as_on_a_server() -> None:
    """Training could know it from later; then it would not be what a server sees."""

    @hookimpl
    def recsys_features():
        return [Feature(name="lot", expr=pl.col("item_id").hash(3) % 1000)]

    plugin = SimpleNamespace(__name__="lots", recsys_features=recsys_features)
    assert check_plugin(plugin).names == ("lot",)
