"""Advisory locks: one number for each, and every statement takes its number from the enum."""

import re
import uuid
from pathlib import Path

import pytest

from adapters.postgres.database.advisory_locks import (
    AdvisoryLock,
    lock_project,
    lock_projects_shared,
)
from adapters.postgres.database.pool import Pool
from domain.ids import ProjectId

POSTGRES = Path(__file__).parents[2] / "adapters" / "postgres"
CALL = re.compile(r"\bpg_\w*advisory\w*\(\s*([^)\s]?)")
OF_PROJECT = [lock for lock in AdvisoryLock if lock < 2**31]
TRY = "SELECT pg_try_advisory_xact_lock($1, hashtext($2::uuid::text))"
TRY_SHARED = "SELECT pg_try_advisory_xact_lock_shared($1, hashtext($2::uuid::text))"


def test_each_lock_has_a_number_of_its_own() -> None:
    assert len(AdvisoryLock.__members__) == len({*AdvisoryLock.__members__.values()})
    assert all(0 < lock < 2**63 for lock in AdvisoryLock)


def calls() -> dict[str, list[str]]:
    """The first character of each call's first argument, by file."""
    found = {str(path): CALL.findall(path.read_text()) for path in POSTGRES.rglob("*.py")}
    return {path: first for path, first in found.items() if first}


def test_no_statement_has_a_number_of_its_own() -> None:
    found = calls()
    assert len(found) > 2
    # A parameter, or nothing where all locks of a session are released.
    assert {path: first for path, first in found.items() if {*first} - {"$", ""}} == {}


def test_every_lock_is_used() -> None:
    code = "".join(path.read_text() for path in POSTGRES.rglob("*.py"))
    used = set(re.findall(r"AdvisoryLock\.([A-Z_]+)", code))
    assert used == set(AdvisoryLock.__members__)


@pytest.mark.service
@pytest.mark.parametrize("lock", OF_PROJECT)
async def test_a_lock_holds_up_nothing_but_itself(pool: Pool, lock: AdvisoryLock) -> None:
    ours, theirs = ProjectId(uuid.uuid4()), ProjectId(uuid.uuid4())
    async with pool.acquire() as holder, holder.transaction(), pool.acquire() as other:
        await lock_project(holder, lock, ours)
        free = [one for one in OF_PROJECT if await other.fetchval(TRY, one, ours)]
        assert free == [one for one in OF_PROJECT if one is not lock]
        assert await other.fetchval(TRY, lock, theirs)
        assert not await other.fetchval(TRY_SHARED, lock, ours)


@pytest.mark.service
async def test_shared_locks_hold_up_exclusive_ones_only(pool: Pool) -> None:
    lock, projects = AdvisoryLock.TRACE_OWNERS, [ProjectId(uuid.uuid4()) for _ in range(3)]
    async with pool.acquire() as holder, pool.acquire() as other:
        async with holder.transaction():
            await lock_projects_shared(holder, lock, projects)
            assert [await other.fetchval(TRY, lock, one) for one in projects] == [False] * 3
            assert [await other.fetchval(TRY_SHARED, lock, one) for one in projects] == [True] * 3
        assert [await other.fetchval(TRY, lock, one) for one in projects] == [True] * 3
