"""Traces by OpenTelemetry's SDK, sent by OTLP over HTTP to where its own variables say.

Owns what is imported of it. The SDK reads the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES` and the like) by itself; it is not imported, and
looks at nothing, unless traces are configured. Nothing of it is global here: a provider is a value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version

from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from renga.watching.traces import NO_TRACE, Attributes, Trace, Tracer

_PROPAGATOR = TraceContextTextMapPropagator()
_CARRIED = ("traceparent", "tracestate")


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


class SentTraces(Tracer):
    """Traces that are sent. `processor` stands in tests for the one that sends."""

    on = True

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        named = OTELResourceDetector().detect()
        own = Resource({SERVICE_NAME: "renga", "service.version": version("renga")})
        self._provider = TracerProvider(resource=own.merge(named), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("renga", version("renga"))

    def request(self, method: str, headers: Mapping[str, str], begun: float) -> Trace:
        carried = {name: headers[name] for name in _CARRIED if name in headers}
        parent = _PROPAGATOR.extract(carried, context.Context())
        span = self._tracer.start_span(
            method,
            parent,
            SpanKind.SERVER,
            {"http.request.method": method},
            start_time=_ns(begun),
        )
        return self._traced(span)

    def close(self) -> None:
        self._provider.shutdown()

    def _traced(self, span: object) -> Trace:
        if isinstance(span, Span):
            return _Recorded(self, span)
        return _Unsampled(span) if isinstance(span, NonRecordingSpan) else NO_TRACE

    def begin(
        self, parent: Span, name: str, attributes: Attributes | None, kind: SpanKind
    ) -> Trace:
        """A span below another."""
        span = self._tracer.start_span(
            name, set_span_in_context(parent, context.Context()), kind, attributes
        )
        return self._traced(span)

    def note(
        self, parent: Span, name: str, begun: float, ended: float, attributes: Attributes
    ) -> None:
        """A span below another that began and ended so many seconds ago."""
        within = set_span_in_context(parent, context.Context())
        now = time.time_ns()
        span = self._tracer.start_span(
            name, within, attributes=attributes, start_time=now - _ns(begun)
        )
        span.end(now - _ns(ended))


class _Recorded(Trace):
    """A span that will be sent."""

    __slots__ = ("_owner", "_span")

    def __init__(self, owner: SentTraces, span: Span) -> None:
        self._owner = owner
        self._span = span

    @property
    def on(self) -> bool:
        return True

    def child(
        self, name: str, attributes: Attributes | None = None, *, call: bool = False
    ) -> Trace:
        kind = SpanKind.CLIENT if call else SpanKind.INTERNAL
        return self._owner.begin(self._span, name, attributes, kind)

    def past(self, name: str, begun: float, ended: float, attributes: Attributes) -> None:
        self._owner.note(self._span, name, begun, ended, attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def put(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        self._span.end()

    def headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span, context.Context()))
        return carrier


class _Unsampled(Trace):
    """A span that is not sent, since the sampler said so: others are told that much."""

    __slots__ = ("_span",)

    def __init__(self, span: NonRecordingSpan) -> None:
        self._span = span

    def headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span, context.Context()))
        return carrier
