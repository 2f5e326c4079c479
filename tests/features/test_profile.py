"""What kind of log this is, as plugins see it."""

from __future__ import annotations

from recsys.events.snapshot import snapshot_of
from recsys.features.profile import profile_attributes, profile_log
from recsys.schema import InteractionEvent, VisibleEvent


def test_frequent_values_are_named_most_frequent_first_and_ties_by_the_alphabet() -> None:
    rows = [{"kind": kind} for kind in ("b", "b", "a", "a", "c", "c", "c", "once")]
    assert profile_attributes(rows)["kind"].frequent == ("c", "a", "b")
    assert profile_attributes(reversed(rows))["kind"].frequent == ("c", "a", "b")


def test_of_lists_the_elements_are_counted_and_numbers_have_no_frequent_values() -> None:
    rows = [{"tags": ["x", "y"], "price": 2.0, "sold": True}, {"tags": ["y"], "price": 2.0}]
    found = profile_attributes(rows)
    assert found["tags"].frequent == ("y",)
    assert found["price"].frequent == ()
    assert found["sold"].frequent == ()


def test_the_span_goes_from_the_first_event_to_the_last() -> None:
    events = [
        VisibleEvent(InteractionEvent(f"e{at}", at * 1_000_000, "u", "a", "click"), at * 1_000_000)
        for at in (5, 65)
    ]
    profile, _ = profile_log(snapshot_of(events))
    assert profile.span_s == 60.0
    empty, _ = profile_log(snapshot_of([]))
    assert empty.span_s == 0.0
