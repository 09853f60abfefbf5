"""The ports of OpenTelemetry ingestion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from domain.errors import Invalid
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Fragment, MapSpan, Sent, SentRecord
from domain.tracing.otel.remapping import FieldChange

BATCH_BYTES: Final = 4 << 20  # of a trace that is stored at once; more is stored in chunks
CHUNK_BYTES: Final = 2 << 20  # of several traces at once, or of a chunk; memory is four times that
SPANS_PER_TRACE_MAX: Final = 50_000  # all are read when one comes: as many take seconds
FRAGMENTS_PER_SPAN_MAX: Final = 10_000  # all are read when one comes
SETTLED_TRACES_MAX: Final = 200  # of one call
DELETED_RECORDS_MAX: Final = 500  # of one call
REMAPPED_TRACES_MAX: Final = 1_000  # of one call
REMAPPED_SPANS_MAX: Final = 2_000  # of one transaction: their traces are locked for a second
CHANGES_SHOWN_MAX: Final = 20  # of one call


@dataclass(frozen=True, slots=True)
class FragmentRules:
    """How fragments become spans, how they are stored, and how many. Implemented by adapters/otlp.

    `encode` gives equal bytes for equal content; `decode` is its inverse. `version` is that of
    `map_span`, which the facts of the spans have.
    """

    map_span: MapSpan
    encode: Callable[[Sent], bytes]
    decode: Callable[[bytes], Sent]
    version: int
    spans_max: int = SPANS_PER_TRACE_MAX
    fragments_max: int = FRAGMENTS_PER_SPAN_MAX

    def check_spans(self, count: int) -> None:
        """Raises Invalid if a trace would have too many spans."""
        if count > self.spans_max:
            message = f"a trace has at most {self.spans_max:,} OpenTelemetry spans"
            raise Invalid.field("spans", message)

    def check_fragments(self, count: int) -> None:
        """Raises Invalid if a span would have too many fragments."""
        if count > self.fragments_max:
            message = f"a span has at most {self.fragments_max:,} fragments, log records included"
            raise Invalid.field("spans", message)


@dataclass(frozen=True, slots=True)
class OrphanedRecord:
    """A log record whose span never came."""

    project: ProjectId
    trace: TraceId
    record: SentRecord


type TracePosition = tuple[ProjectId, TraceId]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemappedTraces:
    """The changes of a call of `OtlpTraces.remap`, made or only found.

    It came to `last`, which is None if no trace follows. `traces` are those that it read;
    `changed_traces` of them have `changed_spans`. `changes` are some of the changed fields.
    """

    last: TracePosition | None
    traces: int = 0
    changed_traces: int = 0
    changed_spans: int = 0
    changes: Sequence[FieldChange] = ()


class OtlpTraces(Protocol):
    """The traces of each project as OpenTelemetry fragments make them.

    A span's row is a function of the set of its fragments, and the row of a trace one of the
    fragments of all its spans: order, splits and repetitions change nothing. Fields of a trace or
    span that a native write changed stay, and native spans are added. The guarantees are those of
    `Traces`, which reads what is stored here. Contract of OtlpTraces:
    tests/contracts/tracing/otlp/test_otlp.py.
    """

    async def put(self, project: ProjectId, trace: TraceId, fragments: Sequence[Fragment]) -> None:
        """Stores the fragments of one trace, and computes its rows, in one transaction.

        Durable on return. A fragment that is stored already changes nothing. A log record whose
        span isn't known waits for it, and makes neither trace nor span. Beyond BATCH_BYTES, decodes
        and maps about CHUNK_BYTES of fragments at a time. Raises Invalid and Unavailable as
        `Traces.put`, Invalid also beyond SPANS_PER_TRACE_MAX and FRAGMENTS_PER_SPAN_MAX.
        """
        ...

    async def settle_open_traces(self, before: datetime) -> int:
        """Settles traces, of all projects, whose root doesn't come or doesn't end; how many.

        These are the open ones without a new fragment since `before`, as `settled_trace` does; the
        oldest first, at most SETTLED_TRACES_MAX. A later fragment undoes it. Several callers at
        once settle different traces. Raises Unavailable.
        """
        ...

    async def delete_orphaned_records(self, before: datetime) -> Sequence[OrphanedRecord]:
        """Deletes log records, of all projects, that have waited for their span since `before`.

        The oldest first, at most DELETED_RECORDS_MAX. Raises Unavailable.
        """
        ...

    async def remap(
        self, project: ProjectId | None, after: TracePosition | None, *, is_dry_run: bool
    ) -> RemappedTraces:
        """Maps the next spans again whose facts have another version than the rules.

        Takes the next traces after `after`, of one project or of all, in the order of their keys:
        at most REMAPPED_TRACES_MAX, with REMAPPED_SPANS_MAX spans, or one that has more. A trace is
        computed again if a span of it changed; whether it is settled stays as it was, and so do
        native changes. Each transaction locks only traces of which spans are mapped, and maps at
        most REMAPPED_SPANS_MAX. A dry run writes nothing. Leaves out traces that are being erased.
        Raises Unavailable.
        """
        ...
