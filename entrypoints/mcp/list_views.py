"""Views of several traces: lists, sessions, and comparisons of two."""

from collections.abc import Sequence
from typing import Final

import msgspec

from domain.evaluation.evidence.redaction import RedactedText, RedactionMode, Redactor
from domain.evaluation.trace_content.messages import decode_json, last_message_text
from domain.tracing.messages.message_blocks import ASSISTANT, USER
from domain.wording import counted, noun_of
from entrypoints.mcp.answer import View, fitting_blocks, line_of, masked, part, room_for_data
from entrypoints.mcp.responses import (
    ComparedRow,
    ComparisonRow,
    Page,
    PairRow,
    PreviewRow,
    ScoreRow,
    TraceRow,
    TurnRow,
)
from entrypoints.mcp.token_count import count_tokens
from entrypoints.mcp.trace_views import (
    NAME_CHARS,
    dollars,
    instant,
    is_whole,
    milliseconds,
    total_dollars,
)

SCORES_SHOWN: Final = 5
TURN_TOKENS: Final = (600, 300, 150, 80, 40, 0)  # of each text, tried until all turns fit
ERROR_CHARS: Final = 300


# --- lists -----------------------------------------------------------------------------------


def traces_view(
    page: Page[TraceRow],
    *,
    offset: int,
    tokens: int,
    masking: RedactionMode,
    rest: str,
    is_search: bool = False,
) -> View:
    """A page of traces: as many as fit, each with its beginning and end."""
    redactor = Redactor(masking)
    count = f"at least {page.total}" if page.total_is_at_least else str(page.total)
    facts = [
        f"{count} {noun_of(page.total, 'trace matches', 'traces match')}",
        *_search_facts(page),
    ]
    room = room_for_data(tokens, [*facts, "shown: 000000 from offset 000000000"], f"GET {rest}")
    blocks = fitting_blocks((_trace_lines(row, redactor) for row in page.items), room)
    lines, shown = [line for block in blocks for line in block], len(blocks)
    facts.append(f"shown: {shown} from offset {offset}")
    left_out = []
    if is_search and (page.total_is_at_least or shown < page.total):
        left_out.append("older ones; to get them: the same call with an earlier started_before")
    elif offset + shown < page.total or (page.total_is_at_least and shown):
        more = str(page.total - offset - shown)
        if page.total_is_at_least:
            more = f"at least {more}" if offset + shown < page.total else "perhaps"
        left_out.append(
            f"{more} more; to get them: the same call with offset={offset + shown}, or narrower "
            "filters"
        )
    return View(facts=facts, data=lines, left_out=left_out, rest=f"GET {rest}")


def _search_facts(page: Page[TraceRow]) -> Sequence[str]:
    """Why a search isn't complete; nothing for other lists."""
    search = page.search
    if search is None or search.is_complete:
        return []
    if page.next_cursor is not None:
        why = (
            "it stopped at a limit, and older traces may match; use rarer words, or search shorter "
            "periods with started_after and started_before"
        )
    else:
        why = (
            "it left out traces with more than 256 MiB of payloads, or some written after "
            f"{instant(search.indexed_until)}, since the index is far behind"
        )
    return [f"the search is incomplete: {why}"]


def _trace_lines(row: TraceRow, redactor: Redactor) -> Sequence[str]:
    failed = f", {row.error_count} failed" if row.error_count else ""
    lines = [
        (
            f"{row.trace_id} {row.status} {instant(row.started_at)} "
            f"{milliseconds(row.latency_ms)}, {counted(row.span_count, 'step')}{failed}, "
            f"{counted(row.total_tokens, 'token')}, "
            f"{total_dollars(row.total_cost, row.unpriced_span_count)}"
        )
    ]
    named = [
        f"{name} {line_of(text, NAME_CHARS // 2, redactor)}"
        for name, text in (
            ("name", row.name),
            ("session", row.session_id),
            ("release", row.release),
        )
        if text
    ]
    lines.append(f"  {', '.join(named)}")
    for name, text in (("input", row.input_preview), ("output", row.output_preview)):
        if text:
            lines.append(f"  {name} {line_of(text, NAME_CHARS, redactor)}")
    if row.matches:
        places = [f"{one.field} of {one.span_id or 'the trace'}" for one in row.matches]
        lines.append(f"  found in {', '.join(places)}")
    if row.scores:
        lines.append(f"  scores {_scores(row.scores, redactor)}")
    return lines


