"""Which migrations the database lacks: asked at every start, so without loading what runs them."""

from pathlib import Path
from typing import Final

from adapters.postgres.database.pool import Pool, translated

APP: Final = "pandaprobe"  # under this name Piccolo notes what was run
FOLDER: Final = Path(__file__).parent / "migrations"

HAS_NOTES: Final = "SELECT to_regclass('migration') IS NOT NULL"  # Piccolo's table
NOTED: Final = "SELECT name FROM migration WHERE app_name = $1"


def known() -> list[str]:
    """The ids of every migration of this version, in order: what their files are named after."""
    return sorted(_id(path.stem) for path in FOLDER.glob(f"{APP}_*.py"))


def _id(stem: str) -> str:
    # pandaprobe_2026_11_25t01_00_00_000000 holds the migration 2026-11-25T01:00:00:000000.
    day, time = stem.removeprefix(f"{APP}_").split("t")
    return f"{day.replace('_', '-')}T{time.replace('_', ':')}"


async def pending(pool: Pool) -> list[str]:
    """The ids that the database hasn't seen, in order. Raises Unavailable."""
    async with translated(), pool.acquire() as connection:
        done: set[str] = set()
        if await connection.fetchval(HAS_NOTES):
            done = {row["name"] for row in await connection.fetch(NOTED, APP)}
    return [one for one in known() if one not in done]
