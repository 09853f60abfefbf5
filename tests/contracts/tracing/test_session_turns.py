"""Part of the contract of Sessions: the traces of a session as turns, without their spans."""

import pytest

from domain.errors import NotFound
from domain.page import PageRequest, SortOrder
from domain.tracing.payloads.payload_detail import PREVIEW_BYTES_MAX
from domain.tracing.session_turn import SessionTurn
from domain.tracing.span import SpanKind, SpanStatus
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import ALL, fill, project

LARGE = b'"' + "ä".encode() * PREVIEW_BYTES_MAX + b'"'
ASC, DESC = SortOrder.ASC, SortOrder.DESC


async def test_turns_are_the_traces_of_the_session(plane):
    ours, theirs = project(), project()
    sent = [
        trace(session_id="s", started_at=at(2), input=b'"asked"', output=LARGE),
        trace(
            span(kind=SpanKind.LLM), span(kind=SpanKind.LLM), span(kind=SpanKind.TOOL), span(),
            span(status=SpanStatus.ERROR), session_id="s", started_at=at(1),
        ),
        trace(session_id="s", started_at=at(3), input=LARGE),
    ]  # fmt: skip
    await fill(plane, ours, *sent, trace(session_id="other"), trace())
    await fill(plane, theirs, trace(session_id="s"))
    whole = [await plane.traces.get(ours, sent[n].id) for n in (1, 0, 2)]
    expected = [SessionTurn.from_trace(one) for one in whole]
    page = await plane.sessions.turns(ours, "s", ASC, ALL)
    assert (list(page.items), page.total, page.end) == (expected, 3, None)
    first, second, third = page.items
    assert (first.llm_calls, first.tool_calls, first.summary.totals.errors) == (2, 1, 1)
    assert (second.input, second.output, third.input) == (b'"asked"', None, None)
    assert second.output_preview.size == len(LARGE)
    assert list((await plane.sessions.turns(ours, "s", DESC, ALL)).items) == expected[::-1]


async def test_turns_have_pages(plane):
    ours = project()
    await fill(plane, ours, *(trace(session_id="s", started_at=at(n // 2)) for n in range(7)))
    every = (await plane.sessions.turns(ours, "s", DESC, ALL)).items
    found, window = [], PageRequest(limit=3)
    while True:
        page = await plane.sessions.turns(ours, "s", DESC, window)
        assert page.total == 7
        found += page.items
        if page.end is None:
            break
        window = PageRequest(limit=3, after=page.end)
    assert found == list(every)
    cut = await plane.sessions.turns(ours, "s", DESC, PageRequest(limit=2, offset=4))
    assert list(cut.items) == list(every[4:6])


async def test_unknown_session_has_no_turns(plane):
    ours = project()
    await fill(plane, ours, trace(session_id="s"))
    for of, session in ((ours, "other"), (project(), "s")):
        with pytest.raises(NotFound, match="Session not found"):
            await plane.sessions.turns(of, session, ASC, ALL)
