"""Plugins over attributes of items: categories, vectors, places in the list, and a control."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from plugin_world import columns, rich_world
from recsys_plugins import categories, diversity, list_rank, random_control, vectors
from recsys_plugins.diversity import tag_overlap

from recsys.features.profile import LogProfile, profile_attributes
from recsys.testing.worlds import without_impressions


@pytest.fixture(scope="module")
def events():
    return rich_world()


def item_ids(slates, dataset):
    return np.array([int(dataset.log.items.ids[i][1:]) for i in slates.items])


def test_texts_with_few_values_are_one_column_per_value_by_default(events) -> None:
    slates, dataset, found, _ = columns(categories, events)
    labels = {f"item.category={kind}" for kind in ("shoe", "hat", "sock")}
    assert labels <= set(found)
    assert {"user.country=nl", "context.device=mobile"} <= set(found)
    assert not [name for name in found if "agent" in name or "title" in name]
    shoes = item_ids(slates, dataset) % 3 == 0
    assert (found["item.category=shoe"] == shoes).all()


def test_an_index_is_a_place_among_frequent_values_and_a_hash_a_bucket(events) -> None:
    settings = {"one_hot": ["item.tags"], "index": ["item.category"], "hashed": ["context.query"]}
    _, _, found, plan = columns(categories, events, {**settings, "buckets": 16})
    assert set(found["item.category_index"]) == {0.0, 1.0, 2.0}
    tags = [name for name in found if name.startswith("item.tags=")]
    assert 1 < len(tags) <= 6
    assert not any(name.startswith("user.country") for name in found)
    buckets = found["context.query_bucket"]
    assert ((buckets >= 0) & (buckets < 16) & (buckets == buckets.round())).all()
    assert plan.features[plan.names.index("context.query_bucket")].per_request


def test_a_value_that_came_later_has_no_index_and_odd_values_make_good_names() -> None:
    rows = [{"a": 'x "1"'}, {"a": 'x "1"'}, {"a": "x_1_"}, {"a": "x_1_"}, {"a": "z"}, {"a": "z"}]
    profile = LogProfile(items=profile_attributes(rows))
    one_hot = categories.recsys_features(profile, {"index": ["item.a"]})
    assert [f.name for f in one_hot] == ["item.a=x_1_", "item.a=z", "item.a_index"]
    later = pl.DataFrame({"item.a": ["z", "new", None]}).select(one_hot[-1].expr)
    assert later["item.a"].to_list() == [2.0, None, None]


def test_lists_of_numbers_are_reduced_and_compared_with_the_requests(events) -> None:
    every = ("first", "last", "min", "max", "mean", "sum", "size", "norm")
    settings = {"reducers": every, "elements": 2}
    slates, dataset, found, _ = columns(vectors, events, settings)
    number = item_ids(slates, dataset).astype(float)
    spot = np.stack([number, number % 4])
    assert found["item.spot_sum"] == pytest.approx(spot.sum(axis=0))
    assert found["item.spot_norm"] == pytest.approx(np.hypot(*spot), rel=1e-6)
    assert found["item.spot_1"] == pytest.approx(spot[1])
    distance = np.hypot(spot[0] - 1, spot[1] - 2)
    assert found["item.spot_to_context.spot_distance"] == pytest.approx(distance, rel=1e-6)
    with np.errstate(invalid="ignore"):
        cosine = (spot[0] + 2 * spot[1]) / np.hypot(*spot) / 5**0.5
    both = found["item.spot_to_context.spot_cosine"]
    assert np.array_equal(np.isnan(both), np.isnan(cosine))
    assert both[~np.isnan(both)] == pytest.approx(cosine[~np.isnan(cosine)], rel=1e-6)


def test_lists_of_another_length_have_no_distance_and_break_nothing() -> None:
    lists = {"item.v": [[1.0, 2.0], [1.0], [], None], "context.v": [[1.0, 4.0]] * 4}
    frame = pl.DataFrame(lists, schema=dict.fromkeys(lists, pl.List(pl.Float64)))
    profile = profile_attributes([{"v": [1.0, 2.0]}])
    offered = vectors.recsys_features(LogProfile(items=profile, context=profile), {})
    found = frame.select(f.expr.alias(f.name) for f in offered)
    assert found["item.v_to_context.v_distance"].to_list() == [2.0, None, None, None]


def test_ranks_are_within_the_list_from_lowest_to_highest(events) -> None:
    assert set(columns(list_rank, events)[2]) == {"list_rank_price"}
    settings = {"columns": ["item_actions", "item.price"]}
    slates, dataset, found, plan = columns(list_rank, events, settings)
    assert set(found) == {"list_rank_actions", "list_rank_price"}
    assert all(feature.listwise for feature in plan.features)
    first = slice(0, int(slates.offsets[1]))
    order = np.argsort(np.argsort(item_ids(slates, dataset)[first]))
    assert found["list_rank_price"][first] == pytest.approx(order / (len(order) - 1))


def test_drawn_lists_have_no_ranks_unless_asked_for(events) -> None:
    bare = without_impressions(events)
    profile = LogProfile(items=profile_attributes([{"price": 1.0}]))
    assert list_rank.recsys_features(profile, {}) == []
    assert set(columns(list_rank, bare, {"columns": ["item.price"]})[2]) == {"list_rank_price"}


def test_diversity_is_distance_from_the_median_and_commonness_of_tags(events) -> None:
    settings = {"numbers": ["price"], "tags": ["tags", "category"]}
    slates, dataset, found, _ = columns(diversity, events, settings)
    first = slice(0, int(slates.offsets[1]))
    price = item_ids(slates, dataset)[first] + 1.0
    assert found["list_price_distance"][first] == pytest.approx(np.abs(price - np.median(price)))
    kinds = item_ids(slates, dataset)[first] % 3
    same = [(np.sum(kinds == kind) - 1) / (len(kinds) - 1) for kind in kinds]
    assert found["list_category_overlap"][first] == pytest.approx(same)
    assert diversity.recsys_features(LogProfile(), {}) == []


def test_overlap_is_the_mean_share_of_others_with_a_tag() -> None:
    tags = pl.Series("t", [["a", "b", "a"], ["a"], [], None, ["c", None]])
    assert tag_overlap(tags).to_list() == [0.125, 0.25, None, None, 0.0]
    assert tag_overlap(pl.Series("t", [["a"]])).to_list() == [None]
    assert tag_overlap(pl.Series("t", [None, []], dtype=pl.List(pl.String))).to_list() == [None] * 2


def test_noise_is_even_the_same_each_time_and_another_per_column(events) -> None:
    _, _, found, _ = columns(random_control, events, {"columns": 2})
    for values in found.values():
        assert np.nanmean(values) == pytest.approx(0.5, abs=0.06)
        assert len(set(values[~np.isnan(values)])) > 0.99 * np.sum(~np.isnan(values))
    assert abs(np.corrcoef(*[np.nan_to_num(v) for v in found.values()])[0, 1]) < 0.2
    assert random_control.recsys_features({}) == []
