"""When time is short, or a plugin does not come back, the answer is made of what there is."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.errors import PluginError
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.guarding import PLUGIN_BUDGET_S, Guard
from recsys.pipeline.observing import SILENT, RequestObserver
from recsys.pipeline.pacing import Pace
from recsys.pipeline.requests import Haste, RankQuery
from recsys.schema import InteractionEvent, VisibleEvent

ITEMS = [f"item{number}" for number in range(20)]


@pytest.fixture
def engine(plain_workspace, monkeypatch) -> Engine:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    return load_engine(plain_workspace)


class Hears(RequestObserver):
    def __init__(self) -> None:
        self.reasons = []

    def degraded(self, reason):
        self.reasons.append(reason)


def rank(engine: Engine, answer_by: float = math.inf, observer: RequestObserver = SILENT):
    query = RankQuery("user0", ITEMS, engine.now("log"), haste=Haste(answer_by), explain_top_k=1)
    return engine.rank(query, observer)


def test_without_any_time_items_stand_by_how_often_they_were_acted_on(engine) -> None:
    rank(engine)
    at = engine.last_event_us + 1
    events = [InteractionEvent(f"x{n}", at, f"v{n}", "item7", "click") for n in range(500)]
    engine.apply([VisibleEvent(event, at) for event in events])
    observer = Hears()
    answer = rank(engine, time.monotonic() - 1.0, observer)
    assert answer.item_ids[0] == "item7"
    assert sorted(answer.item_ids) == sorted(ITEMS)
    assert answer.scores == sorted(answer.scores, reverse=True)
    assert answer.warnings == ["answered without the ranker: too little time"]
    assert answer.explanations == []
    assert observer.reasons == ["deadline"]


def test_models_are_left_out_when_only_the_rest_is_affordable(engine) -> None:
    rank(engine)
    engine._cascade._paces["models"]._per_candidate_s = 10.0
    answer = rank(engine, time.monotonic() + 5.0)
    assert answer.warnings == ["answered without feature models: too little time"]
    assert len(answer.explanations) == 1


def test_models_are_left_out_while_many_others_wait(engine) -> None:
    whole, observer = rank(engine), Hears()
    before = engine._cascade._paces["models"].expect_s(20)
    query = RankQuery("user0", ITEMS, engine.now("log"), haste=Haste(others_wait=True))
    answer = engine.rank(query, observer)
    assert answer.warnings == ["answered without feature models: too many callers"]
    assert observer.reasons == ["overload"]
    assert engine._cascade._paces["models"].expect_s(20) == before
    assert answer.scores != whole.scores
    assert rank(engine).scores == whole.scores


def test_a_bundle_without_feature_models_has_nothing_to_leave_out(engine) -> None:
    contents = replace(engine._scorer.contents, models={})
    plain = Engine(engine._workspace, replace(engine._scorer, contents=contents), engine._live)
    query = RankQuery("user0", ITEMS, engine.now("log"), haste=Haste(others_wait=True))
    assert not any("too many" in warning for warning in plain.rank(query).warnings)


def test_with_time_enough_nothing_is_left_out(engine) -> None:
    rank(engine)
    assert rank(engine, time.monotonic() + 10.0).warnings == []


def test_a_stage_that_is_never_affordable_comes_back_when_it_is_forgotten_how_dear_it_was() -> None:
    pace = Pace()
    assert pace.expect_s(100) == 0.0
    pace.ran(36, 1.0)
    assert pace.expect_s(36) == pytest.approx(1.0)
    assert pace.expect_s(136) == pytest.approx(2.0)
    for _ in range(200):
        pace.left_out()
    assert pace.expect_s(36) < 0.01


def with_feature(engine: Engine, plugin: str, expr: pl.Expr) -> set[str]:
    """Give the first feature of popularity, with another expression, to a plugin."""
    scorer = engine._scorer
    features, owners = list(scorer.plan.features), dict(scorer.plan.owners)
    mine = next(i for i, f in enumerate(features) if owners[f.name] == "popularity")
    features[mine] = replace(features[mine], expr=expr)
    owners[features[mine].name] = plugin
    plan = replace(scorer.plan, features=tuple(features), owners=owners)
    engine.__init__(engine._workspace, replace(scorer, plan=plan), engine._live)
    return {features[mine].name}


def test_a_feature_that_hangs_costs_its_column_and_one_budget(engine) -> None:
    go_on = threading.Event()

    def hang(values: pl.Series) -> pl.Series:
        go_on.wait(30)
        return values

    hanging = pl.col("as_of").map_batches(hang, return_dtype=pl.Float64)
    lost = with_feature(engine, "prices", hanging)
    began = time.monotonic()
    answers = [rank(engine) for _ in range(20)]
    assert time.monotonic() - began < 10
    assert {w for a in answers for w in a.warnings} == {
        "answered without the columns of a plugin: prices failed"
    }
    values = {part.feature: part.value for part in answers[-1].explanations[0].contributions}
    missing = {name for name, value in values.items() if np.isnan(value)}
    assert lost <= missing
    assert len(missing) < len(values)
    go_on.set()


def test_a_feature_in_python_that_comes_back_in_time_counts(engine) -> None:
    (name,) = with_feature(engine, "prices", pl.col("as_of").map_batches(lambda s: s * 0 + 7.0))
    answer = rank(engine)
    assert answer.warnings == []
    values = {part.feature: part.value for part in answer.explanations[0].contributions}
    assert values[name] == 7.0


def test_python_of_a_plugin_that_comes_with_recsys_has_no_budget(engine) -> None:
    def slow(values: pl.Series) -> pl.Series:
        time.sleep(3 * PLUGIN_BUDGET_S)
        return values * 0 + 7.0

    slowly = pl.col("as_of").map_batches(slow, return_dtype=pl.Float64)
    (name,) = with_feature(engine, "popularity", slowly)
    answer = rank(engine)
    assert answer.warnings == []
    values = {part.feature: part.value for part in answer.explanations[0].contributions}
    assert values[name] == 7.0


def test_who_was_late_the_first_time_is_asked_again_at_once_in_a_warm_up(engine) -> None:
    calls = []

    def loads_once(values: pl.Series) -> pl.Series:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(3 * PLUGIN_BUDGET_S)
        return values * 0 + 7.0

    with_feature(engine, "prices", pl.col("as_of").map_batches(loads_once, pl.Float64))
    assert engine.warm_up() == []
    assert len(calls) > 1
    assert rank(engine).warnings == []


def test_a_plugin_that_was_late_is_asked_again_after_a_pause_once_it_has_come_back() -> None:
    now_s, go_on = [0.0], threading.Event()
    guard = Guard(lambda: now_s[0])
    with pytest.raises(PluginError, match="did not come back within 10 ms"):
        guard.call("slow", 0.01, lambda: go_on.wait(30))
    with pytest.raises(PluginError, match="is not asked"):
        guard.call("slow", 5, lambda: 1)
    assert guard.call("other", 5, lambda: 2) == 2
    now_s[0] = 100.0
    with pytest.raises(PluginError, match="is not asked"):
        guard.call("slow", 5, lambda: 1)
    go_on.set()
    guard._late["slow"].call.result(5)
    assert guard.call("slow", 5, lambda: 3) == 3


def test_an_error_of_guarded_code_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        Guard().call("bad", 5, lambda: 1 / 0)
