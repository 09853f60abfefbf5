"""Builds the evidence of a trace within a token budget. Pure, with bounded work."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

from domain.evaluation.evidence.evidence import Evidence, OmittedSteps, RunFacts, Step, Tool
from domain.evaluation.evidence.features import extract_features
from domain.evaluation.evidence.redaction import (
    BYTES_PER_TOKEN,
    EMPTY_TEXT,
    RedactedText,
    RedactionMode,
    Redactor,
    one_line,
    prepare_text,
)
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import (
    decode_json,
    model_output_text,
    retrieved_documents,
)
from domain.evaluation.trace_content.stated_plan import find_stated_plan
from domain.evaluation.trace_content.text import to_text
from domain.evaluation.trace_content.tool_calls import (
    count_repeated_calls,
    longest_identical_run,
    tool_arguments,
    tool_name,
)
from domain.tracing.messages.messages import tool_output
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.spans.span_tree import content_order, labelled_spans

EVIDENCE_TOKENS: Final = 12_000
EVIDENCE_TOKENS_MIN: Final = 1_000  # with less, task and output would leave no room for steps
TASK_TOKENS: Final = 2_000
OUTPUT_TOKENS: Final = 2_000
LINE_TOKENS: Final = 60  # of a plan item or a tool description
NAME_TOKENS: Final = 30  # of a span or model name
DOCUMENTS_MAX: Final = 10  # of one retrieval; the best matches come first
SHORT: Final = 80  # tokens of a text when the budget is tight

# Divisors of the budget, if it is too small for the numbers above. Over a third is left for steps.
_TASK_SHARE: Final = 6
_OUTPUT_SHARE: Final = 6
_TOOLS_SHARE: Final = 8
_PLAN_SHARE: Final = 12
# A step has at least a label, a kind, a name and a status: no more steps than fit are processed.
_STEP_BYTES_MIN: Final = 24

_DOCUMENT_TEXTS: Final = ("page_content", "text", "content", "document")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBudget:
    """The tokens that each field may use; 0 omits it."""

    error: int = 400
    arguments: int = 400
    output: int = 600
    text: int = 300  # of a model's text, and the same again for its reasoning
    document: int = 300


FULL_BUDGET: Final = StepBudget()
# Budgets of a step, tried in order until all steps fit. Model text is the first to be cut.
_SHORTER: Final = (
    FULL_BUDGET,
    StepBudget(text=SHORT),
    StepBudget(text=SHORT, document=SHORT),
    StepBudget(text=SHORT, document=SHORT, output=SHORT),
    StepBudget(text=0, document=SHORT, output=SHORT),
    StepBudget(text=0, document=0, output=SHORT),
    StepBudget(text=0, document=0, output=0),
)
# Budgets of failed steps, once all other steps are omitted.
_ERRORS: Final = (
    _SHORTER[-1],
    StepBudget(text=0, document=0, output=0, error=SHORT, arguments=SHORT),
    StepBudget(text=0, document=0, output=0, error=20, arguments=0),
)


def build_evidence(
    subject: EvaluatedTrace,
    masking: RedactionMode = RedactionMode.SECRETS,
    tokens: int = EVIDENCE_TOKENS,
) -> Evidence:
    """Builds what a judge reads of a trace: at most `tokens` tokens, by the estimate.

    Equal content gives equal evidence, whatever the ids and instants. Task and final output are
    always included, and so are failed steps while their names fit; other steps are omitted from the
    middle outwards. Raises ValueError for fewer tokens than EVIDENCE_TOKENS_MIN.
    """
    if tokens < EVIDENCE_TOKENS_MIN:
        raise ValueError(f"evidence takes at least {EVIDENCE_TOKENS_MIN} tokens")
    redactor = Redactor(masking)
    cut = Truncator()
    head = Evidence(
        task=cut(
            prepare_text(subject.request.text, TASK_TOKENS, redactor),
            min(TASK_TOKENS, tokens // _TASK_SHARE),
        ),
        final_output=cut(
            prepare_text(subject.answer.text, OUTPUT_TOKENS, redactor),
            min(OUTPUT_TOKENS, tokens // _OUTPUT_SHARE),
        ),
        status=subject.trace.status.value if subject.trace.status else "COMPLETED",
        declared_tools=_tools(subject, redactor, cut, tokens // _TOOLS_SHARE),
        plan=_plan(subject, redactor, cut, tokens // _PLAN_SHARE),
        facts=_facts(subject),
        signs=extract_features(subject),
        expected=cut(
            prepare_text(to_text(decode_json(subject.expected)), OUTPUT_TOKENS, redactor),
            min(OUTPUT_TOKENS, tokens // _OUTPUT_SHARE),
        ),
    )
    room = tokens * BYTES_PER_TOKEN - len(head.text().encode()) - len(head.expected.encode())
    steps, is_whole = _steps(subject.spans, redactor, room)
    omitted = sum(step.steps for step in steps if isinstance(step, OmittedSteps))
    return replace(
        head,
        steps=tuple(steps),
        truncated=cut.lost or omitted > 0 or not is_whole,
        omitted_steps=omitted,
    )


@dataclass(slots=True)
class Truncator:
    """Truncates texts, and records whether anything was lost."""

    lost: bool = False

    def __call__(self, text: RedactedText, tokens: int) -> str:
        self.lost = self.lost or not text.fits(tokens)
        return text.cut(tokens)


def _facts(subject: EvaluatedTrace) -> RunFacts:
    calls = sorted(subject.tool_calls, key=lambda call: content_order(call.span))
    return RunFacts(
        steps=len(subject.spans),
        calls=len(calls),
        failed_calls=sum(call.has_failed for call in calls),
        repeated_calls=count_repeated_calls(calls),
        longest_block=longest_identical_run(calls),
        open_steps=sum(span.ended_at is None for span in subject.spans),
    )


# --- tools and plan --------------------------------------------------------------------------


def _tools(
    subject: EvaluatedTrace, redactor: Redactor, cut: Truncator, tokens: int
) -> tuple[Tool, ...]:
    """The declared tools that fit: descriptions are dropped first, then the last tools."""
    # No more tools are processed than could fit.
    some = list(subject.declared_tools.values())[: tokens * BYTES_PER_TOKEN // _STEP_BYTES_MIN + 1]
    cut.lost |= len(some) < len(subject.declared_tools)
    rows = [
        (
            redact_line(one.name, LINE_TOKENS, redactor),
            redact_line(one.description, LINE_TOKENS, redactor),
        )
        for one in some
    ]
    sizes = [(LINE_TOKENS, size) for size in (LINE_TOKENS, LINE_TOKENS // 3, 0)]
    return tuple(Tool(name, about) for name, about in _fit_rows(rows, sizes, tokens, cut))


def _plan(
    subject: EvaluatedTrace, redactor: Redactor, cut: Truncator, tokens: int
) -> tuple[str, ...]:
    rows = [(redact_line(item, LINE_TOKENS, redactor),) for item in find_stated_plan(subject)]
    sizes = [(LINE_TOKENS,), (LINE_TOKENS // 3,)]
    return tuple(item for (item,) in _fit_rows(rows, sizes, tokens, cut))


def _fit_rows(
    rows: Sequence[tuple[RedactedText, ...]],
    sizes: Sequence[tuple[int, ...]],
    tokens: int,
    cut: Truncator,
) -> Sequence[tuple[str, ...]]:
    """The rows, their texts cut to the first of `sizes` with which all fit into `tokens`.

    If they don't even fit with the last, the first rows that do.
    """
    room = tokens * BYTES_PER_TOKEN
    for size in sizes:
        shown = [tuple(map(RedactedText.cut, row, size)) for row in rows]
        ends = list(accumulate(_row_bytes(row) for row in shown))
        if not ends or ends[-1] <= room:
            cut.lost |= not all(all(map(RedactedText.fits, row, size)) for row in rows)
            return shown
    cut.lost = True
    return shown[: bisect_right(ends, room)]


def _row_bytes(texts: Sequence[str]) -> int:
    text = "".join(texts)
    # Quotes and backslashes are escaped, and a line has up to ten bytes around its text.
    return len(text.encode()) + text.count('"') + text.count("\\") + text.count("\n") + 10


# --- the texts of a step --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDraft:
    """A step whose texts are redacted, but not truncated."""

    label: str
    span: Span
    name: str
    model: str = ""
    error: RedactedText = EMPTY_TEXT
    arguments: RedactedText = EMPTY_TEXT
    output: RedactedText = EMPTY_TEXT
    documents: tuple[RedactedText, ...] = ()
    text: RedactedText = EMPTY_TEXT
    reasoning: RedactedText = EMPTY_TEXT
    more_documents: bool = False

    def cut(self, to: StepBudget) -> Step:
        latency = self.span.latency_ms
        documents = [document.cut(to.document) for document in self.documents]
        return Step(
            label=self.label,
            kind=(self.span.kind or SpanKind.OTHER).value,
            name=self.name,
            status=(self.span.status or SpanStatus.UNSET).value,
            duration_ms=None if latency is None else round(latency),
            model=self.model,
            error=self.error.cut(to.error),
            arguments=self.arguments.cut(to.arguments),
            output=self.output.cut(to.output),
            documents=tuple(filter(None, documents)),
            text=self.text.cut(to.text),
            reasoning=self.reasoning.cut(to.text),
        )

    def fits(self, to: StepBudget) -> bool:
        """Whether `cut` loses nothing."""
        return not self.more_documents and all(
            text.fits(tokens)
            for text, tokens in (
                (self.error, to.error),
                (self.arguments, to.arguments),
                (self.output, to.output),
                (self.text, to.text),
                (self.reasoning, to.text),
                *((document, to.document) for document in self.documents),
            )
            if text is not EMPTY_TEXT
        )


def redact_line(text: str, tokens: int, redactor: Redactor) -> RedactedText:
    """Redacts a text that is printed in one line."""
    return prepare_text(one_line(text), tokens, redactor)


def draft_step(label: str, span: Span, redactor: Redactor) -> StepDraft:
    """The texts of a span that may be shown, depending on its kind."""

    def prepare(text: str, tokens: int) -> RedactedText:
        return prepare_text(text, tokens, redactor)

    draft = StepDraft(
        label=label,
        span=span,
        name=redact_line(_name(span), NAME_TOKENS, redactor).cut(NAME_TOKENS),
        error=prepare(span.error or "", FULL_BUDGET.error),
    )
    if span.kind in {SpanKind.TOOL, SpanKind.RETRIEVER}:
        arguments = prepare(to_text(tool_arguments(span.input)), FULL_BUDGET.arguments)
        output = decode_json(span.output)
        if span.kind is SpanKind.TOOL:
            shown = prepare(to_text(tool_output(output)), FULL_BUDGET.output)
            return replace(draft, arguments=arguments, output=shown)
        documents = [_document(one) for one in retrieved_documents(output)]
        return replace(
            draft,
            arguments=arguments,
            documents=tuple(
                prepare(one, FULL_BUDGET.document) for one in documents[:DOCUMENTS_MAX]
            ),
            more_documents=len(documents) > DOCUMENTS_MAX,
        )
    if span.kind is SpanKind.LLM:
        message = model_output_text(decode_json(span.output))
        return replace(
            draft,
            model=redact_line(span.model or "", NAME_TOKENS, redactor).cut(NAME_TOKENS),
            text=prepare(message.text, FULL_BUDGET.text),
            reasoning=prepare(message.reasoning or _summary(span), FULL_BUDGET.text),
        )
    return draft


def _name(span: Span) -> str:
    return tool_name(span) if span.kind is SpanKind.TOOL else span.name


def _summary(span: Span) -> str:
    # The published SDK stores the reasoning summaries of providers here.
    if b"reasoning_summary" not in span.metadata:
        return ""
    metadata = decode_json(span.metadata)
    return to_text(metadata.get("reasoning_summary")) if isinstance(metadata, Mapping) else ""


def _document(one: object) -> str:
    if isinstance(one, Mapping):
        texts = (one[key] for key in _DOCUMENT_TEXTS if isinstance(one.get(key), str))
        return next(texts, to_text(one))
    return to_text(one)


# --- steps -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A step in order. `draft` is None if the step is certain not to fit."""

    label: str
    has_failed: bool
    draft: StepDraft | None


