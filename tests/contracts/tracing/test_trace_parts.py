"""Contract of Traces: revisions, outlines, traces and spans as shown, and single payloads."""

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import NotFound
from domain.page import PageRequest
from domain.tracing.outline import NO_PARENT, PARENT_NOT_RECEIVED, OutlineColumns, TraceOutline
from domain.tracing.payloads.payload_detail import (
    PREVIEW_BYTES_MAX,
    WHOLE_PAYLOADS,
    PayloadDetail,
    PayloadExtent,
    PayloadName,
    PayloadPreview,
)
from domain.tracing.payloads.read_limit import TooLargeToRead
from domain.tracing.span import SpanChange, SpanKind, SpanStatus
from domain.tracing.text_preview import TracePreview
from domain.tracing.trace import TraceChange
from domain.tracing.trace_detail import ShownSpan, TraceDetail
from tests.support.builders import strategies
from tests.support.builders.values import at, span, span_id, trace, trace_id
from tests.support.fixtures.data_plane import project
from tests.support.hypothesis_scale import scaled

PREVIEWS = PayloadExtent(PayloadDetail.PREVIEW)
EXTENTS = st.builds(PayloadExtent, st.sampled_from(PayloadDetail), st.integers(1, 12))
LARGE = b'"' + "ä€𝄞x".encode() * 10_000 + b'"'


def by_name(columns: OutlineColumns) -> dict[str, Any]:
    """Comparable, whatever the type of the sequences."""
    found = {one.name: getattr(columns, one.name) for one in fields(columns)}
    return {
        name: value if isinstance(value, dict) else list(value) for name, value in found.items()
    }


def comparable(outline: TraceOutline) -> Any:
    return (outline.summary, outline.revision, outline.first, by_name(outline.columns))


async def test_outline_has_all_spans_in_order(traces):
    ours, root, lost = project(), span(name="agent", kind=SpanKind.AGENT, ended_at=at(4)), span_id()
    llm = span(
        name="chat", kind=SpanKind.LLM, parent_id=root.id, started_at=at(1), ended_at=at(2.5),
        completion_started_at=at(1.25), model="gpt-4o", input='["ä"]'.encode(), output=b"12",
        token_usage=b'{"prompt_tokens":1000,"completion_tokens":100}',
    )  # fmt: skip
    orphan = span(
        name="chat", parent_id=lost, started_at=at(2), ended_at=at(1), status=SpanStatus.ERROR,
        model="unlisted", token_usage=b'{"prompt_tokens":1}',
    )  # fmt: skip
    failed = span(name="tool", parent_id=llm.id, started_at=at(3), error="boom")
    sent = trace(failed, orphan, llm, root, started_at=at(1), session_id="s")
    await traces.put(ours, sent)
    outline = await traces.outline(ours, sent.id, 0, 10)
    assert (outline.summary.id, outline.summary.session_id) == (sent.id, "s")
    assert (outline.summary.totals.spans, outline.summary.totals.errors) == (4, 1)
    assert (outline.first, outline.next) == (0, None)
    assert outline.revision == await traces.revision(ours, sent.id)
    assert by_name(outline.columns) == {
        "names": ["agent", "chat", "tool"],
        "kinds": ["AGENT", "LLM", "OTHER"],
        "statuses": ["UNSET", "ERROR"],
        "models": ["gpt-4o", "unlisted"],
        "span_id": [root.id, llm.id, orphan.id, failed.id],
        "parent": [NO_PARENT, 0, PARENT_NOT_RECEIVED, 1],
        "parent_id": {2: lost},
        "name": [0, 1, 1, 2],
        "kind": [0, 1, 2, 2],
        "status": [0, 0, 1, 0],
        "start_us": [-1_000_000, 0, 1_000_000, 2_000_000],
        "latency_us": [4_000_000, 1_500_000, None, None],
        "first_token_us": [None, 250_000, None, None],
        "model": [None, 0, 1, None],
        "tokens": [0, 1100, 1, 0],
        "cost": [None, 0.0035, None, None],
        "input_bytes": [None, 6, None, None],
        "output_bytes": [None, 2, None, None],
        "has_error": [False, False, True, True],
        "uncounted": [],
    }


