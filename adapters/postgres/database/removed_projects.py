"""Deleted projects: rows of theirs may be left, which are neither shown nor added to."""

from typing import Final

from adapters.postgres.database.pool import Connection
from domain.errors import Unavailable
from domain.ids import ProjectId

SELECT_REMOVED: Final = "SELECT project_id FROM removals WHERE project_id = ANY($1::uuid[]) LIMIT 1"


def not_removed(table: str) -> str:
    """A condition for statements across projects. That of one project is in `OF_PROJECT`."""
    return f"NOT EXISTS (SELECT FROM removals WHERE removals.project_id = {table}.project_id)"


class ProjectRemoved(Unavailable):
    """The project was deleted while a request to it was served.

    Unavailable because another try helps: the name of the project then leads to a new one.
    """

    def __init__(self, project: ProjectId) -> None:
        super().__init__("This project was deleted; send the request again")
        self.project = project


async def check_not_removed(connection: Connection, *projects: ProjectId) -> None:
    """Raises ProjectRemoved for one of those that were deleted."""
    removed = await connection.fetchval(SELECT_REMOVED, projects)
    if removed is not None:
        raise ProjectRemoved(removed)
