"""Tenants who use the same ids on every route, over memory and over Postgres, in every order."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import httpx
import pytest

from adapters.memory.identity import (
    MemoryApiKeys,
    MemoryKeyUse,
    MemoryOrganizations,
    MemoryProjects,
    MemoryTokens,
    MemoryUsers,
)
from adapters.memory.store import MemoryStore
from adapters.memory.tracing import MemoryTraces
from adapters.postgres.engine import Pool
from adapters.postgres.identity import (
    PostgresApiKeys,
    PostgresOrganizations,
    PostgresProjects,
    PostgresUsers,
)
from adapters.postgres.tracing import PostgresTraces
from adapters.remembered import RememberedApiKeys, RememberedProjects
from application.use_cases import Ports, UseCases, utc_now
from domain.identity.user import Claims
from domain.ids import UserId
from entrypoints.http.app import create_app
from entrypoints.http.config import HttpConfig
from tests.builders import prices
from tests.http.conftest import a_span, a_trace

DEEP = "[" * 15_000 + "]" * 15_000
TENANTS = ("ours", "the other project", "the other organization")


@dataclass(frozen=True)
class Tenant:
    """Who sends requests for one project."""

    name: str
    http: httpx.AsyncClient
    headers: dict[str, str]

    async def __call__(self, method: str, path: str, json: Any = None) -> httpx.Response:
        return await self.http.request(method, path, headers=self.headers, json=json)

    async def traces(self) -> list[dict[str, Any]]:
        page = (await self("GET", "/traces")).json()
        assert page["total"] == len(page["items"])
        return page["items"]


def over_memory() -> Ports:
    store = MemoryStore()
    return Ports(
        traces=MemoryTraces(store, prices()),
        keys=MemoryApiKeys(store),
        uses=MemoryKeyUse(store),
        projects=MemoryProjects(store),
        users=MemoryUsers(store),
        organizations=MemoryOrganizations(store),
        tokens=MemoryTokens({}),
        parts={},
    )


def over_postgres(pool: Pool, traces: PostgresTraces) -> Ports:
    return Ports(
        traces=traces,
        keys=RememberedApiKeys(PostgresApiKeys(pool), utc_now, 30),
        uses=MemoryKeyUse(MemoryStore()),
        projects=RememberedProjects(PostgresProjects(pool), utc_now, 30),
        users=PostgresUsers(pool),
        organizations=PostgresOrganizations(pool),
        tokens=MemoryTokens({}),
        parts={},
    )


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.service)])
def database(request: pytest.FixtureRequest) -> Pool | None:
    return None if request.param == "memory" else request.getfixturevalue("pool")


@pytest.fixture
async def ports(database: Pool | None) -> AsyncIterator[Ports]:
    if database is None:
        yield over_memory()
        return
    async with PostgresTraces.over(database, prices()) as traces:
        yield over_postgres(database, traces)


@pytest.fixture
async def tenants(ports: Ports) -> AsyncIterator[dict[str, Tenant]]:
    """Two projects of one organization, and one of the same name of another."""
    use = UseCases.over(ports)
    app = create_app(use, HttpConfig(version="", environment="test"))

    async def key() -> str:
        claims = Claims(issuer="test", subject=uuid.uuid4().hex, email="a@example.com")
        user = await ports.users.signed_in(claims, new=UserId(uuid.uuid4()), at=utc_now())
        organization = await use.resolve_organization(user.id, None)
        return (await use.issue_key(organization, name="test"))[1]

    mine, other = await key(), await key()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as http:
        yield {
            name: Tenant(name, http, {"x-api-key": secret, "x-project-name": project})
            for name, secret, project in zip(
                TENANTS, (mine, mine, other), ("shop", "shop-2", "shop"), strict=True
            )
        }


@pytest.mark.parametrize("order", list(permutations(TENANTS)), ids=" then ".join)
async def test_the_same_ids_never_meet(tenants, order):
    id_, span_id = str(uuid.uuid4()), str(uuid.uuid4())
    path, here = f"/traces/{id_}", set()
    for name in order:
        tenant = tenants[name]
        # Whatever the others have, for this one there is nothing yet.
        assert (await tenant("GET", path)).status_code == 404
        assert (await tenant("POST", f"{path}/spans", [a_span(span_id=span_id)])).status_code == 404
        assert (await tenant("DELETE", path)).status_code == 404
        assert await tenant.traces() == []
        sent = a_trace(trace_id=id_, name=name, session_id="s", user_id="u", input=name)
        sent["spans"] = [a_span(span_id=span_id, name=name, cost={"total": 1})]
        assert (await tenant("POST", "/traces", sent)).status_code == 202
        batch = {"traces": [a_trace(trace_id=id_, name=name, tags=[name])]}
        assert (await tenant("POST", "/traces/batch", batch)).status_code == 202
        added = [a_span(span_id=span_id, name=name, output=name), a_span(name=name)]
        assert (await tenant("POST", f"{path}/spans", added)).status_code == 201
        here.add(name)
        for known in here:
            read = (await tenants[known]("GET", path)).json()
            assert (read["name"], read["input"], read["tags"]) == (known, known, [known])
            assert [span["name"] for span in read["spans"]] == [known, known]
            assert read["total_cost"] == 1.0
            [listed] = await tenants[known].traces()
            assert (listed["name"], listed["span_count"]) == (known, 2)
    assert len({(await tenants[name]("GET", path)).json()["project_id"] for name in order}) == 3
    for name in order:
        assert (await tenants[name]("DELETE", path)).status_code == 204
        here.remove(name)
        assert await tenants[name].traces() == []
        for known in here:
            read = (await tenants[known]("GET", path)).json()
            assert [span["name"] for span in read["spans"]] == [known, known]


async def test_fifty_first_requests_at_once_make_one_project(tenants):
    new = Tenant("new", tenants["ours"].http, tenants["ours"].headers | {"x-project-name": "new"})
    answers = await asyncio.gather(
        *(new("POST", "/traces", a_trace(trace_id=str(uuid.UUID(int=n)))) for n in range(50))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len(await new.traces()) == 50
    found = await asyncio.gather(*(new("GET", f"/traces/{uuid.UUID(int=n)}") for n in range(50)))
    assert len({one.json()["project_id"] for one in found}) == 1


async def test_what_is_refused_leaves_nothing_half_written(tenants):
    ours = tenants["ours"]
    good = [a_span(name=f"s{n}", input="x") for n in range(3)]
    refused = [
        a_trace(spans=[*good, a_span(name="")]),
        a_trace(spans=[*good, a_span(error="\0")]),
        a_trace(spans=[*good, a_span(metadata={"a": "\0"})]),
        a_trace(spans=[*good, a_span(started_at="0000-01-01")]),
        a_trace(spans=good * 1667),
    ]
    for body in refused:
        assert (await ours("POST", "/traces", body)).status_code == 422
    batch = await ours("POST", "/traces/batch", {"traces": [*refused, a_trace(name="kept")]})
    assert batch.status_code == 202
    assert [one["index"] for one in batch.json()["rejected"]] == [0, 1, 2, 3, 4]
    [kept] = await ours.traces()
    assert (kept["name"], kept["span_count"]) == ("kept", 0)


@pytest.mark.service
async def test_what_is_too_deep_for_anybody_is_named_and_not_stored(pool):
    async with PostgresTraces.over(pool, prices()) as traces:
        ports = over_postgres(pool, traces)
        use = UseCases.over(ports)
        claims = Claims(issuer="test", subject=uuid.uuid4().hex, email="a@example.com")
        user = await ports.users.signed_in(claims, new=UserId(uuid.uuid4()), at=utc_now())
        _, secret = await use.issue_key(await use.resolve_organization(user.id, None), name="k")
        app = create_app(use, HttpConfig(version="", environment="test"))
        head = {"x-api-key": secret, "x-project-name": "deep"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as http:
            body = f'{{"name":"deep","started_at":"2026-03-01","output":{DEEP}}}'
            answer = await http.post("/traces", headers=head, content=body.encode())
            assert answer.status_code == 422
            assert [one["field"] for one in answer.json()["errors"]] == ["output"]
            page = (await http.get("/traces", headers=head)).json()
            assert page["total"] == 0
