"""Every aggregate: brute force, offline and online agree on random logs."""

from __future__ import annotations

import numpy as np
import pytest
from aggregate_oracle import Oracle, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from log_strategy import ITEMS, QUERIES, SECOND, SESSIONS, USERS, instants, logs

from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSnapshot, snapshot_of
from recsys.features.actions import encode_log
from recsys.features.frame import ITEM_ID, USER_ID, Frame
from recsys.features.offline import OfflineReader
from recsys.features.online import OnlineState
from recsys.features.profile import LogProfile
from recsys.features.slates import Slates, one_slate
from recsys.features.vocabulary import (
    Aggregate,
    count,
    decayed_count,
    decayed_total,
    distinct,
    last_items,
    maximum,
    mean,
    minimum,
    since_first,
    since_last,
    total,
)
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent

KEYS = [
    "global", "item", "user", "session", "item.genres", "item.brand", "user.country",
    "context.query", "user*item", "user*item.genres", "session*item", "session*item.genres",
    "context.query*item", "context.query*item.genres", "user.country*item", "visit",
    "visit*item.genres",
]  # fmt: skip
EXACT = {"count", "distinct", "since_last", "since_first", "min", "max"}
#: Windows shorter and longer than the crowded minute, and one of hours.
WINDOWS = [None, 24.0, 36.0, 7_200.0]


def every_fold(by: str) -> list[Aggregate]:
    found = []
    for window in WINDOWS:
        found += [
            count(f"count {window}", "*", by=by, window_s=window),
            count(f"clicks {window}", "click", by=by, window_s=window, reduce="max"),
            count(f"shows {window}", "impression", by=by, window_s=window, reduce="sum"),
            total(f"total {window}", ("click", "buy"), by=by, window_s=window),
            mean(f"mean {window}", "*", by=by, window_s=window),
            minimum(f"min {window}", "*", by=by, window_s=window),
            maximum(f"max {window}", ("buy", "impression"), by=by, window_s=window),
            distinct(f"items {window}", ("*", "impression"), by=by, window_s=window),
            distinct(f"users {window}", "*", by=by, what="user", window_s=window),
            since_last(f"last {window}", "*", by=by, window_s=window),
            since_first(f"first {window}", ("impression", "*"), by=by, window_s=window),
        ]
        if "item" not in by:
            found.append(count(f"sessions {window}", "session", by=by, window_s=window))
    found.append(decayed_count("heat", "*", by=by, half_life_s=20.0))
    found.append(decayed_total("warmth", "*", by=by, half_life_s=5.0))
    return found


def translated(reader, request: Request) -> Slates:
    rows = reader.items.rows([*ITEMS, "never seen"])
    user = reader.users.row(request.user)
    return one_slate(user, request.as_of, rows, request.context, session_id=request.session_id)


def replayed(snapshot: LogSnapshot, before: int, aggregates, step: int) -> OnlineState:
    """Apply what is visible before an instant, `step` events at a time; 0: as one log."""
    due = [visible for visible in visible_events(snapshot) if visible.visible_at < before]
    if not step:
        return OnlineState(encode_log(snapshot_of(due)), aggregates)
    half = len(due) // 3
    state = OnlineState(encode_log(snapshot_of(due[:half])), aggregates)
    for start in range(half, len(due), step):
        state.apply(due[start : start + step])
    return state


requests = st.builds(
    Request,
    user=st.sampled_from([*USERS, "stranger"]),
    as_of=instants.map(lambda t: t + 3),
    session_id=st.sampled_from([*SESSIONS, "never"]),
    context=st.dictionaries(st.just("query"), st.sampled_from([*QUERIES, "never asked"])),
)


def check_agreement(found, request: Request, by: str) -> None:
    aggregates = every_fold(by)
    snapshot = snapshot_of(found)
    oracle = Oracle(snapshot)
    oracle.remember_walk(snapshot)
    whole = OfflineReader(encode_log(snapshot))
    readers = [whole, OfflineReader(encode_log(snapshot), chunk_events=7)]
    readers += [replayed(snapshot, request.as_of, aggregates, step) for step in (0, 1, 5)]
    read = [reader.read_many(aggregates, translated(reader, request)) for reader in readers]
    for number, aggregate in enumerate(aggregates):
        expected = [oracle.read(aggregate, request, item) for item in [*ITEMS, "never seen"]]
        exact = aggregate.fold in EXACT and aggregate.reduce != "mean"
        for columns in read:
            np.testing.assert_allclose(
                columns[number],
                expected,
                rtol=0.0 if exact else 1e-9,
                atol=0.0 if exact else 1e-6,  # 1e9 and 0.1 are among the values that are added
                err_msg=f"{aggregate.name} by {by}",
            )


@pytest.mark.parametrize("by", KEYS)
@settings(max_examples=12, deadline=None)
@given(found=logs(), request=requests)
def test_oracle_offline_and_online_agree(by, found, request) -> None:
    check_agreement(found, request, by)


@settings(max_examples=25, deadline=None)
@given(found=logs(), asked=st.lists(requests, min_size=1, max_size=6))
def test_many_requests_in_any_order_read_as_each_alone(found, asked) -> None:
    aggregates = [a for by in ("user*item.genres", "session", "item") for a in every_fold(by)]
    offline = OfflineReader(encode_log(snapshot_of(found)), chunk_events=9)
    alone = [translated(offline, request) for request in asked]
    together = Slates(
        users=np.concatenate([s.users for s in alone]),
        as_of=np.concatenate([s.as_of for s in alone]),
        items=np.concatenate([s.items for s in alone]),
        offsets=np.arange(len(alone) + 1) * (len(ITEMS) + 1),
        context=[r.context for r in asked],
        sessions=[r.session_id for r in asked],
    )
    expected = [offline.read_many(aggregates, slates) for slates in alone]
    for number, column in enumerate(offline.read_many(aggregates, together)):
        one_by_one = np.concatenate([columns[number] for columns in expected])
        np.testing.assert_array_equal(column, one_by_one)


