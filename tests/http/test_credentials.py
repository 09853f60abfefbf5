"""Credentials: keys, tokens, projects and scopes."""

import asyncio
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest

from application.use_cases import utc_now
from domain.errors import Unavailable
from domain.identity.api_key import Scope
from tests.http.conftest import TOKEN, Site, a_span, a_trace, field_errors
from tests.support.builders.custom_metric_definitions import RULE
from tests.support.clients.priced_project import store_prices
from tests.support.clients.scored_project import (
    store_alert,
    store_custom_metric,
    store_erasure,
    store_export,
    store_monitor,
    store_run,
    store_score,
)

SOME_ID = str(uuid.UUID(int=1))


async def asked(site: Site, **headers: str) -> Any:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return await site.http.get("/traces", headers=said)


class TestKeys:
    async def test_key_and_name_create_the_project_once(self, site: Site) -> None:
        head = site.headers(project="new one")
        answers = await asyncio.gather(
            *(site.http.post("/traces", headers=head, json=a_trace()) for _ in range(50))
        )
        assert {one.status_code for one in answers} == {202}
        assert [project.name for project in site.store.projects.values()] == ["new one"]

    async def test_invalid_keys_are_401(self, site: Site) -> None:
        past = utc_now() - timedelta(seconds=1)
        revoked = await asked(site, **_underscored(site.headers(revoked_at=past)))
        expired = await asked(site, **_underscored(site.headers(expires_at=past)))
        unknown = await asked(site, x_api_key=f"pp_{'0' * 64}", x_project_name="p")
        malformed = await asked(site, x_api_key="nonsense", x_project_name="p")
        answers = [revoked, expired, unknown, malformed]
        assert [one.status_code for one in answers] == [401] * 4
        assert len({one.json()["detail"] for one in answers}) == 2
        assert "expired" in expired.json()["detail"]
        assert {one.headers["www-authenticate"] for one in answers} == {"Bearer"}
        assert site.store.projects == {}

    @pytest.mark.parametrize("name", [None, "", "  ", "-a", "a/b", "a" * 256, "名前"])
    async def test_project_name_is_required(self, site: Site, name: str | None) -> None:
        said = {} if name is None else {"x-project-name": name.encode()}
        refused = await site.http.get("/traces", headers={"x-api-key": site.key().encode(), **said})
        assert set(field_errors(refused)) == {"header.X-Project-Name"}

    @pytest.mark.parametrize(
        "name", [" padded ", "é".encode(), "é".encode("latin-1"), "a.b_c-d'e f"]
    )
    async def test_project_names_are_validated(self, site: Site, name: Any) -> None:
        sent = name if isinstance(name, bytes) else name.encode()
        done = await site.http.get(
            "/traces", headers={"x-api-key": site.key().encode(), "x-project-name": sent}
        )
        assert done.status_code == 200
        [project] = site.store.projects.values()
        assert project.name == (name.strip() if isinstance(name, str) else "é")

    async def test_key_takes_precedence_over_a_token(self, site: Site) -> None:
        head = _underscored(site.headers())
        beside = {"x_project_id": "nonsense", "x_organization_id": "nonsense"}
        assert (await asked(site, **head, **beside, authorization="Bearer x")).status_code == 200
        bad = await asked(
            site, x_api_key="bad", authorization=f"Bearer {TOKEN}", x_project_id=site.project()
        )
        assert bad.status_code == 401

    async def test_key_is_checked_before_the_name(self, site: Site) -> None:
        assert (await asked(site, x_api_key="bad")).status_code == 401


