"""Pages of what is listed newest first, narrowed by what an index is entered by."""

from collections.abc import Sequence

from adapters.postgres.database.keyset_pages import Found, Ordered, Where
from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.sql_builder import Parameters, Sql
from domain.ids import ProjectId
from domain.page import PageRequest


def newest_first(
    project: ProjectId,
    table: str,
    columns: Sequence[str],
    window: PageRequest,
    *,
    by: str = "created_at",
) -> Ordered:
    return Ordered(
        project=project,
        table=table,
        id="id",
        value=by,
        columns=columns,
        down=True,
        window=window,
    )


async def page_of(connection: Connection, ordered: Ordered, where: Sequence[Sql]) -> Found:
    """A page of what all of `where` admits; in a snapshot."""
    p = Parameters([ordered.project])
    counting = f"SELECT count(*) FROM {ordered.table} WHERE {OF_PROJECT}"
    total: int = await connection.fetchval(" AND ".join([counting, *p.all_of(where)]), *p.values)
    return await ordered.matching(connection, Where(served=where, among=total, total=total))
