"""Which spans take the log records of Claude Code: by time, by call, or as they say."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import SpanId
from domain.tracing.otel.claude_code import (
    API_REQUEST,
    ASSISTANT_RESPONSE,
    TOOL_RESULT,
    assign_claude_records,
)
from domain.tracing.otel.fragments import SentRecord
from domain.tracing.otel.trace_state import SpanNode, start_order
from tests.support.builders.otel_nodes import TRACE, hex_of, id_of, node, seconds

INTERACTION = node(1, None, "AGENT", start=0, end=100)


def request(number: int, start: float, end: float | None) -> SpanNode:
    return node(number, 1, "LLM", start=start, end=end, is_claude_request=True)


def record(name: str, time: float, span: int | None = 1, **attributes: Any) -> SentRecord:
    return SentRecord(
        name=name,
        time_ns=seconds(time),
        span_id=None if span is None else hex_of(span),
        attributes=attributes,
    )


def assigned(records: list[SentRecord], nodes: list[SpanNode]) -> list[tuple[SpanId, ...]]:
    """The spans of each record, which are the same in any order of the records."""
    numbered = [(f"{at:02}", one) for at, one in enumerate(records)]
    found = assign_claude_records(TRACE, numbered, nodes)
    assert found == assign_claude_records(TRACE, numbered[::-1], nodes[::-1])
    return [found.get(digest, ()) for digest, _ in numbered]


def nearest(time: float, *requests: SpanNode) -> tuple[SpanId, ...]:
    [spans] = assigned([record(API_REQUEST, time)], [INTERACTION, *requests])
    return spans


# --- by time -------------------------------------------------------------------------------

A, B, C = request(2, 10, 12), request(3, 11, 15), request(4, 20, 20)
TIMES: dict[str, tuple[float, int | None]] = {
    "more than 1 s before the first": (8.999_999, None),
    "1 s before": (9, 2),
    "at the start": (10, 2),
    "within two: the earlier start": (11.5, 2),
    "at the end": (12, 2),
    "within one": (12.000_001, 3),
    "after the end": (15.9, 3),
    "1 s after the end": (16, 3),
    "more than 1 s from all": (17, None),
    "before an interval of no length": (19.5, 4),
    "within an interval of no length": (20, 4),
    "after all": (21, 4),
    "more than 1 s after all": (21.000_001, None),
}


@pytest.mark.parametrize(("time", "expected"), TIMES.values(), ids=TIMES.keys())
def test_record_belongs_to_request_nearest_in_time(time: float, expected: int | None) -> None:
    assert nearest(time, A, B, C) == (() if expected is None else (id_of(expected),))


def test_of_requests_as_near_the_earlier_start_wins() -> None:
    assert nearest(13, request(2, 13.5, 14), request(3, 10, 12.5)) == (id_of(3),)
    assert nearest(13, request(3, 9, 12), request(2, 10, 12)) == (id_of(3),)


def test_of_requests_that_start_at_once_the_smaller_id_wins() -> None:
    assert nearest(11, request(3, 10, 12), request(2, 10, 13)) == (id_of(2),)
    assert nearest(9.5, request(3, 10, 12), request(2, 10, 13)) == (id_of(2),)


def test_open_request_takes_later_records() -> None:
    assert nearest(50, request(2, 10, None)) == (id_of(2),)
    assert nearest(50, request(2, 10, None), request(3, 5, 60)) == (id_of(3),)


def test_request_that_ends_before_it_starts_counts_at_its_start() -> None:
    assert nearest(10.5, request(2, 10, 3)) == (id_of(2),)
    assert nearest(5, request(2, 10, 3)) == ()


def test_record_without_requests_waits() -> None:
    assert nearest(10) == ()


def test_record_does_not_need_the_span_that_it_names() -> None:
    records = [record(API_REQUEST, 10, span=None), record(API_REQUEST, 10, span=77)]
    assert assigned(records, [A]) == [(id_of(2),)] * 2


def test_several_records_may_belong_to_one_request() -> None:
    records = [record(API_REQUEST, 10), record(API_REQUEST, 11)]
    assert assigned(records, [INTERACTION, A]) == [(id_of(2),)] * 2


times = st.integers(0, 30).map(lambda tenths: tenths / 10)


@given(
    st.lists(st.tuples(times, st.none() | times), max_size=6),
    st.lists(times, max_size=4),
    st.randoms(use_true_random=False),
)
def test_nearest_request_is_that_of_the_definition(
    intervals: list[tuple[float, float | None]], moments: list[float], shuffle: random.Random
) -> None:
    requests = [request(at + 2, start, end) for at, (start, end) in enumerate(intervals)]

    def distance(one: SpanNode, time_ns: int) -> int:
        facts = one.facts
        end_ns = max(facts.start_ns, facts.end_ns) if facts.end_ns else time_ns
        return max(facts.start_ns - time_ns, time_ns - end_ns, 0)

    def expected(time_ns: int) -> tuple[SpanId, ...]:
        near = [one for one in requests if distance(one, time_ns) <= 1_000_000_000]
        best = min(near, key=lambda one: (distance(one, time_ns), start_order(one)), default=None)
        return () if best is None else (best.span.id,)

    nodes = [INTERACTION, *requests]
    shuffle.shuffle(nodes)
    found = assigned([record(API_REQUEST, one) for one in moments], nodes)
    assert found == [expected(seconds(one)) for one in moments]


# --- responses -----------------------------------------------------------------------------


def test_last_response_of_trace_is_also_output_of_its_span() -> None:
    records = [record(ASSISTANT_RESPONSE, time) for time in (11, 20, 10)]
    found = assigned(records, [INTERACTION, A, B, C])
    assert found == [(id_of(2),), (id_of(4), id_of(1)), (id_of(2),)]


def test_last_response_needs_no_request() -> None:
    assert assigned([record(ASSISTANT_RESPONSE, 50)], [INTERACTION]) == [(id_of(1),)]


def test_last_response_may_name_request_or_no_span() -> None:
    assert assigned([record(ASSISTANT_RESPONSE, 10, span=2)], [INTERACTION, A]) == [(id_of(2),)]
    assert assigned([record(ASSISTANT_RESPONSE, 10, span=None)], [INTERACTION, A]) == [(id_of(2),)]
    assert assigned([record(ASSISTANT_RESPONSE, 10, span=77)], [INTERACTION, A]) == [(id_of(2),)]


def test_of_responses_at_one_time_the_sequence_then_the_span_then_the_digest_decides() -> None:
    numbered = [record(ASSISTANT_RESPONSE, 10, **{"event.sequence": at}) for at in (9, 10, 2)]
    assert assigned(numbered, [INTERACTION, A]) == [
        (id_of(2),),
        (id_of(2), id_of(1)),
        (id_of(2),),
    ]
    others = [record(ASSISTANT_RESPONSE, 50, span=span) for span in (3, 1)]
    assert assigned(others, [INTERACTION, C, B]) == [(id_of(3),), ()]
    alike = [record(ASSISTANT_RESPONSE, 10, **{"event.sequence": "x"}) for _ in range(2)]
    assert assigned(alike, [INTERACTION, A]) == [(id_of(2),), (id_of(2), id_of(1))]


def test_cost_of_last_request_is_not_cost_of_interaction() -> None:
    assert assigned([record(API_REQUEST, 10)], [INTERACTION, A]) == [(id_of(2),)]


# --- tools and others ----------------------------------------------------------------------


def test_tool_result_belongs_to_first_tool_span_of_its_call() -> None:
    nodes = [
        INTERACTION,
        node(2, 1, "OTHER", tool_use_id="t1"),
        node(4, 1, "TOOL", tool_use_id="t1"),
        node(3, 1, "TOOL", start=5, tool_use_id="t1"),
        node(5, 1, "TOOL"),
    ]
    records = [
        record(TOOL_RESULT, 1, tool_use_id="t1"),
        record(TOOL_RESULT, 1, tool_use_id="t2"),
        record(TOOL_RESULT, 1, tool_use_id=["t1"]),
        record(TOOL_RESULT, 1),
    ]
    assert assigned(records, nodes) == [(id_of(4),), (), (), ()]


def test_other_records_belong_to_the_span_that_they_name() -> None:
    records = [
        record("claude_code.user_prompt", 1),
        record("gen_ai.choice", 1, span=2),
        record("gen_ai.choice", 1, span=77),
        record("gen_ai.choice", 1, span=None),
    ]
    assert assigned(records, [INTERACTION, A]) == [(id_of(1),), (id_of(2),), (), ()]


def test_digests_may_be_bytes() -> None:
    assert assign_claude_records(TRACE, [(b"d", record(API_REQUEST, 10))], [A]) == {
        b"d": (id_of(2),)
    }
