"""Views of one trace: its steps as judges read them, masked, within a budget of tokens.

The texts of steps are those of evidence (`draft_step`, `Step.printed`). What differs is which steps
are shown: evidence is the same for every metric, and here the caller asks about something.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.evaluation.evidence.builder import FULL_BUDGET, StepBudget, StepDraft, draft_step
from domain.evaluation.evidence.redaction import (
    RedactedText,
    RedactionMode,
    Redactor,
    sanitize_text,
)
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import decode_json
from domain.evaluation.trace_content.text import to_text
from domain.tracing.outline import OutlineRow
from domain.tracing.span import Span, SpanKind, SpanStatus, Totals
from domain.tracing.spans.span_tree import labelled_spans
from domain.tracing.trace import Trace
from domain.tracing.usage import as_float
from domain.wording import counted
from entrypoints.mcp.answer import (
    View,
    cut_to,
    fitting,
    line_of,
    masked,
    part,
    room_for_data,
)
from entrypoints.mcp.service_client import ToolError, path_of
from entrypoints.mcp.token_count import count_tokens

NAME_CHARS: Final = 120
TAGS_SHOWN: Final = 10
FAILED_TOKENS: Final = 100  # of labels; `focus=errors` shows the steps
NEAR_STEPS: Final = 3  # before and after a step that is in focus
STEP_TOKENS_MIN: Final = 8  # no step takes less, so that no more are processed than could fit
PAYLOAD_BYTES_MAX: Final = 8 << 20  # of one payload that is masked; the rest isn't shown

# Budgets of a step, tried for all steps until they fit; then steps with priority get longer ones.
_BUDGETS: Final = (
    StepBudget(error=2_000, arguments=2_000, output=2_000, text=1_000, document=600),
    FULL_BUDGET,
    StepBudget(error=200, arguments=150, output=150, text=80, document=60),
    StepBudget(error=80, arguments=40, output=40, text=20, document=0),
    StepBudget(error=30, arguments=0, output=0, text=0, document=0),
)
_MIDDLE: Final = 2  # of these, for steps with the first priority


class Focus(StrEnum):
    """Which steps of a trace are shown first; another text is the label or id of a step."""

    ERRORS = "errors"
    TOOLS = "tools"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A step that may be shown. A smaller `priority` comes first when there is too little room."""

    place: int
    priority: tuple[float, ...]


def trace_view(
    trace: Trace, *, tokens: int, masking: RedactionMode, focus: str | None, has_payloads: bool
) -> View:
    """A trace within `tokens`: what was asked and answered, and the steps that `focus` is about.

    Without a focus all steps are shown, failed ones first if there are too many. Deterministic for
    a trace. Raises ToolError if there is no step as the focus names it.
    """
    redactor = Redactor(masking)
    labelled = labelled_spans(trace.spans)
    chosen = _chosen(trace, labelled, focus)
    facts = [*trace_facts(trace), *_focus_facts(focus, chosen, labelled)]
    if not has_payloads:
        facts.append("its payloads are too large to read at once: get_step shows those of a step")
    rest = path_of("traces", trace.id)
    room = room_for_data(tokens, facts, f"GET {rest}")
    head = _head(trace, redactor, room)
    room -= sum(count_tokens(line) + 1 for line in head)
    steps, shown, is_cut = _steps(labelled, chosen, redactor, room, with_cost=focus == Focus.COST)
    return View(
        facts=facts,
        data=[*head, *steps],
        left_out=_left_out(len(labelled), shown, is_cut=is_cut, focus=focus),
        rest=f"GET {rest}",
    )


