"""First-party plugins keep the contract and mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from fixed_items import FixedItems
from recsys_plugins import (
    affinity,
    item_metadata,
    neighbours,
    popular,
    popularity,
    recency,
    user_activity,
)

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.models import Histories
from recsys.hookspecs import SourceView
from recsys.testing.contracts import check_plugin
from recsys.testing.worlds import without_impressions
from recsys.training.dataset import make_dataset

WITH_FEATURES = [affinity, item_metadata, popularity, recency, user_activity]


@pytest.mark.parametrize("plugin", WITH_FEATURES, ids=lambda p: p.__name__)
def test_the_contract_holds(plugin) -> None:
    assert check_plugin(plugin).names


@pytest.mark.parametrize("plugin", WITH_FEATURES, ids=lambda p: p.__name__)
def test_the_contract_holds_on_a_log_without_impressions(plugin, world) -> None:
    assert check_plugin(plugin, without_impressions(world.events)).names


def column(plugin, world, name):
    dataset = make_dataset(snapshot_of(world.events), Config())
    plan = check_plugin(plugin, world.events)
    matrix = plan.matrix(dataset.labelled.slates, dataset.reader, {})
    return dataset, matrix[:, plan.names.index(name)]


def test_affinity_is_higher_for_the_topic_that_the_user_likes(world) -> None:
    dataset, values = column(affinity, world, "user_tags_affinity")
    slates = dataset.labelled.slates
    late = slates.spread(slates.as_of) > np.median(slates.as_of)
    users = [dataset.log.users.ids[u] for u in slates.spread(slates.users)]
    items = [dataset.log.items.ids[i] for i in slates.items]
    mine = np.array([
        world.topic_of_user[u] == world.topic_of_item[i] for u, i in zip(users, items, strict=True)
    ])
    assert np.nanmean(values[late & mine]) > 1.5 * np.nanmean(values[late & ~mine])


def test_a_fresh_item_has_the_rate_of_all_items(world) -> None:
    _, rates = column(popularity, world, "item_action_rate")
    assert rates[0] == pytest.approx(0.1)
    assert rates.min() > 0.0
    assert rates.max() < 1.0


def test_numbers_and_lengths_of_an_item_are_columns(world) -> None:
    _, lengths = column(item_metadata, world, "item_length")
    assert np.isfinite(lengths).all()
    assert lengths.min() >= 1.0


def test_popular_proposes_the_hottest_items_first() -> None:
    items = FixedItems(item_heat=[1.0, 9.0, 4.0])
    view = SourceView({}, items, np.arange(3, dtype=np.int32), {})
    assert popular.PopularItems().propose(view, 2).tolist() == [1, 2]


class FakeVectors:
    def item_vectors(self):
        return np.array([[1, 0], [0, 1], [0.8, 0.6], [0, 0]], dtype=np.float32)


def view_after(versions: list[int]) -> SourceView:
    rows = np.array([versions], dtype=np.int32)
    floats = rows.astype(np.float32)
    history = Histories(rows, rows, rows.astype(np.int16), floats, floats)
    rows = np.arange(4, dtype=np.int32)
    return SourceView({"user_last_items": history}, FixedItems(), rows, {"text": FakeVectors()})


def test_neighbours_are_nearest_to_any_interest_and_never_without_a_vector() -> None:
    source = neighbours.NearestToInterests()
    assert source.propose(view_after([0]), 9).tolist() == [0, 2, 1]
    assert source.propose(view_after([-1]), 9).tolist() == []
