"""Names that no endpoint knows: refused in every body and query, and ignored in sent traces."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from entrypoints.http.config import HttpConfig
from entrypoints.http.requests.errors import IGNORED_SHOWN_MAX
from entrypoints.http.requests.unknown_names import SUGGESTIONS_MAX
from tests.http.conftest import VERSION, Site, a_span, a_trace, field_errors
from tests.http.otlp.test_rejections import Counts
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints import otlp, service
from tests.support.endpoints.registry import BY_OPERATION, ENDPOINTS, operation_of
from tests.support.endpoints.spec import EndpointSpec
from tests.support.problems import problems_of

UNKNOWN = "unknown_name"
TRACE, SPANS = "/traces/{trace_id}", "/traces/{trace_id}/spans"
# What clients of any version send to be stored.
SENT_TRACES = (
    *("POST /traces", "POST /traces/batch", f"PATCH {TRACE}"),
    *(f"POST {SPANS}", f"PATCH {SPANS}/{{span_id}}"),
)
OTLP = tuple(one.operation for one in otlp.ENDPOINTS if one.method == "POST")
# Exporters and probes may add parameters.
ANY_QUERY = (*OTLP, *(one.operation for one in service.ENDPOINTS))
# Objects inside bodies whose keys the client chooses, or that their endpoint checks by itself.
OPEN_OBJECTS = {
    *("metadata", "cost", "token_usage", "model_parameters", "signal_weights"),
    *("input", "expected"),
}


def with_unknown(body: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The body with an unknown key in one of its objects, and the path of that key."""
    if isinstance(body, dict):
        yield f"{path}{UNKNOWN}", body | {UNKNOWN: 1}
        for key in body.keys() - OPEN_OBJECTS:
            for at, changed in with_unknown(body[key], f"{path}{key}."):
                yield at, body | {key: changed}
    if isinstance(body, list):
        for index, item in enumerate(body):
            for at, changed in with_unknown(item, f"{path}{index}."):
                yield at, [*body[:index], changed, *body[index + 1 :]]


async def test_unknown_parameter_is_refused(tenants: TwoTenants) -> None:
    async def check(spec: EndpointSpec) -> None:
        await tenants.begin()
        query = "&".join(filter(None, (spec.query, f"{UNKNOWN}=1")))
        head, words = tenants.credentials(spec)[0], tenants.own_words(spec)
        answer = await tenants.request(replace(spec, query=query), head, words)
        if spec.operation in ANY_QUERY:
            assert answer.status_code == spec.status
        else:
            assert set(field_errors(answer)) == {f"query.{UNKNOWN}"}

    assert await problems_of(ENDPOINTS, check, operation_of) == {}


@pytest.mark.parametrize(
    "spec",
    [one for one in ENDPOINTS if one.body is not None and one.operation not in OTLP],
    ids=operation_of,
)
async def test_unknown_key_is_refused_or_named_in_a_header(
    tenants: TwoTenants, spec: EndpointSpec
) -> None:
    head, words = tenants.credentials(spec)[0], tenants.own_words(spec)
    for path, body in with_unknown(spec.body):
        if spec.operation == "POST /traces/import" and path != UNKNOWN:
            continue  # lines of an export have computed keys, which are ignored
        await tenants.begin()
        answer = await tenants.request(replace(spec, body=body), head, words)
        if spec.operation in SENT_TRACES:
            assert answer.status_code == spec.status, answer.text
            assert answer.headers["x-ignored-fields"] == path
        elif path.startswith("items.0."):  # an item is rejected by itself
            [rejected] = answer.json()["rejected"]
            assert [f"items.0.{one['field']}" for one in rejected["errors"]] == [path]
        elif "definition" in path:  # checked as a whole, by the rules of its kind
            assert any(field.startswith("definition") for field in field_errors(answer))
        else:
            assert set(field_errors(answer)) == {path}


def test_sent_traces_are_endpoints() -> None:
    assert set(SENT_TRACES) <= BY_OPERATION.keys()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sesion_id=x", "is not a known parameter; did you mean session_id?"),
        ("LIMIT=1", "is not a known parameter; did you mean limit?"),
        ("zzz=x", "is not a known parameter"),
        ("metadata=x", "is not a known parameter; did you mean metadata.<key>?"),
        ("Metadata.k=x", "is not a known parameter; did you mean metadata.<key>?"),
        (f"{'x' * 5_000}=1", "is not a known parameter"),
        ("%FF%FE=1", "is not a known parameter"),
    ],
)
async def test_nearest_parameter_is_named(site: Site, query: str, message: str) -> None:
    answer = await site.http.get(f"/traces?{query}", headers=site.headers())
    assert set(field_errors(answer).values()) == {message}


