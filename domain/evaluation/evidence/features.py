"""Features of a trace that need no understanding of its text, for the heuristic judge.

They are part of the evidence and of its hash, so a cached verdict always belongs to the same
features. They are never printed.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.grounding import answer_grounding, argument_groundings
from domain.evaluation.trace_content.json_schema import is_supported_schema, matches_schema
from domain.evaluation.trace_content.messages import decode_embedded_json, decode_json, first_choice
from domain.evaluation.trace_content.text import to_text
from domain.evaluation.trace_content.tool_calls import ToolCall
from domain.tracing.span import Span, SpanKind, SpanStatus

COMPLAINT_MAX: Final = 4_000  # characters of an error that are searched
TOKENS_MAX: Final = 100_000  # token probabilities of one trace that are read

# Error messages of tools that reject their arguments, in the wording of common frameworks.
_REJECTION: Final = re.compile(
    r"validation ?error|failed validation|schema|type ?error|bad request|unprocessable"
    r"|(?:invalid|unknown|unexpected|missing|malformed) (?:\w+ ){0,3}"
    r"(?:argument|param|field|input|value|key|property|type)"
    r"|required (?:\w+ ){0,2}(?:argument|param|field|key|property)"
    r"|(?:argument|param|field|property|value)\w* (?:is |are )?(?:required|invalid|missing)"
    r"|must be (?:an? )?(?:string|number|integer|boolean|object|array|list|one of)",
    re.IGNORECASE,
)
_REJECTING: Final = frozenset({400, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFeatures:
    """Features of one tool call. None is unknown: nothing is declared, or no such argument.

    `tool` numbers the tools by their first call, so no text that would need redaction is included.
    `asked_before` counts earlier calls with the same arguments; `is_repeat` tells whether one of
    them also had the same output. `is_rejected` tells whether the call failed because of its
    arguments. `grounding` is the share of its specific arguments that occurred before.
    """

    tool: int = 0
    has_failed: bool = False
    is_rejected: bool = False
    asked_before: int = 0
    is_repeat: bool = False
    is_declared: bool | None = None
    fits_schema: bool | None = None
    grounding: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFeatures:
    """Features of a whole trace, including omitted steps. Calls are in order.

    `idle_steps` counts steps without output, error and children. `ends_in_error` tells whether the
    last root span failed, whatever the trace status. `token_confidence` is the geometric mean of
    the token probabilities; None if no model call recorded them.
    """

    calls: tuple[ToolCallFeatures, ...] = ()
    idle_steps: int = 0
    ends_in_error: bool = False
    answer_grounding: float | None = None
    token_confidence: float | None = None


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
        answer_grounding=_rounded(answer_grounding(subject)),
        token_confidence=_token_confidence(subject.model_calls),
    )


def _leaves_nothing(span: Span) -> bool:
    # An empty list is a result, and so is an error.
    has_failed = span.status is SpanStatus.ERROR or bool(span.error)
    return not has_failed and not to_text(decode_json(span.output)).strip()


def content_order(span: Span) -> tuple[object, ...]:
    """Sort key of steps in evidence: by instant, then by content, since ids are random."""
    kind, status = span.kind or SpanKind.OTHER, span.status or SpanStatus.UNSET
    held = (span.input or b"", span.output or b"", span.error or "", span.model or "")
    return (span.started_at, kind.value, span.name, status.value, *held, span.id)


def _calls(subject: EvaluatedTrace) -> tuple[ToolCallFeatures, ...]:
    groundings = zip(subject.tool_calls, argument_groundings(subject), strict=True)
    in_order = sorted(groundings, key=lambda pair: content_order(pair[0].span))
    tools: dict[str, int] = {}
    asked: Counter[tuple[str, str]] = Counter()
    got: set[tuple[str, str, str]] = set()
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
                fits_schema=_fits(call, subject),
                grounding=_rounded(grounding),
            )
        )
        asked[call.request_key] += 1
        got.add(call.exchange_key)
    return tuple(found)


def _fits(call: ToolCall, subject: EvaluatedTrace) -> bool | None:
    tool = subject.declared_tools.get(call.name)
    if tool is None or tool.schema is None or call.arguments is None:
        return None
    return matches_schema(call.arguments, tool.schema) if is_supported_schema(tool.schema) else None


def _is_rejected(call: ToolCall) -> bool:
    if isinstance(call.output, Mapping):
        codes = (call.output.get(key) for key in ("status", "status_code", "statusCode"))
        if any(isinstance(code, int) and code in _REJECTING for code in codes):
            return True
    texts = (call.span.error or "", to_text(call.output))
    return any(_REJECTION.search(text[:COMPLAINT_MAX]) for text in texts)


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
    return [float(one) for one in values if isinstance(one, int | float) and one <= 0]


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