class TestTokens:
    async def test_member_reaches_own_projects(self, site: Site) -> None:
        first = await asked(site, authorization=f"Bearer {TOKEN}", x_project_id=SOME_ID)
        assert first.status_code == 404  # but they have an organization and a project now
        [project] = site.store.projects.values()
        head = {"authorization": f"bearer {TOKEN}", "x-project-id": str(project.id)}
        posted = await site.http.post("/traces", headers=head, json=a_trace(spans=[a_span()]))
        assert posted.status_code == 202
        path = f"/traces/{posted.json()['trace_id']}"
        named = head | {"x-organization-id": str(project.organization_id).upper()}
        assert (await site.http.get(path, headers=named)).status_code == 200
        assert (await site.http.delete(path, headers=named)).status_code == 204

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"authorization": ""},
            {"authorization": "Bearer"},
            {"authorization": "Bearer   "},
            {"authorization": "Basic abc"},
            {"authorization": TOKEN},
            {"authorization": "Bearer unknown"},
            {"x_api_key": " ", "x_project_name": "p"},
        ],
    )
    async def test_missing_or_invalid_credentials_are_401(
        self, site: Site, headers: dict[str, str]
    ) -> None:
        refused = await asked(site, **headers)
        assert refused.status_code == 401
        assert list(refused.json()) == ["detail"]
        assert refused.headers["www-authenticate"] == "Bearer"

    async def test_blank_key_falls_back_to_the_token(self, site: Site) -> None:
        refused = await asked(site, x_api_key=" ", authorization=f"Bearer {TOKEN}")
        assert set(field_errors(refused)) == {"header.X-Project-ID"}

    async def test_header_errors_are_reported_together_after_the_token(self, site: Site) -> None:
        bad = {"x_organization_id": "x", "x_project_id": "y"}
        assert (await asked(site, authorization="Bearer no", **bad)).status_code == 401
        refused = await asked(site, authorization=f"Bearer {TOKEN}", **bad)
        assert set(field_errors(refused)) == {"header.X-Organization-ID", "header.X-Project-ID"}

    async def test_foreign_organization_is_403_and_its_project_404(self, site: Site) -> None:
        theirs = site.project()
        bearer = {"authorization": f"Bearer {TOKEN}"}
        named = await asked(
            site, **bearer, x_organization_id=str(site.organization), x_project_id=theirs
        )
        unknown = await asked(site, **bearer, x_organization_id=SOME_ID, x_project_id=theirs)
        assert [named.status_code, unknown.status_code] == [403, 403]
        other = await asked(site, **bearer, x_project_id=theirs)
        missing = await asked(site, **bearer, x_project_id=SOME_ID)
        assert [other.status_code, missing.status_code] == [404, 404]
        assert other.json() == missing.json()


