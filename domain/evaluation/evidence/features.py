"""Features of a trace that need no understanding of its text, for the heuristic judge.

They are part of the evidence and of its hash, so a cached verdict always belongs to the same
features. They are never printed.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final

from domain.evaluation.evidence.answer_features import AnswerFeatures, extract_answer_features
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import SchemaMatcher, is_supported_schema
from domain.evaluation.trace_content.messages import (
    decode_embedded_json,
    decode_json,
    first_choice,
    is_blank,
    retrieved_documents,
)
from domain.evaluation.trace_content.text import to_text
from domain.evaluation.trace_content.tool_calls import ToolCall, named_arguments
from domain.tracing.messages.json_value import child_values
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.spans.span_tree import content_order

SOURCE_MAX: Final = 200_000  # characters of one payload that are searched
ARGUMENTS_MAX: Final = 200  # specific arguments of a call that are checked
ARGUMENT_LENGTH_MIN: Final = 3  # shorter ones occur everywhere
OUTPUT_MAX: Final = 8_000  # characters of a program's output that are read, from its end
COMPLAINT_MAX: Final = 4_000  # characters of an error that are searched
TOKENS_MAX: Final = 100_000  # token probabilities of one trace that are read
LOG_PROBABILITY_MIN: Final = -1e300  # some servers give the lowest float, whose sum overflows

# Error messages of tools that reject their arguments, in the wording of common frameworks.
_REJECTION: Final = re.compile(
    r"validation ?error|failed validation|schema|type ?error|bad request|unprocessable"
    r"|(?:invalid|unknown|unexpected|missing|malformed) (?:\w+ ){0,3}"
    r"(?:argument|param|field|input|value|key|property|type)"
    r"|required (?:\w+ ){0,2}(?:argument|param|field|key|property)"
    r"|(?:argument|param|field|property|value)\w{0,60} (?:is |are )?(?:required|invalid|missing)"
    r"|must be (?:an? )?(?:string|number|integer|boolean|object|array|list|one of)",
    re.IGNORECASE,
)
# Values by which a tool says that it didn't do what was asked, without an error.
_DENIED: Final = frozenset(
    {
        *("failed", "failure", "error", "declined", "denied", "rejected", "refused", "invalid"),
        *("unsuccessful", "forbidden", "not_found", "unavailable", "out_of_stock", "expired"),
        "timeout",
    }
)
_SUCCESS_KEYS: Final = ("success", "ok", "succeeded", "available", "allowed", "sent", "done")
_STATE_KEYS: Final = ("status", "state", "result", "outcome")
# First words of the names of tools that only read. `checkout` and `open_account` change something.
_READING: Final = re.compile(
    r"get|list|ls|find|search|read|fetch|lookup|look|check(?![-_]?out)|query|track|view|show|status"
    r"|grep|load|describe|count|balance|hours|rates|slots|calendar|quote|retrieve|write_todos"
    r"|open(?![-_]?(?:account|case|claim|dispute|issue|order|position|ticket))",
    re.IGNORECASE,
)
_RUNNING: Final = re.compile(
    r"run|test|build|exec|shell|bash|python|sql|compile|cmd|lint", re.IGNORECASE
)
# How the output of programs says that they failed, or that they passed.
_FAILED_CHECK: Final = re.compile(
    r"(?<![\w.])[1-9]\d* (?:failed|failures?|errors?)\b|^FAILED\b|^FAIL\b|Traceback \(most recent"
    r"|\bError \d|\berror TS\d+|: error:|BUILD FAILED|exit (?:code|status):? [1-9]|npm ERR!"
    r"|\b[A-Z]\w*Error\b|command not found|Permission denied|Segmentation fault",
    re.MULTILINE,
)
_PASSED_CHECK: Final = re.compile(
    r"\b\d+ passed\b|\bpassed!|^OK\b|\b0 (?:errors|failures)\b|BUILD SUCCESS|\bsucceeded\b"
    r"|\b0 remaining",
    re.IGNORECASE | re.MULTILINE,
)
_DONE: Final = frozenset(
    {"completed", "complete", "done", "cancelled", "canceled", "skipped", "finished"}
)
_REJECTING: Final = frozenset({400, 422})
_SPECIFIC: Final = re.compile(r"\w(?:[\w@.+:/,-]*\w)?")  # numbers, ids, dates, e-mails, words
_PART: Final = re.compile(r"\w+")
_THOUSANDS: Final = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFeatures:
    """Features of one tool call. None is unknown: nothing is declared, or no such argument.

    `tool` numbers the tools by their first call, so no text that would need redaction is included.
    `asked_before` counts earlier calls with the same arguments; `is_repeat` tells whether one of
    them also had the same output. `is_rejected` tells whether the call failed because of its
    arguments. `grounding` is the share of its specific arguments that occurred before.
    `is_denied` tells whether a call that didn't fail says that it did nothing, such as
    `{"ok": false}`, `is_reading` whether its name is that of a tool that changes nothing.
    """

    tool: int = 0
    has_failed: bool = False
    is_rejected: bool = False
    asked_before: int = 0
    is_repeat: bool = False
    is_declared: bool | None = None
    fits_schema: bool | None = None
    grounding: float | None = None
    is_denied: bool = False
    is_reading: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFeatures:
    """Features of a whole trace, including omitted steps. Calls are in order.

    `idle_steps` counts steps without output, error and children. `ends_in_error` tells whether the
    last root span failed, whatever the trace status. `token_confidence` is the geometric mean of
    the token probabilities; None if no model call recorded them. `has_no_result` tells whether all
    retrievals and reading calls returned nothing. `open_todos` counts the unfinished items of the
    agent's last list of tasks. `last_check_passed` is the result of the last test, build or program
    that was run; None if there is none, or its output doesn't say.
    """

    calls: tuple[ToolCallFeatures, ...] = ()
    idle_steps: int = 0
    ends_in_error: bool = False
    token_confidence: float | None = None
    has_no_result: bool = False
    open_todos: int = 0
    last_check_passed: bool | None = None
    answer: AnswerFeatures = field(default_factory=AnswerFeatures)


def extract_features(subject: EvaluatedTrace) -> TraceFeatures:
    """The features of a trace; equal for equal content, whatever the ids."""
    below = subject.tree.children
    roots = [subject.spans[at] for at in subject.tree.roots]
    return TraceFeatures(
        calls=_calls(subject),
        idle_steps=sum(
            at not in below and _leaves_nothing(span) for at, span in enumerate(subject.spans)
        ),
        ends_in_error=bool(roots) and max(roots, key=content_order).status is SpanStatus.ERROR,
        token_confidence=_token_confidence(subject.model_calls),
        has_no_result=_has_no_result(subject),
        open_todos=_open_todos(subject),
        last_check_passed=_last_check_passed(subject),
        answer=extract_answer_features(subject),
    )


def _leaves_nothing(span: Span) -> bool:
    # An empty list is a result, and so is an error.
    has_failed = span.status is SpanStatus.ERROR or bool(span.error)
    return not has_failed and not to_text(decode_json(span.output)).strip()


def _calls(subject: EvaluatedTrace) -> tuple[ToolCallFeatures, ...]:
    groundings = zip(subject.tool_calls, argument_groundings(subject), strict=True)
    in_order = sorted(groundings, key=lambda pair: content_order(pair[0].span))
    tools: dict[str, int] = {}
    asked: Counter[tuple[str, str]] = Counter()
    got: set[tuple[str, str, str]] = set()
    matchers = {
        name: SchemaMatcher(tool.schema)
        for name, tool in subject.declared_tools.items()
        if tool.schema is not None and is_supported_schema(tool.schema)
    }
    found: list[ToolCallFeatures] = []
    for call, grounding in in_order:
        found.append(
            ToolCallFeatures(
                tool=tools.setdefault(call.name, len(tools)),
                has_failed=call.has_failed,
                is_rejected=call.has_failed and _is_rejected(call),
                asked_before=asked[call.request_key],
                is_repeat=call.exchange_key in got,
                is_declared=call.name in subject.declared_tools if subject.declared_tools else None,
                fits_schema=_fits(call, matchers.get(call.name)),
                grounding=_rounded(grounding),
                is_denied=not call.has_failed and _is_denied(call.output),
                is_reading=_READING.match(call.name) is not None,
            )
        )
        asked[call.request_key] += 1
        got.add(call.exchange_key)
    return tuple(found)


def _fits(call: ToolCall, matcher: SchemaMatcher | None) -> bool | None:
    arguments = None if matcher is None else named_arguments(call.arguments)
    return None if matcher is None or arguments is None else matcher.matches(arguments)


def _is_rejected(call: ToolCall) -> bool:
    if isinstance(call.output, Mapping):
        codes = (call.output.get(key) for key in ("status", "status_code", "statusCode"))
        if any(isinstance(code, int) and code in _REJECTING for code in codes):
            return True
    texts = (call.span.error or "", to_text(call.output))
    return any(_REJECTION.search(text[:COMPLAINT_MAX]) for text in texts)


def _is_denied(output: object) -> bool:
    if not isinstance(output, Mapping):
        return False
    if any(output.get(key) is False for key in _SUCCESS_KEYS):
        return True
    states = (output.get(key) for key in _STATE_KEYS)
    return any(isinstance(state, str) and state.lower() in _DENIED for state in states)


def _has_no_result(subject: EvaluatedTrace) -> bool:
    retrievals = [span.output for span in subject.spans if span.kind is SpanKind.RETRIEVER]
    calls = [
        call.output
        for call in subject.tool_calls
        if _READING.match(call.name) and not call.has_failed
    ]
    return (
        bool(retrievals or calls)
        and not any(
            retrieved_documents(decode_embedded_json(decode_json(one))) for one in retrievals
        )
        and all(map(is_blank, calls))
    )


def _open_todos(subject: EvaluatedTrace) -> int:
    for call in reversed(subject.tool_calls):
        listed = call.arguments.get("todos") if isinstance(call.arguments, Mapping) else None
        states = (
            [one.get("status") for one in listed or () if isinstance(one, Mapping)]
            if isinstance(listed, list)
            else []
        )
        if states:
            return sum(isinstance(state, str) and state.lower() not in _DONE for state in states)
    return 0


def _last_check_passed(subject: EvaluatedTrace) -> bool | None:
    for call in reversed(subject.tool_calls):
        if isinstance(call.output, str) and _RUNNING.search(call.name):
            text = call.output[-OUTPUT_MAX:]
            if _FAILED_CHECK.search(text):
                return False
            if _PASSED_CHECK.search(text):
                return True
    return None


def _token_confidence(models: Sequence[Span]) -> float | None:
    found: list[float] = []
    for span in models:
        if span.output is not None and b"logprob" in span.output and len(found) < TOKENS_MAX:
            found += _log_probabilities(decode_embedded_json(decode_json(span.output)))
    return _rounded(math.exp(math.fsum(found) / len(found))) if found else None


def _log_probabilities(output: object) -> Sequence[float]:
    """Reads OpenAI's chat completion format: `choices[0].logprobs.content[].logprob`."""
    choice = first_choice(output) if isinstance(output, Mapping) else None
    logprobs = choice.get("logprobs") if choice else None
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(content, list):
        return []
    values = [one.get("logprob") for one in content[:TOKENS_MAX] if isinstance(one, Mapping)]
    # Positive values can't be log probabilities. OpenAI uses -9999 for "almost impossible".
    return [
        float(max(one, LOG_PROBABILITY_MIN))
        for one in values
        if isinstance(one, int | float) and one <= 0
    ]


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


