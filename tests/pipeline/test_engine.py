"""The engine on a trained workspace: ranking, recommending, taking events in, swapping bundles."""

from __future__ import annotations

import numpy as np
import pytest
from structlog.testing import capture_logs

from recsys.bundle.store import BundleStore
from recsys.errors import BundleError, RequestError
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.requests import RankQuery, RecommendQuery
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent


@pytest.fixture
def engine(plain_workspace, monkeypatch) -> Engine:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    return load_engine(plain_workspace)


def rank(engine: Engine, user: str, items: list[str], **options):
    return engine.rank(RankQuery(user_id=user, item_ids=items, as_of=engine.now("log"), **options))


def click(engine: Engine, user: str, item: str, number: int = 0) -> VisibleEvent:
    at = engine.last_event_us + 1
    return VisibleEvent(
        InteractionEvent(f"new-{user}-{item}-{number}", at, user, item, "click"), at
    )


def items_of(world, topic: str) -> list[str]:
    return [item for item, found in world.topic_of_item.items() if found == topic]


def test_what_a_user_likes_comes_first(engine, world) -> None:
    better = 0
    for user, topic in list(world.topic_of_user.items())[:20]:
        ranked = rank(engine, user, list(world.topic_of_item))
        first = [world.topic_of_item[item] == topic for item in ranked.item_ids[:10]]
        better += sum(first) >= 7
    assert better >= 15


def test_scores_fall_and_are_finite_and_belong_to_the_items(engine, world) -> None:
    ranked = rank(engine, "user0", list(world.topic_of_item))
    assert len(ranked.item_ids) == len(set(ranked.item_ids)) == len(world.topic_of_item)
    assert np.isfinite(ranked.scores).all()
    assert ranked.scores == sorted(ranked.scores, reverse=True)


def test_a_score_does_not_depend_on_the_other_candidates(engine) -> None:
    together = rank(engine, "user0", ["item1", "item2", "item3"])
    alone = rank(engine, "user0", ["item2"])
    assert alone.scores[0] == together.scores[together.item_ids.index("item2")]


def test_top_k_exclusions_and_duplicates(engine) -> None:
    items = ["item1", "item2", "item1", "item3", "item4"]
    ranked = rank(engine, "user0", items, top_k=2, exclude_item_ids=["item3"])
    assert len(ranked.item_ids) == 2
    assert "item3" not in ranked.item_ids
    assert len(rank(engine, "user0", items).item_ids) == 4
    assert rank(engine, "user0", ["item1"], exclude_item_ids=["item1"]).item_ids == []


def test_contributions_and_base_add_up_to_the_score(engine) -> None:
    ranked = rank(engine, "user0", ["item1", "item2", "item3"], explain_top_k=2)
    assert [e.item_id for e in ranked.explanations] == ranked.item_ids[:2]
    for explanation, score in zip(ranked.explanations, ranked.scores[:2], strict=True):
        total = explanation.base + sum(p.contribution for p in explanation.contributions)
        assert total == pytest.approx(score, abs=1e-6)
        effects = [abs(p.contribution) for p in explanation.contributions]
        assert effects == sorted(effects, reverse=True)
        assert {p.feature for p in explanation.contributions} == set(engine.feature_names)


def test_an_unknown_item_is_ranked_with_a_warning(engine) -> None:
    ranked = rank(engine, "user0", ["item1", "never heard of"])
    assert set(ranked.item_ids) == {"item1", "never heard of"}
    assert "1 unknown items" in ranked.warnings[0]
    assert "never heard of" in ranked.warnings[0]


