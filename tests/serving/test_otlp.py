"""Traces over the wire: what the server exports is what a collector of OTLP takes in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from serving_fakes import running

from recsys.serving.tracing import exported_spans
from recsys.v1 import ranking_pb2, ranking_pb2_grpc

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs recsys[otel]")
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = ("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-01")


@pytest.fixture
def collector(monkeypatch):
    """A collector on a free port that the standard variables name; gives what it has taken in."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

    class Collector(services.TraceServiceServicer):
        def __init__(self) -> None:
            self.requests = []
            self.arrived = threading.Event()

        def Export(self, request, context):  # noqa: N802 - the name of the RPC
            self.requests.append(request)
            self.arrived.set()
            return messages.ExportTraceServiceResponse()

    service, server = Collector(), grpc.server(ThreadPoolExecutor(1))
    services.add_TraceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield service
    server.stop(None).wait()


def test_a_collector_gets_the_spans_of_a_call_below_its_callers(collector):
    with running(observers=[exported_spans()]) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        stub.Rank(ranking_pb2.RankRequest(item_ids=["i"]), metadata=[CALLER], timeout=10)
    # A server that stops sends what is left.
    assert collector.arrived.wait(10)
    resources = [found for request in collector.requests for found in request.resource_spans]
    named = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert named["service.name"] == "recsys"
    spans = [span for r in resources for scope in r.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
    [call] = [span for span in spans if span.name == "recsys.v1.RankingService/Rank"]
    assert call.parent_span_id.hex() == "b7ad6b7169203331"
    assert [s.parent_span_id for s in spans if s.name == "queue"] == [call.span_id]