# --- grounding: whether the values of tool calls occurred earlier --------------------------------


def argument_groundings(subject: EvaluatedTrace) -> Sequence[float | None]:
    """For every call, in order, the share of its specific arguments that occurred before the call.

    Specific arguments are numbers of at least 3 digits, and strings of at least 3 characters
    without whitespace: ids, e-mail addresses, codes. Sources are the trace input, the inputs of
    models and other spans up to the first call, and the outputs of earlier tools and retrievals.
    Model outputs don't count, because the model names the arguments itself. None for a call without
    specific arguments.
    """
    known = _terms(to_text(decode_json(subject.trace.input)))
    calls = iter(subject.tool_calls)
    shares: list[float | None] = []
    for _, same in groupby(subject.spans, key=lambda span: span.started_at):
        at_once = list(same)  # they started together, so none can depend on another
        if not shares:
            for span in at_once:
                if span.kind is not SpanKind.TOOL:
                    known |= _payload(span.input)
        tools = sum(span.kind is SpanKind.TOOL for span in at_once)
        shares += [_share(_specific(call.arguments), known) for call in islice(calls, tools)]
        for span in at_once:
            if span.kind in {SpanKind.TOOL, SpanKind.RETRIEVER}:
                known |= _payload(span.output)
    return shares


def _share(asked: Sequence[str], known: set[str]) -> float | None:
    return sum(_is_known(one, known) for one in asked) / len(asked) if asked else None


def _is_known(term: str, known: set[str]) -> bool:
    """Whether the whole term, or each part of it, is known: "W123/1250" if both parts are."""
    return term in known or known.issuperset(_PART.findall(term) or [term])


def _payload(text: JsonText | None) -> set[str]:
    return _terms(to_text(decode_json(text)))


def _terms(text: str) -> set[str]:
    folded = _folded(text)
    return {*_SPECIFIC.findall(folded), *_PART.findall(folded)}


def _folded(text: str) -> str:
    return _THOUSANDS.sub("", text[:SOURCE_MAX].casefold())


def _specific(arguments: object) -> Sequence[str]:
    return [one for one in _scalars(arguments) if len(one) >= ARGUMENT_LENGTH_MIN][:ARGUMENTS_MAX]


def _scalars(value: object) -> Iterable[str]:
    left = [value]
    while left:
        one = left.pop()
        left.extend(child_values(one))
        if isinstance(one, str) and not any(map(str.isspace, one)):
            yield one.casefold().strip(".,;:!?\"'()[]{}<>")
        elif isinstance(one, int | float) and not isinstance(one, bool):
            yield str(int(one) if isinstance(one, float) and one.is_integer() else one).strip("-")
