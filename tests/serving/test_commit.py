"""The thread that commits outlives whatever those who wait for it do."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from serving_fakes import FakeBundles, FakeEngine, FakeWriter

from recsys.errors import LogError, OverloadError, RecsysError
from recsys.schema import InteractionEvent
from recsys.serving.clock import SystemClock
from recsys.serving.commit import GroupCommit, Ticket
from recsys.serving.observer import Observer
from recsys.serving.switch import EngineSwitch


class Heard(Observer):
    """Remembers what was refused and what failed."""

    def __init__(self) -> None:
        self.found = []

    def shed(self, what, reason):
        self.found.append((what, reason))

    def commit_failed(self, reason):
        self.found.append(("commit", reason))


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def committing(heard):
    writer = FakeWriter()
    switch = EngineSwitch(FakeEngine(), FakeBundles("v1"), Observer())
    commit = GroupCommit(switch, writer, SystemClock(), gather_ms=1.0, observer=heard)
    with contextlib.closing(commit):
        yield commit, writer


def click(number):
    return InteractionEvent(f"e{number}", 0, "u", "i", "click")


@pytest.mark.parametrize("is_full", [False, True], ids=["written", "not written"])
def test_who_raises_when_told_stops_no_writes(committing, is_full):
    commit, writer = committing
    told, all_told = [], threading.Event()

    def raising(ticket):
        told.append(ticket)
        if len(told) == 2:
            all_told.set()
        raise ValueError

    writer.is_full = is_full
    writer.may_sync.clear()
    for number in range(2):
        assert commit.try_submit([click(number)], raising) is not None
    writer.may_sync.set()
    assert all_told.wait(10)
    writer.is_full = False
    ticket = commit.submit([click(3)], 10)
    ticket.wait(10)
    assert (ticket.n_accepted, len(told)) == (1, 2)
    for one in told:
        with pytest.raises(LogError) if is_full else contextlib.nullcontext():
            one.check()


def test_a_ticket_is_settled_once():
    told = []
    ticket = Ticket([click(1)], then=told.append)
    ticket.settle()
    ticket.wait(0)
    ticket.settle(RecsysError("late"))
    ticket.check()
    assert told == [ticket]


def test_a_disk_that_is_behind_is_told_from_one_that_takes_nothing(committing, heard):
    commit, writer = committing
    writer.may_sync.clear()
    tickets = [commit.submit([click(0)], 10)]
    while not writer.appended:
        time.sleep(0.01)
    tickets.append(commit.submit([click(n) for n in range(1, 20_001)], 10))
    with pytest.raises(OverloadError):
        commit.submit([click(20_001)], 0.01)
    assert heard.found == [("events", "full")]
    writer.may_sync.set()
    for ticket in tickets:
        ticket.wait(60)
    writer.is_full = True
    ticket = commit.submit([click(20_001)], 10)
    with pytest.raises(LogError):
        ticket.wait(10)
    assert heard.found == [("events", "full"), ("commit", "log")]
