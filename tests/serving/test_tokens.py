"""Which calls a token lets pass: every RPC, health and reflection included."""

from __future__ import annotations

import hashlib

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from serving_fakes import running

from recsys.errors import AuthenticationError, ConfigError, ScopeError
from recsys.schema import InteractionEvent
from recsys.serving.client import Client
from recsys.serving.tokens import Tokens

CLICK = InteractionEvent("e1", 0, "u", "a", "click")
RANK = "/recsys.v1.RankingService/Rank"


def write_tokens(path, **scopes):
    """A token is its own name here."""
    lines = []
    for token, allowed in scopes.items():
        digest = hashlib.sha256(token.encode()).hexdigest()
        lines += [f"[tokens.{token}]", f'sha256 = "{digest}"', f"scopes = {list(allowed)}"]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def tokens_file(tmp_path):
    allowed = {"reader": ["rank"], "writer": ["write"], "boss": ["admin"], "none": []}
    return write_tokens(tmp_path / "tokens.toml", **allowed)


CALLS = {
    "rank": lambda client: client.rank("u", ["a"]),
    "recommend": lambda client: client.recommend("u"),
    "write": lambda client: client.write_events([CLICK]),
    "active": lambda client: client.active_model(),
    "models": lambda client: client.models(),
    "activate": lambda client: client.activate("v2"),
    "roll back": lambda client: client.roll_back(),
}
ALLOWED = {
    "reader": {"rank", "recommend", "active", "models"},
    "writer": {"write", "active", "models"},
    "boss": {"active", "models", "activate", "roll back"},
    "none": {"active", "models"},
}


@pytest.mark.parametrize("token", ALLOWED)
def test_a_token_allows_its_scopes_and_nothing_else(tokens_file, token):
    with (
        running(tokens_file=str(tokens_file)) as (server, _),
        Client(server.address, token=token) as client,
    ):
        for name, call in CALLS.items():
            if name in ALLOWED[token]:
                call(client)
                continue
            with pytest.raises(grpc.RpcError) as found:
                call(client)
            assert found.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("token", [None, "", "wrong", "reader ", "Reader"])
def test_without_a_known_token_every_rpc_is_refused(tokens_file, token):
    with (
        running(tokens_file=str(tokens_file)) as (server, _),
        Client(server.address, token=token) as client,
    ):
        for call in CALLS.values():
            with pytest.raises(grpc.RpcError) as found:
                call(client)
            assert found.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_its_watch_and_reflection_want_a_token_too(tokens_file):
    with running(tokens_file=str(tokens_file)) as (_, channel):
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        for call in (
            lambda **more: health.Check(request, **more),
            lambda **more: next(health.Watch(request, **more)),
            lambda **more: next(reflection.ServerReflectionInfo(iter([ask]), **more)),
        ):
            with pytest.raises(grpc.RpcError) as found:
                call(timeout=5)
            assert found.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert call(timeout=5, metadata=(("authorization", "bearer reader"),)) is not None


def test_reflection_can_be_switched_off():
    with running(reflection=False) as (_, channel):
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as found:
            next(stub.ServerReflectionInfo(iter([ask]), timeout=5))
        assert found.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_changed_file_counts_without_a_restart(tmp_path):
    path = tmp_path / "tokens.toml"
    write_tokens(path, old=["rank"])
    tokens = Tokens(path, look_every_s=0.0)
    tokens.check(RANK, [("authorization", "Bearer old")])
    write_tokens(path, newer=["rank"])
    tokens.check(RANK, [("authorization", "Bearer newer")])
    with pytest.raises(AuthenticationError):
        tokens.check(RANK, [("authorization", "Bearer old")])


def test_a_file_that_breaks_leaves_the_tokens_as_they_were(tmp_path):
    path = tmp_path / "tokens.toml"
    write_tokens(path, old=["rank"])
    tokens = Tokens(path, look_every_s=0.0)
    with structlog.testing.capture_logs() as lines:
        for broken in ("[tokens", "tokens = 1", "[tokens.x]\nsha256 = 'short'\nscopes = []"):
            path.write_text(broken)
            tokens.check(RANK, [("authorization", "Bearer old")])
        path.unlink()
        tokens.check(RANK, [("authorization", "Bearer old")])
    assert [line["event"] for line in lines] == ["files_not_reloaded"] * 4


def test_a_server_does_not_start_without_its_file(tmp_path):
    with (
        pytest.raises(ConfigError, match="tokens_file"),
        running(tokens_file=str(tmp_path / "absent")),
    ):
        pass


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "Basic reader")],
        [("authorization", b"Bearer reader")],
        [("authorization", "Bearer reader"), ("authorization", "Bearer reader")],
        [("authorization", "Bearer " + "x" * 100_000)],
    ],
)
def test_odd_metadata_is_no_token(tokens_file, metadata):
    with pytest.raises(AuthenticationError):
        Tokens(tokens_file).check(RANK, metadata)


def test_an_error_names_the_scope_but_never_the_token(tokens_file):
    with pytest.raises(ScopeError, match="scope rank") as found:
        Tokens(tokens_file).check(RANK, [("authorization", "Bearer writer")])
    assert "writer" not in str(found.value)
