"""Writing events over a real channel: durable before the answer, once each, bad ones by name."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from serving_fakes import FakeEngine, FakeWriter, running

from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent
from recsys.serving.client import Client, field_violations
from recsys.serving.event_messages import event_message
from recsys.v1 import event_pb2, event_pb2_grpc

NOW_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000


class FixedClock:
    """Stands at one instant but for a microsecond a call."""

    def __init__(self) -> None:
        self._n = 0
        self._lock = threading.Lock()

    def now_us(self):
        with self._lock:
            self._n += 1
            return NOW_US + self._n


def click(n, **fields):
    return InteractionEvent(
        **{
            "event_id": f"e{n}",
            "occurred_at": NOW_US - 1000,
            "user_id": "u",
            "item_id": "i",
            "type": "click",
        }
        | fields
    )


@pytest.fixture
def served():
    engine, writer = FakeEngine(), FakeWriter()
    serving = running(engine, writer=writer, clock=FixedClock())
    with serving as (server, _), Client(server.address) as client:
        yield client, engine, writer


def failure(call, *arguments):
    with pytest.raises(grpc.RpcError) as found:
        call(*arguments)
    return found.value


def test_events_are_durable_when_the_answer_comes_and_count_for_the_next_request(served):
    client, _, writer = served
    assert client.rank("u", ["a", "b"]).item_ids == ["a", "b"]
    assert client.write_events([click(1, item_id="b")]).accepted == 1
    assert writer.n_synced == 1
    assert client.rank("u", ["a", "b"]).item_ids == ["b", "a"]


def test_every_kind_arrives_as_it_was_sent(served):
    client, _, writer = served
    events = [
        ItemEvent("x", NOW_US - 5, "i", {"title": "A day", "tags": ["a", "b"], "year": 2021.0}),
        UserEvent("x", NOW_US - 4, "u", {"plan": "free", "adult": True}),
        ImpressionEvent("x", NOW_US - 3, "u", ["i", "j"], "list", "s", {"page": 2.0}, {"j": {}}),
        click("x", value=2.5, session_id="s"),
    ]
    assert client.write_events(events).accepted == 4
    assert [visible.event for visible in writer.appended] == events


def test_a_retry_changes_nothing_and_says_so(served):
    client, _, writer = served
    client.write_events([click(1), click(2)])
    report = client.write_events([click(2), click(3), click(3)])
    assert (report.accepted, report.duplicates, report.rejected) == (1, 2, 0)
    assert [visible.event.event_id for visible in writer.appended] == ["e1", "e2", "e3"]


def test_kinds_have_event_ids_of_their_own(served):
    client, _, _ = served
    report = client.write_events([ItemEvent("same", 1, "i"), UserEvent("same", 1, "u"), click(1)])
    assert report.accepted == 3


def test_the_server_says_when_events_became_visible_each_later_than_the_one_before(served):
    client, _, writer = served
    client.write_events([click(n) for n in range(2000)])
    instants = [visible.visible_at for visible in writer.appended]
    assert instants == sorted(set(instants))
    assert instants[0] > NOW_US


def test_an_event_without_an_instant_happened_when_it_arrived(served):
    client, _, writer = served
    client.write_events([click(1, occurred_at=0)])
    [visible] = writer.appended
    assert NOW_US < visible.event.occurred_at < visible.visible_at


def test_bad_events_are_refused_one_by_one(served):
    client, _, writer = served
    ahead = NOW_US + 6 * MINUTE_US
    report = client.write_events([
        click(0),
        click(1, item_id=""),
        click(2, occurred_at=ahead),
        ImpressionEvent("e3", NOW_US, "u", []),
        ItemEvent("e4", NOW_US, "i", {"title": None}),
        click(5, occurred_at=NOW_US + 4 * MINUTE_US),
        click(6, event_id=""),
    ])
    assert (report.accepted, report.rejected) == (2, 5)
    assert [(index, event_id, field) for index, event_id, field, _ in report.rejections] == [
        (1, "e1", "interaction.item_id"),
        (2, "e2", "occurred_at"),
        (3, "e3", "impression.item_ids"),
        (4, "e4", "item.attributes.title"),
        (6, "", "event_id"),
    ]
    assert "clock ahead" in report.rejections[1][3]
    assert [visible.event.event_id for visible in writer.appended] == ["e0", "e5"]


def test_an_answer_does_not_grow_with_what_it_refuses(served):
    client, _, _ = served
    bad = ItemEvent("e" * 100_000, 1, "i", {"a" * 100_000: None})
    [(_, event_id, field, _)] = client.write_events([bad]).rejections
    assert event_id == "e" * 256
    assert len(field) <= 300


def test_an_event_of_no_kind_is_refused_as_a_whole(served):
    client, _, _ = served
    stub = event_pb2_grpc.EventServiceStub(client._channel)
    request = event_pb2.WriteEventsRequest(events=[event_pb2.Event(event_id="e")])
    [rejection] = stub.WriteEvents(iter([request]), timeout=10).rejections
    assert (rejection.field, rejection.event_id) == ("", "e")


def test_all_refusals_are_counted_and_the_first_thousand_listed(served):
    client, _, _ = served
    report = client.write_events(click(n, type="") for n in range(1500))
    assert report.rejected == 1500
    assert [index for index, *_ in report.rejections] == list(range(1000))


def test_a_call_without_events_is_answered(served):
    client, _, _ = served
    assert client.write_events([]).accepted == 0


def test_too_many_events_in_a_message_are_refused(served):
    client, _, writer = served
    stub = event_pb2_grpc.EventServiceStub(client._channel)
    request = event_pb2.WriteEventsRequest(events=[event_pb2.Event()] * 10_001)
    error = failure(lambda: stub.WriteEvents(iter([request]), timeout=10))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_violations(error)[0][0] == "events"
    assert writer.appended == []


def test_a_full_disk_refuses_events_clearly_while_ranking_goes_on(served):
    client, engine, writer = served
    writer.is_full = True
    error = failure(client.write_events, [click(1)])
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "No space left on device" in error.details()
    assert client.rank("u", ["a"]).item_ids == ["a"]
    assert engine.seen([click(1)]) == [False]
    writer.is_full = False
    assert client.write_events([click(1)]).accepted == 1


def test_an_event_that_the_state_cannot_take_is_never_written_twice(served):
    client, engine, writer = served

    def fail(events):
        raise KeyError

    engine.before_apply = fail
    assert failure(client.write_events, [click(1)]).code() is grpc.StatusCode.INTERNAL
    assert client.write_events([click(1)]).duplicates == 1
    assert len(writer.appended) == 1


def test_writers_share_an_fsync():
    writer = FakeWriter()
    serving = running(writer=writer, group_commit_ms=200.0)
    with serving as (server, _), Client(server.address) as client, ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(client.write_events, [click(n)]) for n in range(6)]
        assert [call.result().accepted for call in calls] == [1] * 6
    assert len(writer.appended) == 6
    assert writer.n_syncs < 6


def test_a_deadline_ends_the_wait_for_the_disk():
    writer = FakeWriter()
    writer.may_sync.clear()
    with running(writer=writer) as (server, _):
        with Client(server.address, timeout_s=0.3) as client:
            begun = time.monotonic()
            error = failure(client.write_events, [click(1)])
            assert time.monotonic() - begun < 5
        writer.may_sync.set()
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_stopping_server_commits_what_it_took_and_closes_the_log():
    writer = FakeWriter()
    with running(writer=writer, group_commit_ms=300.0) as (server, channel):
        stub = event_pb2_grpc.EventServiceStub(channel)
        message = event_pb2.Event(event_id="e")
        message.user.user_id = "u"
        call = stub.WriteEvents.future(iter([event_pb2.WriteEventsRequest(events=[message])]))
        time.sleep(0.1)
        server.stop()
        assert call.result().accepted == 1
    assert writer.is_closed
    assert writer.n_synced == 1


class Away:
    """A follower whose disk is gone for a while."""

    def __init__(self) -> None:
        self.n_reads = 0

    def read(self, newest_us):
        self.n_reads += 1
        raise OSError("gone")

    def close(self):
        self.is_closed = True


def test_what_others_wrote_cannot_be_read_but_own_events_are_taken(capsys):
    follower = Away()
    with running(follower=follower) as (server, _), Client(server.address) as client:
        assert client.write_events([click(1)]).accepted == 1
        assert client.rank("u", ["a", "i"]).item_ids == ["i", "a"]
    assert follower.is_closed
    assert follower.n_reads > 0
    assert "".join(capsys.readouterr()).count("events_of_others_not_read") == 1


def test_a_group_waits_for_callers_who_have_begun_and_for_nobody_else():
    writer, may_write = FakeWriter(), threading.Event()

    def later():
        assert may_write.wait(10)
        event = InteractionEvent("later", 0, "u", "i", "click")
        yield event_pb2.WriteEventsRequest(events=[event_message(event)])

    serving = running(writer=writer, group_commit_ms=1000.0)
    with serving as (server, channel), Client(server.address) as client:
        begun = time.monotonic()
        client.write_events([InteractionEvent("alone", 0, "u", "i", "click")])
        assert time.monotonic() - begun < 0.9
        slow = event_pb2_grpc.EventServiceStub(channel).WriteEvents.future(later(), timeout=10)
        time.sleep(0.25)  # it has begun
        with ThreadPoolExecutor(1) as pool:
            event = InteractionEvent("meanwhile", 0, "u", "i", "click")
            quick = pool.submit(client.write_events, [event])
            time.sleep(0.25)  # and waits for the other, well within the second
            may_write.set()
            assert quick.result().accepted == 1
        assert slow.result().accepted == 1
    assert writer.n_syncs == 2
