"""Captured requests sent over HTTP, and the facts that must be read back (`expect.toml`)."""

import json
import tomllib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.ids import TraceId
from domain.tracing.otel.fragments import otel_span_id
from domain.tracing.otel.requests import Encoding, Signal
from tests.support.builders.otlp_corpus import CAPTURES, COPIES, MESSAGES, WHOLE, Capture
from tests.support.builders.otlp_requests import Request, encoded, with_base64_ids

FOLDER: Final = Path(WHOLE) if WHOLE else COPIES
MODEL_KINDS: Final = {"LLM", "EMBEDDING"}
BUCKETS: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "reasoning_tokens": "reasoning_tokens",
}


@dataclass(frozen=True)
class WireRequest:
    """A request as it goes over the wire."""

    path: str
    content_type: str
    body: bytes = field(repr=False)
    coding: str | None = None
    has_basic_credentials: bool = False

    async def send(self, http: httpx.AsyncClient, key: str, project: str) -> httpx.Response:
        """Sends it with credentials in the form that the program can send."""
        head = {"content-type": self.content_type}
        if self.coding is not None:
            head["content-encoding"] = self.coding
        if self.has_basic_credentials:
            user = b64encode(f"{project}:{key}".encode()).decode()
            head["authorization"] = f"Basic {user}"
        else:
            head |= {"x-api-key": key, "x-project-name": project}
        return await http.post(self.path, headers=head, content=self.body)


@dataclass(frozen=True)
class Program:
    """What one program sent, and the facts of each of its traces."""

    name: str
    facts: Sequence[Mapping[str, Any]] = field(repr=False)

    @classmethod
    def all(cls) -> list["Program"]:
        return [
            cls(path.parent.name, tomllib.loads(path.read_text())["trace"])
            for path in sorted(FOLDER.glob("*/expect.toml"))
        ]

    def as_sent(self) -> list[WireRequest]:
        """Byte for byte, metrics included."""
        found = []
        for path in sorted((FOLDER / self.name).glob("*.raw.*")):
            stem = path.name.partition(".")[0]
            head = json.loads((path.parent / f"{stem}.headers.json").read_text())
            found.append(
                WireRequest(
                    head["path"],
                    head["content-type"],
                    path.read_bytes(),
                    head.get("content-encoding"),
                    head.get("authorization") == "basic",
                )
            )
        return found

    def as_other_type(self) -> list[WireRequest]:
        """The same requests in the wire type that the program doesn't use."""
        found = []
        for capture in self._captures():
            other = next(one for one in Encoding if one is not capture.encoding)
            found.append(_request(capture.signal, encoded(_message(capture), other), other))
        return found

    def singly_in_reverse(self) -> list[WireRequest]:
        """One span or record in each request, the last one first."""
        singles: list[WireRequest] = []
        for capture in self._captures():
            for single in _singles(_message(capture)):
                body = encoded(single, capture.encoding)
                singles.append(_request(capture.signal, body, capture.encoding))
        return singles[::-1]

    def sent_spans(self, trace: str) -> dict[str, Any]:
        """The ended spans of a trace in the bodies, by the id that they get here."""
        id_ = TraceId(UUID(hex=trace))
        return {
            str(otel_span_id(id_, span.span_id.hex())): span
            for capture in self._captures()
            if capture.signal is Signal.TRACES
            for resource in _message(capture).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if span.trace_id.hex() == trace and span.end_time_unix_nano and not _is_pending(span)
        }

    def _captures(self) -> list[Capture]:
        return [one for one in CAPTURES if one.name.startswith(f"{self.name}/")]


def _is_pending(span: Any) -> bool:
    return any(
        pair.key == "logfire.span_type" and pair.value.string_value == "pending_span"
        for pair in span.attributes
    )


def _request(signal: Signal, body: bytes, encoding: Encoding) -> WireRequest:
    return WireRequest(f"/v1/{signal}", encoding, body)


def _message(capture: Capture) -> Any:
    if capture.encoding is Encoding.PROTOBUF:
        return capture.message()
    as_protobuf_json = json.dumps(with_base64_ids(json.loads(capture.body)))
    return Parse(as_protobuf_json, MESSAGES[capture.signal](), ignore_unknown_fields=True)


def _singles(message: Request) -> Iterator[Request]:
    """The message with one span or record at a time."""
    is_logs = isinstance(message, ExportLogsServiceRequest)
    groups, scopes, items = (
        ("resource_logs", "scope_logs", "log_records")
        if is_logs
        else ("resource_spans", "scope_spans", "spans")
    )
    for group in getattr(message, groups):
        for scope in getattr(group, scopes):
            for item in getattr(scope, items):
                single = ExportLogsServiceRequest() if is_logs else ExportTraceServiceRequest()
                made = getattr(single, groups).add(
                    resource=group.resource, schema_url=group.schema_url
                )
                inner = getattr(made, scopes).add(scope=scope.scope, schema_url=scope.schema_url)
                getattr(inner, items).append(item)
                yield single


# --- facts ---------------------------------------------------------------------------------------


