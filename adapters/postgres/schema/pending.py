"""Which migrations the database lacks: asked at every start, so without loading what runs them."""

from pathlib import Path
from typing import Final

from adapters.postgres.database.pool import Pool, translated

APP: Final = "pandaprobe"  # under this name Piccolo notes what was run
FOLDER: Final = Path(__file__).parent / "migrations"

HAS_NOTES: Final = "SELECT to_regclass('migration') IS NOT NULL"  # Piccolo's table
NOTED: Final = "SELECT name FROM migration WHERE app_name = $1"


def known() -> list[str]:
    """The ids of every migration of this version, in order. Their files have the same names."""
    return sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))


async def pending(pool: Pool) -> list[str]:
    """The ids that the database hasn't seen, in order. Raises Unavailable."""
    async with translated(), pool.acquire() as connection:
        done: set[str] = set()
        if await connection.fetchval(HAS_NOTES):
            done = {row["name"] for row in await connection.fetch(NOTED, APP)}
    return [one for one in known() if one not in done]
