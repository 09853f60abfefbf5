"""JSON payloads, stored as text, so that every digit and escape is returned unchanged.

A payload is the UTF-8 text of one JSON value, as it was sent. Only metadata objects are parsed, and
only their top-level keys, to merge and search them. Requests can't contain NUL or unpaired
surrogates there, since such text can't be searched for.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from domain.errors import Invalid
from domain.tracing.payloads.json_scan import WINDOW_BYTES, TooManyValues, check_size

OBJECT_VALUES_MAX: Final = 10_000  # members and items; parsing as many takes 5 ms
MERGED_BYTES_MAX: Final = 20 << 20  # of an object that several reports made: as in one request
TOO_MANY_VALUES: Final = f"must not contain more than {OBJECT_VALUES_MAX:,} members and items"

_LEVELS_MAX: Final = 1_000  # more than a request may have

type JsonText = bytes
"""One JSON value as UTF-8 text. `null` isn't stored: an absent payload is None."""

type JsonView = JsonText | memoryview
"""A JsonText, or a part of a larger text that wasn't copied."""

EMPTY_OBJECT: Final[JsonText] = b"{}"

_decoder: Final = json.JSONDecoder(parse_int=str, parse_float=str)
_BLANK: Final = " \t\r\n"
_BLANKS: Final = re.compile(r"[ \t\r\n]*+")


def object_members(text: JsonText) -> dict[str, str]:
    """The top-level keys of a JSON object with the text of each value. The last duplicate wins."""
    return dict(_members(text))


def _members(text: JsonText) -> Iterator[tuple[str, str]]:
    source = text.decode()
    at = _skip(source, source.index("{") + 1)
    while source[at] != "}":
        key, at = _decoder.raw_decode(source, at)
        start = _skip(source, _skip(source, at) + 1)
        _, at = _decoder.raw_decode(source, start)
        yield key, source[start:at]
        at = _skip(source, at)
        if source[at] == ",":
            at = _skip(source, at + 1)


def array_items(text: str) -> list[str]:
    """The items of a JSON array, each with its text. Blanks before the array aren't allowed."""
    items: list[str] = []
    at = _skip(text, 1)
    while text[at] != "]":
        start = at
        _, at = _decoder.raw_decode(text, start)
        items.append(text[start:at])
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return items


def scalar_members(text: JsonText, at_most: int | None = None) -> dict[str, str]:
    """The top-level members that aren't objects or arrays, each as text.

    A string gives its value; a number, a boolean and null give their JSON text, as it was sent.
    Stops after `at_most` of them.
    """
    found: dict[str, str] = {}
    if text == EMPTY_OBJECT:
        return found
    for key, value in _members(text):
        if value[0] in "{[":
            found.pop(key, None)  # a duplicate
        else:
            found[key] = json.loads(value) if value[0] == '"' else value
            if len(found) == at_most:
                break
    return found


def merged_objects(*texts: JsonText) -> JsonText:
    """A shallow merge: the top-level keys of a text override those of the texts before it.

    Associative also in its text: a merged object has no whitespace between members, in any order of
    merging, and merging an empty object, however it is written, changes nothing.
    Raises Invalid if the result is larger than a request may make an object, so that each later
    merge stays cheap.
    """
    merged = last = texts[0]
    members: dict[str, str] | None = None  # once two objects have members
    for text in texts[1:]:
        if text in {EMPTY_OBJECT, last} or (_is_empty(text) and merged != EMPTY_OBJECT):
            continue
        if members is None and _is_empty(merged):
            merged = text
        else:
            members = object_members(merged) if members is None else members
            members |= _members(text)
        last = text
    if members is None:
        return merged
    merged = object_from_members(members)
    check_merged(merged)
    return merged


def check_merged(merged: JsonText) -> None:
    """Raises Invalid if an object is larger than `merged_objects` may make it."""
    if len(merged) > MERGED_BYTES_MAX:
        size_mib = MERGED_BYTES_MAX >> 20
        raise Invalid.field("metadata", f"would exceed {size_mib} MiB after the merge")
    try:
        check_size(merged, _LEVELS_MAX, OBJECT_VALUES_MAX)
    except TooManyValues as error:
        raise Invalid.field("metadata", f"{TOO_MANY_VALUES} after the merge") from error


def without_key(text: JsonText, key: str) -> JsonText:
    """The object without one of its top-level keys; the same text if it lacks the key."""
    known = object_members(text)
    return text if known.pop(key, None) is None else object_from_members(known)


def object_from_members(known: Mapping[str, str]) -> JsonText:
    """The JSON object with these keys, each with the JSON text of its value."""
    return ("{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in known.items()) + "}").encode()


def _is_empty(text: JsonText) -> bool:
    return not text.strip(b" \t\r\n{}")


def _skip(source: str, at: int) -> int:
    while source[at] in _BLANK:
        at = _BLANKS.match(source, at, at + WINDOW_BYTES).end()  # type: ignore[union-attr] # it matches the empty text
    return at
