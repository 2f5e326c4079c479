"""A feature that knows the answer is named; honest ones are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.config import Config
from recsys.evaluation.leaks import find_leaks
from recsys.events.snapshot import snapshot_of
from recsys.features.plan import FeaturePlan, Offer, make_plan
from recsys.features.vocabulary import Feature, count
from recsys.testing.worlds import topic_world
from recsys.training.dataset import Dataset, make_dataset


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset(snapshot_of(topic_world(n_users=60).events), Config())


def _plan(dataset: Dataset, *features: Feature) -> FeaturePlan:
    profile = dataset.profile
    clicks = count("clicks", "click", by="item")
    return make_plan(profile, [Offer("mine", aggregates=(clicks,), features=features)])


def _from(values: np.ndarray) -> pl.Expr:
    """A column that is looked up by the place of a candidate, as no honest one could be."""
    return pl.col("clicks").map_batches(
        lambda column: pl.Series(values[: len(column)]), return_dtype=pl.Float64
    )


def _reasons(dataset: Dataset, plan: FeaturePlan) -> dict[str, str]:
    start = round(0.8 * len(dataset.labelled.slates))
    return {found.feature: found.reason for found in find_leaks(dataset, plan, start)}


def test_honest_features_are_not_suspected(dataset: Dataset) -> None:
    plan = _plan(
        dataset,
        Feature(name="clicks", expr=pl.col("clicks")),
        Feature(name="length", expr=pl.col("item.length")),
    )
    assert _reasons(dataset, plan) == {}


def test_a_column_that_orders_every_list_is_suspected_in_either_direction(
    dataset: Dataset,
) -> None:
    told = dataset.labelled.where(dataset.labelled.informative())
    knowing = replace(dataset, labelled=told)
    start = round(0.8 * len(told.slates))
    older = told.part(0, start)
    values = -older.grades.astype(np.float64)
    (found,) = find_leaks(knowing, _plan(dataset, Feature(name="bad", expr=_from(values))), start)
    assert (found.feature, found.plugin) == ("bad", "mine")
    assert "AUC of 1.000" in found.reason


def test_missing_only_where_something_was_done_is_suspected(dataset: Dataset) -> None:
    told = dataset.labelled.where(dataset.labelled.informative())
    knowing = replace(dataset, labelled=told)
    start = round(0.8 * len(told.slates))
    older = told.part(0, start)
    rng = np.random.default_rng(0)
    values = rng.random(len(older.grades))
    values[(older.grades > 0) & (rng.random(len(values)) < 0.5)] = np.nan
    (found,) = find_leaks(knowing, _plan(dataset, Feature(name="gap", expr=_from(values))), start)
    assert "100% of the candidates where it is missing were acted on" in found.reason
