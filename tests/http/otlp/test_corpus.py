"""Requests of real instrumentations over HTTP: their facts hold however they are sent."""

from collections.abc import AsyncIterator, Iterable

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.otlp_traces import MemoryOtlpTraces
from adapters.postgres.database.pool import Pool
from adapters.pricing.genai_prices import GenaiPriceBook
from entrypoints.composition.otlp_rules import fragment_rules
from tests.http.conftest import Site
from tests.support.clients.otlp_corpus import Program, WireRequest, shown_traces
from tests.support.fixtures import data_plane
from tests.support.hypothesis_scale import some_of

EACH = pytest.mark.parametrize("program", Program.all(), ids=lambda one: one.name)
SOME = pytest.mark.parametrize("program", some_of(Program.all(), 3), ids=lambda one: one.name)


@pytest.fixture(scope="module")
async def postgres(pool: Pool) -> AsyncIterator[Site]:
    async with data_plane.over_postgres(pool, GenaiPriceBook()) as plane:
        yield Site(swapped=plane.by_context())


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.service)])
def site(request: pytest.FixtureRequest) -> Site:
    """With the prices of the product. Not async: `getfixturevalue` works in plain fixtures only."""
    if request.param == "postgres":
        stored: Site = request.getfixturevalue("postgres")
        stored.begin()
        return stored
    store = MemoryStore()
    otlp = MemoryOtlpTraces(store, GenaiPriceBook(), fragment_rules())
    return Site(store=store, swapped={"otlp": otlp})


async def send_all(site: Site, key: str, project: str, requests: Iterable[WireRequest]) -> None:
    for request in requests:
        answer = await request.send(site.http, key, project)
        assert answer.status_code == 200, answer.content
        assert answer.headers["content-type"] == request.content_type
        assert answer.content in {b"", b"{}"}, "nothing is rejected"


@EACH
async def test_facts_hold_in_any_order(site: Site, program: Program) -> None:
    """In order, once more, in reverse with one span or record each, and in the other wire type."""
    key = site.key()
    in_order, again = program.as_sent(), [*program.as_sent(), *program.as_sent()]
    sendings = {
        "in order": in_order,
        "again": again,
        "singly in reverse": program.singly_in_reverse(),
        "other type": program.as_other_type(),
    }
    first = None
    async with site.http:
        for project, requests in sendings.items():
            await send_all(site, key, project, requests)
            shown = await shown_traces(site.http, key, project, program)
            for one in shown:
                one.check(program)
            rows = [{**one.trace, "project_id": None} for one in shown]
            first = first or rows
            assert rows == first, project


@SOME  # the test above sends the others too, each way to a project of its own
async def test_split_and_repeated_requests_add_no_trace(site: Site, program: Program) -> None:
    key = site.key()
    async with site.http:
        for requests in (program.as_sent(), program.singly_in_reverse(), program.as_sent()):
            await send_all(site, key, "shop", requests)
        head = {"x-api-key": key, "x-project-name": "shop"}
        page = (await site.http.get("/traces", headers=head)).json()
        assert page["total"] == len(program.facts)
        rejections = (await site.http.get("/ingest/rejections", headers=head)).json()
        assert rejections["total"] == 0
        for one in await shown_traces(site.http, key, "shop", program):
            one.check(program)


def test_all_programs_are_there() -> None:
    assert len(Program.all()) > 20
