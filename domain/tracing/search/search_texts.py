"""The searched texts of a trace: those in its names, payloads and errors.

The texts of a payload are its strings and numbers, without the keys of objects. A string that is an
array or an object in JSON again, as arguments of tools often are, counts as its strings and
numbers. Base64 of files isn't searched.
"""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from domain.ids import SpanId
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span
from domain.tracing.trace import Trace

NESTED_TEXTS_MAX: Final = 2  # levels of JSON within strings of JSON
BASE64_CHARS_MIN: Final = 1_024  # so long, without a blank, it's no text of people

# Possessive: taking line breaks back would compare each with all that follow.
_BASE64: Final = re.compile(r"(?:data:[^,\s]{0,200};base64,)?[A-Za-z0-9+/_\-\r\n]++={0,2}+\s*+")


class SearchField(StrEnum):
    NAME = "name"
    INPUT = "input"
    OUTPUT = "output"
    ERROR = "error"
    METADATA = "metadata"  # is searched within one trace only


class SearchedValue(NamedTuple):
    """A value that is searched: a text, or JSON. `span` is None for one of the trace itself."""

    span: SpanId | None
    field: SearchField
    value: str | JsonText

    def texts(self) -> Iterator[str]:
        """Its texts, in order."""
        if isinstance(self.value, str):
            yield self.value
        else:
            yield from payload_texts(self.value)


def searched_values(trace: Trace) -> Iterator[SearchedValue]:
    """The values of the trace, then those of its spans in their order."""
    yield from searched_values_of_trace(trace)
    for span in trace.spans:
        yield from searched_values_of_span(span)


def searched_values_of_trace(trace: Trace) -> Iterator[SearchedValue]:
    """The values of the trace itself."""
    yield SearchedValue(None, SearchField.NAME, trace.name)
    if trace.input is not None:
        yield SearchedValue(None, SearchField.INPUT, trace.input)
    if trace.output is not None:
        yield SearchedValue(None, SearchField.OUTPUT, trace.output)


def searched_values_of_span(span: Span) -> Iterator[SearchedValue]:
    """The values of the span itself."""
    yield SearchedValue(span.id, SearchField.NAME, span.name)
    if span.input is not None:
        yield SearchedValue(span.id, SearchField.INPUT, span.input)
    if span.output is not None:
        yield SearchedValue(span.id, SearchField.OUTPUT, span.output)
    if span.error is not None:
        yield SearchedValue(span.id, SearchField.ERROR, span.error)


def payload_texts(payload: JsonText) -> Iterator[str]:
    """The strings and numbers of a payload, in order; all of it if it is nested too deeply."""
    text = payload.decode()
    value = _parsed(text)
    yield from (text,) if value is None else _texts(value, 0)


def _values(pairs: list[tuple[str, object]]) -> list[object]:
    return [value for _, value in pairs]


# Keeps every digit, and all values of a key that occurs twice.
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_values, parse_int=str, parse_float=str, parse_constant=str
)


def _parsed(text: str) -> object:
    """None also for what can't be parsed."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _texts(value: object, level: int) -> Iterator[str]:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack.extend(reversed(one))
        elif isinstance(one, str):
            if len(one) >= BASE64_CHARS_MIN and _BASE64.fullmatch(one):
                continue
            inner = None
            if level < NESTED_TEXTS_MAX and one[:1] in {"{", "["}:
                inner = _parsed(one)
            if inner is None:
                yield one
            else:
                yield from _texts(inner, level + 1)