async def test_parts_of_an_outline_count_places_alike(traces):
    ours, steps = project(), [span(started_at=at(n), name=f"s{n}") for n in range(7)]
    # The parent starts after its child, and is in the last part.
    steps = [replace(one, parent_id=steps[6 - n].id) for n, one in enumerate(steps)]
    sent = trace(*steps)
    await traces.put(ours, sent)
    parts, first = [], 0
    while first is not None:
        part = await traces.outline(ours, sent.id, first, 3)
        parts.append(part)
        first = part.next
    assert [list(one.columns.parent) for one in parts] == [[6, 5, 4], [3, 2, 1], [0]]
    assert [id_ for one in parts for id_ in one.columns.span_id] == [one.id for one in steps]
    beyond = await traces.outline(ours, sent.id, 7, 3)
    assert (list(beyond.columns.span_id), beyond.next) == ([], None)


async def test_outline_of_trace_without_spans_is_empty(traces):
    ours, sent = project(), trace()
    await traces.put(ours, sent)
    outline = await traces.outline(ours, sent.id, 0, 10)
    assert (outline.summary.totals.spans, list(outline.columns.span_id)) == (0, [])


@settings(
    max_examples=scaled(15), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    sent=strategies.traces(),
    first=st.integers(0, 4),
    limit=st.integers(1, 4),
    extent=EXTENTS,
)
async def test_parts_agree_with_the_whole_trace(traces, sent, first, limit, extent):
    ours = project()
    await traces.put(ours, sent)
    whole, revision = await traces.get(ours, sent.id), await traces.revision(ours, sent.id)
    outline = await traces.outline(ours, sent.id, first, limit)
    assert comparable(outline) == comparable(TraceOutline.from_trace(whole, revision, first, limit))
    for one in whole.spans[:3]:
        found = await traces.span(ours, sent.id, one.id, extent)
        assert found == ShownSpan.from_span(one, extent)
        for name in PayloadName:
            assert await traces.payload(ours, sent.id, one.id, name) == getattr(one, name)
    for name in PayloadName:
        assert await traces.payload(ours, sent.id, None, name) == getattr(whole, name)
    assert await traces.previews(ours, [sent.id]) == {sent.id: TracePreview.from_trace(whole)}
    detail = await traces.detail(ours, sent.id, extent)
    assert detail == TraceDetail.from_trace(whole, revision, extent)
    asked = [one.id for one in whole.spans[first:]]
    named = await traces.spans_by_id(ours, sent.id, [*asked, span_id(), *asked], extent)
    assert list(named) == detail.spans[first:]
    skipped = await traces.spans(ours, sent.id, extent, PageRequest(limit, first))
    assert list(skipped.items) == detail.spans[first : first + limit]
    assert await all_spans(traces, ours, sent.id, extent, limit) == detail.spans


async def all_spans(traces, ours, sent, extent, limit) -> list[ShownSpan]:
    """The spans of all pages, each after the one before."""
    found, after = [], None
    while True:
        page = await traces.spans(ours, sent, extent, PageRequest(limit, after=after))
        found += page.items
        if page.end is None:
            assert page.total == len(found)
            return found
        after = page.end


async def test_large_traces_are_read_from_several_blocks(traces):
    ours, size = project(), 900_000
    spans = [
        span(input=b'"' + bytes([65 + n]) * size + b'"', output=b"[%d]" % n, started_at=at(n))
        for n in range(6)
    ]
    sent = trace(*spans, input=b'"in"', output=b'"out"', metadata=b'{"k":"long enough"}')
    await traces.put(ours, sent)
    whole, revision = await traces.get(ours, sent.id), await traces.revision(ours, sent.id)
    for extent in (WHOLE_PAYLOADS, PayloadExtent(PayloadDetail.PREVIEW, 5)):
        detail = await traces.detail(ours, sent.id, extent)
        assert detail == TraceDetail.from_trace(whole, revision, extent)
        assert await all_spans(traces, ours, sent.id, extent, 4) == detail.spans
    assert detail.spans[3].input_preview == PayloadPreview(size + 2, '"DDDD')
    assert detail.payloads.metadata_preview == PayloadPreview(19, '{"k":')


async def test_large_payloads_are_previewed(traces):
    ours = project()
    metadata = b'{"k":' + LARGE + b"}"
    step = span(input=LARGE, output=b"1.0", metadata=metadata)
    sent = trace(step)
    await traces.put(ours, sent)
    found = await traces.span(ours, sent.id, step.id, PREVIEWS)
    assert (found.input, found.output, found.metadata) == (None, b"1.0", None)
    assert (found.input_bytes, found.output_bytes) == (len(LARGE), 3)
    assert found.output_preview is None
    for preview, whole in ((found.input_preview, LARGE), (found.metadata_preview, metadata)):
        assert preview == PayloadPreview(len(whole), preview.text)
        beginning = preview.text.encode()
        assert whole.startswith(beginning)
        assert PREVIEW_BYTES_MAX - 3 <= len(beginning) <= PREVIEW_BYTES_MAX


