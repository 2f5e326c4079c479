"""Small writes have no thread; everything else gets one, with what was read already."""

from __future__ import annotations

import gc
import threading
import time

import grpc
import pytest
from serving_fakes import FakeEngine, FakeWriter, running

from recsys.schema import InteractionEvent
from recsys.serving import grpc_parts
from recsys.serving.arriving import _Arriving
from recsys.serving.client import Client
from recsys.serving.commit import Ticket
from recsys.serving.event_messages import event_message
from recsys.serving.observer import Observer
from recsys.v1 import event_pb2, event_pb2_grpc

CLICK = "/recsys.v1.EventService/WriteEvents"


class Heard(Observer):
    """Remembers which calls had a thread, and how many are inside."""

    def __init__(self) -> None:
        self.passed = []
        self.threaded = []
        self.inside = 0
        self.changed = threading.Condition()

    def call_passed(self, method, metadata, code, seconds):
        with self.changed:
            self.passed.append((method, code))
            self.changed.notify_all()

    def call_ended(self, method, code, seconds):
        with self.changed:
            self.threaded.append((method, code))
            self.changed.notify_all()

    def queued(self, what, change):
        with self.changed:
            self.inside += change if what == "write events" else 0
            self.changed.notify_all()

    def wait_for(self, is_so):
        with self.changed:
            assert self.changed.wait_for(lambda: is_so(self), 10)


@pytest.fixture
def served():
    writer, heard = FakeWriter(), Heard()
    with running(FakeEngine(), writer=writer, observer=heard, max_streams=4) as (server, channel):
        yield server, event_pb2_grpc.EventServiceStub(channel), writer, heard


def message(*numbers, **fields):
    event = InteractionEvent("", 0, "u", fields.get("item_id", "i"), "click")
    found = [event_message(event) for _ in numbers]
    for one, number in zip(found, numbers, strict=True):
        one.event_id = f"e{number}"
    return event_pb2.WriteEventsRequest(events=found)


def test_grpc_is_made_of_the_parts_that_are_used():
    assert grpc_parts.IS_AS_KNOWN


def test_one_small_message_has_no_thread_and_is_durable_when_it_is_answered(served):
    _, stub, writer, heard = served
    answer = stub.WriteEvents(iter([message(1, 2)]), timeout=10)
    assert (answer.accepted, writer.n_synced) == (2, 2)
    again = stub.WriteEvents(iter([message(2, 3)]), timeout=10)
    assert (again.accepted, again.duplicates) == (1, 1)
    heard.wait_for(lambda h: h.inside == 0 and len(h.passed) == 2)
    assert heard.passed == [(CLICK, "OK")] * 2
    assert not heard.threaded


def test_a_call_leaves_nothing_to_the_garbage_collector(served):
    _, stub, _, heard = served
    gc.collect()
    gc.disable()
    try:
        for n in range(50):
            assert stub.WriteEvents(iter([message(n)]), timeout=10).accepted == 1
        heard.wait_for(lambda h: h.inside == 0 and len(h.passed) == 50)
        left = [found for found in gc.get_objects() if type(found) in {_Arriving, Ticket}]
        assert len(left) <= 2  # what the threads have in their hands
    finally:
        gc.enable()


def test_a_call_goes_on_in_a_thread_with_its_second_message(served):
    _, stub, writer, heard = served
    answer = stub.WriteEvents(iter([message(1), message(2, item_id=""), message(3)]), timeout=10)
    assert (answer.accepted, answer.rejected) == (2, 1)
    assert answer.rejections[0].event_index == 1
    assert [visible.event.event_id for visible in writer.appended] == ["e1", "e3"]
    heard.wait_for(lambda h: h.inside == 0 and len(h.threaded) == 1)
    assert not heard.passed


@pytest.mark.parametrize(
    ("sent", "accepted", "rejected"),
    [
        ([], 0, 0),
        ([message()], 0, 0),
        ([message(1, item_id="")], 0, 1),
        ([message(*range(99))], 99, 0),
    ],
    ids=["no message", "no event", "a bad event", "a long message"],
)
def test_whatever_else_comes_has_a_thread(served, sent, accepted, rejected):
    _, stub, _, heard = served
    answer = stub.WriteEvents(iter(sent), timeout=10)
    assert (answer.accepted, answer.rejected) == (accepted, rejected)
    heard.wait_for(lambda h: h.inside == 0 and len(h.threaded) == 1)


