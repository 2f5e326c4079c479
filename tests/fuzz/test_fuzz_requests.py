"""Whatever is sent, the server answers with a canonical code and goes on."""

from __future__ import annotations

import random
import shutil
from collections import Counter

import grpc
import pytest
from fuzz_inputs import (
    activate_request,
    mutated,
    n_inputs,
    rank_request,
    recommend_request,
    stream_request,
    write_request,
)

from recsys.serving.client import Client
from recsys.serving.server import start_server
from recsys.workspace import open_workspace

TARGETS = {
    "/recsys.v1.RankingService/Rank": ("unary_unary", rank_request),
    "/recsys.v1.RankingService/Recommend": ("unary_unary", recommend_request),
    "/recsys.v1.RankingService/RankStream": ("stream_stream", stream_request),
    "/recsys.v1.EventService/WriteEvents": ("stream_unary", write_request),
    "/recsys.v1.ModelService/ActivateModel": ("unary_unary", activate_request),
}
EXPECTED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
_TIMEOUT_S = 20


@pytest.fixture(scope="module")
def address(plain_workspace, tmp_path_factory):
    """A real server on a real bundle, with the log of a world."""
    folder = tmp_path_factory.mktemp("fuzz") / "w"
    shutil.copytree(plain_workspace.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
        server = start_server(open_workspace(folder), port=0)
    yield server.address
    server.stop()


def send(channel, method, kind, messages):
    """Send bytes as they are and give the code; of a stream of answers, all are read."""
    call = getattr(channel, kind)(method)
    try:
        if kind == "unary_unary":
            call(messages[0], timeout=_TIMEOUT_S)
        elif kind == "stream_unary":
            call(iter(messages), timeout=_TIMEOUT_S)
        else:
            list(call(iter(messages), timeout=_TIMEOUT_S))
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


@pytest.mark.parametrize("method", TARGETS)
def test_hostile_messages_and_bytes_get_canonical_codes(address, method):
    kind, make = TARGETS[method]
    codes = Counter()
    with grpc.insecure_channel(address) as channel:
        for seed in range(n_inputs(60)):
            rng = random.Random(f"{method}/{seed}")
            n_messages = 1 if kind == "unary_unary" else rng.randrange(1, 4)
            messages = [make(rng).SerializeToString() for _ in range(n_messages)]
            if rng.random() < 0.5:
                messages = [mutated(message, rng) for message in messages]
            code = send(channel, method, kind, messages)
            assert code in EXPECTED, f"{code} for seed {seed}"
            codes[code] += 1
    assert codes["INVALID_ARGUMENT"] or codes["NOT_FOUND"] or codes["OK"]
    with Client(address) as client:
        assert len(client.rank("u1", ["i1", "i2"]).item_ids) == 2


def test_bytes_that_are_nothing_at_all_are_refused(address):
    rng = random.Random(1)
    with grpc.insecure_channel(address) as channel:
        for _ in range(n_inputs(60)):
            method = rng.choice(list(TARGETS))
            data = rng.randbytes(rng.choice((0, 1, 10, 100, 5000)))
            code = send(channel, method, TARGETS[method][0], [data])
            assert code in EXPECTED, (code, method, data[:50])


def test_a_message_that_is_too_large_is_refused_and_the_next_one_answered(address):
    with grpc.insecure_channel(address) as channel:
        method = "/recsys.v1.RankingService/Rank"
        code = send(channel, method, "unary_unary", [b"\x12\xff\xff\xff\x04" + b"x" * 9_000_000])
        assert code == "RESOURCE_EXHAUSTED"
        assert send(channel, method, "unary_unary", [b"\x1a\x01a"]) == "OK"
