"""Reads payloads: bounded JSON decoding, chat messages in their usual shapes, plain text."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.evaluation.trace_content.text import to_text
from domain.tracing.payload import JsonText

DEPTH_MAX: Final = 500  # levels; deeper values are treated as text
DIGITS_MAX: Final = 4_000  # of an integer: Python refuses to parse more
BLOCKS_DEPTH_MAX: Final = 8  # levels of nested content blocks of a message

USER: Final = frozenset({"user", "human"})
ASSISTANT: Final = frozenset({"assistant", "ai", "model"})

_THOUGHT_TYPES: Final = frozenset({"thinking", "reasoning", "redacted_thinking"})
_THOUGHT_KEYS: Final = ("thinking", "reasoning", "reasoning_content")
_THOUGHT_TAG: Final = re.compile(r"<(think|thinking)>(.*?)(?:</\1>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MessageText:
    """The text of a message, and the reasoning that came with it."""

    text: str
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: MessageText


def decode_json(text: JsonText | None) -> object:
    """Decodes a payload. A payload that is too deep or invalid is returned as text.

    Numbers that Python can't represent are returned as text, so every value can be encoded again.
    """
    if text is None:
        return None
    source = text.decode(errors="replace")
    try:
        value: object = json.loads(
            source, parse_int=_integer, parse_float=_fraction, parse_constant=str
        )
    except (ValueError, RecursionError):
        return source
    openers = text.count(b"[") + text.count(b"{")
    return source if openers > DEPTH_MAX and _is_too_deep(value) else value


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= DIGITS_MAX else digits


def _fraction(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [inner for one in level for inner in child_values(one)]
        if not level:
            return False
    return True


def child_values(value: object) -> Iterable[object]:
    """The values of an object or the items of an array; empty for anything else."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def canonical_json(value: object) -> str:
    """A canonical encoding: keys sorted, no whitespace, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def decode_embedded_json(value: object) -> object:
    """Decodes a string that holds a JSON object or array; returns anything else unchanged.

    A string that looks like a number stays a string: "2024" may be a search term.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in {"{", "["}:
        return value
    found = decode_json(value.encode(errors="replace"))
    return found if isinstance(found, Mapping | list) else value


def is_blank(value: object) -> bool:
    """Whether a value is null, blank text, or contains nothing else at any depth."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping | list):
            left.extend(child_values(one))
        elif one is not None and not (isinstance(one, str) and not one.strip()):
            return False
    return True


# --- chat ------------------------------------------------------------------------------------


def chat_messages(value: object) -> Sequence[Message] | None:
    """The chat messages of a payload; None if it isn't a chat.

    Known shapes: a list of messages, `{"messages": […]}`, a single message, and responses of
    providers, `{"choices": [{"message": …}]}` and `{"candidates": [{"content": …}]}`.
    """
    found: object = value
    if isinstance(value, Mapping):
        if isinstance(value.get("messages"), list):
            found = value["messages"]
        elif (answer := _first_answer(value)) is not None:
            found = [answer]
        else:
            found = [value]
    if not isinstance(found, list) or not any(map(_is_message, found)):
        return None
    return [_message(one) for one in found if _is_message(one)]


def _first_answer(value: Mapping[str, object]) -> object:
    choice = first_choice(value)
    return None if choice is None else choice.get("message", choice.get("content"))


def first_choice(value: Mapping[str, object]) -> Mapping[str, object] | None:
    """The first choice of a provider's response."""
    for key in ("choices", "candidates"):
        choices = value.get(key)
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            return choices[0]
    return None


def _role(one: Mapping[str, object]) -> str:
    role = one.get("role", one.get("type"))
    return role.lower() if isinstance(role, str) else ""


def _is_message(one: object) -> bool:
    if not isinstance(one, Mapping) or not {"content", "parts", "tool_calls"} & one.keys():
        return False
    return isinstance(one.get("role"), str) or _role(one) in USER | ASSISTANT


def _message(one: Mapping[str, object]) -> Message:
    said = _said(one.get("content", one.get("parts")))
    thoughts = [text for key in _THOUGHT_KEYS if isinstance(text := one.get(key), str)]
    return Message(
        _role(one), MessageText(said.text, "\n".join(filter(None, [*thoughts, said.reasoning])))
    )


def _said(content: object) -> MessageText:
    texts: list[str] = []
    thoughts: list[str] = []
    _collect(content, texts, thoughts, BLOCKS_DEPTH_MAX)
    whole = split_reasoning("\n".join(filter(None, texts)))
    return MessageText(whole.text, "\n".join(filter(None, [*thoughts, whole.reasoning])))


def _collect(block: object, texts: list[str], thoughts: list[str], levels: int) -> None:
    if isinstance(block, str):
        texts.append(block)
    elif isinstance(block, list) and levels:
        for one in block:
            _collect(one, texts, thoughts, levels - 1)
    elif isinstance(block, Mapping):
        if block.get("type") in _THOUGHT_TYPES or block.get("thought") is True:
            keys = ("thinking", "reasoning", "text", "content", "summary")
            inner = next((block[key] for key in keys if block.get(key)), None)
            if levels:
                _collect(inner, thoughts, thoughts, levels - 1)
        elif block.get("type", "text") in {"text", "input_text", "output_text"}:
            text = block.get("text", block.get("content"))
            if isinstance(text, str):
                texts.append(text)


def split_reasoning(text: str) -> MessageText:
    """Separates the passages that open models mark as thinking from the rest of a text."""
    if "<think" not in text:
        return MessageText(text)
    thoughts = [match[2].strip() for match in _THOUGHT_TAG.finditer(text)]
    return MessageText(_THOUGHT_TAG.sub("", text).strip(), "\n".join(thoughts))


def last_message_text(roles: frozenset[str], value: object) -> MessageText:
    """The text of the last message by one of `roles`; the whole value as text if it isn't a chat.

    Empty if the chat has no message by these roles.
    """
    chat = chat_messages(value)
    if chat is None:
        return split_reasoning(to_text(value))
    return next((one.content for one in reversed(chat) if one.role in roles), MessageText(""))
