"""Spans for OpenTelemetry. Importing this needs the extra ``otel``.

The SDK reads its own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``,
``OTEL_RESOURCE_ATTRIBUTES``, ...). No span has values: neither variables nor texts of errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from community_gql.telemetry import tracing

_KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.trace_id = trace.format_trace_id(context.trace_id) if context.is_valid else None

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Mapping[str, tracing.Value | None]) -> None:
        given = {name: value for name, value in attributes.items() if value is not None}
        self._span.set_attributes(given)

    def failed(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))


def install() -> None:
    """Send every span to the collector that the environment names."""
    resource = {"service.version": version("community-gql")}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        resource["service.name"] = "community-gql"
    provider = TracerProvider(resource=Resource.create(resource))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("community_gql", version("community-gql"))
    propagator = TraceContextTextMapPropagator()

    @contextmanager
    def start(name: str, kind: tracing.Kind, traceparent: bytes) -> Iterator[tracing.Span]:
        parent = None
        if traceparent:
            parent = propagator.extract({"traceparent": traceparent.decode("latin1")})
        with tracer.start_as_current_span(
            name,
            context=parent,
            kind=_KINDS[kind],
            record_exception=False,  # its text may quote what people wrote
            set_status_on_exception=False,
        ) as started:
            span = _Span(started)
            try:
                yield span
            except BaseException as error:
                span.failed(type(error).__qualname__)
                raise

    tracing.install(start, provider.shutdown)
