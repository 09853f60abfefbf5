"""The last message of a user or of the assistant in a stored payload of an LLM span."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from domain.tracing.payloads.payload import JsonText, array_items, object_members

# Digits are kept as text: a number beyond a double isn't an error here.
_decoder: Final = json.JSONDecoder(parse_int=str, parse_float=str)


def is_user_message(message: Mapping[str, Any]) -> bool:
    """Whether a canonical message is one of the user."""
    return message.get("role") == "user"


def is_answer(message: Mapping[str, Any]) -> bool:
    """Whether a canonical message is one of the assistant, and has content, not only tool calls."""
    return message.get("role") == "assistant" and bool(message.get("content"))


def last_user_message(payload: JsonText | None) -> JsonText | None:
    """`{"messages": [it]}`, with the text of the message as it is stored; None without one.

    `payload` is any JSON value. Messages are found only in the canonical shape.
    """
    return _last_message(payload, is_user_message)


def last_answer(payload: JsonText | None) -> JsonText | None:
    """The same for the last message of the assistant that has content."""
    return _last_message(payload, is_answer)


def _last_message(
    payload: JsonText | None, is_wanted: Callable[[Mapping[str, Any]], bool]
) -> JsonText | None:
    if payload is None or payload.lstrip()[:1] != b"{":
        return None
    messages = object_members(payload).get("messages", "")
    if messages[:1] != "[":
        return None
    for text in reversed(array_items(messages)):
        if text[0] == "{" and is_wanted(_decoder.decode(text)):
            return f'{{"messages":[{text}]}}'.encode()
    return None