async def test_nearest_key_is_named(site: Site) -> None:
    body = {"metrics": ["coherence"], "max_cost": 1, "filters": {"sesion_id": "x"}}
    answer = await site.http.post("/evaluations/trace-runs", headers=site.headers(), json=body)
    assert field_errors(answer) == {
        "max_cost": "is not a known key; did you mean max_cost_usd?",
        "filters.sesion_id": "is not a known key; did you mean session_id?",
    }


async def test_nearest_names_are_searched_for_the_first_ones_only(site: Site) -> None:
    """Comparing a hundred names would hold up other requests."""
    names = [f"sesion_id{n:02}" for n in range(SUGGESTIONS_MAX + 5)]
    query = await site.http.get("/traces", params=dict.fromkeys(names, "x"), headers=site.headers())
    body = {"metrics": ["coherence"], "filters": dict.fromkeys(names, "x")}
    refused = await site.http.post("/evaluations/trace-runs", headers=site.headers(), json=body)
    for answer in (query, refused):
        messages = list(field_errors(answer).values())
        assert len(messages) == len(names)
        has_suggestion = ["did you mean session_id?" in one for one in messages]
        assert has_suggestion == [n < SUGGESTIONS_MAX for n in range(len(names))]


class TestSentTraces:
    @pytest.fixture
    def counts(self) -> Counts:
        return Counts()

    @pytest.fixture
    def counting(self, counts: Counts) -> Site:
        return Site(config=HttpConfig(version=VERSION, environment="test", observer=counts))

    async def test_ignored_keys_are_counted_and_the_first_ones_named(
        self, counting: Site, counts: Counts
    ) -> None:
        spans = [a_span(lvl=1) for _ in range(IGNORED_SHOWN_MAX + 5)]
        trace = a_trace(spans=spans, extra=[])
        head = counting.headers()
        answer = await counting.http.post("/traces", headers=head, json=trace)
        assert answer.status_code == 202
        named = answer.headers["x-ignored-fields"].split(", ")
        assert named == ["extra", *(f"spans.{n}.lvl" for n in range(IGNORED_SHOWN_MAX - 1))]
        assert counts.ignored == [len(spans) + 1]

    async def test_nothing_is_named_if_every_key_is_known(
        self, counting: Site, counts: Counts
    ) -> None:
        trace = a_trace(spans=[a_span()], metadata={"own": {"keys": 1}})
        answer = await counting.http.post("/traces", headers=counting.headers(), json=trace)
        assert (answer.status_code, counts.ignored) == (202, [])
        assert "x-ignored-fields" not in answer.headers

    @pytest.mark.parametrize("name", ["a, b\r\nx: y", "ü", '"', "\ud800", "\0", "x" * 9_000])
    async def test_header_is_safe_and_short(self, site: Site, name: str) -> None:
        trace = a_trace(**{name: 1}, spans=[a_span()])
        answer = await site.http.post(
            "/traces", headers=site.headers(), content=json.dumps(trace).encode()
        )
        assert answer.status_code == 202, answer.text
        header = answer.headers["x-ignored-fields"]
        assert header.isascii()
        assert header.isprintable()
        assert len(header) < 1_000

    async def test_items_of_a_batch_are_named_with_their_position(self, site: Site) -> None:
        batch = {"traces": [a_trace(), a_trace(name=""), a_trace(own=1, name="é\U0001f43c")]}
        answer = await site.http.post("/traces/batch", headers=site.headers(), json=batch)
        assert len(answer.json()["accepted"]) == 2
        assert answer.headers["x-ignored-fields"] == "traces.2.own"

    async def test_keys_of_a_batch_are_named_with_those_of_its_items(
        self, counting: Site, counts: Counts
    ) -> None:
        batch = {"traces": [a_trace(own=1), a_trace(spans=[a_span(own=1)])], "sent_by": "x"}
        answer = await counting.http.post("/traces/batch", headers=counting.headers(), json=batch)
        named = answer.headers["x-ignored-fields"].split(", ")
        assert named == ["sent_by", "traces.0.own", "traces.1.spans.0.own"]
        assert counts.ignored == [3]

    async def test_large_bodies_ignore_them_too(self, site: Site) -> None:
        spans = [a_span(input="x" * 1_000, own=n) for n in range(500)]
        trace = a_trace(spans=spans, own=1)
        answer = await site.http.post("/traces", headers=site.headers(), json=trace)
        assert answer.status_code == 202
        assert answer.headers["x-ignored-fields"].startswith("own, spans.0.own, spans.1.own")
        items = (await site.http.get("/traces", headers=site.headers())).json()["items"]
        assert [one["span_count"] for one in items] == [500]

    async def test_other_errors_are_reported_without_them(self, site: Site) -> None:
        trace = a_trace(name="", own=1, spans=[a_span(own=1, kind="?")])
        answer = await site.http.post("/traces", headers=site.headers(), json=trace)
        assert set(field_errors(answer)) == {"name", "spans.0.kind"}
        assert "x-ignored-fields" not in answer.headers
