"""Spans of this server itself, made by OpenTelemetry's SDK and exported as OTLP over HTTP.

The SDK is the extra `otel`, so this module is imported only where a collector is set. It sets no
global tracer provider: spans of libraries in this process stay out. Spans that wait for export
are bounded. Spans beyond the bound are dropped, so that a collector that is away or slow costs
spans and nothing else.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import requests
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

QUEUED_SPANS_MAX: Final = 8_192  # about 3 KB each: 24 MB
BATCH_SPANS_MAX: Final = 512
EXPORT_EVERY_S: Final = 2.0
EXPORT_TIMEOUT_S: Final = 5.0  # for one batch, retries included
SHUTDOWN_TIMEOUT_S: Final = 1.0  # a collector that doesn't answer delays a stop by this at most
LINKS_MAX: Final = 64
USER_AGENT: Final = "pandaprobe-server-spans/1"
SCOPE: Final = "pandaprobe-server"

type Attributes = Mapping[str, str | int | float | bool]
type OnSpans = Callable[[str, int], None]
"""Called in any thread with the fate of spans, `sent`, `dropped` or `refused`, and their number."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_log: Final = logging.getLogger(__name__)
_given_trace_id: Final[ContextVar[int | None]] = ContextVar("given trace id", default=None)


@dataclass(frozen=True, slots=True)
class ActiveSpan:
    """A span that has not ended yet."""

    span: otel.Span

    def ended(self, name: str, attributes: Attributes, *, has_failed: bool) -> None:
        """Completes the span with what is known only at its end."""
        self.span.update_name(name)
        self.span.set_attributes(attributes)
        if has_failed:
            self.fail()

    def fail(self) -> None:
        """Marks the span as failed, without a reason: error messages may contain payload."""
        self.span.set_status(otel.StatusCode.ERROR)


class OtlpSpans:
    """Makes spans and hands those that have ended to `processor`.

    A span below a parent that isn't sampled isn't sampled either, and never exported.
    """

    def __init__(self, processor: SpanProcessor, resource: Attributes) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),
            resource=Resource.create(resource),
            id_generator=_TraceIds(),
            shutdown_on_exit=False,  # `exporting` does it, within a bound
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SCOPE)

    @classmethod
    @asynccontextmanager
    async def exporting(
        cls,
        url: str,
        headers: Mapping[str, str],
        resource: Attributes,
        on_spans: OnSpans = lambda _fate, _count: None,
        every_s: float = EXPORT_EVERY_S,
    ) -> AsyncIterator["OtlpSpans"]:
        """Exports to the collector at `url` from a thread, and at the end what is left."""
        exporter = _ObservedExporter(url, headers, on_spans)
        processor = _BoundedProcessor(exporter, on_spans, every_s)
        spans = cls(processor, resource)
        try:
            yield spans
        finally:
            # A daemon, since the SDK itself waits for 30 s: neither this nor the exit of the
            # process may take as long.
            thread = threading.Thread(target=spans._provider.shutdown, daemon=True)
            thread.start()
            await asyncio.to_thread(thread.join, SHUTDOWN_TIMEOUT_S)
            if thread.is_alive():
                _log.warning("spans of this server that were not exported: %d", processor.queued)
                # Ends the wait for another try.
                exporter.shutdown()  # type: ignore[no-untyped-call]  # its own

    def current(self) -> otel.SpanContext | None:
        """The span that this task works for."""
        context = otel.get_current_span().get_span_context()
        return context if context.is_valid else None

    @contextmanager
    def request(self, traceparent: str) -> Iterator[ActiveSpan]:
        """A server span for the block, below the caller's span in `traceparent` (W3C).

        It is the root of a new trace where the header is missing or malformed.
        """
        parent = _PROPAGATOR.extract({"traceparent": traceparent})
        with self._active(self._tracer.start_span("request", parent, otel.SpanKind.SERVER)) as span:
            yield span

    @contextmanager
    def root(
        self, trace: UUID, name: str, attributes: Attributes, cause: otel.SpanContext | None = None
    ) -> Iterator[ActiveSpan]:
        """An internal span for the block, at the top of the trace with the given id.

        It is linked to its cause in another trace.
        """
        links = () if cause is None else (otel.Link(cause),)
        token = _given_trace_id.set(trace.int)
        try:
            span = self._tracer.start_span(name, Context(), attributes=attributes, links=links)
        finally:
            _given_trace_id.reset(token)
        with self._active(span) as active:
            yield active

    def record(
        self,
        name: str,
        kind: Literal["internal", "client"],
        seconds: float,
        attributes: Attributes,
        *,
        above: Sequence[otel.SpanContext] = (),
        has_failed: bool = False,
    ) -> None:
        """Records what has just ended after `seconds`.

        Its parent is the first of `above`, and it is linked to the others. Without any, its
        parent is the current span.
        """
        parent = (
            otel.set_span_in_context(otel.NonRecordingSpan(above[0]), Context()) if above else None
        )
        ended_ns = time.time_ns()
        span = self._tracer.start_span(
            name,
            parent,
            otel.SpanKind[kind.upper()],
            attributes,
            links=[otel.Link(one) for one in above[1 : LINKS_MAX + 1]],
            start_time=ended_ns - int(seconds * 1e9),
        )
        if has_failed:
            span.set_status(otel.StatusCode.ERROR)
        span.end(ended_ns)

    @contextmanager
    def _active(self, span: otel.Span) -> Iterator[ActiveSpan]:
        # The SDK would record the exception with its message, which may contain payload.
        with otel.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            active = ActiveSpan(span)
            try:
                yield active
            except BaseException:
                active.fail()
                raise


