"""Credentials: keys, tokens, projects and scopes."""

import asyncio
import uuid
from datetime import timedelta
from itertools import chain, combinations
from typing import Any

import pytest

from application.clock import utc_now
from application.identity.authenticate import NOT_A_MEMBER, PROJECT_NOT_FOUND
from application.table_groups import OneGroup, Placement
from domain.errors import NotFound, Unavailable
from domain.identity.api_key import UNKNOWN_KEY, Scope
from domain.identity.organization import Role
from domain.ids import OrganizationId
from tests.http.conftest import TOKEN, Site, a_span, a_trace, field_errors
from tests.support.clients.organization_members import new_member
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.registry import DATA_PLANE, operation_of
from tests.support.endpoints.spec import EndpointSpec, ProjectScopes
from tests.support.problems import problems_of

SOME_ID = str(uuid.UUID(int=1))


class RemovedOrganizations(OneGroup):
    """The placements of organizations that another process has removed."""

    async def organization_placement(self, organization: OrganizationId) -> Placement:
        raise NotFound("Organization not found")


async def test_removed_organization_is_refused_as_one_that_never_was() -> None:
    """Also where the caller was known from before."""
    site = Site(swapped={"groups": RemovedOrganizations()})
    async with site.http:
        member = new_member(site, site.organization, "m@x.example", Role.OWNER)
        project = {"x-project-id": site.project("shop", site.organization)}
        read = await site.http.get("/traces", headers=site.headers(Scope.READ))
        write = await site.http.post("/traces", headers=site.headers(), json=a_trace())
        by_person = await site.http.get("/traces", headers=project | member.bearer)
        managed = await member("GET", f"/organizations/{site.organization}/projects")
    answers = [read, write, by_person, managed]
    assert [(one.status_code, one.json()["detail"]) for one in answers] == [
        (401, UNKNOWN_KEY),
        (401, UNKNOWN_KEY),
        (404, PROJECT_NOT_FOUND),
        (403, NOT_A_MEMBER),
    ]


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
        ignored = {"x_project_id": "nonsense", "x_organization_id": "nonsense"}
        assert (await asked(site, **head, **ignored, authorization="Bearer x")).status_code == 200
        bad = await asked(
            site, x_api_key="bad", authorization=f"Bearer {TOKEN}", x_project_id=site.project()
        )
        assert bad.status_code == 401

    async def test_key_is_checked_before_the_name(self, site: Site) -> None:
        assert (await asked(site, x_api_key="bad")).status_code == 401


HEADERS_OF_ONE_VALUE = (
    *("authorization", "x-api-key", "x-project-name", "x-project-id", "x-organization-id"),
    *("idempotency-key", "x-session-verifier"),
)


@pytest.mark.parametrize("name", HEADERS_OF_ONE_VALUE)
@pytest.mark.parametrize("path", ["/traces", "/organizations", "/cli/auth/exchange"])
async def test_two_values_of_a_credential_are_400_before_anything_else(
    site: Site, name: str, path: str
) -> None:
    """A proxy may have checked the other one."""
    known = [*site.headers().items(), ("authorization", f"Bearer {TOKEN}")]
    known += [("x-project-id", SOME_ID), ("x-organization-id", SOME_ID), ("idempotency-key", "k")]
    known += [("x-session-verifier", "v")]
    body = {"content": b"{", "headers": [*known, (name, "another"), ("content-type", "text/plain")]}
    refused = await site.http.post(path, **body)
    assert refused.status_code == 400, refused.text
    assert name in refused.json()["detail"]
    assert site.store.projects == {}


async def test_one_value_twice_is_accepted(site: Site) -> None:
    head = list(site.headers().items())
    assert (await site.http.get("/traces", headers=head + head)).status_code == 200


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


async def test_each_route_requires_its_scopes(tenants: TwoTenants) -> None:
    async def check(spec: EndpointSpec) -> None:
        assert isinstance(spec.access, ProjectScopes)
        words = tenants.own_words(spec)
        for scopes in chain.from_iterable(combinations(Scope, size) for size in (1, 2)):
            await tenants.begin()
            answer = await tenants.request(spec, tenants.new_key(*scopes), words)
            is_allowed = spec.access.scopes <= set(scopes)
            assert (answer.status_code == 403) is not is_allowed, scopes
            assert answer.is_success is is_allowed, answer.text

    assert await problems_of(DATA_PLANE, check, operation_of) == {}


async def test_data_plane_routes_require_credentials(tenants: TwoTenants) -> None:
    async def check(spec: EndpointSpec) -> None:
        answer = await tenants.request(spec, {}, tenants.own_words(spec))
        assert answer.status_code == 401

    assert await problems_of(DATA_PLANE, check, operation_of) == {}


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
