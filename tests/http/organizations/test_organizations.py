"""Profiles, organizations, members and roles."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from domain.identity.caller import Claims
from domain.identity.organization import Role
from domain.ids import OrganizationId
from tests.http.conftest import TOKEN, Site, a_trace, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import ISSUER, PersonClient, new_member, new_person

BEARER = {"authorization": f"Bearer {TOKEN}"}
# Names of organizations and projects, after trimming.
NAMES = ["a", "Acme", "A.b_c-d'e f", "0", "é", "名", "x" * 255, f"  {'x' * 255}  "]
NO_NAMES = [
    "",
    "   ",
    "-a",
    "a-",
    "a/b",
    "é é",
    "名前",
    "a" * 256,
    " " * 256,
    "a\tb",
    "a\0",
    "\ud800",
    7,
    [],
]


def member(site: Site, ours: str, email: str, role: Role, after_s: int = 10**9) -> PersonClient:
    return new_member(site, OrganizationId(uuid.UUID(ours[-36:])), email, role, after_s)


class TestProfile:
    async def test_concurrent_first_requests_create_one_person_and_organization(
        self, site: Site
    ) -> None:
        answers = await asyncio.gather(
            *(site.http.get("/me", headers=BEARER) for _ in range(20)),
            *(site.http.get("/organizations", headers=BEARER) for _ in range(20)),
        )
        assert {one.status_code for one in answers} == {200}
        [user] = site.store.users
        assert {one.json()["id"] for one in answers[:20]} == {str(user)}
        [only] = answers[-1].json()
        assert (only["name"], only["role"]) == ("My Organization", "OWNER")
        path = f"/organizations/{only['id']}/projects"
        [project] = (await site.http.get(path, headers=BEARER)).json()
        assert project["name"] == "onboarding"

    async def test_fields_of_a_profile(self, site: Site) -> None:
        site.now = NOON
        site.tokens["t"] = Claims(issuer=ISSUER, subject="g", email="G@x.example")
        head = {"authorization": "Bearer t"}
        first = (await site.http.get("/me", headers=head)).json()
        at = "2026-03-01T12:00:00+00:00"
        assert first == {
            "id": str(next(iter(site.store.users))),
            "email": "G@x.example",
            "display_name": "",
            "created_at": at,
            "last_sign_in_at": at,
        }
        claims = {"email": "grace@x.example", "display_name": "Grace"}
        site.tokens["t"] = Claims(issuer=ISSUER, subject="g", **claims)
        site.now = NOON + timedelta(seconds=59)
        assert (await site.http.get("/me", headers=head)).json() == first | claims
        site.tokens["t"] = Claims(issuer=ISSUER, subject="g", email="x@x.example")
        site.now = NOON + timedelta(seconds=60)
        last = (await site.http.get("/me", headers=head)).json()
        assert (last["email"], last["display_name"]) == ("x@x.example", "Grace")
        assert last["last_sign_in_at"] == "2026-03-01T12:01:00+00:00"

    async def test_data_plane_headers_are_ignored(self, ada: PersonClient, ours: str) -> None:
        said = {"x_project_id": "no-id", "x_project_name": "-", "x_api_key": "bad"}
        for path in ("/me", "/organizations", ours):
            assert (await ada("GET", path, **said)).status_code == 200

    async def test_path_decides_and_not_the_organization_header(
        self, site: Site, ada: PersonClient, ours: str
    ) -> None:
        other = await ada.call("POST", "/organizations", {"name": "Other"})
        foreign = str(uuid.uuid4())
        for header in (other["id"], foreign, ours[-36:].upper(), "", f"{{{other['id']}}}"):
            answer = await ada("GET", ours, x_organization_id=header)
            assert (answer.status_code, answer.json()["name"]) == (200, "Acme")


class TestOrganizations:
    async def test_fields_and_initial_content_of_an_organization(
        self, site: Site, ada: PersonClient
    ) -> None:
        site.now = NOON + timedelta(microseconds=123)
        made = await ada.call("POST", "/organizations", {"name": " Acme "})
        assert made == {
            "id": made["id"],
            "name": "Acme",
            "created_at": "2026-03-01T12:00:00.000123+00:00",
        }
        path = f"/organizations/{made['id']}"
        assert await ada.read(path) == made | {"role": "OWNER"}
        [project] = await ada.read(f"{path}/projects")
        assert (project["name"], project["description"]) == ("onboarding", "")
        assert await ada.read(f"{path}/members") == [
            {
                "id": (await ada.read(f"{path}/members"))[0]["id"],
                "user_id": str(ada.id),
                "org_id": made["id"],
                "role": "OWNER",
                "display_name": "Ada Lovelace",
                "email": "ada@example.com",
                "created_at": made["created_at"],
            }
        ]

    async def test_own_organizations_are_listed_newest_first(
        self, site: Site, ada: PersonClient
    ) -> None:
        site.now = NOON - timedelta(seconds=1)
        await ada.read("/me")
        for second, name in enumerate(("one", "two", "three")):
            site.now = NOON + timedelta(seconds=second)
            await ada.call("POST", "/organizations", {"name": name})
        bob = new_person(site, "bob@example.com")
        await bob.call("POST", "/organizations", {"name": "not mine"})
        names = [one["name"] for one in await ada.read("/organizations")]
        assert names == ["three", "two", "one", "My Organization"]

    @pytest.mark.parametrize("name", NAMES)
    async def test_valid_names_are_accepted(self, ada: PersonClient, ours: str, name: str) -> None:
        made = await ada.call("POST", "/organizations", {"name": name})
        assert made["name"] == name.strip()
        assert (await ada.call("PATCH", ours, {"name": name}))["name"] == name.strip()
        assert (await ada.read(ours))["name"] == name.strip()

    @pytest.mark.parametrize("name", NO_NAMES, ids=repr)
    async def test_invalid_names_are_refused(self, ada: PersonClient, ours: str, name: Any) -> None:
        for method, path in (("POST", "/organizations"), ("PATCH", ours)):
            refused = await ada(method, path, {"name": name})
            assert set(field_errors(refused)) == {"name"}

    async def test_name_is_required(self, ada: PersonClient) -> None:
        for body in ({}, {"name": None}):
            assert set(field_errors(await ada("POST", "/organizations", body))) == {"name"}
        assert set(field_errors(await ada("POST", "/organizations", []))) == {""}

    @pytest.mark.parametrize("body", [{}, {"name": None}, {"name": "Acme"}])
    async def test_null_or_missing_name_changes_nothing(
        self, ada: PersonClient, ours: str, body: Any
    ) -> None:
        assert (await ada.call("PATCH", ours, body))["name"] == "Acme"
        assert (await ada.read(f"{ours}/audit-log"))["total"] == 1

    async def test_owned_organizations_are_limited(self) -> None:
        site = Site(owned_max=2)
        async with site.http:
            ada = new_person(site, "ada@example.com")
            await ada.read("/me")  # which creates the first
            answers = await asyncio.gather(
                *(ada("POST", "/organizations", {"name": f"n{n}"}) for n in range(3))
            )
            assert sorted(one.status_code for one in answers) == [201, 403, 403]
            assert len(await ada.read("/organizations")) == 2

    async def test_deleted_organization_is_unreachable(
        self, site: Site, ada: PersonClient, ours: str
    ) -> None:
        bob = member(site, ours, "bob@example.com", Role.MEMBER)
        [project] = await ada.read(f"{ours}/projects")
        key = (await bob.call("POST", f"{ours}/api-keys", {"name": "k"}))["raw_key"]
        data = {"x-api-key": key, "x-project-name": "onboarding"}
        assert (await site.http.post("/traces", headers=data, json=a_trace())).status_code == 202
        await ada.call("POST", f"{ours}/invitations", {"email": "eve@example.com"})
        await ada.call("DELETE", ours)
        for person in (ada, bob):
            assert (await person("GET", ours)).status_code == 403
            in_project = await person("GET", "/traces", x_project_id=project["id"])
            assert in_project.status_code == 404
            # A person without any organization gets a new one.
            names = {one["name"] for one in await person.read("/organizations")}
            assert names == {"My Organization"}
        assert (await site.http.get("/traces", headers=data)).status_code == 401
        assert await new_person(site, "eve@example.com").read("/me/invitations") == []
        assert (await ada("DELETE", ours)).status_code == 403

    async def test_organization_deleted_during_a_request_is_403(
        self, site: Site, ada: PersonClient, ours: str
    ) -> None:
        del site.store.organizations[OrganizationId(uuid.UUID(ours[-36:]))]
        gone = await ada("GET", ours)
        unknown = await ada("GET", f"/organizations/{uuid.uuid4()}")
        assert (gone.status_code, gone.json()) == (403, unknown.json())

    @pytest.mark.parametrize(
        "path",
        [
            *("/subscriptions", "/subscriptions/plans", "/webhooks/stripe"),
            *("{ours}/subscriptions", "{ours}/invoices", "{ours}/members/x/y/z", "/me/nothing"),
        ],
    )
    async def test_unserved_paths_are_404(
        self, site: Site, ada: PersonClient, ours: str, path: str
    ) -> None:
        path = path.format(ours=ours)
        assert (await ada("GET", path)).status_code == 404
        assert (await site.http.get(path)).status_code == 404

    async def test_other_methods_are_405(self, site: Site, ours: str) -> None:
        answer = await site.http.put(ours, json={})
        assert answer.status_code == 405
        assert {"GET", "PATCH", "DELETE"} <= set(answer.headers["allow"].split(", "))

    async def test_checks_run_in_order(self, site: Site, ada: PersonClient, ours: str) -> None:
        bob = member(site, ours, "bob@example.com", Role.MEMBER)
        foreign = f"/organizations/{uuid.uuid4()}"
        bad = {"name": ""}
        head = {"content-type": "text/plain"}
        assert (await site.http.patch(ours, json=bad, headers=head)).status_code == 415
        assert (await site.http.patch(foreign, content=b"{")).status_code == 401
        assert (await ada("PATCH", foreign, bad)).status_code == 403
        broken = await site.http.patch(ours, content=b"{", headers=bob.bearer)
        assert broken.status_code == 400
        assert (await bob("PATCH", ours, bad)).status_code == 422
        assert (await bob("PATCH", ours, {"name": "B"})).status_code == 403


class TestMembers:
    async def test_members_are_listed_oldest_first(
        self, site: Site, ada: PersonClient, ours: str
    ) -> None:
        member(site, ours, "third@example.com", Role.ADMIN, 10**9 + 1)
        member(site, ours, "second@example.com", Role.MEMBER, 10**9)
        found = [(one["email"], one["role"]) for one in await ada.read(f"{ours}/members")]
        assert found == [
            ("ada@example.com", "OWNER"),
            ("second@example.com", "MEMBER"),
            ("third@example.com", "ADMIN"),
        ]

    async def test_role_is_changed(self, site: Site, ada: PersonClient, ours: str) -> None:
        bob = member(site, ours, "bob@example.com", Role.MEMBER)
        path = f"{ours}/members/{bob.id}"
        for role in ("ADMIN", "OWNER", "OWNER", "MEMBER"):
            changed = await ada.call("PATCH", path, {"role": role})
            assert changed["role"] == role
            assert changed in await ada.read(f"{ours}/members")
            assert (await bob.read(ours))["role"] == role
        log = await ada.read(f"{ours}/audit-log")
        assert [one["action"] for one in log["items"]].count("member.role_changed") == 3

    @pytest.mark.parametrize("body", [{}, {"role": None}, {"role": "owner"}, {"role": 1}])
    async def test_invalid_roles_are_refused(
        self, site: Site, ada: PersonClient, ours: str, body: Any
    ) -> None:
        bob = member(site, ours, "bob@example.com", Role.MEMBER)
        refused = await ada("PATCH", f"{ours}/members/{bob.id}", body)
        assert set(field_errors(refused)) == {"role"}

    async def test_checks_run_in_order(self, site: Site, ada: PersonClient, ours: str) -> None:
        bob = member(site, ours, "bob@example.com", Role.ADMIN)
        nobody = f"{ours}/members/{uuid.uuid4()}"
        demoted = {"role": "MEMBER"}
        own = await bob("PATCH", f"{ours}/members/{bob.id}", demoted)
        lesser = await bob("PATCH", nobody, demoted)
        assert [own.status_code, lesser.status_code] == [403, 403]
        assert own.json() != lesser.json()
        assert (await ada("PATCH", nobody, demoted)).status_code == 404
        assert (await bob("DELETE", nobody)).status_code == 404
        assert (await bob("DELETE", f"{ours}/members/{ada.id}")).status_code == 403

    async def test_last_owner_cannot_leave(self, site: Site, ada: PersonClient, ours: str) -> None:
        bob = member(site, ours, "bob@example.com", Role.ADMIN)
        me, other = f"{ours}/members/{ada.id}", f"{ours}/members/{bob.id}"
        assert (await ada("DELETE", me)).status_code == 409
        await ada.call("PATCH", other, {"role": "OWNER"})
        await ada.call("DELETE", me)
        assert (await ada("GET", ours)).status_code == 403
        assert (await bob("DELETE", other)).status_code == 409
        assert (await bob("DELETE", me)).status_code == 404

    async def test_two_owners_leaving_concurrently_leave_an_owner(
        self, site: Site, ada: PersonClient, ours: str
    ) -> None:
        bob = member(site, ours, "bob@example.com", Role.OWNER)
        answers = await asyncio.gather(
            ada("PATCH", f"{ours}/members/{bob.id}", {"role": "MEMBER"}),
            bob("PATCH", f"{ours}/members/{ada.id}", {"role": "MEMBER"}),
            ada("DELETE", f"{ours}/members/{ada.id}"),
            bob("DELETE", f"{ours}/members/{bob.id}"),
        )
        assert any(one.is_success for one in answers)
        memberships = site.store.memberships.values()
        left = [one for one in memberships if str(one.organization_id) in ours]
        assert any(one.role is Role.OWNER for one in left)

    async def test_keys_of_a_removed_member_are_revoked(
        self, site: Site, ada: PersonClient, ours: str
    ) -> None:
        bob = member(site, ours, "bob@example.com", Role.MEMBER)
        eve = member(site, ours, "eve@example.com", Role.MEMBER)
        secrets = {
            person.email: (await person.call("POST", f"{ours}/api-keys", {"name": "k"}))["raw_key"]
            for person in (ada, bob, eve)
        }
        await ada.call("DELETE", f"{ours}/members/{bob.id}")
        await eve.call("DELETE", f"{ours}/members/{eve.id}")
        opened = {
            email: (
                await site.http.get(
                    "/traces", headers={"x-api-key": secret, "x-project-name": "shop"}
                )
            ).status_code
            for email, secret in secrets.items()
        }
        assert opened == {ada.email: 200, bob.email: 401, eve.email: 401}
        active = [one["is_active"] for one in await ada.read(f"{ours}/api-keys")]
        assert sorted(active) == [False, False, True]
