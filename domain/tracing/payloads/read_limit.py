"""How much of traces is read at once: what is read is in memory several times."""

from typing import Final

from domain.errors import Failure, FieldError, Invalid

READ_BYTES_MAX: Final = 128 << 20  # of traces, spans or scores for one response
ROW_BYTES: Final = 600  # approximate size of a trace, span or score without its long texts


class TooLargeToRead(Invalid):
    """A trace, or some spans or scores, that would take too much memory to be read at once."""

    def __init__(self, what: str, advice: str, field: str = "") -> None:
        message = f"{what} more than {READ_BYTES_MAX >> 20} MiB: {advice}"
        super().__init__(message, [FieldError(field, message, is_semantic=True)])


def trace_too_large(field: str = "") -> Failure:
    return TooLargeToRead(
        "this trace holds", "read its outline, and its spans and payloads in parts", field
    )


def scores_too_large() -> Failure:
    return TooLargeToRead("these scores hold", "ask for pages of the list of scores")


def spans_too_large(field: str) -> Failure:
    return TooLargeToRead("these spans hold", "ask for fewer, one at a time if need be", field)
