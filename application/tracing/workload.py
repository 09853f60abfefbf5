"""Which work on traces is left to a thread, so that the event loop gets its turn."""

from collections.abc import Iterable
from typing import Final

from domain.tracing.trace import Trace

SPANS_ON_LOOP_MAX: Final = 1_000  # settling and counting as many takes 10 ms
METADATA_BYTES_ON_LOOP_MAX: Final = 128 << 10  # parsing as many takes 5 ms


def takes_long(spans: int, metadata_bytes: int) -> bool:
    """Whether merging, settling and counting as many spans and bytes takes more than 10 ms."""
    return spans > SPANS_ON_LOOP_MAX or metadata_bytes > METADATA_BYTES_ON_LOOP_MAX


def traces_take_long(traces: Iterable[Trace]) -> bool:
    spans = metadata_bytes = 0
    for trace in traces:
        spans += len(trace.spans)
        metadata_bytes += len(trace.metadata)
    return takes_long(spans, metadata_bytes)
