"""Which events are known, by kind and id, and from when on a late one counts."""

from __future__ import annotations

import polars as pl

from recsys.events.snapshot import snapshot_of
from recsys.pipeline.known import KnownEvents
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent


def click(name: str, at: int) -> VisibleEvent:
    return VisibleEvent(InteractionEvent(name, at, "u", "i", "click"), at)


def item(name: str, at: int) -> VisibleEvent:
    return VisibleEvent(ItemEvent(name, at, "i"), at)


def test_events_of_the_log_and_new_ones_are_known_by_kind_and_id() -> None:
    known = KnownEvents()
    known.note(snapshot_of([click("a", 1)]))
    known.note(snapshot_of([item("b", 2)]))
    asked = [click("a", 1), click("b", 1), item("a", 1), item("b", 1), click("c", 1)]
    assert known.seen([v.event for v in asked]) == [True, False, False, True, False]
    assert known.add([click("c", 3), click("a", 3), click("c", 4)]) == [click("c", 3)]
    assert known.seen([v.event for v in asked]) == [True, False, False, True, True]
    assert (known.n_events, known.last_visible_at) == (3, 3)


def test_nothing_is_known_of_an_empty_log() -> None:
    known = KnownEvents()
    assert known.seen([click("a", 1).event]) == [False]
    assert known.seen([]) == []


def test_a_late_event_counts_from_the_newest_one_on() -> None:
    known = KnownEvents()
    known.note(snapshot_of([click("a", 10)]))
    late, later = known.add([click("b", 5), click("c", 12)])
    assert (late.visible_at, late.event.occurred_at) == (10, 5)
    assert later.visible_at == 12


def test_a_log_is_the_known_one_when_no_event_is_missing_and_none_is_foreign() -> None:
    known = KnownEvents()
    known.note(snapshot_of([click("a", 1), click("b", 2), item("x", 2), click("c", 3)]))
    tail = snapshot_of([click("c", 3), click("new", 4), item("new", 4)])

    def ids(*clicks: str, items: tuple[str, ...] = ("x",)) -> dict:
        by_kind = {"interactions": clicks, "items": items, "users": (), "impressions": ()}
        return {k: pl.Series("event_id", list(v), dtype=pl.String) for k, v in by_kind.items()}

    assert known.are(ids("a", "b"), tail)
    assert known.are(ids("b", "c", "a"), tail)
    assert not known.are(ids("a"), tail)
    assert not known.are(ids("a", "b", "foreign"), tail)
    assert not known.are(ids("a", "b", items=()), tail)
    assert not known.are(ids("a", "b"), snapshot_of([]))
