"""Hypothesis strategies of domain values, shared.

Ids come from small pools, so that traces and spans collide and merge. Every adapter can store the
values, except those of `hard_texts` and `hard_payloads`.
"""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from domain.ids import SpanId, TraceId
from domain.limits import Limit
from domain.tracing.change import UNCHANGED
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus
from domain.tracing.trace import FINAL_STATUSES, Trace, TraceChange, TraceStatus
from domain.tracing.usage import COST_MAX_USD, Usage
from tests.support.builders.values import NOON, PRICES

TRACE_IDS: Final = tuple(TraceId(UUID(int=n << 64 | 0x7)) for n in range(1, 4))
SPAN_IDS: Final = tuple(SpanId(UUID(int=n << 64 | 0x5)) for n in range(1, 6))

trace_ids: Final = st.sampled_from(TRACE_IDS)
span_ids: Final = st.sampled_from(SPAN_IDS)

# --- text -----------------------------------------------------------------------------------

_TRICKY: Final = [
    *("", " ", "a", "A", "ß", "ẞ", "İ", "é", "e\u0301", "\u202e", "🐼", "\U0010ffff", "\ufeff"),
    *("%", "_", "\\", "\\N", "\t", "\n", '"', "'", "\x7f", "null", "{}", ","),
]

texts: Final = st.sampled_from(_TRICKY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12
)
"""Any Unicode that a text column can store: no NUL, no unpaired surrogate; may be empty."""

hard_texts: Final = st.text(st.characters(), max_size=8).map(lambda text: text + "\x00") | (
    st.sampled_from(["\ud800", "\udfff", "a\udc00b", "\x00"])
)
"""Text with a NUL or an unpaired surrogate."""

names: Final = texts.filter(bool)
labels: Final = st.none() | st.sampled_from(["", "a", "b"]) | texts
tags: Final = st.lists(st.sampled_from(["a", "b", "ab", "B", "é", ""]) | texts, max_size=4)

# --- JSON text ------------------------------------------------------------------------------

_NUMBERS: Final = [
    *("0", "-0", "-0.0", "1", "1.0", "1.10", "1e2", "1E+2", "1e-7", "100", "0.1"),
    *("12345678901234567890", "9007199254740993", "-170141183460469231731687303715884105728"),
    *("1.7976931348623157e308", "5e-324", "0.30000000000000004", "3.141592653589793238462643"),
]
_ESCAPES: Final = ['"\\/"', '"\\u00e9"', '"\\uD83D\\uDC3C"', '"\\n\\t\\b\\f\\r"', '"a\\\\b"', '""']
_HARD: Final = ['"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00\\ud800"']

_blanks: Final = st.sampled_from(["", "", "", " ", "\n\t", "\r\n "])
_strings: Final = st.sampled_from(_ESCAPES) | st.builds(
    lambda text, ascii_only: json.dumps(text, ensure_ascii=ascii_only), texts, st.booleans()
)
_keys: Final = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"é"', '"\\u00e9"', '""']) | _strings
_numbers: Final = st.sampled_from(_NUMBERS) | st.integers().map(str)
_scalars: Final = st.sampled_from(["true", "false", "null"]) | _numbers | _strings


@st.composite
def _array(draw: st.DrawFn, inner: SearchStrategy[str]) -> str:
    items = [draw(_blanks) + item + draw(_blanks) for item in draw(st.lists(inner, max_size=3))]
    return f"[{','.join(items)}]"


@st.composite
def _object(draw: st.DrawFn, inner: SearchStrategy[str]) -> str:
    pairs = draw(st.lists(st.tuples(_keys, inner), max_size=4))
    items = [
        f"{draw(_blanks)}{key}{draw(_blanks)}:{draw(_blanks)}{value}{draw(_blanks)}"
        for key, value in pairs
    ]
    return "{" + (",".join(items) or draw(_blanks)) + "}"


