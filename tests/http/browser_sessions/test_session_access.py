"""When a session's cookie counts: every operation, under every condition that isn't met."""

import hashlib
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from domain.identity.browser_session import SessionPurpose, cookie_digest
from domain.identity.organization import Role
from domain.ids import BrowserSessionId
from entrypoints.http.browser_requests import session_cookie
from tests.http.conftest import CONFIG, ORIGIN, Site
from tests.support.builders.sessions import VERIFIER
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints import otlp
from tests.support.endpoints.registry import ENDPOINTS, operation_of
from tests.support.endpoints.spec import (
    Anonymous,
    EndpointSpec,
    ProjectAdmins,
    ProjectMembers,
    ProjectScopes,
)
from tests.support.hypothesis_scale import sampled
from tests.support.problems import problems_of

COOKIE = "c" * 43
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
OPENING = {"cookie": f"pp_session={COOKIE}", "x-session-verifier": VERIFIER} | SAME_ORIGIN
# What no page does: sending traces, and getting a key for a command line.
NOT_FOR_SESSIONS = {
    *("POST /traces", "POST /traces/batch", "POST /traces/{trace_id}/spans"),
    *(one.operation for one in otlp.ENDPOINTS if one.method == "POST"),
    *("POST /cli/auth/codes", "GET /cli/auth/session"),
}
# Those that need credentials, and the session itself.
GUARDED = [
    one for one in ENDPOINTS if not isinstance(one.access, Anonymous) or one.path == "/session"
]
UNMET: dict[str, dict[str, str | None]] = {
    "no cookie": {"cookie": None},
    "no verifier": {"x-session-verifier": None},
    "wrong verifier": {"x-session-verifier": "w" * 43},
    "same-site": {"sec-fetch-site": "same-site"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "typed in": {"sec-fetch-site": "none"},
    "foreign origin": {"sec-fetch-site": None, "origin": ORIGIN},
    "opaque origin": {"sec-fetch-site": None, "origin": "null"},
    "other port": {"sec-fetch-site": None, "origin": "http://test:81"},
    "two cookies": {"cookie": f"pp_session={COOKIE}; pp_session=another"},
    "another cookie": {"cookie": "pp_session=another"},
}


@pytest.fixture(scope="session")
async def open_to_all() -> Any:
    """Two tenants of a service that allows every origin."""
    world = TwoTenants(Site(config=replace(CONFIG, allowed_origins=("*",))))
    async with world.site.http:
        yield world


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("pp_session=a", "a"),
        ("x=1; pp_session=a; pp_session=a", "a"),
        *((f"pp_session={one}; pp_session={other}", None) for one, other in ("ab", "ba", "cd")),
        # A page of another host below the same domain can set only the one without the prefix.
        ("pp_session=planted; __Host-pp_session=a", "a"),
        ("__Host-pp_session=a; pp_session=planted", "a"),
        ("pp_session=", None),
    ],
)
def test_cookie_of_this_host_comes_first_and_counts_if_it_has_one_value(
    sent: str, found: str | None
) -> None:
    assert session_cookie({b"cookie": sent.encode()}, SessionPurpose.DASHBOARD) == found


async def begun(world: TwoTenants) -> TwoTenants:
    """With a session of our OWNER that COOKIE and VERIFIER open."""
    await world.begin()
    stored = world.site.store.browser_sessions
    id_ = BrowserSessionId(UUID(world.sessions[Role.OWNER]))
    stored[id_] = replace(stored[id_], digest=cookie_digest(COOKIE))
    return world


def headers(spec: EndpointSpec, world: TwoTenants, **changed: str | None) -> dict[str, str]:
    named = OPENING | {name.replace("_", "-"): value for name, value in changed.items()}
    if isinstance(spec.access, ProjectScopes | ProjectAdmins | ProjectMembers):
        named |= {"x-project-id": world.ours["project_id"]}
    return {name: value for name, value in named.items() if value is not None}


async def test_session_is_accepted_by_all_but_sending(tenants: TwoTenants) -> None:
    async def check(spec: EndpointSpec) -> None:
        world = await begun(tenants)
        words = world.own_words(spec)
        answer = await world.request(spec, headers(spec, world), words)
        expected = 401 if spec.operation in NOT_FOR_SESSIONS else spec.status
        assert answer.status_code == expected, answer.text

    assert await problems_of(ENDPOINTS, check, operation_of) == {}


