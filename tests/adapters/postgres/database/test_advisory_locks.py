"""Advisory locks: numbers are unique, and every statement takes its number from the enum."""

import re
import uuid
from pathlib import Path

import pytest

from adapters.postgres.database.advisory_locks import (
    AdvisoryLock,
    lock_project,
    lock_projects,
    lock_projects_shared,
)
from adapters.postgres.database.pool import Pool
from domain.ids import ProjectId

POSTGRES = Path(__file__).parents[4] / "adapters" / "postgres"
CALL = re.compile(r"\bpg_\w*advisory\w*\(\s*([^)\s]?)")
PROJECT_LOCKS = [lock for lock in AdvisoryLock if lock < 2**31]
TRY = "SELECT pg_try_advisory_xact_lock($1, hashtext($2::uuid::text))"
TRY_SHARED = "SELECT pg_try_advisory_xact_lock_shared($1, hashtext($2::uuid::text))"


def test_lock_numbers_are_unique() -> None:
    assert len(AdvisoryLock.__members__) == len({*AdvisoryLock.__members__.values()})
    assert all(0 < lock < 2**63 for lock in AdvisoryLock)


def first_arguments() -> dict[str, list[str]]:
    """Return the first character of the first argument of each lock call, by file."""
    found = {str(path): CALL.findall(path.read_text()) for path in POSTGRES.rglob("*.py")}
    return {path: first for path, first in found.items() if first}


def test_lock_numbers_are_parameters_in_all_statements() -> None:
    found = first_arguments()
    assert len(found) > 2
    # Either a parameter, or no argument: a call that releases all locks of a session.
    assert {path: first for path, first in found.items() if {*first} - {"$", ""}} == {}


def test_every_lock_is_used() -> None:
    code = "".join(path.read_text() for path in POSTGRES.rglob("*.py"))
    used = set(re.findall(r"AdvisoryLock\.([A-Z_]+)", code))
    assert used == set(AdvisoryLock.__members__)


@pytest.mark.service
@pytest.mark.parametrize("lock", PROJECT_LOCKS)
async def test_lock_blocks_only_itself(pool: Pool, lock: AdvisoryLock) -> None:
    project, other_project = ProjectId(uuid.uuid4()), ProjectId(uuid.uuid4())
    async with pool.acquire() as holder, holder.transaction(), pool.acquire() as second:
        await lock_project(holder, lock, project)
        free = [one for one in PROJECT_LOCKS if await second.fetchval(TRY, one, project)]
        assert free == [one for one in PROJECT_LOCKS if one is not lock]
        assert await second.fetchval(TRY, lock, other_project)
        assert not await second.fetchval(TRY_SHARED, lock, project)


@pytest.mark.service
async def test_several_projects_are_locked_until_the_transaction_ends(pool: Pool) -> None:
    lock, projects = AdvisoryLock.SEARCH_INDEX, [ProjectId(uuid.uuid4()) for _ in range(3)]
    async with pool.acquire() as holder, pool.acquire() as other:
        async with holder.transaction():
            await lock_projects(holder, lock, projects)
            assert [await other.fetchval(TRY_SHARED, lock, one) for one in projects] == [False] * 3
        assert [await other.fetchval(TRY, lock, one) for one in projects] == [True] * 3


@pytest.mark.service
async def test_shared_locks_block_only_exclusive_locks(pool: Pool) -> None:
    lock, projects = AdvisoryLock.TRACE_OWNERS, [ProjectId(uuid.uuid4()) for _ in range(3)]
    async with pool.acquire() as holder, pool.acquire() as other:
        async with holder.transaction():
            await lock_projects_shared(holder, lock, projects)
            assert [await other.fetchval(TRY, lock, one) for one in projects] == [False] * 3
            assert [await other.fetchval(TRY_SHARED, lock, one) for one in projects] == [True] * 3
        assert [await other.fetchval(TRY, lock, one) for one in projects] == [True] * 3
