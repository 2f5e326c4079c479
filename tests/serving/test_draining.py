"""SIGTERM while calls are under way: they are answered, new ones are not taken, all ends in peace.

The server is the one of `recsys serve`, in processes of its own.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import signal
import time

import grpc
import pytest
from test_workers import serving

from recsys.events.snapshot import read_snapshot
from recsys.schema import InteractionEvent
from recsys.serving.client import Client
from recsys.serving.event_messages import event_message
from recsys.v1 import event_pb2, event_pb2_grpc, ranking_pb2, ranking_pb2_grpc
from recsys.workspace import open_workspace

N_CONNECTIONS = 4
RANK = ranking_pb2.RankRequest(user_id="u1", item_ids=["item1", "item2"])


class Held:
    """What a caller still says: everything that was put, until `END`."""

    END = object()

    def __init__(self) -> None:
        self._said = queue.SimpleQueue()

    def say(self, message):
        self._said.put(message)

    def __iter__(self):
        return iter(self._said.get, self.END)


def click(event_id):
    event = InteractionEvent(event_id, 0, "u1", "item1", "click")
    return event_pb2.WriteEventsRequest(events=[event_message(event)])


@contextlib.contextmanager
def connections(address):
    """Open channels with a connection each; the kernel spreads them over workers."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(grpc.insecure_channel(address, options))
            for _ in range(N_CONNECTIONS)
        ]


def hold_calls(channels):
    """Begin calls on each channel, and do not end them.

    Returns:
        Writes as (name, number of the channel, held, call), streams of lists as (held, answers).
    """
    writes, lists = [], []
    for n, channel in enumerate(channels):
        # One is read to its first message, and has no thread; the other says more later.
        for name in ("short", "long"):
            held = Held()
            held.say(click(f"{name}-{n}"))
            stub = event_pb2_grpc.EventServiceStub(channel)
            writes.append((name, n, held, stub.WriteEvents.future(iter(held), timeout=60)))
        held = Held()
        held.say(ranking_pb2.RankStreamRequest(request=RANK))
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        answers = stub.RankStream(iter(held), timeout=60)
        assert len(next(answers).response.item_ids) == 2
        lists.append((held, answers))
    return writes, lists


def refusal(channel):
    """Rank until that is refused for good.

    Returns:
        The code; before, everything was answered, but for calls on their way, which gRPC drops.
    """
    began = time.monotonic()
    while time.monotonic() - began < 8:
        try:
            ranking_pb2_grpc.RankingServiceStub(channel).Rank(RANK, timeout=10)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                return error.code()
    return None


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "two workers"])
def test_calls_under_way_are_answered_and_new_ones_are_refused(plain_workspace, tmp_path, workers):
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    workspace = open_workspace(tmp_path / "w")
    with serving(workspace, *workers) as (process, address), connections(address) as channels:
        writes, lists = hold_calls(channels)
        process.send_signal(signal.SIGTERM)
        assert [refusal(channel) for channel in channels] == [grpc.StatusCode.UNAVAILABLE] * 4
        with Client(address) as late, pytest.raises(grpc.RpcError) as found:
            late.rank("u1", ["item1"])
        assert found.value.code() is grpc.StatusCode.UNAVAILABLE
        for name, n, held, _ in writes:
            if name == "long":
                held.say(click(f"late-{n}"))
            held.say(Held.END)
        for held, answers in lists:
            held.say(ranking_pb2.RankStreamRequest(request=RANK))
            assert len(next(answers).response.item_ids) == 2
            held.say(Held.END)
            assert list(answers) == []
        found = [(name, call.result().accepted) for name, _, _, call in writes]
        assert found == [("short", 1), ("long", 2)] * N_CONNECTIONS
        assert process.wait(40) == 0
    stored = set(read_snapshot(workspace.log_config).interactions["event_id"].to_list())
    said = {f"{name}-{n}" for name in ("short", "long", "late") for n in range(N_CONNECTIONS)}
    assert said <= stored