@pytest.mark.parametrize("user", ["stranger", ""])
def test_an_unknown_user_gets_the_cold_start_list(engine, user) -> None:
    ranked = rank(engine, user, ["item1", "item2"])
    assert len(ranked.item_ids) == 2
    assert not ranked.warnings


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (RankQuery("u", [], 1), ["item_ids"]),
        (RankQuery("u", ["i"] * 10_001, 1), ["item_ids"]),
        (RankQuery("u", ["ok", "x" * 257], 1), ["item_ids[1]"]),
        (RankQuery("u", ["ok", ""], 1), ["item_ids[1]"]),
        (RankQuery("u" * 257, ["i"], 1, top_k=-1), ["user_id", "top_k"]),
        (RankQuery("u", ["i"], 1, explain_top_k=-1), ["explain_top_k"]),
        (RankQuery("u", ["i"], 1, explain_top_k=101), ["explain_top_k"]),
        (RankQuery("u", ["i"], 1, exclude_item_ids=[""]), ["exclude_item_ids[0]"]),
        (RankQuery("u", ["i"], 1, seed_item_ids=["i"] * 101), ["seed_item_ids"]),
        (RankQuery("u", ["i"], 1, seed_item_ids=["i", ""]), ["seed_item_ids[1]"]),
    ],
)
def test_a_bad_request_names_every_field_at_fault(engine, query, fields) -> None:
    with pytest.raises(RequestError) as caught:
        engine.rank(query)
    assert [field for field, _ in caught.value.violations] == fields


def test_clicks_change_the_next_list_and_retries_do_not(engine, world) -> None:
    candidates = list(world.topic_of_item)
    before = rank(engine, "newcomer", candidates)
    liked = items_of(world, "cooking")
    events = [click(engine, "newcomer", item) for item in liked[:3]]
    engine.apply(events)
    after = rank(engine, "newcomer", candidates)
    cooking = [world.topic_of_item[item] == "cooking" for item in after.item_ids[:10]]
    assert sum(cooking) > sum(world.topic_of_item[i] == "cooking" for i in before.item_ids[:10])
    assert engine.seen([visible.event for visible in events]) == [True] * 3
    engine.apply(events)
    assert rank(engine, "newcomer", candidates).scores == after.scores


def test_a_new_item_is_known_from_its_event_on(engine) -> None:
    at = engine.last_event_us + 1
    item = ItemEvent("brand-new", at, "brand new", {"title": "oven garlic", "tags": ["oven"]})
    engine.apply([VisibleEvent(item, at)])
    assert not rank(engine, "user0", ["brand new"]).warnings
    assert engine.title("brand new") == "oven garlic"


@pytest.mark.parametrize(
    ("attributes", "title"),
    [
        ({"genre": "drama", "title": "2012"}, "2012"),
        ({"ean": "4711", "price": 2.0, "Bezeichnung": "Rote Tasse"}, "Rote Tasse"),
        ({"ean": "4711", "price": 2.0}, "named"),
        ({"name": "x" * 500}, "x" * 100),
    ],
)
def test_an_item_is_called_what_a_person_can_read(engine, attributes, title) -> None:
    at = engine.last_event_us + 1
    engine.apply([VisibleEvent(ItemEvent(f"named-{title[:9]}", at, "named", attributes), at)])
    assert engine.title("named") == title


def test_recommendations_are_new_to_the_user_and_not_excluded(engine, world) -> None:
    acted_on = {
        v.event.item_id
        for v in world.events
        if isinstance(v.event, InteractionEvent) and v.event.user_id == "user0"
    }
    query = RecommendQuery("user0", engine.now("log"), top_k=80, exclude_item_ids=["item0"])
    ranked = engine.recommend(query)
    assert ranked.item_ids
    assert not acted_on & set(ranked.item_ids)
    assert "item0" not in ranked.item_ids
    again = rank(engine, "user0", ranked.item_ids)
    assert again.scores == ranked.scores


def test_recommending_to_a_stranger_falls_back_on_what_is_popular(engine) -> None:
    ranked = engine.recommend(RecommendQuery("stranger", engine.now("log")))
    assert len(ranked.item_ids) == 20


def recommend(engine: Engine, user: str, seeds: list[str], **options):
    at = engine.now("log")
    return engine.recommend(RecommendQuery(user, at, seed_item_ids=seeds, **options))


def test_what_goes_with_a_seed_is_of_its_kind_and_not_the_seed(engine, world) -> None:
    for topic in ("space", "cooking"):
        seeds = items_of(world, topic)[:2]
        ranked = recommend(engine, "", seeds, top_k=10)
        assert ranked.warnings == []
        assert not set(seeds) & set(ranked.item_ids)
        assert sum(world.topic_of_item[item] == topic for item in ranked.item_ids) >= 8