class _TraceIds(RandomIdGenerator):
    """Random ids, except for a root span whose trace id is given."""

    def generate_trace_id(self) -> int:
        return _given_trace_id.get() or super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return _given_trace_id.get() is None


class _ObservedExporter(OTLPSpanExporter):
    """Reports the fate of each batch to `on_spans`, and logs the first of consecutive failures."""

    def __init__(self, url: str, headers: Mapping[str, str], on_spans: OnSpans) -> None:
        session = requests.Session()
        session.trust_env = False  # ignore proxies and passwords in the environment
        super().__init__(
            f"{url.rstrip('/')}/v1/traces",
            headers={**headers, "user-agent": USER_AGENT},
            timeout=EXPORT_TIMEOUT_S,
            session=session,
        )
        # The SDK would log several lines for each failed batch, with the URL.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._on_spans = on_spans
        self._has_failed = False
        self.finished = 0  # spans; written by the exporting thread alone

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        has_failed = result is not SpanExportResult.SUCCESS
        self.finished += len(spans)
        self._on_spans("refused" if has_failed else "sent", len(spans))
        if has_failed and not self._has_failed:
            _log.warning("the collector doesn't accept spans of this server")
        self._has_failed = has_failed
        return result


class _BoundedProcessor(BatchSpanProcessor):
    """The SDK's batching, but a span beyond the bound is counted as dropped.

    The SDK drops the oldest span and counts none.
    """

    def __init__(self, exporter: _ObservedExporter, on_spans: OnSpans, every_s: float) -> None:
        super().__init__(
            exporter,
            max_queue_size=QUEUED_SPANS_MAX,
            schedule_delay_millis=every_s * 1_000,
            max_export_batch_size=BATCH_SPANS_MAX,
            export_timeout_millis=EXPORT_TIMEOUT_S * 1_000,
        )
        self._observed = exporter
        self._on_spans = on_spans
        self._taken = 0  # spans; written by the event loop's thread alone

    @property
    def queued(self) -> int:
        """Spans that wait, those of the batch under way included."""
        return self._taken - self._observed.finished

    def on_end(self, span: ReadableSpan) -> None:
        if self.queued >= QUEUED_SPANS_MAX:
            self._on_spans("dropped", 1)
            return
        self._taken += 1
        super().on_end(span)
