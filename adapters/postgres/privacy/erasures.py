"""Erasures in Postgres: the port."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.columns import Column, Table, compile_reader, object_text
from adapters.postgres.database.newest_first import newest_first, page_of
from adapters.postgres.database.pool import OF_PROJECT, Connection, affected
from adapters.postgres.database.read_transactions import reading, snapshot
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.transactions import transaction
from adapters.postgres.identity.identity_rows import RECORD, audit_row
from adapters.postgres.tracing.deletes import (
    CHUNK,
    CHUNK_SPANS,
    delete_session_scores,
    delete_traces,
)
from adapters.postgres.tracing.edits import TraceEdits
from application.privacy.ports import (
    ERASURES_IN_PROGRESS_MAX,
    UNFINISHED_MAX,
    MakeAuditEntry,
    too_many_erasures,
)
from domain.errors import NotFound
from domain.identity.audit import Actor, AuditEntry
from domain.ids import ErasureId, ProjectId, TraceId
from domain.page import Page, PageRequest, Position
from domain.tracing.erasure import (
    DataSubject,
    DataSubjectKind,
    Erasure,
    ErasureState,
    RemainingData,
)

ADVICE: Final = "try again later"
STEP: Final = 2_000  # ids that are forgotten at once
PIECES: Final = 200  # of files, PIECE_BYTES each, that are removed at once
FOUND_MAX: Final = 10_000  # rows of a table that are counted: there should be none

_ROWS: Final = msgspec.json.Decoder(dict[str, int])
ERASURES: Final = Table(
    "erasures",
    ("project_id", "id"),
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("organization_id", "uuid"),
        Column("kind", "text", read=DataSubjectKind),
        Column("salt", "bytea"),
        Column("digest", "bytea"),
        Column("state", "text", read=ErasureState),
        Column("requested_at", "timestamptz"),
        Column("actor_user_id", "uuid", "requested_by.user_id"),
        Column("actor_key_id", "uuid", "requested_by.key_id"),
        Column("actor_name", "text", "requested_by.name"),
        Column("removed_at", "timestamptz"),
        Column("rows", "json", write=object_text, read=_ROWS.decode),
    ),
)
_row: Final = ERASURES.compile_row()
_erasure_of: Final = compile_reader(
    Erasure,
    ERASURES.fields_of(Erasure),
    requested_by=compile_reader(Actor, ERASURES.fields_of(Actor, at="requested_by")),
)
_SHOWN: Final = ERASURES.select()
ADD: Final = f"""
INSERT INTO erasures ({_SHOWN}, owner)
VALUES ({ERASURES.parameters()}, ${len(ERASURES.names) + 1})
"""
UNDER_WAY: Final = f"SELECT count(*) FROM erasures WHERE {OF_PROJECT} AND owner IS NOT NULL"
READ: Final = f"SELECT {_SHOWN} FROM erasures WHERE {OF_PROJECT} AND id = $2"
# Whoever is at it has it locked; the others leave it to them.
TAKE: Final = f"""
SELECT {_SHOWN}, owner FROM erasures WHERE {OF_PROJECT} AND id = $2 AND owner IS NOT NULL
FOR UPDATE SKIP LOCKED
"""
GO_ON: Final = f"UPDATE erasures SET rows = $3 WHERE {OF_PROJECT} AND id = $2"
END: Final = f"""
UPDATE erasures SET rows = $3, state = 'REMOVED', removed_at = $4, owner = NULL
WHERE {OF_PROJECT} AND id = $2
"""
OPEN: Final = f"""
SELECT project_id, id FROM erasures WHERE state = 'REMOVING' AND {not_removed("erasures")}
ORDER BY requested_at, project_id, id LIMIT {UNFINISHED_MAX}
"""
COLUMN: Final = {DataSubjectKind.USER: "user_id", DataSubjectKind.SESSION: "session_id"}
# Some traces, of CHUNK_SPANS spans together or one trace.
NEXT: Final = f"""
SELECT trace_id FROM (
  SELECT trace_id, started_at, row_number() OVER upto AS place, sum(span_count) OVER upto AS spans
  FROM (
    SELECT trace_id, started_at, span_count FROM traces
    WHERE {OF_PROJECT} AND {{owner}} = $2 ORDER BY started_at, trace_id LIMIT {CHUNK}
  ) AS first WINDOW upto AS (ORDER BY started_at, trace_id)
) AS counted
WHERE spans <= {CHUNK_SPANS} OR place = 1
"""
# Before the traces go: whoever brings one again meets this, or waits for the trace.
REFUSE: Final = """
INSERT INTO erased_traces (project_id, trace_id, erasure_id, erased_at)
SELECT $1, trace_id, $3, $4 FROM unnest($2::uuid[]) AS trace_id
ON CONFLICT (project_id, trace_id) DO NOTHING
"""
# In the order in which workers lock: rows of work, and then scores.
UNNAMED: Final = {
    "eval_jobs": f"UPDATE eval_jobs SET target = $3 WHERE {OF_PROJECT} AND target = $2",
    "judge_calls": f"UPDATE judge_calls SET target = $3 WHERE {OF_PROJECT} AND target = $2",
}
# Files hold what was stored when they were written, whoever it is about: they go at once, and at
# the end again what was asked for at the very moment of the request. An export that somebody asks
# for while those before it go keeps its pieces: what is erased was gone by then.
DROP_EXPORTS: Final = f"DELETE FROM exports WHERE {OF_PROJECT}"
DROP_PIECES: Final = f"""
DELETE FROM export_pieces WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM export_pieces AS p WHERE {OF_PROJECT} AND NOT EXISTS (
    SELECT FROM exports WHERE project_id = p.project_id AND id = p.export_id
  ) LIMIT {PIECES}
))
"""
COUNT_EXPORTS: Final = f"""
SELECT count(*) FROM exports
WHERE {OF_PROJECT} AND ($2::timestamptz IS NULL OR created_at <= $2)
"""
FORGET: Final = f"""
DELETE FROM erased_traces WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM erased_traces WHERE erased_at < $1 LIMIT {STEP} FOR UPDATE SKIP LOCKED
))
"""
COUNT_TRACES: Final = f"""
SELECT count(*) FILTER (WHERE $3::timestamptz IS NULL OR created_at <= $3) AS before,
       count(*) FILTER (WHERE created_at > $3) AS since