async def test_previews_follow_changes_of_payloads(traces):
    ours, theirs = project(), project()
    asked = b'{"messages":[{"role":"user","content":"Where is it?"}]}'
    sent, bare = trace(span(model="b"), span(model="a"), input=asked), trace()
    for one in (sent, bare):
        await traces.put(ours, one)
    shown = [sent.id, bare.id, trace_id()]
    assert await traces.previews(theirs, shown) == {}
    assert await traces.previews(ours, shown) == {
        sent.id: TracePreview("Where is it?", None, ("a", "b")),
        bare.id: TracePreview(None, None, ()),
    }
    await traces.put(ours, trace(id=sent.id, output=b'"On its way"'))
    await traces.put(ours, trace(id=bare.id, input=b"[1]"))
    assert await traces.previews(ours, shown) == {
        sent.id: TracePreview("Where is it?", "On its way", ("a", "b")),
        bare.id: TracePreview("[1]", None, ()),
    }
    await traces.change(ours, sent.id, TraceChange(input=b'"changed"'))
    await traces.change(ours, bare.id, TraceChange(input=None, output=b"2"))
    assert await traces.previews(ours, shown) == {
        sent.id: TracePreview("changed", "On its way", ("a", "b")),
        bare.id: TracePreview(None, "2", ()),
    }


async def test_every_change_changes_the_revision(traces):
    ours, step = project(), span(model="gpt-4o")
    sent, other = trace(step), trace()
    await traces.put(ours, sent)
    await traces.put(ours, other)
    unchanged = await traces.revision(ours, other.id)
    seen = [await traces.revision(ours, sent.id)]
    assert await traces.revision(ours, sent.id) == seen[0]
    for change in (
        lambda: traces.put(ours, trace(id=sent.id, input=b"1")),
        lambda: traces.add_spans(ours, sent.id, [span()]),
        lambda: traces.change(ours, sent.id, TraceChange(output=b"2")),
        lambda: traces.change_span(ours, sent.id, step.id, SpanChange(input=b"3")),
        lambda: traces.change_span(ours, sent.id, step.id, SpanChange(cost={"total": 2.0})),
        lambda: traces.retag(ours, [sent.id], ["new"], []),
    ):
        await change()
        seen.append(await traces.revision(ours, sent.id))
    assert len(set(seen)) == len(seen)
    assert await traces.revision(ours, other.id) == unchanged


async def test_sizes_follow_changes_of_payloads(traces):
    ours, step = project(), span(input=b"1", output=b"22")
    sent = trace(step)
    await traces.put(ours, sent)
    await traces.put(ours, trace(replace(step, input=b"[1,2]", output=None), id=sent.id))
    await traces.change_span(ours, sent.id, step.id, SpanChange(output=None))
    columns = (await traces.outline(ours, sent.id, 0, 1)).columns
    assert (list(columns.input_bytes), list(columns.output_bytes)) == ([5], [None])


async def test_parts_of_unknown_traces_and_spans_are_not_found(traces):
    ours, theirs, step = project(), project(), span(input=b"1")
    sent = trace(step, input=b"1")
    await traces.put(ours, sent)
    for of, id_, span_ in (
        (theirs, sent.id, step.id), (ours, trace_id(), step.id), (ours, sent.id, span_id()),
    ):  # fmt: skip
        with pytest.raises(NotFound, match="Span not found"):
            await traces.span(of, id_, span_, WHOLE_PAYLOADS)
        with pytest.raises(NotFound, match="Span not found"):
            await traces.payload(of, id_, span_, PayloadName.INPUT)
    for of, id_ in ((theirs, sent.id), (ours, trace_id())):
        for ask in (
            lambda of=of, id_=id_: traces.revision(of, id_),
            lambda of=of, id_=id_: traces.outline(of, id_, 0, 1),
            lambda of=of, id_=id_: traces.detail(of, id_, WHOLE_PAYLOADS),
            lambda of=of, id_=id_: traces.spans(of, id_, WHOLE_PAYLOADS, PageRequest()),
            lambda of=of, id_=id_: traces.spans_by_id(of, id_, [step.id], WHOLE_PAYLOADS),
            lambda of=of, id_=id_: traces.payload(of, id_, None, PayloadName.METADATA),
        ):
            with pytest.raises(NotFound, match="Trace not found"):
                await ask()


