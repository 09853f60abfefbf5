"""Inputs and outputs: the transforms of their rules, and which sources a kind of span looks at.

Sources that are messages by definition are always rewritten to the canonical shape. Others are
rewritten only if they are nothing but messages, and stored digit by digit if not. Values of tools
are never messages.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from adapters.otlp.mapping.json_values import (
    in_order,
    is_empty,
    json_of,
    json_text,
    parsed,
    raw_member,
    to_json,
)
from adapters.otlp.mapping.reading import Reading, Target, Transform
from domain.tracing.messages.indexed_attributes import indexed_items
from domain.tracing.messages.message_blocks import ASSISTANT, USER, Message
from domain.tracing.messages.messages import (
    answer_message,
    canonical_messages,
    event_messages,
    indexed_messages,
    only_messages,
    split_answer,
    tool_output,
    unwrapped,
    with_instructions,
)
from domain.tracing.otel.fragments import SentEvent
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import SpanKind


@dataclass(frozen=True, slots=True)
class Payload:
    """An input or output as it is stored, and its value."""

    text: JsonText
    value: object

    @property
    def has_user_message(self) -> bool:
        return any(one.get("role") == USER for one in self._messages())

    @property
    def has_assistant_message(self) -> bool:
        """Whether a message of the assistant has content, not only calls."""
        return any(one.get("role") == ASSISTANT and one.get("content") for one in self._messages())

    def _messages(self) -> Iterator[Mapping[str, object]]:
        """Messages in the canonical shape, also of a value with more than messages."""
        found = self.value.get("messages") if isinstance(self.value, Mapping) else None
        given = found if isinstance(found, list) else []
        return (one for one in given if isinstance(one, Mapping))


_OTHERS_INPUT: Final = (
    Target.OBSERVATION_INPUT,
    Target.QUERY_IN,
    Target.GENERIC_IN,
    Target.VALUES_IN,
    Target.MESSAGES_IN,
    Target.CONVERSATION_IN,
)
_OTHERS_OUTPUT: Final = (
    Target.OBSERVATION_OUTPUT,
    Target.RESULT_OUT,
    Target.GENERIC_OUT,
    Target.MESSAGES_OUT,
    Target.CONVERSATION_OUT,
)
_INPUTS: Final[Mapping[SpanKind, Sequence[Target]]] = {
    SpanKind.LLM: (
        Target.OBSERVATION_INPUT,
        Target.MESSAGES_IN,
        Target.GENERIC_IN,
        Target.INSTRUCTIONS_IN,
    ),
    SpanKind.TOOL: (
        Target.OBSERVATION_INPUT,
        Target.TOOL_INPUT,
        Target.GENERIC_IN,
        Target.TOOL_EVENT_IN,
        Target.MESSAGES_IN,
    ),
}
_OUTPUTS: Final[Mapping[SpanKind, Sequence[Target]]] = {
    SpanKind.LLM: (Target.OBSERVATION_OUTPUT, Target.MESSAGES_OUT, Target.GENERIC_OUT),
    SpanKind.TOOL: (
        Target.OBSERVATION_OUTPUT,
        Target.TOOL_OUTPUT,
        Target.GENERIC_OUT,
        Target.TOOL_EVENT_OUT,
        Target.MESSAGES_OUT,
    ),
}


def input_of(reading: Reading) -> Payload | None:
    return _first(reading, _INPUTS.get(reading.kind, _OTHERS_INPUT))


def output_of(reading: Reading) -> Payload | None:
    return _first(reading, _OUTPUTS.get(reading.kind, _OTHERS_OUTPUT))


def payload(reading: Reading, target: Target) -> Payload | None:
    found = reading.first(target)
    return found if isinstance(found, Payload) else None


def _first(reading: Reading, targets: Sequence[Target]) -> Payload | None:
    hits = reading.hits
    reading.empty_payloads.clear()
    for target in targets:
        if target in hits and (found := payload(reading, target)) is not None:
            return found
    if reading.kind is SpanKind.TOOL and reading.empty_payloads:
        empty = reading.empty_payloads[0]  # that is what a tool without arguments takes
        return empty if isinstance(empty, Payload) else None
    return None


# --- transforms ------------------------------------------------------------------------------


def generic(value: object, reading: Reading) -> object:
    """A value that may be anything."""
    found = json_of(value)
    inner, source = (value, None) if found is None else (found[0], found[1].encode())
    wrapped = unwrapped(inner)
    if wrapped is not inner:
        source = None if source is None else raw_member(source, inner, wrapped)
        inner = wrapped
    if reading.kind is SpanKind.TOOL:
        returned = tool_output(inner)
        if returned is not inner:
            inner, source = returned, None
    elif not isinstance(inner, str) and (known := only_messages(inner)) is not None:
        return messages_payload(known)
    payload = Payload(source or to_json(inner), inner)
    if not is_empty(inner):
        return payload
    if isinstance(inner, Mapping | list):
        reading.empty_payloads.append(payload)
    return None


def messages(value: object, reading: Reading) -> object:
    """A value that is messages by definition; if they aren't recognised, the value as it is."""
    return _as_messages(value, reading, canonical_messages)


