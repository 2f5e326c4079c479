"""Columns of past requests are computed once, and again only when they would differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.plan import Offer, make_plan
from recsys.features.store import ColumnStore
from recsys.features.vocabulary import Feature, count, since_last
from recsys.schema import InteractionEvent, VisibleEvent
from recsys.training.dataset import make_dataset

CLICKS = count("clicks", "click", by="item")
RECENT = since_last("recent", "*", by="item")
TWICE = Feature(name="twice", expr=pl.col("clicks") * 2)
AGE = Feature(name="age", expr=pl.col("recent"))


def quiet(what: str, done: int, total: int) -> None:
    assert done <= total, what


@pytest.fixture(scope="module")
def dataset(world):
    return make_dataset(snapshot_of(world.events), Config())


def plan_of(dataset, *features: Feature, aggregates=(CLICKS, RECENT)):
    profile = dataset.profile
    return make_plan(profile, [Offer("mine", tuple(aggregates), features)])


def backfill(folder, dataset, plan):
    return store_in(folder, dataset).backfill(plan, dataset.reader, quiet)


def matrix(folder, dataset, plan):
    return store_in(folder, dataset).matrix(plan, dataset.reader, {}, quiet)


def store_in(folder, dataset):
    return ColumnStore(folder, dataset.digest.key, dataset.log, dataset.labelled.slates)


def test_a_new_column_is_computed_alone_and_all_read_as_if_computed_at_once(
    tmp_path, dataset
) -> None:
    assert backfill(tmp_path, dataset, plan_of(dataset, TWICE)).computed == ("twice",)
    both = plan_of(dataset, AGE, TWICE)
    found = backfill(tmp_path, dataset, both)
    assert (found.computed, found.found) == (("age",), ("twice",))
    expected = both.matrix(dataset.labelled.slates, dataset.reader, {})
    np.testing.assert_array_equal(matrix(tmp_path, dataset, both), expected)
    assert backfill(tmp_path, dataset, both).computed == ()


@pytest.mark.parametrize(
    ("feature", "aggregate"),
    [
        (replace(TWICE, expr=pl.col("clicks") * 3), CLICKS),
        (replace(TWICE, listwise=True), CLICKS),
        (TWICE, replace(CLICKS, window_s=60.0)),
        (TWICE, replace(CLICKS, of=("*",))),
    ],
)
def test_a_changed_definition_is_computed_again(tmp_path, dataset, feature, aggregate) -> None:
    backfill(tmp_path, dataset, plan_of(dataset, TWICE))
    changed = plan_of(dataset, feature, aggregates=(aggregate,))
    assert backfill(tmp_path, dataset, changed).computed == ("twice",)


def test_a_log_that_has_grown_is_another_log(tmp_path, dataset, world) -> None:
    backfill(tmp_path, dataset, plan_of(dataset, TWICE))
    last = world.events[-1].visible_at + 1
    click = InteractionEvent("new", last, "user1", "item1", "click")
    grown = make_dataset(snapshot_of([*world.events, VisibleEvent(click, last)]), Config())
    assert backfill(tmp_path, grown, plan_of(grown, TWICE)).computed == ("twice",)


def test_half_a_column_is_never_read(tmp_path, dataset) -> None:
    plan = plan_of(dataset, TWICE)
    whole = matrix(tmp_path, dataset, plan)
    (path,) = tmp_path.glob("*/*.npy")
    shorter = np.load(path)[:-1]
    np.save(path, shorter)
    again = backfill(tmp_path, dataset, plan)
    assert again.computed == ("twice",)
    np.testing.assert_array_equal(matrix(tmp_path, dataset, plan), whole)


def test_only_the_last_two_sets_of_columns_are_kept(tmp_path, dataset) -> None:
    plan = plan_of(dataset, TWICE)
    for n_requests in (3, 4, 5):
        slates = dataset.labelled.slates.part(0, n_requests)
        store = ColumnStore(tmp_path, dataset.digest.key, dataset.log, slates)
        store.backfill(plan, dataset.reader, quiet)
    assert len(list(tmp_path.iterdir())) == 2