async def test_cost_is_the_nearest_float_to_the_exact_sum(traces):
    ours, step = project(), span(cost={"a": 0.1, "b": 0.2})
    sent = trace(step)
    await traces.put(ours, sent)
    outline = await traces.outline(ours, sent.id, 0, 1)
    assert list(outline.columns.cost) == [float(Decimal("0.3"))]


def reading_at_most(traces: Any, most: int) -> Any:
    """The traces, of which only so many bytes are read at once."""
    return replace(traces, read_bytes_max=most)


async def test_trace_that_is_too_large_is_read_in_parts_only(traces):
    """A trace has no maximum: whole, a few requests could make it larger than the memory."""
    spans = [span(name=f"s{n}", started_at=at(n), input=LARGE) for n in range(3)]
    ours, sent = project(), trace(*spans, started_at=at(0))
    await traces.put(ours, sent)
    most = 2 * len(LARGE) + 3_000
    bounded = reading_at_most(traces, most)
    for refused in (
        bounded.get(ours, sent.id),
        bounded.detail(ours, sent.id, WHOLE_PAYLOADS),
        bounded.detail(ours, sent.id, PayloadExtent(PayloadDetail.PREVIEW, len(LARGE))),
        bounded.spans(ours, sent.id, WHOLE_PAYLOADS, PageRequest(limit=3)),
        bounded.spans_by_id(ours, sent.id, [one.id for one in spans], WHOLE_PAYLOADS),
        bounded.change(ours, sent.id, TraceChange(name="another")),
    ):
        with pytest.raises(TooLargeToRead):
            await refused
    assert (await traces.get(ours, sent.id)).name == sent.name
    extent = PayloadExtent(PayloadDetail.PREVIEW, 100)
    assert len((await bounded.detail(ours, sent.id, extent)).spans) == 3
    page = await bounded.spans(ours, sent.id, WHOLE_PAYLOADS, PageRequest(limit=2))
    assert [bytes(one.input or b"") for one in page.items] == [LARGE] * 2
    [first, *_] = spans
    [one] = await bounded.spans_by_id(ours, sent.id, [first.id], WHOLE_PAYLOADS)
    assert one.input_bytes == len(LARGE)
    assert await bounded.payload(ours, sent.id, first.id, PayloadName.INPUT) == LARGE
    assert (await bounded.outline(ours, sent.id, 0, 3)).summary.name == sent.name
    with pytest.raises(NotFound):
        await bounded.detail(ours, trace_id(), WHOLE_PAYLOADS)
    with pytest.raises(NotFound):
        await bounded.get(ours, trace_id())
    enough = reading_at_most(traces, 4 * len(LARGE))
    assert len((await enough.detail(ours, sent.id, WHOLE_PAYLOADS)).spans) == 3
    assert (await enough.change(ours, sent.id, TraceChange(name="another"))).name == "another"


async def test_errors_count_as_what_is_read(traces):
    ours, error = project(), "x" * 10_000
    spans = [span(started_at=at(n), error=error) for n in range(3)]
    sent = trace(*spans, started_at=at(0))
    await traces.put(ours, sent)
    bounded, nothing = reading_at_most(traces, 15_000), PayloadExtent(PayloadDetail.NONE)
    ids = [one.id for one in spans]
    first = await traces.spans(ours, sent.id, nothing, PageRequest(limit=1))
    for refused in (
        bounded.get(ours, sent.id),
        bounded.detail(ours, sent.id, nothing),
        bounded.spans(ours, sent.id, nothing, PageRequest(limit=2)),
        bounded.spans(ours, sent.id, nothing, PageRequest(limit=2, after=first.end)),
        bounded.spans_by_id(ours, sent.id, ids, nothing),
    ):
        with pytest.raises(TooLargeToRead):
            await refused
    page = await bounded.spans(ours, sent.id, nothing, PageRequest(limit=1, after=first.end))
    assert [one.error for one in page.items] == [error]
    assert len(await bounded.spans_by_id(ours, sent.id, ids[:1], nothing)) == 1


async def test_one_span_is_read_whatever_its_size(traces):
    ours, one = project(), span(input=LARGE, started_at=at(0))
    sent = trace(one, started_at=at(0))
    await traces.put(ours, sent)
    bounded = reading_at_most(traces, 1_000)
    [shown] = await bounded.spans_by_id(ours, sent.id, [one.id], WHOLE_PAYLOADS)
    assert shown.input == LARGE
    assert (await bounded.span(ours, sent.id, one.id, WHOLE_PAYLOADS)).input == LARGE
    page = await bounded.spans(ours, sent.id, WHOLE_PAYLOADS, PageRequest(limit=1))
    assert page.items[0].input == LARGE
