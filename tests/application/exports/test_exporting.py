"""Files of exports: interrupted workers, and the validation of imports."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from adapters.memory.store import MemoryStore
from application.exports.imports import CHUNK_TRACES, ImportOutcome
from application.exports.ports import PIECE_BYTES
from application.exports.streams import (
    CONCURRENT_STREAMS_MAX,
    STREAMS_PER_PROJECT_MAX,
    StreamLimiter,
)
from application.exports.write_export import EXPORT_LEASE, RETRY_DELAY
from application.tracing.ingest import BATCH_MAX
from domain.errors import Invalid, LimitExceeded, Unavailable
from domain.evaluation.scores.score import ScoreSource
from domain.exports.export import (
    ATTEMPTS_MAX,
    Export,
    ExportStatus,
    FileFormat,
    RowKind,
    TraceWithScores,
)
from domain.identity.api_key import ALL_SCOPES
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.identity.organization import Organization, Role
from domain.ids import OrganizationId, ProjectId, UserId
from domain.tracing.query import TraceFilter
from entrypoints.composition.memory import memory_ports
from tests.contracts.exports.test_trace_archive import a_score
from tests.support.builders.scores import ADA, session_score
from tests.support.builders.values import NOON, OURS, THEIRS, at, prices, span, trace
from tests.support.fixtures.in_memory_app import World

EVE = UserId(uuid.UUID(int=0xE5E))
HEAVY = 5  # traces, which come to several pieces each


class Down:
    """Traces in a store that is down."""

    async def put(self, *_: Any) -> None:
        raise Unavailable("down")


@dataclass
class Broken:
    """An archive that raises, or waits for ever, after its first batch."""

    inner: Any
    failure: Exception | None
    reached: asyncio.Event

    @asynccontextmanager
    async def read(self, *asked: Any) -> AsyncIterator[Any]:
        async with self.inner.read(*asked) as batches:
            yield self._some(batches)

    async def _some(self, batches: Any) -> AsyncIterator[Any]:
        async for batch in batches:
            yield batch[:2]
            self.reached.set()
            if self.failure is not None:
                raise self.failure
            await asyncio.Event().wait()


@pytest.fixture
async def here() -> World:
    """With traces of several pieces in OURS, and an export of them that is due."""
    store = MemoryStore()
    organization = Organization(id=IMPORTER.organization_id, name="ours", created_at=NOON)
    store.organizations[organization.id] = organization
    world = World(memory_ports(store, prices()))
    for n in range(HEAVY):
        heavy = trace(started_at=at(n), input=b'"' + b"x" * 2 * PIECE_BYTES + b'"')
        await world.ports.tracing.traces.put(OURS, heavy)
    return world


async def ordered(world: World, format_: FileFormat = FileFormat.CSV) -> Export:
    ask = world.do.exporting.request_export
    return await ask(OURS, world.new_id(), format_, RowKind.TRACES, TraceFilter())


async def found(world: World, export: Export) -> Export:
    return await world.ports.exporting.exports.get(OURS, export.id)


async def read(world: World, export: Export, start: int = 0, end: int | None = None) -> bytes:
    file = world.do.exporting.read_export_file
    known = await file.find(OURS, export.id)
    parts = file(known, start, known.size if end is None else end)
    return b"".join([part async for part in parts])


def broken(world: World, failure: Exception | None) -> tuple[Any, Broken]:
    archive = Broken(world.ports.exporting.archive, failure, asyncio.Event())
    exporting = replace(world.ports.exporting, archive=archive)
    return world.with_ports(exporting=exporting).exporting, archive


async def test_stopping_worker_releases_its_export_immediately(here):
    export = await ordered(here)
    use_cases, archive = broken(here, None)
    working = asyncio.create_task(use_cases.write_export())
    await archive.reached.wait()
    assert (await found(here, export)).status is ExportStatus.RUNNING
    assert await here.do.exporting.write_export() == 0  # it is held
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert (await found(here, export)).status is ExportStatus.PENDING
    assert await here.do.exporting.write_export() == 1
    done = await found(here, export)
    assert (done.status, done.attempts, done.rows) == (ExportStatus.COMPLETED, 2, HEAVY)
    assert (await read(here, export)).count(b"\r\n") == HEAVY + 1


async def test_export_of_a_dead_worker_is_claimed_after_its_lease(here):
    export = await ordered(here)
    use_cases, archive = broken(here, None)
    killed = asyncio.create_task(use_cases.write_export())
    await archive.reached.wait()
    here.forward(seconds=EXPORT_LEASE.total_seconds())
    assert await here.do.exporting.write_export() == 1
    whole = await read(here, export)
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    done = await found(here, export)
    assert (done.status, done.rows, done.traces_total) == (ExportStatus.COMPLETED, HEAVY, HEAVY)
    assert await read(here, export) == whole


async def test_unavailable_store_is_retried_up_to_a_limit(here):
    export = await ordered(here)
    use_cases, _ = broken(here, Unavailable("The database is away"))
    for _ in range(ATTEMPTS_MAX):
        with pytest.raises(Unavailable):
            await use_cases.write_export()
        assert await use_cases.write_export() == 0  # not at once
        here.forward(seconds=RETRY_DELAY.total_seconds())
    assert await use_cases.write_export() == 1
    given_up = await found(here, export)
    assert given_up.status is ExportStatus.FAILED
    assert "failed to finish it" in str(given_up.error)


async def test_unexpected_error_fails_the_export_and_is_raised(here):
    export = await ordered(here)
    use_cases, _ = broken(here, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await use_cases.write_export()
    failed = await found(here, export)
    assert failed.status is ExportStatus.FAILED
    assert "ZeroDivision" not in str(failed.error)


async def test_trace_that_is_too_large_fails_the_export_and_is_named(here):
    export = await ordered(here)
    archive = replace(here.ports.exporting.archive, bytes_max=1)
    exporting = replace(here.ports.exporting, archive=archive)
    assert await here.with_ports(exporting=exporting).exporting.write_export() == 1
    failed = await found(here, export)
    assert failed.status is ExportStatus.FAILED
    assert re.match(r"trace [0-9a-f-]{36} holds more than 128 MiB", str(failed.error))


async def test_file_without_a_trace_that_is_too_large_says_so(here):
    large = trace(input=b'"%b"' % (b"x" * 700_000), name="large", started_at=at(1))
    await here.ports.tracing.traces.put(OURS, large)
    export = await ordered(here, FileFormat.NDJSON)
    archive = replace(here.ports.exporting.archive, bytes_max=600_000)
    exporting = replace(here.ports.exporting, archive=archive)
    assert await here.with_ports(exporting=exporting).exporting.write_export() == 1
    done = await found(here, export)
    assert (done.status, done.is_incomplete) == (ExportStatus.COMPLETED, True)
    assert str(done.error).startswith("The file is incomplete: 1 trace holds more than 128 MiB")
    assert str(large.id) in str(done.error)
    last = (await read(here, export, 0, done.size)).splitlines()[-1]
    end = json.loads(last)["export"]
    assert (end["complete"], end["left_out"]) == (False, [str(large.id)])


async def test_worker_without_the_library_fails_the_export_with_advice(here):
    export = await ordered(here, FileFormat.PARQUET)
    after = await ordered(here)
    missing = {FileFormat.PARQUET: "pip install it"}
    exporting = replace(here.ports.exporting, missing_formats=missing)
    use_cases = here.with_ports(exporting=exporting).exporting
    assert [await use_cases.write_export() for _ in range(3)] == [1, 1, 0]
    failed = await found(here, export)
    assert (failed.status, failed.error) == (ExportStatus.FAILED, "On the worker: pip install it")
    assert (await found(here, after)).status is ExportStatus.COMPLETED


async def test_export_that_proceeds_is_held_longer_than_one_lease(here):
    export, others = await ordered(here), []

    @dataclass
    class Slow:
        inner: Any

        @asynccontextmanager
        async def read(self, *asked: Any) -> AsyncIterator[Any]:
            async with self.inner.read(*asked) as batches:
                yield self._each(batches)

        async def _each(self, batches: Any) -> AsyncIterator[Any]:
            async for batch in batches:
                for one in batch:
                    yield [one]
                    here.forward(seconds=EXPORT_LEASE.total_seconds() * 0.75)
                    others.append(await here.do.exporting.write_export())

    exporting = replace(here.ports.exporting, archive=Slow(here.ports.exporting.archive))
    assert await here.with_ports(exporting=exporting).exporting.write_export() == 1
    assert others == [0] * HEAVY
    assert (await found(here, export)).attempts == 1


async def test_deleted_export_is_abandoned(here):
    export = await ordered(here)
    store = here.ports.exporting.archive.store

    @dataclass
    class Deleting:
        inner: Any

        @asynccontextmanager
        async def read(self, *asked: Any) -> AsyncIterator[Any]:
            async with self.inner.read(*asked) as batches:
                await here.do.exporting.delete_export(OURS, export.id)
                yield batches

    exporting = replace(here.ports.exporting, archive=Deleting(here.ports.exporting.archive))
    assert await here.with_ports(exporting=exporting).exporting.write_export() == 1
    assert (store.exports, store.export_pieces) == ({}, {})


async def test_completed_export_has_as_many_traces_as_it_counted(here):
    """Traces are counted before they are read, and others may come in between."""
    export, traces = await ordered(here), here.ports.tracing.traces

    @dataclass
    class Growing:
        inner: Any

        @asynccontextmanager
        async def read(self, *asked: Any) -> AsyncIterator[Any]:
            await traces.put(OURS, trace())
            async with self.inner.read(*asked) as batches:
                yield batches

    exporting = replace(here.ports.exporting, archive=Growing(here.ports.exporting.archive))
    assert await here.with_ports(exporting=exporting).exporting.write_export() == 1
    done = await found(here, export)
    assert (done.rows, done.traces_done, done.traces_total) == (HEAVY + 1,) * 3


async def test_any_byte_range_of_a_file_is_read(here):
    export = await ordered(here, FileFormat.NDJSON)
    await here.do.exporting.write_export()
    whole = await read(here, export)
    assert len(whole) > HEAVY * 2 * PIECE_BYTES
    for start in (0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 5, len(whole) - 1):
        for end in (start, start + 1, start + PIECE_BYTES, len(whole)):
            assert await read(here, export, start, min(end, len(whole))) == whole[start:end]


# --- streams --------------------------------------------------------------------------------------


def test_stream_slots_are_limited_by_project_and_in_total():
    limiter = StreamLimiter()
    projects = [ProjectId(uuid.uuid4()) for _ in range(CONCURRENT_STREAMS_MAX)]
    taken = [limiter.slot(one) for one in projects]
    for one in taken:
        one.__enter__()
    with pytest.raises(Unavailable), limiter.slot(ProjectId(uuid.uuid4())):
        pass
    taken[0].__exit__(None, None, None)
    with limiter.slot(projects[1]), pytest.raises(LimitExceeded), limiter.slot(projects[1]):
        pass
    with limiter.slot(OURS), pytest.raises(Unavailable), limiter.slot(OURS):
        pass
    assert STREAMS_PER_PROJECT_MAX == 2


# --- imports --------------------------------------------------------------------------------------


IMPORTER: Final = Caller(
    organization_id=OrganizationId(uuid.uuid4()), project_id=OURS, scopes=ALL_SCOPES
)


def sent(**said: Any) -> TraceWithScores:
    return TraceWithScores(trace(span(), **said).settled(prices().price))


async def test_import_size_is_limited(here):
    put = here.do.exporting.import_traces
    for count in (0, BATCH_MAX + 1):
        with pytest.raises(Invalid, match=f"1 to {BATCH_MAX}"):
            await put(IMPORTER, [sent() for _ in range(count)])
    one = sent()
    with pytest.raises(Invalid):
        await put(IMPORTER, [one, one])
    assert here.ports.exporting.archive.store.audit_log == {}


async def test_import_is_audited_before_it_is_written(here):
    """An import is many transactions: if it is interrupted, the audit log has it all the same."""
    one = sent()
    with pytest.raises(Unavailable):
        await here.with_ports(traces=Down()).exporting.import_traces(IMPORTER, [one, sent()])
    [entry] = here.ports.exporting.archive.store.audit_log.values()
    assert (entry.action, entry.resource_id) == (AuditAction.TRACES_IMPORTED, str(OURS))
    assert entry.detail == {"project_id": str(OURS), "traces": "2"}


async def test_import_outcomes_keep_the_order(here):
    put = here.do.exporting.import_traces
    many = [sent(started_at=at(n)) for n in range(2 * CHUNK_TRACES + 1)]
    await put(IMPORTER, many[::2])
    outcomes = await put(IMPORTER, many)
    assert outcomes[::2] == [ImportOutcome.UNCHANGED] * (CHUNK_TRACES + 1)
    assert outcomes[1::2] == [ImportOutcome.STORED] * CHUNK_TRACES


async def test_imported_scores_belong_to_the_importing_project(here):
    one = sent()
    theirs = TraceWithScores(one.trace, (a_score(THEIRS, one.trace.id),))
    assert await here.do.exporting.import_traces(IMPORTER, [theirs]) == [ImportOutcome.STORED]
    store = here.ports.exporting.archive.store
    assert [score.project_id for score in store.trace_scores.values()] == [OURS]
    assert store.traces.in_project(THEIRS) == []


async def test_imported_score_of_span_needs_no_span(here):
    """An evaluation event may have come without its span, and be exported like that."""
    one, missing = sent(), span().id
    score = a_score(OURS, one.trace.id, span_id=missing)
    put = here.do.exporting.import_traces
    scored = replace(one, scores=(score,))
    assert await put(IMPORTER, [scored]) == [ImportOutcome.STORED]
    assert await put(IMPORTER, [scored]) == [ImportOutcome.UNCHANGED]
    store = here.ports.exporting.archive.store
    assert [held.span_id for held in store.trace_scores.values()] == [missing]


@pytest.mark.parametrize(
    ("user", "role", "author", "source"),
    [
        (None, None, None, ScoreSource.PROGRAMMATIC),
        (ADA, Role.MEMBER, ADA, ScoreSource.PROGRAMMATIC),
        (EVE, Role.MEMBER, None, ScoreSource.PROGRAMMATIC),
        (EVE, Role.ADMIN, ADA, ScoreSource.AUTOMATED),
        (EVE, Role.OWNER, ADA, ScoreSource.AUTOMATED),
    ],
)
async def test_admins_alone_state_who_gave_a_score(here, user, role, author, source):
    """Another importer would give scores in the name of a judge or of a person."""
    one = sent(session_id="s")
    given = {"source": ScoreSource.AUTOMATED, "author_id": ADA}
    scored = replace(
        one,
        scores=(replace(a_score(OURS, one.trace.id), **given),),
        session_scores=(session_score(OURS, "s", **given),),
    )
    importer = replace(IMPORTER, user_id=user, role=role)
    assert await here.do.exporting.import_traces(importer, [scored]) == [ImportOutcome.STORED]
    store = here.ports.exporting.archive.store
    for stored in (*store.trace_scores.values(), *store.session_scores.values()):
        assert (stored.source, stored.author_id) == (source, author)


async def test_score_of_another_trace_is_rejected(here):
    one, other = sent(), sent()
    score = a_score(OURS, one.trace.id)
    put = here.do.exporting.import_traces
    await put(IMPORTER, [replace(one, scores=(score,))])
    taken = replace(other, scores=(replace(score, trace_id=other.trace.id),))
    [refused] = await put(IMPORTER, [taken])
    assert isinstance(refused, Invalid)
    assert [(bad.field, str(score.id) in bad.message) for bad in refused.errors] == [
        ("scores", True)
    ]
    store = here.ports.exporting.archive.store
    assert [held.trace_id for held in store.trace_scores.values()] == [one.trace.id]


async def test_unchanged_import_does_not_trigger_monitors(here):
    one = sent(tags=("b", "a"))
    await here.do.exporting.import_traces(IMPORTER, [one])
    store = here.ports.exporting.archive.store
    store.traces.clock = lambda: NOON.replace(year=2030)
    before = dict(store.traces.written_at)
    assert await here.do.exporting.import_traces(IMPORTER, [one]) == [ImportOutcome.UNCHANGED]
    assert store.traces.written_at == before
    assert store.traces[OURS, one.trace.id].tags == ("b", "a")
    more = replace(one, trace=replace(one.trace, tags=("c", "a")))
    assert await here.do.exporting.import_traces(IMPORTER, [more]) == [ImportOutcome.STORED]
    assert store.traces[OURS, one.trace.id].tags == ("a", "b", "c")
