"""Erasures of users and sessions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.idempotency import erase_replies, erase_some_replies
from adapters.postgres.database.payload_objects import remove_objects_of_project
from adapters.postgres.database.pool import IN_PROJECT, Connection, affected_rows, require_row
from adapters.postgres.database.read_transactions import RETRY_LATER, read_connection, read_snapshot
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.statements.columns import Column, Table, columns, object_text
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.database.tenants import ALL_TENANTS, set_tenants
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.datasets.erased_items import (
    ERASED_PER_DELETE,
    erase_items_of_owner,
    erase_items_of_traces,
)
from adapters.postgres.evaluation.scores.waiting_evaluations import (
    count_evaluations_of_session,
    delete_evaluations_of_session,
)
from adapters.postgres.identity.identity_rows import INSERT_AUDIT_ENTRY, audit_row
from adapters.postgres.privacy.retention import fetch_current_time
from adapters.postgres.tracing.payloads.shared_texts import remove_unused_texts_of_project
from adapters.postgres.tracing.search.search_index import clean_segment, list_erased_segments
from adapters.postgres.tracing.writes.deletes import (
    delete_session_scores,
    delete_traces,
    select_some_traces,
)
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.privacy.ports import (
    ERASURES_IN_PROGRESS_MAX,
    UNFINISHED_MAX,
    MakeAuditEntry,
    too_many_erasures,
)
from domain.evaluation.runs.selection import rename_session
from domain.identity.audit import Actor, AuditEntry
from domain.ids import ErasureId, ProjectId, TraceId
from domain.page import Page, PageRequest, Position
from domain.privacy.erasure import (
    DataSubject,
    DataSubjectKind,
    Erasure,
    ErasureState,
    RemainingData,
)

IDS_PER_DELETE: Final = 2_000  # ids that one transaction deletes
PIECES_PER_DELETE: Final = 200  # pieces of files, PIECE_BYTES each, that one transaction deletes
SEGMENTS_PER_CLEANING: Final = 4  # of the search index; each takes about a quarter of a second
REMAINING_ROWS_MAX: Final = 10_000  # counted rows of a table; there should be none

_ROWS: Final = msgspec.json.Decoder(dict[str, int])
ERASURES: Final = Table(
    "erasures",
    (
        *columns("project_id uuid, id uuid, organization_id uuid, salt bytea, digest bytea"),
        Column("kind", "text", read=DataSubjectKind),
        Column("state", "text", read=ErasureState),
        *columns("requested_at timestamptz, removed_at timestamptz"),
        Column("actor_user_id", "uuid", "requested_by.user_id"),
        Column("actor_key_id", "uuid", "requested_by.key_id"),
        Column("actor_name", "text", "requested_by.name"),
        Column("rows", "json", write=object_text, read=_ROWS.decode),
    ),
)
_erasure_row: Final = ERASURES.compile_row()
_erasure_from_row: Final = ERASURES.compile_reader(
    Erasure, requested_by=ERASURES.compile_reader(Actor, at="requested_by")
)
_SELECT_LIST: Final = ERASURES.select()
INSERT_ERASURE: Final = f"""
INSERT INTO erasures ({_SELECT_LIST}, owner)
VALUES ({ERASURES.parameters()}, ${len(ERASURES.names) + 1})
"""
COUNT_ACTIVE_ERASURES: Final = (
    f"SELECT count(*) FROM erasures WHERE {IN_PROJECT} AND owner IS NOT NULL"
)
SELECT_ERASURE: Final = f"SELECT {_SELECT_LIST} FROM erasures WHERE {IN_PROJECT} AND id = $2"
# Skips an erasure that another worker has locked and continues.
LOCK_ACTIVE_ERASURE: Final = f"""
SELECT {_SELECT_LIST}, owner FROM erasures WHERE {IN_PROJECT} AND id = $2 AND owner IS NOT NULL
FOR UPDATE SKIP LOCKED
"""
UPDATE_ERASED_ROWS: Final = f"UPDATE erasures SET rows = $3 WHERE {IN_PROJECT} AND id = $2"
FINISH_ERASURE: Final = f"""
UPDATE erasures SET rows = $3, state = 'REMOVED', removed_at = $4, owner = NULL
WHERE {IN_PROJECT} AND id = $2
"""
SELECT_UNFINISHED_ERASURES: Final = f"""
SELECT project_id, id FROM erasures WHERE state = 'REMOVING' AND {not_removed("erasures")}
ORDER BY requested_at, project_id, id LIMIT {UNFINISHED_MAX}
"""
SUBJECT_COLUMNS: Final[Mapping[DataSubjectKind, Literal["user_id", "session_id"]]] = {
    DataSubjectKind.USER: "user_id",
    DataSubjectKind.SESSION: "session_id",
}
SELECT_NEXT_TRACES: Final = select_some_traces("traces", f"{IN_PROJECT} AND {{owner}} = $2")
# Runs before the traces are deleted: a later write of the same trace finds this row, or waits for
# the trace.
INSERT_ERASED_TRACES: Final = """
INSERT INTO erased_traces (project_id, trace_id, erasure_id, erased_at)
SELECT $1, trace_id, $3, $4 FROM unnest($2::uuid[]) AS trace_id
ON CONFLICT (project_id, trace_id) DO NOTHING
"""
# Same lock order as workers: targets, then scores.
ANONYMIZE_SESSION: Final = {
    "eval_jobs": f"UPDATE eval_jobs SET target = $3 WHERE {IN_PROJECT} AND target = $2",
    "judge_calls": f"UPDATE judge_calls SET target = $3 WHERE {IN_PROJECT} AND target = $2",
}
# Runs that evaluated the session: a run over given sessions has their ids in its filters. By an
# array: a join would compare each with each target, if the tables were empty when analyzed.
SELECT_RUNS_OF_SESSION: Final = f"""
SELECT id, filters FROM eval_runs WHERE {IN_PROJECT} AND id = ANY(ARRAY(
  SELECT run_id FROM eval_jobs WHERE {IN_PROJECT} AND target = $2
)) ORDER BY id FOR NO KEY UPDATE
"""
UPDATE_RUN_FILTERS: Final = f"UPDATE eval_runs SET filters = $3 WHERE {IN_PROJECT} AND id = $2"
# Files may contain data of any user. They are deleted at once, and again at the end those that were
# requested at the moment of the erasure request. An export requested while earlier ones are deleted
# keeps its pieces: by then the erased data is gone.
DELETE_EXPORTS: Final = f"DELETE FROM exports WHERE {IN_PROJECT}"
_IS_ORPHANED: Final = """
NOT EXISTS (SELECT 1 FROM exports AS e WHERE e.project_id = export_pieces.project_id
            AND e.id = export_pieces.export_id)
