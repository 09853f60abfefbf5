"""Groups of errors: messages that differ only in ids, numbers, quoted texts and addresses.

A failed span belongs to the group of its message. The id of the group is a hash of the pattern of
the message, so that it stays the same for every project, release and restart. It is stored with the
span: a rule that changes here applies to spans that are written from then on.
"""

import re
from hashlib import blake2b
from typing import Final

from domain.tracing.span import Span, SpanStatus

READ_CHARS_MAX: Final = 2_000  # of a message, at its start or at its end
PATTERN_CHARS_MAX: Final = 300
NO_MESSAGE: Final = "(no message)"
FINGERPRINT_BYTES: Final = 8  # enough that no two patterns of a project collide by chance
FINGERPRINT_CHARS: Final = 2 * FINGERPRINT_BYTES
ERROR_SAMPLES_MAX: Final = 5  # spans shown of a group
ERROR_RELEASES_MAX: Final = 10  # shown of a group
RELEASED_ERRORS_MAX: Final = 100  # the newest errors of a group, whose releases are shown

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
_PLACEHOLDERS: Final = {
    "address": "<address>",
    "text": "<text>",
    "id": "<id>",
    "number": "<number>",
}
_TRACEBACK: Final = "Traceback (most recent call last)"


def error_pattern(message: str | None) -> str:
    """The message with placeholders for what differs between its occurrences; never empty.

    Of several lines, the first counts; of a traceback of Python the last, which has the exception.
    """
    line = _significant_line(message or "")
    pattern = " ".join(_CUT.sub(_placeholder, line).split())
    return pattern[:PATTERN_CHARS_MAX] or NO_MESSAGE


def error_fingerprint(message: str | None) -> str:
    """The id of the group of a message: FINGERPRINT_CHARS hexadecimal digits."""
    pattern = error_pattern(message).encode(errors="surrogatepass")
    return blake2b(pattern, digest_size=FINGERPRINT_BYTES).hexdigest()


def error_group_of(span: Span) -> str | None:
    """The id of the group of a settled span; None if it didn't fail."""
    return error_fingerprint(span.error) if span.status is SpanStatus.ERROR else None


def _significant_line(message: str) -> str:
    start = message[:READ_CHARS_MAX].lstrip()
    if start.startswith(_TRACEBACK):
        lines = message[-READ_CHARS_MAX:].rstrip().splitlines()
        return lines[-1] if lines else ""
    return start.splitlines()[0] if start else ""


def _placeholder(found: re.Match[str]) -> str:
    return _PLACEHOLDERS.get(found.lastgroup or "", found.group())
