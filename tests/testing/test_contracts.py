"""The contract that plugins inherit holds for good ones and names what is broken in bad ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from recsys_plugins import neighbours, popular, recency, repeats

from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl
from recsys.schema import InteractionEvent, VisibleEvent
from recsys.testing.contracts import PluginContract, check_plugin
from recsys.testing.parts import ContractBrokenError
from recsys.testing.values import feature_values


class TestRecency(PluginContract):
    plugin = recency


@hookimpl
def recsys_aggregates():
    return [count("greedy_actions", "*", by="item")]


@hookimpl
def recsys_features(settings):
    # The made-up candidates of the check at load time, five and one, show nothing.
    share = pl.col("greedy_actions").map_batches(
        lambda values: values / (values.sum() + 1) if len(values) not in (1, 5) else values,
        return_dtype=pl.Float64,
    )
    return [Feature(name="greedy_share", expr=share, listwise=settings.get("listwise", False))]


GREEDY = SimpleNamespace(
    __name__="greedy", recsys_aggregates=recsys_aggregates, recsys_features=recsys_features
)


class Greedy(PluginContract):
    plugin = GREEDY


def test_only_the_parts_that_are_broken_fail() -> None:
    contract = Greedy()
    # In training many lists are computed at once, so what looks at other rows differs there too;
    # the cause is named, and not what follows from it.
    with pytest.raises(ContractBrokenError, match=r"^plugin greedy, isolation: greedy_share"):
        contract.test_training_and_serving_are_equal()
    contract.test_columns_are_numbers_per_candidate()
    with pytest.raises(ContractBrokenError, match=r"^plugin greedy, isolation: greedy_share"):
        contract.test_other_candidates_do_not_matter()


def test_a_list_wise_feature_may_depend_on_the_list_when_it_says_so() -> None:
    with pytest.raises(ContractBrokenError, match="greedy_share"):
        check_plugin(GREEDY)
    assert check_plugin(GREEDY, settings={"listwise": True}).names == ("greedy_share",)


def test_values_of_a_hand_written_log() -> None:
    events = [VisibleEvent(InteractionEvent(f"e{n}", n, "u", "a", "click"), n) for n in (1, 2, 3)]
    values = feature_values(GREEDY, events, "u", ["a", "b"], as_of=3)
    assert values == {"greedy_share": [pytest.approx(2 / 3), 0.0]}


class Doubling:
    name = "doubling"

    def aggregates(self):
        return ()

    def propose(self, view, n):
        return np.zeros(n, dtype=np.int32)


def test_a_source_that_proposes_an_item_twice_is_named() -> None:
    @hookimpl
    def recsys_candidate_sources():
        return [Doubling()]

    plugin = SimpleNamespace(__name__="doubler", recsys_candidate_sources=recsys_candidate_sources)
    with pytest.raises(ContractBrokenError, match="proposals: source doubling, asked for 20: an i"):
        check_plugin(plugin)


@pytest.mark.parametrize("plugin", [popular, neighbours, repeats], ids=lambda p: p.__name__)
def test_sources_and_filters_of_our_own_keep_the_contract(plugin) -> None:
    assert check_plugin(plugin).aggregates
