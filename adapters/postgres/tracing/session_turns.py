"""Reads the turns of a session: a page of its traces with their payloads, without their spans."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.database.statements.keyset_pages import KeysetPage, KeysetQuery
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.tracing.payloads.payload_text import (
    DECOMPRESSED_ON_LOOP_MAX,
    HEAD_COLUMNS,
    DamagedText,
    Range,
    StoredText,
    TraceKey,
    fetch_texts,
    payload_range,
)
from adapters.postgres.tracing.trace_rows import SUMMARY_COLUMNS, summary_from_row
from application.concurrency import compute
from domain.ids import ProjectId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.payload_detail import PREVIEW_BYTES_MAX, PayloadPreview
from domain.tracing.session_turn import SessionTurn

PAYLOAD_NAMES: Final = ("input", "output")
HAS_SESSION: Final = f"SELECT 1 FROM sessions WHERE {IN_PROJECT} AND session_id = $2"


# OFFSET 0 makes it a lookup for each trace. A join might be planned over a whole project.
SELECT_TURNS: Final = f"""
SELECT traces.trace_id, head.*, calls.*
FROM traces LEFT JOIN LATERAL (
  SELECT {", ".join(HEAD_COLUMNS[:4])} FROM trace_payloads
  WHERE {IN_PROJECT} AND trace_payloads.trace_id = traces.trace_id AND start = 0 OFFSET 0
) AS head ON true
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE kind = 'LLM') AS llm_calls,
         count(*) FILTER (WHERE kind = 'TOOL') AS tool_calls
  FROM spans WHERE {IN_PROJECT} AND spans.trace_id = traces.trace_id
) AS calls
WHERE traces.{IN_PROJECT} AND traces.trace_id = ANY($2::uuid[])
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
    ranges = [
        ((project, TraceId(row["trace_id"])), _beginning(payload_range(row, name)))
        for row in rows
        for name in PAYLOAD_NAMES
    ]
    texts = await fetch_texts(connection, ranges)
    size = sum(text.size for text in texts.values())
    contents = await compute(
        _contents, project, rows, texts, is_long=size > DECOMPRESSED_ON_LOOP_MAX
    )
    return page.to_page(
        window.limit, lambda row: _turn_from_rows(row, contents), lambda one: one.position
    )


def _beginning(payload: Range | None) -> Range | None:
    """The part of a payload that is shown: all of a small one, the beginning of a large one."""
    if payload is None:
        return None
    first, past = payload
    return first, min(past, first + PREVIEW_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class TurnContent:
    """The payloads of a turn. A damaged one is shown as the beginning of nothing, with its size."""

    row: Record
    payloads: Mapping[str, JsonText | None]
    previews: Mapping[str, PayloadPreview | None]


def _contents(
    project: ProjectId, rows: Iterable[Record], texts: Mapping[TraceKey, StoredText]
) -> dict[TraceId, TurnContent]:
    found = {}
    for row in rows:
        trace = TraceId(row["trace_id"])
        payloads: dict[str, JsonText | None] = {}
        previews: dict[str, PayloadPreview | None] = {}
        for name in PAYLOAD_NAMES:
            shown = _shown(texts[project, trace], payload_range(row, name))
            payloads[name] = shown if isinstance(shown, bytes) else None
            previews[name] = shown if isinstance(shown, PayloadPreview) else None
        found[trace] = TurnContent(row, payloads, previews)
    return found


def _shown(text: StoredText, payload: Range | None) -> JsonText | PayloadPreview | None:
    shown = _beginning(payload)
    if payload is None or shown is None:
        return None
    try:
        beginning = text.value(shown[0], shown[1] - shown[0])
    except DamagedText:
        return PayloadPreview(payload[1] - payload[0], "")
    size = payload[1] - payload[0]
    return beginning if shown == payload else PayloadPreview.from_beginning(beginning, size)


def _turn_from_rows(row: Record, contents: Mapping[TraceId, TurnContent]) -> SessionTurn:
    content = contents[row["trace_id"]]
    return SessionTurn(
        summary=summary_from_row(row),
        input=content.payloads["input"],
        output=content.payloads["output"],
        input_preview=content.previews["input"],
        output_preview=content.previews["output"],
        llm_calls=content.row["llm_calls"],
        tool_calls=content.row["tool_calls"],
    )
