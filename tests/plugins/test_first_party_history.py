"""Plugins over what happened before: fatigue, windows, rates, recency."""

from __future__ import annotations

import numpy as np
import pytest
from plugin_world import columns, rich_world
from recsys_plugins import attribute_recency, fatigue, interacted_with, rates, sessions, windows
from recsys_plugins.windows import window_label

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.profile import LogProfile
from recsys.schema import ImpressionEvent, InteractionEvent, VisibleEvent
from recsys.testing.worlds import without_impressions
from recsys.training.dataset import make_dataset


@pytest.fixture(scope="module")
def events():
    return rich_world()


def test_fatigue_grows_with_shows_in_vain_and_is_nothing_for_the_novel(events) -> None:
    slates, _, found, _ = columns(fatigue, events)
    shown: dict[tuple[int, int], int] = {}
    for user, item, vain, since in zip(
        slates.spread(slates.users),
        slates.items,
        found["user_item_shows_in_vain"],
        found["user_item_last_show_s"],
        strict=True,
    ):
        before = shown.get((user, item), 0)
        assert vain <= before
        assert np.isnan(since) == (before == 0)
        shown[user, item] = before + 1
    assert found["user_item_shows_in_vain"].max() >= 5


def test_a_log_without_impressions_has_no_fatigue() -> None:
    assert fatigue.recsys_aggregates(LogProfile(), {}) == []
    assert fatigue.recsys_features(LogProfile(), {}) == []


def test_a_log_of_minutes_has_neither_fatigue_nor_recency_by_attribute(world) -> None:
    snapshot = snapshot_of(world.events)
    profile = make_dataset(snapshot, Config()).profile
    assert fatigue.recsys_features(profile, {}) == []
    assert len(fatigue.recsys_features(profile, {"min_span_s": 0})) == 3
    assert attribute_recency.recsys_features(profile, {}) == []
    assert sessions.recsys_features(profile) == []
    assert len(attribute_recency.recsys_features(profile, {"attributes": ["tags"]})) == 1


def test_windows_suit_the_length_of_the_log(events) -> None:
    names = list(columns(windows, events)[2])
    assert names == ["item_actions_7d", "user_actions_7d"]
    assert windows.recsys_features(LogProfile(span_s=1200.0), {}) == []
    year = windows.recsys_features(LogProfile(span_s=365 * 86_400.0), {})
    assert "item_trend" in [feature.name for feature in year]


def test_windows_and_types_may_be_chosen(events) -> None:
    settings = {"windows_s": [3600, 14 * 86_400], "types": ["purchase"]}
    _, _, found, _ = columns(windows, events, settings)
    assert {"item_purchase_1h", "user_purchase_14d", "item_trend"} <= set(found)
    assert (found["item_purchase_14d"] <= found["item_actions_14d"]).all()
    assert (found["item_actions_1h"] <= found["item_actions_14d"]).all()
    with pytest.raises(ValueError, match="expected seconds above 0"):
        windows.recsys_aggregates(LogProfile(), {"windows_s": [0]})


@pytest.mark.parametrize(
    ("seconds", "label"), [(604_800, "7d"), (3600, "1h"), (90, "90s"), (300, "5m")]
)
def test_a_window_is_said_as_people_say_it(seconds, label) -> None:
    assert window_label(seconds) == label


def test_each_type_has_a_rate_that_starts_at_the_rate_of_everything(events) -> None:
    _, _, found, _ = columns(rates, events, {"rate": [{"name": "buy", "top": "purchase"}]})
    values = found["rate_buy"]
    assert values[:5] == pytest.approx(0.1)
    assert 0.0 < values.min() <= values.max() < 1.0


def test_rates_are_found_from_the_types_of_a_log() -> None:
    types = {"view": 9, "cart": 3, "purchase": 1}
    shown = rates.recsys_features(LogProfile(event_types=types, n_impressions=5), {})
    assert [f.name for f in shown] == ["rate_view", "rate_cart", "rate_purchase"]
    bare = rates.recsys_features(LogProfile(event_types=types), {})
    assert [f.name for f in bare] == ["rate_cart_per_view", "rate_purchase_per_view"]
    assert rates.recsys_features(LogProfile(event_types={"click": 3}, n_impressions=5), {}) == []