def test_related_items_are_ordered_for_who_asks(engine, world) -> None:
    fan = next(user for user, topic in world.topic_of_user.items() if topic == "space")
    seed = items_of(world, "football")[0]
    for_anybody, for_fan = (recommend(engine, user, [seed], top_k=20) for user in ("", fan))
    assert for_fan.scores != for_anybody.scores
    # What a fan of something else acted on is still left out.
    bought = click(engine, fan, for_fan.item_ids[0])
    engine.apply([bought])
    assert for_fan.item_ids[0] not in recommend(engine, fan, [seed], top_k=20).item_ids


def test_where_too_little_is_related_the_list_is_filled_up(engine, world) -> None:
    everything = len(world.topic_of_item)
    ranked = recommend(engine, "", ["item1"], top_k=everything)
    assert len(ranked.item_ids) > 0.9 * everything
    assert "item1" not in ranked.item_ids


def test_unknown_seeds_are_a_warning(engine) -> None:
    plain = recommend(engine, "user0", [])
    ranked = recommend(engine, "user0", ["never", "heard of", "never"])
    assert ranked.item_ids == plain.item_ids
    assert ranked.warnings == ["2 unknown seed items were passed over"]
    ranked = rank(engine, "user0", ["item1", "item2"], seed_item_ids=["never", "item3"])
    assert ranked.warnings == ["1 unknown seed items were passed over"]


def test_a_seed_counts_as_the_newest_action_without_being_one(engine, world) -> None:
    topic = world.topic_of_user["user0"]
    other = next(found for found in world.topic_of_item.values() if found != topic)
    candidates = [item for item in world.topic_of_item if item not in items_of(world, other)[:3]]
    before = rank(engine, "user0", candidates)
    seeded = rank(engine, "user0", candidates, seed_item_ids=items_of(world, other)[:3])

    def place(ranked) -> float:
        return float(np.mean([ranked.item_ids.index(i) for i in items_of(world, other)[3:]]))

    assert place(seeded) < place(before)
    assert rank(engine, "user0", candidates).scores == before.scores


def test_events_reach_a_bundle_that_is_opened_beside(engine) -> None:
    version = engine.model_version
    event = click(engine, "user1", "item5", 7)
    successor = engine.with_bundle(version)
    engine.apply([event])
    assert successor.seen([event.event]) == [True]
    assert successor.last_event_us == engine.last_event_us


def test_a_bundle_whose_plugins_are_gone_says_which(plain_workspace, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest", "recency"]')
    from recsys.workspace import open_workspace

    with pytest.raises(BundleError, match=r"item_age_s.*plugins missing: recency"):
        load_engine(open_workspace(plain_workspace.folder))


def test_event_types_keep_the_index_under_which_models_know_them(world) -> None:
    arrived = [*world.events, click_of_type("applause")]
    plain = encode_log(snapshot_of(arrived))
    assert plain.types.names == ["impression", "applause", "click"]
    known = encode_log(snapshot_of(arrived), ["click"])
    assert known.types.names == ["impression", "click", "applause"]


def click_of_type(kind: str) -> VisibleEvent:
    return VisibleEvent(InteractionEvent("typed", 5, "user0", "item0", kind), 5)


def test_an_unknown_version_is_refused(plain_workspace) -> None:
    with pytest.raises(BundleError, match="no version 'x'"):
        load_engine(plain_workspace, "x")
    assert BundleStore(plain_workspace.bundles).active()


def test_warming_up_adds_nothing_to_what_is_known(engine) -> None:
    known = engine.user_ids(), engine.item_ids(), engine.last_event_us
    assert engine.warm_up() == []
    assert (engine.user_ids(), engine.item_ids(), engine.last_event_us) == known


def test_today_is_late_for_a_log_of_the_past_and_its_own_clock_is_not(engine) -> None:
    with capture_logs() as logs:
        engine.now("log")
    assert not logs
    with capture_logs() as logs:
        engine.now("system")
    assert [line["event"] for line in logs] == ["log_is_old"]
