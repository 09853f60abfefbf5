"""Finds objects by their id in several projects."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Final

from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from domain.identity.found_object import FOUND_MAX, FoundObject, ObjectKind, uuid_or_none
from domain.ids import ProjectId

PROJECTS_AT_ONCE: Final = 500  # in the scope of one statement, which has them as text
_BY_UUID: Final = (
    (ObjectKind.TRACE, "traces", "trace_id = $2"),
    (ObjectKind.TRACE_RUN, "eval_runs", "id = $2 AND target_type = 'TRACE'"),
    (ObjectKind.SESSION_RUN, "eval_runs", "id = $2 AND target_type = 'SESSION'"),
    (ObjectKind.MONITOR, "monitors", "id = $2"),
    (ObjectKind.DATASET, "datasets", "id = $2"),
    (ObjectKind.EXPERIMENT, "experiments", "id = $2"),
    (ObjectKind.TRACE_SCORE, "trace_scores", "id = $2"),
    (ObjectKind.SESSION_SCORE, "session_scores", "id = $2"),
    (ObjectKind.SESSION, "sessions", "session_id = $3"),
)
# Each project and kind is one look-up in a unique index.
SELECT_OBJECTS: Final = (
    " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, project_id FROM {table}"
        f" WHERE project_id = ANY($1::uuid[]) AND {condition}"
        for kind, table, condition in _BY_UUID
    )
    + f" ORDER BY 1, 2 LIMIT {FOUND_MAX}"
).replace("$2", "$2::uuid")


@dataclass(frozen=True, slots=True)
class PostgresObjectIndex(PoolReader):
    async def find(self, projects: Sequence[ProjectId], text: str) -> Sequence[FoundObject]:
        """Looks once over all projects, then in each that has something, without erased data."""
        wanted, having = (uuid_or_none(text), text), set[ProjectId]()
        for some in batched(projects, PROJECTS_AT_ONCE):
            found = await self._fetch(RETRY_LATER, some, SELECT_OBJECTS, some, *wanted)
            having |= {ProjectId(row["project_id"]) for row in found}
        visible = [
            FoundObject(ObjectKind(row["kind"]), project)
            for project in sorted(having)[:FOUND_MAX]
            for row in await self._fetch_visible(
                RETRY_LATER, project, SELECT_OBJECTS, [project], *wanted
            )
        ]
        return sorted(visible)[:FOUND_MAX]
