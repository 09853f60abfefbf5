"""Deleted projects, whose rows may exist for a while, but nothing reads or extends them.

Projects whose rows move to another group of tables are in the same table: nothing extends them.
"""

from typing import Final

from adapters.postgres.database.pool import Connection
from application.table_groups import MOVES, MOVING_RETRY_S
from domain.errors import Unavailable
from domain.ids import ProjectId

SELECT_REMOVED: Final = """
SELECT project_id, is_moving FROM removals WHERE project_id = ANY($1::uuid[]) LIMIT 1
"""


def not_removed(table: str) -> str:
    """A condition for statements across projects, which leaves out those that move as well.

    Statements of one project use `IN_PROJECT`.
    """
    return f"NOT EXISTS (SELECT 1 FROM removals WHERE removals.project_id = {table}.project_id)"


class ProjectRemoved(Unavailable):
    """The project was deleted while a request to it was served.

    Unavailable, because a retry helps: the name of the project then leads to a new one.
    """

    def __init__(self, project: ProjectId) -> None:
        super().__init__("This project was deleted; send the request again")
        self.project = project


class OrganizationMoving(Unavailable):
    """The rows of its projects move to another group of tables: a retry finds them there."""

    def __init__(self) -> None:
        super().__init__(MOVES, retry_after_s=MOVING_RETRY_S)


async def check_not_removed(connection: Connection, *projects: ProjectId) -> None:
    """Raises ProjectRemoved if one of the projects was deleted, OrganizationMoving if it moves."""
    found = await connection.fetchrow(SELECT_REMOVED, projects)
    if found is not None:
        removed, is_moving = found
        raise OrganizationMoving if is_moving else ProjectRemoved(removed)