def _steps(
    spans: Sequence[Span], redactor: Redactor, room: int
) -> tuple[Sequence[Step | OmittedSteps], bool]:
    """The steps that fit into `room` bytes, and whether all of them are complete."""
    places = _places(spans, redactor, room)
    drafts = [place.draft for place in places if place.draft is not None]
    is_all_there = len(drafts) == len(places)
    for allowed in _SHORTER if is_all_there else ():
        steps = [one.cut(allowed) for one in drafts]
        if sum(map(_bytes, steps)) <= room:
            return steps, all(one.fits(allowed) for one in drafts)
    # Omit from the middle outwards, so that the beginning and the end are kept.
    order = sorted(range(len(places)), key=lambda at: (-_from_edge(at, len(places)), at))
    others = [at for at in order if not places[at].has_failed]
    shown = _fitting(places, others, _SHORTER[-1], room)
    for allowed in _ERRORS[1:] if shown is None else ():
        shown = shown or _fitting(places, others, allowed, room)
    if shown is None:
        failed = [at for at in order if places[at].has_failed]
        shown = _fitting(places, others + failed, _ERRORS[-1], room)
    return shown or [], False


def _places(spans: Sequence[Span], redactor: Redactor, room: int) -> Sequence[_Place]:
    labelled = labelled_spans(spans)
    near = max(room, 0) // _STEP_BYTES_MIN // 2 + 1  # steps from each end, and as many errors
    count = len(labelled)
    failed = [at for at, (_, span) in enumerate(labelled) if _has_failed(span)]
    kept = {*failed[:near], *failed[-near:]} | {
        at for at in range(count) if _from_edge(at, count) < near
    }
    errors = set(failed)
    return [
        _Place(label, at in errors, draft_step(label, span, redactor) if at in kept else None)
        for at, (label, span) in enumerate(labelled)
    ]


