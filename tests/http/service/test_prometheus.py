"""/metrics, who may read it, and what whoever watches requests is told."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from domain.limits import Limit
from entrypoints.http.middleware.load_shedding import Overload
from entrypoints.http.middleware.metrics_access import CONTENT_TYPE
from entrypoints.http.middleware.observer_ports import Kind
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.http.conftest import CONFIG, Site, a_trace

TOKEN = "the token of a scraper"
TEXT = b"# TYPE up gauge\nup 1.0\n"


@dataclass
class Written:
    """Writes down what it is told."""

    answers: list[tuple[str, str, int, Kind]] = field(default_factory=list)
    decisions: list[tuple[str, bool]] = field(default_factory=list)
    spans: list[tuple[str, str, dict[str, Any], bool]] = field(default_factory=list)

    def answered(self, method: str, route: str, status: int, kind: Kind, seconds: float) -> None:
        assert 0 < seconds < 60
        self.answers.append((method, route, status, kind))

    def decided(self, route_class: str, *, admitted: bool) -> None:
        self.decisions.append((route_class, admitted))

    @contextmanager
    def request(self, traceparent: str) -> Iterator["Ending"]:
        yield Ending(self, traceparent)


@dataclass
class Ending:
    written: Written
    traceparent: str

    def ended(self, name: str, attributes: Mapping[str, Any], *, has_failed: bool) -> None:
        self.written.spans.append((self.traceparent, name, dict(attributes), has_failed))


async def figures() -> bytes:
    return TEXT


@pytest.fixture(scope="module")
def written() -> Written:
    return Written()


@pytest.fixture(scope="module")
def watched_site(written: Written) -> Site:
    config = replace(CONFIG, figures=figures, watch=written, tracer=written)
    return Site(config=config, limits={RouteClass.INGEST: Limit(1, "hour")})


@pytest.fixture
def watched(watched_site: Site, written: Written) -> Site:
    watched_site.begin()
    for told in (written.answers, written.decisions, written.spans):
        told.clear()
    return watched_site


def asking(site: Site, address: str | None = "127.0.0.1") -> httpx.AsyncClient:
    client = (address, 1) if address else None
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app, client=client),  # type: ignore[arg-type]  # it takes None too
        base_url="http://test",
    )


async def test_this_machine_may_read_it(watched):
    for address in ("127.0.0.1", "127.9.9.9", "::1"):
        async with asking(watched, address) as http:
            answer = await http.get("/metrics")
        assert (answer.status_code, answer.content) == (200, TEXT)
        assert answer.headers["content-type"] == f"{CONTENT_TYPE}; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "::ffff:10.0.0.1", "nowhere"])
async def test_nobody_else_may_without_a_token(watched, address):
    async with asking(watched, address) as http:
        answer = await http.get("/metrics", headers=watched.headers())
    assert (answer.status_code, TEXT in answer.content) == (403, False)
    assert "set a metrics token" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_who_comes_through_a_proxy_of_this_machine_is_not_on_it(watched, name):
    async with asking(watched) as http:
        assert (await http.get("/metrics", headers={name: "127.0.0.1"})).status_code == 403


@pytest.fixture(scope="module")
def with_token() -> Site:
    return Site(config=replace(CONFIG, figures=figures, metrics_token=TOKEN))


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
async def test_a_token_is_asked_of_everybody_where_there_is_one(with_token, address):
    async with asking(with_token, address) as http:
        for given in (None, "", TOKEN, f"Bearer {TOKEN}!", f"Bearer {TOKEN[:-1]}", "Bearer \xe9"):
            head = {} if given is None else {"authorization": given.encode("latin-1")}
            assert (await http.get("/metrics", headers=head)).status_code == 401
        head = {"authorization": f"Bearer {TOKEN}"}
        answer = await http.get("/metrics", headers=head | {"x-forwarded-for": "192.0.2.1"})
    assert (answer.status_code, answer.content) == (200, TEXT)


async def test_where_there_are_no_figures_there_is_no_page(site):
    async with asking(site) as http:
        answer = await http.get("/metrics")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


async def test_it_is_read_and_nothing_else(watched):
    async with asking(watched) as http:
        assert (await http.post("/metrics")).status_code == 405


async def test_it_is_no_part_of_the_reference(watched):
    async with watched.http as http:
        assert "/metrics" not in (await http.get("/openapi.json")).json()["paths"]


async def test_it_is_answered_while_nothing_else_is(watched):
    full = Overload(watched.app, requests_max=0, held_s=0)
    transport = httpx.ASGITransport(full)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/traces")).status_code == 503
        assert (await http.get("/metrics")).status_code == 200


async def test_no_rate_limit_counts_it():
    limits = dict.fromkeys(RouteClass, Limit(1, "hour"))
    site = Site(config=replace(CONFIG, figures=figures), limits=limits)
    async with asking(site) as http:
        answers = [await http.get("/metrics") for _ in range(3)]
    assert [one.status_code for one in answers] == [200] * 3
    assert not [one for one in answers[0].headers if one.startswith("ratelimit-")]


@pytest.mark.parametrize(("token", "status"), [("a-token-of-a-scraper", 401), (None, 403)])
async def test_who_may_not_read_them_is_limited_by_address(token, status):
    limits = {RouteClass.DEFAULT: Limit(2, "hour")}
    site = Site(config=replace(CONFIG, figures=figures, metrics_token=token), limits=limits)
    guess = {"authorization": "Bearer guess", "x-forwarded-for": "192.0.2.1"}
    async with asking(site) as http:
        answers = [await http.get("/metrics", headers=guess) for _ in range(3)]
        assert [one.status_code for one in answers] == [status, status, 429]
        assert int(answers[2].headers["retry-after"]) >= 1
        assert (await http.get("/traces")).status_code == 429  # the same bucket
        known = {"authorization": f"Bearer {token}"}
        assert (await http.get("/metrics", headers=known)).status_code == 200


async def test_whoever_watches_is_told_of_each_answer(watched, written):
    head = watched.headers()
    async with watched.http as http:
        assert (await http.post("/traces", json=a_trace(), headers=head)).status_code == 202
        assert (await http.post("/traces", json=a_trace(), headers=head)).status_code == 429
        assert (await http.get("/traces", headers=head)).status_code == 200
        assert (await http.get("/traces/1?name=secret", headers=head)).status_code == 422
        assert (await http.get("/nowhere/secret", headers=head)).status_code == 404
        assert (await http.request("BREW", "/traces")).status_code == 405
        assert (await http.get("/health")).status_code == 200
        tags = {"trace_ids": [], "tags": ["a"]}
        assert (await http.post("/organizations", json=tags, headers=head)).status_code == 401
    assert written.answers == [
        ("POST", "/traces", 202, Kind.INGEST),
        ("POST", "/traces", 429, Kind.INGEST),
        ("GET", "/traces", 200, Kind.READ),
        ("GET", "/traces/{trace_id}", 422, Kind.READ),
        ("GET", "-", 404, Kind.OTHER),
        ("OTHER", "-", 405, Kind.OTHER),
        ("GET", "/health", 200, Kind.OTHER),
        ("POST", "/organizations", 401, Kind.WRITE),
    ]
    assert written.decisions == [("ingest", True), ("ingest", False)]


async def test_a_span_has_what_the_log_line_has(watched, written):
    head = watched.headers() | {"traceparent": "00-a", "x-request-id": "r1"}
    async with watched.http as http:
        await http.get("/traces/1", headers=head)
        await http.get("/health", headers=head)
        await http.get("/traces", headers=head | {"user-agent": "pandaprobe-server-spans/1"})
    [(traceparent, name, said, has_failed)] = written.spans
    [project] = watched.store.projects
    [key] = watched.store.keys
    assert (traceparent, name, has_failed) == ("00-a", "GET /traces/{trace_id}", False)
    assert said == {
        "http.request.method": "GET",
        "http.route": "/traces/{trace_id}",
        "http.response.status_code": 422,
        "pandaprobe.request_id": "r1",
        "pandaprobe.organization_id": str(watched.organization),
        "pandaprobe.project_id": str(project),
        "pandaprobe.key_id": str(key),
    }
