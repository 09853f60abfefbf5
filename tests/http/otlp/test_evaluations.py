"""Evaluations that senders send with their spans become scores."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from application.clock import utc_now
from application.evaluation.scores.sent_evaluations import EVALUATION_WAIT
from application.use_cases import UseCases
from domain.errors import Invalid
from domain.ids import TraceId
from domain.tracing.otel.fragments import otel_span_id
from domain.tracing.otel.requests import Encoding
from entrypoints.composition.memory import replace_ports
from tests.http.conftest import Site
from tests.support.builders.otlp_requests import (
    SPAN_ID,
    START_NS,
    TRACE_ID,
    key_values,
    logs_request,
    record,
    span,
    traces_request,
)
from tests.support.clients.otlp_exporter import OtlpExporter
from tests.support.fakes.otlp_store import RecordedOtlpTraces
from tests.support.waiting import in_time, until_done

TRACE = TraceId(uuid.UUID(bytes=TRACE_ID))
SPAN = str(otel_span_id(TRACE, SPAN_ID.hex()))
RESULT = "gen_ai.evaluation.result"
FAITHFUL = {
    "gen_ai.evaluation.name": "faithful",
    "gen_ai.evaluation.score.value": 0.75,
    "gen_ai.evaluation.score.label": "good",
    "gen_ai.evaluation.explanation": "It says so",
}


@pytest.fixture(params=Encoding)
def exporter(request: pytest.FixtureRequest, either: Site) -> OtlpExporter:
    return OtlpExporter(either.http, either.headers(), request.param)


def worker(site: Site) -> UseCases:
    return UseCases(replace_ports(site.ports, **site.swapped))


async def scores(exporter: OtlpExporter, query: str = "") -> list[Any]:
    path = f"/evaluations/trace-scores?{query}"
    answer = await exporter.http.get(path, headers=dict(exporter.headers))
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["items"]
    return found


async def session_scores(exporter: OtlpExporter) -> list[Any]:
    path = "/evaluations/session-scores"
    answer = await exporter.http.get(path, headers=dict(exporter.headers))
    found: list[Any] = answer.json()["items"]
    return found


def with_event(attributes: dict[str, Any], **fields: Any) -> Any:
    made = span(**fields)
    event = made.events.add(name=RESULT, time_unix_nano=START_NS + 5)
    event.attributes.extend(key_values(attributes))
    return made


def evaluation(attributes: dict[str, Any], **fields: Any) -> Any:
    return logs_request(record(attributes, event_name=RESULT, **fields))


async def test_event_scores_its_span(exporter: OtlpExporter) -> None:
    for _ in range(2):
        assert (await exporter.export(traces_request(with_event(FAITHFUL)))).status_code == 200
        [score] = await scores(exporter, "of_spans=true")
        assert score["id"] == str(uuid.uuid5(TRACE, f"{SPAN_ID.hex()}, faithful, {START_NS + 5}"))
        assert (score["trace_id"], score["span_id"]) == (str(TRACE), SPAN)
        assert (score["name"], score["value"], score["data_type"]) == (
            "faithful",
            "0.75",
            "NUMERIC",
        )
        assert (score["source"], score["status"]) == ("PROGRAMMATIC", "SUCCESS")
        assert (score["reason"], score["metadata"]) == ("It says so", {"label": "good"})
    assert await scores(exporter) == []


async def test_evaluation_of_a_refused_trace_is_not_recorded() -> None:
    erased = Invalid.field("trace_id", "this trace was erased")
    site = Site(swapped={"otlp": RecordedOtlpTraces(failures={TRACE: erased})})
    async with site.http:
        exporter = OtlpExporter(site.http, site.headers(), Encoding.PROTOBUF)
        sent = traces_request(with_event(FAITHFUL), span(trace_id=b"\2" * 16))
        assert (await exporter.export(sent)).status_code == 200
    assert (site.store.trace_scores, site.store.waiting_evaluations) == ({}, {})


async def test_record_scores_span_or_trace(exporter: OtlpExporter) -> None:
    await exporter.export(traces_request(span()))
    await exporter.export(evaluation(FAITHFUL), "logs")
    of_trace = FAITHFUL | {"gen_ai.evaluation.name": "helpful"}
    await exporter.export(evaluation(of_trace, span_id=b""), "logs")
    assert [one["span_id"] for one in await scores(exporter, "of_spans=true")] == [SPAN]
    assert [(one["name"], one["span_id"]) for one in await scores(exporter)] == [("helpful", None)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"gen_ai.evaluation.score.label": "polite"}, ("polite", "CATEGORICAL", "SUCCESS")),
        ({"gen_ai.evaluation.score.value": 7}, ("7", "CATEGORICAL", "SUCCESS")),
        ({"gen_ai.evaluation.score.value": 1}, ("1", "NUMERIC", "SUCCESS")),
        ({"error.type": "timeout"}, (None, "CATEGORICAL", "FAILED")),
        ({"gen_ai.evaluation.explanation": "no tool"}, (None, "CATEGORICAL", "FAILED")),
    ],
)
async def test_values(exporter: OtlpExporter, given: Any, expected: Any) -> None:
    await exporter.export(traces_request(with_event({"gen_ai.evaluation.name": "n"} | given)))
    [score] = await scores(exporter, "of_spans=true")
    assert (score["value"], score["data_type"], score["status"]) == expected
    if "error.type" in given:
        assert score["metadata"]["error_type"] == "timeout"
        assert (score["outcome"], score["reason"]) == ("failed", "The evaluation failed: timeout")
    elif score["value"] is None:
        assert (score["outcome"], score["reason"]) == ("skipped", "Skipped: no tool")


async def test_score_has_the_time_of_the_event(exporter: OtlpExporter) -> None:
    event = with_event(FAITHFUL)
    late = with_event(FAITHFUL | {"gen_ai.evaluation.name": "late"}, span_id=b"\x05" * 8)
    late.events[0].time_unix_nano = 4_000_000_000_000_000_000  # in 2096
    await exporter.export(traces_request(event, late))
    found = {one["name"]: one for one in await scores(exporter, "of_spans=true")}
    happened_at = datetime.fromtimestamp(START_NS // 10**9, UTC)
    assert datetime.fromisoformat(found["faithful"]["created_at"]) == happened_at
    assert found["faithful"]["updated_at"] == found["faithful"]["created_at"]
    assert datetime.fromisoformat(found["late"]["created_at"]) <= utc_now()


async def test_failed_and_skipped_evaluations_enter_no_average(exporter: OtlpExporter) -> None:
    name = {"gen_ai.evaluation.name": "faithful"}
    others = ({"error.type": "timeout"}, {"gen_ai.evaluation.explanation": "no tool"})
    await exporter.export(traces_request(span()))
    for number, given in enumerate((FAITHFUL, *(name | one for one in others))):
        sent = evaluation(given, span_id=b"", time_unix_nano=START_NS + number)
        await exporter.export(sent, "logs")
    answer = await exporter.http.get(
        "/evaluations/analytics/trace-scores/summary", headers=dict(exporter.headers)
    )
    [summary] = answer.json()
    assert (summary["avg_score"], summary["success_count"], summary["failed_count"]) == (0.75, 1, 1)


async def test_openinference_annotations_score_span_trace_and_session(
    exporter: OtlpExporter,
) -> None:
    attributes: dict[str, Any] = {"session.id": "s-1"}
    for family, name in (("annotations", "a"), ("trace.annotations", "b")):
        attributes |= {f"{family}.0.annotation.name": name, f"{family}.0.annotation.score": 0.5}
    session = "session.evaluations.0.evaluation"
    attributes |= {f"{session}.name": "c", f"{session}.label": "calm"}
    await exporter.export(traces_request(span(attributes)))
    assert [one["name"] for one in await scores(exporter, "of_spans=true")] == ["a"]
    assert [one["name"] for one in await scores(exporter)] == ["b"]
    [of_session] = await session_scores(exporter)
    assert (of_session["session_id"], of_session["name"], of_session["value"]) == (
        "s-1",
        "c",
        "calm",
    )


@pytest.fixture
async def record_waiting(either: Site) -> Callable[[], Awaitable[int]]:
    """The step of a worker, once it has recorded what other tests left in the database."""
    step = worker(either).evaluation.sent_evaluations.record_waiting
    await until_done(step)
    return step


async def test_evaluation_waits_for_its_trace(
    exporter: OtlpExporter, record_waiting: Callable[[], Awaitable[int]]
) -> None:
    assert (await exporter.export(evaluation(FAITHFUL), "logs")).status_code == 200
    assert await scores(exporter, "of_spans=true") == []
    assert await record_waiting() == 0
    await exporter.export(traces_request(span()))
    assert await record_waiting() == 1
    [score] = await scores(exporter, "of_spans=true")
    assert (score["span_id"], score["value"]) == (SPAN, "0.75")
    assert await record_waiting() == 0
    await exporter.export(evaluation(FAITHFUL), "logs")
    assert len(await scores(exporter, "of_spans=true")) == 1


async def test_evaluation_by_response_waits_for_its_span(
    exporter: OtlpExporter, record_waiting: Callable[[], Awaitable[int]]
) -> None:
    response = f"resp-{uuid.uuid4()}"
    named = FAITHFUL | {"gen_ai.response.id": response}
    sent = evaluation(named, trace_id=b"", span_id=b"")
    assert (await exporter.export(sent, "logs")).status_code == 200
    assert await record_waiting() == 0
    call = {"gen_ai.operation.name": "chat", "gen_ai.response.id": response}
    await exporter.export(traces_request(span(call)))
    assert await record_waiting() == 1
    assert [one["span_id"] for one in await scores(exporter, "of_spans=true")] == [SPAN]


async def test_response_that_never_comes_is_rejected(exporter: OtlpExporter, either: Site) -> None:
    named = FAITHFUL | {"gen_ai.response.id": f"resp-{uuid.uuid4()}"}
    await exporter.export(evaluation(named, trace_id=b"", span_id=b""), "logs")
    await exporter.export(evaluation(FAITHFUL, trace_id=b"\x77" * 16), "logs")
    either.now = utc_now() + EVALUATION_WAIT
    ports = replace_ports(either.ports, **either.swapped | {"clock": lambda: either.now})
    sent = UseCases(ports).evaluation.sent_evaluations
    assert await sent.delete_expired() >= 2
    head = dict(exporter.headers)
    found: list[Any] = []
    async with in_time():
        while not found:
            await asyncio.sleep(0.01)
            answer = await exporter.http.get("/ingest/rejections", headers=head)
            found = answer.json()["items"]
    assert [(one["reason"], one["count"]) for one in found] == [("unknown_response_id", 1)]


async def test_many_evaluations_of_one_request(exporter: OtlpExporter) -> None:
    made = span()
    for number in range(60):
        event = made.events.add(name=RESULT, time_unix_nano=START_NS + number)
        event.attributes.extend(key_values(FAITHFUL))
    await exporter.export(traces_request(made))
    assert len(await scores(exporter, "of_spans=true&limit=100")) == 60


async def test_evaluations_of_other_tenants_are_apart(exporter: OtlpExporter) -> None:
    await exporter.export(traces_request(span()))
    other = OtlpExporter(exporter.http, dict(exporter.headers) | {"x-project-name": "other"})
    await other.export(evaluation(FAITHFUL), "logs")
    assert await scores(exporter, "of_spans=true") == []
