"""Security headers, on every response and on errors too."""

import re
import uuid
from collections.abc import Iterable

import httpx
import pytest

from application.ports import HealthStatus
from domain.limits import Limit
from entrypoints.http.middleware.load_shedding import LoadShedding
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.response_headers import ResponseHeaders
from tests.http.conftest import CONFIG, ORIGIN, TOKEN, Site, a_trace
from tests.support.clients.asgi_client import exchange
from tests.support.clients.contract_checks import operations

# Repeated here word by word: the headers are part of the contract.
WANTED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
# Pages set these themselves; they are tested below.
OF_PAGES = {"content-security-policy", "cache-control"}
PAGES = ("/docs", "/cli-login")
BEARER = {"authorization": f"Bearer {TOKEN}"}


def check(answer: httpx.Response) -> None:
    """Each header once; with the default value unless the response is a page."""
    said = {name: answer.headers.get_list(name) for name in WANTED}
    wanted = {name: [value] for name, value in WANTED.items()}
    if answer.url.path in {*PAGES, "/openapi.json"}:
        assert all(len(said.pop(name)) == 1 for name in OF_PAGES)
        wanted = {name: wanted[name] for name in said}
    assert said == wanted
    assert "server" not in answer.headers
    # The server speaks plain HTTP: only a TLS proxy in front of it may send this header.
    assert "strict-transport-security" not in answer.headers


@pytest.mark.slow
async def test_every_operation_sends_them_with_every_status(site: Site) -> None:
    document = (await site.http.get("/openapi.json")).json()
    statuses = set()
    for head in ({}, site.headers(), BEARER, BEARER | {"x-organization-id": str(uuid.uuid4())}):
        for method, path in operations(document):
            place = re.sub(r"{\w+}", str(uuid.uuid4()), path)
            for body in (None, "{}", "{"):
                answer = await site.http.request(method, place, headers=head, content=body)
                check(answer)
                statuses.add(answer.status_code)
    assert {200, 400, 401, 403, 404, 422} <= statuses


@pytest.mark.parametrize(
    ("status", "method", "path", "head"),
    [
        (404, "GET", "/nowhere", {}),
        (405, "PUT", "/traces", {}),
        (405, "HEAD", "/traces", {}),
        (413, "POST", "/traces", {"content-length": str(CONFIG.max_body_bytes + 1)}),
        (415, "POST", "/traces", {"content-type": "text/plain"}),
        (204, "OPTIONS", "/traces", {"origin": ORIGIN, "access-control-request-method": "GET"}),
        (400, "OPTIONS", "/traces", {"origin": "http://x", "access-control-request-method": "GET"}),
        (401, "GET", "/traces", {"origin": ORIGIN}),
        (200, "GET", "/docs", {}),
        (200, "GET", "/openapi.json", {}),
        (200, "GET", "/cli-login", {}),
        (404, "POST", "/cli-login/token", {}),
    ],
)
async def test_unknown_routes_and_pages_send_them(
    site: Site, status: int, method: str, path: str, head: dict[str, str]
) -> None:
    answer = await site.http.request(method, path, headers=head)
    assert answer.status_code == status
    check(answer)


async def test_writes_conflicts_and_empty_responses_send_them(site: Site) -> None:
    head = site.headers()
    stored = await site.http.post("/traces", headers=head, json=a_trace())
    gone = await site.http.delete(f"/traces/{stored.json()['trace_id']}", headers=head)
    assert [stored.status_code, gone.status_code] == [202, 204]
    check(stored)
    check(gone)
    [organization] = (await site.http.get("/organizations", headers=BEARER)).json()
    projects = f"/organizations/{organization['id']}/projects"
    for status in (201, 409):
        answer = await site.http.post(projects, headers=BEARER, json={"name": "store"})
        assert answer.status_code == status
        check(answer)


class Broken:
    async def detail(self, *_: object) -> None:
        raise RuntimeError("internal words")


async def test_faults_not_ready_and_rate_limits_send_them() -> None:
    site = Site(
        swapped={"traces": Broken()},
        parts={"redis": HealthStatus(ok=False)},
        limits={RouteClass.DEFAULT: Limit(1, "minute")},
    )
    async with site.http:
        place, head = f"/traces/{uuid.uuid4()}", site.headers()
        for status, path in ((500, place), (429, place), (503, "/health/ready")):
            answer = await site.http.get(path, headers=head)
            assert answer.status_code == status
            check(answer)


async def test_overload_refusal_sends_them(site: Site) -> None:
    app = ResponseHeaders(LoadShedding(site.app, requests_max=0, refusal_delay_s=0))
    [start, _], _ = await exchange(app, "GET", "/traces", {})
    assert start["status"] == 503
    said = {name.decode(): value.decode() for name, value in start["headers"]}
    assert WANTED.items() <= said.items()


def directives(policy: str) -> dict[str, Iterable[str]]:
    return {name: rest for name, *rest in (part.split() for part in policy.split(";"))}


@pytest.mark.parametrize("path", PAGES)
async def test_pages_run_only_their_own_scripts(site: Site, path: str) -> None:
    answer = await site.http.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    policy = directives(answer.headers["content-security-policy"])
    assert policy["default-src"] == ["'none'"]
    assert policy["base-uri"] == policy["frame-ancestors"] == policy["form-action"] == ["'none'"]
    assert "'unsafe-inline'" not in policy.get("script-src", ())
    assert "'unsafe-eval'" not in answer.headers["content-security-policy"]


async def test_documents_may_be_cached_with_revalidation(site: Site) -> None:
    for path in ("/docs", "/openapi.json"):
        assert (await site.http.get(path)).headers["cache-control"] == "no-cache"
    assert (await site.http.get("/cli-login")).headers["cache-control"] == "no-store"
