"""Pages of lists that are query newest first and filtered by conditions of an index."""

from collections.abc import Sequence

from adapters.postgres.database.keyset_pages import KeysetPage, KeysetQuery, PageConditions
from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.sql_builder import Parameters, Sql
from domain.ids import ProjectId
from domain.page import PageRequest


def newest_first_query(
    project: ProjectId,
    table: str,
    columns: Sequence[str],
    window: PageRequest,
    *,
    by: str = "created_at",
) -> KeysetQuery:
    return KeysetQuery(
        project=project,
        table=table,
        id="id",
        value=by,
        columns=columns,
        down=True,
        window=window,
    )


async def fetch_newest_page(
    connection: Connection, query: KeysetQuery, where: Sequence[Sql]
) -> KeysetPage:
    """Fetches a page of the rows that match all of `where`; in a snapshot."""
    p = Parameters([query.project])
    counting = f"SELECT count(*) FROM {query.table} WHERE {OF_PROJECT}"
    total: int = await connection.fetchval(" AND ".join([counting, *p.all_of(where)]), *p.values)
    return await query.fetch_page(
        connection, PageConditions(served=where, among=total, total=total)
    )
