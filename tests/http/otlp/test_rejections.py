"""GET /ingest/rejections, and what is recorded there."""

import asyncio
import gzip
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.identity.api_key import Scope
from domain.tracing.otel.requests import Encoding, RejectionReason
from entrypoints.http.config import HttpConfig
from tests.http.conftest import VERSION, Site, a_span, a_trace, field_errors
from tests.support.builders.otlp_requests import (
    SPAN_ID,
    TRACE_ID,
    encoded_pair,
    encoded_value,
    length_delimited,
    logs_request,
    record,
    span,
    traces_of_encoded,
    traces_request,
)
from tests.support.clients.otlp_exporter import OtlpExporter, partial_success
from tests.support.waiting import in_time

PATH = "/ingest/rejections"


@pytest.fixture(params=Encoding)
def exporter(request: pytest.FixtureRequest, either: Site) -> OtlpExporter:
    return OtlpExporter(either.http, either.headers(), request.param)


async def shown(exporter: OtlpExporter, expected: int = 1, query: str = "") -> list[Any]:
    """The rejections, as soon as there are so many: they are written after the answer."""
    async with in_time():
        while True:
            answer = await exporter.http.get(f"{PATH}?{query}", headers=dict(exporter.headers))
            assert answer.status_code == 200, answer.text
            found: list[Any] = answer.json()["items"]
            if len(found) >= expected:
                assert answer.json()["total"] == expected
                return found
            await asyncio.sleep(0.01)


async def test_rejected_span_is_shown(exporter: OtlpExporter) -> None:
    resource = {"service.name": "checkout-bot", "host.name": "secret"}
    bad = span(start_time_unix_nano=0)
    request = traces_request(span(span_id=b"\1" * 8), bad, resource=resource, scope="langsmith")
    assert (await exporter.export(request)).status_code == 200
    [one] = await shown(exporter)
    assert one.pop("rejected_at")
    assert one == {
        "signal": "traces",
        "reason": "no_start_time",
        "message": "the span has no start time",
        "count": 1,
        "scope": "langsmith",
        "service": "checkout-bot",
        "trace_id": TRACE_ID.hex(),
        "span_id": SPAN_ID.hex(),
    }


async def test_invalid_native_traces_are_counted_by_the_hour(either: Site) -> None:
    head = either.headers()
    valid, nameless = a_trace(), a_trace(name="")
    sent = [
        *(("/traces", valid, 202), ("/traces", a_trace(user_id="a\0"), 422)),
        *(("/traces/batch", {"traces": [nameless, nameless]}, 422), ("/traces", nameless, 422)),
        ("/traces/batch", {"traces": [valid, nameless, nameless]}, 202),
        ("/evaluations/trace-scores", {"name": ""}, 422),
    ]
    for path, body, status in sent:
        assert (await either.http.post(path, headers=head, json=body)).status_code == status
    async with in_time():
        while True:
            answer = await either.http.get(f"{PATH}?reason=invalid", headers=head)
            found = answer.json()["items"]
            if sum(one["count"] for one in found) == 5:
                break
            await asyncio.sleep(0.01)
    [one] = found
    assert one["message"] == (
        "traces of a batch were refused: name: must contain 1 to 512 characters"
    )
    unknown = either.headers(project="not stored yet")
    assert (await either.http.post("/traces", headers=unknown, json=nameless)).status_code == 422
    answer = await either.http.get(PATH, headers=unknown)
    assert answer.json()["items"] == []


@pytest.mark.parametrize(
    ("path", "body", "kept"),
    [
        ("/traces", a_trace(spans=[a_span(cost={"grace@example.com": -1})]), "spans.0.cost.<key>"),
        (
            *(
                "/traces/batch",
                {"traces": [a_trace(spans=[a_span(cost={"grace@example.com": -1})])]},
            ),
            "traces.0.spans.0.cost.<key>",
        ),
        (
            *(
                "/traces/batch",
                {"traces": [a_trace(), a_trace(spans=[a_span(cost={"grace": -1})])]},
            ),
            "spans.0.cost.<key>",
        ),
        ("/traces?grace@example.com=1", a_trace(), "query.<key>"),
        ("/traces/import", {"grace@example.com": 1}, "<key>"),
    ],
)
async def test_names_that_a_sender_chose_are_not_kept(
    either: Site, path: str, body: Any, kept: str
) -> None:
    head = either.headers()
    await either.http.post("/traces", headers=head, json=a_trace())
    answer = await either.http.post(path, headers=head, json=body)
    assert "grace" in answer.text  # the sender reads which one it is
    async with in_time():
        while not (found := (await either.http.get(PATH, headers=head)).json()["items"]):
            await asyncio.sleep(0.01)
    [one] = found
    assert f"refused: {kept}: " in one["message"]
    assert "grace" not in one["message"]


