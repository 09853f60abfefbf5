"""Signing in a browser with a token or a key, reading the session, and signing out."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from application.clock import utc_now
from domain.identity.api_key import Scope
from domain.identity.browser_session import SignInMethod
from domain.identity.login_code import challenge_of
from domain.limits import Limit
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import CONFIG, TOKEN, Site, field_errors
from tests.support.clients.rate_limited_app import LimitedSite
from tests.support.clients.two_tenants import TwoTenants

VERIFIER = "v" * 43
BIND = challenge_of(VERIFIER)
PAGE = {"sec-fetch-site": "same-origin", "origin": "http://test"}


async def signed_in(site: Site, **body: Any) -> httpx.Response:
    sent = {"method": "token", "bind": BIND, "token": TOKEN} | body
    return await site.http.post("/session", headers=PAGE, json=sent)


def browser(answer: httpx.Response, **more: str) -> dict[str, str]:
    """The headers of the page that was signed in by a response."""
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return PAGE | {"cookie": cookie, "x-session-verifier": VERIFIER} | more


async def read(site: Site, head: dict[str, str]) -> Any:
    answer = await site.http.get("/session", headers=head)
    assert answer.status_code == 200
    return answer.json()


async def test_browser_without_a_session_learns_the_ways_in(site: Site) -> None:
    assert await read(site, PAGE) == {
        "signed_in": False,
        "session_id": None,
        "method": None,
        "user": None,
        "key": None,
        "scopes": [],
        "organizations": [],
        "projects": [],
        "ends_at": None,
        "idle_ends_at": None,
        "ways_in": ["token", "key"],
        "problem": None,
    }


async def test_another_sign_in_ends_the_session_that_the_browser_had(site: Site) -> None:
    first = browser(await signed_in(site))
    body = {"method": "token", "bind": BIND, "token": TOKEN}
    second = browser(await site.http.post("/session", headers=first, json=body))
    assert not (await read(site, first))["signed_in"]
    assert (await read(site, second))["signed_in"]
    refused = await site.http.post("/session", headers=second, json=body | {"token": "none"})
    assert refused.status_code == 401
    assert (await read(site, second))["signed_in"]
    without_verifier = {name: second[name] for name in second if name != "x-session-verifier"}
    await site.http.post("/session", headers=without_verifier, json=body)
    assert (await read(site, second))["signed_in"]


async def test_person_signs_in_with_a_token_and_out(site: Site) -> None:
    answer = await signed_in(site)
    assert answer.status_code == 201
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith("pp_session=")
    assert attributes == ["Max-Age=604800", "Path=/", "HttpOnly", "SameSite=Strict"]
    assert answer.headers["cache-control"] == "no-store"
    head = browser(answer)
    session = await read(site, head)
    assert session == answer.json()
    assert session["method"] == "token"
    assert session["user"]["email"] == "ada@example.com"
    assert session["key"] is None
    assert session["scopes"] == ["ingest", "read", "evaluate"]
    [organization], [project] = session["organizations"], session["projects"]
    assert organization["role"] == "OWNER"
    assert project["org_id"] == organization["id"]
    there = head | {"x-project-id": project["id"]}
    assert (await site.http.get("/traces", headers=there)).status_code == 200
    gone = await site.http.delete("/session", headers=head)
    assert (gone.status_code, gone.content) == (204, b"")
    assert gone.headers["set-cookie"].startswith("pp_session=; Max-Age=0; Path=/; HttpOnly")
    assert (await read(site, head))["signed_in"] is False
    assert (await site.http.get("/traces", headers=there)).status_code == 401
    assert (await site.http.delete("/session", headers=head)).status_code == 204


async def test_key_opens_data_and_no_management(site: Site) -> None:
    project = site.project("shop", site.organization)
    answer = await signed_in(site, method="key", key=site.key(Scope.READ))
    session = answer.json()
    assert (session["method"], session["user"], session["scopes"]) == ("key", None, ["read"])
    assert [one["role"] for one in session["organizations"]] == [None]
    assert [one["id"] for one in session["projects"]] == [project]
    head = browser(answer, **{"x-project-id": project})
    assert (await site.http.get("/traces", headers=head)).status_code == 200
    organization = f"/organizations/{site.organization}"
    for path in ("/me", "/me/sessions", "/organizations", f"{organization}/api-keys"):
        refused = await site.http.get(path, headers=head)
        assert refused.status_code == 403
        assert "person" in refused.json()["detail"]
    scores = {"name": "x", "value": 1}
    lacking = await site.http.post("/evaluations/trace-scores", headers=head, json=scores)
    assert lacking.status_code == 403
    for id_, status in ((site.organization, 404), ("x", 422)):
        answer = await site.http.get("/traces", headers=head | {"x-project-id": str(id_)})
        assert answer.status_code == status


async def test_revoked_key_signs_the_browser_out(site: Site) -> None:
    head = browser(await signed_in(site, method="key", key=site.key()))
    [key] = site.store.keys.values()
    site.store.keys[key.id] = replace(key, revoked_at=utc_now())
    assert (await read(site, head))["signed_in"] is False


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"token": "unknown"}, 401),
        ({"method": "key", "key": "pp_" + "0" * 64}, 401),
        ({"method": "key", "key": "nonsense"}, 401),
        ({"method": "development"}, 403),
        ({"method": "provider"}, 422),
        ({"token": None}, 422),
        ({"method": "key"}, 422),
        ({"bind": "short"}, 422),
        ({"bind": "ä" * 43}, 422),
        ({"token": "x" * 20_001}, 422),
    ],
)
async def test_wrong_sign_in_starts_nothing(site: Site, body: dict[str, Any], status: int) -> None:
    answer = await signed_in(site, **body)
    assert answer.status_code == status, answer.text
    assert "set-cookie" not in answer.headers
    assert site.store.browser_sessions == {}


async def test_missing_credential_is_named(site: Site) -> None:
    assert set(field_errors(await signed_in(site, token=None))) == {"token"}
    assert set(field_errors(await signed_in(site, method="key"))) == {"key"}


async def test_key_that_may_not_read_is_refused(site: Site) -> None:
    answer = await signed_in(site, method="key", key=site.key(Scope.INGEST))
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "head",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://other.test"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
async def test_foreign_page_cannot_sign_in(site: Site, head: dict[str, str]) -> None:
    """Otherwise it could sign a person in as another person."""
    body = {"method": "token", "bind": BIND, "token": TOKEN}
    answer = await site.http.post("/session", headers=head, json=body)
    assert answer.status_code == 403
    assert "has to pass the Host header on" in answer.json()["detail"]
    assert site.store.browser_sessions == {}


async def test_each_sign_in_has_a_cookie_of_its_own(site: Site) -> None:
    """A cookie that was set before the sign-in never becomes the session's (fixation)."""
    planted = "pp_session=planted"
    body = {"method": "token", "bind": BIND, "token": TOKEN}
    answers = [
        await site.http.post("/session", headers=PAGE | {"cookie": planted}, json=body)
        for _ in range(2)
    ]
    cookies = {one.headers["set-cookie"].partition(";")[0] for one in answers}
    assert len(cookies) == 2
    assert planted not in cookies
    head = PAGE | {"cookie": planted, "x-session-verifier": VERIFIER}
    assert (await read(site, head))["signed_in"] is False


