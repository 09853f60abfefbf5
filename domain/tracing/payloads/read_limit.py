"""How much of traces is read at once: what is read is in memory several times."""

from typing import Final

from domain.errors import Failure, FieldError, Invalid

READ_BYTES_MAX: Final = 128 << 20  # of traces or spans for one response
ROW_BYTES: Final = 600  # approximate size of a trace or a span without its payloads and error


class TooLargeToRead(Invalid):
    """A trace, or some spans, that would take too much memory to be read at once."""

    def __init__(self, what: str, advice: str, field: str = "") -> None:
        message = f"{what} more than {READ_BYTES_MAX >> 20} MiB: {advice}"
        super().__init__(message, [FieldError(field, message, is_semantic=True)])


def trace_too_large(field: str = "") -> Failure:
    return TooLargeToRead(
        "this trace holds", "read its outline, and its spans and payloads in parts", field
    )


def spans_too_large(field: str) -> Failure:
    return TooLargeToRead("these spans hold", "ask for fewer, one at a time if need be", field)
