"""Reads: one state of the database however many statements, and a limit below the clients' own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from adapters.postgres.database.pool import Connection, Pool, translated
from domain.errors import Unavailable
from domain.ids import ProjectId

READ_TIMEOUT_S: Final = 10  # clients give up after 30: they are told first

BEGIN: Final = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL plan_cache_mode = force_custom_plan
"""
# From then on views stand in place of the tables that show what is being erased, where there is
# such: `veiled` of the migrations. In the same message: it costs no round trip.
VEIL: Final = f"{BEGIN}; SELECT veil('{{}}')"
# The same in one statement, for those whose rows are told apart afterwards.
IS_VEILED: Final = "EXISTS (SELECT FROM erasures WHERE project_id = $1 AND owner IS NOT NULL)"


@asynccontextmanager
async def reading(
    pool: Pool, advice: str, timeout_s: float = READ_TIMEOUT_S
) -> AsyncIterator[Connection]:
    """A connection for one statement.

    Raises Unavailable with `advice` where the block takes longer than `timeout_s`: what runs
    then is cancelled, on the server too.
    """
    async with translated(), pool.acquire() as connection:
        try:
            async with asyncio.timeout(timeout_s):
                yield connection
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            raise Unavailable(f"The database took longer than {timeout_s:g} s: {advice}") from error


@asynccontextmanager
async def snapshot(
    pool: Pool, advice: str, timeout_s: float = READ_TIMEOUT_S, *, shown_of: ProjectId | None = None
) -> AsyncIterator[Connection]:
    """As `reading`, for several statements: a write between two of them isn't seen by the second.

    Statements are planned for their values: a plan for any value is a poor one where some values
    are on nearly all rows and others on a few. They don't find what of the project `shown_of` is
    being erased; sums that every write keeps still count it. Raises Unavailable.
    """
    async with reading(pool, advice, timeout_s) as connection:
        await connection.execute(BEGIN if shown_of is None else VEIL.format(shown_of))
        try:
            yield connection
        finally:
            await connection.execute("ROLLBACK")  # there is nothing to commit
