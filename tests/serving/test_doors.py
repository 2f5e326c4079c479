"""Calls that are too many: refused where they arrive, and nobody else pays for them."""

from __future__ import annotations

import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_fakes import FakeEngine, running

from recsys.serving.observer import Observer
from recsys.v1 import ranking_pb2, ranking_pb2_grpc

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
REQUEST = ranking_pb2.RankRequest(item_ids=["i"])


class Heard(Observer):
    """Remembers in which thread calls ended, and how queues changed."""

    def __init__(self) -> None:
        self.ended = []
        self.shed_ = []
        self.inside = 0
        self.fails = False
        self.reached = {0: threading.Event(), 2: threading.Event()}

    def call_ended(self, method, code, seconds):
        self.ended.append((code, threading.current_thread().name))

    def call_refused(self, method, code):
        if self.fails:
            raise OSError
        self.ended.append((code, threading.current_thread().name))

    def shed(self, what, reason):
        self.shed_.append((what, reason))

    def queued(self, what, change):
        self.inside += change
        if what == "rank" and self.inside in self.reached:
            self.reached[self.inside].set()


@pytest.fixture
def busy():
    """A server whose only place to rank is taken; gives stub, channel, observer, and lets it go."""
    engine, heard, let_go, arrived = FakeEngine(), Heard(), threading.Event(), threading.Event()

    def hold(query):
        arrived.set()
        assert let_go.wait(10)

    engine.before_rank = hold
    with running(engine, threads=1, max_in_flight=1, observers=[heard]) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        held = stub.Rank.future(REQUEST, timeout=10)
        assert arrived.wait(10)
        yield stub, channel, heard, let_go
        let_go.set()
        assert held.result().model_version == "v1"


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as found:
        call(request, timeout=10)
    return found.value


def test_a_call_too_many_is_refused_by_the_thread_that_gets_it(busy):
    stub, _, heard, _ = busy
    errors = [refusal(stub.Rank, REQUEST) for _ in range(5)]
    errors.append(refusal(stub.Recommend, ranking_pb2.RecommendRequest()))
    assert {error.code() for error in errors} == {EXHAUSTED}
    assert "rank" in errors[0].details()
    assert "1" in errors[0].details()
    assert heard.shed_ == [("rank", "full")] * 6
    assert [code for code, _ in heard.ended] == ["RESOURCE_EXHAUSTED"] * 6
    assert not any(name.startswith(("rank", "rpc")) for _, name in heard.ended)


def test_an_observer_that_raises_keeps_nobody_from_being_refused(busy):
    stub, _, heard, let_go = busy
    heard.fails = True
    errors = [refusal(stub.Rank, REQUEST) for _ in range(3)]
    assert {error.code() for error in errors} == {EXHAUSTED}
    assert "rank" in errors[0].details()
    let_go.set()
    assert heard.reached[0].wait(10)
    assert stub.Rank(REQUEST, timeout=10).model_version == "v1"


def test_a_full_door_keeps_nobody_else_out(busy):
    stub, channel, _, _ = busy
    refusal(stub.Rank, REQUEST)
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1


def test_a_call_that_leaves_makes_room_for_the_next(busy):
    stub, _, heard, let_go = busy
    refusal(stub.Rank, REQUEST)
    let_go.set()
    assert heard.reached[0].wait(10)
    assert stub.Rank(REQUEST, timeout=10).model_version == "v1"


def test_callers_who_go_before_their_message_came_make_room_too():
    heard, blocked = Heard(), threading.Event()
    with running(max_in_flight=2, observers=[heard]) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)

        def nothing():
            blocked.wait(10)
            yield b""

        silent = channel.stream_unary("/recsys.v1.RankingService/Rank")
        calls = [silent.future(nothing(), timeout=10) for _ in range(2)]
        assert heard.reached[2].wait(10)
        assert refusal(stub.Rank, REQUEST).code() is EXHAUSTED
        for call in calls:
            call.cancel()
        assert heard.reached[0].wait(10)
        blocked.set()
        assert stub.Rank(REQUEST, timeout=10).model_version == "v1"
