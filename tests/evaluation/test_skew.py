"""Offline and online agree on real data."""

from __future__ import annotations

import importlib

import numpy as np

from recsys.config import Config
from recsys.evaluation.skew import compare_executions
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.registry import ask_plugins
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
