"""Truncates texts to a token budget: two thirds from the head, one third from the tail."""

import re
from dataclasses import dataclass
from typing import Final

from domain.evaluation.evidence.redaction import EDGE, Redactor

BYTES_PER_TOKEN: Final = 4  # no tokenizer: providers differ, and their usage corrects the ledger
QUOTE: Final = (
    "| "  # prefix of each line of a trace, so that none can imitate a line of the service
)
# How much of a text is processed, as a multiple of what is shown: redaction shortens texts.
INPUT_FACTOR: Final = 4
_MARK_BYTES: Final = 56  # of the line that states how much was omitted
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")


def estimate_tokens(text: str) -> int:
    """The estimated tokens: a quarter of the UTF-8 bytes, rounded up."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def sanitize_text(text: str) -> str:
    """The text with uniform newlines and without characters that providers reject.

    Control characters become spaces, unpaired surrogates become `?`.
    """
    sendable = text.encode(errors="replace").decode()
    return "\n".join(_CONTROL.sub(" ", sendable).splitlines())


def one_line(text: str) -> str:
    return " ".join(text.split())


def quote_lines(text: str) -> str:
    """The text with QUOTE before each line."""
    return QUOTE + text.replace("\n", f"\n{QUOTE}")


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A sanitized, redacted text that may be shown.

    Of a very long text, only the `head` and the `tail` are kept, with `left_out` characters between
    them.
    """

    head: str
    tail: str = ""
    left_out: int = 0

    def fits(self, tokens: int) -> bool:
        """Whether `cut` keeps the whole text."""
        return not self.left_out and _cost(self.head) <= max(tokens, 0) * BYTES_PER_TOKEN

    def cut(self, tokens: int) -> str:
        """At most `tokens` tokens of the text, including line prefixes; "" for 0 tokens.

        A line in the middle states how many characters were omitted.
        """
        if tokens <= 0 or self.fits(tokens):
            return self.head if tokens > 0 else ""
        room = tokens * BYTES_PER_TOKEN - _MARK_BYTES - 3 * len(QUOTE)
        if room <= 0:  # no room for the line that states what was omitted
            return _head(self.head, tokens * BYTES_PER_TOKEN - len(QUOTE))
        head = _head(self.head, room * 2 // 3)
        tail = _tail(self.tail or self.head[len(head) :], room - room * 2 // 3)
        left_out = len(self.head) + len(self.tail) + self.left_out - len(head) - len(tail)
        return f"{head}\n[… {left_out} characters left out …]\n{tail}"


EMPTY_TEXT: Final = RedactedText("")


def _cost(text: str) -> int:
    return len(text.encode()) + len(QUOTE) * (text.count("\n") + 1)


def _head(text: str, room: int) -> str:
    raw = text[:room].encode()[:room]
    return raw[: max(0, room - len(QUOTE) * raw.count(b"\n"))].decode(errors="ignore")


def _tail(text: str, room: int) -> str:
    raw = text[-room:].encode()[-room:]
    spare = room - len(QUOTE) * raw.count(b"\n")
    return raw[-spare:].decode(errors="ignore") if spare > 0 else ""


def prepare_text(text: str, tokens: int, redactor: Redactor) -> RedactedText:
    """Redacts a text before truncation, if at most `tokens` of it will be shown.

    Only INPUT_FACTOR times as much of a long text is processed, so the work is bounded.
    """
    window = tokens * BYTES_PER_TOKEN * INPUT_FACTOR
    if len(text) > window:
        text = redactor.without_key_blocks(text)
    if len(text) <= window:
        return RedactedText(redactor.redact(sanitize_text(text))) if text else EMPTY_TEXT
    # A key that was cut at the edge can't be detected any more, so its rest is dropped.
    head = text[: window * 2 // 3].rstrip(EDGE)
    tail = text[-(window - window * 2 // 3) :].lstrip(EDGE)
    return RedactedText(
        redactor.redact(sanitize_text(head)),
        redactor.redact(sanitize_text(tail)),
        len(text) - len(head) - len(tail),
    )
