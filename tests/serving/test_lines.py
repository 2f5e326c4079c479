"""What a call leaves in the log, on the terminal and in traces."""

from __future__ import annotations

import io
import json

import grpc
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving_fakes import FakeEngine, running

from recsys.serving.client import Client
from recsys.serving.lines import LogLines, TraceLines
from recsys.serving.tracing import Spans
from recsys.v1 import ranking_pb2, ranking_pb2_grpc

RANK = "/recsys.v1.RankingService/Rank"


@pytest.fixture
def log():
    """The log as lines, with what is bound to a thread."""
    out = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()


def rank(channel, *metadata, user_id="secret-user", item_ids=("secret-item",)):
    request = ranking_pb2.RankRequest(user_id=user_id, item_ids=item_ids)
    return ranking_pb2_grpc.RankingServiceStub(channel).Rank(request, metadata=metadata)


def test_a_line_per_call_has_a_request_id_and_nothing_else_of_the_caller(log):
    with running(observers=[LogLines(every_call=True)]) as (_, channel):
        rank(channel, ("x-request-id", "abc-1"))
        rank(channel, ("x-request-id", "secret spaces"))
        with pytest.raises(grpc.RpcError):
            rank(channel, item_ids=["secret" * 100])
    lines = log()
    assert [line["code"] for line in lines] == ["OK", "OK", "INVALID_ARGUMENT"]
    assert lines[0]["request_id"] == "abc-1"
    assert lines[0]["method"] == RANK
    assert "queue" in lines[0]["stages_ms"]
    assert len({line["request_id"] for line in lines}) == 3
    assert "secret" not in json.dumps(lines)


def test_an_internal_error_is_logged_under_the_request_id_of_its_call(log):
    engine = FakeEngine()
    engine.before_rank = lambda query: 1 // 0
    with running(engine, observers=[LogLines(every_call=False)]) as (_, channel):
        with pytest.raises(grpc.RpcError):
            rank(channel, ("x-request-id", "abc-2"))
        with pytest.raises(grpc.RpcError):
            rank(channel)
    first, second = log()
    assert (first["event"], first["request_id"]) == ("internal error", "abc-2")
    assert second["request_id"] != "abc-2"


def test_a_trace_prints_the_stages_of_one_call_a_second():
    out = io.StringIO()
    with (
        running(observers=[TraceLines(out, every_s=60)]) as (server, _),
        Client(server.address) as client,
    ):
        for _ in range(3):
            client.rank("secret", ["secret"])
    lines = out.getvalue().splitlines()
    assert lines[0].startswith(f"{RANK} OK ")
    assert [line.split()[0] for line in lines[1:]] == ["queue", "the"]
    assert "secret" not in out.getvalue()


def test_a_call_is_a_span_below_its_callers_with_a_span_for_each_stage():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with running(observers=[Spans(provider)]) as (_, channel):
        rank(channel, ("traceparent", f"00-{trace_id}-{parent}-01"))
        with pytest.raises(grpc.RpcError):
            rank(channel, item_ids=[])
    queue, call, _, failed = exporter.get_finished_spans()
    assert call.name == RANK.strip("/")
    assert f"{call.context.trace_id:032x}" == trace_id
    assert f"{call.parent.span_id:016x}" == parent
    assert queue.name == "queue"
    assert queue.parent.span_id == call.context.span_id
    assert call.start_time <= queue.start_time <= queue.end_time <= call.end_time
    assert call.status.is_ok or call.status.is_unset
    assert failed.attributes["rpc.grpc.status"] == "INVALID_ARGUMENT"
    assert not failed.status.is_ok
