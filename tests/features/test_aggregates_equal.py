"""Every aggregate: brute force, offline and online agree on random logs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSnapshot, snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.online import OnlineState
from recsys.features.slates import one_slate
from recsys.features.vocabulary import (
    WINDOW_BUCKETS,
    Aggregate,
    count,
    decayed_count,
    distinct_items,
    last_items,
    since_first,
    since_last,
    total,
)
from recsys.schema import (
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    VisibleEvent,
)

SECOND = 1_000_000
USERS = ["u1", "u2", "u3", ""]
ITEMS = ["i1", "i2", "i3", "i4"]
GENRES = ["g1", "g2", "g3"]

AGGREGATES = [
    count("count_item", "click", by="item"),
    count("count_any_item", "*", by="item"),
    count("count_shown", "impression", by="item"),
    count("count_both", ("impression", "buy"), by="user"),
    count("count_user_item", "*", by="user*item"),
    count("count_global", "*", by="global"),
    count("count_genre", "*", by="item.genres"),
    count("count_user_genre", "*", by="user*item.genres", reduce="max"),
    count("count_user_genre_sum", "impression", by="user*item.genres", reduce="sum"),
    count("count_window", "*", by="item", window_s=24.0),
    count("count_user_genre_window", "*", by="user*item.genres", window_s=36.0),
    total("sum_item", "*", by="item"),
    total("sum_window", "buy", by="user", window_s=12.0),
    distinct_items("distinct_user", "*", by="user"),
    distinct_items("distinct_genre", "impression", by="item.genres"),
    since_last("last_item", "click", by="item"),
    since_last("last_user_genre", "*", by="user*item.genres"),
    since_first("first_item", ("impression", "*"), by="item"),
    decayed_count("decayed_item", "*", by="item", half_life_s=20.0),
    decayed_count("decayed_user_item", "impression", by="user*item", half_life_s=5.0),
]
HISTORY = last_items("history", ("click", "buy"), n=3)

times = st.integers(0, 60).map(lambda s: s * SECOND)
delays = st.sampled_from([0, 0, 0, 1, 7]).map(lambda s: s * SECOND)


@st.composite
def events(draw: st.DrawFn) -> list[VisibleEvent]:
    found = []
    for number in range(draw(st.integers(0, 40))):
        at, delay = draw(times), draw(delays)
        # Ids come back: the second one is a retry and must change nothing.
        event_id = f"e{draw(st.integers(0, number))}" if draw(st.booleans()) else f"n{number}"
        kind = draw(st.sampled_from(["item", "impression", "click", "buy"]))
        if kind == "item":
            genres = draw(st.lists(st.sampled_from(GENRES), max_size=3))
            event = ItemEvent(event_id, at, draw(st.sampled_from(ITEMS)), {"genres": genres})
        elif kind == "impression":
            shown = draw(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=4, unique=True))
            event = ImpressionEvent(event_id, at, draw(st.sampled_from(USERS)), shown, event_id)
        else:
            value = draw(st.one_of(st.none(), st.integers(0, 9).map(float)))
            event = InteractionEvent(
                event_id,
                at,
                draw(st.sampled_from(USERS)),
                draw(st.sampled_from(ITEMS)),
                kind,
                value=value,
            )
        found.append(VisibleEvent(event, at + delay))
    return found


@dataclass
class Row:
    type: str
    user: str
    item: str
    genres: list[str]
    visible: int
    occurred: int
    value: float


class Oracle:
    """Reads aggregates by walking through all events, one by one."""

    def __init__(self, snapshot: LogSnapshot) -> None:
        self.rows: list[Row] = []
        self.versions: dict[str, list[tuple[int, int, list[str]]]] = {}
        for visible in visible_events(snapshot):
            event = visible.event
            if isinstance(event, ItemEvent):
                genres = list(dict.fromkeys(event.attributes["genres"]))
                versions = self.versions.setdefault(event.item_id, [])
                versions.append((visible.visible_at, event.occurred_at, genres))
            elif isinstance(event, ImpressionEvent):
                for item in event.item_ids:
                    self.add("impression", event, item, visible.visible_at, 0.0)
            elif isinstance(event, InteractionEvent):
                self.add(event.type, event, event.item_id, visible.visible_at, event.value or 0.0)

    def add(self, kind, event, item, visible_at, value) -> None:
        genres = self.genres(item, visible_at + 1) or []
        self.rows.append(
            Row(kind, event.user_id, item, genres, visible_at, event.occurred_at, value)
        )

    def genres(self, item: str, before: int) -> list[str] | None:
        known = [v for v in self.versions.get(item, []) if v[0] < before]
        return max(enumerate(known), key=lambda p: (p[1][1], p[0]))[1][2] if known else None

    def matching(self, aggregate: Aggregate, as_of: int) -> list[Row]:
        def wanted(row: Row) -> bool:
            any_type = "*" in aggregate.of and row.type != "impression"
            return row.visible < as_of and (row.type in aggregate.of or any_type)

        rows = [row for row in self.rows if wanted(row)]
        if aggregate.window_s is not None:
            step = round(aggregate.window_s * SECOND / WINDOW_BUCKETS)
            oldest = as_of // step - WINDOW_BUCKETS + 1
            rows = [row for row in rows if row.visible // step >= oldest]
        return rows

    def read(self, aggregate: Aggregate, user: str, item: str, as_of: int) -> float:
        rows = self.matching(aggregate, as_of)
        if aggregate.by.startswith("user"):
            if not user:
                return math.nan
            rows = [row for row in rows if row.user == user]
        if aggregate.by in {"item", "user*item"}:
            rows = [row for row in rows if row.item == item]
        if not aggregate.by.endswith("genres"):
            return fold(aggregate, rows, as_of)
        genres = self.genres(item, as_of) or []
        values = [fold(aggregate, [r for r in rows if g in r.genres], as_of) for g in genres]
        values = [value for value in values if not math.isnan(value)]
        if not values:
            return math.nan
        if aggregate.reduce == "mean":
            return sum(values) / len(values)
        return max(values) if aggregate.reduce == "max" else sum(values)


def fold(aggregate: Aggregate, rows: list[Row], as_of: int) -> float:
    if aggregate.fold == "count":
        return float(len(rows))
    if aggregate.fold == "sum":
        return sum(row.value for row in rows)
    if aggregate.fold == "distinct_items":
        return float(len({row.item for row in rows}))
    if aggregate.fold == "decayed_count":
        ages = [(as_of - row.visible) / SECOND for row in rows]
        return sum(0.5 ** (age / aggregate.half_life_s) for age in ages)
    if not rows:
        return math.nan
    instants = [row.occurred for row in rows]
    extreme = max(instants) if aggregate.fold == "since_last" else min(instants)
    return (as_of - extreme) / SECOND


def translated(reader, user: str, as_of: int):
    candidates = [*ITEMS, "never seen"]
    return one_slate(reader.users.row(user), as_of, reader.items.rows(candidates)), candidates


def replayed(snapshot: LogSnapshot, before: int, aggregates, *, one_by_one: bool) -> OnlineState:
    due = [visible for visible in visible_events(snapshot) if visible.visible_at < before]
    if not one_by_one:
        return OnlineState(encode_log(snapshot_of(due)), aggregates)
    state = OnlineState(encode_log(snapshot_of([])), aggregates)
    for visible in due:
        state.apply([visible])
    return state


@settings(max_examples=60, deadline=None)
@given(events(), times.map(lambda t: t + 3), st.sampled_from([*USERS, "stranger"]))
def test_oracle_offline_and_online_agree(found, as_of, user) -> None:
    snapshot = snapshot_of(found)
    oracle = Oracle(snapshot)
    offline = OfflineReader(encode_log(snapshot))
    slates, candidates = translated(offline, user, as_of)
    states = [
        replayed(snapshot, as_of, AGGREGATES, one_by_one=True),
        replayed(snapshot, as_of, AGGREGATES, one_by_one=False),
    ]
    for aggregate in AGGREGATES:
        expected = [oracle.read(aggregate, user, item, as_of) for item in candidates]
        tolerance = 1e-9 if aggregate.fold == "decayed_count" else 0.0
        read = offline.read(aggregate, slates)
        np.testing.assert_allclose(read, expected, rtol=tolerance, err_msg=aggregate.name)
        for state in states:
            read = state.read(aggregate, translated(state, user, as_of)[0])
            np.testing.assert_allclose(read, expected, rtol=tolerance, err_msg=aggregate.name)


@settings(max_examples=60, deadline=None)
@given(events(), times.map(lambda t: t + 3), st.sampled_from(USERS))
def test_histories_agree(found, as_of, user) -> None:
    snapshot = snapshot_of(found)
    oracle = Oracle(snapshot)
    rows = [row for row in oracle.matching(HISTORY, as_of) if user and row.user == user]
    expected = [(row.item, row.type, (as_of - row.occurred) / SECOND) for row in rows[::-1][:3]]
    offline = OfflineReader(encode_log(snapshot))
    readers = [offline] + [
        replayed(snapshot, as_of, [HISTORY], one_by_one=one) for one in (True, False)
    ]
    for reader in readers:
        slates, _ = translated(reader, user, as_of)
        histories = reader.histories(HISTORY, slates)
        there = histories.types[0] >= 0
        types = [reader.types.names[t] for t in histories.types[0][there]]
        ages = histories.ages_s[0][there].tolist()
        assert types == [kind for _, kind, _ in expected]
        assert ages == pytest.approx([age for _, _, age in expected], rel=1e-6)
        for version, (item, _, _) in zip(histories.versions[0][there], expected, strict=True):
            known = oracle.genres(item, as_of)
            assert (version >= 0) == (known is not None)
            if version >= 0:
                assert reader.items.item_id(int(version)) == item
                genres = list(dict.fromkeys(reader.items.attributes(int(version))["genres"]))
                assert genres == known


def test_an_event_at_the_instant_of_the_request_is_not_seen() -> None:
    click = VisibleEvent(InteractionEvent("e", 5 * SECOND, "u1", "i1", "click"), 5 * SECOND)
    reader = OfflineReader(encode_log(snapshot_of([click])))
    at, _ = translated(reader, "u1", 5 * SECOND)
    after, _ = translated(reader, "u1", 5 * SECOND + 1)
    assert reader.read(AGGREGATES[0], at)[0] == 0.0
    assert reader.read(AGGREGATES[0], after)[0] == 1.0


def test_an_item_event_that_arrives_late_does_not_replace_a_later_description() -> None:
    new = ItemEvent("new", 10 * SECOND, "i1", {"genres": ["g2"]})
    late = ItemEvent("late", 5 * SECOND, "i1", {"genres": ["g1"]})
    arrived = [VisibleEvent(new, 10 * SECOND), VisibleEvent(late, 20 * SECOND)]
    state = OnlineState(encode_log(snapshot_of([])), [])
    state.apply(arrived)
    offline = OfflineReader(encode_log(snapshot_of(arrived)))
    for reader in (state, offline):
        slates, _ = translated(reader, "", 30 * SECOND)
        version = int(reader.item_versions(slates)[0])
        assert reader.items.attributes(version) == {"genres": ["g2"]}


def test_a_malformed_key_is_an_error_that_shows_it() -> None:
    reader = OfflineReader(encode_log(snapshot_of([])))
    slates, _ = translated(reader, "", SECOND)
    with pytest.raises(ValueError, match=r"key 'itme': expected item, user"):
        reader.read(count("x", "*", by="itme"), slates)
