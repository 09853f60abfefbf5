"""Requests of real instrumentations, mapped: the facts that must hold for each.

`expect.toml` in the same folder names what a fake model answered, and what must be read back.
"""

import json
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters.otlp.decoding.requests import Codec
from adapters.otlp.decoding.stored import decode_sent, encode_sent
from adapters.otlp.mapping.spans import map_span
from adapters.pricing.genai_prices import GenaiPriceBook
from domain.ids import TraceId
from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.last_message import last_answer, last_user_message
from domain.tracing.otel.trace_state import (
    ComputedTrace,
    LastMessageOf,
    PayloadOf,
    SpanNode,
    StatedPayload,
    compute_trace,
)
from domain.tracing.otel.usage_roles import usage_roles
from domain.tracing.span import Span, SpanKind
from tests.support.builders.otel import input_of, metadata, output_of, value
from tests.support.builders.otlp_corpus import CAPTURES, COPIES, WHOLE

FOLDER = Path(WHOLE) if WHOLE else COPIES
PRICE = GenaiPriceBook().price


@cache
def fragments_of(capture: str) -> Mapping[TraceId, Mapping[str, Sequence[Any]]]:
    """The fragments of all requests of a capture, by trace and span."""
    found: dict[TraceId, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for one in CAPTURES:
        if one.name.startswith(f"{capture}/"):
            for fragment in Codec().decode(one.signal, one.encoding, one.body, 1_000).fragments:
                found[fragment.trace_id][fragment.span_id].append(fragment.decode())
    return found


class Read:
    """A trace of a capture, as it is computed from its mapped and settled spans."""

    def __init__(self, capture: str, expected: Mapping[str, Any]) -> None:
        self.trace_id = TraceId(UUID(hex=expected["trace_id"]))
        self.mapped = [
            map_span(self.trace_id, sent) for sent in fragments_of(capture)[self.trace_id].values()
        ]
        self.mapped.sort(key=lambda one: (one.facts.start_ns, one.facts.hex_id))
        self.spans: list[Span] = [one.span.settled(PRICE) for one in self.mapped]
        nodes = [
            SpanNode.from_mapped(one, span)
            for one, span in zip(self.mapped, self.spans, strict=True)
        ]
        self.roles = usage_roles(nodes)
        self.trace: ComputedTrace = compute_trace(self.trace_id, nodes)

    def named(self, name: str) -> list[MappedSpan]:
        return [one for one in self.mapped if one.span.name == name]

    def counted(self) -> list[Span]:
        return [span for span in self.spans if span.id not in self.roles]

    def tokens(self, bucket: str) -> int:
        usages = [value(span.token_usage) or {} for span in self.counted()]
        return sum(usage.get(bucket, 0) for usage in usages)

    def payload(self, side: str) -> str:
        by_id = {span.id: span for span in self.spans}
        match getattr(self.trace, side):
            case StatedPayload(text):
                found = text
            case PayloadOf(span_id):
                found = getattr(by_id[span_id], side)
            case LastMessageOf(span_id):
                read = last_user_message if side == "input" else last_answer
                found = read(getattr(by_id[span_id], side))
            case _:
                found = b""
        return json.dumps(value(found), ensure_ascii=False) if found else ""


EXPECTED = [
    pytest.param(path.parent.name, expected, id=f"{path.parent.name}-{expected['trace_id'][:8]}")
    for path in sorted(FOLDER.glob("*/expect.toml"))
    for expected in tomllib.loads(path.read_text())["trace"]
]


@pytest.mark.parametrize(("capture", "expected"), EXPECTED)
def test_trace_of_corpus(capture, expected):
    read = Read(capture, expected)
    trace = read.trace
    assert (trace.name, trace.status) == (expected["name"], expected["status"])
    assert len(read.spans) == expected["spans"]
    for fact in ("session_id", "user_id", "environment", "release"):
        if fact in expected:
            assert getattr(trace, fact) == (expected[fact] or None)
    assert set(expected.get("tags", [])) <= set(trace.tags)
    assert expected.get("metadata", {}).items() <= json.loads(trace.metadata).items()
    flags = {flag for one in read.mapped for flag in metadata(one)["otel"].get("flags", [])}
    assert set(expected.get("flags", [])) <= flags | trace.flags
    for side in ("input", "output"):
        for text in expected.get(f"{side}_has", []):
            assert text in read.payload(side)
    shown = repr([read.mapped, trace])
    assert not [text for text in expected.get("absent", []) if text in shown]


@pytest.mark.parametrize(("capture", "expected"), EXPECTED)
def test_tokens_and_cost(capture, expected):
    read = Read(capture, expected)
    assert len(read.roles) == expected.get("uncounted", len(read.roles))
    buckets = {
        "input_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens",
        "cache_read_tokens": "cache_read_tokens",
        "cache_write_tokens": "cache_write_tokens",
        "reasoning_tokens": "reasoning_tokens",
    }
    for fact, bucket in buckets.items():
        if fact in expected:
            assert read.tokens(bucket) == expected[fact]
    models = [one for one in read.counted() if one.kind in {SpanKind.LLM, SpanKind.EMBEDDING}]
    if "cost_source" in expected:
        sources = {one.charge.source for one in models if one.usage.is_known}
        assert sources == {expected["cost_source"]}
    if "cost" in expected:
        total = sum((one.charge.amount for one in read.counted()), Decimal(0))
        assert total == Decimal(repr(expected["cost"]))


@pytest.mark.parametrize(("capture", "expected"), EXPECTED)
def test_spans(capture, expected):
    read = Read(capture, expected)
    for name, kind in expected.get("kinds", {}).items():
        assert {one.span.kind for one in read.named(name)} == {kind}
    for name, model in expected.get("models", {}).items():
        assert {one.span.model for one in read.named(name)} == {model}
    for name, reasons in expected.get("finish", {}).items():
        assert metadata(read.named(name)[0])["finish_reasons"] == reasons
    for name in expected.get("filled", []):
        for one in read.named(name):
            assert one.span.input is not None
            assert one.span.output is not None or one.span.status == "ERROR"
    for name in expected.get("filled_output", []):
        assert all(one.span.output is not None for one in read.named(name))
    for name in expected.get("empty", []):
        assert all(one.span.input is one.span.output is None for one in read.named(name))
    failed = [span for span in read.spans if span.status == "ERROR"]
    assert sorted(span.name for span in failed) == sorted(expected.get("errors", []))
    errors = " ".join(span.error or "" for span in failed)
    assert all(text in errors for text in expected.get("error_has", []))
    for first in expected.get("first_token", []):
        found = read.named(first["span"])[first["nth"]].span.time_to_first_token_ms
        assert found == pytest.approx(first["ms"], abs=1)


@pytest.mark.parametrize(("capture", "expected"), EXPECTED)
def test_tools_and_messages(capture, expected):
    read = Read(capture, expected)
    tools = [one for one in read.mapped if one.span.kind is SpanKind.TOOL]
    for tool in expected.get("tool", []):
        called = [one for one in tools if metadata(one)["tool"]["name"] == tool["name"]]
        assert len(called) == tool.get("calls", len(called))
        for one in called:
            if "arguments" in tool:
                assert input_of(one.span) == json.loads(tool["arguments"])
            assert tool.get("result_has", "") in json.dumps(output_of(one.span))
    for message in expected.get("message", []):
        span = read.named(message["span"])[message["nth"]].span
        assert value(getattr(span, message["field"])) == json.loads(message["json"])


@pytest.mark.parametrize("capture", sorted({one.values[0] for one in EXPECTED}))
def test_rows_are_the_same_after_storing_and_in_any_order(capture):
    for trace_id, spans in fragments_of(capture).items():
        for sent in spans.values():
            stored = [decode_sent(encode_sent(one)) for one in reversed(sent)]
            assert map_span(trace_id, stored) == map_span(trace_id, sent)
