"""What cannot be had is not recommended, from the event on that says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recsys_plugins import available

from recsys.errors import PluginError
from recsys.features.profile import LogProfile
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.requests import RankQuery, RecommendQuery
from recsys.plugins.registry import load_capabilities
from recsys.schema import ItemEvent, VisibleEvent
from recsys.testing.contracts import check_plugin


@pytest.fixture(autouse=True)
def without_text(monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')


def engine_with(workspace, **settings) -> Engine:
    config = workspace.config.model_copy(update={"settings": {"available": settings}})
    return load_engine(replace(workspace, config=config))


def say(engine: Engine, item_id: str, **attributes) -> None:
    at = engine.last_event_us + 1
    engine.apply([VisibleEvent(ItemEvent(f"{item_id}-{at}", at, item_id, attributes), at)])
    engine.catch_up()


def recommended(engine: Engine) -> list[str]:
    return engine.recommend(RecommendQuery("", engine.now("log"), top_k=200)).item_ids


def test_an_item_goes_and_comes_back_with_its_events(plain_workspace) -> None:
    engine = engine_with(plain_workspace)
    before = recommended(engine)
    say(engine, before[0], available=False)
    assert before[0] not in recommended(engine)
    assert set(recommended(engine)) == set(before[1:])
    assert before[0] in engine.rank(RankQuery("", before[:2], engine.now("log"))).item_ids
    say(engine, before[0], available=True)
    assert before[0] in recommended(engine)


def test_until_an_item_carries_it_the_filter_is_not_asked(plain_workspace, monkeypatch) -> None:
    engine = engine_with(plain_workspace)
    items, asked = engine._live.state.items, []
    plan = type(engine._scorer.capabilities.filter_plan)
    mask = plan.keep_mask

    def counted(self, exprs, slates, state):
        asked.append(len(exprs))
        return mask(self, exprs, slates, state)

    monkeypatch.setattr(plan, "keep_mask", counted)
    others = len(engine._scorer.capabilities.filters) - 1
    first = recommended(engine)[0]
    assert set(asked) == {others}
    assert not items.carries("available")
    say(engine, first, available=True)
    assert first in recommended(engine)
    assert asked[-1] == others + 1
    assert items.carries("available")


def test_a_number_must_be_above_zero(plain_workspace) -> None:
    profile = load_engine(plain_workspace)._scorer.contents.profile
    number = next(name for name, found in profile.items.items() if found.kind == "number")
    engine = engine_with(plain_workspace, attribute=number)
    first, second = recommended(engine)[:2]
    say(engine, first, **{number: 0.0})
    say(engine, second, **{number: 1.0})
    found = recommended(engine)
    assert first not in found
    assert second in found


def test_it_can_be_switched_off(plain_workspace) -> None:
    engine = engine_with(plain_workspace, attribute="")
    first = recommended(engine)[0]
    say(engine, first, available=False)
    assert first in recommended(engine)


def test_a_text_is_no_availability(plain_workspace) -> None:
    profile = load_engine(plain_workspace)._scorer.contents.profile
    text = next(name for name, found in profile.items.items() if found.kind == "string")
    with pytest.raises(PluginError, match=f"attribute '{text}' is string; expected a boolean"):
        engine_with(plain_workspace, attribute=text)
    words = LogProfile(items={"available": profile.items[text]})
    assert available.recsys_filters(words, {}) == []
    assert load_capabilities(plain_workspace.folder, plain_workspace.config, words).filters


def test_it_keeps_the_contract() -> None:
    assert check_plugin(available) is not None
