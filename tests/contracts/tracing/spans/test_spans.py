"""Contract of Spans: the list of spans across traces, run against every adapter."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Invalid
from domain.page import PageRequest, SortOrder, paginate
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.spans.error_groups import ERROR_CHARS_MAX
from domain.tracing.spans.span_query import (
    SpanFilter,
    SpanSort,
    SpanSummary,
    check_sortable,
)
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders.values import at, prices, span, trace
from tests.support.fixtures.data_plane import ALL, DataPlane, fill, project, read_all_pages
from tests.support.hypothesis_scale import crossed

ERROR = SpanStatus.ERROR


def varied() -> list[Trace]:
    """Traces whose spans share starts, latencies, costs and tokens, and some lack them."""
    usages = [None, b'{"prompt_tokens":3,"completion_tokens":4}', b'{"prompt_tokens":9}']
    spans = [
        span(
            name=f"step {n % 3}",
            kind=[*SpanKind, None][n % (len(SpanKind) + 1)],
            status=[*SpanStatus, None][n % (len(SpanStatus) + 1)],
            started_at=at(n % 4),
            ended_at=None if n % 5 == 0 else at(n % 4 + n % 3 - 0.5),
            model=[None, "gpt-4o", "tiny", "unlisted"][n % 4],
            token_usage=usages[n % 3],
            error=f"took {n} s" if n % 4 == 2 else None,
        )
        for n in range(24)
    ]
    return [
        trace(*spans[:6], session_id="s1", user_id="u1", tags=("a", "b"), environment="prod"),
        trace(*spans[6:12], session_id="s2", user_id="u1", tags=("b",), release="2.0"),
        trace(*spans[12:18], status=TraceStatus.ERROR, environment="prod", release="2.1"),
        trace(*spans[18:], name="other", tags=("c",)),
    ]


def settled(sent: list[Trace]) -> list[tuple[Trace, Span]]:
    whole = [one.settled(prices().price) for one in sent]
    return [(one, step) for one in whole for step in one.spans]


def in_domain(
    sent: list[Trace], sort: SpanSort = SpanSort.STARTED_AT, order: SortOrder = SortOrder.DESC,
    **conditions: Any,
) -> list[SpanSummary]:  # fmt: skip
    matching = SpanFilter(**conditions)
    found = [SpanSummary.from_span(*one) for one in settled(sent) if matching.matches(*one)]
    return list(paginate(found, sort.position, order, ALL).items)


async def page(
    plane: DataPlane, of: Any, sort: SpanSort = SpanSort.STARTED_AT,
    order: SortOrder = SortOrder.DESC, window: PageRequest = ALL, **conditions: Any,
) -> Any:  # fmt: skip
    return await plane.tracing.spans.summaries(of, SpanFilter(**conditions), sort, order, window)


FILTERS: list[dict[str, Any]] = [
    {},
    {"kind": SpanKind.LLM},
    {"name": "step 1"},
    {"name": "step"},
    {"model": "gpt-4o"},
    {"provider": "openai"},
    {"status": SpanStatus.OK},
    {"status": ERROR},
    {"has_error": True},
    {"has_error": False},
    {"started_after": at(1), "started_before": at(3)},
    {"min_latency_ms": 500},
    {"max_latency_ms": 500, "name": "step 2"},
    {"min_latency_ms": 400, "max_latency_ms": 1600},
    {"min_tokens": 1},
    {"min_tokens": 7, "max_tokens": 7},
    {"max_tokens": 0},
    {"min_cost": 0.00001},
    {"min_cost": 0, "max_cost": 0.00001},
    {"environment": "prod"},
    {"release": "2.1"},
    {"session_id": "s2"},
    {"user_id": "u1", "kind": SpanKind.TOOL},
    {"tags": ("a", "c")},
    {"tags": ("nobody",)},
    {"trace_status": TraceStatus.ERROR},
    {"environment": "prod", "has_error": True},
    {"not_kind": (SpanKind.LLM, SpanKind.TOOL)},
    {"not_name": ("step 1", "step")},
    {"not_model": ("gpt-4o",), "name": "step 1"},
    {"not_provider": ("openai",)},
    {"not_status": (ERROR,)},
    {"not_environment": ("prod",)},
    {"not_release": ("2.0", "2.1")},
    {"not_session_id": ("s1",), "not_user_id": ("u1",)},
    {"not_tags": ("b",)},
    {"not_trace_status": (TraceStatus.ERROR,), "not_kind": (SpanKind.OTHER,)},
]


@pytest.mark.parametrize("conditions", FILTERS, ids=str)
async def test_filters_find_what_the_domain_finds(plane, conditions):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    found = await page(plane, ours, **conditions)
    assert found.items == in_domain(sent, **conditions)
    assert (found.total, found.total_is_at_least) == (len(found.items), False)


async def test_group_of_errors_has_messages_that_differ_in_numbers(plane):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    [failed, *_] = in_domain(sent, has_error=True)
    found = await page(plane, ours, error_group=failed.error_group)
    assert found.items == in_domain(sent, error_group=failed.error_group)
    assert {one.error for one in found.items} > {failed.error}
    assert (await page(plane, ours, error_group="0" * 16)).items == []


@pytest.mark.parametrize(("sort", "order"), crossed(list(SpanSort), list(SortOrder)))
async def test_pages_follow_each_other_in_order(plane, sort, order):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    for conditions, limit in (({}, 1), ({}, 7), ({"user_id": "u1"}, 4), ({"name": "step 0"}, 3)):
        by_position, by_offset = await read_all_pages(
            lambda window, conditions=conditions: page(
                plane, ours, sort, order, window, **conditions
            ),
            limit,
        )
        assert by_position == by_offset == in_domain(sent, sort, order, **conditions)


async def test_rows_have_their_trace_and_cut_errors(plane):
    ours = project()
    failing = span(status=ERROR, error="é" * 3_000, input=b'{"a":1}', ended_at=at(2))
    sent = trace(failing, name="run", session_id="s", user_id="u", tags=("t",), release="1")
    await fill(plane, ours, sent)
    [row] = (await page(plane, ours)).items
    assert (row.trace_id, row.id, row.trace.name) == (sent.id, failing.id, "run")
    assert (row.trace.session_id, row.trace.user_id, row.trace.tags) == ("s", "u", ("t",))
    assert row.error == "é" * ERROR_CHARS_MAX
    assert (row.input_bytes, row.output_bytes, row.latency_ms) == (7, None, 2000.0)


async def test_equal_ids_of_spans_in_two_traces_are_two_spans(plane):
    ours, shared = project(), span()
    sent = [trace(shared), trace(shared), trace(shared)]
    await fill(plane, ours, *sent)
    by_position, by_offset = await read_all_pages(
        lambda window: page(plane, ours, window=window), 1
    )
    assert by_position == by_offset == in_domain(sent)
    assert len({one.trace_id for one in by_position}) == 3


async def test_changed_spans_change_their_group_and_row(plane):
    ours, step = project(), span(status=ERROR, error="no answer from 'a'")
    one = trace(step)
    await fill(plane, ours, one)
    [before] = (await page(plane, ours, has_error=True)).items
    await plane.traces.put(ours, replace(one, spans=(replace(step, error="refused"),)))
    [after] = (await page(plane, ours, has_error=True)).items
    assert (before.error, after.error) == ("no answer from 'a'", "refused")
    assert None is not after.error_group != before.error_group
    await plane.traces.put(ours, replace(one, spans=(replace(step, status=SpanStatus.OK),)))
    assert (await page(plane, ours, has_error=True)).items == []
    [fine] = (await page(plane, ours)).items
    assert fine.error_group is None


async def test_another_project_sees_nothing(plane):
    ours, theirs = project(), project()
    one = trace(span(status=ERROR, error="x"), session_id="s", tags=("t",))
    await fill(plane, ours, one)
    [row] = (await page(plane, ours)).items
    for conditions in ({}, {"has_error": True}, {"session_id": "s"}, {"tags": ("t",)},
                       {"error_group": row.error_group}):  # fmt: skip
        found = await page(plane, theirs, **conditions)
        assert (found.items, found.total, found.end) == ([], 0, None)


async def test_deleted_traces_have_no_spans(plane):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    await plane.traces.delete(ours, [sent[0].id, sent[2].id])
    assert (await page(plane, ours)).items == in_domain([sent[1], sent[3]])


def test_too_many_matches_are_refused_in_any_order_but_that_of_starts():
    check_sortable(200_000, SpanSort.COST)
    check_sortable(200_001, SpanSort.STARTED_AT)
    with pytest.raises(Invalid) as refused:
        check_sortable(200_001, SpanSort.COST)
    [error] = refused.value.errors
    assert error.field == "query.sort_by"
    assert "narrow started_after" in error.message


async def test_cost_is_exact(plane):
    ours = project()
    await fill(plane, ours, trace(span(cost={"total": 0.1}), span(cost={"total": 0.3})))
    [row] = (await page(plane, ours, max_cost=0.1)).items
    assert row.cost == Decimal("0.1")
    assert len((await page(plane, ours, min_cost=0.1)).items) == 2
