"""JSON values of attributes: parsed once, and stored digit by digit where nothing changed."""

import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

import msgspec

from domain.tracing.messages.json_value import ExactFloat

# JSON inside a string stays text if it has more than this. Parsing it would hold the interpreter
# for long, and take many times its size: an empty array takes two bytes there and 56 in memory.
LEVELS_MAX: Final = 500  # as in a native request
PARSED_VALUES_MAX: Final = 200_000
PARSED_CHARS_MAX: Final = 16 << 20
REPAIRED_CHARS_MAX: Final = 1 << 20

NUL: Final = "\x00"
REPLACEMENT: Final = "\ufffd"  # for NUL, which text columns can't store
_NUL_ESCAPE: Final = b"\\u0000"


def _float(digits: str) -> float | str:
    number = float(digits)
    if repr(number) == digits:
        return number
    return ExactFloat(digits) if math.isfinite(number) else digits


def _digits(value: object) -> msgspec.Raw:
    if isinstance(value, ExactFloat):
        return msgspec.Raw(value.digits.encode())
    raise TypeError


_encode = msgspec.json.Encoder(enc_hook=_digits).encode
# Gives equal bytes for equal fragments or events, also if they contain parsed JSON.
sorted_bytes: Final = msgspec.json.Encoder(enc_hook=_digits, order="deterministic").encode
_decode = msgspec.json.Decoder(float_hook=_float).decode


class _WithId(msgspec.Struct):
    id: object = None


_with_id = msgspec.json.Decoder(_WithId).decode
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

STRUCTURES: Final = frozenset({dict, list, tuple})
NEVER_EMPTY: Final = frozenset({bool, int, float})

OPENS_JSON: Final = frozenset('{["')


def json_of(value: object) -> tuple[object, str] | None:
    """The value and the text of JSON in a string that begins with `{`, `[` or `"`.

    None for anything else, for text that isn't JSON, and for JSON that is nested too deep.
    """
    if type(value) is not str or value[:1] not in OPENS_JSON:
        return None
    if len(value) > 2 * PARSED_VALUES_MAX and _is_too_much(value):
        return None
    try:
        found: object = _decode(value)
    except msgspec.DecodeError:
        if "\\u" not in value or len(value) > REPAIRED_CHARS_MAX:
            return None
        repaired = _HALF_CHARACTER.sub(_without_half, value)
        return None if repaired == value else json_of(repaired)
    except (RecursionError, UnicodeError):
        return None
    return None if is_deeper(value, LEVELS_MAX) else (found, value)


def _is_too_much(text: str) -> bool:
    """Whether it may have more values than are parsed: each has a bracket or a comma before it."""
    return len(text) > PARSED_CHARS_MAX or sum(map(text.count, ",[{")) > PARSED_VALUES_MAX


def is_deeper(text: str, levels: int) -> bool:
    """Whether valid JSON is nested deeper. Takes a tenth of the time of parsing it."""
    if len(text) <= levels or text.count("[") + text.count("{") <= levels:
        return False
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    brackets = "".join(text.split('"')[::2]).encode().translate(_ONE_KIND, _NO_BRACKETS)
    removed = min(levels, _USUAL_LEVELS)
    for _ in range(removed):  # the innermost level each time; most texts are decided here
        brackets = brackets.replace(b"[]", b"")
    steps = map(_STEPS.__getitem__, brackets)
    return max(accumulate(steps, initial=0)) > levels - removed


_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = {ord("["): 1, ord("]"): -1}
_USUAL_LEVELS: Final = 16  # of messages and the like


# JavaScript cuts characters of two units in half: half of one can't be stored as text.
_HALF_CHARACTER: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\."
)
_HALF_LENGTH: Final = 6


def _without_half(escape: re.Match[str]) -> str:
    return "\\ufffd" if len(escape[0]) == _HALF_LENGTH else escape[0]


def parsed(value: object) -> object:
    """The value; a text that begins with `{`, `[` or `"` is parsed once, and kept if that fails."""
    found = json_of(value)
    return value if found is None else found[0]


def to_json(value: object) -> bytes:
    """JSON text of a value of an attribute, or of parsed JSON."""
    try:
        return _encode(value)
    except UnicodeError:
        return _encode(_storable(value))


def json_text(value: object) -> str:
    """As `to_json`; a text that is JSON itself is returned as it is, digit by digit."""
    found = json_of(value)
    return to_json(value).decode() if found is None else found[1]


def member_id(value: object) -> str | None:
    """The `id` of a JSON object, which is otherwise passed over; None without one."""
    if type(value) is not str or value[:1] != "{":
        value = value.get("id") if isinstance(value, Mapping) else None
    else:
        try:
            value = _with_id(value).id
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return None
    return value if isinstance(value, str) else None


def json_string(text: str) -> str:
    return _encode(text).decode()


def in_order(value: object) -> object:
    """The value with the members of all maps in order.

    Stored fragments have their keys sorted: so a value gives the same text before and after.
    """
    kind = type(value)
    if kind is str or kind is int or kind is float:
        return value
    if isinstance(value, Mapping):
        return {key: in_order(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [in_order(one) for one in value]
    return value


def raw_member(text: bytes, parsed_object: object, value: object) -> bytes | None:
    """The text of a member of a JSON object, found by its value; None if it has none."""
    if not isinstance(parsed_object, Mapping):
        return None
    key = next(key for key, one in parsed_object.items() if one is value)
    return bytes(_raw_members(text)[key])


def is_empty(value: object) -> bool:
    """Whether a source gives nothing: null, empty text, array or object."""
    return not value and type(value) not in NEVER_EMPTY


def plain_text(text: str) -> str:
    """The text in a form that a text column stores."""
    return text.replace(NUL, REPLACEMENT) if NUL in text else text


def without_nul(text: bytes) -> bytes:
    """JSON text without the escape of NUL, for which PostgreSQL can't search."""
    if _NUL_ESCAPE not in text:
        return text
    return to_json(_storable(_decode(text)))


def _storable(value: object) -> object:
    """The value without NUL, and without halves of characters, which JSON in JSON may have."""
    if isinstance(value, str):
        return plain_text(value).encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(key): _storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return value
