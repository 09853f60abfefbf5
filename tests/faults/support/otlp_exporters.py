"""Loads of spans by the official OTLP exporters, and what of them was acknowledged."""

import json
import logging
import os
import shutil
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.e2e.conftest import ROOT
from tests.faults.support.stack import until
from tests.support.waiting import WAIT_MAX_S

CALLS: Final = 4  # model calls of a trace, each of one token, below one agent
SPANS: Final = CALLS + 1  # of a trace
TRACES: Final = 5  # of a batch
PACE_S: Final = 0.05
MORE_MAX_S: Final = float(WAIT_MAX_S)
END_MAX_S: Final = 60.0  # for the last batches: an exporter gives up after 10 s
JS_PACKAGES: Final = ROOT / ".venv-otel/js/node_modules"
JS_PROGRAM: Final = ROOT / "tests/support/otel_js/export_batches.cjs"

type Headers = Mapping[str, str]


@dataclass(slots=True)
class Batch:
    """The traces of one request, and whether the exporter reported success."""

    traces: frozenset[str]
    acknowledged: bool


@dataclass
class Load:
    """Batches that several exporters send to one project until `stopped` is set."""

    batches: list[Batch] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def acknowledged(self) -> int:
        return sum(batch.acknowledged for batch in self.batches)

    @property
    def unacknowledged(self) -> int:
        return len(self.batches) - self.acknowledged

    def wait_more_acknowledged(self, count: int = 10) -> None:
        goal = self.acknowledged + count
        until(lambda: self.acknowledged >= goal, MORE_MAX_S, f"{count} more batches acknowledged")

    def __str__(self) -> str:
        return f"{self.acknowledged} batches acknowledged, {self.unacknowledged} never"


# --- Python ----------------------------------------------------------------------------------


class SpanSource:
    """Makes batches of ended spans."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        provider = TracerProvider(
            resource=Resource({"service.name": "load"}), shutdown_on_exit=False
        )
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self._tracer = provider.get_tracer("load")

    def next_batch(self) -> tuple[Sequence[ReadableSpan], frozenset[str]]:
        """Returns the spans of TRACES traces, and the traces' ids as the API shows them."""
        self._spans.clear()
        for _ in range(TRACES):
            with self._tracer.start_as_current_span("invoke_agent load"):
                for _ in range(CALLS):
                    with self._tracer.start_as_current_span("chat") as call:
                        call.set_attribute("gen_ai.operation.name", "chat")
                        call.set_attribute("gen_ai.usage.input_tokens", 1)
        spans = self._spans.get_finished_spans()
        return spans, frozenset(str(uuid.UUID(int=span.context.trace_id)) for span in spans)


@contextmanager
def python_load(
    url: str, headers: Headers, exporters: int, pace_s: float = PACE_S
) -> Iterator[Load]:
    """Sends during the block, and waits for the last answers after it."""

    def create() -> SpanExporter:
        return OTLPSpanExporter(f"{url}/v1/traces", headers=dict(headers))

    with _load_by(create, exporters, pace_s) as load:
        yield load


@contextmanager
def grpc_load(url: str, headers: Headers, exporters: int, pace_s: float = PACE_S) -> Iterator[Load]:
    """Like `python_load`, over gRPC, whose metadata is in lower case."""
    metadata = tuple((name.lower(), value) for name, value in headers.items())
    with _load_by(lambda: GrpcSpanExporter(url, headers=metadata), exporters, pace_s) as load:
        yield load


@contextmanager
def _load_by(create: Callable[[], SpanExporter], exporters: int, pace_s: float) -> Iterator[Load]:
    load = Load()

    def send() -> None:
        source, exporter = SpanSource(), create()
        while not load.stopped.wait(pace_s):
            spans, traces = source.next_batch()
            is_stored = exporter.export(spans) is SpanExportResult.SUCCESS
            load.batches.append(Batch(traces, is_stored))
        exporter.shutdown()

    threads = [threading.Thread(target=send) for _ in range(exporters)]
    for thread in threads:
        thread.start()
    try:
        load.wait_more_acknowledged()
        yield load
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join(END_MAX_S)
    assert not any(thread.is_alive() for thread in threads)


class ExporterLog(logging.Handler):
    """Counts why exporters repeated a batch, by the reason in their log."""

    REASONS: Final = ("Too Many Requests", "Service Unavailable")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reasons = Counter[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.reasons[next((one for one in self.REASONS if one in text), "other")] += 1


@contextmanager
def exporter_log() -> Iterator[ExporterLog]:
    handler, logger = ExporterLog(), logging.getLogger("opentelemetry.exporter")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


# --- JavaScript ------------------------------------------------------------------------------


def why_no_javascript() -> str | None:
    """Returns why the exporters in JavaScript can't run; None if they can."""
    if shutil.which("node") is None:
        return "Node isn't installed"
    return None if JS_PACKAGES.exists() else "make otel-tests installs the JavaScript exporters"


@contextmanager
def javascript_load(
    url: str, headers: Headers, exporters: int, pace_s: float = PACE_S
) -> Iterator[Load]:
    """Like `python_load`, with half of the exporters in JSON and half in protobuf."""
    load = Load()
    given = {
        "url": f"{url}/v1/traces",
        "headers": dict(headers),
        "exporters": exporters,
        "paceMs": pace_s * 1000,
        "traces": TRACES,
        "calls": CALLS,
    }
    process = subprocess.Popen(
        ["node", str(JS_PROGRAM), json.dumps(given)],
        env={**os.environ, "NODE_PATH": str(JS_PACKAGES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines = process.stdout

    def read() -> None:
        for line in lines:
            batch = json.loads(line)
            ids = frozenset(str(uuid.UUID(hex=trace)) for trace in batch["traces"])
            load.batches.append(Batch(ids, batch["acknowledged"]))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        load.wait_more_acknowledged()
        yield load
    finally:
        process.stdin.close()  # which ends the load
        try:
            process.wait(END_MAX_S)
        finally:
            process.kill()
            reader.join()
            lines.close()
    assert process.returncode == 0


# --- what is stored --------------------------------------------------------------------------


def assert_load_kept(load: Load, url: str, headers: Headers) -> None:
    """Asserts that acknowledged traces are stored, and that all stored ones are whole.

    Whole means that each span is stored and counted once. A trace that was not acknowledged may be
    stored: the answer may have been lost.
    """
    acknowledged = frozenset[str]().union(*(b.traces for b in load.batches if b.acknowledged))
    sent = frozenset[str]().union(*(batch.traces for batch in load.batches))
    assert len(sent) == TRACES * len(load.batches)
    assert acknowledged
    stored = {trace["trace_id"]: trace for trace in _list_traces(url, headers)}
    missing = acknowledged - stored.keys()
    assert not missing, f"acknowledged and missing: {len(missing)}, {sorted(missing)[:5]}"
    assert stored.keys() <= sent
    counts = {
        (trace["span_count"], trace["total_tokens"], trace["status"]) for trace in stored.values()
    }
    assert counts == {(SPANS, CALLS, "COMPLETED")}


def _list_traces(url: str, headers: Headers) -> Iterator[Mapping[str, Any]]:
    with httpx.Client(base_url=url, headers=dict(headers), timeout=30) as http:
        query: dict[str, str] = {"limit": "200"}
        while True:
            answer = http.get("/traces", params=query)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]
