"""Every operation on data that is being erased: it is in no response."""

import uuid
from dataclasses import replace

import pytest

from adapters.memory.exports.tickets import MemoryDownloadTickets
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from domain.ids import ProjectId
from entrypoints.composition.memory import replace_ports
from tests.http.conftest import Site, a_span, a_trace
from tests.support.clients.scored_project import store_erasure, store_score
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.registry import DATA_PLANE
from tests.support.endpoints.spec import EndpointSpec
from tests.support.endpoints.templates import Words, filled_path, named
from tests.support.fixtures import data_plane

MARK = "hidden5k"  # in every text of the trace, except those that requests have to name
GONE = {"session_id": "gone/session", "reader": "gone-reader"}
# Operations over all traces, or without a trace.
LISTS = (
    "GET /traces",
    "GET /spans",
    "GET /errors",
    "GET /sessions",
    "GET /evaluations/trace-scores",
)
NAMED = {"trace_id", "span_id", "session_id", "score_id"}


async def hidden(world: TwoTenants) -> Words:
    """The ids of a trace, its session and a score that are being erased."""
    await world.begin()
    words = world.theirs | GONE
    words |= {word: str(uuid.uuid4()) for word in ("trace_id", "span_id", "score_id")}
    span = a_span(span_id=words["span_id"], name=MARK, error=MARK, input=MARK, output=[MARK])
    span |= {"status": "ERROR"}
    trace = a_trace(trace_id=words["trace_id"], name=MARK, input=MARK, output={MARK: MARK})
    trace |= {"session_id": words["session_id"], "user_id": words["reader"], "tags": [MARK]}
    trace |= {"environment": MARK, "release": MARK, "metadata": {MARK: MARK}}
    trace |= {"spans": [span | {"metadata": {MARK: MARK}}]}
    assert (await world.send("POST", "/traces", world.their_key, trace)).status_code == 202
    ports = replace_ports(world.site.ports, **world.site.swapped)
    project = ProjectId(uuid.UUID(words["project_id"]))
    ids = {"trace": words["trace_id"], "session": words["session_id"]}
    await store_score(ports.evaluation, project, words["score_id"], **ids, text=MARK)
    for path in ("/traces/{trace_id}", "/sessions/{session_id}"):
        before = await world.send("GET", filled_path(path, words), world.their_key)
        assert MARK in before.text
    await store_erasure(
        ports.privacy, project, str(uuid.uuid4()),
        organization=words["org_id"], user=words["reader"],
    )  # fmt: skip
    return words


async def assert_hidden(world: TwoTenants, spec: EndpointSpec, words: Words) -> None:
    answer = await world.request(spec, world.their_key, words)
    assert answer.status_code < 500, spec.operation
    assert MARK not in answer.text, spec.operation
    assert MARK not in str(answer.headers), spec.operation
    if named(spec.path) & NAMED and spec.path.startswith(("/traces/{", "/sessions/{")):
        assert answer.status_code in {404, 204}, (spec.operation, answer.text)
    if spec.operation in LISTS:
        assert GONE["reader"] not in answer.text, spec.operation
        assert GONE["session_id"] not in answer.text, spec.operation
        assert words["trace_id"] not in answer.text, spec.operation


async def test_hidden_trace_is_in_no_response() -> None:
    await _each(TwoTenants(Site()))


@pytest.mark.service
async def test_hidden_trace_is_in_no_response_on_postgres(pool: Pool) -> None:
    async with data_plane.over_postgres(pool) as plane:
        # Their rows name an organization, and those are in memory here.
        tickets = MemoryDownloadTickets(MemoryStore())
        ports = plane.by_context()
        ports["exporting"] = replace(plane.exporting, tickets=tickets)
        await _each(TwoTenants(Site(swapped=ports)))


async def _each(world: TwoTenants) -> None:
    async with world.site.http:
        words = await hidden(world)
        reads = [one for one in DATA_PLANE if one.method == "GET"]
        writes = [one for one in DATA_PLANE if one.method != "GET"]
        for spec in (*reads, *writes, *reads):
            await assert_hidden(world, spec, words)
