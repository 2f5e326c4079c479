"""What an observer hears of a real server."""

from __future__ import annotations

import threading

import grpc
import pytest
from serving_fakes import FakeEngine, running

from recsys.schema import InteractionEvent
from recsys.serving import logs
from recsys.serving.client import Client
from recsys.serving.listening import Listeners
from recsys.serving.observer import Observer


class Recorder(Observer):
    """Keeps every call as (name, *arguments), without durations."""

    def __init__(self) -> None:
        self.heard = []
        self._lock = threading.Lock()

    def _add(self, *call):
        with self._lock:
            self.heard.append(call)

    def named(self, name):
        with self._lock:
            return [call[1:] for call in self.heard if call[0] == name]

    def call_began(self, method, metadata):
        self._add("call_began", method)

    def call_ended(self, method, code, seconds):
        assert seconds > 0
        self._add("call_ended", method, code)

    def shed(self, what, reason):
        self._add("shed", what, reason)

    def queued(self, what, change):
        self._add("queued", what, change)

    def stage_took(self, name, seconds):
        self._add("stage", name)

    def events_written(self, accepted, duplicates, rejected):
        self._add("events_written", accepted, duplicates, rejected)

    def committed(self, n_events, seconds):
        assert seconds > 0
        self._add("committed", n_events)

    def model_active(self, name, version):
        self._add("model_active", name, version)


def test_calls_are_heard_with_the_code_that_their_caller_gets():
    recorder = Recorder()
    with running(observers=[recorder]) as (server, _), Client(server.address) as client:
        client.rank("u", ["a"])
        with pytest.raises(grpc.RpcError):
            client.rank("u", [], top_k=-1)
    rank = "/recsys.v1.RankingService/Rank"
    assert recorder.named("call_began") == [(rank,), (rank,)]
    assert recorder.named("call_ended") == [(rank, "OK"), (rank, "INVALID_ARGUMENT")]
    assert recorder.named("stage") == [("queue",), ("queue",)]
    assert sum(change for what, change in recorder.named("queued") if what == "rank") == 0


def test_events_are_heard_when_they_are_durable():
    recorder = Recorder()
    click = InteractionEvent("e1", 0, "u", "a", "click")
    with running(observers=[recorder]) as (server, _), Client(server.address) as client:
        client.write_events([click, click, InteractionEvent("", 0, "u", "a", "click")])
    assert recorder.named("events_written") == [(1, 1, 1)]
    assert recorder.named("committed") == [(1,)]
    waiting = [change for what, change in recorder.named("queued") if what == "events"]
    assert waiting[0] == 2
    assert sum(waiting) == 0


def test_work_that_is_refused_is_heard():
    recorder, engine, go_on = Recorder(), FakeEngine(), threading.Event()
    engine.before_rank = lambda query: go_on.wait(10)
    with (
        running(engine, observers=[recorder], threads=1, max_in_flight=1) as (server, _),
        Client(server.address) as one,
        Client(server.address) as other,
    ):
        thread = threading.Thread(target=one.rank, args=("u", ["a"]))
        thread.start()
        while not recorder.named("stage"):
            pass
        with pytest.raises(grpc.RpcError):
            other.rank("u", ["a"])
        go_on.set()
        thread.join()
    assert recorder.named("shed") == [("rank", "full")]


def test_the_bundle_that_answers_is_heard_at_the_start_and_after_a_switch():
    recorder = Recorder()
    with running(observers=[recorder]) as (server, _), Client(server.address) as client:
        client.activate("v2")
        client.roll_back()
    assert recorder.named("model_active") == [("main", "v1"), ("main", "v2"), ("main", "v1")]


def failing(*_, **__):
    raise OSError


#: What an observer may hear, found without the code that is tested.
HEARD = {
    name
    for name in dir(Observer)
    if not name.startswith("_") and not hasattr(getattr(Observer, name), "__final__")
}
#: A registry whose disk is full, say: whatever it hears, it fails.
Failing = type("Failing", (Observer,), dict.fromkeys(HEARD, failing))


class Lines:
    def __init__(self) -> None:
        self.found = []

    def error(self, event, **found):
        self.found.append((event, found))


class Torn:
    def error(self, event, **found):
        raise BrokenPipeError


@pytest.mark.parametrize("is_log_torn", [False, True], ids=["logged", "not logged"])
def test_observers_that_fail_at_everything_end_no_thread_and_no_call(monkeypatch, is_log_torn):
    lines, recorder, engine, go_on = Lines(), Recorder(), FakeEngine(), threading.Event()
    monkeypatch.setattr(logs, "_log", Torn() if is_log_torn else lines)
    observers = [Failing(), recorder, Failing()]
    with (
        running(engine, observers=observers, threads=1, max_in_flight=1, max_streams=1) as (one, _),
        Client(one.address) as client,
        Client(one.address) as other,
    ):
        for n in range(3):  # the thread that commits, and gRPC's own, outlive every group
            click = InteractionEvent(f"e{n}", 0, "u", "a", "click")
            assert client.write_events([click]).accepted == 1
            many = [InteractionEvent(f"m{n}-{k}", 0, "u", "a", "click") for k in range(99)]
            assert client.write_events(many).accepted == 99
            assert client.rank("u", ["a"]).item_ids == ["a"]
        client.activate("v2")
        engine.before_rank = lambda query: go_on.wait(10)
        client.roll_back()
        thread = threading.Thread(target=client.rank, args=("u", ["a"]))
        thread.start()
        while sum(change for what, change in recorder.named("queued") if what == "rank") < 1:
            pass
        with pytest.raises(grpc.RpcError) as refused:
            other.rank("u", ["a"])
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        go_on.set()
        thread.join(10)
        assert {thread.name for thread in threading.enumerate()} >= {"group-commit", "models"}
    assert recorder.named("shed") == [("rank", "full")]
    assert sum(n for (n,) in recorder.named("committed")) == 300
    told = [found["call"] for event, found in lines.found if event == "observer_failed"]
    if not is_log_torn:
        # Twice for everything that was told, however often: there are two who fail.
        assert set(told) >= {"call_began", "call_ended", "queued", "committed", "shed", "close"}
        assert sorted(told) == sorted([*set(told)] * 2)


def test_whoever_is_not_interested_is_not_called():
    told = Listeners([Observer(), Recorder(), Observer()])
    assert told.call_began.__qualname__ == "_telling.<locals>.tell"
    assert told.plugin_failed.__func__ is Observer.plugin_failed
    assert {"call_began", "scored", "degraded", "plugin_failed", "stage_took", "ready"} < HEARD