def _scores(scores: Sequence[ScoreRow], redactor: Redactor) -> str:
    shown = [
        f"{line_of(one.name, NAME_CHARS // 3, redactor)} "
        f"{line_of(one.value, NAME_CHARS // 3, redactor) if one.value is not None else one.outcome}"
        for one in scores[:SCORES_SHOWN]
    ]
    more = [f"and {len(scores) - SCORES_SHOWN} more"] if len(scores) > SCORES_SHOWN else []
    return ", ".join([*shown, *more])


# --- sessions --------------------------------------------------------------------------------


def session_view(
    page: Page[TurnRow],
    scores: Sequence[ScoreRow],
    *,
    offset: int,
    tokens: int,
    masking: RedactionMode,
    rest: str,
) -> View:
    """The turns of a conversation: what the user asked and what the agent answered."""
    redactor = Redactor(masking)
    traces = [turn.trace for turn in page.items]
    failed = sum(one.status == "ERROR" for one in traces)
    cost = total_dollars(
        sum(one.total_cost for one in traces), sum(one.unpriced_span_count for one in traces)
    )
    used = sum(one.total_tokens for one in traces)
    facts = [
        (
            f"session of {counted(page.total, 'turn')}; of the {len(page.items)} read from offset "
            f"{offset}, {failed} failed, {counted(used, 'token')}, {cost}"
        )
    ]
    room = room_for_data(tokens, facts, f"GET {rest}")
    head = [f"scores {_scores(scores, redactor)}"] if scores else []
    room -= sum(count_tokens(line) + 1 for line in head)
    texts = [
        (
            masked(_text(USER, turn.input, turn.input_preview), TURN_TOKENS[0], redactor),
            masked(_text(ASSISTANT, turn.output, turn.output_preview), TURN_TOKENS[0], redactor),
        )
        for turn in page.items
    ]
    for most in TURN_TOKENS:
        blocks = fitting_blocks(
            (
                _turn_lines(offset + number, turn, texts[number], most)
                for number, turn in enumerate(page.items)
            ),
            room,
        )
        if len(blocks) == len(page.items):
            break
    lines = [*head, *(line for block in blocks for line in block)]
    shown = len(blocks)
    left_out = []
    if (missing := page.total - offset - shown) > 0:
        left_out.append(
            f"{counted(missing, 'turn')}; to get them: the same call with offset={offset + shown}"
        )
    said = [text for turn in texts[:shown] for text in turn]
    if most < TURN_TOKENS[0] or not all(is_whole(one, most) for one in said):
        left_out.append("parts of texts; to get them: get_trace of a turn")
    return View(facts=facts, data=lines, left_out=left_out, rest=f"GET {rest}")


def _text(role: str, payload: msgspec.Raw, preview: PreviewRow | None) -> str:
    if preview is not None:  # no complete JSON
        return preview.text
    return last_message_text(role, decode_json(bytes(payload))).text


def _turn_lines(
    number: int, turn: TurnRow, texts: tuple[RedactedText, RedactedText], most: int
) -> Sequence[str]:
    row = turn.trace
    failed = f", {row.error_count} failed" if row.error_count else ""
    head = (
        f"turn {number + 1}: {row.trace_id} {row.status} {milliseconds(row.latency_ms)}, "
        f"{counted(turn.llm_calls, 'model call')}, "
        f"{counted(turn.tool_calls, 'tool call')}{failed}"
    )
    asked, answered = texts
    return [head, *part("user", asked, most), *part("agent", answered, most)]


