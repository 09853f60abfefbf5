"""Paths into a trace, as rules name them: `trace.metadata.tier`, `spans[kind=TOOL].name`.

    path    = trace.FIELD STEPS | spans FILTER .FIELD STEPS | spans FILTER | request | answer
    FILTER  = "" | [FIELD=VALUE,…]         all must match; VALUE is a word or a quoted string
    STEPS   = ("." KEY | [INDEX])*         into JSON; KEY is a word or a quoted string

`request` and `answer` are the texts of the last request and answer; `spans[…]` alone is the number
of matching spans. Paths are parsed with fixed regular expressions that run in linear time.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import decode_json
from domain.evaluation.trace_content.text import to_text
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from domain.tracing.usage import CostSource, as_float, exact_sum

PATH_MAX: Final = 300  # characters
STEPS_MAX: Final = 20
FILTERS_MAX: Final = 5

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_STEP: Final = re.compile(rf"\.([\w-]+)|\.({_QUOTED})|\[(-?[0-9]{{1,6}})\]")
_SPANS: Final = re.compile(rf"spans(?:\[((?:[^\]\"]|{_QUOTED})*)\])?")
_FILTER: Final = re.compile(rf"\s*(\w+)=([^\s,\"\]=]+|{_QUOTED})\s*(?:,|\Z)")


_TRACE_READERS: Final[Mapping[str, Callable[[Trace], object]]] = {
    "name": lambda it: it.name,
    "status": lambda it: it.status and it.status.value,
    "session_id": lambda it: it.session_id,
    "user_id": lambda it: it.user_id,
    "environment": lambda it: it.environment,
    "release": lambda it: it.release,
    "tags": lambda it: list(it.tags),
    "duration_ms": lambda it: it.latency_ms,
    "tokens": lambda it: total_tokens(it.spans),
    "cost": lambda it: total_cost(it.spans),
    "input": lambda it: decode_json(it.input),
    "output": lambda it: decode_json(it.output),
    "metadata": lambda it: decode_json(it.metadata),
}
_SPAN_READERS: Final[Mapping[str, Callable[[Span], object]]] = {
    "name": lambda it: it.name,
    "kind": lambda it: it.kind and it.kind.value,
    "status": lambda it: it.status and it.status.value,
    "error": lambda it: it.error or None,
    "model": lambda it: it.model,
    "duration_ms": lambda it: it.latency_ms,
    "first_token_ms": lambda it: it.time_to_first_token_ms,
    "tokens": lambda it: _tokens([it]),
    "cost": lambda it: _cost([it]),
    "input": lambda it: decode_json(it.input),
    "output": lambda it: decode_json(it.output),
    "metadata": lambda it: decode_json(it.metadata),
}
_OPEN: Final = frozenset({"input", "output", "metadata"})  # JSON that steps lead into
_FILTERED: Final = ("name", "kind", "status", "model")


def total_tokens(spans: Sequence[Span]) -> int | None:
    """The tokens of the spans with known usage, each call counted once; None if no span has it."""
    return _tokens(_counted(spans))


def total_cost(spans: Sequence[Span]) -> float | None:
    """The cost in USD of the spans with a price, each call counted once; None if none has one."""
    return _cost(_counted(spans))


def _counted(spans: Sequence[Span]) -> Sequence[Span]:
    """The spans that totals of a trace count: without those whose usage another one reports."""
    return [span for span in spans if span.usage_role is None]


def _tokens(spans: Sequence[Span]) -> int | None:
    usages = [usage for span in spans if (usage := span.counted_usage) is not None]
    return sum(one.prompt_tokens + one.completion_tokens for one in usages) if usages else None


def _cost(spans: Sequence[Span]) -> float | None:
    charges = [span.charge for span in spans if span.charge is not None]
    priced = [one.amount for one in charges if one.source is not CostSource.UNPRICED]
    return as_float(exact_sum(priced)) if priced else None


@dataclass(frozen=True, slots=True)
class PathResolver:
    """Resolves several paths of one trace; large values are decoded once."""

    subject: EvaluatedTrace
    _read: dict[tuple[int, str], object] = field(default_factory=dict)
    _texts: dict[int, tuple[object, str]] = field(
        default_factory=dict
    )  # by id(), so values are kept alive

    def trace_value(self, name: str) -> object:
        trace = self.subject.trace
        return self._once(trace, name, lambda: _TRACE_READERS[name](trace))

    def span_value(self, span: Span, name: str) -> object:
        return self._once(span, name, lambda: _SPAN_READERS[name](span))

    def text(self, value: object) -> str:
        """The value as text, as `to_text` gives it."""
        if isinstance(value, str):
            return value
        if id(value) not in self._texts:
            self._texts[id(value)] = (value, to_text(value))
        return self._texts[id(value)][1]

    def _once(self, source: Trace | Span, name: str, read: Callable[[], object]) -> object:
        if name not in _OPEN:
            return read()
        key = (id(source), name)
        if key not in self._read:
            self._read[key] = read()
        return self._read[key]


class InvalidTracePath(ValueError):  # noqa: N818 - a mistake of the caller
    """The text isn't a valid path. The message is written for its author."""


