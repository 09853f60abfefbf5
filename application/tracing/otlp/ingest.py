"""Ingestion of OTLP requests. An outcome means that everything is stored, rejected or ignored."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from application.concurrency import compute, gather_limited
from application.tracing.otlp.ports import OtlpTraces
from domain.errors import Invalid
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Fragment
from domain.tracing.otel.requests import (
    DecodedRequest,
    Encoding,
    NothingStored,
    OtlpCodec,
    Rejection,
    RejectionReason,
    Signal,
    first_rejections,
)

DECODED_ON_LOOP_MAX: Final = 64 << 10  # bytes of a body, whose decoding takes some milliseconds
FRAGMENTS_ON_LOOP_MAX: Final = 5_000  # grouping as many by their traces takes 3 ms
CONCURRENT_PUTS_MAX: Final = 64  # traces of a request; so many are committed together


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOutcome:
    """The result for the spans or records of a request.

    `rejections` lists some of the rejected ones, and `rejected_by` counts all of them, as in
    DecodedRequest.
    """

    stored: int
    ignored: int
    rejections: Sequence[Rejection]
    rejected_by: Mapping[tuple[RejectionReason, str], int]
    refused_traces: Collection[TraceId] = ()  # which can't be stored

    @property
    def rejected(self) -> int:
        return sum(self.rejected_by.values())


@dataclass(frozen=True, slots=True)
class DecodeOtlpRequest:
    """Decodes a request; a large one in a thread."""

    codec: OtlpCodec

    async def __call__(
        self, signal: Signal, encoding: Encoding, body: bytes, items_max: int
    ) -> DecodedRequest:
        """Raises UnacceptableRequest if nothing of it can be stored."""
        is_long = len(body) > DECODED_ON_LOOP_MAX
        decode = self.codec.decode
        request = await compute(decode, signal, encoding, body, items_max, is_long=is_long)
        if request.is_all_rejected:
            raise NothingStored(request.rejections, request.rejected_by)
        return request


@dataclass(frozen=True, slots=True)
class StoreOtlpRequest:
    """Stores the fragments of a request, those of each trace in one transaction."""

    traces: OtlpTraces

    async def __call__(self, project: ProjectId, request: DecodedRequest) -> IngestOutcome:
        """Idempotent. A trace that can't be stored is rejected, and the others are stored.

        Raises NothingStored if everything is rejected, NotFound if the project was removed, and
        Unavailable, after which some traces may be stored.
        """
        is_long = len(request.fragments) > FRAGMENTS_ON_LOOP_MAX
        by_trace = await compute(_group_by_trace, request.fragments, is_long=is_long)
        puts = [partial(self._put, project, *one) for one in by_trace.items()]
        results = await gather_limited(CONCURRENT_PUTS_MAX, puts)
        refused = [one for one in results if one is not None]
        rejected_by = Counter(request.rejected_by)
        for one in refused:
            rejected_by[one.reason, ""] += one.count
        rejections = first_rejections([*request.rejections, *refused])
        stored = request.accepted - sum(one.count for one in refused)
        if rejections and not stored and not request.ignored:
            raise NothingStored(rejections, rejected_by)
        return IngestOutcome(
            stored=stored,
            ignored=request.ignored,
            rejections=rejections,
            rejected_by=rejected_by,
            refused_traces={
                trace for trace, one in zip(by_trace, results, strict=True) if one is not None
            },
        )

    async def _put(
        self, project: ProjectId, trace: TraceId, fragments: Sequence[Fragment]
    ) -> Rejection | None:
        try:
            await self.traces.put(project, trace, fragments)
        except Invalid as invalid:
            return Rejection(
                reason=RejectionReason.NOT_STORABLE,
                message="; ".join(one.message for one in invalid.errors),
                count=len(fragments),
                trace_id=trace.hex,
                span_id=fragments[0].span_id if len(fragments) == 1 else None,
            )
        return None


def _group_by_trace(fragments: Iterable[Fragment]) -> dict[TraceId, list[Fragment]]:
    by_trace: dict[TraceId, list[Fragment]] = {}
    for fragment in fragments:
        by_trace.setdefault(fragment.trace_id, []).append(fragment)
    return by_trace
