"""Every operation behaves as its EndpointSpec states: statuses, access, audit log, contract."""

import json
from typing import Any

import pytest

from tests.http.conftest import Site
from tests.support.clients.contract_checks import CONTRACT, operations
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints import otlp
from tests.support.endpoints.registry import (
    BY_OPERATION,
    DATA_PLANE,
    ENDPOINTS,
    MEMBER_REQUESTS,
    REQUESTS,
    operation_of,
)
from tests.support.endpoints.spec import NO_ROLE, EndpointSpec
from tests.support.endpoints.templates import filled

# Tables that an audited read changes; a download uses its ticket up.
AUDITED = ("audit_log", "audit_heads", "download_tickets")
SUCCEEDING = [one for one in REQUESTS if one.access != NO_ROLE]


@pytest.fixture
async def served(site: Site) -> dict[str, Any]:
    """The operations of the OpenAPI document."""
    return by_operation((await site.http.get("/openapi.json")).json())


@pytest.fixture
def specified(served: dict[str, Any]) -> dict[str, Any]:
    """Those with a spec: one test fails for the others."""
    return {name: one for name, one in served.items() if name in BY_OPERATION}


def by_operation(document: Any) -> dict[str, Any]:
    found = operations(document)
    return {f"{method.upper()} {path}": one for (method, path), one in found.items()}


def test_every_served_operation_has_a_spec(served: dict[str, Any]) -> None:
    missing = sorted(served.keys() - BY_OPERATION.keys())
    assert missing == [], "add an EndpointSpec to the chapter in tests/support/endpoints"
    unserved = sorted(BY_OPERATION.keys() - served.keys())
    assert unserved == [], "not served: remove the EndpointSpec from tests/support/endpoints"


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract isn't next to this checkout")
def test_contract_has_the_specified_operations() -> None:
    promised = by_operation(json.loads(CONTRACT.read_text())).keys()
    assert {one.operation for one in ENDPOINTS if one.in_contract} == promised


def test_documented_statuses_are_the_specified_ones(specified: dict[str, Any]) -> None:
    documented = {name: {*map(int, one["responses"])} for name, one in specified.items()}
    assert documented == {name: BY_OPERATION[name].documented_statuses for name in specified}


ALSO = ("erasure.finished", "api_key.used")


@pytest.mark.parametrize("spec", SUCCEEDING, ids=operation_of)
async def test_valid_request_succeeds_and_is_audited(
    tenants: TwoTenants, spec: EndpointSpec
) -> None:
    """With each kind of credential that the operation accepts."""
    words, log = tenants.own_words(spec), tenants.site.store.audit_log
    for head in tenants.credentials(spec):
        await tenants.begin()
        before, known = tenants.site.state(), set(log)
        answer = await tenants.request(spec, head, words)
        assert answer.status_code == spec.status, answer.text
        # A small erasure also finishes with the request; a key in a body is used first there.
        entries = [one for id_, one in log.items() if id_ not in known and one.action not in ALSO]
        assert [one.action for one in entries] == ([spec.audit.action] if spec.audit else [])
        if spec.audit:
            detail = filled(dict(spec.audit.detail), tenants.words(tenants.ours))
            assert detail.items() <= entries[0].detail.items()
            assert spec.audit.about is None or entries[0].resource_id == words[spec.audit.about]
        if spec.method == "GET":
            after = tenants.site.state()
            assert {name: one for name, one in after.items() if name not in AUDITED} == {
                name: one for name, one in before.items() if name not in AUDITED
            }


@pytest.mark.parametrize("spec", [one for one in ENDPOINTS if one.has_etag], ids=operation_of)
async def test_known_response_is_not_sent_again(tenants: TwoTenants, spec: EndpointSpec) -> None:
    words, head = tenants.own_words(spec), tenants.credentials(spec)[0]
    await tenants.begin()
    first = await tenants.request(spec, head, words)
    etag = first.headers["etag"]
    assert etag.removeprefix("W/").startswith('"')
    for known in (etag, f'"other", {etag.removeprefix("W/")}', "*"):
        again = await tenants.request(spec, head | {"if-none-match": known}, words)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "no-store"
        assert again.headers["vary"] == "Accept-Encoding"
    other = await tenants.request(spec, head | {"if-none-match": 'W/"other"'}, words)
    assert (other.status_code, other.headers["etag"]) == (200, etag)
    assert other.json() == first.json()


