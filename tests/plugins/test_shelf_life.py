"""Recommendations that are not older than they may be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recsys_plugins import shelf_life

from recsys.pipeline.engine import load_engine
from recsys.pipeline.requests import RecommendQuery
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent
from recsys.testing.contracts import check_plugin

DAY_US = 86_400 * 1_000_000


def engine_with(workspace, **settings):
    config = workspace.config.model_copy(update={"settings": {"shelf_life": settings}})
    return load_engine(replace(workspace, config=config))


def recommended(engine, at):
    return set(engine.recommend(RecommendQuery("stranger", at, top_k=200)).item_ids)


def clicked(engine, item_id, at, **attributes):
    item = ItemEvent(f"i-{item_id}", at, item_id, attributes)
    click = InteractionEvent(f"c-{item_id}", at, "somebody", item_id, "click")
    engine.apply([VisibleEvent(item, at), VisibleEvent(click, at)])


def test_what_was_first_met_too_long_ago_is_not_recommended(plain_workspace) -> None:
    engine = engine_with(plain_workspace, days=2)
    later = engine.last_event_us + 10 * DAY_US
    clicked(engine, "recent", later)
    assert recommended(engine, later + DAY_US) == {"recent"}
    assert recommended(engine, later + 3 * DAY_US) == set()


def test_without_days_nothing_is_too_old(plain_workspace) -> None:
    engine = engine_with(plain_workspace)
    later = engine.last_event_us + 10 * DAY_US
    clicked(engine, "recent", later)
    assert len(recommended(engine, later + DAY_US)) > 20


def test_the_age_may_be_told_by_an_attribute(plain_workspace) -> None:
    plain = engine_with(plain_workspace)
    numbers = [n for n, found in plain._scorer.plan.profile.items.items() if found.kind == "number"]
    engine = engine_with(plain_workspace, days=1, attribute=numbers[0])
    at = engine.last_event_us + 1
    clicked(engine, "old", at, **{numbers[0]: at / 1e6 - 2 * 86_400})
    clicked(engine, "new", at, **{numbers[0]: at / 1e6 - 3_600})
    found = recommended(engine, at + 1)
    assert "new" in found
    assert "old" not in found


def test_an_attribute_that_is_no_number_is_named_with_what_there_is(plain_workspace) -> None:
    with pytest.raises(Exception, match=r"'titel' is no number of items; expected one of"):
        engine_with(plain_workspace, days=1, attribute="titel")


def test_the_contract_holds() -> None:
    assert check_plugin(shelf_life, settings={"days": 2}).aggregates