def streamed_messages(value: object, reading: Reading) -> object:
    """Messages of which those with an empty finish reason are the beginning of the next one.

    Google ADK reports each piece of a stream as a message.
    """
    return _as_messages(value, reading, lambda inner: canonical_messages(_joined_pieces(inner)))


def _joined_pieces(inner: object) -> object:
    if not isinstance(inner, list) or not any(map(_is_piece, inner)):
        return inner
    joined: list[object] = []
    parts: list[object] = []
    for at, one in enumerate(inner):
        own = one.get("parts") if isinstance(one, Mapping) else None
        if not isinstance(own, list):
            return inner
        parts += own
        if at + 1 == len(inner) or not _is_piece(one):
            joined.append({**one, "parts": list(_joined_texts(parts))})
            parts = []
    return joined


def _is_piece(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("finish_reason") == ""


def _joined_texts(parts: Sequence[object]) -> Iterator[object]:
    for kind, run in groupby(parts, _text_type):
        if kind is None:
            yield from run
        else:
            texts = [one["content"] for one in run if isinstance(one, Mapping)]
            yield {"type": kind, "content": "".join(texts)}


def _text_type(part: object) -> str | None:
    """The type of a part that is text; None for other parts."""
    match part:
        case {"type": "text" | "reasoning" as kind, "content": str()}:
            return str(kind)
    return None


def messages_with_instructions(value: object, reading: Reading) -> object:
    """Messages after the system instructions, which have an attribute of their own."""

    def found(inner: object) -> list[Message] | None:
        known = canonical_messages(inner)
        instructions = _instructions(reading)
        if known is None or is_empty(instructions):
            return known
        return with_instructions(instructions, known)

    return _as_messages(value, reading, found)


def instructions_alone(value: object, _reading: Reading) -> object:
    """The system instructions of a call without other messages to the model."""
    found = with_instructions(value, [])
    return messages_payload(found) if found else None


def _as_messages(
    value: object, reading: Reading, read: Callable[[object], list[Message] | None]
) -> object:
    if reading.kind is SpanKind.TOOL:
        return generic(value, reading)
    inner = parsed(value)
    if (found := read(inner)) is not None:
        return messages_payload(found)
    return None if is_empty(inner) else Payload(json_text(value).encode(), inner)


def indexed(family: str) -> Transform:
    """The messages of an indexed family."""

    def found(value: object, reading: Reading) -> object:
        attributes = value if isinstance(value, Mapping) else {}
        if reading.kind is SpanKind.TOOL:
            items = indexed_items(attributes, [family]).get(family)
            return None if items is None else Payload(to_json(items), items)
        known = indexed_messages(attributes, family)
        return None if known is None else messages_payload(known)

    return found


def answer_with_calls(value: object, reading: Reading) -> object:
    """The answer of LiteLLM: messages without their tool calls, each of which is a completion."""
    family = "gen_ai.completion"
    items = indexed_items(value if isinstance(value, Mapping) else {}, [family]).get(family, [])
    calls = [
        one["function_call"] for one in items if isinstance(one, Mapping) and "function_call" in one
    ]
    found = canonical_messages(parsed(reading.attribute("gen_ai.output.messages")))
    if not calls or not found or any("tool_calls" in one for one in found):
        return None
    known = canonical_messages([found[0] | {"tool_calls": calls}, *found[1:]])
    return None if known is None else messages_payload(known)


def messages_in(value: object, reading: Reading) -> object:
    """The messages to the model in events."""
    return _of_events(value, reading, 0)


def messages_out(value: object, reading: Reading) -> object:
    """The answers of the model in events."""
    return _of_events(value, reading, 1)


def _of_events(value: object, reading: Reading, side: int) -> object:
    events = _events(value)
    if reading.kind is SpanKind.TOOL:
        sent = [in_order(one.attributes) for one in events]
        return Payload(to_json(sent), sent)
    found = event_messages((one.name, _ordered(one.attributes)) for one in events)[side]
    return None if found is None else messages_payload(found)


def event_member(key: str) -> Transform:
    """A member of the last event, as the value of a tool."""

    def found(value: object, reading: Reading) -> object:
        sent = [one.attributes.get(key) for one in _events(value)]
        given = [one for one in sent if not is_empty(one)]
        return generic(in_order(given[-1]), reading) if given else None

    return found


def vercel_answer(_value: object, reading: Reading) -> object:
    """The answer of Vercel's SDK, which has an attribute for each part."""
    text, calls, structured = (
        reading.attribute(f"ai.response.{part}") for part in ("text", "toolCalls", "object")
    )
    found = answer_message(text, calls, parsed(structured))
    return None if found is None else messages_payload(found)


def assistant_message(value: object, _reading: Reading) -> object:
    """Text of the assistant as its message."""
    if not isinstance(value, str):
        return None
    return messages_payload([{"role": ASSISTANT, "content": value}])


def conversation_before_answer(value: object, reading: Reading) -> object:
    """A whole conversation without its last answer, after the system instructions."""
    found = canonical_messages(parsed(value))
    if found is None:
        return None
    before, _ = split_answer(found)
    instructions = _instructions(reading)
    if not is_empty(instructions):
        before = with_instructions(instructions, before)
    return messages_payload(before) if before else None


def last_answer(value: object, _reading: Reading) -> object:
    found = canonical_messages(parsed(value))
    answer = split_answer(found)[1] if found else []
    return messages_payload(answer) if answer else None


def values(value: object, _reading: Reading) -> object:
    """A list whose items may be JSON in strings."""
    inner = parsed(value)
    if not isinstance(inner, list | tuple):
        return Payload(json_text(value).encode(), inner)
    given = [parsed(one) for one in inner]
    return Payload(f"[{','.join(map(json_text, inner))}]".encode(), given)


def items(family: str, *path: str) -> Transform:
    """The value at a path in each item of an indexed family."""

    def found(value: object, _reading: Reading) -> object:
        attributes = value if isinstance(value, Mapping) else {}
        given = indexed_items(attributes, [family]).get(family, [])
        for key in path:
            given = [one[key] for one in given if isinstance(one, Mapping) and key in one]
        return Payload(to_json(given), given) if given else None

    return found


def messages_payload(found: Sequence[Message]) -> Payload:
    value = {"messages": list(found)}
    return Payload(to_json(value), value)


def _instructions(reading: Reading) -> object:
    return reading.attribute("gen_ai.system_instructions")


def _ordered(attributes: Mapping[str, object]) -> Mapping[str, object]:
    return {key: in_order(attributes[key]) for key in sorted(attributes)}


def _events(value: object) -> Sequence[SentEvent]:
    return value if isinstance(value, list) else ()