def test_a_rate_may_be_any_types_of_any_key_and_window(events) -> None:
    rate = {
        "name": "basket",
        "top": ["purchase"],
        "bottom": "click",
        "by": "item.category",
        "window_s": 10 * 86_400,
        "prior": 5,
    }
    _, _, found, _ = columns(rates, events, {"rate": [rate]})
    assert np.nanmax(found["rate_basket"]) > np.nanmin(found["rate_basket"])


def test_what_a_request_asks_has_a_rate_of_its_own_per_item(events) -> None:
    slates, _, found, _ = columns(rates, events)
    assert {"rate_in_device", "rate_in_query", "rate_click", "rate_purchase"} <= set(found)
    seen: dict[tuple[object, int], int] = {}
    devices = [c["device"] for c in slates.context for _ in range(5)]
    for device, item, rate in zip(devices, slates.items, found["rate_in_device"], strict=True):
        seen[device, item] = seen.get((device, item), 0) + 1
        assert 0.0 < rate < 1.0
    assert len(set(np.round(found["rate_in_device"], 6))) > len(seen) // 2


def test_a_session_begins_with_nothing_and_counts_what_happens_in_it() -> None:
    hour = 3_600_000_000
    events = [
        VisibleEvent(ImpressionEvent("a", hour, "u", ["x", "y"], "a", "s1"), hour),
        VisibleEvent(InteractionEvent("c", hour + 5, "u", "x", "click", "a", "s1"), hour + 5),
        VisibleEvent(ImpressionEvent("b", hour + 9, "u", ["x", "z"], "b", "s1"), hour + 9),
        VisibleEvent(ImpressionEvent("d", 99 * hour, "u", ["x", "y"], "d", "s2"), 99 * hour),
    ]
    _, _, found, _ = columns(sessions, events)
    assert found["session_actions"][2:].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert found["session_shows"][2:].tolist() == [2.0, 2.0, 0.0, 0.0]
    assert found["user_sessions"].tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert np.isnan(found["session_s"][-1])


def test_the_last_action_of_a_kind_is_the_newest_over_a_candidates_values(events) -> None:
    _, _, found, _ = columns(attribute_recency, events)
    assert set(found) == {"user_category_last_action_s", "user_tags_last_action_s"}
    both = ~np.isnan(found["user_category_last_action_s"])
    assert found["user_category_last_action_s"][both].min() > 0
    assert list(attribute_recency.recsys_features(LogProfile(), {"attributes": ["x"]})) == []


@pytest.mark.parametrize("plugin", [attribute_recency, rates, windows], ids=lambda p: p.__name__)
def test_they_work_without_impressions(plugin, events) -> None:
    bare = without_impressions(events)
    settings = {"rate": [{"name": "x", "top": "purchase", "bottom": "*"}]}
    assert columns(plugin, bare, settings if plugin is rates else None)[2]


def test_what_a_user_did_with_a_value_counts_by_type(events) -> None:
    rules = [
        {"attribute": "category", "types": "click"},
        {"attribute": "category", "types": ["purchase"], "window_s": 1e9, "name": "bought"},
        {"attribute": "tags", "by": "session", "reduce": "max"},
        {"attribute": "no such"},
    ]
    slates, dataset, found, _ = columns(interacted_with, events, {"rule": rules})
    assert list(found) == ["user_category_click", "bought", "session_tags_action"]
    number = len(slates) - 1
    at, low = int(slates.as_of[number]), int(slates.offsets[number])
    user = dataset.log.users.ids[int(slates.users[number])]
    item = dataset.log.items.ids[int(slates.items[low])]
    done = [
        v.event.type
        for v in events
        if isinstance(v.event, InteractionEvent)
        and v.visible_at < at
        and v.event.user_id == user
        and int(v.event.item_id[1:]) % 3 == int(item[1:]) % 3
    ]
    assert found["user_category_click"][low] == done.count("click") > 0
    assert found["bought"][low] == done.count("purchase")


def test_rules_that_settings_do_not_name_offer_nothing_and_a_wrong_key_is_an_error() -> None:
    assert interacted_with.recsys_features(LogProfile(), {}) == []
    with pytest.raises(ValueError, match="by"):
        interacted_with.recsys_features(LogProfile(), {"rule": [{"attribute": "a", "by": "item"}]})
