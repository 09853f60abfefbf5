"""Contract of Rejections and Contract of RejectionLog, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from application.tracing.otlp.rejections import REJECTIONS_KEPT_MAX, Rejections
from domain.ids import ProjectId, RejectionId
from domain.tracing.otel.requests import (
    RecordedRejection,
    Rejection,
    RejectionReason,
    Signal,
)
from tests.contracts.privacy.test_retention import project_keeping_days
from tests.support.builders.values import NOON, trace
from tests.support.fixtures.data_plane import ALL, DataPlane, project, read_all_pages
from tests.support.fixtures.in_memory_app import World
from tests.support.waiting import in_time

KEPT_DAYS = 7


@pytest.fixture
def rejections(plane: DataPlane) -> Rejections:
    return plane.tracing.rejections


def rejected(project_id: ProjectId, at: datetime = NOON, **said: object) -> RecordedRejection:
    given = {"reason": RejectionReason.TOO_DEEP, "message": "values are nested too deeply"}
    return RecordedRejection(
        project_id=project_id,
        id=RejectionId(uuid.uuid4()),
        rejected_at=at,
        signal=Signal.TRACES,
        rejection=Rejection(**given | said),
    )


async def page(
    rejections: Rejections, project_id: ProjectId, reason: RejectionReason | None = None
) -> list[RecordedRejection]:
    return list((await rejections.page(project_id, reason, ALL)).items)


async def test_everything_is_read_back(rejections):
    ours = project()
    full = rejected(
        ours,
        count=7,
        scope="openinference.instrumentation.openai",
        service="shop",
        trace_id="0102",
        span_id="zz",
    )
    bare = replace(rejected(ours, NOON - timedelta(seconds=1)), signal=Signal.LOGS)
    await rejections.add([bare, full])
    assert await page(rejections, ours) == [full, bare]


async def test_equal_ids_add_their_counts(rejections):
    ours, theirs = project(), project()
    first = rejected(ours, count=2)
    later = replace(first, rejected_at=NOON + timedelta(seconds=1))
    await rejections.add([first, rejected(theirs), later])
    await rejections.add([later])
    total = replace(later, rejection=replace(first.rejection, count=6))
    assert await page(rejections, ours) == [total]
    assert await page(rejections, theirs) != []


async def test_texts_of_senders_are_stored_whatever_they_contain(rejections):
    ours = project()
    await rejections.add([rejected(ours, scope="a\0b", service="\ud800", message="\0")])
    [stored] = await page(rejections, ours)
    assert stored.rejection.scope.startswith("a")


async def test_newest_are_first_in_pages(rejections):
    ours, theirs = project(), project()
    sent = [rejected(ours, NOON + timedelta(seconds=n // 3)) for n in range(10)]
    await rejections.add([*sent, rejected(theirs)])

    def read(window):
        return rejections.page(ours, None, window)

    expected = sorted(sent, key=lambda one: (one.rejected_at, one.id), reverse=True)
    assert await read_all_pages(read, 3) == (expected, expected)
    assert len(await page(rejections, theirs)) == 1


async def test_filter_selects_one_reason(rejections):
    ours = project()
    sent = [rejected(ours, reason=reason) for reason in RejectionReason for _ in range(2)]
    await rejections.add(sent)
    for reason in RejectionReason:
        found = await rejections.page(ours, reason, ALL)
        assert (found.total, {one.rejection.reason for one in found.items}) == (2, {reason})


async def test_a_thousand_are_kept_of_each_project(rejections):
    ours, others = project(), project()
    await rejections.add([rejected(others)])
    old = [rejected(ours, NOON + timedelta(seconds=n)) for n in range(REJECTIONS_KEPT_MAX)]
    await rejections.add(old)
    assert (await rejections.page(ours, None, ALL)).total == REJECTIONS_KEPT_MAX
    new = rejected(ours, NOON + timedelta(days=1))
    await rejections.add([new])
    found = await rejections.page(ours, None, ALL)
    assert (found.total, found.items[0]) == (REJECTIONS_KEPT_MAX, new)
    everything, _ = await read_all_pages(lambda window: rejections.page(ours, None, window), 200)
    assert old[0] not in everything
    assert old[1] in everything
    assert len(await page(rejections, others)) == 1


async def test_concurrent_calls_keep_the_maximum(rejections):
    ours = project()
    batches = [[rejected(ours) for _ in range(300)] for _ in range(6)]
    await asyncio.gather(*map(rejections.add, batches))
    await rejections.add([rejected(ours)])
    assert (await rejections.page(ours, None, ALL)).total == REJECTIONS_KEPT_MAX


async def test_log_stores_rejections_a_moment_later(plane, rejections):
    ours, log = project(), plane.tracing.rejection_log
    sent = [rejected(ours, NOON + timedelta(seconds=n)) for n in range(3)]
    log.record(sent[:2])
    log.record(sent[2:])
    async with in_time():
        while len(await page(rejections, ours)) < len(sent):
            await asyncio.sleep(0.01)
    assert await page(rejections, ours) == sent[::-1]


async def test_rejections_of_a_trace_are_deleted_with_it(plane, rejections):
    ours, theirs, one = project(), project(), trace()
    for project_id in (ours, theirs):
        await plane.traces.put(project_id, one)
        await rejections.add(
            [rejected(project_id, trace_id=one.id.hex), rejected(project_id, trace_id="ff")]
        )
    assert await plane.traces.delete(ours, [one.id]) == 1
    assert [kept.rejection.trace_id for kept in await page(rejections, ours)] == ["ff"]
    assert len(await page(rejections, theirs)) == 2


async def test_rejections_older_than_the_retention_are_deleted(world: World):
    rejections = DataPlane.from_ports(world.ports).tracing.rejections
    ours, endless = (
        await project_keeping_days(world, KEPT_DAYS),
        await project_keeping_days(world, None),
    )
    until = NOON + timedelta(days=KEPT_DAYS)
    for project_id in (ours, endless):
        await rejections.add(
            [rejected(project_id, NOON), rejected(project_id, NOON - timedelta(microseconds=1))]
        )
    gone = 0
    while deleted := await rejections.delete_expired(until):
        gone += deleted
    assert gone >= 1
    assert [one.rejected_at for one in await page(rejections, ours)] == [NOON]
    assert len(await page(rejections, endless)) == 2
