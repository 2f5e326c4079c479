"""What was acted on is recommended again where the log says that people come back to items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixed_items import FixedItems
from recsys_plugins import repeats

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.profile import LogProfile, profile_log
from recsys.features.repeats import repeat_share
from recsys.hookspecs import SourceView
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.requests import RecommendQuery
from recsys.schema import ImpressionEvent, InteractionEvent, VisibleEvent
from recsys.testing.contracts import check_plugin

DAY = 86_400_000_000


def test_the_share_of_repeats_is_that_of_a_plain_count() -> None:
    rng = np.random.default_rng(3)
    events, first, found = [], {}, []
    for n, at in enumerate(np.sort(rng.integers(0, 9 * DAY, size=400)).tolist()):
        user, item = f"u{rng.integers(12)}", f"i{rng.integers(9)}"
        # Somebody without an id, and what was only shown, says nothing of repeats.
        user = "" if user == "u0" else user
        event = InteractionEvent(
            f"e{n}", at, user, item, "view" if n % 2 else "buy", session_id="s"
        )
        events.append(VisibleEvent(event, at))
        events.append(VisibleEvent(ImpressionEvent(f"s{n}", at, user, ["i0", item]), at))
        if user:
            found.append(at - first.setdefault((user, item), at) >= DAY)
    profile, log = profile_log(snapshot_of(events))
    assert 0.1 < profile.repeat_share == pytest.approx(np.mean(found))
    # Of a large log some users are looked at, all of what they did.
    few = log.actions.where((log.actions.users % 4 == 0) | (log.actions.users < 0))
    assert repeat_share(log.actions, most=len(found) // 4 + 1) == repeat_share(few)


def test_nothing_is_repeated_where_nobody_has_an_id_or_nothing_was_done() -> None:
    events = [
        VisibleEvent(InteractionEvent(f"e{n}", n * DAY, "", "a", "view", session_id="s"), n * DAY)
        for n in range(1, 4)
    ]
    assert profile_log(snapshot_of(events))[0].repeat_share == 0.0
    assert profile_log(snapshot_of([]))[0].repeat_share == 0.0


@pytest.mark.parametrize(
    ("share", "settings", "wanted"),
    [
        (0.0, {}, False),
        (0.3, {}, True),
        (0.3, {"recommend": "never"}, False),
        (0.0, {"recommend": "always"}, True),
    ],
)
def test_either_the_filter_or_the_source_is_offered(share, settings, wanted) -> None:
    profile = LogProfile(repeat_share=share)
    filters = repeats.recsys_filters(profile, settings)
    sources = repeats.recsys_candidate_sources(profile, settings)
    assert ([f.name for f in filters], [s.name for s in sources]) == (
        ([], ["again"]) if wanted else (["not_acted_on"], [])
    )


def test_often_and_lately_comes_first_and_nothing_else() -> None:
    items = FixedItems(
        user_item_actions=[1.0, 0.0, 9.0, 2.0, 1.0],
        user_item_last_action_s=[5.0, np.nan, 400 * 86_400.0, 86_400.0, 60.0],
    )
    view = SourceView({}, items, np.arange(5, dtype=np.int32), {})
    assert repeats.ActedOnBefore().propose(view, 9).tolist() == [3, 0, 4, 2]
    assert repeats.ActedOnBefore().propose(view, 2).tolist() == [3, 0]


def test_the_source_keeps_the_contract() -> None:
    assert check_plugin(repeats, settings={"recommend": "always"}).aggregates


def _engine(workspace, recommend: str) -> Engine:
    settings = {"repeats": {"recommend": recommend}}
    config = Config(**{**workspace.config.model_dump(), "settings": settings})
    return load_engine(replace(workspace, config=config))


def test_a_user_is_recommended_what_they_acted_on_where_that_is_wanted(
    plain_workspace, world
) -> None:
    acted_on = {
        e.event.item_id
        for e in world.events
        if isinstance(e.event, InteractionEvent) and e.event.user_id == "user1"
    }
    for recommend, wanted in (("never", False), ("always", True), ("auto", False)):
        engine = _engine(plain_workspace, recommend)
        ranked = engine.recommend(RecommendQuery("user1", engine.now("log"), top_k=500))
        assert bool(acted_on & set(ranked.item_ids)) is wanted
        assert len(ranked.item_ids) == len(set(ranked.item_ids))
