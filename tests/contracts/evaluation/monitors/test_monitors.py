"""Contract of Monitors, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest

from application.evaluation.ports.monitors import DUE_MAX
from domain.errors import Invalid, NotFound, Unavailable
from domain.evaluation.monitors.monitor import MonitorStatus, Watermark
from domain.evaluation.runs.run import RunStatus, TargetType
from domain.evaluation.runs.selection import GivenInstant, SessionSelection, TraceSelection
from domain.ids import MonitorId, RunId
from domain.page import PageRequest
from domain.tracing.trace import TraceStatus
from tests.support.builders.values import NOON, at
from tests.support.fixtures.data_plane import project, read_all_pages
from tests.support.fixtures.evaluation.evaluation import later, work_of
from tests.support.fixtures.evaluation.monitors import a_monitor, run_of
from tests.support.waiting import until_done

ACTIVE, PAUSED = MonitorStatus
ALL = PageRequest(limit=200)
MARK = Watermark(at(5), uuid.UUID(int=5))
MONITOR_VARIANTS = [
    {},
    {
        "name": "weekly 🐼",
        "selection": TraceSelection(
            date_from=GivenInstant("2026-03-01", at(0)),
            date_to=GivenInstant(1772668800.5, at(1)),
            status=TraceStatus.ERROR,
            session_id="",
            user_id="ü",
            tags=("a", ""),
            name="%",
            environment="",
            release="1.4",
            started_after=GivenInstant("2026-03-02", at(2)),
            started_before=GivenInstant("2026-03-03", at(3)),
            model="gpt-5",
            min_latency_ms=0.5,
            max_latency_ms=1e300,
            has_error=False,
            metadata=(("k", ("v", "")), ("", ())),
        ),
        "sampling_rate": 0.29,
        "model": "gpt-5",
        "votes": 5,
        "max_cost_usd": Decimal("0.000001"),
        "cadence": "cron:0  6 * * MON",
        "only_if_changed": False,
        "status": PAUSED,
        "next_run_at": None,
        "last_run_at": at(7),
        "last_run_id": RunId(uuid.UUID(int=3)),
        "empty_slots": 3,
        "watermark": MARK,
    },
    {"selection": TraceSelection(tags=())},
    {
        "target_type": TargetType.SESSION,
        "selection": SessionSelection(
            date_from=GivenInstant(1772668800, at(0)),
            user_id="u",
            has_error=False,
            tags=("x",),
            min_trace_count=3,
            started_after=GivenInstant("2026-03-02", at(2)),
            started_before=GivenInstant("2026-03-03", at(3)),
            query="é%",
        ),
        "signal_weights": {"confidence": 0.5, "other": 1e300},
    },
]


# --- creating, reading, editing ----------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides", MONITOR_VARIANTS, ids=["usual", "full", "untagged", "sessions"]
)
async def test_reads_return_monitor_as_created(monitoring, overrides):
    made = a_monitor(project(), **overrides)
    assert await monitoring.monitors.create(made) == made
    assert await monitoring.monitors.get(made.project_id, made.id) == made
    page = await monitoring.monitors.page(made.project_id, None, ALL)
    assert (list(page.items), page.total, page.end) == ([made], 1, None)


async def test_create_with_existing_id_returns_stored_monitor(monitoring):
    made = await monitoring.create_monitor(project())
    again = replace(made, name="other", created_at=later(hours=1))
    assert await monitoring.monitors.create(again) == made
    theirs = replace(made, project_id=project(), name="of another project")
    assert await monitoring.monitors.create(theirs) == theirs
    assert await monitoring.monitors.get(made.project_id, made.id) == made


async def test_monitors_of_another_project_are_not_found(monitoring):
    made, theirs = await monitoring.create_monitor(project()), project()
    moved = replace(made, project_id=theirs)
    for ask in (
        monitoring.monitors.get(theirs, made.id),
        monitoring.monitors.edit(theirs, made.id, lambda one: replace(one, name="mine")),
        monitoring.monitors.runs(theirs, made.id, ALL),
    ):
        with pytest.raises(NotFound):
            await ask
    assert not await monitoring.monitors.delete(theirs, made.id)
    assert not await monitoring.monitors.store_run(moved, moved.paused(NOON), None, [])
    assert (await monitoring.monitors.page(theirs, None, ALL)).total == 0
    assert await monitoring.monitors.get(made.project_id, made.id) == made


async def test_pages_are_newest_first_and_filtered_by_status(monitoring):
    ours = project()
    made = []
    for n in range(7):  # two at each instant
        overrides = {"status": PAUSED, "next_run_at": None} if n % 3 == 0 else {}
        made.append(await monitoring.create_monitor(ours, created_at=at(n // 2), **overrides))
    await monitoring.create_monitor(project())
    made.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    for status in (None, ACTIVE, PAUSED):
        expected = [one for one in made if status in {None, one.status}]
        by_position, by_offset = await read_all_pages(
            lambda window, status=status: monitoring.monitors.page(ours, status, window), 2
        )
        assert by_position == by_offset == expected


async def test_edit_is_stored(monitoring):
    made = await monitoring.create_monitor(project())
    edited = await monitoring.monitors.edit(
        made.project_id, made.id, lambda one: one.paused(later(hours=1))
    )
    assert edited == made.paused(later(hours=1))
    assert await monitoring.monitors.get(made.project_id, made.id) == edited


async def test_error_in_edit_changes_nothing(monitoring):
    made = await monitoring.create_monitor(project())

    def refuse(_):
        raise Invalid("no")

    with pytest.raises(Invalid, match="no"):
        await monitoring.monitors.edit(made.project_id, made.id, refuse)
    assert await monitoring.monitors.get(made.project_id, made.id) == made


async def test_concurrent_edits_lose_no_update(monitoring):
    made = await monitoring.create_monitor(project(), name="")
    await asyncio.gather(
        *(
            monitoring.monitors.edit(
                made.project_id, made.id, lambda one: replace(one, name=one.name + "x")
            )
            for _ in range(8)
        )
    )
    assert (await monitoring.monitors.get(made.project_id, made.id)).name == "x" * 8


# --- due monitors ------------------------------------------------------------------------------


async def due_of(monitoring, projects, now):
    """Returns the due monitors of some projects, in order."""
    found, last = [], None
    while some := await monitoring.monitors.list_due(now, last):
        found += [one for one in some if one.project_id in projects]
        last = some[-1]
    return found


async def test_due_monitors_come_longest_due_first_across_projects(monitoring):
    ours, theirs = project(), project()
    second = await monitoring.create_monitor(ours, next_run_at=NOON)
    first = await monitoring.create_monitor(theirs, next_run_at=at(-9))
    third = await monitoring.create_monitor(ours, next_run_at=at(1))
    await monitoring.create_monitor(ours, next_run_at=at(2))
    await monitoring.create_monitor(ours, status=PAUSED, next_run_at=None)
    await monitoring.create_monitor(ours, status=PAUSED, next_run_at=at(-9))  # it was triggered
    assert await due_of(monitoring, {ours, theirs}, at(1)) == [first, second, third]
    assert await due_of(monitoring, {ours, theirs}, at(-10)) == []


async def test_due_monitors_are_paged(monitoring):
    ours = project()
    made = [
        a_monitor(ours, id=MonitorId(uuid.UUID(int=n)), next_run_at=at(-10_000 + n % 3))
        for n in range(5)
    ]
    for one in made:
        await monitoring.monitors.create(one)
    made.sort(key=lambda one: (one.next_run_at, one.id))
    for last, following in pairwise(made):
        found = await monitoring.monitors.list_due(at(-9_000), last)
        assert next(one for one in found if one.project_id == ours) == following
        assert len(found) <= DUE_MAX


async def test_monitors_of_removed_project_are_not_found_or_created(monitoring):
    made = await monitoring.create_monitor(project(), next_run_at=at(-20_000))
    await monitoring.evaluating.remove(made.project_id)
    with pytest.raises(NotFound):
        await monitoring.monitors.get(made.project_id, made.id)
    assert await due_of(monitoring, {made.project_id}, at(-19_000)) == []
    assert (await monitoring.monitors.page(made.project_id, None, ALL)).total == 0
    assert not await monitoring.monitors.store_run(made, made.paused(NOON), None, [])
    assert not await monitoring.monitors.delete(made.project_id, made.id)
    with pytest.raises(Unavailable):
        await monitoring.create_monitor(made.project_id)


# --- firing ------------------------------------------------------------------------------------


async def test_firing_stores_monitor_and_run_together(monitoring):
    made = await monitoring.create_monitor(project())
    run = run_of(made)
    after = made.fired(at(3), run.id, MARK)
    assert await monitoring.monitors.store_run(made, after, run, work_of(run))
    assert await monitoring.monitors.get(made.project_id, made.id) == after
    assert await monitoring.evaluating.run(run) == run
    await until_done(monitoring.evaluating.work_queue.plan, run.project_id, run.id, NOON)
    due = await monitoring.evaluating.work_queue.dispatch(run.project_id, NOON)
    assert [one.target for one in due] == [one.target for one in work_of(run)]


async def test_firing_without_run_stores_monitor(monitoring):
    made = await monitoring.create_monitor(project())
    after = made.fired(at(3), None, None)
    assert await monitoring.monitors.store_run(made, after, None, [])
    assert await monitoring.monitors.get(made.project_id, made.id) == after
    assert (await monitoring.monitors.runs(made.project_id, made.id, ALL)).total == 0


async def test_firing_stores_failed_run_as_given(monitoring):
    made = await monitoring.create_monitor(project())
    run = run_of(made, 0).failed("too much matches", NOON)
    assert await monitoring.monitors.store_run(made, made.fired(NOON, run.id, None), run, [])
    stored = await monitoring.evaluating.run(run)
    assert (stored.status, stored.error_message) == (RunStatus.FAILED, "too much matches")


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda one: one.paused(NOON),
        lambda one: replace(one, name="edited"),
        lambda one: one.fired(NOON, RunId(uuid.UUID(int=9)), None),
        lambda one: replace(
            one, selection=TraceSelection(date_from=GivenInstant("2026-03-02", NOON))
        ),
    ],
    ids=["paused", "edited", "fired", "narrowed"],
)
async def test_firing_after_concurrent_change_stores_nothing(monitoring, meanwhile):
    before = await monitoring.create_monitor(project())
    known = await monitoring.monitors.edit(before.project_id, before.id, meanwhile)
    run = run_of(before)
    assert not await monitoring.monitors.store_run(
        before, before.fired(at(3), run.id, MARK), run, work_of(run)
    )
    assert await monitoring.monitors.get(before.project_id, before.id) == known
    with pytest.raises(NotFound):
        await monitoring.evaluating.run(run)


async def test_deleted_monitor_does_not_fire(monitoring):
    made = await monitoring.create_monitor(project())
    assert await monitoring.monitors.delete(made.project_id, made.id)
    run = run_of(made)
    assert not await monitoring.monitors.store_run(
        made, made.fired(at(3), run.id, MARK), run, work_of(run)
    )
    with pytest.raises(NotFound):
        await monitoring.evaluating.run(run)


async def test_firing_with_existing_run_id_stores_nothing(monitoring):
    made = await monitoring.create_monitor(project())
    run = run_of(made)
    first = made.fired(at(3), run.id, MARK)
    assert await monitoring.monitors.store_run(made, first, run, work_of(run))
    other = run_of(made, 5, id=run.id)
    assert not await monitoring.monitors.store_run(
        first, first.fired(later(hours=6), run.id, MARK), other, work_of(other)
    )
    assert await monitoring.monitors.get(made.project_id, made.id) == first
    assert await monitoring.evaluating.run(run) == run


async def test_of_concurrent_schedulers_one_uses_the_slot(monitoring):
    made = await monitoring.create_monitor(project())
    runs = [run_of(made) for _ in range(6)]
    won = await asyncio.gather(
        *(
            monitoring.monitors.store_run(made, made.fired(at(3), run.id, MARK), run, work_of(run))
            for run in runs
        )
    )
    assert sorted(won) == [False] * 5 + [True]
    page = await monitoring.monitors.runs(made.project_id, made.id, ALL)
    assert [one.run for one in page.items] == [runs[won.index(True)]]


# --- runs of a monitor -------------------------------------------------------------------------


async def fire_times(monitoring, known, count):
    runs = []
    for n in range(count):
        run = run_of(known, 1, created_at=at(n // 2))
        after = known.fired(known.next_run_at, run.id, None)
        assert await monitoring.monitors.store_run(known, after, run, work_of(run))
        known = after
        runs.append(run)
    return known, runs


async def test_runs_are_listed_newest_first(monitoring):
    known, runs = await fire_times(monitoring, await monitoring.create_monitor(project()), 5)
    await fire_times(monitoring, await monitoring.create_monitor(known.project_id), 1)
    runs.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    by_position, by_offset = await read_all_pages(
        lambda window: monitoring.monitors.runs(known.project_id, known.id, window), 2
    )
    assert [one.run for one in by_position] == [one.run for one in by_offset] == runs


async def test_deleting_monitor_keeps_its_runs_without_monitor(monitoring):
    known, runs = await fire_times(monitoring, await monitoring.create_monitor(project()), 3)
    other, [theirs] = await fire_times(
        monitoring, await monitoring.create_monitor(known.project_id), 1
    )
    await monitoring.evaluating.start_run(runs[0], [])
    assert await monitoring.monitors.delete(known.project_id, known.id)
    assert not await monitoring.monitors.delete(known.project_id, known.id)
    with pytest.raises(NotFound):
        await monitoring.monitors.runs(known.project_id, known.id, ALL)
    assert await monitoring.evaluating.run(runs[1]) == replace(runs[1], monitor_id=None)
    assert (await monitoring.evaluating.run(runs[0])).status is RunStatus.RUNNING
    assert (await monitoring.evaluating.run(theirs)).monitor_id == other.id
