"""Rejections: when they are written, and what happens while they can't be."""

import logging
import uuid

import pytest

from adapters.caching import rejection_buffer
from adapters.caching.rejection_buffer import BUFFERED_REJECTIONS_MAX, RejectionBuffer
from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.tracing.otel.requests import RecordedRejection
from tests.contracts.tracing.otlp.test_rejections import rejected
from tests.support.waiting import until

PROJECT = ProjectId(uuid.UUID(int=1))


class Written:
    """Rejections that were written; `failure` is raised instead while it is set."""

    def __init__(self) -> None:
        self.rows: list[RecordedRejection] = []
        self.failure: Exception | None = None
        self.attempts = 0

    async def add(self, rejections: list[RecordedRejection]) -> None:
        self.attempts += 1
        if self.failure is not None:
            raise self.failure
        self.rows += rejections


@pytest.fixture
def written() -> Written:
    return Written()


async def test_rejections_are_flushed_periodically_and_in_order(written):
    rows = [rejected(PROJECT) for _ in range(3)]
    async with RejectionBuffer.flushing_to(written, every_s=0.001) as log:
        log.record(rows[:1])
        await until(lambda: written.rows == rows[:1])
        log.record(rows[1:])
        await until(lambda: written.rows == rows)
    assert written.attempts == 2


async def test_rejections_are_passed_on_when_they_are_recorded(written):
    passed = []
    log, one = RejectionBuffer(written, passed.extend), rejected(PROJECT)
    log.record([one])
    assert passed == [one]


async def test_equal_ids_are_written_once_with_the_sum_of_their_counts(written):
    one = rejected(PROJECT, count=2)
    async with RejectionBuffer.flushing_to(written) as log:
        log.record([one])
        log.record([rejected(PROJECT), one])
    assert sorted(row.rejection.count for row in written.rows) == [1, 4]


async def test_many_are_written_in_several_batches(written):
    rows = [rejected(PROJECT) for _ in range(2_500)]
    async with RejectionBuffer.flushing_to(written) as log:
        log.record(rows)
    assert written.rows == rows
    assert written.attempts == 3


@pytest.mark.parametrize("error", [Unavailable("down"), RuntimeError("a fault of ours")])
async def test_failed_write_is_repeated(written, error, caplog):
    written.failure, rows = error, [rejected(PROJECT) for _ in range(3)]
    async with RejectionBuffer.flushing_to(written, every_s=0.001) as log:
        log.record(rows)
        await until(lambda: written.attempts >= 2)
        log.record([rejected(PROJECT)])
        written.failure = None
        await until(lambda: len(written.rows) == 4)
    assert written.rows[:3] == rows
    assert {one.levelno for one in caplog.records} == {logging.WARNING}


async def test_oldest_are_dropped_beyond_the_maximum(written):
    rows = [rejected(PROJECT) for _ in range(BUFFERED_REJECTIONS_MAX + 10)]
    async with RejectionBuffer.flushing_to(written) as log:
        log.record(rows)
    assert written.rows == rows[10:]


async def test_surplus_of_a_failed_write_is_dropped(written):
    written.failure = Unavailable("down")
    rows = [rejected(PROJECT) for _ in range(BUFFERED_REJECTIONS_MAX)]
    async with RejectionBuffer.flushing_to(written, every_s=0.001) as log:
        log.record(rows)
        await until(lambda: written.attempts >= 2)
        log.record(new := [rejected(PROJECT) for _ in range(10)])
        written.failure = None
        await until(lambda: len(written.rows) == BUFFERED_REJECTIONS_MAX)
    assert written.rows[-10:] == new
    assert rejection_buffer.WRITTEN_AT_ONCE_MAX < BUFFERED_REJECTIONS_MAX