@pytest.mark.parametrize("spec", GUARDED, ids=operation_of)
async def test_unmet_condition_answers_as_without_the_cookie(
    open_to_all: TwoTenants, spec: EndpointSpec
) -> None:
    """With PANDAPROBE_ALLOWED_ORIGINS=*, which lets every page read responses.

    Each operation meets four of the conditions, by turns; in `make test-all` all of them.
    """
    world = open_to_all
    for changed in sampled([*UNMET.values()], 4, GUARDED.index(spec), usually=True):
        await begun(world)
        words = world.own_words(spec)
        head = headers(spec, world, **changed)
        without = {name: value for name, value in head.items() if name != "cookie"}
        before = world.site.state()
        expected = _told(await world.request(spec, without, words))
        world.site.restore(before)
        answer = await world.request(spec, head, words)
        assert _told(answer) == expected, changed
        if spec.path != "/session":
            assert answer.status_code == 401, changed
            assert world.site.state() == before
        elif spec.method == "GET":
            assert answer.json()["signed_in"] is False, changed
        elif spec.method == "DELETE":
            assert "set-cookie" not in answer.headers
            assert world.site.state() == before


def _told(answer: Any) -> tuple[int, dict[str, str], bytes]:
    """A response without its random parts; a new session has a random cookie."""
    said = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    if "set-cookie" in said:
        return answer.status_code, {}, b""
    return answer.status_code, said, hashlib.sha256(answer.content).digest()


@pytest.mark.parametrize(
    "credential",
    [{"authorization": "Bearer unknown"}, {"x-api-key": "pp_unknown"}],
)
async def test_other_credentials_decide(tenants: TwoTenants, credential: dict[str, str]) -> None:
    world = await begun(tenants)
    sent = OPENING | {"x-project-id": world.ours["project_id"]} | credential
    for path in ("/traces", "/me"):
        assert (await world.send("GET", path, sent)).status_code == 401
    assert (await world.send("GET", "/session", sent)).json()["signed_in"] is False


@pytest.mark.parametrize(
    "blank", [{"authorization": ""}, {"authorization": "Bearer"}, {"x-api-key": " "}]
)
async def test_blank_credential_leaves_the_session(
    tenants: TwoTenants, blank: dict[str, str]
) -> None:
    world = await begun(tenants)
    assert (await world.send("GET", "/me", OPENING | blank)).status_code == 200


async def test_password_for_a_proxy_leaves_the_session(tenants: TwoTenants) -> None:
    """The browser sends it with each request, and a proxy may pass it on."""
    world = await begun(tenants)
    sent = OPENING | {"authorization": "Basic dXNlcjpwYXNzd29yZA=="}
    project = {"x-project-id": world.ours["project_id"]}
    assert (await world.send("GET", "/traces", sent | project)).status_code == 200
    assert (await world.send("GET", "/session", sent)).json()["signed_in"] is True


@pytest.mark.parametrize("origin", [{}, {"origin": "http://test"}, {"origin": "http://TEST"}])
async def test_browser_without_fetch_metadata_is_recognized_by_its_origin(
    tenants: TwoTenants, origin: dict[str, str]
) -> None:
    world = await begun(tenants)
    head = {name: value for name, value in OPENING.items() if name != "sec-fetch-site"} | origin
    assert (await world.send("GET", "/me", head)).status_code == 200
    made = await world.send("POST", "/organizations", head, {"name": "Another"})
    assert made.status_code == (201 if origin else 401)


async def test_metrics_never_read_the_session(tenants: TwoTenants) -> None:
    world = await begun(tenants)
    answer = await world.send("GET", "/metrics", OPENING)
    assert answer.status_code in {401, 403, 404}


async def test_preflight_does_not_allow_the_verifier(open_to_all: TwoTenants) -> None:
    asked = {
        "origin": "https://evil.example",
        "access-control-request-method": "GET",
        "access-control-request-headers": "x-session-verifier",
    }
    answer = await open_to_all.send("OPTIONS", "/traces", asked)
    assert "verifier" not in answer.headers["access-control-allow-headers"].lower()
