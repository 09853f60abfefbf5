"""Exports that are asked for while an erasure takes those before them."""

import asyncio
import uuid
from datetime import timedelta

import pytest

from adapters.postgres.engine import Pool
from adapters.postgres.erasures import PostgresErasures
from adapters.postgres.exports import PostgresExports
from adapters.postgres.writing.edits import TraceEdits
from domain.identity.audit import OPERATOR, AuditAction, AuditEntry
from domain.ids import AuditEntryId, ErasureId, OrganizationId
from domain.tracing.erasure import Erasure, ErasureState, Owner, OwnerKind
from tests.builders import NOON, project_prices
from tests.contracts.data_plane import project
from tests.contracts.test_exports import an_export

pytestmark = pytest.mark.service

WAIT_S = 20
HOLD = "SELECT FROM exports WHERE project_id = $1 AND id = $2 FOR UPDATE"
WAITS = """
SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))
"""


def told(erasure: Erasure) -> AuditEntry:
    return AuditEntry(
        id=AuditEntryId(uuid.uuid4()),
        organization_id=erasure.organization_id,
        at=NOON,
        actor=OPERATOR,
        action=AuditAction.ERASURE_FINISHED,
        resource_id=str(erasure.id),
        detail={},
    )


async def test_a_later_export_keeps_its_file(pool: Pool):
    ours, exports = project(), PostgresExports(pool)
    erasures = PostgresErasures(TraceEdits(pool, project_prices()))
    before, later = an_export(ours), an_export(ours, due_at=NOON - timedelta(days=9_000))
    erasure = Erasure(
        id=ErasureId(uuid.uuid4()),
        organization_id=OrganizationId(uuid.uuid4()),
        project_id=ours,
        kind=OwnerKind.USER,
        salt=b"salt",
        digest=b"digest",
        requested_at=NOON,
        requested_by=OPERATOR,
    )
    await erasures.begin(erasure, Owner(OwnerKind.USER, "grace"), told(erasure))
    await exports.add(before)
    async with pool.acquire() as holder:
        lock = holder.transaction()
        await lock.start()
        await holder.execute(HOLD, ours, before.id)
        removing = asyncio.create_task(erasures.advance(ours, erasure.id, NOON, told))
        async with asyncio.timeout(WAIT_S):
            while not await holder.fetchval(WAITS):
                pass
        # The statement that takes exports away doesn't see this one any more.
        await exports.add(later)
        claimed = await exports.claim(later.due_at or NOON, NOON)
        assert claimed is not None
        assert claimed.id == later.id
        assert await exports.keep(claimed, b"piece")
        await lock.rollback()
        over = await removing
    assert over.state is ErasureState.REMOVED
    assert over.rows["exports"] == 1
    assert await exports.piece(ours, later.id, 0) == b"piece"
    assert await exports.delete(ours, later.id)
    assert not await exports.delete(ours, before.id)