async def test_rejected_record_is_shown(exporter: OtlpExporter) -> None:
    await exporter.export(logs_request(record(), record(span_id=b"\1")), "logs")
    [one] = await shown(exporter)
    assert (one["signal"], one["reason"], one["span_id"]) == ("logs", "invalid_id", "01")


async def test_nothing_stored_is_shown_in_a_known_project(exporter: OtlpExporter) -> None:
    await exporter.export(traces_request(span()))
    await exporter.export(traces_request(span(start_time_unix_nano=0), span(trace_id=b"")))
    found = await shown(exporter, 2)
    assert {one["reason"] for one in found} == {"no_start_time", "invalid_id"}


async def test_at_most_a_hundred_rows_of_a_request_and_one_of_the_rest(
    exporter: OtlpExporter,
) -> None:
    bad = [span(start_time_unix_nano=0, span_id=n.to_bytes(8)) for n in range(1, 251)]
    answer = await exporter.export(traces_request(span(), *bad))
    assert partial_success(answer)[0] == 250
    found = await shown(exporter, 101, "limit=200")
    assert sum(one["count"] for one in found) == 250
    [rest] = [one for one in found if one["count"] > 1]
    assert (rest["trace_id"], rest["span_id"]) == (None, None)


class TestWholeRequests:
    @pytest.fixture
    async def exporter(self) -> AsyncIterator[OtlpExporter]:
        config = HttpConfig(
            version=VERSION, environment="test", otlp_max_body_bytes=10_000, otlp_max_spans=3
        )
        site = Site(config=config)
        async with site.http:
            exporter = OtlpExporter(site.http, site.headers())
            await exporter.post(b"")  # creates the project
            yield exporter

    @pytest.mark.parametrize("signal", ["traces", "logs"])
    async def test_one_row_for_each(self, exporter: OtlpExporter, signal: str) -> None:
        coded = {"content-encoding": "gzip"}
        await exporter.post(b"\xff", signal)
        await exporter.post(b"no gzip", signal, coded)
        await exporter.post(b"x" * 10_001, signal)
        await exporter.post(gzip.compress(b"x" * 10_001), signal, coded)
        await exporter.post(b"", signal, {"content-type": "text/plain"})
        await exporter.post(b"", signal, {"content-encoding": "br"})
        found = await shown(exporter, 6)
        assert [one["reason"] for one in reversed(found)] == [
            *["undecodable"] * 2,
            *["body_too_large"] * 2,
            *["unsupported_type"] * 2,
        ]
        assert {(one["signal"], one["count"], one["trace_id"]) for one in found} == {
            (signal, 1, None)
        }
        assert all(one["message"] for one in found)

    async def test_too_many_spans(self, exporter: OtlpExporter) -> None:
        spans = [span(span_id=n.to_bytes(8)) for n in range(1, 5)]
        await exporter.export(traces_request(*spans))
        assert [one["reason"] for one in await shown(exporter)] == ["body_too_large"]

    async def test_metrics_and_refused_callers_leave_none(self, exporter: OtlpExporter) -> None:
        await exporter.post(b"x" * 10_001, "metrics")
        await exporter.post(b"\xff", headers={"x-api-key": "pp_unknown"})
        await exporter.post(b"\xff", headers={"x-project-name": "a new one"})
        for project in ("shop", "a new one"):
            head = dict(exporter.headers) | {"x-project-name": project}
            answer = await exporter.http.get(PATH, headers=head)
            assert answer.json()["items"] == []


class TestReasons:
    """Each reason with a message that says what is wrong."""

    @pytest.mark.parametrize(
        ("bad", "reason", "words"),
        [
            (span(span_id=b"\1"), "invalid_id", "span id"),
            (span(trace_id=b"\0" * 16), "invalid_id", "trace id"),
            (span(start_time_unix_nano=0), "no_start_time", "start time"),
            (span({"session.id": "a\0"}), "invalid_text", "session.id"),
        ],
    )
    async def test_spans(self, exporter: OtlpExporter, bad: Any, reason: str, words: str) -> None:
        await exporter.export(traces_request(span(span_id=b"\1" * 8), bad))
        [one] = await shown(exporter)
        assert one["reason"] == reason
        assert words in one["message"]

    async def test_encoded_spans(self, either: Site) -> None:
        exporter = OtlpExporter(either.http, either.headers())
        good = span().SerializeToString()
        deep = good + length_delimited(9, encoded_pair("k", encoded_value(40, as_list=True)))
        bad = good + length_delimited(5, b"\xff\xfe")  # the name isn't UTF-8
        await exporter.post(traces_of_encoded(good, deep, bad))
        found = {one["reason"]: one for one in await shown(exporter, 2)}
        assert set(found) == {"too_deep", "undecodable"}
        assert {one["span_id"] for one in found.values()} == {SPAN_ID.hex()}