@pytest.mark.parametrize("origin", ["https://test", None])
async def test_cookie_over_https_is_bound_to_the_host(origin: str | None) -> None:
    config = CONFIG if origin else replace(CONFIG, public_url="https://traces.example.com")
    site = Site(config=config)
    async with site.http:
        body = {"method": "token", "bind": BIND, "token": TOKEN}
        head = {"sec-fetch-site": "same-origin"} | ({"origin": origin} if origin else {})
        answer = await site.http.post("/session", headers=head, json=body)
        said = answer.headers["set-cookie"]
        assert said.startswith("__Host-pp_session=")
        assert said.endswith("; Secure")
        assert (await read(site, browser(answer)))["signed_in"] is True


async def test_developer_signs_in_on_this_machine_only(site: Site) -> None:
    methods = frozenset({SignInMethod.DEVELOPMENT, SignInMethod.TOKEN, SignInMethod.KEY})
    config = replace(CONFIG, development_token=lambda: TOKEN, sign_in_methods=methods)
    local = Site(config=config)
    async with local.http:
        here = {"host": "localhost:8000", "origin": "http://localhost:8000"}
        for head, status in (
            (here, 201),
            (PAGE, 403),
            (here | {"x-forwarded-for": "192.0.2.1"}, 403),
            (here | {"origin": "http://localhost:3000"}, 403),
        ):
            asked = {name: value for name, value in head.items() if name != "origin"}
            ways = (await read(local, asked))["ways_in"]
            assert ("development" in ways) is (head.get("host") == here["host"] and len(head) == 2)
            answer = await local.http.post(
                "/session", headers=head, json={"method": "development", "bind": BIND}
            )
            assert answer.status_code == status, head


async def test_person_sees_and_ends_the_sessions_of_other_browsers(site: Site) -> None:
    laptop, phone = browser(await signed_in(site)), browser(await signed_in(site))
    listed = (await site.http.get("/me/sessions", headers=laptop)).json()
    assert [one["is_this"] for one in listed] == [False, True]
    by_token = {"authorization": f"Bearer {TOKEN}"}
    body = (await site.http.get("/me/sessions", headers=by_token)).json()
    assert [one["id"] for one in body] == [one["id"] for one in listed]
    assert not any(one["is_this"] for one in body)
    path = f"/me/sessions/{listed[0]['id']}"
    assert (await site.http.delete(path, headers=laptop)).status_code == 204
    assert (await site.http.delete(path, headers=laptop)).status_code == 404
    assert (await read(site, phone))["signed_in"] is False
    assert (await read(site, laptop))["signed_in"] is True


async def test_session_ends_with_its_time(site: Site) -> None:
    site.now = start = utc_now()
    answer = await signed_in(site)
    head, session = browser(answer), answer.json()
    assert session["idle_ends_at"] < session["ends_at"]
    site.now = start + timedelta(hours=12)
    assert (await read(site, head))["signed_in"] is False


async def test_sign_ins_are_limited_by_address(limited: LimitedSite) -> None:
    limited.limits[RouteClass.SIGN_IN] = Limit(2, "minute")
    answers = [await signed_in(limited.site, token="unknown") for _ in range(2)]
    answers.append(await signed_in(limited.site))
    assert [one.status_code for one in answers] == [401, 401, 429]


async def test_membership_still_decides(tenants: TwoTenants) -> None:
    world = tenants
    answer = await signed_in(world.site, token=world.bearer["authorization"].split()[1])
    head = browser(answer)
    theirs = f"/organizations/{world.theirs['org_id']}"
    assert (await world.site.http.get(theirs, headers=head)).status_code == 403
    there = head | {"x-project-id": world.theirs["project_id"]}
    assert (await world.site.http.get("/traces", headers=there)).status_code == 404