@dataclass
class ShownTrace:
    """A trace as the API shows it, and the facts that it must have."""

    trace: Any = field(repr=False)
    expected: Mapping[str, Any]

    def check(self, program: Program) -> None:
        """Asserts every fact."""
        self._check_row()
        self._check_figures()
        self._check_spans()
        self._check_tools_and_messages()
        self._check_ids(program)

    @property
    def spans(self) -> list[Any]:
        """The spans by start and the hex id that was sent."""
        return sorted(
            self.trace["spans"],
            key=lambda span: (
                int(span["metadata"]["otel"]["start_time_unix_nano"]),
                span["metadata"]["otel"]["span_id"],
            ),
        )

    def _named(self, name: str) -> list[Any]:
        found = [span for span in self.spans if span["name"] == name]
        assert found, name
        return found

    @property
    def _counted(self) -> list[Any]:
        return [span for span in self.spans if "usage_role" not in span["metadata"]["otel"]]

    def _check_row(self) -> None:
        trace, expected = self.trace, self.expected
        assert (trace["name"], trace["status"]) == (expected["name"], expected["status"])
        assert (trace["ended_at"] is None) is (trace["status"] == "RUNNING")
        for fact in ("session_id", "user_id", "environment", "release"):
            if fact in expected:
                assert trace[fact] == (expected[fact] or None), fact
        assert set(expected.get("tags", ())) <= set(trace["tags"])
        assert expected.get("metadata", {}).items() <= trace["metadata"].items()
        shown = [trace, *self.spans]
        flags = {flag for one in shown for flag in one["metadata"]["otel"].get("flags", ())}
        assert set(expected.get("flags", ())) <= flags
        for side in ("input", "output"):
            text = json.dumps(trace[side], ensure_ascii=False)
            assert not [has for has in expected.get(f"{side}_has", ()) if has not in text], side
        whole = json.dumps(trace, ensure_ascii=False)
        assert not [text for text in expected.get("absent", ()) if text in whole]

    def _check_figures(self) -> None:
        expected, counted = self.expected, self._counted
        assert len(self.spans) == expected["spans"]
        uncounted = len(self.spans) - len(counted)
        assert uncounted == expected.get("uncounted", uncounted)
        for fact, bucket in BUCKETS.items():
            if fact in expected:
                sent = [(span["token_usage"] or {}).get(bucket, 0) for span in counted]
                assert sum(sent) == expected[fact], fact
        total = expected.get("input_tokens", 0) + expected.get("output_tokens", 0)
        assert self.trace["total_tokens"] == total
        models = [span for span in counted if span["kind"] in MODEL_KINDS and span["token_usage"]]
        if "cost_source" in expected:
            assert {span["cost_source"] for span in models} == {expected["cost_source"]}
        if "cost" in expected:
            assert Decimal(repr(self.trace["total_cost"])) == Decimal(repr(expected["cost"]))

    def _check_spans(self) -> None:
        expected = self.expected
        for name, kind in expected.get("kinds", {}).items():
            assert {span["kind"] for span in self._named(name)} == {kind}, name
        for name, model in expected.get("models", {}).items():
            assert {span["model"] for span in self._named(name)} == {model}, name
        for name, reasons in expected.get("finish", {}).items():
            assert self._named(name)[0]["metadata"]["finish_reasons"] == reasons, name
        for span in (one for name in expected.get("filled", ()) for one in self._named(name)):
            assert span["input"] is not None, span["name"]
            assert span["output"] is not None or span["status"] == "ERROR", span["name"]
        for name in expected.get("filled_output", ()):
            assert all(span["output"] is not None for span in self._named(name)), name
        for name in expected.get("empty", ()):
            assert all(span["input"] is span["output"] is None for span in self._named(name)), name
        failed = [span for span in self.spans if span["status"] == "ERROR"]
        assert sorted(span["name"] for span in failed) == sorted(expected.get("errors", ()))
        errors = " ".join(span["error"] or "" for span in failed)
        assert not [text for text in expected.get("error_has", ()) if text not in errors]
        for first in expected.get("first_token", ()):
            found = self._named(first["span"])[first["nth"]]["time_to_first_token_ms"]
            assert found == pytest.approx(first["ms"], abs=1)

    def _check_tools_and_messages(self) -> None:
        tools = [span for span in self.spans if span["kind"] == "TOOL"]
        for tool in self.expected.get("tool", ()):
            called = [one for one in tools if one["metadata"]["tool"]["name"] == tool["name"]]
            assert len(called) == tool.get("calls", len(called))
            for span in called:
                if "arguments" in tool:
                    assert span["input"] == json.loads(tool["arguments"])
                output = json.dumps(span["output"], ensure_ascii=False)
                assert tool.get("result_has", "") in output
        for message in self.expected.get("message", ()):
            span = self._named(message["span"])[message["nth"]]
            assert span[message["field"]] == json.loads(message["json"])

    def _check_ids(self, program: Program) -> None:
        """Ids, parents, names and starts are those of the bodies."""
        trace = TraceId(UUID(self.trace["trace_id"]))
        sent = program.sent_spans(trace.hex)
        shown = {span["span_id"]: span for span in self.spans}
        assert shown.keys() == sent.keys()
        for id_, span in sent.items():
            parent = span.parent_span_id.hex()
            found, otel = shown[id_], shown[id_]["metadata"]["otel"]
            expected = str(otel_span_id(trace, parent)) if parent else None
            assert (found["parent_span_id"], found["name"]) == (expected, span.name)
            assert otel["span_id"] == span.span_id.hex()
            assert otel["start_time_unix_nano"] == str(span.start_time_unix_nano)


async def shown_traces(
    http: httpx.AsyncClient, key: str, project: str, program: Program
) -> list[ShownTrace]:
    head = {"x-api-key": key, "x-project-name": project}
    found = []
    for expected in program.facts:
        answer = await http.get(f"/traces/{UUID(hex=expected['trace_id'])}", headers=head)
        assert answer.status_code == 200, answer.text
        found.append(ShownTrace(answer.json(), expected))
    return found
