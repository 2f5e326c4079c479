"""What callers say of candidates: the same column from past impressions and from requests."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin_world import columns, rich_world
from recsys_plugins import categories, relevancy

from recsys.config import Config
from recsys.events.replay import visible_events
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.online import OnlineState
from recsys.features.plan import FeaturePlan
from recsys.features.profile import profile_log
from recsys.features.slates import one_slate
from recsys.features.vocabulary import Feature
from recsys.pipeline.given import columns_of, given_of
from recsys.schema import ImpressionEvent, InteractionEvent, VisibleEvent
from recsys.training.dataset import make_dataset


def test_a_relevancy_is_a_column_and_missing_where_nobody_gave_one() -> None:
    slates, dataset, found, plan = columns(relevancy, rich_world())
    assert set(found) == {"candidate.relevancy"}
    assert not any(feature.listwise or feature.per_request for feature in plan.features)
    last = slates.offsets[1:] - 1  # of the last item of each list nothing is said
    values = np.delete(found["candidate.relevancy"], last)
    items = np.delete(slates.items, last)
    lists = np.delete(np.repeat(np.arange(len(slates)), slates.sizes), last)
    numbers = [int(dataset.log.items.ids[item][1:]) for item in items]
    expected = [1.0 / (1 + n % 3 + i) for n, i in zip(lists.tolist(), numbers, strict=True)]
    assert values.tolist() == np.float32(expected).tolist()
    assert np.isnan(found["candidate.relevancy"][last]).all()


def test_names_are_configurable_and_a_constant_is_no_column_by_itself() -> None:
    shown = {"i": {"bid": 1.0, "slot": 2.0}, "j": {"bid": 3.0, "slot": 2.0}}
    list_ = ImpressionEvent("l", 5, "u", ["i", "j"], "l", item_attributes=shown)
    events = [VisibleEvent(list_, 5), VisibleEvent(InteractionEvent("e", 6, "u", "i", "click"), 6)]
    profile, _ = profile_log(snapshot_of(events))
    offered = [f.name for f in relevancy.recsys_features(profile, {})]
    assert offered == ["candidate.bid"]
    wanted = {"attributes": ["slot", "no such name"]}
    assert [f.name for f in relevancy.recsys_features(profile, wanted)] == ["candidate.slot"]


def test_texts_about_candidates_are_categories() -> None:
    events = []
    for number in range(8):
        said = {"i": {"badge": "new"}, "j": {"badge": "sale"}}
        list_ = ImpressionEvent(f"l{number}", number, "u", ["i", "j", "k"], item_attributes=said)
        click = InteractionEvent(f"e{number}", number, "u", "i", "click", f"l{number}")
        events += [VisibleEvent(list_, number), VisibleEvent(click, number)]
    _, _, found, _ = columns(categories, events)
    new = found["candidate.badge=new"].reshape(-1, 3)
    assert new[:, :2].tolist() == [[1.0, 0.0]] * 8
    assert np.isnan(new[:, 2]).all()


VALUES = st.one_of(
    st.sampled_from([0.0, -1.5, 1e30, 3]), st.booleans(), st.sampled_from(["a", "b c"])
)
SAID = st.dictionaries(
    st.sampled_from(["i", "j", "k"]),
    st.dictionaries(st.sampled_from(["bid", "badge"]), VALUES, max_size=2),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(lists=st.lists(SAID, min_size=1, max_size=5), probe=SAID)
def test_training_and_serving_read_the_same_whatever_is_said(lists, probe) -> None:
    events = []
    for number, said in enumerate([*lists, probe]):
        name, at = f"l{number}", 10 * number
        event = ImpressionEvent(name, at, "u", ["i", "j", "k"], name, "", {}, said)
        click = InteractionEvent(f"e{number}", at + 1, "u", "i", "click", name)
        events += [VisibleEvent(event, at), VisibleEvent(click, at + 1)]
    snapshot = snapshot_of(events)
    dataset = make_dataset(snapshot, Config())
    profile = dataset.profile
    features = (
        Feature(name="bid", expr=pl.col("candidate.bid").cast(pl.Float32, strict=False)),
        Feature(name="known", expr=pl.col("candidate.badge").is_not_null()),
        Feature(name="place", expr=pl.col("candidate.badge").rank(), listwise=True),
        Feature(name="nothing", expr=pl.col("candidate.never_said")),
    )
    plan = FeaturePlan(profile, features, {}, {}, {})
    offline = plan.matrix(dataset.labelled.slates, dataset.reader, {})[-3:]
    due = [v for v in visible_events(snapshot) if v.visible_at < 10 * len(lists)]
    state = OnlineState(encode_log(snapshot_of([])), [])
    state.apply(due)
    ids = ["i", "j", "k"]
    said = columns_of(given_of(probe), ids, ids)
    request = one_slate(
        state.users.row("u"), 10 * len(lists), state.items.rows(ids), candidates=said
    )
    np.testing.assert_array_equal(plan.matrix(request, state, {}), offline)


def test_values_follow_their_items_through_exclusions_and_repetitions() -> None:
    given_ = given_of({"i": {"bid": 1.0}, "j": {"bid": 2.0, "badge": "new"}})
    found = columns_of(given_, [], ["j", "z", "i"])
    assert found["badge", "string"].to_list() == ["new", None, None]
    np.testing.assert_array_equal(found["bid", "number"], [2.0, math.nan, 1.0])
