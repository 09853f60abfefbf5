"""Checking a key or a token: whose it is, and what it opens. No session and no project is made."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from application.clock import utc_now
from domain.identity.api_key import KeyLimits, Scope
from tests.http.conftest import TOKEN, Site, field_errors


async def check(site: Site, **body: Any) -> httpx.Response:
    return await site.http.post("/session/check", json=body)


async def test_key_is_named_with_its_organization_and_projects(site: Site) -> None:
    project = site.project("shop", site.organization)
    site.project("of another organization", None)
    answer = await check(site, key=f" {site.key(Scope.READ)}\n")
    assert answer.status_code == 200
    body = answer.json()
    [key] = site.store.keys.values()
    assert body["key"] == {"id": str(key.id), "name": "test", "prefix": key.prefix}
    assert (body["user"], body["scopes"]) == (None, ["read"])
    ours = str(site.organization)
    assert body["organizations"] == [{"id": ours, "name": "Ours", "role": None}]
    assert {"id": project, "org_id": ours, "name": "shop"} in body["projects"]
    assert site.store.browser_sessions == {}
    assert "set-cookie" not in answer.headers


async def test_person_is_named_with_their_organizations(site: Site) -> None:
    body = (await check(site, token=TOKEN)).json()
    assert (body["user"]["email"], body["key"]) == ("ada@example.com", None)
    [organization], [project] = body["organizations"], body["projects"]
    assert (organization["role"], project["org_id"]) == ("OWNER", organization["id"])


async def test_key_without_read_scope_gets_no_projects(site: Site) -> None:
    site.project("shop", site.organization)
    body = (await check(site, key=site.key(Scope.INGEST))).json()
    assert (body["scopes"], body["projects"]) == (["ingest"], [])


async def test_key_of_one_project_gets_only_that_project(site: Site) -> None:
    allowed, _ = [site.project(name, site.organization) for name in ("shop", "bank")]
    limits = replace(KeyLimits(), project_ids=frozenset({next(iter(site.store.projects))}))
    body = (await check(site, key=site.key(limits=limits))).json()
    assert [one["id"] for one in body["projects"]] == [allowed]


@pytest.mark.parametrize("body", [{"key": "pp_wrong"}, {"token": "wrong"}])
async def test_wrong_credential_is_refused(site: Site, body: dict[str, str]) -> None:
    assert (await check(site, **body)).status_code == 401


async def test_expired_key_is_refused(site: Site) -> None:
    expired = site.key(expires_at=utc_now() - timedelta(seconds=1))
    assert (await check(site, key=expired)).status_code == 401


@pytest.mark.parametrize("body", [{}, {"key": "pp_x", "token": "x"}])
async def test_one_credential_is_wanted(site: Site, body: dict[str, str]) -> None:
    assert field_errors(await check(site, **body)) == {"key": "send a key or a token"}
