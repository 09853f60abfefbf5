"""The first allowed call with an unknown X-Project-Name creates the project."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from domain.identity.api_key import Scope
from domain.identity.audit import AuditAction
from tests.http.conftest import ORIGIN, TOKEN, Site, a_trace, field_errors
from tests.support.clients.asgi_client import chunk, exchange
from tests.support.clients.rate_limited_app import LimitedSite
from tests.support.waiting import in_time

CREATED = "x-project-created"
WELL_FORMED = "WyIiLDEsMV0"  # a cursor that belongs to no query


def project_names(site: Site) -> list[str]:
    return sorted(one.name for one in site.store.projects.values())


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/traces", {"json": a_trace()}, 403),  # the key has no scope `ingest`
        ("GET", "/traces?limit=no", {}, 422),
        ("GET", "/traces/no-uuid", {}, 422),
        ("GET", "/traces?query=*", {}, 422),
        ("GET", "/traces?score_min=0.5", {}, 422),
        ("GET", "/spans?query=word&sort_by=cost", {}, 422),
        ("GET", f"/traces/{uuid.UUID(int=1)}/search?query=*", {}, 422),
        ("GET", "/traces/facets?field=metadata_value", {}, 422),
        ("GET", f"/sessions?offset=1&cursor={WELL_FORMED}", {}, 422),
        ("POST", "/traces/exports", {"json": {"format": "ndjson", "rows": "spans"}}, 422),
        ("POST", "/datasets", {"json": {"name": "Upper Case"}}, 422),
        ("POST", "/evaluations/webhooks", {"json": {"url": "no URL"}}, 422),
        ("POST", "/evaluations/webhooks", {"json": {"url": "http://example.com/"}}, 422),
        ("POST", "/evaluations/webhooks", {"json": {"url": "https://127.0.0.1/"}}, 422),
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/traces", {}, 405),
        ("POST", "/evaluations/trace-runs", {"content": b"{"}, 400),
        ("POST", "/evaluations/trace-runs", {"json": {}}, 422),
        (
            "POST",
            "/evaluations/trace-runs",
            {"content": b"x", "headers": {"content-type": "text/plain"}},
            415,
        ),
        ("POST", "/evaluations/trace-runs", {"content": b" " * (1 << 20) + b"{}"}, 413),
    ],
)
async def test_refused_calls_make_no_project(
    site: Site, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    head = site.headers(Scope.READ, Scope.EVALUATE, project="mistyped") | options.pop("headers", {})
    answer = await site.http.request(method, path, headers=head, **options)
    assert answer.status_code == status, answer.text
    assert CREATED not in answer.headers
    assert project_names(site) == []


async def test_batch_without_a_valid_trace_makes_no_project(site: Site) -> None:
    head = site.headers(project="mistyped")
    batch = {"traces": [a_trace(name=""), {}]}
    answer = await site.http.post("/traces/batch?limit=1", headers=head, json=batch)
    fields = {"traces.0.name", "traces.1.name", "traces.1.started_at", "query.limit"}
    assert set(field_errors(answer)) == fields
    assert project_names(site) == []


async def test_calls_beyond_the_rate_limit_make_no_project(limited: LimitedSite) -> None:
    site = limited.site
    head = site.headers(project="first")
    for n in range(101):
        answer = await site.http.get("/traces", headers=head | {"x-project-name": f"bot {n}"})
    assert answer.status_code == 429
    assert len(project_names(site)) == 100


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "/traces", {"json": a_trace()}),
        ("GET", "/traces", {}),
        ("GET", f"/traces/{uuid.UUID(int=1)}", {}),  # allowed, although there is no such trace
        ("GET", "/evaluations/trace-metrics", {}),
    ],
)
async def test_first_allowed_call_creates_project_and_reports_it(
    site: Site, method: str, path: str, options: dict[str, Any]
) -> None:
    head = site.headers(project="new") | {"origin": ORIGIN}
    first, second = [
        await site.http.request(method, path, headers=head, **options) for _ in range(2)
    ]
    assert project_names(site) == ["new"]
    assert first.headers[CREATED] == "true"
    assert CREATED not in second.headers
    assert "X-Project-Created" in first.headers["access-control-expose-headers"]
    [project] = site.store.projects.values()
    [entry] = [
        one for one in site.store.audit_log.values() if one.action is AuditAction.PROJECT_CREATED
    ]
    assert (entry.resource_id, entry.detail) == (str(project.id), {"name": "new"})
    assert entry.actor.key_id in site.store.keys


async def test_one_of_many_first_calls_reports_the_new_project(site: Site) -> None:
    head, body = site.headers(project="new"), json.dumps(a_trace()).encode()
    are_known = asyncio.Barrier(20)  # none has the project before all are authenticated

    async def together(scope: Any, receive: Any, send: Any) -> None:
        async def receive_together() -> Any:
            await are_known.wait()
            return await receive()

        await site.app(scope, receive_together, send)

    async with in_time():
        answers = await asyncio.gather(
            *(
                exchange(together, "POST", "/traces", head, [chunk(body, more=False)])
                for _ in range(are_known.parties)
            )
        )
    starts = [sent[0] for sent, _ in answers]
    assert {start["status"] for start in starts} == {202}
    assert sum(CREATED.encode() in dict(start["headers"]) for start in starts) == 1
    assert project_names(site) == ["new"]


async def test_projects_per_organization_are_limited() -> None:
    site = Site(swapped={"projects_max": 2})
    async with site.http:
        head = site.headers()
        for name, status in (("a", 200), ("b", 200), ("c", 422), ("a", 200)):
            answer = await site.http.get("/traces", headers=head | {"x-project-name": name})
            assert answer.status_code == status
            if status == 422:
                assert "2 projects" in answer.json()["detail"]
        assert project_names(site) == ["a", "b"]


async def test_exporters_get_the_maximum_in_the_error() -> None:
    site = Site(swapped={"projects_max": 1})
    async with site.http:
        head = site.headers(project="a") | {"content-type": "application/json"}
        for name, status in (("a", 200), ("b", 422)):
            named = head | {"x-project-name": name}
            answer = await site.http.post("/v1/traces", headers=named, content=b"{}")
            assert answer.status_code == status, answer.text
        assert answer.json()["message"].startswith("The organization has 1 project,")


async def test_people_keep_to_the_same_maximum() -> None:
    site = Site(swapped={"projects_max": 2})
    async with site.http:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        [ours] = (await site.http.get("/organizations", headers=bearer)).json()
        path = f"/organizations/{ours['id']}/projects"
        for name, status in (("a", 201), ("b", 422)):
            answer = await site.http.post(path, headers=bearer, json={"name": name})
            assert answer.status_code == status, answer.text
