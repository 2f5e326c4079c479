"""The client tries again where nobody answered, and only where trying again changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import grpc
import pytest
from serving_fakes import FakeEngine, FakeWriter, running

from recsys.errors import LogError
from recsys.schema import ImpressionEvent, InteractionEvent
from recsys.serving.client import Client, _batches, field_violations


def test_a_write_that_found_the_disk_full_is_sent_again():
    class BrieflyFull(FakeWriter):
        n_refused = 0

        def append(self, batch):
            if self.n_refused < 2:
                self.n_refused += 1
                raise LogError("spool", "No space left on device", "room")
            super().append(batch)

    with running(writer=BrieflyFull()) as (server, _), Client(server.address) as client:
        assert client.write_events([InteractionEvent("e", 0, "u", "i", "click")]).accepted == 1


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
    batches = list(_batches([*lists, *clicks]))
    assert max(batch.ByteSize() for batch in batches) < 2 * 1024 * 1024
    ids = [event.event_id for batch in batches for event in batch.events]
    assert ids == [event.event_id for event in [*lists, *clicks]]