READ, WRITE, JUDGE = Scope.READ, Scope.INGEST, Scope.EVALUATE
ID = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"
SCORE = {"name": "n", "value": "1"}
RUNS = {
    "trace": {"metrics": ["coherence"], "trace_ids": [ID]},
    "session": {"metrics": ["agent_reliability"], "session_ids": ["s"]},
}
MONITOR = {"name": "n", "target_type": "TRACE", "metrics": ["coherence"], "cadence": "daily"}
ALERT = {"metric": "coherence", "figure": "score_mean", "threshold": 0.5}
DEFINED = {"description": "n", "definition": RULE}
DAY = "started_after=2026-03-01&started_before=2026-03-02"
ROUTES: list[tuple[str, str, Any, set[Scope]]] = [
    ("POST", "/traces", a_trace(trace_id=ID), {WRITE}),
    ("POST", "/traces/batch", {"traces": [a_trace()]}, {WRITE}),
    ("POST", f"/traces/{ID}/spans", [a_span()], {WRITE}),
    ("GET", "/traces", None, {READ}),
    ("GET", f"/traces/{ID}", None, {READ}),
    ("GET", f"/traces/{ID}/prices", None, {READ}),
    ("PATCH", f"/traces/{ID}", {}, {WRITE}),
    ("PATCH", f"/traces/{ID}/spans/{ID}", {}, {WRITE}),
    ("DELETE", f"/traces/{ID}", None, {WRITE, READ}),
    ("POST", "/traces/batch/delete", {"trace_ids": [ID]}, {WRITE, READ}),
    ("POST", "/traces/batch/tags", {"trace_ids": [ID]}, {WRITE}),
    ("GET", "/traces/export", None, {READ}),
    ("POST", "/traces/import", {"traces": [a_trace(trace_id=ID)]}, {WRITE, JUDGE}),
    ("POST", "/traces/exports", {"format": "csv"}, {READ}),
    ("GET", "/traces/exports", None, {READ}),
    ("GET", f"/traces/exports/{ID}", None, {READ}),
    ("GET", f"/traces/exports/{ID}/download", None, {READ}),
    ("DELETE", f"/traces/exports/{ID}", None, {READ}),
    ("GET", "/traces/users", None, {READ}),
    ("GET", f"/traces/analytics?{DAY}", None, {READ}),
    ("POST", "/model-prices", {"match": "m", "input": "1", "output": "2"}, {JUDGE}),
    ("GET", "/model-prices", None, {READ}),
    ("DELETE", f"/model-prices/{ID}", None, {JUDGE}),
    ("GET", "/model-prices/unpriced", None, {READ}),
    ("POST", "/model-prices/reprice", {}, {JUDGE}),
    ("GET", f"/model-prices/reprice/{ID}", None, {READ}),
    ("GET", "/sessions", None, {READ}),
    ("GET", f"/sessions/analytics?{DAY}", None, {READ}),
    ("GET", "/sessions/s", None, {READ}),
    ("DELETE", "/sessions/s", None, {WRITE, READ}),
    ("GET", "/evaluations/trace-metrics", None, {READ}),
    ("GET", "/evaluations/session-metrics", None, {READ}),
    ("GET", "/evaluations/trace-runs/template?metric=coherence", None, {READ}),
    ("GET", "/evaluations/providers", None, {READ}),
    ("POST", "/evaluations/trace-scores", {"trace_id": ID, **SCORE}, {WRITE}),
    ("GET", "/evaluations/trace-scores", None, {READ}),
    ("GET", f"/evaluations/trace-scores/{ID}", None, {READ}),
    ("PATCH", f"/evaluations/trace-scores/{ID}", {"value": "1"}, {JUDGE}),
    ("DELETE", f"/evaluations/trace-scores/{ID}", None, {JUDGE}),
    ("POST", "/evaluations/session-scores", {"session_id": "s", **SCORE}, {WRITE}),
    ("GET", "/evaluations/session-scores", None, {READ}),
    ("GET", "/evaluations/session-scores/s", None, {READ}),
    ("DELETE", f"/evaluations/session-scores/{ID}", None, {JUDGE}),
    *(
        ("GET", f"/evaluations/analytics/{kind}-scores/{figure}", None, {READ})
        for kind in ("trace", "session")
        for figure in ("summary", "trend?metric_name=n", "distribution?metric_name=n")
    ),
    *(
        (method, f"/evaluations/{kind}-runs{path}", body, needed)
        for kind, body_of in RUNS.items()
        for method, path, body, needed in (
            ("POST", "", body_of, {JUDGE}),
            ("POST", "/batch", body_of, {JUDGE}),
            ("POST", "/estimate", body_of, {JUDGE}),
            ("POST", "/batch/estimate", body_of, {JUDGE}),
            ("GET", f"/{ID}/usage", None, {READ}),
            ("GET", "", None, {READ}),
            ("GET", f"/{ID}", None, {READ}),
            ("DELETE", f"/{ID}", None, {JUDGE}),
            ("POST", f"/{ID}/retry", None, {JUDGE}),
            ("POST", f"/{ID}/cancel", None, {JUDGE}),
            ("GET", f"/{ID}/scores", None, {READ}),
        )
    ),
    *(
        (method, f"/evaluations/monitors{path}", body, needed)
        for method, path, body, needed in (
            ("POST", "", MONITOR, {JUDGE}),
            ("GET", "", None, {READ}),
            ("GET", f"/{ID}", None, {READ}),
            ("PATCH", f"/{ID}", {"name": "other"}, {JUDGE}),
            ("DELETE", f"/{ID}", None, {JUDGE}),
            ("POST", f"/{ID}/pause", None, {JUDGE}),
            ("POST", f"/{ID}/resume", None, {JUDGE}),
            ("POST", f"/{ID}/trigger", None, {JUDGE}),
            ("GET", f"/{ID}/runs", None, {READ}),
            ("POST", f"/{ID}/alerts", ALERT, {JUDGE}),
            ("GET", f"/{ID}/alerts", None, {READ}),
            ("DELETE", f"/{ID}/alerts/{ID}", None, {JUDGE}),
            ("GET", f"/{ID}/alert-changes", None, {READ}),
        )
    ),
    *(
        (method, f"/evaluations/webhooks{path}", body, needed)
        for method, path, body, needed in (
            ("POST", "", {"url": "https://hooks.example.com"}, {JUDGE}),
            ("GET", "", None, {READ}),
            ("DELETE", f"/{ID}", None, {JUDGE}),
            ("POST", f"/{ID}/test", None, {JUDGE}),
            ("GET", f"/{ID}/deliveries", None, {READ}),
        )
    ),
    *(
        (method, f"/evaluations/custom-metrics{path}", body, needed)
        for method, path, body, needed in (
            ("POST", "", {"name": "another", "kind": "rule", **DEFINED}, {JUDGE}),
            ("GET", "", None, {READ}),
            ("GET", "/own_metric", None, {READ}),
            ("PUT", "/own_metric", DEFINED, {JUDGE}),
            ("GET", "/own_metric/revisions", None, {READ}),
            ("POST", "/own_metric/archive", None, {JUDGE}),
            ("POST", "/own_metric/restore", None, {JUDGE}),
            ("POST", "/own_metric/dry-run", {"trace_id": ID}, {JUDGE}),
        )
    ),
    ("POST", "/erasures", {"user_id": "u"}, {WRITE, READ}),
    ("GET", "/erasures", None, {READ}),
    ("GET", f"/erasures/{ID}", None, {READ}),
    ("POST", f"/erasures/{ID}/check", {"user_id": "gone"}, {READ}),
    ("GET", "/evaluations/analytics/agreement?name=n", None, {READ}),
    ("GET", "/evaluations/analytics/annotation-queue?name=n", None, {READ}),
    ("GET", "/evaluations/analytics/session-scores/history/s", None, {READ}),
    ("GET", "/evaluations/analytics/session-scores/comparison?metric_name=n", None, {READ}),
]