async def test_changed_response_has_another_etag(tenants: TwoTenants) -> None:
    await tenants.begin()
    trace = f"/traces/{tenants.ours['trace_id']}"
    reads = [trace, f"{trace}/outline", "/traces", "/sessions"]
    etags = [(await tenants.send("GET", one, tenants.key)).headers["etag"] for one in reads]
    await tenants.send("PATCH", trace, tenants.key, {"tags": ["changed"]})
    for read, etag in zip(reads, etags, strict=True):
        answer = await tenants.send("GET", read, tenants.key | {"if-none-match": etag})
        assert (answer.status_code, answer.headers["etag"] == etag) == (200, False)


@pytest.mark.parametrize(
    "spec", [one for one in SUCCEEDING if one.changes_object], ids=operation_of
)
async def test_write_under_an_etag_is_refused(tenants: TwoTenants, spec: EndpointSpec) -> None:
    """ETags of objects are weak, and If-Match takes only a strong one (RFC 9110, 13.1.1)."""
    words, head = tenants.own_words(spec), tenants.credentials(spec)[0]
    await tenants.begin()
    before = tenants.site.state()
    refused = await tenants.request(spec, head | {"if-match": 'W/"stale"'}, words)
    assert (refused.status_code, "If-Match" in refused.json()["detail"]) == (412, True)
    assert tenants.site.state() == before
    allowed = await tenants.request(spec, head | {"if-match": "*"}, words)
    assert allowed.status_code == spec.status


# Writes of the data plane without an entry: what programs send all the time, and what each object
# shows by itself, such as its author, its revisions or its status.
UNAUDITED = {
    *("POST /traces", "POST /traces/batch", "POST /traces/batch/tags"),
    *("PATCH /traces/{trace_id}", "PATCH /traces/{trace_id}/spans/{span_id}"),
    *("POST /traces/{trace_id}/spans", "POST /traces/{trace_id}/spans/read"),
    *(one.operation for one in otlp.ENDPOINTS if one.method == "POST"),
    "POST /evaluations/analytics/annotation-queue/claims",
    *("POST /evaluations/trace-scores", "POST /evaluations/session-scores"),
    "POST /erasures/{erasure_id}/check",
    "POST /experiments/{experiment_id}/results/batch",
    *("POST /experiments/compare", "POST /evaluations/monitors/{monitor_id}/alerts/preview"),
    "POST /analytics/compare",
    *(f"POST /datasets/{{dataset_name}}/{one}" for one in ("items/batch", "items/from-traces")),
}
UNAUDITED_CHAPTERS = ("-runs", "custom-metrics", "/trigger", "/test", "/resume")


def test_writes_of_data_are_audited() -> None:
    writes = [one for one in DATA_PLANE if one.method != "GET" and one.audit is None]
    missing = {one.operation for one in writes} - UNAUDITED
    assert [one for one in missing if not any(part in one for part in UNAUDITED_CHAPTERS)] == []
    deletes = [one.operation for one in DATA_PLANE if one.method == "DELETE" and one.audit is None]
    assert deletes == []


def test_writes_of_organizations_are_audited() -> None:
    """The service's rule: the log of an organization has an entry for every change."""
    writes = [one for one in MEMBER_REQUESTS if one.method != "GET" and one in SUCCEEDING]
    unaudited = [one.operation for one in writes if one.audit is None]
    assert unaudited == []


@pytest.mark.parametrize("spec", [one for one in SUCCEEDING if one.takes_key], ids=operation_of)
async def test_repeated_request_has_one_effect(tenants: TwoTenants, spec: EndpointSpec) -> None:
    words, head = tenants.own_words(spec), tenants.credentials(spec)[0] | {"idempotency-key": "k"}
    first = await tenants.request(spec, head, words)
    after = tenants.site.state()
    again = await tenants.request(spec, head, words)
    assert first.status_code == spec.status
    if spec.has_secret:
        assert again.status_code == 409
    else:
        assert (again.status_code, again.content) == (spec.status, first.content)
    assert tenants.site.state() == after


def test_idempotency_key_is_documented_where_it_is_taken(specified: dict[str, Any]) -> None:
    documented = {
        name
        for name, one in specified.items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in one["parameters"])
    }
    assert documented == {name for name in specified if BY_OPERATION[name].takes_key}