"""
DELETE_ORPHANED_PIECES: Final = delete_some(
    "export_pieces", f"{IN_PROJECT} AND {_IS_ORPHANED}", PIECES_PER_DELETE
)
# Exports and responses that began later found the data hidden, and can't contain it.
COUNT_REMAINING_COPIES: Final = {
    "exports": f"SELECT count(*) FROM exports WHERE {IN_PROJECT} AND created_at <= $2",
    "replies": f"""
    SELECT count(*) FROM replies
    WHERE {IN_PROJECT} AND status IS NOT NULL AND has_text AND begun_at <= $2
    """,
}
DELETE_OLD_ERASED_TRACES: Final = delete_some(
    "erased_traces", "erased_at < $1", IDS_PER_DELETE, skip_locked=True
)
COUNT_TRACES: Final = f"""
SELECT count(*) FILTER (WHERE $3::timestamptz IS NULL OR created_at <= $3) AS before,
       count(*) FILTER (WHERE created_at > $3) AS since
FROM traces WHERE {IN_PROJECT} AND {{owner}} = $2
"""
_COUNT_TRACE_ROWS: Final = f"""
SELECT count(*) FROM (
  SELECT 1 FROM erased_traces AS e CROSS JOIN LATERAL (
    SELECT 1 FROM {{table}}
    WHERE project_id = e.project_id AND trace_id = {{trace_id}}{{more}} LIMIT 1
  ) AS left_over
  WHERE e.{IN_PROJECT} AND e.erasure_id = $2 LIMIT {REMAINING_ROWS_MAX}
) AS found
"""
# A run over given ids may name a trace that was erased. Its scores only say that the trace doesn't
# exist, or that the run was cancelled.
_HAS_RESULT: Final = (
    " AND outcome <> 'pending' AND coalesce(code, '') NOT IN ('target_gone', 'cancelled')"
)
COUNT_REMAINING_TRACE_ROWS: Final = {
    table: _COUNT_TRACE_ROWS.format(table=table, trace_id="e.trace_id", more="")
    for table in (
        *("spans", "trace_payloads", "span_fragments", "judge_verdicts"),
        *("removed_payload_objects", "long_texts", "dataset_items", "annotation_claims"),
        *("waiting_evaluations", "search_traces", "search_terms", "search_garbage"),
    )
} | {
    "trace_scores": _COUNT_TRACE_ROWS.format(
        table="trace_scores", trace_id="e.trace_id", more=_HAS_RESULT
    ),
    "otlp_rejections": _COUNT_TRACE_ROWS.format(
        table="otlp_rejections", trace_id="translate(e.trace_id::text, '-', '')", more=""
    ),
}
# In two statements: the links are stored with the organizations, and with Citus no statement joins
# those with rows of projects.
SELECT_LINKED_TRACES: Final = f"""
SELECT DISTINCT trace_id FROM trace_links WHERE project = $1 AND trace_id > $2
ORDER BY trace_id LIMIT {REMAINING_ROWS_MAX}
"""
COUNT_ERASED_AMONG: Final = f"""
SELECT count(*) FROM erased_traces
WHERE {IN_PROJECT} AND erasure_id = $2 AND trace_id = ANY($3::uuid[])
"""
COUNT_ITEMS_OF_OWNER: Final = f"""
SELECT count(*) FROM dataset_items
WHERE {IN_PROJECT} AND {{owner}} = $2 AND ($3::timestamptz IS NULL OR created_at <= $3)
"""
# Later runs may name the session again, if it has new traces. A row whose run was deleted counts.
# OFFSET 0 makes it a look-up for each row, in place of a join with all runs of the project.
_COUNT_ROWS_OF_RUNS: Final = f"""
SELECT count(*) FROM (
  SELECT 1 FROM {{table}} AS named WHERE {IN_PROJECT} AND target = $2 AND NOT EXISTS (
    SELECT 1 FROM eval_runs AS r
    WHERE r.{IN_PROJECT} AND r.id = named.run_id AND r.created_at > $3::timestamptz OFFSET 0
  ) LIMIT {REMAINING_ROWS_MAX}
) AS found
"""
COUNT_REMAINING_SESSION_ROWS: Final = {
    "session_scores": f"""
    SELECT count(*) FILTER (WHERE $3::timestamptz IS NULL OR created_at <= $3)
    FROM session_scores WHERE {IN_PROJECT} AND session_id = $2
    """,
    "eval_jobs": _COUNT_ROWS_OF_RUNS.format(table="eval_jobs"),
    "judge_calls": _COUNT_ROWS_OF_RUNS.format(table="judge_calls"),
}


@dataclass(frozen=True, slots=True)
class PostgresErasures:
    edits: TraceEdits

    async def begin(self, erasure: Erasure, owner: DataSubject, entry: AuditEntry) -> None:
        project = erasure.project_id
        tenants = (project, erasure.organization_id)  # the audit log is the organization's
        async with transaction(self.edits.pool, tenants) as connection:
            await check_not_removed(connection, project)
            exports = affected_rows(await connection.execute(DELETE_EXPORTS, project))
            begun = erasure.with_rows({"exports": exports})
            await lock_project(connection, AdvisoryLock.TRACE_OWNERS, project)
            active = await connection.fetchval(COUNT_ACTIVE_ERASURES, project)
            if active >= ERASURES_IN_PROGRESS_MAX:
                raise too_many_erasures()
            await connection.execute(INSERT_ERASURE, *_erasure_row(begun), owner.id)
            await connection.execute(INSERT_AUDIT_ENTRY, *audit_row(entry))

    async def current_time(self) -> datetime:
        return await fetch_current_time(self.edits.pool)

    async def advance(
        self, project: ProjectId, erasure: ErasureId, now: datetime, make_entry: MakeAuditEntry
    ) -> Erasure:
        async with self.edits.transaction(project) as (connection, deltas):
            row = await connection.fetchrow(LOCK_ACTIVE_ERASURE, project, erasure)
            if row is None:
                return await _fetch_erasure(connection, project, erasure)
            known = _erasure_from_row(row)
            sql = SELECT_NEXT_TRACES.format(owner=SUBJECT_COLUMNS[known.kind])
            some = [TraceId(one[0]) for one in await connection.fetch(sql, project, row["owner"])]
            if not some:
                copies, is_more = await _delete_copies(connection, project)
                owner_column = SUBJECT_COLUMNS[known.kind]
                items = await erase_items_of_owner(
                    connection, project, owner_column, row["owner"], now
                )
                is_more = is_more or items == ERASED_PER_DELETE
                # Before the receipt: blocks that lie outside the database.
                is_more |= await remove_objects_of_project(connection, project)
                copies["dataset_items"] = items
                segments = await list_erased_segments(
                    connection, project, erasure, SEGMENTS_PER_CLEANING
                )
                for segment in segments:
                    await clean_segment(connection, project, segment)
                is_more = is_more or len(segments) == SEGMENTS_PER_CLEANING
                # Last: new traces with such a text wait for its lock.
                is_more |= await remove_unused_texts_of_project(connection, project)
                known = known.with_rows(copies)
                if is_more:
                    rows = object_text(known.rows)
                    await connection.execute(UPDATE_ERASED_ROWS, project, erasure, rows)
                    return known
                changed = await _anonymize_session(connection, known, row["owner"])
                known = known.with_rows(changed).finished(now)
                rows = object_text(known.rows)
                await set_tenants(connection, project, known.organization_id)
                await connection.execute(FINISH_ERASURE, project, erasure, rows, now)
                await connection.execute(INSERT_AUDIT_ENTRY, *audit_row(make_entry(known)))
                return known
            await connection.execute(INSERT_ERASED_TRACES, project, sorted(some), erasure, now)
            gone = await delete_traces(
                connection, deltas[project], project, some, keeps_copies=False
            )
            items = await erase_items_of_traces(connection, project, some, now)
            gone.rows["dataset_items"] = items
            if gone.sessions:
                sessions = sorted(gone.sessions)
                gone.rows["replies"] += await erase_replies(connection, project, sessions)
                scores = await delete_session_scores(connection, project, sessions)
                gone.rows["session_scores"] = scores
            known = known.with_rows(gone.rows)
            await connection.execute(UPDATE_ERASED_ROWS, project, erasure, object_text(known.rows))
            return known

    async def list_unfinished(self) -> Sequence[tuple[ProjectId, ErasureId]]:
        async with read_connection(self.edits.pool, RETRY_LATER, ALL_TENANTS) as connection:
            rows = await connection.fetch(SELECT_UNFINISHED_ERASURES)
        return [(ProjectId(row["project_id"]), ErasureId(row["id"])) for row in rows]

    async def get(self, project: ProjectId, erasure: ErasureId) -> Erasure:
        async with read_connection(self.edits.pool, RETRY_LATER, project) as connection:
            return await _fetch_erasure(connection, project, erasure)

    async def page(self, project: ProjectId, window: PageRequest) -> Page[Erasure]:
        query = KeysetQuery.newest_first(project, ERASURES, window, by="requested_at")
        async with read_snapshot(self.edits.pool, RETRY_LATER, project) as connection:
            page = await query.fetch_served(connection, [])
        return page.to_page(
            window.limit, _erasure_from_row, lambda one: Position(one.requested_at, one.id)
        )

    async def count_remaining(self, erasure: Erasure, owner: DataSubject) -> RemainingData:
        project, over = erasure.project_id, erasure.removed_at
        async with read_snapshot(self.edits.pool, RETRY_LATER, erasure.project_id) as connection:
            sql = COUNT_TRACES.format(owner=SUBJECT_COLUMNS[owner.kind])
            [traces] = await connection.fetch(sql, project, owner.id, over)
            rows = {"traces": traces["before"]}
            for table, counting in COUNT_REMAINING_COPIES.items():
                requested_at = erasure.requested_at
                rows[table] = await connection.fetchval(counting, project, requested_at)
            for table, counting in COUNT_REMAINING_TRACE_ROWS.items():
                rows[table] = await connection.fetchval(counting, project, erasure.id)
            rows["trace_links"] = await _count_linked_traces(connection, project, erasure.id)
            sql = COUNT_ITEMS_OF_OWNER.format(owner=SUBJECT_COLUMNS[owner.kind])
            rows["dataset_items"] += await connection.fetchval(sql, project, owner.id, over)
            if owner.kind is DataSubjectKind.SESSION:
                for table, counting in COUNT_REMAINING_SESSION_ROWS.items():
                    rows[table] = await connection.fetchval(counting, project, owner.id, over)
                rows["waiting_evaluations"] += await count_evaluations_of_session(
                    connection, project, owner.id, over
                )
        return RemainingData(
            {table: count for table, count in rows.items() if count}, traces["since"]
        )

    async def delete_erased_ids(self, before: datetime) -> int:
        async with transaction(self.edits.pool, ALL_TENANTS) as connection:
            return affected_rows(await connection.execute(DELETE_OLD_ERASED_TRACES, before))


async def _fetch_erasure(connection: Connection, project: ProjectId, erasure: ErasureId) -> Erasure:
    row = await connection.fetchrow(SELECT_ERASURE, project, erasure)
    return _erasure_from_row(require_row(row, "Erasure not found"))


async def _count_linked_traces(
    connection: Connection, project: ProjectId, erasure: ErasureId
) -> int:
    """The number of erased traces that still have a public link."""
    found, linked = 0, [UUID(int=0)]
    while linked:
        rows = await connection.fetch(SELECT_LINKED_TRACES, project, linked[-1])
        linked = [row[0] for row in rows]
        found += await connection.fetchval(COUNT_ERASED_AMONG, project, erasure, linked)
    return found


async def _delete_copies(connection: Connection, project: ProjectId) -> tuple[Counter[str], bool]:
    """Deletes all exports, some of their files and some responses; whether any may be left.

    A worker that writes a file cannot add to it without the row of the export.
    """
    replies, is_more = await erase_some_replies(connection, project)
    exports = affected_rows(await connection.execute(DELETE_EXPORTS, project))
    pieces = affected_rows(await connection.execute(DELETE_ORPHANED_PIECES, project))
    rows = Counter(exports=exports, export_pieces=pieces, replies=replies)
    return rows, is_more or pieces == PIECES_PER_DELETE


async def _anonymize_session(connection: Connection, known: Erasure, owner: str) -> Counter[str]:
    """Anonymizes what refers to a session besides its traces; returns how many rows changed."""
    rows = Counter[str]()
    if known.kind is DataSubjectKind.SESSION:
        project, pseudonym = known.project_id, f"erased:{known.id}"
        for run, filters in await connection.fetch(SELECT_RUNS_OF_SESSION, project, owner):
            if (anonymous := rename_session(filters, owner, pseudonym)) != filters:
                await connection.execute(UPDATE_RUN_FILTERS, project, run, anonymous)
                rows["eval_runs"] += 1
        for table, sql in ANONYMIZE_SESSION.items():
            rows[table] = affected_rows(await connection.execute(sql, project, owner, pseudonym))
        waiting = await delete_evaluations_of_session(connection, project, owner)
        rows["waiting_evaluations"] = waiting
        rows["session_scores"] = await delete_session_scores(connection, project, [owner])
    return rows
