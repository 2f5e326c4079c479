"""Held-out items are unknown to models and counters, and are what is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.config import Config
from recsys.errors import TrainingError
from recsys.evaluation.baselines import matching_features
from recsys.evaluation.cold_items import chosen_items, evaluate_cold_items, without_events_of
from recsys.evaluation.report import Evaluation, evaluate
from recsys.events.pieces import StoredLog
from recsys.events.snapshot import snapshot_of
from recsys.features.profile import profile_log
from recsys.plugins.registry import load_capabilities
from recsys.testing.worlds import topic_world, without_impressions
from recsys.workspace import Workspace


def test_a_tenth_of_the_items_loses_its_events_and_keeps_its_text() -> None:
    snapshot = snapshot_of(topic_world(n_items=80).events)
    held = chosen_items(snapshot, np.random.default_rng(0))
    assert held.n_unique() == 8
    seen = without_events_of(snapshot, held)
    assert seen.items.equals(snapshot.items)
    left = pl.concat([seen.impressions["item_ids"].explode(), seen.interactions["item_id"]])
    assert not left.is_in(held.implode()).any()
    before, after = snapshot.impressions["item_ids"][0], seen.impressions["item_ids"][0]
    assert [item for item in before if item not in set(held)] == after.to_list()
    other = chosen_items(snapshot, np.random.default_rng(1))
    assert set(other) != set(held)


@pytest.fixture(scope="module")
def cold(plain_workspace: Workspace) -> Evaluation:
    log = StoredLog(plain_workspace.log_config, n_events=500)
    return evaluate_cold_items(plain_workspace, log, ["popularity"])


def test_nothing_has_ever_met_a_held_out_item(cold: Evaluation) -> None:
    alone = cold.segments["new_items_alone"]
    assert (cold.protocol, cold.candidates) == ("cold-items", "shown")
    assert alone.n_measured > 0
    assert alone.rankings["click_rate"]["auc"] == 0.5
    assert alone.rankings["popularity"]["auc"] == 0.5
    assert cold.segments["new_items"].n_measured > alone.n_measured


def test_what_is_known_of_new_items_ranks_them(cold: Evaluation) -> None:
    found = cold.segments["new_items"]
    assert found.rankings["full"]["auc"] > found.rankings["popularity"]["auc"] + 0.2
    _, low, _ = found.differences_to["popularity"]["full"]["auc"]
    assert low > 0


def test_the_workspace_stays_as_it_was(cold: Evaluation, plain_workspace: Workspace) -> None:
    assert cold.n_requests > 0
    assert not list(plain_workspace.folder.glob(".cold-items-*"))
    assert len(list(plain_workspace.bundles.glob("2*"))) == 1


def test_a_log_without_impressions_has_cold_items_too(tmp_path: Path) -> None:
    events = without_impressions(topic_world(n_users=20, n_items=40, n_lists=8).events)
    config = Config(
        ranker={"trees": 10, "min_rows_per_leaf": 5},
        plugins={"disabled": ("text_interest",)},
        evaluation={"requests": 60},
    )
    found = evaluate_cold_items(Workspace(tmp_path, config), snapshot_of(events))
    new = found.segments["new_items"]
    assert (found.candidates, found.n_unreachable) == ("catalogue", 0)
    assert new.n_measured > 3
    assert new.rankings["full"]["auc"] > new.rankings["click_rate"]["auc"]


def test_a_baseline_is_a_ranker_over_its_columns(plain_workspace: Workspace) -> None:
    log = StoredLog(plain_workspace.log_config)
    found = evaluate(plain_workspace, log, baselines=["popularity"])
    assert found.rankings["popularity"]["auc"] < found.rankings["full"]["auc"] - 0.1
    assert set(found.differences_to) == {"click_rate", "popularity"}
    mean, low, _ = found.differences_to["popularity"]["full"]["auc"]
    assert 0 < low < mean
    with pytest.raises(
        TrainingError, match=r"populrity: no baseline .* metarank, plain, popularity"
    ):
        evaluate(plain_workspace, log, baselines=["populrity"])


def test_features_are_named_alone_or_by_their_plugin(tmp_path: Path) -> None:
    profile, _ = profile_log(snapshot_of(topic_world().events))
    plan = load_capabilities(tmp_path, Config(), profile).plan
    assert matching_features(plan, ["item_length", "nothing"]) == ("item_length",)
    mine = matching_features(plan, ["popularity/*"])
    assert {plan.owners[name] for name in mine} == {"popularity"}
    assert matching_features(plan, ["text_interest/*"]) == ()
