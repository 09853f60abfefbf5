"""JSON values of attributes: parsed once, and stored digit by digit where nothing changed."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from domain.tracing.json_scan import TooDeep, check_size
from domain.tracing.json_value import ExactFloat

LEVELS_MAX: Final = 500  # of JSON inside a string, as in a native request; deeper stays text
_VALUES_MAX: Final = 1 << 62  # without a bound: the size of a request is one

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
_decode = msgspec.json.Decoder(float_hook=_float).decode
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_NEVER_EMPTY: Final = frozenset({bool, int, float})

OPENS_JSON: Final = frozenset('{["')


def parse_json(text: str) -> object:
    """The JSON value of a text. Raises ValueError if it is none, or is nested too deep."""
    try:
        value: object = _decode(text)
        if len(text) > LEVELS_MAX and text.count("[") + text.count("{") > LEVELS_MAX:
            check_size(text.encode(), LEVELS_MAX, _VALUES_MAX)
    except (msgspec.DecodeError, RecursionError, UnicodeError, TooDeep) as problem:
        raise ValueError(str(problem)) from problem
    return value


def parsed(value: object) -> object:
    """The value; a text that begins with `{`, `[` or `"` is parsed once, and kept if that fails."""
    if type(value) is str and value[:1] in OPENS_JSON:
        try:
            return parse_json(value)
        except ValueError:
            return value
    return value


def to_json(value: object) -> bytes:
    """JSON text of a value of an attribute, or of parsed JSON."""
    try:
        return _encode(value)
    except UnicodeError:
        return _encode(_storable(value))


def json_text(value: object) -> str:
    """As `to_json`; a text that is JSON itself is returned as it is, digit by digit."""
    if type(value) is str and value[:1] in OPENS_JSON:
        try:
            parse_json(value)
        except ValueError:
            pass
        else:
            return value
    return to_json(in_order(value)).decode()


def json_string(text: str) -> str:
    return _encode(text).decode()


def in_order(value: object) -> object:
    """The value with the members of all maps in order.

    Stored fragments have their keys sorted: so a value gives the same text before and after.
    """
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
    return not value and type(value) not in _NEVER_EMPTY


def plain_text(text: str) -> str:
    """The text in a form that a text column stores."""
    if NUL in text:
        text = text.replace(NUL, REPLACEMENT)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def without_nul(text: bytes) -> bytes:
    """JSON text without the escape of NUL, for which PostgreSQL can't search."""
    if _NUL_ESCAPE not in text:
        return text
    return to_json(_storable(_decode(text)))


def _storable(value: object) -> object:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, Mapping):
        return {plain_text(key): _storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return value
