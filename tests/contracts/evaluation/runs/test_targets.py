"""Contract of Targets, run against every adapter."""

import uuid
from dataclasses import replace

import pytest

from domain.evaluation.runs.selection import (
    GivenInstant,
    Sample,
    SessionSelection,
    TraceSelection,
    select_sessions,
)
from domain.evaluation.scores.outcome import FailCode, Failed, SkipCode, Skipped
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX
from domain.evaluation.trace_content.evaluated_trace import RECENT_OUTPUTS_MAX, EvaluatedTrace
from domain.ids import TraceId
from domain.tracing.span import SpanStatus
from domain.tracing.trace import TraceStatus
from tests.support.builders.values import at, prices, span, trace, trace_id
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation.evaluation import SPANS_MAX

LIMIT = 1_000


def since(seconds: float) -> GivenInstant:
    return GivenInstant("as it was typed", at(seconds))


# --- selection -------------------------------------------------------------------------------

TRACES = [
    trace(
        id=TraceId(uuid.UUID(int=n, version=4)),
        name=["Run 100%", "straße", "a_b\\"][n % 3],
        session_id=["b", "a", None, "é", ""][n % 5],
        user_id=f"u{n % 2}",
        tags=[("x",), ("y", "x"), ()][n % 3],
        started_at=at(30 - n),
        status=TraceStatus.ERROR if n % 7 == 1 else None,
        ended_at=at(30 - n + n % 6) if n % 4 else None,
        environment=["prod", "test", None][n % 3],
        release=["1", "2"][n // 2 % 2],
        metadata=[b"{}", b'{"k": "v", "t": true}', b'{"k": 7, "t": null}'][n // 3 % 3],
        spans=(span(model=["gpt-5", None][n % 2], status=[None, SpanStatus.ERROR][n % 11 == 3]),),
    )
    for n in range(30)
]  # fmt: skip


@pytest.mark.parametrize(
    "selection",
    [
        TraceSelection(),
        TraceSelection(date_from=since(5), date_to=since(12)),
        TraceSelection(date_from=since(12), date_to=since(5)),
        TraceSelection(status=TraceStatus.ERROR),
        TraceSelection(session_id=""),
        TraceSelection(session_id="é", user_id="u1"),
        TraceSelection(tags=("y", "none")),
        TraceSelection(tags=()),
        TraceSelection(name="STRASSE"),
        TraceSelection(name="%"),
        TraceSelection(name="_", tags=("x",), date_from=since(3)),
        TraceSelection(name="nothing has it"),
        TraceSelection(name=""),
        TraceSelection(environment="prod"),
        TraceSelection(release="2", has_error=False),
        TraceSelection(has_error=True),
        TraceSelection(has_failed_span=True),
        TraceSelection(has_failed_span=False, has_error=True),
        TraceSelection(model="gpt-5"),
        TraceSelection(min_latency_ms=2_000, max_latency_ms=4_000),
        TraceSelection(min_latency_ms=1e300),
        TraceSelection(metadata=(("k", ("v", "7")), ("t", ("true",)))),
        TraceSelection(metadata=()),
        TraceSelection(started_after=since(5), started_before=since(12)),
        TraceSelection(started_after=since(5), date_from=since(8), date_to=since(20)),
        TraceSelection(started_before=since(9), date_to=since(12), release="1"),
    ],
)
async def test_selected_traces_are_those_the_list_shows(evaluating, selection):
    ours, theirs = project(), project()
    await fill(evaluating.plane, ours, *TRACES)
    await fill(evaluating.plane, theirs, trace(name="straße %_\\", tags=("x", "y")))
    settled = [one.settled(prices().price) for one in TRACES]
    expected = sorted(str(one.id) for one in settled if selection.matching.matches(one))
    assert await evaluating.targets.traces(ours, selection, LIMIT) == expected
    assert await evaluating.targets.traces(ours, selection, 2) == expected[:3]
    assert await evaluating.targets.count(ours, selection, LIMIT) == len(expected)
    assert await evaluating.targets.count(ours, selection, 2) == len(expected[:3])


@pytest.mark.parametrize(
    "selection",
    [
        SessionSelection(),
        SessionSelection(user_id="u1"),
        SessionSelection(tags=("y",)),
        SessionSelection(tags=()),
        SessionSelection(has_error=True),
        SessionSelection(has_error=False),
        SessionSelection(has_error=True, date_from=since(10), date_to=since(25)),
        SessionSelection(has_error=False, user_id="u0", tags=("x",)),
        SessionSelection(min_trace_count=1),
        SessionSelection(min_trace_count=7),
        SessionSelection(min_trace_count=3, date_from=since(18)),
        SessionSelection(min_trace_count=2, date_to=since(12)),
        SessionSelection(min_trace_count=4, user_id="u0", has_error=True),
        SessionSelection(date_from=since(25), date_to=since(3)),
        SessionSelection(started_after=since(5), started_before=since(12)),
        SessionSelection(started_after=since(5), date_from=since(20)),
        SessionSelection(has_failed_span=True),
        SessionSelection(has_failed_span=False, has_error=True),
        SessionSelection(query="É"),
        SessionSelection(query="n", has_error=False),
        SessionSelection(query="%"),
        SessionSelection(query=""),
    ],
)
async def test_selected_sessions_are_those_whose_traces_match(evaluating, selection):
    ours, theirs = project(), project()
    await fill(evaluating.plane, ours, *TRACES, trace(session_id="lone", started_at=at(20)))
    await fill(evaluating.plane, theirs, trace(session_id="theirs", started_at=at(20)))
    sent = [*TRACES, trace(session_id="lone", started_at=at(20))]
    expected = select_sessions([one.settled(prices().price) for one in sent], selection)
    assert await evaluating.targets.sessions(ours, selection, LIMIT) == expected
    assert await evaluating.targets.sessions(ours, selection, 1) == expected[:2]
    assert await evaluating.targets.count(ours, selection, LIMIT) == len(expected)
    assert await evaluating.targets.count(ours, selection, 1) == len(expected[:2])


@pytest.mark.parametrize("rate", [0.0, 1e-300, 0.1, 0.29, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("least", [0, 1, 40])
async def test_sample_is_that_of_the_domain(evaluating, rate, least):
    ours = project()
    await fill(evaluating.plane, ours, *TRACES)
    sample, wanted = Sample(rate, "salt é", least), TraceSelection(session_id="é")
    listed = {TraceSelection(): sorted(str(one.id) for one in TRACES)}
    listed[wanted] = await evaluating.targets.traces(ours, wanted, LIMIT)
    for selection, matching in listed.items():
        found = await evaluating.targets.traces(ours, selection, LIMIT, sample=sample)
        assert tuple(found) == sample.select(matching)
    sessions = await evaluating.targets.sessions(ours, SessionSelection(), LIMIT)
    found = await evaluating.targets.sessions(ours, SessionSelection(), LIMIT, sample=sample)
    assert tuple(found) == sample.select(sessions)


async def test_sample_may_be_of_more_than_the_limit(evaluating):
    ours = project()
    await fill(evaluating.plane, ours, *TRACES)
    matching = sorted(str(one.id) for one in TRACES)
    small, large = Sample(0.1, "salt"), Sample(0.2, "salt")
    found = await evaluating.targets.traces(ours, TraceSelection(), 3, sample=small)
    assert (tuple(found), len(found)) == (small.select(matching), 3)
    found = await evaluating.targets.traces(ours, TraceSelection(), 3, sample=large)
    assert (len(found), set(found) <= set(large.select(matching))) == (4, True)


# --- evaluated traces ------------------------------------------------------------------------


async def test_trace_is_read_in_full(evaluating):
    ours = project()
    sent = trace(
        span(started_at=at(1), input=b'{"a": 1.50}', output=b"[]"),
        span(started_at=at(0), metadata=b'{"k": "v"}'),
        input=b'"ask"',
        output=b'"answer"',
    )
    await fill(evaluating.plane, ours, sent)
    found = await evaluating.targets.load_trace(ours, sent.id)
    assert found == EvaluatedTrace(await evaluating.plane.traces.get(ours, sent.id))


async def test_deleted_trace_fails_as_target_gone(evaluating):
    ours, theirs, sent = project(), project(), trace()
    await fill(evaluating.plane, theirs, sent)
    for one in (sent.id, trace_id()):
        found = await evaluating.targets.load_trace(ours, one)
        assert found == Failed(FailCode.TARGET_GONE)


async def test_trace_with_too_many_spans_is_skipped(evaluating):
    ours = project()
    most = trace(*(span() for _ in range(SPANS_MAX)))
    more = trace(*(span() for _ in range(SPANS_MAX + 1)))
    await fill(evaluating.plane, ours, most, more)
    assert isinstance(await evaluating.targets.load_trace(ours, most.id), EvaluatedTrace)
    found = await evaluating.targets.load_trace(ours, more.id)
    assert found == Skipped(SkipCode.TRACE_TOO_LARGE)


async def test_trace_with_too_many_bytes_is_skipped(evaluating):
    ours, large = project(), trace(span(input=b'"' + b"x" * 10_000 + b'"'))
    await fill(evaluating.plane, ours, large)
    enough, fewer = (replace(evaluating.targets, bytes_max=most) for most in (12_000, 9_000))
    assert isinstance(await enough.load_trace(ours, large.id), EvaluatedTrace)
    assert await fewer.load_trace(ours, large.id) == Skipped(SkipCode.TRACE_TOO_LARGE)


async def test_trace_comes_with_earlier_outputs_of_its_session(evaluating):
    ours = project()
    ids = sorted(trace_id() for _ in range(RECENT_OUTPUTS_MAX + 3))
    # The last two start at once, so their ids decide.
    sent = [
        trace(
            id=ids[n],
            session_id="s",
            started_at=at(min(n, RECENT_OUTPUTS_MAX + 1)),
            output=None if n == 2 else f'"said {n}"'.encode(),
        )
        for n in range(RECENT_OUTPUTS_MAX + 3)
    ]
    elsewhere = trace(session_id="t", started_at=at(1), output=b'"elsewhere"')
    alone = trace(started_at=at(1), output=b'"alone"')
    await fill(evaluating.plane, ours, *sent, elsewhere, alone)
    await fill(evaluating.plane, project(), trace(session_id="s", output=b'"theirs"'))

    async def earlier(of):
        found = await evaluating.targets.load_trace(ours, of.id)
        assert isinstance(found, EvaluatedTrace)
        return list(found.earlier_outputs)

    assert await earlier(sent[0]) == []
    assert await earlier(sent[1]) == ["said 0"]
    assert await earlier(sent[RECENT_OUTPUTS_MAX]) == ["said 0", "said 1", ""]
    assert await earlier(sent[-1]) == ["", "said 3", "said 4"]
    assert await earlier(elsewhere) == await earlier(alone) == []


async def test_earlier_output_is_read_from_span(evaluating):
    ours = project()
    agent_span = span(kind="AGENT", output=b'{"role":"assistant","content":"hello"}')
    before = trace(agent_span, session_id="s")
    after = trace(session_id="s", started_at=at(1))
    await fill(evaluating.plane, ours, before, after)
    found = await evaluating.targets.load_trace(ours, after.id)
    assert found.earlier_outputs == ["hello"]


async def test_earlier_trace_with_too_many_spans_is_read_without_spans(evaluating):
    ours = project()
    roots = [span(kind="AGENT", output=b'"from a span"')]
    inner = [span(parent_id=roots[0].id) for _ in range(SPANS_MAX)]
    large = trace(*roots, *inner, session_id="s")
    with_output = trace(*roots, *inner, session_id="s", started_at=at(1), output=b'"of its own"')
    after = trace(session_id="s", started_at=at(2))
    await fill(evaluating.plane, ours, large, with_output, after)
    found = await evaluating.targets.load_trace(ours, after.id)
    assert found.earlier_outputs == ["", "of its own"]


async def test_earlier_trace_with_too_many_bytes_is_read_without_spans(evaluating):
    ours, root = project(), span(kind="AGENT", output=b'"from a span"')
    large = trace(root, span(parent_id=root.id, error="x" * 10_000), session_id="s")
    after = trace(session_id="s", started_at=at(1))
    await fill(evaluating.plane, ours, large, after)
    for most, outputs in ((20_000, ["from a span"]), (9_000, [""])):
        targets = replace(evaluating.targets, bytes_max=most)
        found = await targets.load_trace(ours, after.id)
        assert found.earlier_outputs == outputs


async def test_session_traces_come_in_order(evaluating):
    ours = project()
    sent = [trace(session_id="s", started_at=at(n // 2)) for n in range(6)]
    await fill(evaluating.plane, ours, *reversed(sent), trace(session_id="t"), trace())
    await fill(evaluating.plane, project(), trace(session_id="s"))
    expected = [one.id for one in sorted(sent, key=lambda one: (one.started_at, one.id))]
    assert await evaluating.targets.session_traces(ours, "s") == expected
    assert await evaluating.targets.session_traces(ours, "nobody's") == []


@pytest.mark.slow
async def test_too_large_session_returns_one_trace_over_limit(evaluating):
    ours = project()
    sent = [trace(session_id="s", started_at=at(n)) for n in range(SESSION_TRACES_MAX + 2)]
    await fill(evaluating.plane, ours, *sent)
    found = await evaluating.targets.session_traces(ours, "s")
    assert found == [one.id for one in sent[: SESSION_TRACES_MAX + 1]]


async def test_targets_of_removed_project_are_not_found(evaluating):
    ours, sent = project(), trace(session_id="s")
    await fill(evaluating.plane, ours, sent)
    await evaluating.remove(ours)
    assert await evaluating.targets.traces(ours, TraceSelection(), LIMIT) == []
    assert await evaluating.targets.sessions(ours, SessionSelection(), LIMIT) == []
    assert await evaluating.targets.session_traces(ours, "s") == []
    assert await evaluating.targets.load_trace(ours, sent.id) == Failed(FailCode.TARGET_GONE)