@dataclass(frozen=True, slots=True)
class TracePath:
    """A path into a trace. With `is_per_span`, it gives one value for each matching span."""

    text: str
    is_per_span: bool
    field: str  # "" for the number of spans; "request" or "answer" for these texts
    filters: tuple[tuple[str, str], ...] = ()
    steps: tuple[str | int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "TracePath":
        """Raises InvalidTracePath."""
        if len(text) > PATH_MAX:
            raise InvalidTracePath(f"must have at most {PATH_MAX} characters")
        if text in {"request", "answer"}:
            return cls(text, is_per_span=False, field=text)
        if text.startswith("trace."):
            steps = _steps(text, len("trace"))
            return cls(text, False, *_field(steps, _TRACE_READERS))
        head = _SPANS.match(text)
        if head is None:
            raise InvalidTracePath("must begin with trace., spans, or be request or answer")
        filters = _filters(head[1])
        steps = _steps(text, head.end())
        if not steps:
            return cls(text, True, "", filters)
        field, _, inner = _field(steps, _SPAN_READERS)
        return cls(text, True, field, filters, inner)

    @property
    def is_count(self) -> bool:
        return self.is_per_span and not self.field

    def resolve(self, resolver: PathResolver) -> Sequence[object]:
        """The values at the path, one per matching span; None for a missing value.

        A number of spans is a single value.
        """
        subject = resolver.subject
        if not self.is_per_span:
            if self.field in {"request", "answer"}:
                message = subject.request if self.field == "request" else subject.answer
                return [message.text or None]
            return [_into(resolver.trace_value(self.field), self.steps)]
        spans = [span for span in subject.spans if self._matches(span)]
        if self.is_count:
            return [len(spans)]
        return [_into(resolver.span_value(span, self.field), self.steps) for span in spans]

    def _matches(self, span: Span) -> bool:
        return all(_SPAN_READERS[name](span) == value for name, value in self.filters)


def _steps(text: str, start: int) -> tuple[str | int, ...]:
    found: list[str | int] = []
    while start < len(text):
        step = _STEP.match(text, start)
        if step is None:
            raise InvalidTracePath(f"is invalid from {text[start : start + 20]!r} on")
        found.append(int(step[3]) if step[3] else _text(step[1] or step[2]))
        start = step.end()
    if len(found) > STEPS_MAX:
        raise InvalidTracePath(f"must have at most {STEPS_MAX} steps")
    return tuple(found)


def _field(
    steps: tuple[str | int, ...], known: Mapping[str, object]
) -> tuple[str, tuple[tuple[str, str], ...], tuple[str | int, ...]]:
    field, inner = (steps[0], steps[1:]) if steps else ("", ())
    if not isinstance(field, str) or field not in known:
        raise InvalidTracePath(f"must go on with one of: {', '.join(known)}")
    if inner and field not in _OPEN and field != "tags":
        raise InvalidTracePath(f"cannot go into {field}")
    return field, (), inner


def _filters(text: str | None) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    start = 0
    while text and start < len(text):
        one = _FILTER.match(text, start)
        if one is None or one[1] not in _FILTERED:
            raise InvalidTracePath(f"can filter spans by field=value of: {', '.join(_FILTERED)}")
        found.append((one[1], _text(one[2])))
        start = one.end()
    if len(found) > FILTERS_MAX:
        raise InvalidTracePath(f"must have at most {FILTERS_MAX} filters")
    return tuple(found)


def _text(word: str) -> str:
    try:
        return str(json.loads(word)) if word.startswith('"') else word
    except ValueError as error:
        raise InvalidTracePath("holds a string that is not valid JSON") from error


def _into(value: object, steps: Sequence[str | int]) -> object:
    for step in steps:
        if isinstance(step, int) and isinstance(value, list):
            value = value[step] if -len(value) <= step < len(value) else None
        elif isinstance(step, str) and isinstance(value, Mapping):
            value = value.get(step)
        else:
            return None
    return value
