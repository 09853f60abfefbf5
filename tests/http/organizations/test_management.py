"""One long scenario of people and organizations, with equal responses of memory and PostgreSQL."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest

from adapters.caching.identity_cache import (
    CachedApiKeys,
    CachedProjects,
    CacheInvalidatingAdministration,
)
from adapters.postgres.database.pool import Pool
from adapters.postgres.identity.administration import PostgresAdministration
from adapters.postgres.identity.directory import PostgresDirectory
from adapters.postgres.identity.identity import (
    PostgresApiKeys,
    PostgresOrganizations,
    PostgresProjects,
    PostgresUsers,
)
from application.clock import utc_now
from domain.identity.api_key import KEY_LIFETIME
from domain.identity.caller import Claims
from domain.identity.invitation import INVITATION_LIFETIME
from tests.http.conftest import Site
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import ISSUER

ORG = "/organizations/{org}"
STEP = timedelta(seconds=1)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CURSOR = re.compile(r'"next_cursor":"[^"]+')
_SECRET = re.compile(r"pp_[0-9a-f]{7,64}")
_HASH = re.compile(r'(?<="hash":")[0-9a-f]{64}')  # of an entry, whose ids are random

# Caller, method, path, body; the status, and the name of the returned object in later steps.
# A timedelta in place of a step moves the clock.
SCENARIO: list[tuple[str, str, str, Any, int, str] | timedelta] = [
    ("ada", "GET", "/me", None, 200, "ada"),
    ("bob", "GET", "/me", None, 200, "bob"),
    ("eve", "GET", "/me", None, 200, "eve"),
    ("ada", "GET", "/organizations", None, 200, ""),
    ("ada", "POST", "/organizations", {"name": "Acme"}, 201, "org"),
    ("ada", "POST", "/organizations", {"name": "No: name"}, 422, ""),
    ("ada", "GET", ORG, None, 200, ""),
    ("bob", "GET", ORG, None, 403, ""),
    ("ada", "PATCH", ORG, {"name": "Acme 2"}, 200, ""),
    # Bob accepts, Eve declines.
    ("ada", "POST", f"{ORG}/invitations", {"email": "BOB@{tag}", "role": "ADMIN"}, 201, "bobs"),
    ("ada", "POST", f"{ORG}/invitations", {"email": "bob@{tag}"}, 409, ""),
    ("ada", "POST", f"{ORG}/invitations", {"email": "ada@{tag}"}, 409, ""),
    ("ada", "POST", f"{ORG}/invitations", {"email": "eve@{tag}"}, 201, "eves"),
    ("bob", "GET", "/me/invitations", None, 200, ""),
    ("eve", "POST", "/me/invitations/{bobs}/accept", None, 403, ""),
    ("bob", "POST", "/me/invitations/{bobs}/accept", None, 200, ""),
    ("bob", "POST", "/me/invitations/{bobs}/decline", None, 409, ""),
    ("eve", "POST", "/me/invitations/{eves}/decline", None, 204, ""),
    ("ada", "POST", f"{ORG}/invitations", {"email": "bob@{tag}"}, 409, ""),
    ("bob", "POST", f"{ORG}/invitations", {"email": "eve@{tag}", "role": "ADMIN"}, 403, ""),
    ("bob", "POST", f"{ORG}/invitations", {"email": "eve@{tag}"}, 201, "late"),
    INVITATION_LIFETIME,
    ("eve", "GET", "/me/invitations", None, 200, ""),
    ("eve", "POST", "/me/invitations/{late}/accept", None, 409, ""),
    ("bob", "GET", f"{ORG}/invitations", None, 200, ""),
    ("bob", "POST", f"{ORG}/invitations", {"email": "eve@{tag}"}, 201, "again"),
    ("bob", "DELETE", ORG + "/invitations/{again}", None, 204, ""),
    ("bob", "DELETE", ORG + "/invitations/{again}", None, 409, ""),
    ("bob", "DELETE", ORG + "/invitations/{org}", None, 404, ""),
    ("bob", "POST", f"{ORG}/invitations", {"email": "eve@{tag}"}, 201, "last"),
    ("eve", "POST", "/me/invitations/{last}/accept", None, 200, ""),
    ("eve", "GET", f"{ORG}/members", None, 200, ""),
    # Roles.
    ("eve", "PATCH", ORG + "/members/{bob}", {"role": "OWNER"}, 403, ""),
    ("bob", "PATCH", ORG + "/members/{eve}", {"role": "ADMIN"}, 403, ""),
    ("ada", "PATCH", ORG + "/members/{ada}", {"role": "ADMIN"}, 403, ""),
    ("ada", "PATCH", ORG + "/members/{org}", {"role": "ADMIN"}, 404, ""),
    ("ada", "PATCH", ORG + "/members/{eve}", {"role": "ADMIN"}, 200, ""),
    ("bob", "DELETE", ORG + "/members/{eve}", None, 403, ""),
    ("ada", "DELETE", ORG + "/members/{ada}", None, 409, ""),
    # Projects.
    ("bob", "POST", f"{ORG}/projects", {"name": "shop", "description": " Sells\n"}, 201, "shop"),
    ("bob", "POST", f"{ORG}/projects", {"name": "shop"}, 409, ""),
    ("bob", "POST", f"{ORG}/projects", {"name": "store"}, 201, "store"),
    ("bob", "PATCH", ORG + "/projects/{store}", {"name": "shop"}, 409, ""),
    ("bob", "PATCH", ORG + "/projects/{store}", {"description": "Snow: \N{SNOWMAN}"}, 200, ""),
    ("eve", "GET", f"{ORG}/projects", None, 200, ""),
    ("eve", "GET", ORG + "/projects/{shop}", None, 200, ""),
    ("eve", "GET", ORG + "/projects/{eve}", None, 404, ""),
    ("bob", "DELETE", ORG + "/projects/{shop}", None, 403, ""),
    ("ada", "DELETE", ORG + "/projects/{shop}", None, 204, ""),
    ("ada", "DELETE", ORG + "/projects/{shop}", None, 404, ""),
    ("ada", "GET", ORG + "/projects/{shop}", None, 404, ""),
    ("bob", "POST", f"{ORG}/projects", {"name": "shop"}, 201, ""),
    # Keys.
    ("eve", "POST", f"{ORG}/api-keys", {"name": "é ", "expiration": "90d"}, 201, "key"),
    ("eve", "POST", f"{ORG}/api-keys", {"name": "n", "scopes": ["read"]}, 201, "forever"),
    ("bob", "POST", ORG + "/api-keys/{key}/rotate", None, 201, "rotated"),
    ("bob", "POST", ORG + "/api-keys/{forever}/rotate", None, 422, ""),
    ("bob", "DELETE", ORG + "/api-keys/{forever}", None, 204, ""),
    ("bob", "DELETE", ORG + "/api-keys/{forever}", None, 204, ""),
    ("bob", "POST", f"{ORG}/api-keys", {"name": "gone"}, 201, "gone"),
    ("bob", "DELETE", ORG + "/api-keys/{gone}?permanent=true", None, 204, ""),
    ("bob", "GET", ORG + "/api-keys/{gone}", None, 404, ""),
    ("bob", "GET", ORG + "/api-keys/{key}", None, 200, ""),
    KEY_LIFETIME,
    ("bob", "GET", f"{ORG}/api-keys", None, 200, ""),
    # Leaving, and deletion.
    ("eve", "DELETE", ORG + "/members/{eve}", None, 204, ""),
    ("eve", "GET", f"{ORG}/members", None, 403, ""),
    ("ada", "PATCH", ORG + "/members/{bob}", {"role": "OWNER"}, 200, ""),
    ("bob", "DELETE", ORG + "/members/{ada}", None, 204, ""),
    ("bob", "DELETE", ORG + "/members/{bob}", None, 409, ""),
    ("bob", "GET", f"{ORG}/api-keys", None, 200, ""),
    ("bob", "GET", f"{ORG}/audit-log?limit=200", None, 200, ""),
    ("bob", "GET", f"{ORG}/audit-log?limit=3&offset=20", None, 200, ""),
    ("ada", "DELETE", ORG, None, 403, ""),
    ("bob", "DELETE", ORG, None, 204, ""),
    ("bob", "DELETE", ORG, None, 403, ""),
    ("bob", "GET", "/organizations", None, 200, ""),
]


def on_postgres(pool: Pool) -> Site:
    keys = CachedApiKeys(PostgresApiKeys(pool), utc_now, 30)
    projects = CachedProjects(PostgresProjects(pool), utc_now, 30)
    return Site(
        swapped={
            "keys": keys,
            "projects": projects,
            "users": PostgresUsers(pool),
            "organizations": PostgresOrganizations(pool),
            "directory": PostgresDirectory(pool),
            "administration": CacheInvalidatingAdministration(
                PostgresAdministration(pool), keys, projects
            ),
        }
    )


async def responses_of(site: Site) -> list[Any]:
    """The responses of the scenario, with ids and secrets numbered in order of first appearance."""
    tag = f"{uuid.uuid4()}.example"
    for name in ("ada", "bob", "eve"):
        site.tokens[name] = Claims(
            issuer=ISSUER, subject=f"{name} {tag}", email=f"{name}@{tag}", display_name=name
        )
    known, order, answers = {"tag": tag}, dict[str, str](), []
    site.now = NOON

    def ordered(found: re.Match[str]) -> str:
        return order.setdefault(found[0], f"#{len(order)}")

    for step in SCENARIO:
        if isinstance(step, timedelta):
            site.now += step
            continue
        site.now += STEP
        who, method, path, body, status, word = step
        if body and "email" in body:
            body = body | {"email": body["email"].format(tag=tag)}
        head = {"authorization": f"Bearer {who}", "user-agent": "scenario"}
        path = path.format(**known)
        answer = await site.http.request(method, path, headers=head, json=body)
        assert answer.status_code == status, (step, answer.text)
        if word:
            known[word] = answer.json()["id"]
        text = answer.text.replace(tag, "t").replace(tag.upper(), "t")
        text = _HASH.sub("", _CURSOR.sub('"next_cursor":"', text))
        answers.append((step, _UUID.sub(ordered, _SECRET.sub("secret", text))))
    return answers


async def test_scenario_in_memory() -> None:
    site = Site()
    async with site.http:
        assert len(await responses_of(site)) > 70


@pytest.mark.service
async def test_postgres_responds_like_memory(pool: Pool) -> None:
    memory, postgres = Site(), on_postgres(pool)
    async with memory.http, postgres.http:
        expected, found = await responses_of(memory), await responses_of(postgres)
    for one, other in zip(found, expected, strict=True):
        assert one == other
