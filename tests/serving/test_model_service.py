"""Bundles are exchanged while the server answers; one that cannot be used changes nothing."""

from __future__ import annotations

import threading

import grpc
import pytest
from serving_fakes import MADE_AT, FakeBundles, FakeEngine, running

from recsys.schema import InteractionEvent
from recsys.serving.client import Client, field_violations


@pytest.fixture
def served():
    bundles = FakeBundles("v1", "v2", "damaged")
    with running(bundles=bundles) as (server, _), Client(server.address) as client:
        yield client, bundles


def failure(call, *arguments):
    with pytest.raises(grpc.RpcError) as found:
        call(*arguments)
    return found.value


def test_the_active_model_is_described(served):
    client, _ = served
    model = client.active_model()
    assert (model.version, model.active, model.metrics["ndcg@10"]) == ("v1", True, 0.61)
    assert model.created_at.seconds == MADE_AT.timestamp()
    assert [(m.version, m.active) for m in client.models()] == [
        ("v1", True),
        ("v2", False),
        ("damaged", False),
    ]


def test_activation_and_roll_back_change_who_ranks(served):
    client, bundles = served
    client.write_events([InteractionEvent("e", 0, "u", "b", "click")])
    assert client.activate("v2").version == "v2"
    ranked = client.rank("u", ["a", "b"])
    assert (ranked.model_version, ranked.item_ids) == ("v2", ["b", "a"])
    assert client.roll_back().version == "v1"
    assert client.rank("u", ["a"]).model_version == "v1"
    assert bundles.history == ["v1"]


def test_events_that_were_written_before_a_switch_are_known_after_it(served):
    client, _ = served
    event = InteractionEvent("e", 0, "u", "b", "click")
    client.write_events([event])
    client.activate("v2")
    assert client.write_events([event]).duplicates == 1


def test_a_bundle_that_cannot_be_used_is_refused_with_the_reason(served):
    client, bundles = served
    error = failure(client.activate, "damaged")
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "ranker.txt has another hash" in error.details()
    assert client.rank("u", ["a"]).model_version == "v1"
    assert bundles.history == ["v1"]


def test_a_roll_back_to_a_bundle_that_cannot_be_used_changes_nothing():
    bundles = FakeBundles("damaged", "v2")
    bundles.history = ["damaged", "v2"]
    with running(FakeEngine("v2"), bundles=bundles) as (server, _):
        with_client = Client(server.address)
        error = failure(with_client.roll_back)
        assert with_client.active_model().version == "v2"
        with_client.close()
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert bundles.history == ["damaged", "v2"]


def test_a_roll_back_loads_the_bundle_before_the_store_changes():
    class Watched(FakeBundles):
        def roll_back(self):
            loaded_first.append("v1" in loaded)
            return super().roll_back()

    class Loading(FakeEngine):
        def with_bundle(self, version):
            loaded.append(version)
            return super().with_bundle(version)

    loaded, loaded_first = [], []
    bundles = Watched("v1", "v2")
    bundles.history = ["v1", "v2"]
    with running(Loading("v2"), bundles=bundles) as (server, _), Client(server.address) as client:
        assert client.roll_back().version == "v1"
    assert loaded_first == [True]


def test_a_switch_whose_caller_waits_no_more_is_not_begun():
    class Slow(FakeEngine):
        def with_bundle(self, version):
            begun.append(version)
            is_loading.set()
            may_end.wait(10)
            return super().with_bundle(version)

    begun, is_loading, may_end = [], threading.Event(), threading.Event()
    serving = running(Slow("v1"), bundles=FakeBundles("v1", "v2", "v3"))
    with serving as (server, _), Client(server.address) as client:
        first = threading.Thread(target=client.activate, args=("v2",))
        first.start()
        assert is_loading.wait(10)
        with pytest.raises(grpc.RpcError) as found:
            client.activate("v3", timeout_s=0.2)
        may_end.set()
        first.join()
        assert client.activate("v2").version == "v2"
    assert found.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert begun == ["v2"]


def test_a_roll_back_follows_the_store_when_others_switch_it_meanwhile():
    class Elsewhere(FakeBundles):
        def roll_back(self):
            self.history = ["v1"]
            return "v1"

    bundles = Elsewhere("v1", "v2", "v3")
    bundles.history = ["v1", "v2", "v3"]
    serving = running(FakeEngine("v3"), bundles=bundles)
    with serving as (server, _), Client(server.address) as client:
        assert client.roll_back().version == "v1"


@pytest.mark.parametrize("version", ["v9", "../../etc", "v1/../v2"])
def test_an_unknown_version_is_not_found(served, version):
    assert failure(served[0].activate, version).code() is grpc.StatusCode.NOT_FOUND


def test_an_empty_version_is_a_fault_of_the_request(served):
    error = failure(served[0].activate, "")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_violations(error)[0][0] == "version"


def test_nothing_to_roll_back_to_is_refused(served):
    assert failure(served[0].roll_back).code() is grpc.StatusCode.FAILED_PRECONDITION


def test_no_request_fails_while_bundles_are_exchanged(served):
    client, _ = served
    stopped, versions, errors = threading.Event(), set(), []

    def ask():
        while not stopped.is_set():
            try:
                versions.add(client.rank("u", ["a", "b"]).model_version)
            except grpc.RpcError as error:
                errors.append(error)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    for version in ["v2", "v1"] * 10:
        client.activate(version)
    stopped.set()
    for thread in asking:
        thread.join()
    assert errors == []
    assert versions == {"v1", "v2"}
