"""The plan: expressions over the candidate frame, missing values, and what goes wrong."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.errors import PluginError
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.plan import Offer, make_plan
from recsys.features.profile import LogProfile, profile_log
from recsys.features.slates import Slates
from recsys.features.vocabulary import Feature, count
from recsys.schema import IMPRESSION, ImpressionEvent, ItemEvent, UserEvent, VisibleEvent

EVENTS = [
    VisibleEvent(ItemEvent("v1", 1, "a", {"price": 2.5, "tags": ["x", "y"], "sold": True}), 1),
    VisibleEvent(ItemEvent("v2", 1, "b", {"price": 4.0, "title": "two words"}), 1),
    VisibleEvent(UserEvent("v3", 1, "u", {"country": "nl"}), 1),
    VisibleEvent(ImpressionEvent("p", 5, "u", ["a", "b"], "p", context={"query": "words"}), 5),
]


@pytest.fixture(scope="module")
def reader() -> OfflineReader:
    return OfflineReader(encode_log(snapshot_of(EVENTS)))


def slates_of(reader, *lists: list[str]) -> Slates:
    sizes = [len(items) for items in lists]
    return Slates(
        users=reader.users.rows(["u"] * len(lists)),
        as_of=np.full(len(lists), 9, dtype=np.int64),
        items=reader.items.rows([item for items in lists for item in items]),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        context=[{"query": "words"}] * len(lists),
    )


def plan_of(reader, *features: Feature):
    profile, _ = profile_log(snapshot_of(EVENTS))
    return make_plan(profile, [Offer("mine", features=features)])


def compute(reader, expr: pl.Expr, *lists: list[str], listwise: bool = False) -> list[float]:
    plan = plan_of(reader, Feature(name="f", expr=expr, listwise=listwise))
    return plan.matrix(slates_of(reader, *lists), reader, {})[:, 0].tolist()


def test_attributes_of_items_users_and_requests_are_columns(reader) -> None:
    assert compute(reader, pl.col("item.price"), ["a", "b"]) == [2.5, 4.0]
    assert compute(reader, pl.col("item.sold"), ["a"]) == [1.0]
    assert compute(reader, pl.col("item.tags").list.len(), ["a"]) == [2.0]
    assert compute(reader, pl.col("user.country") == "nl", ["a"]) == [1.0]
    match = pl.col("item.title").str.contains(pl.col("context.query"))
    assert compute(reader, match, ["b"]) == [1.0]


def test_missing_is_missing_and_never_zero(reader) -> None:
    assert np.isnan(compute(reader, pl.col("item.price"), ["unknown"])).all()
    assert np.isnan(compute(reader, pl.col("item.tags").list.len(), ["b"])).all()
    assert np.isnan(compute(reader, pl.col("item.weight") + 1, ["a"])).all()


def test_a_value_that_is_not_finite_is_missing(reader) -> None:
    assert np.isnan(compute(reader, pl.col("item.price") / 0.0, ["a"])).all()


def test_list_wise_features_see_their_own_list_only(reader) -> None:
    mean = pl.col("item.price").mean()
    assert compute(reader, mean, ["a", "b"], ["a"], listwise=True) == [3.25, 3.25, 2.5]


def test_a_feature_with_another_number_of_rows_names_both_shapes(reader) -> None:
    good = Feature(name="good", expr=pl.col("item.price") * 2)
    bad = Feature(name="bad", expr=pl.col("item.price").sort().head(2))
    plan = plan_of(reader, good, bad)
    with pytest.raises(PluginError, match=r"mine, feature bad: .*\(2, 1\); expected \(3, 1\)"):
        plan.matrix(slates_of(reader, ["a", "b", "a"]), reader, {})


def test_an_expression_that_fails_names_plugin_and_feature(reader) -> None:
    with pytest.raises(PluginError, match="plugin mine, feature f: "):
        compute(reader, pl.col("item.tags").str.len_chars(), ["a"])


def test_a_model_column_that_was_not_computed_is_missing(reader) -> None:
    plan = plan_of(reader, Feature(name="price", expr=pl.col("item.price")))
    assert plan.without_models().names == ("price",)
    assert plan.only(["price"]).names == ("price",)


def test_a_value_of_the_request_is_computed_once_and_spread(reader) -> None:
    heights: list[int] = []

    def length(texts: pl.Series) -> pl.Series:
        heights.append(len(texts))
        return texts.str.len_chars()

    expr = pl.col("context.query").map_batches(length, return_dtype=pl.UInt32)
    query = Feature(name="query", expr=expr, per_request=True)
    day = Feature(name="day", expr=pl.col("as_of") // 3, per_request=True)
    country = Feature(name="country", expr=pl.col("user.country") == "nl", per_request=True)
    plan = plan_of(reader, query, day, country)
    found = plan.matrix(slates_of(reader, ["a", "b", "a"], ["a"]), reader, {})
    assert found.tolist() == [[5.0, 3.0, 1.0]] * 4
    assert heights == [2]


@pytest.mark.parametrize(
    ("feature", "cause"),
    [
        (
            Feature(name="f", expr=pl.col("item.price") * 2, per_request=True),
            "f is per_request and reads 'item.price' of the candidate",
        ),
        (
            Feature(name="f", expr=pl.col("as_of") * 2, per_request=True, listwise=True),
            "f is per_request and listwise",
        ),
    ],
)
def test_a_value_of_the_request_must_not_read_the_candidate(reader, feature, cause) -> None:
    with pytest.raises(PluginError, match=cause):
        plan_of(reader, feature)


def test_an_aggregate_of_the_request_may_be_read_and_one_of_the_candidate_not(reader) -> None:
    twice = Feature(name="twice", expr=pl.col("shows") * 2, per_request=True)
    for by, allowed in {
        "user": True,
        "global": True,
        "item": False,
        "user*item.tags": False,
    }.items():
        offer = Offer("mine", (count("shows", IMPRESSION, by=by),), (twice,))
        if allowed:
            plan = make_plan(LogProfile(), [offer])
            assert plan.matrix(slates_of(reader, ["a", "b"]), reader, {}).tolist() == [[4.0]] * 2
        else:
            with pytest.raises(PluginError, match="reads 'shows' of the candidate"):
                make_plan(LogProfile(), [offer])


def test_ids_are_columns_and_missing_where_no_event_named_them(reader) -> None:
    assert compute(reader, pl.col("item_id") == "a", ["a", "b"]) == [1.0, 0.0]
    assert compute(reader, pl.col("user_id") == "u", ["a"]) == [1.0]
    assert np.isnan(compute(reader, pl.col("item_id") == "a", ["unknown"])).all()
