"""Files of exports during an erasure: those of before it go, and later ones stay."""

import asyncio
from datetime import timedelta

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import within
from adapters.postgres.exports.exports import PostgresExports
from adapters.postgres.privacy.erasures import PIECES_PER_DELETE, PostgresErasures
from adapters.postgres.tracing.writes.edits import TraceEdits
from domain.privacy.erasure import DataSubject, DataSubjectKind, ErasureState
from tests.contracts.exports.test_exports import an_export
from tests.support.builders.values import NOON, project_prices
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.fixtures.servers import citus
from tests.support.waiting import in_time

pytestmark = pytest.mark.service

HOLD = "SELECT 1 FROM exports WHERE project_id = $1 AND id = $2 FOR UPDATE"
INSERT_PIECES = """
INSERT INTO export_pieces (project_id, export_id, number, content)
SELECT $1, $1, number, '' FROM generate_series(1, $2) AS number
"""
WAITS = f"""
SELECT EXISTS (
  SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))
  {"" if not citus.IS_USED else citus.OR_WAITS_ON_WORKER}
)
"""


async def test_erasure_ends_with_the_last_piece_of_a_file(pool: Pool):
    ours, pieces = project(), PIECES_PER_DELETE + 1
    erasures = PostgresErasures(TraceEdits(pool, project_prices()))
    grace = DataSubject(DataSubjectKind.USER, "grace")
    erasure = an_erasure(ours, grace)
    await erasures.begin(erasure, grace, audit_entry(erasure))
    await within(pool, ours).execute(INSERT_PIECES, ours, pieces)
    steps = [await erasures.advance(ours, erasure.id, NOON, audit_entry) for _ in range(2)]
    assert [one.state for one in steps] == [ErasureState.REMOVING, ErasureState.REMOVED]
    assert steps[-1].rows == {"export_pieces": pieces}


async def test_export_requested_during_erasure_keeps_its_file(pool: Pool, patient_pool: Pool):
    ours, exports = project(), PostgresExports(pool)
    erasures = PostgresErasures(TraceEdits(patient_pool, project_prices()))
    before, later = an_export(ours), an_export(ours, due_at=NOON - timedelta(days=9_000))
    grace = DataSubject(DataSubjectKind.USER, "grace")
    erasure = an_erasure(ours, grace)
    await erasures.begin(erasure, grace, audit_entry(erasure))
    await exports.create(before)
    async with pool.acquire() as holder:
        lock = holder.transaction()
        await lock.start()
        await holder.execute(HOLD, ours, before.id)
        removing = asyncio.create_task(erasures.advance(ours, erasure.id, NOON, audit_entry))
        async with in_time():
            while not await holder.fetchval(WAITS):
                pass
        # The statement that takes exports away doesn't see this one any more.
        await exports.create(later)
        claimed = await exports.claim(later.due_at or NOON, NOON)
        assert claimed is not None
        assert claimed.id == later.id
        assert await exports.save(claimed, b"piece")
        await lock.rollback()
        over = await removing
    assert over.state is ErasureState.REMOVED
    assert over.rows["exports"] == 1
    assert await exports.read_piece(ours, later.id, 0) == b"piece"
    assert await exports.delete(ours, later.id)
    assert not await exports.delete(ours, before.id)
