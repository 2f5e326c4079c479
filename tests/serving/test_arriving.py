"""Small writes have no thread; everything else gets one, with what was read already."""

from __future__ import annotations

import gc
import threading
import time

import grpc
import pytest
from grpc import _server
from serving_fakes import FakeEngine, FakeWriter, running

from recsys.schema import InteractionEvent
from recsys.serving import grpc_parts, logs
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
        self.inside = self.n_handed_in = 0
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
            self.n_handed_in += change if what == "events" and change > 0 else 0
            self.changed.notify_all()

    def wait_for(self, is_so):
        with self.changed:
            assert self.changed.wait_for(lambda: is_so(self), 10)


@pytest.fixture
def served():
    writer, heard = FakeWriter(), Heard()
    with running(FakeEngine(), writer=writer, observers=[heard], max_streams=4) as (
        server,
        channel,
    ):
        yield server, event_pb2_grpc.EventServiceStub(channel), writer, heard


def message(*numbers, **fields):
    event = InteractionEvent("", 0, "u", fields.get("item_id", "i"), "click")
    found = [event_message(event) for _ in numbers]
    for one, number in zip(found, numbers, strict=True):
        one.event_id = f"e{number}"
    return event_pb2.WriteEventsRequest(events=found)


def test_grpc_is_made_of_the_parts_that_are_used():
    assert grpc_parts.IS_AS_KNOWN


class Other:
    def __init__(self) -> None:
        self.condition, self.due, self.client = threading.Condition(), set(), "open"
        self.code = self.details = self.trailing_metadata = None


class Slotted:
    __slots__ = ("client", "code", "condition", "details", "due", "statused", "trailing_metadata")


@pytest.mark.parametrize("state", [Other, Slotted, lambda _: None, None])
def test_a_state_of_a_call_that_is_made_otherwise_is_not_known(monkeypatch, state):
    monkeypatch.setattr(_server, "_RPCState", state)
    assert not grpc_parts._is_as_known()


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
    with running(FakeEngine(), clock=Broken(), observers=[heard]) as (_, channel):
        stub = event_pb2_grpc.EventServiceStub(channel)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as found:
                stub.WriteEvents(iter([message(1)]), timeout=10)
            assert found.value.code() is grpc.StatusCode.INTERNAL
    heard.wait_for(lambda h: h.threaded == [(CLICK, "INTERNAL")] * 2 and h.inside == 0)


@pytest.mark.parametrize("is_full", [False, True], ids=["written", "not written"])
@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "CANCELLED"])
def test_why_nobody_is_there_any_more_is_counted(served, code, is_full):
    _, stub, writer, heard = served
    writer.may_sync.clear()
    first = stub.WriteEvents.future(iter([message(1)]), timeout=20)
    deadline = time.monotonic() + 10
    while not writer.appended and time.monotonic() < deadline:
        time.sleep(0.01)
    is_late = code == "DEADLINE_EXCEEDED"
    call = stub.WriteEvents.future(iter([message(2)]), timeout=0.5 if is_late else 20)
    heard.wait_for(lambda h: h.n_handed_in == 2)
    if is_late:
        with pytest.raises(grpc.RpcError):
            call.result()
        time.sleep(0.1)  # the server's deadline comes after the caller's
    else:
        call.cancel()
    # Once a later call on the connection is over, the server has heard that this one is.
    assert stub.WriteEvents(iter([]), timeout=10).accepted == 0
    writer.is_full = is_full
    writer.may_sync.set()
    assert first.result().accepted == 1
    heard.wait_for(lambda h: h.inside == 0)
    assert sorted(heard.passed) == sorted([(CLICK, "OK"), (CLICK, code)])
    writer.is_full = False
    assert stub.WriteEvents(iter([message(3)]), timeout=10).accepted == 1


class Raising(Heard):
    """Hears of a call, and fails."""

    def call_passed(self, method, metadata, code, seconds):
        super().call_passed(method, metadata, code, seconds)
        raise OSError


class Torn:
    """A log that cannot be written: a full disk, or nobody who reads standard error."""

    def error(self, event, **found):
        raise BrokenPipeError


def test_an_observer_that_raises_where_the_commit_answers_stops_nothing(monkeypatch):
    monkeypatch.setattr(logs, "_log", Torn())
    heard = Raising()
    with running(FakeEngine(), observers=[heard], max_streams=1) as (_, channel):
        stub = event_pb2_grpc.EventServiceStub(channel)
        for n in range(5):
            assert stub.WriteEvents(iter([message(n)]), timeout=10).accepted == 1
            heard.wait_for(lambda h: h.inside == 0)
    assert heard.passed == [(CLICK, "OK")] * 5


def test_an_observer_that_raises_where_grpc_answers_stops_nothing():
    heard, writer = Raising(), FakeWriter()
    with running(FakeEngine(), writer=writer, observers=[heard], max_streams=1) as (_, channel):
        stub = event_pb2_grpc.EventServiceStub(channel)
        for n in range(1, 4):
            may_end = threading.Event()

            def slowly(n=n, may_end=may_end):
                yield message(n)
                assert may_end.wait(10)

            call = stub.WriteEvents.future(slowly(), timeout=20)
            deadline = time.monotonic() + 10
            while writer.n_synced < n and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)  # settled a moment later
            may_end.set()
            assert call.result().accepted == 1
            heard.wait_for(lambda h: h.inside == 0)
    assert heard.passed == [(CLICK, "OK")] * 3


@pytest.mark.parametrize("n_asked", [0, 1], ids=["the first message", "the second"])
def test_a_call_that_grpc_reads_no_message_of_is_refused(served, monkeypatch, n_asked):
    _, stub, _, heard = served
    ask, asked = grpc_parts.ask, []

    def failing(*given):
        asked.append(given)
        if len(asked) > n_asked:
            raise ValueError
        ask(*given)

    with monkeypatch.context() as patched:
        patched.setattr(grpc_parts, "ask", failing)
        with pytest.raises(grpc.RpcError) as found:
            stub.WriteEvents(iter([message(1)]), timeout=10)
    assert found.value.code() is grpc.StatusCode.INTERNAL
    heard.wait_for(lambda h: h.inside == 0)
    assert heard.passed == [(CLICK, "INTERNAL")]
    assert stub.WriteEvents(iter([message(2)]), timeout=10).accepted == 1


def test_a_call_for_which_there_is_no_thread_is_refused(served, monkeypatch):
    server, stub, writer, heard = served

    def failing():
        raise RuntimeError  # as where no thread can be started

    with monkeypatch.context() as patched:
        patched.setattr(server._doors.events, "_adjust_thread_count", failing)
        for sent in ([message(1), message(2)], [message(*range(99))]):
            with pytest.raises(grpc.RpcError) as found:
                stub.WriteEvents(iter(sent), timeout=10)
            assert found.value.code() is grpc.StatusCode.INTERNAL
    heard.wait_for(lambda h: h.inside == 0)
    assert heard.passed == [(CLICK, "INTERNAL")] * 2
    # What waits in the pool is not run when there is a thread again.
    assert stub.WriteEvents(iter([message(3), message(4)]), timeout=10).accepted == 2
    heard.wait_for(lambda h: h.inside == 0)
    assert heard.threaded == [(CLICK, "OK")]
    assert [visible.event.event_id for visible in writer.appended] == ["e1", "e3", "e4"]
    assert server._commit._n_writers == 0


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
    with running(FakeEngine(), writer=writer, observers=[heard], max_streams=1) as (_, channel):
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
