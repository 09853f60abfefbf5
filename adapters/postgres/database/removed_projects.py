"""Deleted projects. Their rows may exist for a while, but nothing reads or extends them."""

from typing import Final

from adapters.postgres.database.pool import Connection
from domain.errors import Unavailable
from domain.ids import ProjectId

SELECT_REMOVED: Final = "SELECT project_id FROM removals WHERE project_id = ANY($1::uuid[]) LIMIT 1"


def not_removed(table: str) -> str:
    """A condition for statements across projects. Statements of one project use `OF_PROJECT`."""
    return f"NOT EXISTS (SELECT 1 FROM removals WHERE removals.project_id = {table}.project_id)"


class ProjectRemoved(Unavailable):
    """The project was deleted while a request to it was served.

    Unavailable, because a retry helps: the name of the project then leads to a new one.
    """

    def __init__(self, project: ProjectId) -> None:
        super().__init__("This project was deleted; send the request again")
        self.project = project


async def check_not_removed(connection: Connection, *projects: ProjectId) -> None:
    """Raises ProjectRemoved if one of the projects was deleted."""
    removed = await connection.fetchval(SELECT_REMOVED, projects)
    if removed is not None:
        raise ProjectRemoved(removed)
