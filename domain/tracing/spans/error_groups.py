"""Groups of errors: messages that differ only in ids, numbers, quoted texts and addresses.

A failed span belongs to the group of its message. The id of the group is a hash of the pattern of
the message, so that it stays the same for every project, release and restart. It is stored with the
span: a rule that changes here applies to spans that are written from then on.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from domain.errors import Invalid
from domain.ids import SpanId, TraceId
from domain.page import Position
from domain.tracing.analytics import Period
from domain.tracing.span import Span, SpanStatus
from domain.tracing.trace import Trace

READ_CHARS_MAX: Final = 2_000  # of a message, at its start or at its end
PATTERN_CHARS_MAX: Final = 300
VARIABLE_CHARS_MAX: Final = 250  # beyond what is shown: of texts in quotes, and of addresses
NO_MESSAGE: Final = "(no message)"
FINGERPRINT_BYTES: Final = 8  # enough that no two patterns of a project collide by chance
FINGERPRINT_CHARS: Final = 2 * FINGERPRINT_BYTES
ERROR_CHARS_MAX: Final = 500  # of a message in a list
FAILED_SPANS_MAX: Final = 500_000  # of the period of one list of groups
ERROR_SAMPLES_MAX: Final = 5  # spans shown of a group
ERROR_RELEASES_MAX: Final = 10  # shown of a group
RELEASED_ERRORS_MAX: Final = 50  # the newest errors of a group, whose releases are shown

# Quoted texts are short: what is longer is a message in quotes. The bounds keep a search linear.
_QUOTED: Final = "|".join(
    rf"(?<!\w){quote}[^{quote}]{{0,200}}{quote}(?!\w)" for quote in ("'", '"', "`")
)
_ID: Final = r"(?=[\w-]{0,60}?\d)(?=[\w-]{0,60}?[A-Za-z])[\w-]{8,}"
_CUT: Final = re.compile(
    r"(?P<address>\b[A-Za-z][A-Za-z0-9+.-]{0,20}://\S+|[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[?\b(?:[0-9A-Fa-f]{1,4}:){4,7}[0-9A-Fa-f]{1,4}\b\]?"
    r"|(?<![\w/.])(?:/[\w.-]+){2,}/?)"
    rf"|(?P<text>{_QUOTED})"
    # The status of a response tells errors apart: it stays.
    r"|(?P<status>\b(?:code|status|HTTP(?:/\d(?:\.\d)?)?)\b\W{0,3}[45]\d\d\b)"
    r"|(?P<id>\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b0x[0-9a-f]+\b"
    rf"|\b(?=\d*[a-f])[0-9a-f]{{16,}}\b|\b{_ID})"
    r"|(?P<number>\d+(?:[.,:]\d+)*)",
    re.IGNORECASE,
)
_SPACES: Final = re.compile(r"\s+")
_PLACEHOLDERS: Final = {
    "address": "<address>",
    "text": "<text>",
    "id": "<id>",
    "number": "<number>",
}
_TRACEBACK: Final = "Traceback (most recent call last)"
_FRAME: Final = '\n  File "'
_NOT_INDENTED: Final = re.compile(r"\n(?=\S)")


def error_pattern(message: str | None) -> str:
    """The message with placeholders for what differs between its occurrences; never empty.

    Takes the first line, or that of a Python traceback which has the exception: further lines, such
    as a link to an explanation, are the same for many exceptions.
    """
    line = _significant_line(message or "").strip()
    pattern, at = "", 0
    while at < len(line) and len(pattern) <= PATTERN_CHARS_MAX:
        # No more than may be shown: a search through all that is read takes milliseconds.
        shown = at + PATTERN_CHARS_MAX + 1
        end = shown + VARIABLE_CHARS_MAX
        found = _CUT.search(line, at, end)
        if found is not None and found.end() == end:  # it may go on
            found = _CUT.match(line, found.start())
        if found is None or found.start() >= shown:
            text, at = line[at:shown], shown
        else:
            text, at = line[at : found.start()] + _placeholder(found), found.end()
        pattern = _SPACES.sub(" ", pattern + text)
    return pattern[:PATTERN_CHARS_MAX] or NO_MESSAGE


def error_fingerprint(message: str | None) -> str:
    """The id of the group of a message: FINGERPRINT_CHARS hexadecimal digits."""
    pattern = error_pattern(message).encode(errors="surrogatepass")
    return blake2b(pattern, digest_size=FINGERPRINT_BYTES).hexdigest()


def error_group_of(span: Span) -> str | None:
    """The id of the group of a settled span; None if it didn't fail."""
    return error_fingerprint(span.error) if span.status is SpanStatus.ERROR else None


