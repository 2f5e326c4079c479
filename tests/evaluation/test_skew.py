"""Offline and online agree on real data."""

from __future__ import annotations

import importlib

import numpy as np

from recsys.config import Config
from recsys.evaluation.skew import compare_executions
from recsys.events.pieces import StoredLog
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.registry import ask_plugins, load_capabilities
from recsys.training.dataset import make_dataset

NAMES = ("affinity", "item_metadata", "popularity", "recency", "user_activity")


def test_training_and_serving_features_are_equal_on_ranklens(ranklens) -> None:
    dataset = make_dataset(ranklens, Config())
    plugins = [
        LoadedPlugin(name, "", "", importlib.import_module(f"recsys_plugins.{name}"))
        for name in NAMES
    ]
    plan = ask_plugins(plugins, Config(), dataset.profile).plan
    skew = compare_executions(ranklens, dataset, plan, np.random.default_rng(5), n_requests=120)
    assert skew.n_mismatches == 0, skew.mismatches
    assert skew.n_values == 120 * 24 * len(plan.names)


def test_a_log_that_is_read_in_pieces_agrees_too(plain_workspace) -> None:
    config = plain_workspace.config
    log = StoredLog(plain_workspace.log_config, n_events=500)
    dataset = make_dataset(log, config)
    plan = load_capabilities(plain_workspace.folder, config, dataset.profile).plan
    skew = compare_executions(log, dataset, plan, np.random.default_rng(5), n_requests=60)
    assert skew.n_mismatches == 0, skew.mismatches
    assert skew.n_requests == 60
