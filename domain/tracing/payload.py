"""JSON that passes through: kept as text, so that every digit and every escape comes back.

A payload is the UTF-8 text of one JSON value, as it was sent. Only objects that merge
(metadata) are ever looked into, and of those only the top-level keys; the ways in refuse NUL and
lone surrogates there, which are no text to search for.
"""

import json
from typing import Final

type JsonText = bytes
"""One JSON value as UTF-8 text. `null` isn't kept: a payload that is absent is None."""

EMPTY_OBJECT: Final[JsonText] = b"{}"

_decoder: Final = json.JSONDecoder(parse_int=str, parse_float=str)
_BLANK: Final = " \t\r\n"


def object_members(text: JsonText) -> dict[str, str]:
    """The top-level keys of a JSON object, each with the text of its value. The last one wins."""
    source = text.decode()
    found: dict[str, str] = {}
    at = _skip(source, source.index("{") + 1)
    while source[at] != "}":
        key, at = _decoder.raw_decode(source, at)
        start = _skip(source, _skip(source, at) + 1)
        _, at = _decoder.raw_decode(source, start)
        found[key] = source[start:at]
        at = _skip(source, at)
        if source[at] == ",":
            at = _skip(source, at + 1)
    return found


def scalar_members(text: JsonText) -> dict[str, str]:
    """The top-level members that are no object and no array, each as one text.

    A string is its own text; a number, a boolean and null are their JSON text, as it was sent.
    """
    if text == EMPTY_OBJECT:
        return {}
    return {
        key: json.loads(value) if value[0] == '"' else value
        for key, value in object_members(text).items()
        if value[0] not in "{["
    }


def merged_objects(old: JsonText, new: JsonText) -> JsonText:
    """`old` with the top-level keys of `new` put over it: a shallow merge, the newer value wins.

    Associative in the text too: what was merged has no blanks between members, on whatever way,
    and an object without any, however it is written, changes nothing.
    """
    if new in {EMPTY_OBJECT, old}:
        return old
    if old == EMPTY_OBJECT:
        return new
    if _is_empty(new):
        return old
    if _is_empty(old):
        return new
    return _text(object_members(old) | object_members(new))


def without_key(text: JsonText, key: str) -> JsonText:
    """An object without one of its top-level keys; the same text where it hasn't got it."""
    known = object_members(text)
    return text if known.pop(key, None) is None else _text(known)


def _text(known: dict[str, str]) -> JsonText:
    return ("{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in known.items()) + "}").encode()


def _is_empty(text: JsonText) -> bool:
    return not text.strip(b" \t\r\n{}")


def _skip(source: str, at: int) -> int:
    while source[at] in _BLANK:
        at += 1
    return at
