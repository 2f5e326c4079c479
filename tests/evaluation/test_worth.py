"""A plugin is worth what the ranker loses without it, measured before the test slice."""

from __future__ import annotations

import pytest

from recsys.errors import TrainingError
from recsys.evaluation.worth import plugin_worth
from recsys.events.snapshot import read_snapshot

OFF = '["text_interest"]'


def silent(*_: object) -> None:
    pass


@pytest.fixture
def worth(plain_workspace, monkeypatch):
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", OFF)
    snapshot = read_snapshot(plain_workspace.log_config)
    return lambda plugin, **more: plugin_worth(
        plain_workspace, snapshot, plugin, progress=silent, **more
    )


def test_what_people_like_is_worth_more_than_chance(worth) -> None:
    found = worth("affinity", rounds=2)
    assert found.rankings["with"]["ndcg@10"] > found.rankings["without"]["ndcg@10"]
    mean, low, high = found.difference["ndcg@10"]
    assert 0 < low < mean < high
    assert [use.place for use in found.columns] == sorted(use.place for use in found.columns)
    assert found.columns[0].place == 1
    assert 0 < sum(use.gain for use in found.columns) <= 1


def test_every_round_is_another_seed_on_the_same_lists(worth) -> None:
    once, twice = worth("recency"), worth("recency", rounds=2)
    assert once == worth("recency")
    assert (once.n_measured, once.n_columns) == (twice.n_measured, twice.n_columns)
    assert once.rankings != twice.rankings


@pytest.mark.parametrize("plugin", ["nonsense", "random_control"])
def test_a_plugin_without_columns_is_one_line(worth, plugin) -> None:
    with pytest.raises(TrainingError, match=rf"plugin {plugin}: no column on this log.*recency"):
        worth(plugin)