def _has_failed(span: Span) -> bool:
    return span.status is SpanStatus.ERROR or bool(span.error)


def _from_edge(at: int, count: int) -> int:
    return min(at, count - 1 - at)


def _bytes(step: Step | OmittedSteps) -> int:
    return len(step.printed(reasoning=True).encode()) + 1  # the newline before it


def _fitting(
    places: Sequence[_Place], order: Sequence[int], allowed: StepBudget, room: int
) -> Sequence[Step | OmittedSteps] | None:
    """Omits as few of the first of `order` as necessary; None if omitting all isn't enough."""
    cut = [None if place.draft is None else place.draft.cut(allowed) for place in places]
    sizes = [0 if step is None else _bytes(step) for step in cut]
    gone = {at for at, step in enumerate(cut) if step is None}

    def without(count: int) -> Sequence[Step | OmittedSteps]:
        return _with_gaps(places, cut, gone.union(order[:count]))

    def fits(count: int) -> bool:
        dropped = gone.union(order[:count])
        kept = sum(size for at, size in enumerate(sizes) if at not in dropped)
        # The sum is cheaper than printing the gaps, so it is checked first.
        return kept <= room and sum(map(_bytes, without(count))) <= room

    if not fits(len(order)):
        return None
    low, high = 0, len(order)  # `high` fits
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return without(high)


def _with_gaps(
    places: Sequence[_Place], steps: Sequence[Step | None], gone: set[int]
) -> Sequence[Step | OmittedSteps]:
    found: list[Step | OmittedSteps] = []
    first: int | None = None
    for at in range(len(places) + 1):
        step = steps[at] if at < len(places) and at not in gone else None
        if step is None and at < len(places):
            first = at if first is None else first
            continue
        if first is not None:
            missing = places[first:at]
            failed = sum(place.has_failed for place in missing)
            found.append(OmittedSteps(missing[0].label, missing[-1].label, len(missing), failed))
            first = None
        if step is not None:
            found.append(step)
    return found
