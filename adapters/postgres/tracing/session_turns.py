"""Reads the turns of a session: a page of its traces with their payloads, without their spans."""

from typing import Final

from asyncpg import Record

from adapters.postgres.database.keyset_pages import KeysetPage, KeysetQuery
from adapters.postgres.database.pool import OF_PROJECT, Connection, require_row
from adapters.postgres.database.sql_builder import Sql
from adapters.postgres.tracing.trace_rows import SUMMARY_COLUMNS, summary_from_row
from domain.ids import ProjectId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.payload_detail import PREVIEW_BYTES_MAX, PayloadPreview
from domain.tracing.session_turn import SessionTurn

HAS_SESSION: Final = f"SELECT 1 FROM sessions WHERE {OF_PROJECT} AND session_id = $2"


def _shown(payload: str) -> str:
    """A payload if it is small, the beginning of a large one, and the size of the whole."""
    size = f"octet_length({payload}::text)"
    return (
        f"CASE WHEN {size} <= {PREVIEW_BYTES_MAX} THEN {payload} END AS {payload},"
        f" CASE WHEN {size} > {PREVIEW_BYTES_MAX} THEN left({payload}::text, {PREVIEW_BYTES_MAX})"
        f" END AS {payload}_beginning, {size} AS {payload}_bytes"
    )


# OFFSET 0 makes it a lookup for each trace. A join might be planned over a whole project.
SELECT_TURNS: Final = f"""
SELECT traces.trace_id, payloads.*, calls.*
FROM traces LEFT JOIN LATERAL (
  SELECT {_shown("input")}, {_shown("output")} FROM trace_payloads
  WHERE {OF_PROJECT} AND trace_payloads.trace_id = traces.trace_id OFFSET 0
) AS payloads ON true
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE kind = 'LLM') AS llm_calls,
         count(*) FILTER (WHERE kind = 'TOOL') AS tool_calls
  FROM spans WHERE {OF_PROJECT} AND spans.trace_id = traces.trace_id
) AS calls
WHERE traces.{OF_PROJECT} AND traces.trace_id = ANY($2::uuid[])
"""


async def fetch_turns(
    connection: Connection, project: ProjectId, session: str, order: SortOrder, window: PageRequest
) -> Page[SessionTurn]:
    """Reads a page; in a visible snapshot. Raises NotFound."""
    require_row(await connection.fetchrow(HAS_SESSION, project, session), "Session not found")
    query = KeysetQuery(
        project=project,
        table="traces",
        id="trace_id",
        value="started_at",
        columns=SUMMARY_COLUMNS,
        down=order is SortOrder.DESC,
        window=window,
    )
    page: KeysetPage = await query.fetch_served(connection, [Sql("session_id = {}", (session,))])
    ids = [row["trace_id"] for row in page.rows[: window.limit]]
    rows = await connection.fetch(SELECT_TURNS, project, ids) if ids else []
    contents = {TraceId(row["trace_id"]): row for row in rows}
    return page.to_page(
        window.limit, lambda row: _turn_from_rows(row, contents), lambda one: one.position
    )


def _turn_from_rows(row: Record, contents: dict[TraceId, Record]) -> SessionTurn:
    content = contents[row["trace_id"]]
    return SessionTurn(
        summary=summary_from_row(row),
        input=content["input"],
        output=content["output"],
        input_preview=_preview(content, "input"),
        output_preview=_preview(content, "output"),
        llm_calls=content["llm_calls"],
        tool_calls=content["tool_calls"],
    )


def _preview(content: Record, name: str) -> PayloadPreview | None:
    beginning = content[f"{name}_beginning"]
    if beginning is None:
        return None
    return PayloadPreview.from_beginning(beginning.encode(), content[f"{name}_bytes"])
