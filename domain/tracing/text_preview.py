"""Previews of payloads for lists: the last words of the user or of the agent, in one line.

A preview is made whenever a payload is written. So a payload isn't parsed: its last message of a
role is found by the keys of the usual formats of chats, near its end or else near its start. Quotes
inside of JSON strings are escaped, so that a key is never found in a text. Everything else is shown
as the beginning of its JSON.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from domain.tracing.payloads.payload import JsonText
from domain.tracing.trace import Trace

PREVIEW_CHARS_MAX: Final = 200
_TEXT_BYTES_MAX: Final = 1_500  # of JSON from which a preview is made, with its escapes
_SHOWN_CHARS_MAX: Final = 600  # of text from which a preview is made, with its blanks
_WINDOW_BYTES: Final = 16 << 10  # at either end of a payload, which is searched for messages
_MESSAGES_MAX: Final = 30  # the last ones, among which that of the role is
_ESCAPE_CHARS_MAX: Final = 12  # of a pair of surrogates
_FIRST_SURROGATES: Final = frozenset(map(chr, range(0xD800, 0xDC00)))
_DECODER: Final = json.JSONDecoder(strict=False)
_KEY: Final = b'"role"'
_BACKSLASH: Final = ord("\\")
_ENDING_BYTES_MAX: Final = 32  # between a content and the role after it
_TEXT_OF_CONTENT: Final = (
    rb'"(?:content|parts)"\s*:\s*'
    rb'(?:\[\s*\{\s*(?:"type"\s*:\s*"[a-z_]*"\s*,\s*)?"(?:text|content)"\s*:\s*)?"'
)
"""A key and what is between it and the text, which is the value, or in the first block of it."""


def _compiled(roles: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """The role of a message; and a role before its content, which ends before the text."""
    role = rb'"role"\s*:\s*"(?:' + roles + rb')"'
    return re.compile(role), re.compile(role + rb"\s*,\s*" + _TEXT_OF_CONTENT)


_USER: Final = _compiled(b"user|human")
_ASSISTANT: Final = _compiled(b"assistant|ai|model")
# The end of a content before its role, searched for in reverse.
_CONTENT_BEFORE: Final = re.compile(rb'"\s*\}?\s*\]?\s*,\s*\Z')
# LangChain's messages have settings, and the usage, between the content and the role.
_SETTINGS: Final = b'"additional_kwargs"'
_CONTENT_FIRST: Final = b'{"content"'
_AFTER_BRACE: Final = re.compile(_TEXT_OF_CONTENT)


def input_preview(payload: JsonText | None) -> str | None:
    """The last words of the user in an input; None without an input."""
    return None if payload is None else _preview(payload, *_USER)


def output_preview(payload: JsonText | None) -> str | None:
    """The last words of the agent in an output; None without an output."""
    return None if payload is None else _preview(payload, *_ASSISTANT)


def _preview(
    payload: JsonText, is_role: re.Pattern[bytes], is_before_text: re.Pattern[bytes]
) -> str:
    start = 1 if payload.startswith(b'"') else _start_of_last_text(payload, is_role, is_before_text)
    if start >= 0:
        return _shown(_string_at(payload, start))
    return _shown(payload[:_TEXT_BYTES_MAX].decode(errors="ignore"))


def _start_of_last_text(
    payload: JsonText, is_role: re.Pattern[bytes], is_before_text: re.Pattern[bytes]
) -> int:
    """The position after the quote that opens the last text of a role; -1 if none is found."""
    first = max(0, len(payload) - _WINDOW_BYTES)
    windows = [(first, len(payload)), (0, min(first, _WINDOW_BYTES))]
    starts = (_start_in_window(payload, *one, is_role, is_before_text) for one in windows)
    return next((one for one in starts if one >= 0), -1)


def _start_in_window(
    payload: JsonText,
    first: int,
    end: int,
    is_role: re.Pattern[bytes],
    is_before_text: re.Pattern[bytes],
) -> int:
    at = end
    for _ in range(_MESSAGES_MAX):
        if (at := payload.rfind(_KEY, first, at)) < 0:
            return -1
        if (match := is_before_text.match(payload, at, at + _WINDOW_BYTES)) is not None:
            return match.end()
        if is_role.match(payload, at, at + _WINDOW_BYTES) is not None:
            if (start := _start_before_settings(payload, first, at)) >= 0:
                return start
            before = payload[max(0, at - _ENDING_BYTES_MAX) : at]
            if (ending := _CONTENT_BEFORE.search(before)) is not None:
                return _start_of_string(payload, at - len(before) + ending.start())
    return -1


def _start_before_settings(payload: bytes, first: int, role: int) -> int:
    """After the quote that opens the text of LangChain's message with that role; -1 for others."""
    settings = payload.rfind(_SETTINGS, first, role)
    if settings < 0 or payload.rfind(_KEY, settings, role) >= 0:  # those of the message before
        return -1
    brace = payload.rfind(_CONTENT_FIRST, first, settings)
    match = _AFTER_BRACE.match(payload, brace + 1, settings) if brace >= 0 else None
    return -1 if match is None else match.end()


def _start_of_string(payload: bytes, end: int) -> int:
    """After the quote that opens the string which the quote at `end` closes; -1 if it is far."""
    first, at = max(0, end - _WINDOW_BYTES), end
    while (at := payload.rfind(b'"', first, at)) >= 0:
        slashes = at
        while slashes > first and payload[slashes - 1] == _BACKSLASH:
            slashes -= 1
        if (at - slashes) % 2 == 0:
            return at + 1
    return -1


def _string_at(payload: bytes, start: int) -> str:
    """The JSON string from `start` on, which is after its quote; its beginning if it is long."""
    text = payload[start : start + _TEXT_BYTES_MAX].decode(errors="ignore")
    found = _decoded(text)
    if found is None:  # it is longer: up to the last escape, which may be cut
        cut = text.rfind("\\", len(text) - _ESCAPE_CHARS_MAX)
        found = _decoded((text if cut < 0 else text[:cut].rstrip("\\")) + '"')
        if found and found[-1] in _FIRST_SURROGATES:  # the other half of the character was cut
            found = found[:-1]
    return text if found is None else found


def _decoded(text: str) -> str | None:
    """The JSON string of which `text` has all after the opening quote; None if it doesn't end."""
    try:
        found: str = _DECODER.raw_decode(f'"{text}')[0]
    except ValueError:
        return None
    return found


def _shown(text: str) -> str:
    """One line of at most PREVIEW_CHARS_MAX characters that can be stored and sent."""
    beginning = text[:PREVIEW_CHARS_MAX]
    if beginning.isprintable() and "  " not in beginning:  # the usual text, for a tenth of the time
        return beginning.strip()
    line = " ".join(text[:_SHOWN_CHARS_MAX].split())[:PREVIEW_CHARS_MAX]
    if line.isprintable():  # as nearly all are: without NUL and lone surrogates
        return line
    return line.replace("\0", "").encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class TracePreview:
    """What a list shows of the content of a trace, if asked for it."""

    input: str | None
    output: str | None
    models: Sequence[str]

    @classmethod
    def from_trace(cls, trace: Trace) -> Self:
        return cls(input_preview(trace.input), output_preview(trace.output), trace.models)
