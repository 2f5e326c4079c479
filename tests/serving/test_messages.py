"""Events and requests survive the way through their messages; the JSON of both worlds is one."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import EventError, RequestError
from recsys.events.checks import check_event
from recsys.events.codec import decode_event, encode_event
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent
from recsys.serving.attributes import attributes_of, struct_of
from recsys.serving.event_messages import event_message, event_of
from recsys.serving.ranking_messages import rank_query_of
from recsys.v1 import event_pb2, ranking_pb2

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(st.text(max_size=8), NUMBERS, st.booleans(), st.lists(st.text(max_size=5)))
VALUES |= st.lists(NUMBERS, max_size=4)
ATTRIBUTES = st.dictionaries(IDS, VALUES, max_size=4)
INSTANTS = st.integers(1, 253_402_300_799_999_999)
EVENTS = st.one_of(
    st.builds(ItemEvent, IDS, INSTANTS, IDS, ATTRIBUTES),
    st.builds(UserEvent, IDS, INSTANTS, IDS, ATTRIBUTES),
    st.builds(
        ImpressionEvent,
        event_id=IDS,
        occurred_at=INSTANTS,
        user_id=IDS,
        item_ids=st.lists(IDS, min_size=1, max_size=4),
        impression_id=IDS,
        session_id=IDS,
        context=ATTRIBUTES,
        item_attributes=st.dictionaries(IDS, ATTRIBUTES, max_size=2),
    ),
    st.builds(
        InteractionEvent,
        event_id=IDS,
        occurred_at=INSTANTS,
        user_id=IDS,
        item_id=IDS,
        type=IDS,
        impression_id=IDS,
        session_id=IDS,
        value=st.none() | NUMBERS,
        attributes=ATTRIBUTES,
    ),
)


@given(EVENTS)
def test_an_event_survives_its_message(event):
    assert event_of(event_message(event), now_us=0) == event


@given(EVENTS)
def test_canonical_json_of_the_message_is_a_line_of_an_event_file(event):
    text = json_format.MessageToJson(event_message(event), preserving_proto_field_name=True)
    assert decode_event(text.encode()) == event


@given(EVENTS)
def test_a_line_of_an_event_file_is_json_of_the_message_but_for_its_instant(event):
    line = json.loads(encode_event(event))
    del line["occurred_at"]
    message = json_format.ParseDict(line, event_pb2.Event())
    assert event_of(message, now_us=event.occurred_at) == event


def test_the_server_says_when_an_event_happened_that_does_not():
    event = InteractionEvent("e", 0, "u", "i", "click")
    assert event_of(event_message(event), now_us=77).occurred_at == 77


def test_an_impression_is_named_by_its_event_where_it_has_no_other_name():
    message = event_pb2.Event(event_id="e1")
    message.impression.item_ids.append("i")
    assert event_of(message, now_us=1).impression_id == "e1"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null or nested"),
        ({"deep": 1.0}, "null or nested"),
        (["a", 1.0], "mixed"),
        ([[1.0]], "mixed"),
        ([True], "mixed"),
        (float("nan"), "not finite"),
        ([1.0, float("inf")], "not finite"),
    ],
)
def test_a_value_that_a_log_cannot_hold_is_refused_by_name(value, reason):
    with pytest.raises(EventError, match=reason) as found:
        attributes_of(struct_of({"fine": "x", "odd": value}), "attributes")
    assert found.value.field == "attributes.odd"


@given(ATTRIBUTES)
def test_attributes_that_are_read_pass_the_check_of_the_log(attributes):
    read = attributes_of(struct_of(attributes), "attributes")
    assert read == attributes
    check_event(ItemEvent("e", 1, "i", read))


def test_an_event_without_kind_or_with_a_broken_instant_is_refused():
    with pytest.raises(EventError, match="has no kind"):
        event_of(event_pb2.Event(event_id="e"), now_us=0)
    message = event_message(ItemEvent("e", 1, "i"))
    message.occurred_at.nanos = -1
    with pytest.raises(EventError, match="nanos"):
        event_of(message, now_us=0)


def test_a_bad_context_is_a_fault_of_the_request():
    request = ranking_pb2.RankRequest(item_ids=["i"], context=struct_of({"device": None}))
    with pytest.raises(RequestError) as found:
        rank_query_of(request, as_of=1)
    assert found.value.violations[0][0] == "context.device"
