"""Contract of Exports: one worker at a time writes an export, and its file is kept in pieces."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.exports.exports import MemoryExports
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.exports.exports import PIECES_PER_TRANSACTION, PostgresExports
from application.clock import utc_now
from application.exports.files import DeleteExpiredExports
from application.exports.ports import EXPORTS_MAX, Exports
from domain.errors import Conflict, NotFound, Unavailable
from domain.exports.export import Export, ExportStatus, FileFormat, RowKind
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter
from domain.tracing.trace import TraceStatus
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.waiting import until_done

MINUTE = timedelta(minutes=1)
WEEK = timedelta(days=7)
FULL_FILTER = TraceFilter(
    session_id="s",
    status=TraceStatus.ERROR,
    tags=("a", "b"),
    name="%",
    started_after=NOON,
    min_latency_ms=0.1,
    has_error=False,
    metadata=(("k", ("1", "x")),),
)


@pytest.fixture
async def exports(adapter: Pool | None) -> AsyncIterator[Exports]:
    """Exports of which none is due from other tests."""
    if adapter is None:
        yield MemoryExports(MemoryStore())
        return
    await within(adapter, ALL_TENANTS).execute("DELETE FROM exports")
    yield PostgresExports(adapter)
    await within(adapter, ALL_TENANTS).execute("DELETE FROM exports")


def an_export(project_id: ProjectId, **overrides: Any) -> Export:
    known: dict[str, Any] = {
        "id": uuid.uuid4(),
        "project_id": project_id,
        "format": FileFormat.CSV,
        "created_at": NOON,
        "due_at": NOON,
        "expires_at": NOON + WEEK,
    }
    return Export(**known | overrides)


async def claim_new(exports: Exports, project_id: ProjectId, **overrides: Any) -> Export:
    await exports.create(an_export(project_id, **overrides))
    found = await exports.claim(NOON, NOON + MINUTE)
    assert found is not None
    return found


async def test_added_exports_are_read_and_listed_newest_first(exports):
    ours = project()
    first = an_export(ours, matching=FULL_FILTER, row_kind=RowKind.SPANS)
    later = an_export(ours, format=FileFormat.PARQUET, created_at=NOON + MINUTE)
    assert await exports.create(first) == first
    assert await exports.create(later) == later
    assert await exports.get(ours, first.id) == first
    assert await exports.all(ours) == [later, first]


async def test_add_with_existing_id_returns_stored_export(exports):
    ours = project()
    first = await exports.create(an_export(ours))
    again = await exports.create(replace(first, format=FileFormat.PARQUET))
    assert again == first
    assert await exports.all(ours) == [first]


async def test_export_limit_holds_for_concurrent_requests(exports):
    ours = project()
    asked = [exports.create(an_export(ours)) for _ in range(EXPORTS_MAX + 3)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in outcomes) == 3
    found = await exports.all(ours)
    assert len(found) == EXPORTS_MAX
    assert found == sorted(found, key=lambda one: one.id, reverse=True)  # of the same instant
    await exports.create(an_export(project()))
    assert await exports.delete(ours, (await exports.all(ours))[0].id)
    await exports.create(an_export(ours))


async def test_claim_returns_longest_due_export(exports):
    ours, theirs = project(), project()
    await exports.create(an_export(ours, due_at=NOON))
    first = await exports.create(an_export(theirs, due_at=NOON - MINUTE))
    assert await exports.claim(NOON - 2 * MINUTE, NOON) is None
    found = await exports.claim(NOON, NOON + MINUTE)
    assert found == first.claimed(NOON + MINUTE)
    assert await exports.get(theirs, first.id) == found


async def test_concurrent_claims_get_different_exports(exports):
    ours = project()
    for _ in range(3):
        await exports.create(an_export(ours))
    found = await asyncio.gather(*(exports.claim(NOON, NOON + MINUTE) for _ in range(5)))
    ids = [one.id for one in found if one is not None]
    assert len(ids) == len(set(ids)) == 3


async def test_claimed_export_is_exclusive_until_lease_expires(exports):
    export = await claim_new(exports, project())
    assert await exports.claim(NOON + MINUTE / 2, NOON + WEEK) is None
    again = await exports.claim(NOON + MINUTE, NOON + 2 * MINUTE)
    assert again is not None
    assert (again.id, again.attempts) == (export.id, 2)


async def test_pieces_and_progress_are_stored_in_order(exports):
    ours = project()
    export = await claim_new(exports, ours)
    standing = replace(export, rows=3, size=9, traces_done=2, traces_total=5)
    assert await exports.save(standing, b"first", b"second")
    assert await exports.get(ours, export.id) == standing
    over = replace(standing, rows=4).completed("f" * 64, NOON + MINUTE)
    assert await exports.save(over, b"third")
    assert await exports.get(ours, export.id) == over
    pieces = [await exports.read_piece(ours, export.id, n) for n in range(3)]
    assert pieces == [b"first", b"second", b"third"]
    with pytest.raises(NotFound):
        await exports.read_piece(ours, export.id, 3)


async def test_completed_export_is_not_claimed_or_written(exports):
    ours = project()
    export = await claim_new(exports, ours)
    over = export.completed("f" * 64, NOON)
    assert await exports.save(over, b"all")
    assert not await exports.save(export, b"more")
    assert await exports.claim(NOON + WEEK, NOON + WEEK) is None
    assert await exports.get(ours, export.id) == over


async def test_superseded_attempt_cannot_write(exports):
    ours = project()
    slow = await claim_new(exports, ours)
    assert await exports.save(slow, b"old")
    fresh = await exports.claim(NOON + MINUTE, NOON + 2 * MINUTE)
    assert fresh is not None
    assert not await exports.save(slow, b"older")
    assert not await exports.save(slow.completed("f" * 64, NOON))
    assert await exports.save(fresh, b"new")
    assert await exports.read_piece(ours, fresh.id, 0) == b"new"
    with pytest.raises(NotFound):
        await exports.read_piece(ours, fresh.id, 1)


async def test_failed_export_has_no_file(exports):
    ours = project()
    export = await claim_new(exports, ours)
    await exports.save(export, *(b"x" for _ in range(3)))
    failed = export.failed("no", NOON)
    assert await exports.save(failed)
    assert await exports.get(ours, export.id) == failed
    with pytest.raises(NotFound):
        await exports.read_piece(ours, export.id, 0)


async def test_postponed_export_is_due_later(exports):
    export = await claim_new(exports, project())
    assert await exports.save(export.put_off(NOON + MINUTE))
    assert await exports.claim(NOON, NOON + MINUTE) is None
    again = await exports.claim(NOON + MINUTE, NOON + 2 * MINUTE)
    assert again is not None
    assert again.attempts == 2


async def test_deleted_export_loses_its_file_and_rejects_writes(exports):
    ours = project()
    export = await claim_new(exports, ours)
    await exports.save(export, *(b"x" for _ in range(PIECES_PER_TRANSACTION + 1)))
    assert await exports.delete(ours, export.id)
    assert not await exports.delete(ours, export.id)
    assert not await exports.save(export, b"more")
    assert await exports.all(ours) == []
    for n in range(2):
        with pytest.raises(NotFound):
            await exports.read_piece(ours, export.id, n)
    with pytest.raises(NotFound):
        await exports.get(ours, export.id)


async def test_one_sweep_deletes_all_expired_exports(exports):
    old = [await claim_new(exports, project(), expires_at=NOON) for _ in range(3)]
    for one in old:
        await exports.save(one.completed("f" * 64, NOON), b"x")
    await DeleteExpiredExports(exports, lambda: NOON)()
    assert [await exports.all(one.project_id) for one in old] == [[], [], []]


async def test_sweep_deletes_expired_exports_only(exports):
    ours = project()
    kept = await exports.create(an_export(ours, expires_at=NOON + MINUTE))
    old = await claim_new(exports, project(), due_at=NOON - MINUTE, expires_at=NOON)
    await exports.save(
        old.completed("f" * 64, NOON), *(b"x" for _ in range(PIECES_PER_TRANSACTION + 1))
    )
    assert await exports.delete_expired(NOON - MINUTE) == 0
    await until_done(exports.delete_expired, NOON)
    assert await exports.all(ours) == [kept]
    assert await exports.all(old.project_id) == []
    with pytest.raises(NotFound):
        await exports.read_piece(old.project_id, old.id, 0)


async def test_exports_of_another_project_are_not_found(exports):
    ours, theirs = project(), project()
    export = await claim_new(exports, theirs)
    await exports.save(export.completed("f" * 64, NOON), b"theirs")
    assert await exports.all(ours) == []
    assert not await exports.delete(ours, export.id)
    for read in (exports.get(ours, export.id), exports.read_piece(ours, export.id, 0)):
        with pytest.raises(NotFound):
            await read
    mine = await exports.create(an_export(ours, id=export.id))
    assert await exports.get(ours, export.id) == mine
    assert await exports.read_piece(theirs, export.id, 0) == b"theirs"


async def test_exports_of_removed_project_are_not_found_or_due(world):
    ours, exports = project(), world.ports.exporting.exports
    past = utc_now() - WEEK
    export = await exports.create(an_export(ours, due_at=past))
    if isinstance(exports, MemoryExports):
        exports.store.removed[ours] = NOON
    else:
        await within(exports.pool, ALL_TENANTS).execute(
            "INSERT INTO removals VALUES ($1, $2, $2)", ours, utc_now()
        )
    with pytest.raises(NotFound):
        await exports.get(ours, export.id)
    with pytest.raises(Unavailable):
        await exports.create(an_export(ours))
    assert await exports.all(ours) == []
    assert not await exports.save(replace(export, status=ExportStatus.RUNNING), b"x")
    while (due := await exports.claim(past, past + WEEK)) is not None:
        assert due.project_id != ours