FROM traces WHERE {OF_PROJECT} AND {{owner}} = $2
"""
_OF_ERASED: Final = f"""
SELECT count(*) FROM (
  SELECT FROM erased_traces AS e CROSS JOIN LATERAL (
    SELECT FROM {{table}} WHERE project_id = e.project_id AND trace_id = e.trace_id LIMIT 1
  ) AS left_over
  WHERE e.{OF_PROJECT} AND e.erasure_id = $2 LIMIT {FOUND_MAX}
) AS found
"""
OF_ERASED: Final = {
    table: _OF_ERASED.format(table=table)
    for table in ("spans", "trace_payloads", "trace_scores", "judge_verdicts")
}
_OF_SESSION: Final = f"""
SELECT count(*) FROM (SELECT FROM {{table}} WHERE {OF_PROJECT} AND {{of}} = $2 LIMIT {FOUND_MAX})
"""
OF_SESSION: Final = {
    "session_scores": f"""
    SELECT count(*) FILTER (WHERE $3::timestamptz IS NULL OR created_at <= $3)
    FROM session_scores WHERE {OF_PROJECT} AND session_id = $2
    """,
    "eval_jobs": _OF_SESSION.format(table="eval_jobs", of="target"),
    "judge_calls": _OF_SESSION.format(table="judge_calls", of="target"),
}


@dataclass(frozen=True, slots=True)
class PostgresErasures:
    edits: TraceEdits

    async def begin(self, erasure: Erasure, owner: DataSubject, entry: AuditEntry) -> None:
        project = erasure.project_id
        async with transaction(self.edits.pool) as connection:
            await check_not_removed(connection, project)
            exports = affected(await connection.execute(DROP_EXPORTS, project))
            begun = erasure.with_rows({"exports": exports})
            await lock_project(connection, AdvisoryLock.TRACE_OWNERS, project)
            if await connection.fetchval(UNDER_WAY, project) >= ERASURES_IN_PROGRESS_MAX:
                raise too_many_erasures()
            await connection.execute(ADD, *_row(begun), owner.id)
            await connection.execute(RECORD, *audit_row(entry))

    async def advance(
        self, project: ProjectId, erasure: ErasureId, now: datetime, make_entry: MakeAuditEntry
    ) -> Erasure:
        async with self.edits.transaction() as (connection, deltas):
            row = await connection.fetchrow(TAKE, project, erasure)
            if row is None:
                return await _read(connection, project, erasure)
            known = _erasure_of(row)
            sql = NEXT.format(owner=COLUMN[known.kind])
            some = [TraceId(one[0]) for one in await connection.fetch(sql, project, row["owner"])]
            if not some:
                files, is_more = await _files(connection, project)
                known = known.with_rows(files)
                if is_more:
                    await connection.execute(GO_ON, project, erasure, object_text(known.rows))
                    return known
                known = known.with_rows(await _rest(connection, known, row["owner"])).finished(now)
                await connection.execute(END, project, erasure, object_text(known.rows), now)
                await connection.execute(RECORD, *audit_row(make_entry(known)))
                return known
            await connection.execute(REFUSE, project, sorted(some), erasure, now)
            gone = await delete_traces(connection, deltas[project], project, some)
            if gone.sessions:
                sessions = sorted(gone.sessions)
                scores = await delete_session_scores(connection, project, sessions)
                gone.rows["session_scores"] = scores
            known = known.with_rows(gone.rows)
            await connection.execute(GO_ON, project, erasure, object_text(known.rows))
            return known

    async def list_unfinished(self) -> Sequence[tuple[ProjectId, ErasureId]]:
        async with reading(self.edits.pool, ADVICE) as connection:
            rows = await connection.fetch(OPEN)
        return [(ProjectId(row["project_id"]), ErasureId(row["id"])) for row in rows]

    async def get(self, project: ProjectId, erasure: ErasureId) -> Erasure:
        async with reading(self.edits.pool, ADVICE) as connection:
            return await _read(connection, project, erasure)

    async def page(self, project: ProjectId, window: PageRequest) -> Page[Erasure]:
        async with snapshot(self.edits.pool, ADVICE) as connection:
            ordered = newest_first(project, "erasures", ERASURES.names, window, by="requested_at")
            found = await page_of(connection, ordered, [])
        shown = [_erasure_of(row) for row in found.rows[: window.limit]]
        has_more = len(found.rows) > len(shown)
        end = Position(shown[-1].requested_at, shown[-1].id) if has_more else None
        return Page(shown, found.total, end)

    async def count_remaining(self, erasure: Erasure, owner: DataSubject) -> RemainingData:
        project, over = erasure.project_id, erasure.removed_at
        async with snapshot(self.edits.pool, ADVICE) as connection:
            sql = COUNT_TRACES.format(owner=COLUMN[owner.kind])
            traces = await connection.fetchrow(sql, project, owner.id, over)
            assert traces is not None
            rows = {"traces": traces["before"]}
            rows["exports"] = await connection.fetchval(COUNT_EXPORTS, project, over)
            for table, counting in OF_ERASED.items():
                rows[table] = await connection.fetchval(counting, project, erasure.id)
            if owner.kind is DataSubjectKind.SESSION:
                for table, counting in OF_SESSION.items():
                    asked = (project, owner.id, over) if "$3" in counting else (project, owner.id)
                    rows[table] = await connection.fetchval(counting, *asked)
        return RemainingData(
            {table: count for table, count in rows.items() if count}, traces["since"]
        )

    async def delete_erased_ids(self, before: datetime) -> int:
        async with transaction(self.edits.pool) as connection:
            return affected(await connection.execute(FORGET, before))


async def _read(connection: Connection, project: ProjectId, erasure: ErasureId) -> Erasure:
    row = await connection.fetchrow(READ, project, erasure)
    if row is None:
        raise NotFound("Erasure not found")
    return _erasure_of(row)


async def _files(connection: Connection, project: ProjectId) -> tuple[Counter[str], bool]:
    """Takes away all exports, and some of their files; whether there may be more of those.

    Who writes one can't add to it without its row.
    """
    exports = affected(await connection.execute(DROP_EXPORTS, project))
    pieces = affected(await connection.execute(DROP_PIECES, project))
    return Counter(exports=exports, export_pieces=pieces), pieces == PIECES


async def _rest(connection: Connection, known: Erasure, owner: str) -> Counter[str]:
    """Of a session what is told of it beside its traces; how many rows went or were changed."""
    rows = Counter[str]()
    if known.kind is DataSubjectKind.SESSION:
        project, nobody = known.project_id, f"erased:{known.id}"
        for table, sql in UNNAMED.items():
            rows[table] = affected(await connection.execute(sql, project, owner, nobody))
        rows["session_scores"] = await delete_session_scores(connection, project, [owner])
    return rows
