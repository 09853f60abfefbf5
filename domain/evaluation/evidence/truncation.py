"""Texts cut to a budget of tokens: two thirds from the head, one third from the tail."""

import re
from dataclasses import dataclass
from typing import Final

from domain.evaluation.evidence.redaction import EDGE, Redactor

BYTES_PER_TOKEN: Final = 4  # no tokenizer: providers differ, and their usage corrects the ledger
QUOTE: Final = "| "  # before each line of foreign text, so that none can pass for ours
# What is looked at of a text, as a multiple of what is shown of it: masking makes texts shorter.
INPUT_FACTOR: Final = 4
_MARK_BYTES: Final = 56  # of the line that tells how much was left out
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")


def estimate_tokens(text: str) -> int:
    """The estimate: a quarter of its UTF-8 bytes, rounded up."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def sanitize_text(text: str) -> str:
    """The text as lines that end in a newline and nothing else, without what can't be sent on.

    Control characters and lone surrogates, which no provider takes, become blanks or `?`.
    """
    sendable = text.encode(errors="replace").decode()
    return "\n".join(_CONTROL.sub(" ", sendable).splitlines())


def one_line(text: str) -> str:
    return " ".join(text.split())


def quote_lines(text: str) -> str:
    """Each of its lines behind a mark."""
    return QUOTE + text.replace("\n", f"\n{QUOTE}")


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A text that may be shown: cleaned, its secrets replaced.

    Of a very long one there is only the `head` and the `tail`, `left_out` characters apart.
    """

    head: str
    tail: str = ""
    left_out: int = 0

    def fits(self, tokens: int) -> bool:
        """Whether `cut` leaves all of it."""
        return not self.left_out and _cost(self.head) <= max(tokens, 0) * BYTES_PER_TOKEN

    def cut(self, tokens: int) -> str:
        """At most `tokens` of it, its quotation marks included; "" for 0 tokens.

        What is missing in the middle is told in characters.
        """
        if tokens <= 0 or self.fits(tokens):
            return self.head if tokens > 0 else ""
        room = tokens * BYTES_PER_TOKEN - _MARK_BYTES - 3 * len(QUOTE)
        if room <= 0:  # too little to tell what is missing as well
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
    """A text of which never more than `tokens` will be shown, masked before it is cut.

    Of a long one only INPUT_FACTOR times as much is looked at, so that the work is bounded too.
    """
    window = tokens * BYTES_PER_TOKEN * INPUT_FACTOR
    if len(text) > window:
        text = redactor.without_key_blocks(text)
    if len(text) <= window:
        return RedactedText(redactor.redact(sanitize_text(text))) if text else EMPTY_TEXT
    # Half a key at the edge has lost the shape by which it would be known.
    head = text[: window * 2 // 3].rstrip(EDGE)
    tail = text[-(window - window * 2 // 3) :].lstrip(EDGE)
    return RedactedText(
        redactor.redact(sanitize_text(head)),
        redactor.redact(sanitize_text(tail)),
        len(text) - len(head) - len(tail),
    )
