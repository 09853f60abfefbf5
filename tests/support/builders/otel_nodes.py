"""Spans of an OpenTelemetry trace as its row is computed from them."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from domain.ids import SpanId, TraceId
from domain.tracing.otel.facts import SpanFacts
from domain.tracing.otel.fragments import otel_span_id
from domain.tracing.otel.trace_state import SpanNode
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.usage import Usage, UsageRole

TRACE: Final = TraceId(UUID(int=0x0102030405060708090A0B0C0D0E0F10))
START_NS: Final = 1_780_000_000_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FACTS: Final = frozenset(one.name for one in fields(SpanFacts))


def hex_of(number: int) -> str:
    return f"{number:016x}"


def id_of(number: int) -> SpanId:
    return otel_span_id(TRACE, hex_of(number))


def instant(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1_000)


def seconds(after_start: float) -> int:
    """Unix nanoseconds of an instant after START_NS."""
    return START_NS + round(after_start * 1e9)


def node(
    number: int,
    parent: int | None = None,
    kind: str = "OTHER",
    *,
    start: float | None = None,
    end: float | None = 10,
    tokens: int = 0,
    response: str | None = None,
    **said: Any,
) -> SpanNode:
    """The span with this number as its hex id, which starts after as many milliseconds.

    `start` and `end` are seconds; without an end the span is open. `tokens` are those of the
    prompt. Further names are those of SpanFacts, Span or SpanNode.
    """
    start_ns = seconds(number / 1000 if start is None else start)
    end_ns = 0 if end is None else seconds(end)
    facts = {name: said.pop(name) for name in _FACTS & said.keys()}
    has = {name: said.pop(name, False) for name in ("has_input", "has_output")}
    said.setdefault("name", f"span {number}")
    return SpanNode(
        span=Span(
            id=id_of(number),
            parent_id=None if parent is None else id_of(parent),
            kind=SpanKind(kind),
            status=SpanStatus(said.pop("status", "UNSET")),
            started_at=instant(start_ns),
            ended_at=None if end is None else instant(end_ns),
            usage=Usage(tokens, 0, tokens > 0),
            **said,
        ),
        facts=SpanFacts(
            hex_id=hex_of(number),
            start_ns=start_ns,
            end_ns=end_ns,
            response_id=response,
            **facts,
        ),
        **has,
    )


def roles_by_number(roles: dict[SpanId, UsageRole], nodes: list[SpanNode]) -> dict[int, str]:
    return {
        int(one.facts.hex_id, 16): roles[one.span.id].value for one in nodes if one.span.id in roles
    }


@st.composite
def forests(draw: st.DrawFn, *, may_cycle: bool = True) -> list[SpanNode]:
    """Spans with any parents: known, missing, their own, in cycles."""
    count = draw(st.integers(1, 9))
    texts = st.none() | st.sampled_from(["a", "b"])
    nodes = []
    for number in range(1, count + 1):
        parents = st.integers(1, count + 2 if may_cycle else number - 1)
        has_parent = draw(st.booleans()) and (may_cycle or number > 1)
        nodes.append(
            node(
                number,
                draw(parents) if has_parent else None,
                draw(st.sampled_from([kind.value for kind in SpanKind])),
                start=draw(st.integers(0, 3)),
                end=draw(st.none() | st.integers(0, 9)),
                status=draw(st.sampled_from(["UNSET", "OK", "ERROR"])),
                tokens=draw(st.sampled_from([0, 0, 5])),
                response=draw(texts),
                buckets=draw(st.integers(0, 2)),
                has_stated_cost=draw(st.booleans()) and draw(st.booleans()),
                parent_is_remote=draw(st.none() | st.booleans()),
                is_app_root=draw(st.booleans()) and draw(st.booleans()),
                is_setup=draw(st.booleans()),
                has_input=draw(st.booleans()),
                has_output=draw(st.booleans()),
                has_user_message=draw(st.booleans()),
                has_assistant_message=draw(st.booleans()),
                trace_name=draw(texts),
                session_id=draw(texts),
                service=draw(texts),
                tags=tuple(draw(st.sets(st.sampled_from("xyz")))),
                trace_metadata=draw(st.dictionaries(st.sampled_from("km"), st.just("1"))),
                sender_metadata=draw(st.dictionaries(st.sampled_from("kn"), st.just("2"))),
            )
        )
    return nodes
