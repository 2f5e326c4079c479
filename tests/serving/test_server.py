"""Start, discovery, health and stop, seen from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from serving_fakes import FakeBundles, FakeEngine, FakeWriter, running

from recsys.config import ServingConfig
from recsys.errors import ConfigError, ServerError
from recsys.serving.clock import SystemClock
from recsys.serving.port import check_host
from recsys.serving.server import SERVICES, Parts, RunningServer

ROOT = Path(__file__).parents[2]


class GenericClient:
    """Knows nothing but what reflection tells."""

    def __init__(self, channel) -> None:
        self._channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self.database)

    def call(self, path, **fields):
        service, method = path.split("/")
        found = self._pool.FindServiceByName(service).FindMethodByName(method)
        request = GetMessageClass(found.input_type)(**fields)
        answer = GetMessageClass(found.output_type)
        call = self._channel.unary_unary(
            f"/{path}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=10)


def test_a_client_that_knows_only_reflection_lists_services_reads_health_and_ranks():
    with running() as (_, channel):
        client = GenericClient(channel)
        assert set(SERVICES) < set(client.database.get_services())
        health = client.call("grpc.health.v1.Health/Check", service=SERVICES[0])
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        answer = client.call("recsys.v1.RankingService/Rank", item_ids=["a", "b"], top_k=1)
        assert list(answer.item_ids) == ["a"]


def test_health_is_told_per_service_and_overall():
    with running() as (_, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            request = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as found:
            stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert found.value.code() is grpc.StatusCode.NOT_FOUND


def test_who_watches_health_hears_that_the_server_stops():
    with running() as (server, channel):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server._health.enter_graceful_shutdown()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


def test_an_unknown_method_is_unimplemented():
    with running() as (_, channel):
        with pytest.raises(grpc.RpcError) as found:
            channel.unary_unary("/recsys.v1.RankingService/Guess")(b"", timeout=10)
        assert found.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org", ""])
def test_an_address_that_others_can_reach_is_refused_unless_allowed(host):
    with pytest.raises(ConfigError, match=r"serving\.allow_insecure"):
        check_host(ServingConfig(host=host))
    assert check_host(ServingConfig(host=host, allow_insecure=True)) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_of_this_machine_are_served(host):
    with running(host=host) as (server, _):
        name, _, port = server.address.rpartition(":")
    assert name == ("[::1]" if host == "::1" else host)
    assert int(port) > 0


def test_a_port_that_is_taken_is_named():
    with running() as (server, _):
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(ServerError, match=f":{port}: cannot listen"):
            running_on(port)


def running_on(port):
    parts = Parts(FakeEngine(), FakeBundles("v1"), FakeWriter(), SystemClock())
    return RunningServer(parts, ServingConfig(), port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_peace(number, tmp_path):
    script = Path(__file__).with_name("spool_server.py")
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "spool"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        line = process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == 0
        kept = process.stdout.readline()
    assert line.startswith("listening on 127.0.0.1:")
    # What was there at the start is no longer walked over by the garbage collector.
    assert int(kept.removeprefix("kept ")) > 10_000


def test_stubs_are_what_the_protos_give():
    check = subprocess.run(
        [sys.executable, ROOT / "protos" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (check.returncode, check.stderr) == (0, "")