def _values(scalars: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.recursive(scalars, lambda inner: _array(inner) | _object(inner), max_leaves=4)


payloads: Final[SearchStrategy[JsonText]] = (
    _values(_scalars | st.sampled_from(_HARD)).filter(lambda text: text != "null").map(str.encode)
)
"""Any JSON value except `null`, in any spelling, including hard escapes."""

objects: Final[SearchStrategy[JsonText]] = st.just(EMPTY_OBJECT) | (
    _object(_values(_scalars)).map(str.encode)
)
"""JSON objects without hard escapes; keys may occur twice."""

hard_objects: Final[SearchStrategy[JsonText]] = st.builds(
    lambda key, value: f"{{{key}:{value}}}".encode(),
    _keys | st.sampled_from(_HARD),
    st.sampled_from(_HARD),
)
"""JSON objects with an escaped NUL or unpaired surrogate, which some readers reject."""

# --- tokens, money, time --------------------------------------------------------------------

_counts: Final = st.sampled_from(
    [
        *("0", "1", "12", "12.0", "1.2e1", '"12"', "1.5", "-1", '"x"', "null", "true", "[]"),
        *("9007199254740991", "9007199254740992", "1e400"),
    ]
) | st.integers(0, 10_000).map(str)

token_usages: Final[SearchStrategy[JsonText]] = st.just(EMPTY_OBJECT) | st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cached"]), _counts
).map(lambda found: ("{" + ",".join(f'"{k}":{v}' for k, v in found.items()) + "}").encode())

amounts: Final = st.sampled_from([0.0, -0.0, 0.1, 0.2, 1e-9, 5e-324, 1.7e308, -1.7e308]) | (
    st.floats(allow_nan=False, allow_infinity=False)
)
_costs_of_parts: Final = st.sampled_from([0.0, 0.1, 0.2, 1e-9, 5e-324, float(COST_MAX_USD)]) | (
    st.floats(0, COST_MAX_USD)
)
costs: Final = st.dictionaries(
    st.sampled_from(["total", "total_cost", "prompt", "completion"]), _costs_of_parts, max_size=3
)
models: Final = st.sampled_from([*PRICES, *(f"openai/{m}" for m in PRICES), "unlisted", ""])

instants: Final = st.one_of(
    st.integers(-3, 3).map(lambda s: NOON + timedelta(seconds=s)),
    st.sampled_from([datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]),
    st.datetimes(timezones=st.just(UTC)),
)
"""Aware instants in UTC, years 1 to 9999; many equal or close, so latencies go both ways."""

_MONDAY: Final = datetime(2026, 3, 2, tzinfo=UTC)

edges: Final = st.builds(
    lambda weeks, hours, off: _MONDAY + timedelta(weeks=weeks, hours=hours) + off,
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([-25, -24, -1, 0, 0, 1, 2, 24]),
    st.sampled_from([0, 0, -1, 1, 1_800_000_000, -90_000_000]).map(
        lambda microseconds: timedelta(microseconds=microseconds)
    ),
)
"""Instants on and near the edges of hours, days and weeks."""


def maybe[T](values: SearchStrategy[T]) -> SearchStrategy[T | None]:
    return st.none() | values


# --- spans and traces -----------------------------------------------------------------------


def spans(ids: SearchStrategy[SpanId] = span_ids) -> SearchStrategy[Span]:
    """Spans as sent: any field may be missing."""
    return st.builds(
        Span,
        id=ids,
        name=names,
        started_at=instants,
        parent_id=maybe(ids),
        kind=maybe(st.sampled_from(SpanKind)),
        status=maybe(st.sampled_from(SpanStatus)),
        ended_at=maybe(instants),
        completion_started_at=maybe(instants),
        error=labels,
        model=maybe(models),
        input=maybe(payloads),
        output=maybe(payloads),
        metadata=objects,
        token_usage=maybe(token_usages),
        model_parameters=maybe(objects),
        cost=maybe(costs),
        charge=st.none(),
    ).map(read)


