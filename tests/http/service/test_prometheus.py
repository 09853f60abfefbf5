"""/metrics: who may read it; and the calls of the request observer."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from domain.limits import Limit
from entrypoints.http.error_responses import NO_SUCH_PATH
from entrypoints.http.middleware.access_log import AccessLog
from entrypoints.http.middleware.load_shedding import LoadShedding
from entrypoints.http.middleware.metrics_access import CONTENT_TYPE
from entrypoints.http.middleware.observer_ports import RequestKind
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.tracing import RequestTracing
from tests.http.conftest import CONFIG, Site, a_trace
from tests.support.clients.asgi_client import exchange, with_http_version

TOKEN = "the token of a scraper"
TEXT = b"# TYPE up gauge\nup 1.0\n"


@dataclass
class RecordingObserver:
    """Records all calls."""

    responses: list[tuple[str, str, int, RequestKind]] = field(default_factory=list)
    decisions: list[tuple[str, bool]] = field(default_factory=list)
    spans: list[tuple[str, str, dict[str, Any], bool]] = field(default_factory=list)

    def request_ended(
        self, method: str, route: str, status: int, kind: RequestKind, seconds: float
    ) -> None:
        assert 0 < seconds < 60
        self.responses.append((method, route, status, kind))

    def rate_limit_decided(self, route_class: str, *, admitted: bool) -> None:
        self.decisions.append((route_class, admitted))

    @contextmanager
    def request(self, traceparent: str) -> Iterator["RecordingSpan"]:
        yield RecordingSpan(self, traceparent)


@dataclass
class RecordingSpan:
    observer: RecordingObserver
    traceparent: str

    def ended(self, name: str, attributes: Mapping[str, Any], *, has_failed: bool) -> None:
        self.observer.spans.append((self.traceparent, name, dict(attributes), has_failed))


async def metrics_text() -> bytes:
    return TEXT


@pytest.fixture(scope="module")
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture(scope="module")
def observed_site(observer: RecordingObserver) -> Site:
    config = replace(CONFIG, metrics_text=metrics_text, observer=observer, tracer=observer)
    return Site(config=config, limits={RouteClass.INGEST: Limit(1, "hour")})


@pytest.fixture
def observed(observed_site: Site, observer: RecordingObserver) -> Site:
    observed_site.begin()
    for calls in (observer.responses, observer.decisions, observer.spans):
        calls.clear()
    return observed_site


def client_at(
    site: Site, address: str | None = "127.0.0.1", host: str = "localhost:8000"
) -> httpx.AsyncClient:
    client = (address, 1) if address else None
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app, client=client),  # type: ignore[arg-type]  # it takes None too
        base_url=f"http://{host}",
    )


async def test_loopback_client_may_read_metrics(observed):
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        async with client_at(observed, address) as http:
            answer = await http.get("/metrics")
        assert (answer.status_code, answer.content) == (200, TEXT)
        assert answer.headers["content-type"] == f"{CONTENT_TYPE}; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "::ffff:10.0.0.1", "nowhere", None])
async def test_other_addresses_are_403_without_a_token(observed, address):
    async with client_at(observed, address) as http:
        answer = await http.get("/metrics", headers=observed.headers())
    assert (answer.status_code, TEXT in answer.content) == (403, False)
    assert "set a metrics token" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((one, 200) for one in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8000")),
        *((one, 403) for one in ("attacker.example", "localhost.attacker.example", "test:8000")),
        *((one, 403) for one in ("10.0.0.1", "192.0.2.7:8000", "0.0.0.0:8000")),
    ],
)
async def test_name_that_points_to_this_machine_is_403(observed, host, status):
    """A page in a browser on this machine may use it: DNS rebinding."""
    async with client_at(observed, host=host) as http:
        assert (await http.get("/metrics")).status_code == status


@pytest.mark.parametrize(
    "name",
    [
        *("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"),
        *("X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "True-Client-IP"),
        *("CF-Connecting-IP", "X-Client-IP", "X-Original-Forwarded-For"),
    ],
)
async def test_proxied_request_is_403(observed, name):
    async with client_at(observed) as http:
        assert (await http.get("/metrics", headers={name: "127.0.0.1"})).status_code == 403


async def test_request_of_an_old_protocol_is_403(observed):
    """Debian's nginx sends it by default, with our address as Host and no header of its own."""
    app = with_http_version(observed.app, "1.0")
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/metrics")).status_code == 403


@pytest.fixture(scope="module")
def with_token() -> Site:
    return Site(config=replace(CONFIG, metrics_text=metrics_text, metrics_token=TOKEN))


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
async def test_configured_token_is_required_from_every_address(with_token, address):
    async with client_at(with_token, address) as http:
        for given in (None, "", TOKEN, f"Bearer {TOKEN}!", f"Bearer {TOKEN[:-1]}", "Bearer \xe9"):
            head = {} if given is None else {"authorization": given.encode("latin-1")}
            refused = await http.get("/metrics", headers=head)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        head = {"authorization": f"Bearer {TOKEN}"}
        answer = await http.get("/metrics", headers=head | {"x-forwarded-for": "192.0.2.1"})
    assert (answer.status_code, answer.content) == (200, TEXT)