def test_a_message_that_is_none_is_refused_as_ever(served):
    server, _, _, _ = served
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_unary(CLICK)
        with pytest.raises(grpc.RpcError) as found:
            call(iter([b"\xff\xff\xff"]), timeout=10)
    assert found.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_events_of_a_stream_that_stays_open_count_at_once_and_hold_no_thread(served):
    server, stub, writer, heard = served
    may_end = threading.Event()

    def slowly():
        yield message(1)
        assert may_end.wait(10)

    held = [stub.WriteEvents.future(slowly(), timeout=20) for _ in range(3)]
    heard.wait_for(lambda h: h.inside == 3)
    deadline = time.monotonic() + 10
    while not writer.n_synced and time.monotonic() < deadline:
        time.sleep(0.01)
    assert writer.n_synced == 1
    with Client(server.address) as client:
        assert client.write_events([InteractionEvent("x", 0, "u", "i", "click")]).accepted == 1
    may_end.set()
    answers = [call.result() for call in held]
    assert sorted(answer.accepted for answer in answers) == [0, 0, 1]
    assert not heard.threaded


def test_a_full_disk_is_told_without_a_thread(served):
    _, stub, writer, heard = served
    writer.is_full = True
    with pytest.raises(grpc.RpcError) as found:
        stub.WriteEvents(iter([message(1)]), timeout=10)
    assert found.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "No space left" in found.value.details()
    heard.wait_for(lambda h: h.passed == [(CLICK, "RESOURCE_EXHAUSTED")])
    writer.is_full = False
    assert stub.WriteEvents(iter([message(1)]), timeout=10).accepted == 1


def test_an_error_that_nobody_expects_is_told_by_a_thread():
    class Broken:
        def now_us(self):
            raise ValueError

    heard = Heard()
    with running(FakeEngine(), clock=Broken(), observer=heard) as (_, channel):
        stub = event_pb2_grpc.EventServiceStub(channel)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as found:
                stub.WriteEvents(iter([message(1)]), timeout=10)
            assert found.value.code() is grpc.StatusCode.INTERNAL
    heard.wait_for(lambda h: h.threaded == [(CLICK, "INTERNAL")] * 2 and h.inside == 0)


def test_nobody_is_there_any_more(served):
    _, stub, writer, heard = served
    writer.may_sync.clear()
    with pytest.raises(grpc.RpcError) as found:
        stub.WriteEvents(iter([message(1)]), timeout=0.3)
    assert found.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    writer.may_sync.set()
    heard.wait_for(lambda h: h.inside == 0)
    assert heard.passed == [(CLICK, "CANCELLED")]
    assert stub.WriteEvents(iter([message(2)]), timeout=10).accepted == 1


def test_too_many_are_refused_and_there_is_room_again(served):
    _, stub, writer, heard = served
    writer.may_sync.clear()
    held = [stub.WriteEvents.future(iter([message(n)]), timeout=20) for n in range(4)]
    heard.wait_for(lambda h: h.inside == 4)
    with pytest.raises(grpc.RpcError) as found:
        stub.WriteEvents(iter([message(5)]), timeout=10)
    assert found.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    writer.may_sync.set()
    assert [call.result().accepted for call in held] == [1] * 4
    heard.wait_for(lambda h: h.inside == 0)
    assert stub.WriteEvents(iter([message(5)]), timeout=10).accepted == 1


def test_without_the_parts_every_call_has_a_thread(monkeypatch):
    monkeypatch.setattr(grpc_parts, "IS_AS_KNOWN", False)
    writer, heard = FakeWriter(), Heard()
    with running(FakeEngine(), writer=writer, observer=heard, max_streams=1) as (_, channel):
        stub = event_pb2_grpc.EventServiceStub(channel)
        writer.may_sync.clear()
        held = stub.WriteEvents.future(iter([message(1)]), timeout=20)
        heard.wait_for(lambda h: h.inside == 1)
        with pytest.raises(grpc.RpcError) as found:
            stub.WriteEvents(iter([message(2)]), timeout=10)
        assert found.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        writer.may_sync.set()
        assert held.result().accepted == 1
        heard.wait_for(lambda h: h.inside == 0)
    assert not heard.passed
    assert heard.threaded == [(CLICK, "OK")]
