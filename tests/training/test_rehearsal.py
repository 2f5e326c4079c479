"""Some rows of the ranker are as they would be if nobody had met the item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.models import FeatureModel
from recsys.features.plan import FeaturePlan
from recsys.plugins.registry import load_capabilities
from recsys.schema import Attributes, ItemEvent, VisibleEvent
from recsys.testing.worlds import START, topic_world, without_impressions
from recsys.training.dataset import Dataset, make_dataset
from recsys.training.rehearsal import AsIfNew, rehearse

CONFIG = Config(plugins={"disabled": ("text_interest",)}, ranker={"as_if_new": 0.3})
TITLE: Attributes = {"title": "rocket orbit", "tags": ["space"]}


def _plan(dataset: Dataset) -> FeaturePlan:
    profile = dataset.profile
    return load_capabilities(Path("nowhere"), CONFIG, profile).plan


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    fresh = VisibleEvent(ItemEvent("fresh", START - 1, "fresh", TITLE), START - 1)
    return make_dataset(snapshot_of([fresh, *topic_world(n_lists=4).events]), CONFIG)


@pytest.fixture(scope="module")
def plan(dataset: Dataset) -> FeaturePlan:
    return _plan(dataset).without_models()


def test_a_hidden_past_reads_like_that_of_an_item_that_nobody_met(
    dataset: Dataset, plan: FeaturePlan
) -> None:
    slates = dataset.labelled.slates
    everything = np.ones(len(slates.items), dtype=np.bool_)
    (fresh,) = dataset.log.items.rows(["fresh"])
    of_fresh = replace(slates, items=np.full_like(slates.items, fresh))
    expected = plan.matrix(of_fresh, dataset.reader, {})
    found = plan.matrix(slates, AsIfNew(dataset.reader, slates, everything), {})
    seen = plan.matrix(slates, dataset.reader, {})
    counted = [i for i, n in enumerate(plan.names) if plan.owners[n] in {"popularity", "recency"}]
    np.testing.assert_array_equal(found[:, counted], expected[:, counted])
    assert (seen[:, counted] != expected[:, counted]).any()


def test_what_an_item_says_and_other_candidates_stay(dataset: Dataset, plan: FeaturePlan) -> None:
    slates = dataset.labelled.slates
    hidden = np.arange(len(slates.items)) % 7 == 0
    found = plan.matrix(slates, AsIfNew(dataset.reader, slates, hidden), {})
    seen = plan.matrix(slates, dataset.reader, {})
    counted = [i for i, n in enumerate(plan.names) if plan.owners[n] == "popularity"]
    said = [i for i, n in enumerate(plan.names) if plan.owners[n] == "item_metadata"]
    assert said
    np.testing.assert_array_equal(found[:, said], seen[:, said])
    np.testing.assert_array_equal(found[~hidden][:, counted], seen[~hidden][:, counted])


def test_so_many_rows_of_the_train_slice_are_new_afterwards(
    dataset: Dataset, plan: FeaturePlan
) -> None:
    matrix = plan.matrix(dataset.labelled.slates, dataset.reader, {})
    before = matrix.copy()
    n_changed = rehearse(matrix, plan, dataset, n_lists=120, scores={}, config=CONFIG)
    shows = plan.names.index("item_shows")
    n_rows = int(dataset.labelled.slates.offsets[120])
    new = matrix[:n_rows, shows] == 0
    assert n_changed > 0
    assert new.sum() > (before[:n_rows, shows] == 0).sum()
    assert new.mean() == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(matrix[n_rows:], before[n_rows:])
    again = before.copy()
    rehearse(again, plan, dataset, n_lists=120, scores={}, config=CONFIG)
    np.testing.assert_array_equal(again, matrix)


def test_models_that_do_not_read_text_say_nothing_of_what_is_new(dataset: Dataset) -> None:
    plan = _plan(dataset)
    model: FeatureModel = plan.models["together"]
    n_rows = len(dataset.labelled.slates.items)
    scores = {column: np.ones(n_rows, dtype=np.float32) for column in model.columns}
    matrix = plan.matrix(dataset.labelled.slates, dataset.reader, scores)
    n_lists = len(dataset.labelled.slates)
    n_hidden = rehearse(matrix, plan, dataset, n_lists=n_lists, scores=scores, config=CONFIG)
    column = matrix[:, plan.names.index("together_mean")]
    assert np.isnan(column).sum() == n_hidden > 0
    assert np.all(scores["together_mean"] == 1)


def test_nothing_is_rehearsed_where_nothing_lacks(dataset: Dataset, plan: FeaturePlan) -> None:
    matrix = plan.matrix(dataset.labelled.slates, dataset.reader, {})
    before = matrix.copy()
    never = Config(ranker={"as_if_new": 0.0})
    assert rehearse(matrix, plan, dataset, n_lists=120, scores={}, config=never) == 0
    # Nobody has met what the first lists show.
    assert rehearse(matrix, plan, dataset, n_lists=3, scores={}, config=CONFIG) == 0
    np.testing.assert_array_equal(matrix, before)


def test_a_log_without_impressions_is_left_alone() -> None:
    events = without_impressions(topic_world(n_users=10).events)
    dataset = make_dataset(snapshot_of(events), CONFIG)
    plan = _plan(dataset).without_models()
    matrix = plan.matrix(dataset.labelled.slates, dataset.reader, {})
    assert rehearse(matrix, plan, dataset, n_lists=30, scores={}, config=CONFIG) == 0
