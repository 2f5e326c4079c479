"""The asyncio client against a real server."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from serving_fakes import FakeEngine, running

from recsys.schema import InteractionEvent
from recsys.serving.aio import AsyncClient
from recsys.serving.client import field_violations


def test_every_call_is_answered():
    async def calls(address):
        async with AsyncClient(address) as client:
            click = InteractionEvent("e1", 0, "u", "b", "click")
            report = await client.write_events([click, click])
            assert (report.accepted, report.duplicates) == (1, 1)
            ranked = await client.rank("u", ["a", "b"], top_k=1)
            assert ranked.item_ids == ["b"]
            assert (await client.recommend("u")).item_ids == []
            assert [m.version for m in await client.models()] == ["v1", "v2", "damaged"]
            assert (await client.activate("v2")).version == "v2"
            assert (await client.roll_back()).version == "v1"
            assert (await client.active_model()).version == "v1"
            many = await asyncio.gather(*(client.rank(f"u{n}", ["a"]) for n in range(10)))
            assert [ranked.item_ids for ranked in many] == [["a"]] * 10

    with running() as (server, _):
        asyncio.run(calls(server.address))


def test_an_error_says_which_fields_were_wrong_and_a_deadline_is_kept():
    async def calls(address):
        async with AsyncClient(address, timeout_s=0.3) as client:
            with pytest.raises(grpc.aio.AioRpcError) as found:
                await client.rank("u", [], top_k=-1)
            assert [field for field, _ in field_violations(found.value)] == ["top_k", "item_ids"]
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await client.rank("slow", ["a"])
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    engine = FakeEngine()
    engine.before_rank = lambda query: wait() if query.user_id == "slow" else None

    def wait():
        import time

        time.sleep(1)

    with running(engine) as (server, _):
        asyncio.run(calls(server.address))