async def test_metrics_route_is_404_without_metrics(site):
    async with client_at(site) as http:
        answer = await http.get("/metrics")
    assert (answer.status_code, answer.json()) == (404, {"detail": NO_SUCH_PATH})


async def test_only_get_is_allowed(observed):
    async with client_at(observed) as http:
        assert (await http.post("/metrics")).status_code == 405


async def test_metrics_are_not_in_the_openapi_document(observed):
    async with observed.http as http:
        assert "/metrics" not in (await http.get("/openapi.json")).json()["paths"]


async def test_metrics_are_exempt_from_load_shedding(observed):
    full = LoadShedding(observed.app, requests_max=0, refusal_delay_s=0)
    transport = httpx.ASGITransport(full)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/traces")).status_code == 503
        assert (await http.get("/metrics")).status_code == 200


async def test_metrics_are_exempt_from_rate_limits():
    limits = dict.fromkeys(RouteClass, Limit(1, "hour"))
    site = Site(config=replace(CONFIG, metrics_text=metrics_text), limits=limits)
    async with client_at(site) as http:
        answers = [await http.get("/metrics") for _ in range(3)]
    assert [one.status_code for one in answers] == [200] * 3
    assert not [one for one in answers[0].headers if one.startswith("ratelimit-")]


@pytest.mark.parametrize(("token", "status"), [("a-token-of-a-scraper", 401), (None, 403)])
async def test_refused_metrics_requests_count_by_address(token, status):
    limits = {RouteClass.DEFAULT: Limit(2, "hour")}
    site = Site(
        config=replace(CONFIG, metrics_text=metrics_text, metrics_token=token), limits=limits
    )
    guess = {"authorization": "Bearer guess", "x-forwarded-for": "192.0.2.1"}
    async with client_at(site) as http:
        answers = [await http.get("/metrics", headers=guess) for _ in range(3)]
        assert [one.status_code for one in answers] == [status, status, 429]
        assert int(answers[2].headers["retry-after"]) >= 1
        assert (await http.get("/traces")).status_code == 429  # the same bucket
        known = {"authorization": f"Bearer {token}"}
        assert (await http.get("/metrics", headers=known)).status_code == 200


async def test_observer_is_called_for_every_response(observed, observer):
    head = observed.headers()
    async with observed.http as http:
        assert (await http.post("/traces", json=a_trace(), headers=head)).status_code == 202
        assert (await http.post("/traces", json=a_trace(), headers=head)).status_code == 429
        assert (await http.get("/traces", headers=head)).status_code == 200
        assert (await http.get("/traces/1?name=secret", headers=head)).status_code == 422
        assert (await http.get("/nowhere/secret", headers=head)).status_code == 404
        assert (await http.request("BREW", "/traces")).status_code == 405
        assert (await http.get("/health")).status_code == 200
        tags = {"trace_ids": [], "tags": ["a"]}
        assert (await http.post("/organizations", json=tags, headers=head)).status_code == 401
    assert observer.responses == [
        ("POST", "/traces", 202, RequestKind.INGEST),
        ("POST", "/traces", 429, RequestKind.INGEST),
        ("GET", "/traces", 200, RequestKind.READ),
        ("GET", "/traces/{trace_id}", 422, RequestKind.READ),
        ("GET", "-", 404, RequestKind.OTHER),
        ("OTHER", "-", 405, RequestKind.OTHER),
        ("GET", "/health", 200, RequestKind.OTHER),
        ("POST", "/organizations", 401, RequestKind.WRITE),
    ]
    assert observer.decisions == [("ingest", True), ("ingest", False)]


async def test_span_has_the_fields_of_the_log_line(observed, observer):
    head = observed.headers() | {"traceparent": "00-a", "x-request-id": "r1"}
    async with observed.http as http:
        await http.get(f"/traces/{uuid.UUID(int=1)}", headers=head)
        await http.get("/health", headers=head)
        await http.get("/traces", headers=head | {"user-agent": "pandaprobe-server-spans/1"})
    [(traceparent, name, said, has_failed)] = observer.spans
    [project] = observed.store.projects
    [key] = observed.store.keys
    assert (traceparent, name, has_failed) == ("00-a", "GET /traces/{trace_id}", False)
    assert said == {
        "http.request.method": "GET",
        "http.route": "/traces/{trace_id}",
        "http.response.status_code": 404,
        "pandaprobe.request_id": "r1",
        "pandaprobe.organization_id": str(observed.organization),
        "pandaprobe.project_id": str(project),
        "pandaprobe.key_id": str(key),
    }


async def test_span_of_a_request_without_a_response_has_failed():
    async def hang_up(scope, receive, send): ...

    observer = RecordingObserver()
    app = RequestTracing(AccessLog(hang_up), observer)
    await exchange(app, "GET", "/traces", {})
    [(_, name, said, has_failed)] = observer.spans
    assert (name, said["http.response.status_code"], has_failed) == ("GET -", 0, True)
