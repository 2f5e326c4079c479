"""Clients that hold back while a server refuses, and return when it does not."""

from __future__ import annotations

import asyncio
import random

import grpc
import pytest
from serving_fakes import FakeEngine, running

from recsys.errors import OverloadError
from recsys.serving.aio import AsyncClient
from recsys.serving.client import Client, field_violations
from recsys.serving.throttle import Throttle


class Server:
    """Takes on so many requests a second, by a clock that the test sets."""

    def __init__(self, capacity) -> None:
        self.capacity = capacity
        self.now_s = 0.0
        self.n_sent = 0
        self.n_taken = 0
        self.throttle = Throttle(random.Random(1), read_s=lambda: self.now_s)

    def run(self, offered, seconds):
        """Offer requests evenly; give how many were sent, and taken on, a second."""
        before = self.n_sent, self.n_taken
        room = 0.0
        for _ in range(round(offered * seconds)):
            self.now_s += 1 / offered
            room = min(room + self.capacity / offered, 2.0)
            if not self.throttle.permits():
                continue
            self.n_sent += 1
            if room >= 1:
                room -= 1
                self.n_taken += 1
                self.throttle.taken()
        return (self.n_sent - before[0]) / seconds, (self.n_taken - before[1]) / seconds


def test_whoever_is_not_refused_sends_everything():
    sent, taken = Server(capacity=100).run(offered=90, seconds=60)
    assert sent == pytest.approx(90)
    assert taken == pytest.approx(90)


def test_ten_times_the_capacity_is_sent_no_more_than_twice():
    server = Server(capacity=100)
    server.run(offered=1000, seconds=30)
    sent, taken = server.run(offered=1000, seconds=30)
    assert 150 < sent < 250
    assert taken > 95


def test_a_server_that_has_room_again_is_found_within_seconds():
    server = Server(capacity=0)
    server.run(offered=100, seconds=60)
    server.capacity = 200
    server.run(offered=100, seconds=15)
    sent, taken = server.run(offered=100, seconds=10)
    assert sent == taken == pytest.approx(100)


def test_a_few_refusals_hold_nobody_back():
    server = Server(capacity=0)
    assert server.run(offered=10, seconds=1) == (10, 0)


def refusing_engine():
    engine = FakeEngine()

    def refuse(query):
        engine.n_asked = getattr(engine, "n_asked", 0) + 1
        raise OverloadError("rank", 1)

    engine.before_rank = refuse
    return engine


def test_a_client_of_a_server_that_refuses_fails_by_itself_with_the_same_code():
    engine = refusing_engine()
    with running(engine) as (server, _), Client(server.address) as client:
        errors = []
        for _ in range(200):
            with pytest.raises(grpc.RpcError) as found:
                client.rank("u", ["i"])
            errors.append(found.value)
    assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert engine.n_asked < 100
    held_back = [error for error in errors if "not sent" in error.details()]
    assert len(held_back) == 200 - engine.n_asked
    assert field_violations(held_back[0]) == []


def test_the_asynchronous_client_holds_back_too():
    engine = refusing_engine()

    async def ask(address):
        async with AsyncClient(address) as client:
            for _ in range(200):
                with pytest.raises(grpc.RpcError):
                    await client.rank("u", ["i"])

    with running(engine) as (server, _):
        asyncio.run(ask(server.address))
    assert 10 <= engine.n_asked < 100
