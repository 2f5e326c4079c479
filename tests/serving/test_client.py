"""The client tries again where nobody answered, and only where trying again changes nothing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import grpc
import pytest
from serving_fakes import FakeEngine, FakeWriter, running

from recsys.errors import LogError
from recsys.schema import ImpressionEvent, InteractionEvent
from recsys.serving.aio import AsyncClient
from recsys.serving.calls import Batches, batches_of, rank_request
from recsys.serving.client import Client, Tls, field_violations
from recsys.v1 import event_pb2, event_pb2_grpc


class BrieflyAway(event_pb2_grpc.EventServiceServicer):
    """Sends two calls away before it takes one."""

    def __init__(self, code) -> None:
        self.code = code
        self.n_calls = 0

    def WriteEvents(self, request_iterator, context):  # noqa: N802 - the name of the RPC
        self.n_calls += 1
        if self.n_calls < 3:
            context.abort(self.code, "starting or stopping")
        n_events = sum(len(request.events) for request in request_iterator)
        return event_pb2.WriteEventsResponse(accepted=n_events)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
def test_a_write_that_nobody_answered_is_sent_again_as_a_whole(code):
    service = BrieflyAway(grpc.StatusCode[code])
    server = grpc.server(ThreadPoolExecutor(2))
    event_pb2_grpc.add_EventServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    events = [InteractionEvent(f"e{n}", 0, "u", "i", "click") for n in range(1200)]
    with Client(f"127.0.0.1:{port}") as client:
        assert client.write_events(events).accepted == 1200
    server.stop(None).wait()
    # More where gRPC's own retry left a message out.
    assert service.n_calls >= 3


class Inattentive(event_pb2_grpc.EventServiceServicer):
    """Sees only the first message of the first call, as happens when gRPC tries again by itself."""

    def __init__(self, n_short) -> None:
        self.n_short = n_short
        self.n_calls = 0

    def WriteEvents(self, request_iterator, context):  # noqa: N802 - the name of the RPC
        self.n_calls += 1
        counts = [len(request.events) for request in request_iterator]
        seen = counts[:1] if self.n_calls <= self.n_short else counts
        return event_pb2.WriteEventsResponse(accepted=sum(seen))


@contextmanager
def inattentive(n_short):
    service, server = Inattentive(n_short), grpc.server(ThreadPoolExecutor(2))
    event_pb2_grpc.add_EventServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}") as client:
        yield client, service
    server.stop(None).wait()


def test_events_that_the_server_has_not_seen_are_sent_again():
    events = [InteractionEvent(f"e{n}", 0, "u", "i", "click") for n in range(600)]
    with inattentive(1) as (client, service):
        assert client.write_events(events).accepted == 600
    assert service.n_calls == 2


@pytest.mark.parametrize(("kind", "n_calls"), [(list, 3), (iter, 1)])
def test_a_write_that_stays_short_is_an_error_with_both_counts(kind, n_calls):
    events = [InteractionEvent(f"e{n}", 0, "u", "i", "click") for n in range(600)]
    with (
        inattentive(9) as (client, service),
        pytest.raises(grpc.RpcError, match="500 of 600") as found,
    ):
        client.write_events(kind(events))
    assert found.value.code() is grpc.StatusCode.UNAVAILABLE
    assert service.n_calls == n_calls


def test_a_write_that_found_the_disk_full_is_left_to_the_caller():
    class Full(FakeWriter):
        n_asked = 0

        def append(self, batch):
            self.n_asked += 1
            raise LogError("spool", "No space left on device", "room")

    writer = Full()
    with (
        running(writer=writer) as (server, _),
        Client(server.address) as client,
        pytest.raises(grpc.RpcError, match="No space left"),
    ):
        client.write_events([InteractionEvent("e", 0, "u", "i", "click")])
    assert writer.n_asked == 1


def test_a_request_that_is_refused_is_not_sent_again():
    engine, calls = FakeEngine(), count()

    def fail(query):
        next(calls)
        raise KeyError

    engine.before_rank = fail
    with (
        running(engine) as (server, _),
        Client(server.address) as client,
        pytest.raises(grpc.RpcError) as found,
    ):
        client.rank("u", ["i"])
    assert next(calls) == 1
    assert field_violations(found.value) == []


def test_all_options_reach_the_server():
    with running() as (server, _), Client(server.address) as client:
        ranked = client.rank(
            "u",
            ["a", "b", "c"],
            request_id="r",
            context={"page": 2.0},
            top_k=1,
            explain_top_k=1,
            exclude_item_ids=["a"],
        )
    assert (ranked.request_id, ranked.item_ids, ranked.warnings) == ("r", ["b"], ["page is 2.0"])
    assert ranked.explanations[0].contributions[0].feature == "clicks"


def test_many_threads_share_a_client():
    serving = running(max_in_flight=64)
    with serving as (server, _), Client(server.address) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: client.rank("u", [str(n)]).item_ids, range(200)))
    assert answers == [[str(n)] for n in range(200)]


def test_messages_stay_far_below_the_limit():
    lists = [ImpressionEvent(f"e{n}", 1, "u", ["x" * 250] * 2000) for n in range(10)]
    clicks = [InteractionEvent(f"c{n}", 1, "u", "i", "click") for n in range(1200)]
    batches = list(batches_of([*lists, *clicks]))
    assert max(batch.ByteSize() for batch in batches) < 2 * 1024 * 1024
    ids = [event.event_id for batch in batches for event in batch.events]
    assert ids == [event.event_id for event in [*lists, *clicks]]


@pytest.mark.parametrize(
    ("user_id", "item_ids", "options", "said"),
    [
        ("u", ["i"], {"topk": 3}, "no option topk; expected some of: request_id, context, top_k"),
        ("u", "i7", {}, "item_ids is a text; expected a list of texts"),
        ("u", ["i"], {"seed_item_ids": "i7"}, "seed_item_ids is a text; expected a list"),
        ("u", ["i"], {"exclude_item_ids": "i7"}, "exclude_item_ids is a text; expected a list"),
        ("u", [7], {}, "write str"),
        (7, ["i"], {}, "write str"),
    ],
)
def test_what_would_be_misread_in_silence_is_a_type_error(user_id, item_ids, options, said) -> None:
    with pytest.raises(TypeError, match=said):
        rank_request(user_id, item_ids, options)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            InteractionEvent("e", 0, "u", "i", "click"),
            "events is InteractionEvent; expected a list",
        ),
        ([InteractionEvent("e", 1.5, "u", "i", "click")], "occurred_at is float; expected micro"),
        ([ImpressionEvent("e", 0, "u", "i7")], r"events\[0\].item_ids is a text; expected a list"),
        ([{"event_id": "e"}], r"events\[0\] is dict; expected an event"),
    ],
)
def test_what_is_no_event_is_a_type_error(events, said) -> None:
    with pytest.raises(TypeError, match=said):
        Batches(events)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_token_is_not_sent_where_it_can_be_read_on_the_way(client):
    for address in ("ranker.internal:50051", "10.0.0.7:50051", "[2001:db8::1]:50051"):
        with pytest.raises(ValueError, match="would be sent unencrypted"):
            client(address, token="secret")


def test_a_token_goes_to_this_machine_over_tls_and_where_that_is_allowed():
    here = (
        "127.0.0.1:1",
        "[::1]:1",
        "localhost:1",
        "unix:/run/x",
        "ipv4:127.0.0.1:1",
        "dns:///localhost:1",
    )
    for address in here:
        Client(address, token="secret").close()
    Client("ranker.internal:1", token="secret", tls=Tls()).close()
    Client("ranker.internal:1", token="secret", allow_insecure=True).close()
    Client("ranker.internal:1").close()
    for address in ("dns:///ranker.internal:1", "ipv4:10.0.0.1:1", "dns://127.0.0.1/ranker:1"):
        with pytest.raises(ValueError, match="unencrypted"):
            Client(address, token="secret")


def test_a_call_has_its_own_deadline_where_one_is_given():
    engine = FakeEngine()
    engine.before_rank = lambda _: time.sleep(0.3)
    with running(engine=engine) as (server, _), Client(server.address) as client:
        with pytest.raises(grpc.RpcError) as late:
            client.rank("u", ["a"], timeout_s=0.05)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert client.rank("u", ["a"]).item_ids == ["a"]


def test_what_is_no_event_is_a_type_error_that_says_where():
    with running() as (server, _), Client(server.address) as client:
        click = InteractionEvent("e", 0, "u", "i", "click")
        with pytest.raises(TypeError, match=r"events\[1\] is dict; expected an event"):
            client.write_events([click, {"event_id": "x"}])
