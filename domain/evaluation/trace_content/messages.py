"""Reads payloads: bounded JSON decoding, what a chat says, plain text."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.evaluation.trace_content.text import to_text
from domain.tracing.messages.json_value import child_values, encoded, parsed
from domain.tracing.messages.message_blocks import ASSISTANT, SYSTEM, TOOL, USER, Message
from domain.tracing.messages.messages import canonical_messages
from domain.tracing.payloads.payload import JsonText

_NAMED_ROLES: Final = frozenset({USER, ASSISTANT, SYSTEM, TOOL})
_DOCUMENT_LISTS: Final = ("documents", "results", "matches", "docs", "hits")
_THOUGHT_TAG: Final = re.compile(r"<(think|thinking)>(.*?)(?:</\1>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MessageText:
    """The text of a message, and the reasoning that came with it."""

    text: str
    reasoning: str = ""


def decode_json(text: JsonText | None) -> object:
    """Decodes a payload. A payload that is too deep or invalid is returned as text.

    Numbers that Python can't represent are returned as text, so every value can be encoded again.
    """
    if text is None:
        return None
    source = text.decode(errors="replace")
    try:
        return parsed(source, keeps_digits=False)
    except ValueError:
        return source


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


def retrieved_documents(output: object) -> Sequence[object]:
    """The documents in the output of a retrieval: a list, or one under a usual key; else itself.

    Empty if nothing was found, whatever else an object says, such as the name of an index.
    """
    found = output
    if isinstance(output, Mapping):
        lists = (output[key] for key in _DOCUMENT_LISTS if isinstance(output.get(key), list))
        found = next(lists, output)
    if is_blank(found):
        return []
    return found if isinstance(found, list) else [found]


# --- chat ------------------------------------------------------------------------------------


def first_choice(value: Mapping[str, object]) -> Mapping[str, object] | None:
    """The first choice of a provider's response."""
    for key in ("choices", "candidates"):
        choices = value.get(key)
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            return choices[0]
    return None


def last_message_text(role: str, value: object) -> MessageText:
    """The text of the last message by a role; the whole value as text if it isn't a chat.

    If the chat has no message by this role, the last one by a role that only the program knows,
    such as `critic`, is used instead. A chat of tool messages alone is an answer: some agents
    return what a tool returned. Empty if the chat has none of these.
    """
    chat = canonical_messages(value)
    if chat is None:
        return split_reasoning(to_text(value))
    message = _last_by(role, chat)
    return MessageText("") if message is None else _text_of(message)


def model_output_text(value: object) -> MessageText:
    """The text of a model's output; the tool calls, one a line, if it consists of these alone.

    Spans of the tools may be missing: many instrumentations report model calls only.
    """
    chat = canonical_messages(value)
    if chat is None:
        return split_reasoning(to_text(value))
    message = _last_by(ASSISTANT, chat)
    found = MessageText("") if message is None else _text_of(message)
    if found.text:
        return found
    calls = [call for one in chat if one["role"] == ASSISTANT for call in _calls(one)]
    lines = [f"call {call['name']} {to_text(call['arguments'])}".rstrip() for call in calls]
    return MessageText("\n".join(lines), found.reasoning)


def _last_by(role: str, chat: Sequence[Message]) -> Message | None:
    last = {one["role"]: one for one in chat}
    others = [one for one in chat if one["role"] not in _NAMED_ROLES]
    if role not in last and others:
        return others[-1]
    return last.get(TOOL if role == ASSISTANT and last.keys() == {TOOL} else role)


def _calls(message: Message) -> Sequence[Mapping[str, object]]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) else []


def _text_of(message: Message) -> MessageText:
    content = message["content"]
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    said = split_reasoning(_joined(blocks, "text"))
    reasoning = "\n".join(filter(None, [_joined(blocks, "reasoning"), said.reasoning]))
    if said.text or reasoning or _calls(message):
        return MessageText(said.text, reasoning)
    # A judge can read blocks of an unknown format, but not an empty message.
    return MessageText("\n".join(encoded(one["value"]) for one in blocks if "value" in one))


def _joined(blocks: Sequence[Mapping[str, object]], kind: str) -> str:
    return "\n".join(str(one["text"]) for one in blocks if one["type"] == kind)


def split_reasoning(text: str) -> MessageText:
    """Separates the passages that open models mark as thinking from the rest of a text."""
    if "<think" not in text:
        return MessageText(text)
    thoughts = [match[2].strip() for match in _THOUGHT_TAG.finditer(text)]
    return MessageText(_THOUGHT_TAG.sub("", text).strip(), "\n".join(thoughts))
