"""Fragments of OpenTelemetry spans, and their rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.otlp.mapping.spans import map_span
from domain.ids import TraceId
from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.fragments import Scope, Sent, SentEvent, SentRecord, SentSpan
from domain.tracing.span import Span

TRACE = TraceId(UUID("01020304-0506-0708-090a-0b0c0d0e0f10"))
HEX_ID = "1112131415161718"
START_NS = 1_764_000_000_000_000_000
END_NS = START_NS + 2_000_000_000


def sent_span(attributes: Mapping[str, Any] | None = None, **fields: Any) -> SentSpan:
    """An ended span of two seconds."""
    values = {"span_id": HEX_ID, "name": "step", "start_ns": START_NS, "end_ns": END_NS} | fields
    if isinstance(values.get("scope"), str):
        values["scope"] = Scope(values["scope"])
    return SentSpan(attributes=attributes or {}, **values)


def sent_record(
    name: str, attributes: Mapping[str, Any] | None = None, **fields: Any
) -> SentRecord:
    values = {"time_ns": START_NS + 1_000, "span_id": HEX_ID} | fields
    return SentRecord(name=name, attributes=attributes or {}, **values)


def event(name: str, time_ns: int = START_NS, **attributes: Any) -> SentEvent:
    return SentEvent(time_ns, name, attributes)


def mapped(attributes: Mapping[str, Any] | None = None, **fields: Any) -> MappedSpan:
    return map_span(TRACE, [sent_span(attributes, **fields)])


def mapped_from(*fragments: Sent) -> MappedSpan:
    return map_span(TRACE, fragments)


def metadata(one: MappedSpan) -> Any:
    return json.loads(one.span.metadata)


def flags(one: MappedSpan) -> Sequence[str]:
    found = metadata(one)["otel"].get("flags", [])
    assert isinstance(found, list)
    return found


def value(text: bytes | str | None) -> Any:
    return None if text is None else json.loads(text)


def input_of(span: Span) -> Any:
    return value(span.input)


def output_of(span: Span) -> Any:
    return value(span.output)


@dataclass(frozen=True, slots=True)
class SentFragment:
    """A fragment as a request has it."""

    trace_id: TraceId
    sent: Sent
    size: int = 1_000

    @property
    def span_id(self) -> str | None:
        return self.sent.span_id

    def decode(self) -> Sent:
        return self.sent


def fragments(trace: TraceId, *sent: Sent, size: int = 1_000) -> list[SentFragment]:
    return [SentFragment(trace, one, size) for one in sent]
