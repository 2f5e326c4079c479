"""A plugin that fails while serving costs its own columns; the request is answered all the same."""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Event

import numpy as np
import polars as pl
import pytest

from recsys.bundle.contents import Scorer
from recsys.hookspecs import Filter
from recsys.pipeline.candidates import RequestOverError
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.guarding import PLUGIN_BUDGET_S
from recsys.pipeline.observing import SILENT, RequestObserver
from recsys.pipeline.requests import RankQuery, RecommendQuery

ITEMS = [f"item{number}" for number in range(20)]


@pytest.fixture
def engine(plain_workspace, monkeypatch) -> Engine:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    return load_engine(plain_workspace)


def breaks(values: pl.Series) -> pl.Series:
    raise RuntimeError("price service down\nsecond line")  # noqa: TRY003 - as plugins do


def wrong_type(values: pl.Series) -> pl.Series:
    return pl.Series(["a", "b"] * (len(values) // 2))


BROKEN = {
    "raises": pl.col("as_of").map_batches(breaks, return_dtype=pl.Float64),
    "wrong rows": pl.col("as_of").head(2),
    "wrong type": pl.col("as_of").map_batches(wrong_type, return_dtype=pl.String),
}


def with_broken_feature(engine: Engine, plugin: str, expr: pl.Expr) -> set[str]:
    """Replace the last feature of a plugin; gives the names of all its columns."""
    scorer = engine._scorer
    features = list(scorer.plan.features)
    mine = {name for name, owner in scorer.plan.owners.items() if owner == plugin}
    last = max(i for i, feature in enumerate(features) if feature.name in mine)
    features[last] = replace(features[last], expr=expr)
    use(engine, replace(scorer, plan=replace(scorer.plan, features=tuple(features))))
    return mine


def use(engine: Engine, scorer: Scorer) -> None:
    engine.__init__(engine._workspace, scorer, engine._live)


class Hears(RequestObserver):
    def __init__(self) -> None:
        self.failed = []
        self.reasons = []

    def plugin_failed(self, plugin):
        self.failed.append(plugin)

    def degraded(self, reason):
        self.reasons.append(reason)


def rank(engine: Engine, observer: RequestObserver = SILENT):
    query = RankQuery("user0", ITEMS, engine.now("log"), explain_top_k=3)
    return engine.rank(query, observer)


@pytest.mark.parametrize("expr", BROKEN.values(), ids=BROKEN.keys())
def test_the_columns_of_a_failing_plugin_are_missing_and_all_others_stay(engine, expr) -> None:
    whole = {e.item_id: e for e in rank(engine).explanations}
    lost = with_broken_feature(engine, "popularity", expr)
    answer = rank(engine)
    assert sorted(answer.item_ids) == sorted(ITEMS)
    assert np.isfinite(answer.scores).all()
    assert answer.warnings == ["answered without the columns of a plugin: popularity failed"]
    for explanation in answer.explanations:
        values = {part.feature: part.value for part in explanation.contributions}
        assert all(np.isnan(values[name]) for name in lost)
        if explanation.item_id in whole:
            before = {p.feature: p.value for p in whole[explanation.item_id].contributions}
            same = [name for name in values if name not in lost]
            np.testing.assert_array_equal(
                [values[name] for name in same], [before[name] for name in same]
            )


def test_two_failing_plugins_are_both_named_and_the_request_is_answered(engine) -> None:
    with_broken_feature(engine, "popularity", BROKEN["raises"])
    with_broken_feature(engine, "recency", BROKEN["wrong rows"])
    observer = Hears()
    answer = rank(engine, observer)
    assert sorted(observer.failed) == ["popularity", "recency"]
    assert set(observer.reasons) == {"columns"}
    assert len(answer.item_ids) == len(ITEMS)
    named = sorted(w.split(": ")[1] for w in answer.warnings)
    assert named == ["popularity failed", "recency failed"]


class BrokenSource:
    name = "broken"

    def aggregates(self):
        return ()

    def propose(self, view, n):
        raise KeyError(view)


class WrongSource(BrokenSource):
    name = "wrong"

    def propose(self, view, n):
        return np.zeros((2, 2), dtype=np.int32)


class StrangeSource(BrokenSource):
    name = "strange"

    def propose(self, view, n):
        return np.array([0, 99_999_999], dtype=np.int32)


def test_failing_sources_and_filters_are_left_out_of_a_recommendation(engine) -> None:
    before = engine.recommend(RecommendQuery("user0", engine.now("log")))
    capabilities = engine._scorer.capabilities
    broken = replace(
        capabilities,
        sources=(BrokenSource(), WrongSource(), StrangeSource(), *capabilities.sources),
        filters=(*capabilities.filters, Filter(name="bad", keep=BROKEN["raises"])),
    )
    use(engine, replace(engine._scorer, capabilities=broken))
    answer = engine.recommend(RecommendQuery("user0", engine.now("log")))
    assert answer.item_ids == before.item_ids
    assert [w.split(": ")[1] for w in answer.warnings] == [
        "broken failed",
        "wrong failed",
        "strange failed",
        "bad failed",
    ]


class SlowSource(BrokenSource):
    name = "slow"

    def __init__(self) -> None:
        self.may_go_on, self.is_done, self.late_error = Event(), Event(), None

    def propose(self, view, n):
        if not self.may_go_on.wait(30):
            return np.zeros(0, dtype=np.int32)
        try:
            view.items.values("item_actions")
        except RequestOverError as error:
            self.late_error = error
        self.is_done.set()
        return np.zeros(1, dtype=np.int32)


class SlowRule:
    name = "slow rule"

    def reorder(self, view):
        time.sleep(4 * PLUGIN_BUDGET_S)
        return np.arange(len(view.scores))[::-1]


def test_a_source_and_a_rule_that_do_not_come_back_cost_a_request_their_budget(engine) -> None:
    query = RecommendQuery("user0", engine.now("log"))
    before, source = engine.recommend(query), SlowSource()
    capabilities = engine._scorer.capabilities
    slow = replace(
        capabilities,
        sources=(source, *capabilities.sources),
        rules=(*capabilities.rules, SlowRule()),
    )
    use(engine, replace(engine._scorer, capabilities=slow))
    begun = time.monotonic()
    answer = engine.recommend(query)
    assert answer.item_ids == before.item_ids
    assert [w.split(": ")[1] for w in answer.warnings] == ["slow failed", "slow rule failed"]
    # Late once, they are not asked again until they have come back.
    for _ in range(20):
        assert engine.recommend(query).item_ids == before.item_ids
    assert time.monotonic() - begun < 5
    # What a late source would read may be another request's by now.
    source.may_go_on.set()
    assert source.is_done.wait(10)
    assert source.late_error is not None


def test_a_filter_in_python_that_does_not_come_back_costs_a_request_its_budget(engine) -> None:
    query, may_go_on = RecommendQuery("user0", engine.now("log")), Event()
    before = engine.recommend(query)

    def asks_a_service(values: pl.Series) -> pl.Series:
        may_go_on.wait(30)
        return pl.Series([False] * len(values))

    keep = pl.col("as_of").map_batches(asks_a_service, return_dtype=pl.Boolean)
    capabilities = engine._scorer.capabilities
    slow = (Filter(name="slow", keep=keep), *capabilities.filters)
    use(engine, replace(engine._scorer, capabilities=replace(capabilities, filters=slow)))
    begun = time.monotonic()
    for _ in range(20):
        answer = engine.recommend(query)
        assert answer.item_ids == before.item_ids
        assert [w.split(": ")[1] for w in answer.warnings] == ["slow failed"]
    assert time.monotonic() - begun < 5
    may_go_on.set()


def test_a_filter_in_python_that_answers_in_time_has_its_say(engine) -> None:
    query = RecommendQuery("user0", engine.now("log"))
    before = engine.recommend(query)
    nothing = pl.col("as_of").map_batches(
        lambda values: pl.Series([False] * len(values)), return_dtype=pl.Boolean
    )
    capabilities = engine._scorer.capabilities
    filters = (*capabilities.filters, Filter(name="none", keep=nothing))
    use(engine, replace(engine._scorer, capabilities=replace(capabilities, filters=filters)))
    answer = engine.recommend(query)
    assert before.item_ids
    assert not answer.item_ids
    assert not answer.warnings


def test_sources_and_rules_of_others_that_answer_in_time_have_their_say(engine) -> None:
    class Backwards(SlowRule):
        name = "backwards"

        def reorder(self, view):
            return np.arange(view.n_places)[::-1]

    query = RecommendQuery("user0", engine.now("log"))
    before = engine.recommend(query)
    capabilities = engine._scorer.capabilities
    use(engine, replace(engine._scorer, capabilities=replace(capabilities, rules=(Backwards(),))))
    assert engine.recommend(query).item_ids == before.item_ids[::-1]
