"""OpenTelemetry spans: one per call, one below it per stage (extra `recsys[otel]`).

Spans are made when a call has ended, from the durations that were heard, so a call pays nothing
while it runs. Exporters read the standard `OTEL_…` variables.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import context as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from recsys.errors import ConfigError
from recsys.serving.listening import Call, CallListener

_NS: Final = 1_000_000_000


class Spans(CallListener):
    """Makes spans of calls.

    Args:
        provider: Where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__()
        self._provider = provider
        self._tracer = provider.get_tracer("recsys")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, call: Call, code: str, seconds: float) -> None:
        """Make the spans of a call, below those of its caller."""
        carrier = {name: value for name, value in call.metadata if isinstance(value, str)}
        span = self._tracer.start_span(
            call.method.strip("/"),
            context=self._propagator.extract(carrier, otel.Context()),
            kind=SpanKind.SERVER,
            start_time=call.begun_ns,
            attributes={
                "rpc.system": "grpc",
                "rpc.grpc.status": code,
                "recsys.candidates": call.n_candidates,
            },
        )
        below = set_span_in_context(span)
        for stage, ended_s, took in call.stages:
            end = call.begun_ns + int(ended_s * _NS)
            child = self._tracer.start_span(stage, context=below, start_time=end - int(took * _NS))
            child.end(end)
        if code != "OK":
            span.set_status(Status(StatusCode.ERROR, code))
        span.end(call.begun_ns + int(seconds * _NS))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def spans_to(exporter: SpanExporter) -> Spans:
    """Send spans in batches.

    Args:
        exporter: Where to.

    Returns:
        The listener.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": "recsys"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Spans(provider)


def exported_spans() -> Spans:
    """Send spans by OTLP, to where the standard variables say.

    Returns:
        The listener.

    Raises:
        ConfigError: The exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        problem = "serving.traces: no exporter is installed; expected the extra recsys[otel]"
        raise ConfigError("configuration", [problem]) from error
    return spans_to(OTLPSpanExporter())
