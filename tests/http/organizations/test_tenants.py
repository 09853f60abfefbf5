"""Tenants that use the same ids on every route, in memory and PostgreSQL, in every order."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import httpx
import pytest

from adapters.caching.identity_cache import CachedApiKeys, CachedProjects
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.identity.identity import PostgresApiKeys, PostgresProjects
from application.clock import utc_now
from application.use_cases import Ports, UseCases
from domain.identity.caller import Claims, Person
from domain.ids import UserId
from entrypoints.composition.memory import memory_ports, replace_ports
from entrypoints.http.config import HttpConfig
from entrypoints.http.middleware.rate_limits import RateLimits
from tests.http.conftest import VERSION, a_span, a_trace, app_on_shared_routes
from tests.support.builders.values import prices
from tests.support.fixtures import data_plane
from tests.support.fixtures.data_plane import DataPlane
from tests.support.fixtures.identities import postgres_ports

CONFIG = HttpConfig(version=VERSION, environment="test")
DEEP = "[" * 15_000 + "]" * 15_000
TENANTS = ("ours", "the other project", "the other organization")


@dataclass(frozen=True)
class Tenant:
    """A client of one project."""

    name: str
    http: httpx.AsyncClient
    headers: dict[str, str]

    async def __call__(self, method: str, path: str, json: Any = None) -> httpx.Response:
        return await self.http.request(method, path, headers=self.headers, json=json)

    async def traces(self) -> list[dict[str, Any]]:
        page = (await self("GET", "/traces")).json()
        assert page["total"] == len(page["items"])
        return page["items"]


def over_postgres(pool: Pool, plane: DataPlane) -> Ports:
    swapped = {
        "keys": CachedApiKeys(PostgresApiKeys(pool), utc_now, 30),
        "projects": CachedProjects(PostgresProjects(pool), utc_now, 30),
    }
    return replace_ports(postgres_ports(pool, plane), **swapped)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.service)])
def database(request: pytest.FixtureRequest) -> Pool | None:
    return None if request.param == "memory" else request.getfixturevalue("pool")


@pytest.fixture
async def ports(database: Pool | None) -> AsyncIterator[Ports]:
    if database is None:
        yield memory_ports(MemoryStore(), prices())
        return
    async with data_plane.over_postgres(database) as plane:
        yield over_postgres(database, plane)


@pytest.fixture
async def tenants(ports: Ports) -> AsyncIterator[dict[str, Tenant]]:
    """Two projects of one organization, and one with the same name in another."""
    use = UseCases(ports)
    app = app_on_shared_routes(use, CONFIG, RateLimits(ports.limiter, {}))

    async def key() -> str:
        claims = Claims(issuer="test", subject=uuid.uuid4().hex, email="a@example.com")
        user = await ports.identity.users.record_sign_in(
            claims, new=UserId(uuid.uuid4()), at=utc_now()
        )
        membership = await use.identity.resolve_membership(Person(user), None)
        return (await use.identity.issue_key(membership.organization_id, name="test"))[1]

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
async def test_equal_ids_of_two_tenants_are_separate(tenants, order):
    id_, span_id = str(uuid.uuid4()), str(uuid.uuid4())
    path, here = f"/traces/{id_}", set()
    for name in order:
        tenant = tenants[name]
        # This tenant has no data yet, whatever the others have.
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


MARCH = "started_after=2026-03-01&started_before=2026-04-01"


@dataclass(frozen=True)
class Shared:
    """Ids that every tenant uses, and what one of them sees with these ids."""

    id: str
    span: str

    async def shown_to(self, tenant: Tenant) -> dict[str, Any]:
        """The users and sessions that lists, details and analytics show to a tenant."""
        sessions = (await tenant("GET", "/sessions")).json()
        users = (await tenant("GET", "/traces/users")).json()
        detail = (await tenant("GET", "/sessions/a%2Fb")).json()
        models = (await tenant("GET", f"/traces/analytics?{MARCH}&metric=models")).json()
        volume = (await tenant("GET", f"/traces/analytics?{MARCH}")).json()
        usage = (await tenant("GET", f"/traces/analytics?{MARCH}&metric=cost")).json()
        begun = (await tenant("GET", f"/sessions/analytics?{MARCH}")).json()
        return {
            "names": {one["name"] for one in detail.get("traces", ())},
            "traces": [one["trace_count"] for one in (*volume, *sessions["items"])],
            "totals": [sessions["total"], users["total"]],
            "users": {one["user_id"] for one in users["items"]},
            "models": {one["model"] for one in models},
            "costs": {one["total_cost"] for one in (*usage, *models, *sessions["items"])},
            "begun": [one["session_count"] for one in begun],
        }

    async def touched_by(self, tenant: Tenant) -> list[int]:
        """The statuses of every operation of a tenant on objects of another one."""
        path, ids = f"/traces/{self.id}", {"trace_ids": [self.id]}
        answers = [
            await tenant("PATCH", path, {"name": "stolen", "session_id": None}),
            await tenant("PATCH", f"{path}/spans/{self.span}", {"name": "stolen"}),
            await tenant("GET", "/sessions/a%2Fb"),
            await tenant("DELETE", "/sessions/a%2Fb"),
        ]
        tagged = await tenant("POST", "/traces/batch/tags", ids | {"add_tags": ["stolen"]})
        removed = await tenant("POST", "/traces/batch/delete", ids)
        assert (tagged.json(), removed.json()) == ({"updated": 0}, {"deleted": 0})
        return [one.status_code for one in answers]


NOTHING: dict[str, Any] = {
    "names": set(),
    "users": set(),
    "models": set(),
    "costs": set(),
    "traces": [],
    "totals": [0, 0],
    "begun": [],
}


@pytest.mark.parametrize("order", list(permutations(TENANTS))[::2], ids=" then ".join)
async def test_sessions_users_analytics_and_changes_are_separate(tenants, order):
    ids, here = Shared(str(uuid.uuid4()), str(uuid.uuid4())), []

    def own(name: str) -> dict[str, Any]:
        return {
            "names": {name},
            "users": {name},
            "models": {name},
            "costs": {0.5},
            "traces": [1, 1],
            "totals": [1, 1],
            "begun": [1],
        }

    for name in order:
        tenant = tenants[name]
        assert await ids.shown_to(tenant) == NOTHING
        assert await ids.touched_by(tenant) == [404] * 4
        span = a_span(span_id=ids.span, model=name, cost={"total": 0.5})
        sent = a_trace(trace_id=ids.id, session_id="a/b", user_id=name, spans=[span])
        assert (await tenant("POST", "/traces", sent)).status_code == 202
        path = f"/traces/{ids.id}"
        assert (await tenant("PATCH", path, {"name": name})).json()["name"] == name
        changed = await tenant("PATCH", f"{path}/spans/{ids.span}", {"output": name})
        assert changed.json()["output"] == name
        here.append(name)
        for known in here:
            assert await ids.shown_to(tenants[known]) == own(known)
    for name in order:
        body = {"trace_ids": [ids.id], "add_tags": [name]}
        assert (await tenants[name]("POST", "/traces/batch/tags", body)).json() == {"updated": 1}
        assert (await tenants[name]("DELETE", "/sessions/a%2Fb")).json() == {"deleted": 1}
        here.remove(name)
        assert await ids.shown_to(tenants[name]) == NOTHING
        for known in here:
            assert await ids.shown_to(tenants[known]) == own(known)
            [left] = await tenants[known].traces()
            assert left["tags"] == []


async def test_concurrent_first_requests_create_one_project(tenants):
    new = Tenant("new", tenants["ours"].http, tenants["ours"].headers | {"x-project-name": "new"})
    answers = await asyncio.gather(
        *(new("POST", "/traces", a_trace(trace_id=str(uuid.UUID(int=n)))) for n in range(50))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len(await new.traces()) == 50
    found = await asyncio.gather(*(new("GET", f"/traces/{uuid.UUID(int=n)}") for n in range(50)))
    assert len({one.json()["project_id"] for one in found}) == 1


async def test_refused_write_stores_nothing(tenants):
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
async def test_too_deep_payload_is_named_and_not_stored(pool):
    async with data_plane.over_postgres(pool) as plane:
        ports = over_postgres(pool, plane)
        use = UseCases(ports)
        claims = Claims(issuer="test", subject=uuid.uuid4().hex, email="a@example.com")
        user = await ports.identity.users.record_sign_in(
            claims, new=UserId(uuid.uuid4()), at=utc_now()
        )
        membership = await use.identity.resolve_membership(Person(user), None)
        _, secret = await use.identity.issue_key(membership.organization_id, name="k")
        app = app_on_shared_routes(use, CONFIG, RateLimits(ports.limiter, {}))
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
