"""Finds the plan that an agent stated, if any."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import (
    decode_embedded_json,
    decode_json,
    last_message_text,
)
from domain.evaluation.trace_content.text import to_text
from domain.tracing.messages.json_value import child_values
from domain.tracing.messages.message_blocks import ASSISTANT

ITEMS_MIN: Final = 2  # a single step isn't a plan
ITEMS_MAX: Final = 30  # only the first items of a plan are used
LEVELS_MAX: Final = 5  # nesting levels of an output that are searched
TEXT_MAX: Final = 20_000  # characters of a text that are searched

_KEYS: Final = ("plan", "todos", "steps")
_ITEM_KEYS: Final = ("content", "title", "description", "task", "step", "text", "name")
_NUMBERED: Final = re.compile(
    r"^[ \t]*(?:\*\*|#{1,4} )?(?:step )?(\d{1,2})[.):][ \t*]*(\S.*)$", re.MULTILINE | re.IGNORECASE
)


def find_stated_plan(subject: EvaluatedTrace) -> Sequence[str]:
    """The items of the plan, in order; empty if none is stated.

    Tries, in this order: a numbered list in the first model output; a list under one of the usual
    keys in a model output or in tool arguments; the argument of a planning tool.
    """
    for found in _candidates(subject):
        if found:
            return [item.strip() for item in found[:ITEMS_MAX]]
    return []


def _candidates(subject: EvaluatedTrace) -> Iterable[Sequence[str]]:
    outputs = [decode_json(span.output) for span in subject.model_calls]
    if outputs:
        yield _numbered(last_message_text(ASSISTANT, outputs[0]).text)
    for output in outputs:
        yield _under_a_key(output)
        yield _under_a_key(decode_embedded_json(last_message_text(ASSISTANT, output).text))
    for call in subject.tool_calls:
        yield _under_a_key(call.arguments)
    for call in subject.tool_calls:
        if "plan" in call.name.lower() or "todo" in call.name.lower():
            yield _argument(call.arguments)


def _numbered(text: str) -> Sequence[str]:
    """The first list in the text that is numbered consecutively from 1."""
    items: list[str] = []
    for number, item in _NUMBERED.findall(text[:TEXT_MAX]):
        if int(number) == len(items) + 1:
            items.append(item)
        elif len(items) >= ITEMS_MIN:
            break
        else:
            items = [item] if int(number) == 1 else []
    return items if len(items) >= ITEMS_MIN else []


def _under_a_key(value: object) -> Sequence[str]:
    level = [value]
    for _ in range(LEVELS_MAX):
        for one in level:
            if isinstance(one, Mapping):
                for key in _KEYS:
                    if items := _items(one.get(key)):
                        return items
        level = [inner for one in level for inner in _by_key(one)]
    return []


def _by_key(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return [value[key] for key in sorted(value)]  # a store may not preserve the key order
    return child_values(value)


def _items(value: object) -> Sequence[str]:
    if not isinstance(value, list):
        return []
    items = [text for one in value if (text := _item(one)).strip()]
    return items if len(items) >= ITEMS_MIN else []


def _item(one: object) -> str:
    if isinstance(one, Mapping):
        text = next((one[key] for key in _ITEM_KEYS if isinstance(one.get(key), str)), None)
        return to_text(one if text is None else text)
    return to_text(one)


def _argument(arguments: object) -> Sequence[str]:
    for one in (arguments, *_by_key(arguments)):
        if items := _items(one):
            return items
        if isinstance(one, str) and one.strip():
            lines = [line for line in one[:TEXT_MAX].splitlines() if line.strip()]
            return _numbered(one) or lines
    return []