@pytest.mark.parametrize(("method", "path", "body", "needed"), ROUTES)
async def test_each_route_requires_its_scopes(
    site: Site, method: str, path: str, body: Any, needed: set[Scope]
) -> None:
    await _furnish(site)
    new_organization = site.state()
    for scopes in ({READ}, {WRITE}, {JUDGE}, {READ, JUDGE}, {WRITE, JUDGE}, {READ, WRITE}):
        site.restore(new_organization)
        head = site.headers(*scopes)
        answer = await site.http.request(method, path, headers=head, json=body)
        assert (answer.status_code == 403) is not (needed <= scopes)
        assert answer.is_success is (needed <= scopes)


@pytest.mark.parametrize(("method", "path", "body", "needed"), ROUTES)
async def test_data_plane_routes_require_credentials(
    site: Site, method: str, path: str, body: Any, needed: set[Scope]
) -> None:
    assert (await site.http.request(method, path, json=body)).status_code == 401


async def _furnish(site: Site) -> None:
    """One of each object that a route may name, with the id ID."""
    known = a_trace(trace_id=ID, session_id="s", spans=[a_span(span_id=ID)])
    await site.http.post("/traces", headers=site.headers(), json=known)
    [project] = site.store.projects
    await store_score(site.ports.evaluation, project, ID, trace=ID)
    await store_run(site.ports.evaluation, project, ID, trace=ID)
    await store_monitor(site.ports.evaluation, project, ID)
    await store_erasure(site.ports.privacy, project, ID, organization=str(site.organization))
    await store_alert(site.ports.evaluation, project, ID, monitor=ID)
    await store_export(site.ports.exporting, project, ID)
    await store_custom_metric(site.ports.evaluation, project, "own_metric")
    await store_prices(site.ports.pricing, project, ID, ID)


async def test_tables_cover_every_data_plane_route(site: Site) -> None:
    document = (await site.http.get("/openapi.json")).json()
    served = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
        if any("ApiKey" in way for way in told["security"])
    }
    named = {
        (method, _template(method, path.partition("?")[0], served)) for method, path, *_ in ROUTES
    }
    assert named == served


def _template(method: str, path: str, served: set[tuple[str, str]]) -> str:
    """The documented path that matches, with the most fixed segments."""
    fitting = [
        template
        for verb, template in served
        if verb == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path)
    ]
    return min(fitting, key=lambda one: one.count("{"))


class Down:
    """Keys in a store that is down."""

    async def by_digest(self, digest: bytes) -> None:
        raise Unavailable("The database can't be reached", retry_after_s=7)


async def test_unreachable_store_is_503_with_retry_after() -> None:
    site = Site(swapped={"keys": Down()})
    async with site.http:
        answer = await asked(site, **_underscored(site.headers()))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    assert list(answer.json()) == ["detail"]


async def test_keys_of_a_deleted_organization_are_401(site: Site) -> None:
    head = site.headers()
    del site.store.organizations[site.organization]
    assert (await site.http.get("/traces", headers=head)).status_code == 401


def _underscored(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}
