"""Contract of Targets on traces that came by OpenTelemetry, run against every adapter."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.evaluation.runs.selection import SETTLED, Eligibility, SessionSelection, TraceSelection
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.values import trace, trace_id
from tests.support.fixtures.data_plane import fill, project
from tests.support.waiting import until_done

ANY: Final = Eligibility(settled_only=False)
MONITORED: Final = Eligibility(includes_setup=False)
NO_WAIT: Final = timedelta(0)
LIMIT: Final = 100
FAR_FUTURE: Final = datetime.now(UTC) + timedelta(days=400)
CREATES_AGENT: Final = {"gen_ai.operation.name": "create_agent"}


async def put(evaluating, of, id_, attributes=None, **said):
    sent = sent_span({"session.id": "s"} | (attributes or {}), **said)
    await evaluating.plane.otlp.put(of, id_, fragments(id_, sent))


async def traces(targets, of, eligibility=SETTLED):
    return await targets.traces(of, TraceSelection(), LIMIT, eligibility=eligibility)


async def sessions(targets, of, eligibility=SETTLED):
    return await targets.sessions(of, SessionSelection(), LIMIT, eligibility=eligibility)


async def test_native_traces_are_always_settled(evaluating):
    ours, native = project(), trace(session_id="s")
    await fill(evaluating.plane, ours, native)
    for eligibility in (ANY, MONITORED, Eligibility()):
        assert await traces(evaluating.targets, ours, eligibility) == [str(native.id)]
        assert await sessions(evaluating.targets, ours, eligibility) == ["s"]


async def test_ended_trace_is_settled_after_quiet_time(evaluating):
    ours, id_, waiting = project(), trace_id(), evaluating.targets
    await put(evaluating, ours, id_)
    assert (await traces(waiting, ours), await sessions(waiting, ours)) == ([], [])
    assert (await traces(waiting, ours, ANY), await sessions(waiting, ours, ANY)) == (
        [str(id_)],
        ["s"],
    )
    over = replace(waiting, quiet=NO_WAIT)
    assert (await traces(over, ours), await sessions(over, ours)) == ([str(id_)], ["s"])


async def test_open_trace_is_settled_by_worker(evaluating):
    ours, id_ = project(), trace_id()
    over = replace(evaluating.targets, quiet=NO_WAIT)
    await put(evaluating, ours, id_, end_ns=0)
    assert (await traces(over, ours), await sessions(over, ours)) == ([], [])
    await until_done(evaluating.plane.otlp.settle_open_traces, FAR_FUTURE)
    assert (await traces(evaluating.targets, ours)) == [str(id_)]
    assert (await sessions(evaluating.targets, ours)) == ["s"]


async def test_session_waits_for_its_last_trace(evaluating):
    ours, native, other = project(), trace(session_id="s"), trace(session_id="t")
    await fill(evaluating.plane, ours, native, other)
    await put(evaluating, ours, trace_id())
    assert await traces(evaluating.targets, ours) == sorted([str(native.id), str(other.id)])
    assert await sessions(evaluating.targets, ours) == ["t"]
    assert await sessions(evaluating.targets, ours, ANY) == ["s", "t"]


async def test_native_trace_that_spans_join_stays_settled(evaluating):
    ours, native = project(), trace(session_id="s")
    await fill(evaluating.plane, ours, native)
    await put(evaluating, ours, native.id)
    assert await traces(evaluating.targets, ours) == [str(native.id)]


async def test_setup_trace_is_left_out_if_asked(evaluating):
    ours, id_, setup = project(), trace_id(), trace_id()
    over = replace(evaluating.targets, quiet=NO_WAIT)
    await put(evaluating, ours, id_)
    await put(evaluating, ours, setup, CREATES_AGENT | {"session.id": "only setup"})
    assert await traces(over, ours) == sorted([str(id_), str(setup)])
    assert await traces(over, ours, MONITORED) == [str(id_)]
    for eligibility in (Eligibility(), MONITORED):
        assert await sessions(over, ours, eligibility) == ["s"]


async def test_other_projects_hold_back_nothing(evaluating):
    ours, theirs, native = project(), project(), trace(session_id="s")
    await fill(evaluating.plane, ours, native)
    await put(evaluating, theirs, native.id)
    assert await traces(evaluating.targets, ours) == [str(native.id)]
    assert await sessions(evaluating.targets, ours) == ["s"]
