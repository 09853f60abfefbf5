"""Which work on traces is left to a thread, so that the event loop gets its turn."""

from collections.abc import Iterable
from typing import Final

from domain.tracing.span import Span
from domain.tracing.spans.error_groups import READ_CHARS_MAX
from domain.tracing.trace import Trace

SPANS_ON_LOOP_MAX: Final = 1_000  # settling and counting as many takes 10 ms
METADATA_BYTES_ON_LOOP_MAX: Final = 128 << 10  # parsing as many takes 5 ms
ERROR_CHARS_ON_LOOP_MAX: Final = 8 << 10  # finding the groups of as many takes 3 ms, at most 6


def takes_long(spans: int, metadata_bytes: int, error_chars: int = 0) -> bool:
    """Whether it takes more than 10 ms to merge, settle and count this amount."""
    return (
        spans > SPANS_ON_LOOP_MAX
        or metadata_bytes > METADATA_BYTES_ON_LOOP_MAX
        or error_chars > ERROR_CHARS_ON_LOOP_MAX
    )


def grouped_chars(spans: Iterable[Span]) -> int:
    """The number of characters of errors that are read to group the spans."""
    return _read_chars(span.error for span in spans)


def errors_take_long(errors: Iterable[str | None]) -> bool:
    """Whether it takes more than 10 ms to find the patterns of the messages."""
    return takes_long(0, 0, _read_chars(errors))


def _read_chars(errors: Iterable[str | None]) -> int:
    return sum(min(len(error), READ_CHARS_MAX) for error in errors if error)


def traces_take_long(traces: Iterable[Trace]) -> bool:
    spans = metadata_bytes = error_chars = 0
    for trace in traces:
        spans += len(trace.spans)
        metadata_bytes += len(trace.metadata)
        error_chars += grouped_chars(trace.spans)
    return takes_long(spans, metadata_bytes, error_chars)
