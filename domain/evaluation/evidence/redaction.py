"""Replaces secrets and personal data in a text before it leaves the service or is hashed.

Detection is by format: a text with the format of a known kind of key is replaced wherever it
occurs. A secret without a format of its own, such as a password in a sentence, can't be detected.
"""

import re
import string
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

EDGE: Final = string.ascii_letters + string.digits + "_-.+/=~%:@"
"""Characters that occur in keys. Where a text is cut, a run of them may be part of a key."""


class RedactionMode(StrEnum):
    """The kinds of text to redact: the setting EVAL_MASK."""

    SECRETS = "secrets"
    SECRETS_PII = "secrets,pii"
    OFF = "off"


# A key begins after a non-alphanumeric character, or after an escape of JSON nested in JSON.
_AT: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9a-fA-F]{4}))"

# Each pattern with its hints. A text without any of them isn't searched, which skips most patterns.
_SHAPES: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    # JSON Web Tokens, signed, encrypted, or without their last part. A run of characters without
    # a dot after it isn't a token. It is skipped as a whole: a token could begin anywhere in it.
    (("eyJ",), _AT + r"eyJ[\w-]{6,}+(?:(?:\.[\w-]*){1,4}|(?P<kept>))"),
    # OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse and others.
    (("sk-", "pk-"), _AT + r"[sp]k-[\w-]{16,}"),
    # API keys of this service.
    (("pp_",), _AT + r"pp_[0-9a-f]{32,}"),
    # Google: API keys, OAuth tokens, client secrets.
    (("AIza",), _AT + r"AIza[\w-]{30,}"),
    (("ya29.",), _AT + r"ya29\.[\w-]{16,}"),
    (("GOCSPX-",), _AT + r"GOCSPX-[\w-]{20,}"),
    # AWS: key ids, and secret keys that follow their usual name.
    (("AKIA", "ASIA", "ABIA", "ACCA"), _AT + r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}"),
    (("ecret", "ECRET"), r"(?i:aws_?secret_?access_?key)\W{1,8}(?P<secret>[\w/+=]{40})"),
    # GitHub, GitLab, npm, PyPI, Hugging Face, DigitalOcean, Doppler.
    (("gh",), _AT + r"gh[pousr]_[A-Za-z0-9]{30,}"),
    (("github_pat_",), _AT + r"github_pat_\w{22,}"),
    (("glpat-",), _AT + r"glpat-[\w-]{20,}"),
    (("npm_",), _AT + r"npm_[A-Za-z0-9]{30,}"),
    (("pypi-",), _AT + r"pypi-[\w-]{32,}"),
    (("hf_",), _AT + r"hf_[A-Za-z0-9]{24,}"),
    (("dop_v1_", "doo_v1_"), _AT + r"do[op]_v1_[0-9a-f]{32,}"),
    # Slack, Telegram, Twilio, SendGrid.
    (("xox", "xapp-"), _AT + r"(?:xox[a-z]|xapp)-[\w-]{10,}"),
    (("hooks.slack.com",), r"hooks\.slack\.com/(?:services|workflows)/[\w/-]{16,}"),
    ((":AA",), _AT + r"[0-9]{8,10}:AA[\w-]{30,}"),
    (("SK",), _AT + r"SK[0-9a-f]{32}"),
    (("SG.",), _AT + r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    # Stripe, Shopify.
    (("_live_", "_test_"), _AT + r"[a-z]{2}_(?:live|test)_[A-Za-z0-9]{16,}"),
    (("whsec_",), _AT + r"whsec_[\w+/=]{24,}"),
    (("shp",), _AT + r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    # Groq, xAI, Perplexity, Replicate, Tavily, Fireworks, Pinecone.
    (
        ("gsk_", "xai-", "pplx-", "r8_", "tvly-", "fw_", "pcsk_"),
        _AT + r"(?:gsk_|xai-|pplx-|r8_|tvly-|fw_|pcsk_)[\w-]{20,}",
    ),
    # Credentials in headers and addresses.
    (("earer", "EARER"), r"(?i:\bbearer)[\s:]{1,4}(?P<secret>[\w.~+/=-]{16,})"),
    (("asic ", "ASIC "), r"(?i:\bbasic) {1,4}(?P<secret>[A-Za-z0-9+/]{16,}={0,2})"),
    (("://",), r"(?<=://)[^\s/@:\"']{0,100}:[^\s/@\"']{1,200}(?=@)"),
)
# Private keys, complete or without their end.
_KEY_BLOCK: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_SECRETS: Final = tuple((hints, re.compile(shape, re.ASCII)) for hints, shape in _SHAPES)

_EMAIL: Final = re.compile(r"[\w.%+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_DIGITS: Final = re.compile(r"(?<![\w.])[+(]?[0-9](?:[ .()/-]{0,2}[0-9]){7,18}(?![\w])", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}([-/.])[0-9]{2}\1[0-9]{2}")
_CARD_DIGITS: Final = range(13, 20)
_PHONE_DIGITS: Final = range(8, 16)  # E.164 has at most 15
_GROUPS_MIN: Final = 3
_LONGEST_PLAIN: Final = 4  # digits in a row, of a phone number without a plus


class Redactor:
    """Replaces sensitive texts with `[secret:1]`, `[email:2]`: equal texts get equal numbers.

    Numbers count from 1 over all texts of one redactor, so the order of the texts matters.
    """

    def __init__(self, masking: RedactionMode) -> None:
        self._masking = masking
        self._numbers: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        """How many texts of each kind it has replaced: `secret`, `email`, `card`, `phone`."""

    def without_key_blocks(self, text: str) -> str:
        """The text with private keys replaced, the only secrets that span many lines.

        It is fast enough to run before a text is cut. After the cut, a part of a key has no known
        format.
        """
        if self._masking is RedactionMode.OFF or "PRIVATE KEY" not in text:
            return text
        return _KEY_BLOCK.sub(self._secret, text)

    def redact(self, text: str) -> str:
        """The text with everything sensitive replaced."""
        if self._masking is RedactionMode.OFF:
            return text
        text = self.without_key_blocks(text)
        for hints, shape in _SECRETS:
            if any(hint in text for hint in hints):
                text = shape.sub(self._secret, text)
        if self._masking is RedactionMode.SECRETS_PII:
            if "@" in text:
                text = _EMAIL.sub(lambda found: self._name("email", found[0]), text)
            text = _DIGITS.sub(self._digits, text)
        return text

    def _secret(self, found: re.Match[str]) -> str:
        if found.lastgroup == "kept":
            return found[0]
        whole, secret = found[0], found.groupdict().get("secret")
        if secret is None:
            return self._name("secret", whole)
        return whole.removesuffix(secret) + self._name("secret", secret)

    def _digits(self, found: re.Match[str]) -> str:
        text = found[0]
        digits = re.sub(r"[^0-9]", "", text)
        if len(digits) in _CARD_DIGITS and _passes_luhn(digits):
            return self._name("card", text)
        return self._name("phone", text) if _is_phone(text, digits) else text

    def _name(self, kind: str, text: str) -> str:
        self.counts[kind] += 1
        number = self._numbers.setdefault(text, len(self._numbers) + 1)
        return f"[{kind}:{number}]"


def _is_phone(text: str, digits: str) -> bool:
    """Whether it has a plus sign or groups: a plain run of digits is more often an id."""
    if len(digits) not in _PHONE_DIGITS or _DATE.match(text):
        return False
    groups = re.split(r"[^0-9]+", text.strip("(+"))
    return text.startswith("+") or (
        len(groups) >= _GROUPS_MIN and all(len(group) <= _LONGEST_PLAIN for group in groups)
    )


def _passes_luhn(digits: str) -> bool:
    """Checks the check digit of a card number (ISO/IEC 7812-1, annex B)."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        twice = int(digit) * (1 + at % 2)
        total += twice - 9 if twice > 9 else twice  # noqa: PLR2004 - the sum of its digits
    return total % 10 == 0


# --- truncation to a token budget: two thirds from the head, one third from the tail -----------

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

    A very long text is cut to its `head` and its `tail`, with `left_out` characters between them.
    """

    head: str
    tail: str = ""
    left_out: int = 0

    def fits(self, tokens: int) -> bool:
        """Whether `cut` keeps the whole text."""
        quoted = len(self.head.encode()) + len(QUOTE) * (self.head.count("\n") + 1)
        return not self.left_out and quoted <= max(tokens, 0) * BYTES_PER_TOKEN

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