class TestList:
    @pytest.fixture
    async def five(self, exporter: OtlpExporter) -> OtlpExporter:
        for request in (span(start_time_unix_nano=0), span(span_id=b"")):
            await exporter.export(traces_request(span(trace_id=uuid.uuid4().bytes), request))
        await exporter.export(traces_request(span(), *(span(trace_id=b"") for _ in range(3))))
        return exporter

    async def test_reason_filters_and_pages_follow(self, five: OtlpExporter) -> None:
        await shown(five, 5)
        assert len(await shown(five, 1, "reason=no_start_time")) == 1
        head = dict(five.headers)
        first = (await five.http.get(f"{PATH}?reason=invalid_id&limit=3", headers=head)).json()
        assert (first["total"], len(first["items"])) == (4, 3)
        cursor = first["next_cursor"]
        rest = await five.http.get(
            f"{PATH}?reason=invalid_id&limit=3&cursor={cursor}", headers=head
        )
        assert (len(rest.json()["items"]), rest.json()["next_cursor"]) == (1, None)
        other = await five.http.get(f"{PATH}?reason=too_deep&cursor={cursor}", headers=head)
        assert "cursor" in str(field_errors(other))

    async def test_unknown_reason_is_422(self, exporter: OtlpExporter) -> None:
        answer = await exporter.http.get(f"{PATH}?reason=odd", headers=dict(exporter.headers))
        assert set(field_errors(answer)) == {"query.reason"}

    async def test_other_projects_see_none(self, five: OtlpExporter) -> None:
        await shown(five, 5)
        head = dict(five.headers) | {"x-project-name": "another"}
        assert (await five.http.get(PATH, headers=head)).json()["items"] == []

    async def test_scope_read_is_required(self, site: Site) -> None:
        for scope, status in ((Scope.READ, 200), (Scope.INGEST, 403), (Scope.EVALUATE, 403)):
            answer = await site.http.get(PATH, headers=site.headers(scope))
            assert answer.status_code == status


class Counts:
    """A RequestObserver that keeps what is counted of requests that store something."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, int]] = []
        self.rejected: list[tuple[str, str, int]] = []
        self.ignored: list[int] = []

    def request_ended(self, *_: object) -> None: ...

    def rate_limit_decided(self, *_: object, **__: object) -> None: ...

    def fields_ignored(self, count: int) -> None:
        self.ignored.append(count)

    def otlp_received(self, *counted: Any) -> None:
        self.received.append(counted)

    def otlp_rejected(self, *counted: Any) -> None:
        self.rejected.append(counted)


class TestMetrics:
    @pytest.fixture
    async def counting(self) -> AsyncIterator[tuple[OtlpExporter, Counts]]:
        counts = Counts()
        config = HttpConfig(version=VERSION, environment="test", observer=counts)
        site = Site(config=config)
        async with site.http:
            yield OtlpExporter(site.http, site.headers()), counts

    async def test_outcomes_are_counted(self, counting: Any) -> None:
        exporter, counts = counting
        bad = [span(start_time_unix_nano=0), span(trace_id=b""), span(trace_id=b"")]
        await exporter.export(traces_request(span(), *bad, scope="@arizeai/openinference-x"))
        assert counts.received == [("traces", "stored", 1), ("traces", "rejected", 3)]
        assert sorted(counts.rejected) == [
            (RejectionReason.INVALID_ID, "openinference", 2),
            (RejectionReason.NO_START_TIME, "openinference", 1),
        ]

    async def test_ignored_records_and_metrics_are_counted(self, counting: Any) -> None:
        exporter, counts = counting
        await exporter.export(logs_request(record(), record(event_name="other")), "logs")
        await exporter.post(b"", "metrics")
        assert counts.received == [
            *[("logs", "stored", 1), ("logs", "ignored", 1)],
            ("metrics", "ignored", 1),
        ]
        assert counts.rejected == []

    async def test_refused_requests_count_once(self, counting: Any) -> None:
        exporter, counts = counting
        await exporter.post(b"\xff")
        await exporter.post(b"", "metrics", {"content-type": "text/plain"})
        await exporter.export(traces_request(span(trace_id=b""), span(trace_id=b"")))
        assert counts.received == [
            ("traces", "rejected", 1),
            ("metrics", "rejected", 1),
            ("traces", "rejected", 2),
        ]
        assert counts.rejected == [
            (RejectionReason.UNDECODABLE, "other", 1),
            (RejectionReason.UNSUPPORTED_TYPE, "other", 1),
            (RejectionReason.INVALID_ID, "other", 2),
        ]
