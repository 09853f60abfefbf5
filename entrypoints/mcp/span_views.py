"""Views of the steps of many traces: figures by group, and groups of errors."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from domain.evaluation.evidence.redaction import RedactionMode, Redactor
from domain.tracing.spans.span_analytics import GROUPS_MAX
from domain.wording import counted
from entrypoints.mcp.answer import View, fitting_blocks, line_of, room_for_data
from entrypoints.mcp.responses import (
    ErrorGroupRow,
    Page,
    SpanAnalyticsRow,
    SpanFiguresRow,
    SpanSeriesRow,
)
from entrypoints.mcp.trace_views import NAME_CHARS, instant, milliseconds, total_dollars

ERROR_CHARS: Final = 300


def figures_view(
    found: SpanAnalyticsRow,
    *,
    group_by: str,
    limit: int,
    period: tuple[datetime, datetime],
    tokens: int,
    masking: RedactionMode,
    rest: str,
) -> View:
    """Groups of steps, the first by rank, each with its figures in all and by bucket.

    `limit` is how many groups were asked for.
    """
    redactor = Redactor(masking)
    total = found.total
    facts = [
        f"steps from {instant(period[0])} to {instant(period[1])}: {_figures(total.figures)}",
        f"groups by {group_by}: {total.group_count}",
    ]
    room = room_for_data(tokens, [*facts, "shown: 000000"], f"GET {rest}")
    blocks = fitting_blocks((_series_lines(one, redactor) for one in found.groups), room)
    shown = len(blocks)
    facts.append(f"shown: {shown}")
    left_out = []
    if shown < total.group_count:
        # `other` has the figures of the groups beyond the limit, and of no others.
        is_cut = shown < len(found.groups)
        others = "" if found.other is None or is_cut else f" (of {_figures(found.other.figures)})"
        ways = ["a larger max_tokens"] if is_cut else []
        ways += ["a greater limit"] if not is_cut and limit < GROUPS_MAX else []
        ways += ["narrower filters", "a longer interval"]
        missing = total.group_count - shown
        left_out.append(
            f"{counted(missing, 'group')}{others}; to get them: the same call with "
            f"{', '.join(ways[:-1])} or {ways[-1]}"
        )
    lines = [line for block in blocks for line in block]
    return View(facts=facts, data=lines, left_out=left_out, rest=f"GET {rest}")


def _series_lines(series: SpanSeriesRow, redactor: Redactor) -> Sequence[str]:
    label = "" if series.label is None else f" {line_of(series.label, ERROR_CHARS, redactor)}"
    key = line_of(series.key or "", NAME_CHARS, redactor)
    buckets = series.buckets if len(series.buckets) > 1 else []
    return [
        f"{key}{label}: {_figures(series.figures)}",
        *(f"  {instant(one.bucket)} {_figures(one.figures)}" for one in buckets),
    ]


def _figures(row: SpanFiguresRow) -> str:
    if not row.span_count:
        return "none"
    parts = [f"{row.span_count}", f"{row.error_count} failed ({row.error_rate or 0:.2%})"]
    if row.latency_count:
        parts.append(
            f"p50 {milliseconds(row.p50_latency_ms)}, p95 {milliseconds(row.p95_latency_ms)}, p99 "
            f"{milliseconds(row.p99_latency_ms)} of {row.latency_count} with a latency"
        )
    if row.total_tokens:
        parts.append(f"{counted(row.total_tokens, 'token')}")
    if row.total_tokens or row.total_cost or row.unpriced_span_count:
        parts.append(total_dollars(row.total_cost, row.unpriced_span_count))
    return ", ".join(parts)


def errors_view(
    page: Page[ErrorGroupRow],
    *,
    period: tuple[datetime, datetime],
    offset: int,
    tokens: int,
    masking: RedactionMode,
    rest: str,
) -> View:
    """Groups of errors, each with its newest failed step."""
    redactor = Redactor(masking)
    facts = [
        f"groups of errors from {instant(period[0])} to {instant(period[1])}: {page.total}",
    ]
    room = room_for_data(tokens, [*facts, "shown: 000000 from offset 000000000"], f"GET {rest}")
    blocks = fitting_blocks((_error_lines(one, redactor) for one in page.items), room)
    shown = len(blocks)
    facts.append(f"shown: {shown} from offset {offset}")
    left_out = []
    if offset + shown < page.total:
        left_out.append(
            f"{page.total - offset - shown} more; to get them: the same call with "
            f"offset={offset + shown}"
        )
    if shown:
        left_out.append('the traces; get_trace(trace_id, focus="errors") shows a failed step')
    lines = [line for block in blocks for line in block]
    return View(facts=facts, data=lines, left_out=left_out, rest=f"GET {rest}")


def _error_lines(group: ErrorGroupRow, redactor: Redactor) -> Sequence[str]:
    is_new = ", new in this period" if group.is_new else ""
    releases = ", ".join(line_of(one, NAME_CHARS // 2, redactor) for one in group.releases)
    lines = [
        (
            f"{group.error_group}: {counted(group.count, 'failed step')}, "
            f"first {instant(group.first_seen)}, last {instant(group.last_seen)}{is_new}"
        ),
        f"  pattern {line_of(group.pattern, ERROR_CHARS, redactor)}",
    ]
    if releases:
        lines.append(f"  releases {releases}")
    for one in group.samples[:1]:
        step = line_of(one.name, NAME_CHARS, redactor)
        lines.append(f"  newest {one.span_id} {step} of trace {one.trace_id}")
        if one.error:
            lines.append(f"    error {line_of(one.error, ERROR_CHARS, redactor)}")
    return lines