def read(span: Span) -> Span:
    """A span with cached and reasoning tokens given by the client, if it has token usage."""
    said = span.token_usage
    if said is None or b'"cached":1' not in said:
        return replace(span, usage=None)
    known = Usage.from_token_usage(said)
    half, reasoning = known.prompt_tokens // 2, known.completion_tokens // 3
    cached = {"cache_read_tokens": half, "cache_write_tokens": half // 2}
    return replace(span, usage=replace(known, **cached, reasoning_tokens=reasoning))


def traces(
    ids: SearchStrategy[TraceId] = trace_ids, *, spans_max: int = 4
) -> SearchStrategy[Trace]:
    """Traces as sent: any field may be missing, a span id may occur twice."""
    return st.builds(
        Trace,
        id=ids,
        name=names,
        started_at=instants,
        status=maybe(st.sampled_from(TraceStatus)),
        ended_at=maybe(instants),
        session_id=labels,
        user_id=labels,
        environment=labels,
        release=labels,
        input=maybe(payloads),
        output=maybe(payloads),
        metadata=objects,
        tags=tags.map(tuple),
        spans=st.lists(spans(), max_size=spans_max).map(tuple),
        new_status=st.none(),
    )


# --- changes ---------------------------------------------------------------------------------


def clearable[T](values: SearchStrategy[T]) -> SearchStrategy[Any]:
    """Left out, null, or a value."""
    return st.sampled_from([UNCHANGED, UNCHANGED, None]) | values


trace_changes: Final[SearchStrategy[TraceChange]] = st.builds(
    TraceChange,
    name=maybe(names),
    status=maybe(st.sampled_from(TraceStatus)),
    tags=maybe(tags.map(tuple)),
    metadata=objects,
    input=clearable(payloads),
    output=clearable(payloads),
    ended_at=clearable(instants),
    session_id=clearable(labels),
    user_id=clearable(labels),
    environment=clearable(labels),
    release=clearable(labels),
)
span_changes: Final[SearchStrategy[SpanChange]] = st.builds(
    SpanChange,
    name=maybe(names),
    kind=maybe(st.sampled_from(SpanKind)),
    status=maybe(st.sampled_from(SpanStatus)),
    metadata=objects,
    input=clearable(payloads),
    output=clearable(payloads),
    model=clearable(models),
    token_usage=clearable(token_usages),
    ended_at=clearable(instants),
    error=clearable(texts),
    completion_started_at=clearable(instants),
    model_parameters=clearable(objects),
    cost=clearable(costs),
)

# --- reports ---------------------------------------------------------------------------------


def one_of_each_id(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The last of the spans with the same id."""
    return tuple({span.id: span for span in spans}.values())


@st.composite
def reports(draw: st.DrawFn, *, parts_max: int = 3) -> Sequence[Trace]:
    """At least two partial reports of one trace that don't contradict each other.

    No two give different values for a field or a metadata key, so every order must give the same
    trace. Only the status may differ: if one report gives a final one, others may give any that is
    not final. If none does, all give the same or none, since the default is final.
    """
    whole = draw(traces())
    whole = replace(whole, spans=one_of_each_id(whole.spans))
    count = draw(st.integers(2, parts_max))
    parts = [
        replace(
            _part(draw, whole),
            tags=tuple(tag for tag in whole.tags if draw(st.booleans())),
            spans=tuple(_span_part(draw, span) for span in whole.spans if draw(st.booleans())),
        )
        for _ in range(count)
    ]
    if not any(part.status in FINAL_STATUSES for part in parts):
        status = None if whole.status in FINAL_STATUSES else whole.status
        return [replace(part, status=status) for part in parts]
    early = maybe(st.sampled_from([TraceStatus.PENDING, TraceStatus.RUNNING]))
    return [part if part.status else replace(part, status=draw(early)) for part in parts]


def _span_part(draw: st.DrawFn, whole: Span) -> Span:
    """A part of a span; if it lacks the status, it may say UNSET, which undoes no other."""
    part = _part(draw, whole)
    is_unset = part.status is None and draw(st.booleans())
    return replace(part, status=SpanStatus.UNSET) if is_unset else part


_ALWAYS_SAID: Final = frozenset({"id", "name", "started_at", "tags", "spans", "new_status"})


def _part[T: (Span, Trace)](draw: st.DrawFn, whole: T) -> T:
    unsaid: dict[str, Any] = {}
    for field in fields(whole):
        if field.name not in _ALWAYS_SAID and draw(st.booleans()):
            unsaid[field.name] = EMPTY_OBJECT if field.name == "metadata" else None
    part = replace(whole, **unsaid)
    return read(part) if isinstance(part, Span) else part


# --- limits ---------------------------------------------------------------------------------

limits: Final = st.builds(Limit, st.integers(1, 5), st.sampled_from(["minute", "hour"]))
"""Small enough to be exhausted. No window is so short that Redis expires it in between."""


def steps_us(limit: Limit) -> SearchStrategy[int]:
    """Microseconds between two requests, around the ends of the window."""
    window_us = limit.window_us
    edges = [0, 0, 0, 1, window_us - 1, window_us, window_us + 1, window_us // 2]
    return st.sampled_from(edges) | st.integers(0, 2 * window_us // limit.count)
