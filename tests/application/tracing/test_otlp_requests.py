"""Storing the fragments of OTLP requests, by trace."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.rejections import MemoryRejections
from application.tracing.otlp.ingest import CONCURRENT_PUTS_MAX, StoreOtlpRequest
from application.tracing.otlp.rejections import RecordRejections
from domain.errors import Invalid, Unavailable
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import SentSpan
from domain.tracing.otel.requests import (
    REJECTIONS_LISTED_MAX,
    DecodedRequest,
    NothingStored,
    Rejection,
    RejectionReason,
    describe_rejections,
    first_rejections,
)
from tests.support.builders.otel import SentFragment
from tests.support.builders.values import NOON
from tests.support.fakes.otlp_store import RecordedOtlpTraces

PROJECT = ProjectId(uuid.UUID(int=1))
ERASED = Invalid.field("trace_id", "this trace was erased")


def trace(number: int) -> TraceId:
    return TraceId(uuid.UUID(int=number))


def fragment(index: int, span: int = 1) -> SentFragment:
    return SentFragment(trace(index), SentSpan(span_id=f"{span:016x}", start_ns=1))


def request_of(*fragments: SentFragment, ignored: int = 0, rejected: int = 0) -> DecodedRequest:
    reason = RejectionReason.NO_START_TIME
    return DecodedRequest(
        fragments=fragments,
        rejections=[Rejection(reason=reason, message="none") for _ in range(rejected)],
        rejected_by={(reason, ""): rejected} if rejected else {},
        ignored=ignored,
    )


async def test_fragments_of_a_trace_are_put_together_in_order():
    store = RecordedOtlpTraces()
    sent = [fragment(1, 1), fragment(2, 2), fragment(1, 3)]
    outcome = await StoreOtlpRequest(store)(PROJECT, request_of(*sent, ignored=4))
    assert (outcome.stored, outcome.ignored, outcome.rejected) == (3, 4, 0)
    assert [(project, index) for project, index, _ in store.puts] == [
        (PROJECT, trace(1)),
        (PROJECT, trace(2)),
    ]
    assert [one.span_id for one in store.puts[0][2]] == [f"{1:016x}", f"{3:016x}"]


async def test_refused_trace_is_one_rejection_that_counts_its_fragments():
    store = RecordedOtlpTraces(failures={trace(1): ERASED, trace(3): ERASED})
    sent = [fragment(1, 1), fragment(1, 2), fragment(2), fragment(3, 7)]
    outcome = await StoreOtlpRequest(store)(PROJECT, request_of(*sent, rejected=1))
    assert (outcome.stored, outcome.rejected) == (1, 4)
    refused = [(one.trace_id, one.span_id, one.count) for one in outcome.rejections[1:]]
    assert refused == [(trace(1).hex, None, 2), (trace(3).hex, f"{7:016x}", 1)]
    assert {one.message for one in outcome.rejections[1:]} == {"this trace was erased"}


async def test_nothing_stored_is_an_error_unless_something_was_ignored():
    store = StoreOtlpRequest(RecordedOtlpTraces(failures={trace(1): ERASED}))
    with pytest.raises(NothingStored) as raised:
        await store(PROJECT, request_of(fragment(1), rejected=2))
    assert sum(raised.value.rejected_by.values()) == 3
    assert (await store(PROJECT, request_of(fragment(1), ignored=1))).rejected == 1
    assert (await store(PROJECT, request_of())).stored == 0


async def test_unavailable_store_fails_the_request():
    store = RecordedOtlpTraces(failures={trace(2): Unavailable("full")})
    with pytest.raises(Unavailable):
        await StoreOtlpRequest(store)(PROJECT, request_of(fragment(1), fragment(2)))


@dataclass
class CountingStore(RecordedOtlpTraces):
    """Counts the puts that run at the same time."""

    running: int = 0
    most: int = field(default=0)

    async def put(self, project: ProjectId, trace: TraceId, fragments: Sequence) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        await super().put(project, trace, fragments)
        self.running -= 1


async def test_puts_are_concurrent_within_a_bound():
    store = CountingStore()
    sent = [fragment(number) for number in range(1, 4 * CONCURRENT_PUTS_MAX)]
    await StoreOtlpRequest(store)(PROJECT, request_of(*sent))
    assert len(store.puts) == len(sent)
    assert store.most == CONCURRENT_PUTS_MAX


@pytest.mark.parametrize("count", [0, 1, REJECTIONS_LISTED_MAX, REJECTIONS_LISTED_MAX + 1, 500])
def test_surplus_rejections_become_one(count):
    rejections = [
        Rejection(reason=RejectionReason.TOO_DEEP, message="deep", count=2) for _ in range(count)
    ]
    first = first_rejections(rejections)
    assert len(first) == min(count, REJECTIONS_LISTED_MAX + 1)
    assert sum(one.count for one in first) == 2 * count
    assert first_rejections(first) == first
    assert Counter(one.reason for one in first).keys() <= {RejectionReason.TOO_DEEP}


def test_description_counts_what_it_does_not_show():
    rejections = [
        Rejection(reason=RejectionReason.TOO_DEEP, message="deep", span_id=f"{n:016x}")
        for n in range(12)
    ]
    text = describe_rejections(rejections, 30)
    assert text.startswith("0000000000000000: too_deep (deep); ")
    assert text.endswith("; 20 more")


def test_requests_that_are_refused_within_an_hour_are_one_rejection():
    store, hour = MemoryStore(), timedelta(hours=1)
    times = [NOON, NOON + hour - timedelta.resolution, NOON + hour]
    record = RecordRejections(MemoryRejections(store), iter(times).__next__, uuid.uuid4)
    for _ in times:
        record.count_refused(PROJECT, RejectionReason.RATE_LIMITED, "too many")
    assert [one.rejection.count for one in store.rejections.values()] == [2, 1]
