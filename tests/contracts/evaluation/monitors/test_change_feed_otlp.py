"""Contract of ChangeFeed on traces that came by OpenTelemetry, run against every adapter.

Nothing waits: a watermark in the future is read as if it were that late.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from domain.evaluation.monitors.monitor import Watermark
from domain.evaluation.runs.selection import Eligibility, SessionSelection, TraceSelection
from domain.ids import ProjectId
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.values import trace, trace_id
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation.monitors import Monitoring, over_postgres
from tests.support.waiting import until_done

QUIET: Final = timedelta(seconds=30)
MONITORED: Final = Eligibility(includes_setup=False)
ANY: Final = replace(MONITORED, settled_only=False)
FAR_FUTURE: Final = datetime.now(UTC) + timedelta(days=400)
SESSION: Final = {"session.id": "s"}


def later(mark: Watermark, by: timedelta) -> Watermark:
    return replace(mark, written_at=mark.written_at + by)


async def put(
    monitoring: Monitoring, project_id: ProjectId, id_: Any, attributes: Any = SESSION, **said: Any
) -> None:
    plane = monitoring.evaluating.plane
    await plane.otlp.put(project_id, id_, fragments(id_, sent_span(attributes, **said)))


async def found(
    monitoring: Monitoring,
    project_id: ProjectId,
    after: Watermark | None,
    upto: Watermark,
    eligibility: Eligibility = MONITORED,
) -> tuple[list[str], list[str]]:
    """The traces and the sessions that a monitor finds between two looks."""
    targets = monitoring.changed.targets
    traces = await targets(project_id, TraceSelection(), after, upto, 99, eligibility=eligibility)
    sessions = await targets(
        project_id, SessionSelection(), after, upto, 99, eligibility=eligibility
    )
    return list(traces), list(sessions)


async def test_ended_trace_is_found_once_after_quiet_time(monitoring):
    ours, id_ = project(), trace_id()
    await put(monitoring, ours, id_)
    first = await monitoring.changed.readable_until()
    second, third = later(first, QUIET), later(first, 9 * QUIET)
    assert await found(monitoring, ours, None, first) == ([], [])
    assert await found(monitoring, ours, first, second) == ([str(id_)], ["s"])
    assert await found(monitoring, ours, second, third) == ([], [])
    assert await found(monitoring, ours, None, third) == ([str(id_)], ["s"])


async def test_fragment_after_a_look_makes_the_trace_wait_and_be_found_again(monitoring):
    ours, id_ = project(), trace_id()
    await put(monitoring, ours, id_)
    first = await monitoring.changed.readable_until()
    await put(monitoring, ours, id_, SESSION, span_id="00000000000000ff", name="late")
    second = await monitoring.changed.readable_until()
    assert await found(monitoring, ours, None, second) == ([], [])
    assert await found(monitoring, ours, later(first, QUIET), later(second, QUIET)) == (
        [str(id_)],
        ["s"],
    )


async def test_repeated_fragment_changes_nothing(monitoring):
    ours, id_ = project(), trace_id()
    await put(monitoring, ours, id_)
    edge = later(await monitoring.changed.readable_until(), QUIET)
    await put(monitoring, ours, id_)
    assert await found(monitoring, ours, edge, later(edge, 9 * QUIET)) == ([], [])


async def test_open_trace_is_found_after_a_worker_settled_it(monitoring):
    ours, id_ = project(), trace_id()
    await put(monitoring, ours, id_, end_ns=0)
    first = await monitoring.changed.readable_until()
    assert await found(monitoring, ours, None, later(first, 9 * QUIET)) == ([], [])
    await until_done(monitoring.evaluating.plane.otlp.settle_open_traces, FAR_FUTURE)
    second = await monitoring.changed.readable_until()
    assert await found(monitoring, ours, first, second) == ([str(id_)], ["s"])


async def test_native_traces_are_found_by_their_writes(monitoring):
    ours, native = project(), trace(session_id="s")
    await fill(monitoring.evaluating.plane, ours, native)
    edge = await monitoring.changed.readable_until()
    for eligibility in (MONITORED, ANY):
        assert await found(monitoring, ours, None, edge, eligibility) == ([str(native.id)], ["s"])
        late = later(edge, 9 * QUIET)
        assert await found(monitoring, ours, edge, late, eligibility) == ([], [])


async def test_session_waits_for_its_last_trace(monitoring):
    ours, native, id_ = project(), trace(session_id="s"), trace_id()
    await fill(monitoring.evaluating.plane, ours, native)
    await put(monitoring, ours, id_)
    first = await monitoring.changed.readable_until()
    assert await found(monitoring, ours, None, first) == ([str(native.id)], [])
    assert await found(monitoring, ours, first, later(first, QUIET)) == ([str(id_)], ["s"])


async def test_unsettled_traces_are_found_if_asked(monitoring):
    ours, ended, is_open = project(), trace_id(), trace_id()
    await put(monitoring, ours, ended)
    await put(monitoring, ours, is_open, SESSION, end_ns=0)
    edge = await monitoring.changed.readable_until()
    expected = sorted([str(ended), str(is_open)])
    assert await found(monitoring, ours, None, edge, ANY) == (expected, ["s"])
    assert await found(monitoring, ours, edge, later(edge, QUIET), ANY) == ([], [])


async def test_setup_traces_are_left_out(monitoring):
    ours, setup = project(), trace_id()
    await put(monitoring, ours, setup, SESSION | {"gen_ai.operation.name": "create_agent"})
    edge = later(await monitoring.changed.readable_until(), QUIET)
    assert await found(monitoring, ours, None, edge) == ([], [])
    assert await found(monitoring, ours, None, edge, Eligibility()) == ([str(setup)], [])


AHEAD: Final = "UPDATE traces SET otlp_stored_at = $2 WHERE project_id = $1"


@pytest.mark.service
async def test_clock_of_a_process_that_is_ahead_delays_nothing(pool, serving_pool):
    """The wait ends after the quiet time by PostgreSQL's clock at the latest."""
    ours, id_, tomorrow = project(), trace_id(), datetime.now(UTC) + timedelta(days=1)
    # The serving role looks, as in production: a superuser also sees transactions of other roles,
    # which may run here for other tests and hold the watermark back.
    async with over_postgres(serving_pool) as monitoring:
        await put(monitoring, ours, id_)
        assert await pool.execute(AHEAD, ours, tomorrow) == "UPDATE 1"
        edge = later(await monitoring.changed.readable_until(), QUIET)
        assert await found(monitoring, ours, None, edge) == ([str(id_)], ["s"])