def named_before(found, instant: int) -> set[str]:
    """Ids of users and items of all events that became visible before an instant."""
    names = set()
    for visible in visible_events(snapshot_of(found)):
        if visible.visible_at < instant:
            event = visible.event
            names |= {getattr(event, "user_id", ""), getattr(event, "item_id", "")}
            names |= set(getattr(event, "item_ids", ()))
    return names


@settings(max_examples=60, deadline=None)
@given(found=logs(), request=requests)
def test_an_id_is_known_from_the_first_event_on_that_names_it(found, request: Request) -> None:
    known = named_before(found, request.as_of)
    items = [i if i in known else None for i in [*ITEMS, "never seen"]]
    user = request.user if request.user and request.user in known else None
    snapshot = snapshot_of(found)
    readers = [OfflineReader(encode_log(snapshot))]
    readers += [replayed(snapshot, request.as_of, [], step) for step in (0, 1)]
    for reader in readers:
        frame = Frame(translated(reader, request), reader, {}, LogProfile(), {})
        ids = frame.data([ITEM_ID, USER_ID])
        assert ids[ITEM_ID].to_list() == items
        assert ids[USER_ID].to_list() == [user] * len(items)


HISTORIES = [
    last_items("history", ("click", "buy"), n=3, by="user"),
    last_items("longer", ("buy", "click"), n=7, by="user"),
    last_items("window", "*", n=5, window_s=36.0, by="user"),
    last_items("session", ("*", "impression"), n=2, by="session"),
    last_items("visit", "*", n=4, by="visit"),
    last_items("somebody", ("*", "impression"), n=3),
]


@pytest.mark.parametrize("aggregate", HISTORIES, ids=lambda a: a.name)
@settings(max_examples=25, deadline=None)
@given(found=logs(), request=requests)
def test_histories_agree(aggregate, found, request) -> None:
    snapshot = snapshot_of(found)
    oracle = Oracle(snapshot)
    oracle.remember_walk(snapshot)
    named, _, unnamed = aggregate.by.partition("|")
    by = unnamed if unnamed and not request.user else named
    owners = oracle.keys(by, request, "")
    rows = [
        row
        for row in oracle.matching(aggregate, request.as_of)
        if owners and owners[0] in row.parts[by]
    ][::-1][: aggregate.n]
    readers = [OfflineReader(encode_log(snapshot), chunk_events=chunk) for chunk in (1_000, 5)]
    readers += [replayed(snapshot, request.as_of, HISTORIES, step) for step in (0, 1, 5)]
    for reader in readers:
        histories = reader.histories(aggregate, translated(reader, request))
        there = histories.types[0] >= 0
        assert [reader.types.names[t] for t in histories.types[0][there]] == [r.type for r in rows]
        ages = [(request.as_of - row.occurred) / SECOND for row in rows]
        assert histories.ages_s[0][there].tolist() == pytest.approx(ages, rel=1e-6)
        values = [np.nan if row.value is None else row.value for row in rows]
        np.testing.assert_allclose(histories.values[0][there], values, rtol=1e-6)
        for version, row in zip(histories.versions[0][there], rows, strict=True):
            known = oracle.attributes("item", row.item, request.as_of)
            assert (version >= 0) == (known is not None)
            if version >= 0:
                assert reader.items.item_id(int(version)) == row.item
                assert reader.items.attributes(int(version)) == known


def test_an_event_at_the_instant_of_the_request_is_not_seen() -> None:
    click = VisibleEvent(InteractionEvent("e", 5 * SECOND, "u1", "i1", "click"), 5 * SECOND)
    reader = OfflineReader(encode_log(snapshot_of([click])))
    clicks = count("clicks", "click", by="item")
    assert reader.read(clicks, translated(reader, Request("u1", 5 * SECOND)))[0] == 0.0
    assert reader.read(clicks, translated(reader, Request("u1", 5 * SECOND + 1)))[0] == 1.0


def test_an_item_event_that_arrives_late_does_not_replace_a_later_description() -> None:
    new = ItemEvent("new", 10 * SECOND, "i1", {"genres": ["g2"]})
    late = ItemEvent("late", 5 * SECOND, "i1", {"genres": ["g1"]})
    arrived = [VisibleEvent(new, 10 * SECOND), VisibleEvent(late, 20 * SECOND)]
    state = OnlineState(encode_log(snapshot_of([])), [])
    state.apply(arrived)
    offline = OfflineReader(encode_log(snapshot_of(arrived)))
    for reader in (state, offline):
        version = int(reader.item_versions(translated(reader, Request("", 30 * SECOND)))[0])
        assert reader.items.attributes(version) == {"genres": ["g2"]}


@pytest.mark.parametrize("by", ["itme", "user*user", "item*user", "item.", "session.x", ""])
def test_a_malformed_key_is_an_error_that_shows_it(by) -> None:
    reader = OfflineReader(encode_log(snapshot_of([])))
    slates = translated(reader, Request("", SECOND))
    with pytest.raises(ValueError, match=r"key '.*': expected global, user"):
        reader.read(count("x", "*", by=by), slates)