# --- comparisons -----------------------------------------------------------------------------


def comparison_view(
    found: ComparisonRow, *, after: int, tokens: int, masking: RedactionMode, rest: str
) -> View:
    """Two traces side by side, and the steps that differ."""
    redactor = Redactor(masking)
    a, b = found.a, found.b
    counts = found.counts
    facts = [
        f"a {a.trace_id}: {_numbers(a)}",
        f"b {b.trace_id}: {_numbers(b)}",
        (
            f"b takes {_difference(a.latency_ms, b.latency_ms, 'ms')}, "
            f"{_difference(a.total_tokens, b.total_tokens, 'tokens')}, "
            f"{_difference(_whole_cost(a), _whole_cost(b), 'USD')}"
        ),
        (
            f"steps: {counts.get('same', 0)} the same, {counts.get('changed', 0)} changed, "
            f"{counts.get('missing', 0)} of a missing in b, {counts.get('added', 0)} added in b"
        ),
    ]
    compared = (found.compared_a, found.compared_b)
    if compared != (a.span_count, b.span_count):
        facts.append(f"compared: the first {compared[0]} steps of a, {compared[1]} of b")
    room = room_for_data(tokens, facts, f"GET {rest}")
    head = [f"a {line_of(a.name, NAME_CHARS, redactor)}, b {line_of(b.name, NAME_CHARS, redactor)}"]
    room -= sum(count_tokens(line) + 1 for line in head)
    blocks = fitting_blocks((_pair_lines(pair, redactor) for pair in found.steps), room)
    lines, shown = [*head, *(line for block in blocks for line in block)], len(blocks)
    left_out = []
    if after + shown < found.total:
        left_out.append(
            f"{found.total - after - shown} of {found.total} steps that differ; to get them: the "
            f"same call with after={after + shown}"
        )
    if shown:
        left_out.append("inputs and outputs; get_step(trace_id, step) shows those of a step")
    return View(facts=facts, data=lines, left_out=left_out, rest=f"GET {rest}")


def _numbers(row: TraceRow) -> str:
    return (
        f"{row.status}, {milliseconds(row.latency_ms)}, {counted(row.span_count, 'step')}, "
        f"{row.error_count} failed, {counted(row.total_tokens, 'token')}, "
        f"{total_dollars(row.total_cost, row.unpriced_span_count)}"
    )


def _whole_cost(row: TraceRow) -> float | None:
    """None if the cost of a step is unknown."""
    return None if row.unpriced_span_count else row.total_cost or None


def _difference(one: float | None, other: float | None, unit: str) -> str:
    if one is None or other is None:
        return f"unknown {unit}"
    return f"{other - one:+.6g} {unit}"


def _pair_lines(pair: PairRow, redactor: Redactor) -> Sequence[str]:
    differs = f" ({', '.join(pair.differences)})" if pair.differences else ""
    lines = [f"{pair.change}{differs}: {pair.kind} {line_of(pair.name, NAME_CHARS // 2, redactor)}"]
    for side, step in (("a", pair.a), ("b", pair.b)):
        if step is not None:
            lines.append(f"  {side} {_side(step, redactor)}")
            if step.error:
                lines.append(f"    error {line_of(step.error, ERROR_CHARS, redactor)}")
    return lines


def _side(step: ComparedRow, redactor: Redactor) -> str:
    model = f", model {line_of(step.model, NAME_CHARS // 2, redactor)}" if step.model else ""
    cost = "unpriced" if step.cost is None else dollars(step.cost)
    tokens = f", {counted(step.tokens, 'token')}, {cost}" if step.tokens or step.cost else ""
    return (
        f"{step.label} {step.status} {milliseconds(step.latency_ms)}{model}{tokens}, "
        f"{_bytes(step.input_bytes)} in, {_bytes(step.output_bytes)} out"
    )


def _bytes(size: int | None) -> str:
    return "nothing" if size is None else f"{size} B"
