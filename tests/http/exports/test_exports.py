"""Streaming exports and imports: exporting an imported export gives the same bytes."""

import asyncio
import gzip
import json
import threading
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from application.exports.streams import STREAMS_PER_PROJECT_MAX
from application.use_cases import Ports, UseCases
from domain.errors import Unavailable
from domain.evaluation.scores.score import SENT_REASON_MAX
from domain.exports.export import TraceWithScores
from domain.identity.api_key import Scope
from domain.ids import ProjectId, TraceId
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from domain.tracing.usage import huge_counter
from entrypoints.composition.memory import replace_ports
from entrypoints.http.controllers.exports.ndjson import SCORES_ON_LOOP_MAX, encode_batches
from entrypoints.http.controllers.traces.schemas import RESPONSE_BYTES_ON_LOOP_MAX
from entrypoints.http.middleware.rate_limits import RateLimits
from tests.http.conftest import CONFIG, Site, a_span, a_trace, app_on_shared_routes, field_errors
from tests.support.builders import strategies
from tests.support.builders.scores import trace_score
from tests.support.builders.values import OURS, prices, span, trace
from tests.support.clients.scored_project import ScoredProject
from tests.support.hypothesis_scale import scaled
from tests.support.waiting import WAIT_MAX_S

PRICE = {"amount": "12.50", "version": "of then", "since": "2026-01-01T00:00:00+00:00"}
MODEL = {"model": "gpt-4o", "token_usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def lines_of(text: bytes) -> list[Any]:
    assert text == b"" or text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


def parts_of(text: bytes) -> tuple[bytes, Any]:
    """Return an export without its last line, and the totals of that line."""
    at = text.rindex(b',"export":{')
    return text[:at] + b"}\n", json.loads(text[at + len(b',"export":') : -2])


async def export(site: Site, head: dict[str, str], query: str = "") -> bytes:
    answer = await site.http.get(f"/traces/export{query}", headers=head)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return answer.content


async def put_back(site: Site, head: dict[str, str], text: bytes) -> Any:
    body = b'{"traces":[' + b",".join(text.splitlines()) + b"]}"
    answer = await site.http.post("/traces/import", headers=head, content=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def delete_all(site: Site, head: dict[str, str], text: bytes) -> None:
    ids = [line["trace_id"] for line in lines_of(text)]
    deleted = await site.http.post("/traces/batch/delete", headers=head, json={"trace_ids": ids})
    assert deleted.json() == {"deleted": len(ids)}


@pytest.fixture
async def scored(either: Site) -> ScoredProject:
    return await ScoredProject.new(either)


async def test_line_is_the_trace_as_read_with_its_scores(scored):
    given = await scored.add_score()
    text = await export(scored.site, scored.head)
    [line] = lines_of(text)
    end = line.pop("export")
    assert line.pop("scores") == [given]
    assert line == await scored.read(f"/traces/{scored.trace}")
    assert (end["complete"], end["traces"], end["spans"], end["scores"]) == (True, 1, 0, 1)


async def test_last_line_has_totals_and_hash(either):
    head = either.headers(project=f"p-{uuid.uuid4()}")
    for n in range(3):
        spans = [a_span() for _ in range(n)]
        await either.http.post("/traces", headers=head, json=a_trace(name=f"{n}", spans=spans))
    text = await export(either, head, "?sort_by=name&sort_order=asc")
    assert [line["name"] for line in lines_of(text)] == ["0", "1", "2"]
    assert ["export" in line for line in lines_of(text)] == [False, False, True]
    before, end = parts_of(text)
    assert (end["traces"], end["spans"], end["scores"]) == (3, 3, 0)
    assert end["sha256"] == sha256(before).hexdigest()


async def test_filter_without_matches_gives_empty_body(either):
    assert await export(either, either.headers(project=f"p-{uuid.uuid4()}")) == b""


async def test_filters_and_order_are_those_of_the_list(scored):
    for n in range(4):
        await scored.store_trace(name=f"run {n}", status="ERROR" if n % 2 else "COMPLETED")
    query = "?status=ERROR&sort_by=name&name=run"
    listed = await scored.read(f"/traces{query}")
    exported = lines_of(await export(scored.site, scored.head, query))
    assert [one["name"] for one in exported] == ["run 3", "run 1"]
    assert [one["trace_id"] for one in exported] == [one["trace_id"] for one in listed["items"]]
    refused = await scored("GET", "/traces/export?status=WRONG&sort_by=size")
    assert set(field_errors(refused)) == {"query.status", "query.sort_by"}


@pytest.mark.parametrize(
    ("coding", "opened"),
    [
        ("gzip", gzip.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ],
)
async def test_export_is_compressed_if_accepted(scored, coding, opened):
    plain = await export(scored.site, scored.head | {"accept-encoding": "identity"})
    request = scored.site.http.stream(
        "GET", "/traces/export", headers=scored.head | {"accept-encoding": coding}
    )
    async with request as answer:
        assert answer.headers["content-encoding"] == coding
        assert opened(b"".join([part async for part in answer.aiter_raw()])) == plain


async def test_import_restores_deleted_traces_exactly(scored):
    spans = [
        a_span(span_id=str(uuid.uuid4()), **MODEL),
        a_span(cost={"total": 0.1, "prompt": 1e-9}, input=[1.0, {"b": 1, "a": 2}]),
        a_span(kind="TOOL", status="ERROR", error="no", cost={}),
    ]
    await scored.store_trace(trace_id=scored.trace, spans=spans, tags=["b", "a", "b"])
    await scored.add_score(reason="calm", metadata={"a": 1.0})
    await scored.add_score(name="tone", value="warm", data_type="CATEGORICAL", environment="prod")
    text = await export(scored.site, scored.head)
    await delete_all(scored.site, scored.head, text)
    assert await export(scored.site, scored.head) == b""
    result = await put_back(scored.site, scored.head, text)
    assert result == {"stored": 1, "unchanged": 0, "rejected": []}
    assert await export(scored.site, scored.head) == text


async def test_score_of_span_is_imported_as_one_of_that_span(scored):
    span = str(uuid.uuid4())
    trace = await scored.store_trace(spans=[a_span(span_id=span)])
    of_span = await scored.add_score(trace_id=trace, span_id=span)
    text = await export(scored.site, scored.head)
    assert [one["scores"] for one in lines_of(text) if one["trace_id"] == trace] == [[of_span]]
    await delete_all(scored.site, scored.head, text)
    await put_back(scored.site, scored.head, text)
    assert await export(scored.site, scored.head) == text
    assert await scored.read(f"/evaluations/trace-scores/{trace}") == []
    assert await scored.read(f"/evaluations/trace-scores/{trace}?span_id={span}") == [of_span]


async def test_session_scores_are_exported_and_imported(scored):
    await scored.store_trace(session_id=scored.session, started_at="2026-03-01T10:00:00Z")
    sent = [
        await scored.add_session_score(reason="calm", metadata={"a": 1.0}),
        await scored.add_session_score(name="tone", value="warm", data_type="CATEGORICAL"),
    ]
    text = await export(scored.site, scored.head)
    first, second = lines_of(text)
    assert sorted(first["session_scores"], key=sent.index) == sent
    assert "session_scores" not in second
    end = second["export"]
    assert (end["traces"], end["scores"], end["session_scores"]) == (2, 0, 2)
    assert parts_of(text)[1]["sha256"] == sha256(parts_of(text)[0]).hexdigest()
    await delete_all(scored.site, scored.head, text)
    result = await put_back(scored.site, scored.head, text)
    assert result == {"stored": 2, "unchanged": 0, "rejected": []}
    assert await export(scored.site, scored.head) == text
    path = f"/evaluations/session-scores/{sent[0]['id']}"
    assert (await scored("DELETE", path)).status_code == 204
    assert (await put_back(scored.site, scored.head, text))["stored"] == 1
    assert (await put_back(scored.site, scored.head, text))["unchanged"] == 2
    assert await export(scored.site, scored.head) == text


async def test_session_scores_belong_to_their_own_session(scored):
    await scored.add_session_score()
    [line] = lines_of(await export(scored.site, scored.head))
    other = line | {"trace_id": str(uuid.uuid4()), "session_id": "another"}
    none = line | {"trace_id": str(uuid.uuid4()), "session_id": None}
    wrong = line | {"session_scores": [line["session_scores"][0] | {"value": "2"}]}
    result = [
        (await put_back(scored.site, scored.head, json.dumps(one).encode()))["rejected"]
        for one in (other, none, wrong)
    ]
    fields = [{error["field"] for error in one["errors"]} for [one] in result]
    assert fields == [{"session_scores"}, {""}, {"session_scores.0.value"}]
    listed = await scored.read("/evaluations/session-scores")
    assert [one["session_id"] for one in listed["items"]] == [scored.session]


async def test_repeated_import_changes_nothing(scored):
    await scored.store_trace(name="other", tags=["b", "a"], spans=[a_span(**MODEL)])
    await scored.add_score()
    await scored.add_session_score()
    text = await export(scored.site, scored.head)
    result = await put_back(scored.site, scored.head, text)
    assert result == {"stored": 0, "unchanged": 2, "rejected": []}
    assert await export(scored.site, scored.head) == text


async def test_import_into_another_project_changes_only_the_project_id(scored):
    await scored.store_trace(spans=[a_span(**MODEL)])
    await scored.add_score()
    await scored.add_session_score()
    text = await export(scored.site, scored.head)
    other_headers = scored.site.headers(project=f"p-{uuid.uuid4()}")
    assert (await put_back(scored.site, other_headers, text))["stored"] == 2
    other_text = await export(scored.site, other_headers)
    [project_id] = {line["project_id"] for line in lines_of(text)}
    [other] = {line["project_id"] for line in lines_of(other_text)}
    assert project_id != other
    assert parts_of(other_text)[0].replace(other.encode(), project_id.encode()) == parts_of(text)[0]
    assert await export(scored.site, scored.head) == text


async def test_import_keeps_costs_after_price_changes(scored):
    line = lines_of(await export(scored.site, scored.head))[0] | {"trace_id": str(uuid.uuid4())}
    span = {"trace_id": line["trace_id"], "span_id": str(uuid.uuid4()), **a_span(**MODEL)}
    spans = [
        span | {"cost": {"total": 12.5}, "cost_source": "table", "price": PRICE},
        span | {"span_id": str(uuid.uuid4()), "cost": None, "cost_source": "unpriced"},
        span | {"span_id": str(uuid.uuid4())},
    ]
    text = json.dumps(line | {"spans": spans}).encode()
    assert (await put_back(scored.site, scored.head, text))["rejected"] == []
    shown = (await scored.read(f"/traces/{line['trace_id']}"))["spans"]
    result = {one["span_id"]: (one["cost_source"], one["cost"]) for one in shown}
    assert [result[one["span_id"]] for one in spans] == [
        ("table", {"total": 12.5}),
        ("unpriced", None),
        ("table", {"total": 0.0000475}),
    ]
    priced = await scored.read(f"/traces/{line['trace_id']}/prices")
    [version] = [one["price"]["version"] for one in priced if one["span_id"] == spans[0]["span_id"]]
    assert version == "of then"
    [again] = [one for one in lines_of(await export(scored.site, scored.head)) if one["spans"]]
    assert [one.get("price") for one in again["spans"] if one["cost"] == {"total": 12.5}] == [PRICE]


async def test_later_export_completes_an_earlier_import(scored):
    first = await export(scored.site, scored.head)
    await scored.store_trace(trace_id=scored.trace, output="done", spans=[a_span()])
    later = await export(scored.site, scored.head)
    await delete_all(scored.site, scored.head, later)
    await put_back(scored.site, scored.head, first)
    assert (await put_back(scored.site, scored.head, later))["stored"] == 1
    assert (await put_back(scored.site, scored.head, first))["unchanged"] == 1
    assert await export(scored.site, scored.head) == later


async def test_import_does_not_overwrite_existing_scores(scored):
    given = await scored.add_score()
    text = await export(scored.site, scored.head)
    path = f"/evaluations/trace-scores/{given['id']}"
    changed = (await scored("PATCH", path, {"value": "0.9"})).json()
    assert (await put_back(scored.site, scored.head, text))["unchanged"] == 1
    [line] = lines_of(await export(scored.site, scored.head))
    assert line["scores"] == [changed]


async def test_invalid_lines_are_rejected_and_others_imported(scored):
    [valid] = lines_of(await export(scored.site, scored.head))
    score = {
        "id": str(uuid.uuid4()),
        "project_id": valid["project_id"],
        "name": "n",
        "source": "ANNOTATION",
        "outcome": "scored",
        "created_at": "2026-03-01",
        "updated_at": "2026-03-01",
    }
    long = score | {"value": "1", "reason": "r" * (SENT_REASON_MAX + 1)}
    bad = [
        valid | {"name": ""},
        {"name": "no id", "started_at": "2026-03-01"},
        valid | {"spans": [a_span(span_id=str(uuid.uuid4()), price={"amount": "a lot"})]},
        valid | {"scores": [score | {"outcome": "pending"}, score, score | {"value": "2"}, long]},
        7,
    ]
    text = b"\n".join(json.dumps(one).encode() for one in [*bad, valid])
    result = await put_back(scored.site, scored.head, text)
    assert (result["stored"], result["unchanged"]) == (0, 1)
    assert [[one["index"], {e["field"] for e in one["errors"]}] for one in result["rejected"]] == [
        [0, {"name"}],
        [1, {"trace_id"}],
        [2, {"spans.0.price.amount"}],
        [3, {"scores.0.outcome", "scores.1.value", "scores.2.value", "scores.3.reason"}],
        [4, {""}],
    ]


async def test_duplicate_trace_in_a_batch_is_rejected(scored):
    text = await export(scored.site, scored.head)
    body = b'{"traces":[' + b",".join(text.splitlines() * 2) + b"]}"
    answer = await scored.site.http.post("/traces/import", headers=scored.head, content=body)
    assert set(field_errors(answer)) == {"traces"}


async def test_import_accepts_more_tags_and_spans_than_ingest(site, head):
    tight = replace(CONFIG, max_spans=2)
    app = app_on_shared_routes(UseCases(site.ports), tight, RateLimits(site.limiter, {}))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        site.http = http
        trace_id = str(uuid.uuid4())
        for n in range(3):
            tags = [f"{n}-{m:02}" for m in range(90)]
            body = a_trace(trace_id=trace_id, tags=tags, spans=[a_span(), a_span()])
            assert (await http.post("/traces", headers=head, json=body)).status_code == 202
        text = await export(site, head)
        await delete_all(site, head, text)
        assert (await put_back(site, head, text))["stored"] == 1
        assert await export(site, head) == text


def _is_acceptable(sent: Trace) -> bool:
    """Whether the API accepts a trace: it refuses lone surrogates and counts beyond any double."""
    payloads = [sent.input, sent.output]
    for one in sent.spans:
        payloads += [one.input, one.output]
        if one.token_usage is not None and huge_counter(one.token_usage) is not None:
            return False
    return not any(b"\\ud8" in one or b"\\udc" in one for one in payloads if one is not None)


@given(sent=st.lists(strategies.traces(), min_size=1, max_size=4))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
    max_examples=scaled(40),
)
async def test_export_import_export_is_byte_identical(either, sent):
    assume(all(map(_is_acceptable, sent)))
    head = either.headers(project=f"p-{uuid.uuid4()}")
    await either.http.get("/traces", headers=head)
    project = next(
        one.id for one in either.store.projects.values() if one.name == head["x-project-name"]
    )
    ports = replace_ports(either.ports, **either.swapped)
    for one in sent:
        await ports.tracing.traces.put(project, one)
    text = await export(either, head)
    assert (await put_back(either, head, text))["stored"] == 0
    assert await export(either, head) == text
    before = await charges(ports, project, sent)
    await delete_all(either, head, text)
    assert (await put_back(either, head, text))["rejected"] == []
    assert await export(either, head) == text
    assert await charges(ports, project, sent) == before


async def charges(ports: Ports, project: ProjectId, traces: Sequence[Trace]) -> list[Any]:
    """The stored costs and usage of spans, which responses show in part only."""
    ids = sorted({one.id for one in traces})
    stored = [await ports.tracing.traces.get(project, one) for one in ids]
    return [(span.id, span.usage, span.charge) for one in stored for span in one.spans]


# --- streams that are slow, broken, or too many -------------------------------------------------


class Paused:
    """An archive of two batches. The second one waits until the test continues or fails it."""

    def __init__(self, first: TraceWithScores) -> None:
        self.first = first
        self.going_on = asyncio.Event()
        self.failure: Unavailable | None = None
        self.open = 0

    @asynccontextmanager
    async def read(self, *_: object) -> AsyncIterator[AsyncIterator[Sequence[TraceWithScores]]]:
        self.open += 1
        try:
            yield self._batches()
        finally:
            self.open -= 1

    async def _batches(self) -> AsyncIterator[Sequence[TraceWithScores]]:
        yield [self.first]
        await self.going_on.wait()
        if self.failure is not None:
            raise self.failure
        yield [self.first]


class Client:
    """A client that reads a response message by message, and can disconnect."""

    def __init__(self, app: Any, head: dict[str, str]) -> None:
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.hung_up = asyncio.Event()
        self._asked = False
        headers = [(name.encode(), value.encode()) for name, value in head.items()]
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/traces/export",
            "raw_path": b"/traces/export",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        self.answering = asyncio.create_task(app(scope, self._receive, self.sent.put))

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def next(self) -> Any:
        return await asyncio.wait_for(self.sent.get(), WAIT_MAX_S)


@pytest.fixture
async def paused(site: Site, head: dict[str, str]) -> tuple[Any, Paused]:
    """An application with a pausable archive, and the archive."""
    sent = a_trace(trace_id=str(uuid.uuid4()))
    await site.http.post("/traces", headers=head, json=sent)
    [project] = site.store.projects
    trace = await site.ports.tracing.traces.get(
        ProjectId(project), TraceId(uuid.UUID(sent["trace_id"]))
    )
    archive = Paused(TraceWithScores(trace))
    exporting = replace(site.ports.exporting, archive=archive)
    use_cases = UseCases(replace(site.ports, exporting=exporting))
    return app_on_shared_routes(use_cases, CONFIG, RateLimits(site.limiter, {})), archive


async def test_aborted_export_is_never_complete(paused, head):
    app, archive = paused
    client = Client(app, head)
    assert (await client.next())["status"] == 200
    part = await client.next()
    assert part["more_body"]
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(part["body"])
    archive.failure = Unavailable("gone")
    archive.going_on.set()
    await client.answering
    assert client.sent.empty()  # no last message: the server closes the connection
    assert archive.open == 0


async def test_failure_before_the_first_line_is_an_error_response(site, head):
    class Away:
        @asynccontextmanager
        async def read(self, *_: object) -> AsyncIterator[None]:
            raise Unavailable("The database is away")
            yield

    exporting = replace(site.ports.exporting, archive=Away())
    use_cases = UseCases(replace(site.ports, exporting=exporting))
    app = app_on_shared_routes(use_cases, CONFIG, RateLimits(site.limiter, {}))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/traces/export", headers=head)
    assert (answer.status_code, answer.json()) == (503, {"detail": "The database is away"})
    assert int(answer.headers["retry-after"]) > 0


async def test_stream_without_a_trace_that_is_too_large_is_marked_incomplete(site, head):
    large, small = (a_trace(trace_id=str(uuid.uuid4()), input="x" * n) for n in (9_000, 1))
    for sent in (large, small):
        await site.http.post("/traces", headers=head, json=sent)
    archive = replace(site.ports.exporting.archive, bytes_max=8_000)
    exporting = replace(site.ports.exporting, archive=archive)
    use_cases = UseCases(replace(site.ports, exporting=exporting))
    app = app_on_shared_routes(use_cases, CONFIG, RateLimits(site.limiter, {}))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/traces/export", headers=head)
        await site.http.delete(f"/traces/{small['trace_id']}", headers=head)
        without = await http.get("/traces/export", headers=head)
    [line] = lines_of(answer.content)
    assert line["trace_id"] == small["trace_id"]
    end = line["export"]
    assert (end["complete"], end["traces"]) == (False, 1)
    assert end["left_out"] == [large["trace_id"]]
    assert without.status_code == 422  # an empty response would say that no trace matches
    assert large["trace_id"] in without.json()["detail"]


async def test_disconnect_releases_the_stream(paused, head):
    app, archive = paused
    client = Client(app, head)
    await client.next()
    await client.next()
    client.hung_up.set()
    archive.going_on.set()
    await client.answering
    assert archive.open == 0
    assert client.sent.empty()


async def test_concurrent_streams_per_project_are_limited(paused, head):
    app, archive = paused
    clients = [Client(app, head) for _ in range(STREAMS_PER_PROJECT_MAX)]
    for client in clients:
        assert (await client.next())["status"] == 200
    refused = await Client(app, head).next()
    assert refused["status"] == 429
    assert b"retry-after" in dict(refused["headers"])
    archive.going_on.set()
    for client in clients:
        await client.answering
    assert (await Client(app, head).next())["status"] == 200


async def test_export_and_import_need_their_scopes(site):
    await site.http.get("/traces", headers=site.headers())
    assert (
        await site.http.get("/traces/export", headers=site.headers(Scope.INGEST))
    ).status_code == 403
    body = {"traces": [a_trace(trace_id=str(uuid.uuid4()))]}
    for scopes in ((Scope.INGEST,), (Scope.EVALUATE, Scope.READ)):
        refused = await site.http.post("/traces/import", headers=site.headers(*scopes), json=body)
        assert refused.status_code == 403


class WatchedTraces(list[TraceWithScores]):
    """Knows the thread in which they were encoded: the encoder counts them last."""

    def __init__(self, *traces: TraceWithScores) -> None:
        super().__init__(traces)
        self.counted_in = 0

    def __len__(self) -> int:
        self.counted_in = threading.get_ident()
        return super().__len__()


LARGE = span(input=b'"' + b"x" * RESPONSE_BYTES_ON_LOOP_MAX + b'"')


@pytest.mark.parametrize(
    ("exported", "scores", "is_off_loop"),
    [
        (span(input=b"1"), 1, False),
        (LARGE, 0, True),
        (span(input=b"1"), SCORES_ON_LOOP_MAX + 1, True),
    ],
)
async def test_large_trace_is_encoded_off_the_event_loop(
    exported: Span, scores: int, is_off_loop: bool
) -> None:
    """One trace may have as many bytes as are read at once, and any number of scores."""
    whole = trace(exported).settled(prices().price)
    given = [trace_score(OURS, whole.id) for _ in range(scores)]
    batch = WatchedTraces(TraceWithScores(whole, tuple(given)))

    async def batches() -> AsyncIterator[WatchedTraces]:
        yield batch

    text = b"".join([part async for part in encode_batches(OURS, batches(), ())])
    assert json.loads(text)["export"]["scores"] == scores
    assert (batch.counted_in != threading.get_ident()) is is_off_loop
