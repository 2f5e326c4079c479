"""Events survive their JSON, and everything that is not an event is refused with its field."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import EventError
from recsys.events.checks import check_event
from recsys.events.codec import (
    decode_event,
    decode_visible_event,
    encode_event,
    encode_visible_event,
)
from recsys.events.metarank import decode_metarank_line, is_metarank_line
from recsys.schema import (
    MAX_ID_LENGTH,
    MAX_LIST_LENGTH,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

NOW = 1_700_000_000_000_000
ids = st.text(min_size=1, max_size=12)
maybe = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(
    st.text(),
    numbers,
    st.booleans(),
    st.lists(st.text(), max_size=3),
    st.lists(numbers, max_size=3),
)
attributes = st.dictionaries(ids, values, max_size=4)
instants = st.integers(0, NOW)


@st.composite
def impressions(draw: st.DrawFn) -> ImpressionEvent:
    shown = draw(st.lists(ids, min_size=1, max_size=5))
    inside = draw(st.dictionaries(st.sampled_from(shown), attributes, max_size=2))
    return ImpressionEvent(
        draw(ids),
        draw(instants),
        draw(maybe),
        shown,
        draw(ids),
        draw(maybe),
        draw(attributes),
        inside,
    )


events = st.one_of(
    st.builds(ItemEvent, ids, instants, ids, attributes),
    st.builds(UserEvent, ids, instants, ids, attributes),
    impressions(),
    st.builds(
        InteractionEvent,
        *(ids, instants, ids, ids, ids, maybe, maybe),
        st.none() | numbers,
        attributes,
    ),
)


@settings(deadline=None)
@given(events)
def test_an_event_survives_its_json(event: Event) -> None:
    check_event(event, now_us=NOW)
    line = encode_event(event)
    assert b"\n" not in line
    assert not is_metarank_line(line)
    assert decode_event(line) == event


@settings(deadline=None)
@given(events, instants)
def test_a_visible_event_survives_its_json(event: Event, visible_at: int) -> None:
    visible = VisibleEvent(event, visible_at)
    assert decode_visible_event(encode_visible_event(visible)) == visible


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_an_event_or_an_event_error(line: bytes) -> None:
    for decode in (decode_event, decode_metarank_line):
        with pytest.raises(EventError):
            decode(line)


def test_the_names_are_those_of_the_message() -> None:
    line = (
        b'{"event_id":"e1","occurred_at":"2021-11-15T00:00:00.5Z","interaction":{"user_id":"u",'
        b'"item_id":"i","type":"click","impression_id":"p","session_id":"s","value":2,'
        b'"attributes":{"n":1,"b":true,"l":["x"],"m":[1,2.5]}}}'
    )
    event = decode_event(line)
    assert event == InteractionEvent(
        "e1",
        1_636_934_400_500_000,
        "u",
        "i",
        "click",
        "p",
        "s",
        2.0,
        {"n": 1.0, "b": True, "l": ["x"], "m": [1.0, 2.5]},
    )


def test_whole_numbers_as_ids_become_text() -> None:
    line = b'{"event_id":"e1","occurred_at":5,"impression":{"user_id":7,"item_ids":[1,"b",-2]}}'
    assert decode_event(line) == ImpressionEvent("e1", 5, "7", ["1", "b", "-2"], "e1")


def test_attributes_that_are_null_are_left_out() -> None:
    line = (
        b'{"event_id":7,"occurred_at":5,"impression":{"item_ids":["a"],"context":{"q":null,"d":"tv"},'
        b'"item_attributes":{"a":{"bid":null,"x":1}}}}'
    )
    expected = ImpressionEvent("7", 5, "", ["a"], "7", "", {"d": "tv"}, {"a": {"x": 1.0}})
    assert decode_event(line) == expected
    line = b'{"event_id":"e","occurred_at":5,"item":{"item_id":"i","attributes":{"a":null,"b":2}}}'
    assert decode_event(line) == ItemEvent("e", 5, "i", {"b": 2.0})


def test_an_impression_without_an_id_takes_that_of_its_event() -> None:
    event = decode_event(b'{"event_id":"e1","occurred_at":5,"impression":{"item_ids":["a","b"]}}')
    assert event == ImpressionEvent("e1", 5, "", ["a", "b"], "e1")


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        (b"{", "", "not JSON"),
        (b'{"event_id":"\xff"}', "", "not JSON"),
        (b"[1]", "", "object"),
        (b'{"occurred_at":1,"item":{"item_id":"i"}}', "", "event_id"),
        (b'{"event_id":"e","occurred_at":1}', "", "exactly one"),
        (b'{"event_id":"e","occurred_at":1,"item":{},"user":{}}', "", "exactly one"),
        (b'{"event_id":"e","occurred_at":1,"item":{"id":"i"}}', "item", "unknown field"),
        (b'{"event_id":"e","occurred_at":1,"item":{"item_id":3.5}}', "item.item_id", "str"),
        (b'{"event_id":"e","occurred_at":1.5,"item":{"item_id":"i"}}', "occurred_at", "float"),
        (b'{"event_id":"e","occurred_at":"now","item":{"item_id":"i"}}', "occurred_at", "RFC"),
        (
            b'{"event_id":"e","occurred_at":"2021-11-15T00:00:00","item":{"item_id":"i"}}',
            "occurred_at",
            "time zone",
        ),
        (
            b'{"event_id":"e","occurred_at":1,"item":{"item_id":"i","attributes":{"a":["b",null]}}}',
            "item.attributes[...][1]",
            "null",
        ),
        (
            b'{"event_id":"e","occurred_at":1,"item":{"item_id":"i","attributes":{"a":NaN}}}',
            "",
            "no NaN",
        ),
    ],
)
def test_what_is_no_record_is_refused_with_its_path(line: bytes, field: str, words: str) -> None:
    with pytest.raises(EventError) as raised:
        decode_event(line)
    assert raised.value.field == field
    assert words in raised.value.reason


def _click(**changes: object) -> InteractionEvent:
    fields = {"event_id": "e", "occurred_at": 1, "user_id": "u", "item_id": "i", "type": "click"}
    return InteractionEvent(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (_click(event_id=""), "event_id"),
        (_click(user_id=""), "user_id"),
        (_click(item_id="x" * (MAX_ID_LENGTH + 1)), "item_id"),
        (_click(type=""), "type"),
        (_click(session_id="x" * (MAX_ID_LENGTH + 1)), "session_id"),
        (_click(value=math.inf), "value"),
        (_click(occurred_at=-1), "occurred_at"),
        (_click(occurred_at=2**62), "occurred_at"),
        (_click(occurred_at=NOW + 300_000_001), "occurred_at"),
        (_click(attributes={"": 1.0}), "attributes"),
        (_click(attributes={"a": math.nan}), "attributes.a"),
        (_click(attributes={"a": None}), "attributes.a"),
        (_click(attributes={"a": [1.0, "b"]}), "attributes.a"),
        (_click(attributes={"a": [True]}), "attributes.a"),
        (_click(attributes={"a": [math.inf]}), "attributes.a"),
        (ItemEvent("e", 1, ""), "item_id"),
        (UserEvent("e", 1, ""), "user_id"),
        (ImpressionEvent("e", 1, "u", []), "item_ids"),
        (ImpressionEvent("e", 1, "u", ["i"] * (MAX_LIST_LENGTH + 1)), "item_ids"),
        (ImpressionEvent("e", 1, "u", ["i", ""]), "item_ids[1]"),
        (ImpressionEvent("e", 1, "u", ["i"], context={"q": math.nan}), "context.q"),
        (ImpressionEvent("e", 1, "u", ["i"], item_attributes={"j": {}}), "item_attributes"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_field(event: Event, field: str) -> None:
    with pytest.raises(EventError) as raised:
        check_event(event, now_us=NOW)
    assert raised.value.field == field


def test_a_visitor_without_an_id_is_known_by_the_list_or_the_visit() -> None:
    check_event(_click(user_id="", impression_id="p"), now_us=NOW)
    check_event(_click(user_id="", session_id="s"), now_us=NOW)


def test_an_event_may_be_a_little_ahead_of_the_clock() -> None:
    check_event(_click(occurred_at=NOW + 300_000_000), now_us=NOW)
    check_event(_click(occurred_at=NOW * 2), now_us=None)
    with pytest.raises(EventError, match="clock ahead"):
        check_event(_click(occurred_at=NOW + 300_000_001), now_us=NOW)


@pytest.mark.parametrize(
    "timestamp", ['"1636907100000"', "1636907100000", '"2021-11-14T16:25:00Z"']
)
def test_metarank_lines_are_read_as_they_are(timestamp: str) -> None:
    ranking = json.dumps({
        "event": "ranking",
        "id": "r",
        "timestamp": "T",
        "user": "u",
        "session": None,
        "fields": [{"name": "query", "value": "cat"}],
        "items": [{"id": "a", "fields": [{"name": "bid", "value": 2}]}, {"id": "b"}],
    }).replace('"T"', timestamp)
    assert is_metarank_line(ranking.encode())
    assert decode_metarank_line(ranking.encode()) == ImpressionEvent(
        "r", 1_636_907_100_000_000, "u", ["a", "b"], "r", "", {"query": "cat"}, {"a": {"bid": 2.0}}
    )


def test_metarank_interactions_keep_their_ranking() -> None:
    click = (
        b'{"event":"interaction","id":"c","timestamp":1,"user":"u","session":"s","item":"a",'
        b'"type":"click","ranking":"r","fields":[]}'
    )
    assert decode_metarank_line(click) == InteractionEvent("c", 1000, "u", "a", "click", "r", "s")


@pytest.mark.parametrize("name", ["impression", "session"])
def test_what_counts_something_else_is_no_type_of_an_interaction(name) -> None:
    with pytest.raises(EventError, match="is reserved; expected") as caught:
        check_event(InteractionEvent("e", 1, "u", "i", name))
    assert caught.value.field == "type"