def trace_facts(trace: Trace) -> list[str]:
    """Numbers of a trace, without any text of it."""
    totals = Totals.from_spans(trace.spans)
    status = trace.status.value if trace.status else "COMPLETED"
    cost = total_dollars(as_float(totals.cost), totals.unpriced)
    facts = [
        (
            f"trace {trace.id}: {status}, started {instant(trace.started_at)}, "
            f"{milliseconds(trace.latency_ms)}, {counted(totals.tokens, 'token')}, "
            f"{cost}, {counted(len(trace.spans), 'step')}, {totals.errors} failed"
        )
    ]
    failed = [label for label, span in labelled_spans(trace.spans) if has_failed(span)]
    if failed:
        # A failure is reported by what it is inside of too: the innermost says why.
        outer = {above for label in failed for above in _above(label)}
        failed.sort(key=lambda label: label in outer)
        shown = fitting(failed, FAILED_TOKENS)
        more = f" and {len(failed) - len(shown)} more" if len(shown) < len(failed) else ""
        facts.append(f"failed steps, innermost first: {', '.join(shown)}{more}")
    return facts


def _head(trace: Trace, redactor: Redactor, room: int) -> Sequence[str]:
    subject = EvaluatedTrace(trace)
    lines = [f"name {line_of(trace.name, NAME_CHARS, redactor)}", *_labels(trace, redactor)]
    room -= sum(count_tokens(line) + 1 for line in lines)
    task = masked(subject.request.text, room // 5, redactor)
    answer = masked(subject.answer.text, room // 5, redactor)
    return [*lines, *part("task", task, room // 5), *part("final output", answer, room // 5)]


def _labels(trace: Trace, redactor: Redactor) -> Sequence[str]:
    named = {
        "session": trace.session_id,
        "environment": trace.environment,
        "release": trace.release,
        "tags": ", ".join(trace.tags[:TAGS_SHOWN]),
    }
    shown = [
        f"{name} {line_of(text, NAME_CHARS // 2, redactor)}" for name, text in named.items() if text
    ]
    return [", ".join(shown)] if shown else []


def _focus_facts(
    focus: str | None, chosen: Sequence[Chosen], labelled: Sequence[tuple[str, Span]]
) -> Sequence[str]:
    if focus is None:
        return []
    if focus == Focus.ERRORS and not any(has_failed(span) for _, span in labelled):
        return ["no step has failed: what went wrong may be in what the steps said"]
    return [f"focus {_shown_focus(focus)}: {len(chosen)} of {len(labelled)} steps"]


def _shown_focus(focus: str) -> str:
    return focus if focus in list(Focus) else json.dumps(focus[:NAME_CHARS], ensure_ascii=False)


# --- which steps -----------------------------------------------------------------------------


def _chosen(
    trace: Trace, labelled: Sequence[tuple[str, Span]], focus: str | None
) -> Sequence[Chosen]:
    """The steps of a focus in tree order."""
    spans = [span for _, span in labelled]
    match focus:
        case None:
            count = len(spans)
            return [
                Chosen(at, (not has_failed(span), min(at, count - 1 - at), at))
                for at, span in enumerate(spans)
            ]
        case Focus.ERRORS:
            return _errors(labelled)
        case Focus.TOOLS:
            kinds = {SpanKind.TOOL, SpanKind.RETRIEVER}
            return [
                Chosen(at, (not has_failed(span), at))
                for at, span in enumerate(spans)
                if span.kind in kinds
            ]
        case Focus.COST:
            rows = [OutlineRow.from_span(span, trace.started_at) for span in spans]
            return [
                Chosen(at, (-(row.cost or 0), -row.tokens, at))
                for at, row in enumerate(rows)
                if row.is_counted and (row.cost or row.tokens)
            ]
    return _neighbours(labelled, focus)


def _errors(labelled: Sequence[tuple[str, Span]]) -> Sequence[Chosen]:
    """Failed steps, what they are inside of, and the step before each."""
    found: dict[int, Chosen] = {}
    for at, (label, span) in enumerate(labelled):
        if has_failed(span):
            found[at] = Chosen(at, (0, -label.count("."), at))
    at_label = {label: at for at, (label, _) in enumerate(labelled)}
    for at in list(found):
        above = [at_label[one] for one in _above(labelled[at][0]) if one in at_label]
        for other in [*above, at - 1]:
            if other >= 0:
                found.setdefault(other, Chosen(other, (1, 0, other)))
    return [found[at] for at in sorted(found)]


def _neighbours(labelled: Sequence[tuple[str, Span]], name: str) -> Sequence[Chosen]:
    """A step, what it is inside of, what is inside of it, and the steps before and after."""
    at = find_step(labelled, name)
    label = labelled[at][0]
    above = set(_above(label))
    return [
        Chosen(n, (n != at, abs(n - at)))
        for n, (one, _) in enumerate(labelled)
        if abs(n - at) <= NEAR_STEPS or one in above or one.startswith(f"{label}.")
    ]


def find_step(labelled: Sequence[tuple[str, Span]], name: str) -> int:
    """The place of a step by its label or id. Raises ToolError."""
    wanted = _uuid(name)
    for at, (label, span) in enumerate(labelled):
        if label == name or span.id == wanted:
            return at
    last = labelled[-1][0] if labelled else "none"
    raise ToolError(
        f"the trace has no step {_shown_focus(name)}: name one by its label, such as s1.2, or by "
        f"its id. The last of its {len(labelled)} steps is {last}. A focus is errors, tools, cost "
        "or a step"
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _above(label: str) -> Sequence[str]:
    parts = label.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def has_failed(span: Span) -> bool:
    return span.status is SpanStatus.ERROR or bool(span.error)


# --- fitting ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Fitting:
    """Steps that may be shown, and how long each is with each budget."""

    labelled: Sequence[tuple[str, Span]]
    drafts: Mapping[int, StepDraft]
    suffixes: Mapping[int, str]
    _sizes: dict[tuple[int, int], int] = field(default_factory=dict)

    def printed(self, at: int, level: int) -> str:
        return self.drafts[at].cut(_BUDGETS[level]).printed(reasoning=True) + self.suffixes[at]

    def size(self, at: int, level: int) -> int:
        if (at, level) not in self._sizes:
            self._sizes[at, level] = count_tokens(self.printed(at, level)) + 1
        return self._sizes[at, level]

    def levels(self, order: Sequence[Chosen], room: int, reserve: int) -> dict[int, int]:
        """The budget of each step that fits. `reserve` is for a line about a gap before each.

        As many steps as possible are chosen, with the shortest texts; those with the first priority
        get half of the room for longer ones.
        """
        lowest, used = len(_BUDGETS) - 1, reserve
        found: dict[int, int] = {}
        for one in order:
            at = one.place
            has_half = used + self.size(at, _MIDDLE) + reserve <= room // 2
            level = _MIDDLE if has_half and not one.priority[0] else lowest
            taken = self.size(at, level) + reserve
            if used + taken <= room:
                found[at] = level
                used += taken
        return found

    def lengthen(self, levels: dict[int, int], room: int) -> None:
        """Uses what is left of `room`: all steps by one budget at a time, in order of priority."""
        for level in reversed(range(len(_BUDGETS) - 1)):
            for at, reached in levels.items():
                more = self.size(at, level) - self.size(at, level + 1)
                if reached == level + 1 and more <= room:
                    levels[at] = level
                    room -= more

    def lines(self, levels: Mapping[int, int]) -> Sequence[str]:
        """The steps in tree order, and a line for each gap between them."""
        lines: list[str] = []
        before = -1
        for at in sorted(levels):
            lines += _gap(self.labelled, before + 1, at)
            lines += self.printed(at, levels[at]).split("\n")
            before = at
        return [*lines, *_gap(self.labelled, before + 1, len(self.labelled))] if levels else []


def _steps(
    labelled: Sequence[tuple[str, Span]],
    chosen: Sequence[Chosen],
    redactor: Redactor,
    room: int,
    *,
    with_cost: bool,
) -> tuple[Sequence[str], int, bool]:
    """The lines of the steps that fit, how many steps they are, and whether one is cut."""
    order = sorted(chosen, key=lambda one: one.priority)[: max(room, 0) // STEP_TOKENS_MIN + 1]
    kept = sorted(one.place for one in order)  # texts are masked in tree order
    fit = Fitting(
        labelled,
        {at: draft_step(*labelled[at], redactor) for at in kept},
        {at: _cost_line(labelled[at][1], redactor) if with_cost else "" for at in kept},
    )
    levels = fit.levels(order, room, 0)
    if len(levels) < len(labelled):
        gap = max(count_tokens(_gap_line(len(labelled), label)) for label, _ in labelled)
        levels = fit.levels(order, room, gap + 1)
    taken = sum(count_tokens(line) + 1 for line in fit.lines(levels))
    fit.lengthen(levels, room - taken)
    is_cut = any(not fit.drafts[at].fits(_BUDGETS[level]) for at, level in levels.items())
    return fit.lines(levels), len(levels), is_cut


def _gap(labelled: Sequence[tuple[str, Span]], first: int, end: int) -> Sequence[str]:
    if end <= first:
        return []
    return [_gap_line(end - first, labelled[first][0])]


def _gap_line(count: int, label: str) -> str:
    return f"… {counted(count, 'step')} from {label} on"


def _cost_line(span: Span, redactor: Redactor) -> str:
    row = OutlineRow.from_span(span, span.started_at)
    price = _price(span, row.cost)
    model = line_of(span.model, NAME_CHARS, redactor) if span.model else "no model"
    return f"\n  {counted(row.tokens, 'token')}, {price}, {model}"


def _price(span: Span, cost: float | None) -> str:
    """A step that calls no model costs nothing. The cost of one that does may be unknown."""
    if cost is not None:
        return dollars(cost)
    return "unpriced" if span.is_unpriced else "no cost"


def _left_out(steps: int, shown: int, *, is_cut: bool, focus: str | None) -> Sequence[str]:
    said = []
    if shown < steps:
        said.append(f"{steps - shown} of {steps} steps")
    if is_cut:
        said.append("parts of long texts, marked in place")
    if not said:
        return []
    others = [one.value for one in Focus if one != focus]
    ways = [
        'get_step(trace_id, step="LABEL") shows one step whole',
        f"focus={'|'.join(others)} or a label shows others",
        "a larger max_tokens shows more",
    ]
    return [*said, f"to get it: {', '.join(ways)}"]


# --- one step --------------------------------------------------------------------------------


class StepPart(StrEnum):
    """A payload of a step."""

    INPUT = "input"
    OUTPUT = "output"
    METADATA = "metadata"
    ERROR = "error"


def step_view(
    trace_id: UUID,
    label: str | None,
    span: Span,
    *,
    tokens: int,
    masking: RedactionMode,
    wanted: StepPart | None,
    offset: int,
) -> View:
    """One step with its payloads. `wanted` shows one of them, from the character `offset` on."""
    redactor = Redactor(masking)
    row = OutlineRow.from_span(span, span.started_at)
    price = _price(span, row.cost)
    facts = [
        (
            f"step {label or span.id} of trace {trace_id}: {row.kind}, {row.status}, "
            f"{milliseconds(span.latency_ms)}, {counted(row.tokens, 'token')}, {price}"
        ),
        f"id {span.id}, parent {span.parent_id or 'none'}, started {instant(span.started_at)}",
    ]
    path = path_of("traces", trace_id, "spans", span.id)
    room = room_for_data(tokens, facts, f"GET {path}")
    head = [f"name {line_of(span.name, NAME_CHARS, redactor)}"]
    if span.model:
        head.append(f"model {line_of(span.model, NAME_CHARS, redactor)}")
    room -= sum(count_tokens(line) + 1 for line in head)
    if wanted is not None:
        text, is_whole = _whole_text(span, wanted, redactor)
        data, end = _from_offset(text, offset, room, wanted.value)
        left_out = []
        if end < len(text):
            left_out.append(
                f"{len(text) - end} of {len(text)} characters; to get them: the same call with "
                f"offset={end}"
            )
        if not is_whole:
            left_out.append(f"all after {PAYLOAD_BYTES_MAX >> 20} MiB; GET {path}/{wanted} has it")
        return View(facts=facts, data=[*head, *data], left_out=left_out, rest=f"GET {path}")
    data, cut = _all_parts(span, redactor, room)
    left_out = []
    if cut:
        left_out.append(
            f"parts of {', '.join(cut)}; to get them: "
            f'get_step(trace_id, step, part="{cut[0]}", offset=0), or a larger max_tokens'
        )
    return View(facts=facts, data=[*head, *data], left_out=left_out, rest=f"GET {path}")


def _whole_text(span: Span, wanted: StepPart, redactor: Redactor) -> tuple[str, bool]:
    """The masked text of a payload, and whether it is the whole payload."""
    if wanted is StepPart.ERROR:
        return redactor.redact(sanitize_text(span.error or "")), True
    payload = getattr(span, wanted.value) or b"null"
    text = to_text(decode_json(payload))
    return redactor.redact(sanitize_text(text[:PAYLOAD_BYTES_MAX])), len(text) <= PAYLOAD_BYTES_MAX


def _from_offset(text: str, offset: int, room: int, name: str) -> tuple[Sequence[str], int]:
    """The lines of a text from `offset` on that fit, and where they end."""
    start = min(offset, len(text))
    head = f"{name}, characters from {start} of {len(text)}:"
    left = room - count_tokens(head) - 1
    size = min(len(text) - start, max(left, 0) * 8)
    while size > 0:
        lines = [f"| {line}" for line in text[start : start + size].split("\n")]
        taken = sum(count_tokens(line) + 1 for line in lines)
        if taken <= left:
            return [head, *lines], start + size
        size = min(size - 1, size * max(left, 0) // taken)
    return [head], start


def _all_parts(span: Span, redactor: Redactor, room: int) -> tuple[Sequence[str], Sequence[str]]:
    """The lines of all payloads, and the names of those that are cut."""
    texts: list[tuple[StepPart, RedactedText]] = []
    for wanted in (StepPart.ERROR, StepPart.OUTPUT, StepPart.INPUT, StepPart.METADATA):
        if wanted is StepPart.ERROR:
            whole = span.error or ""
        else:
            whole = to_text(decode_json(getattr(span, wanted.value)))
        if whole and whole != "{}":
            texts.append((wanted, masked(whole, max(room, 1), redactor)))
    shown: dict[StepPart, Sequence[str]] = {}
    cut: list[str] = []
    # Each gets an equal share of what is left, the shortest first, which leaves room for long ones.
    by_size = sorted(texts, key=lambda one: len(one[1].head) + len(one[1].tail))
    for number, (wanted, text) in enumerate(by_size):
        share = room // (len(texts) - number)
        shown[wanted] = part(wanted.value, text, share)
        if not is_whole(text, share):
            cut.append(wanted.value)
        room -= sum(count_tokens(line) + 1 for line in shown[wanted])
    return [line for wanted, _ in texts for line in shown[wanted]], cut


def is_whole(text: RedactedText, room: int) -> bool:
    """Whether `part` shows all of a text in so much room."""
    return not text.left_out and cut_to(text, room - 6) == text.head


# --- figures ---------------------------------------------------------------------------------


def instant(value: object) -> str:
    return str(value)[:19].replace(" ", "T") + "Z"


def milliseconds(value: float | None) -> str:
    return "no latency" if value is None else f"{value:.0f} ms"


def dollars(value: float) -> str:
    return f"{value:.6g} USD"


def total_dollars(value: float, unpriced: int) -> str:
    """A sum of the service, which leaves out what unpriced steps cost."""
    if not unpriced:
        return dollars(value) if value else "no cost"
    known = f"at least {dollars(value)}" if value else "unknown cost"
    return f"{known} ({counted(unpriced, 'step')} unpriced)"