def _significant_line(message: str) -> str:
    """Depends on READ_CHARS_MAX characters at either end alone: adapters read no more."""
    start, end = message[:READ_CHARS_MAX], message[-READ_CHARS_MAX:]
    if not start.lstrip().startswith(_TRACEBACK):
        return next(iter(start.lstrip().splitlines()), "")
    for part in (end, start):
        # The exception is below the last frame, whose lines are indented.
        frame = part.rfind(_FRAME)
        below = _NOT_INDENTED.search(part, frame) if frame >= 0 else None
        if below is not None:
            return part[below.end() :].splitlines()[0]
    return next(reversed(end.rstrip().splitlines()), "")


def _placeholder(found: re.Match[str]) -> str:
    return _PLACEHOLDERS.get(found.lastgroup or "", found.group())


class ErrorSort(StrEnum):
    LAST_SEEN = "last_seen"
    FIRST_SEEN = "first_seen"
    COUNT = "count"

    def position(self, group: "ErrorGroup") -> Position:
        value: datetime | int = getattr(group, self.value)
        return Position(value, group.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFilter:
    """Groups with failures in the period; with `is_new`, those that are new in it, or those not."""

    period: Period
    is_new: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSample:
    """A failed span of a group. `message` has at most ERROR_CHARS_MAX characters."""

    trace_id: TraceId
    span_id: SpanId
    name: str
    started_at: datetime
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """The failures of one group that started in a period.

    `first_seen` is the start of the first failure that is stored, in the period or before it;
    `is_new` if that is in the period. `samples` are the newest ERROR_SAMPLES_MAX, newest first;
    `releases` those of the traces of the newest RELEASED_ERRORS_MAX, at most ERROR_RELEASES_MAX.
    """

    id: str
    pattern: str
    count: int
    first_seen: datetime
    last_seen: datetime
    is_new: bool
    releases: Sequence[str]
    samples: Sequence[ErrorSample]


def error_groups(traces: Iterable[Trace], matching: ErrorFilter) -> list[ErrorGroup]:
    """The groups of the failed spans of settled traces, in no order.

    Raises Invalid if more than FAILED_SPANS_MAX started in the period.
    """
    found: dict[str, list[tuple[Trace, Span]]] = {}
    for trace in traces:
        for span in trace.spans:
            if (id_ := error_group_of(span)) is not None:
                found.setdefault(id_, []).append((trace, span))
    groups, count = list[ErrorGroup](), 0
    for id_, failures in found.items():
        within = [one for one in failures if matching.period.includes(one[1].started_at)]
        count += len(within)
        if within:
            first_seen = min(span.started_at for _, span in failures)
            groups.append(_group(id_, first_seen, within, matching.period))
    check_failed_count(count)
    return [one for one in groups if matching.is_new in {None, one.is_new}]


def check_failed_count(count: int) -> None:
    """Raises Invalid for more failed spans in a period than are grouped."""
    if count > FAILED_SPANS_MAX:
        raise Invalid.field(
            "query.started_after",
            f"more than {FAILED_SPANS_MAX:,} spans failed in the period: narrow it",
        )


def distinct_releases(newest_first: Iterable[str | None]) -> tuple[str, ...]:
    """Each release once, that of the newest failure first, at most ERROR_RELEASES_MAX."""
    known = dict.fromkeys(one for one in newest_first if one is not None)
    return tuple(known)[:ERROR_RELEASES_MAX]


def _group(
    id_: str, first_seen: datetime, failures: Sequence[tuple[Trace, Span]], period: Period
) -> ErrorGroup:
    newest = sorted(failures, key=lambda one: (one[1].started_at, one[0].id, one[1].id))[::-1]
    return ErrorGroup(
        id=id_,
        pattern=error_pattern(newest[0][1].error),
        count=len(failures),
        first_seen=first_seen,
        last_seen=newest[0][1].started_at,
        is_new=period.includes(first_seen),
        releases=distinct_releases(one.release for one, _ in newest[:RELEASED_ERRORS_MAX]),
        samples=[
            ErrorSample(
                trace_id=trace.id,
                span_id=span.id,
                name=span.name,
                started_at=span.started_at,
                message=None if span.error is None else span.error[:ERROR_CHARS_MAX],
            )
            for trace, span in newest[:ERROR_SAMPLES_MAX]
        ],
    )
