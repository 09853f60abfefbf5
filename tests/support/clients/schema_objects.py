"""Writes adapters/postgres/schema/objects.txt, what the migrations create.

python -m tests.support.clients.schema_objects
"""

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path

import asyncpg

from adapters.embedded.postgres import start_postgres
from adapters.postgres.schema.fitness import OBJECTS, SELECT_OBJECTS
from domain.errors import Conflict
from entrypoints.composition import database
from entrypoints.settings import Settings


async def read_objects(connection: asyncpg.Connection) -> str:
    """The text of the file, of a database with all migrations."""
    found = {row[0] for row in await connection.fetch(SELECT_OBJECTS)}
    return "".join(f"{one}\n" for one in sorted(found))


async def _migrated(url: str) -> str:
    with suppress(Conflict):  # the file isn't right yet
        await database.migrate(Settings(database_url=url), contract=True)
    connection = await asyncpg.connect(url)
    try:
        return await read_objects(connection)
    finally:
        await connection.close()


if __name__ == "__main__":
    OBJECTS.touch()
    with tempfile.TemporaryDirectory() as folder:
        child, url = start_postgres(Path(folder), {})
        try:
            OBJECTS.write_text(asyncio.run(_migrated(url)))
        finally:
            child.stop()
