"""Single values as clients spell them, and as the domain wants them.

Each spelling that the contract accepts is here, and no other: a number where a string is due
stays a mistake.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID

import msgspec.inspect as mi

type Scalar = str | int | float | bool | None

DIGITS_MAX: Final = 400  # of a number: the longest double has 309 before its point
MILLISECONDS_FROM: Final = 20_000_000_000  # an epoch beyond it (the year 2603) is in milliseconds
INSTANT: Final = "must be a date and time, e.g. 2026-03-01T09:00:00Z"
EPOCH_END: Final = 10**18  # beyond every year, in either unit; spares the arithmetic
OUT_OF_RANGE: Final = "is out of range"
NUL: Final = "must not contain the character U+0000"

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
_NUMERIC: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_UUID: Final = re.compile(
    r"(?:urn:uuid:)?(\{)?([0-9a-f]{8}(-?)[0-9a-f]{4}\3[0-9a-f]{4}\3[0-9a-f]{4}\3[0-9a-f]{12})(?(1)\})",
    re.IGNORECASE,
)
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = Context(prec=3 * DIGITS_MAX)


class Refused(ValueError):  # noqa: N818 - a client's slip, not an error of ours
    """A value that isn't one of the spellings; the message says what is due."""


def parse_instant(value: str | float) -> datetime:
    """An instant in UTC, digits below a microsecond cut off. Raises Refused.

    RFC 3339, with a space for the T, without a zone (taken as UTC), or the date only (midnight
    UTC); else an epoch as a number or numeric string, in seconds or in milliseconds.
    """
    if not isinstance(value, str):
        return _from_epoch(value)
    if _RFC3339.fullmatch(value) is None:
        return _from_epoch(_decimal(value, INSTANT))
    try:
        found = datetime.fromisoformat(value if value[-1] != "z" else value.upper())
        if found.tzinfo is UTC:
            return found
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError as error:
        raise Refused(INSTANT) from error
    except OverflowError as error:
        raise Refused(OUT_OF_RANGE) from error


def _from_epoch(number: float | Decimal) -> datetime:
    if not -EPOCH_END < number < EPOCH_END:
        raise Refused(OUT_OF_RANGE)
    exact = number if isinstance(number, Decimal) else Decimal(repr(number))
    try:
        digits = 3 if abs(exact) > MILLISECONDS_FROM else 6
        return _EPOCH + timedelta(microseconds=int(exact.scaleb(digits, _EXACT)))
    except (ArithmeticError, ValueError) as error:
        raise Refused(OUT_OF_RANGE) from error


def parse_uuid(text: str) -> UUID:
    """Any case, with or without hyphens, in braces or after `urn:uuid:`. Raises Refused."""
    found = _UUID.fullmatch(text)
    if found is None:
        raise Refused("must be a UUID")
    return UUID(found[2])


def _decimal(text: str, due: str) -> Decimal:
    if len(text) > DIGITS_MAX or _NUMERIC.fullmatch(text) is None:
        raise Refused(due)
    return Decimal(text)


def converted(  # noqa: C901, PLR0911 - one return a kind
    kind: mi.Type, extra: Mapping[str, Any], value: Scalar, *, is_word: bool
) -> object:
    """`value` as the wire type `kind` wants it. Raises Refused.

    `value` is of JSON, or a word of a path or query (`is_word`), which may also be a boolean.
    """
    if extra.get("scalar") == "instant":
        if value is None or isinstance(value, bool):
            raise Refused(INSTANT)
        parse_instant(value)
        return value  # as the wire type has it; who takes it to the domain parses it
    match kind:
        case mi.StrType():
            return _text(kind, value)
        case mi.IntType():
            return _whole(kind, value)
        case mi.FloatType():
            return _real(kind, value)
        case mi.BoolType():
            return _truth(value, is_word=is_word)
        case mi.UUIDType():
            return parse_uuid(_string(value))
        case mi.DateTimeType():
            return parse_instant(_string(value))
        case mi.EnumType():
            names = {str(one.value): one for one in kind.cls}
            return _one_of(names, value)
        case mi.LiteralType():
            return _one_of({str(one): one for one in kind.values}, value)
    raise TypeError(f"no spelling of {kind} is known")


def _string(value: Scalar) -> str:
    if value is None:
        raise Refused("must not be null")
    if not isinstance(value, str):
        raise Refused("must be a string")
    return value


def _text(kind: mi.StrType, value: Scalar) -> str:
    text = _string(value)
    if "\0" in text:
        raise Refused(NUL)
    least, most = kind.min_length or 0, kind.max_length
    if len(text) < least or (most is not None and len(text) > most):
        raise Refused(_length(least, most, "characters"))
    if kind.pattern is not None and re.search(kind.pattern, text) is None:
        raise Refused(f"must match {kind.pattern}")
    return text


def _length(least: int, most: int | None, unit: str) -> str:
    if most is None:
        return f"must hold at least {least} {unit}"
    return f"must hold {least} to {most} {unit}" if least else f"must hold at most {most} {unit}"


def check_count(
    kind: mi.ListType | mi.VarTupleType | mi.DictType, most: int | None, n: int
) -> None:
    """Raises Refused unless a collection of `n` is as long as `kind` and `most` say."""
    least, most = kind.min_length or 0, kind.max_length if most is None else most
    if n < least or (most is not None and n > most):
        raise Refused(_length(least, most, "items"))


def _number(value: Scalar, due: str) -> Decimal:
    if isinstance(value, str):
        return _decimal(value, due)
    if value is None:
        raise Refused("must not be null")
    if isinstance(value, bool):
        raise Refused(due)
    if not math.isfinite(value):
        raise Refused(OUT_OF_RANGE)
    return Decimal(repr(value))


def _whole(kind: mi.IntType, value: Scalar) -> int:
    due = "must be a whole number"
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        number = _number(value, due)
        if number.adjusted() > DIGITS_MAX:
            raise Refused(OUT_OF_RANGE)
        found = int(number)
        if found != number:
            raise Refused(due)
    _check_bounds(kind, found)
    return found


def _real(kind: mi.FloatType, value: Scalar) -> float:
    number = float(_number(value, "must be a number"))
    if not math.isfinite(number):
        raise Refused(OUT_OF_RANGE)
    _check_bounds(kind, number)
    return number


def _check_bounds(kind: mi.IntType | mi.FloatType, number: float) -> None:
    if (
        (kind.ge is not None and number < kind.ge)
        or (kind.le is not None and number > kind.le)
        or (kind.gt is not None and number <= kind.gt)
        or (kind.lt is not None and number >= kind.lt)
    ):
        raise Refused(_bounds(kind))


def _bounds(kind: mi.IntType | mi.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f"must be between {kind.ge} and {kind.le}"
    named = {"at least": kind.ge, "at most": kind.le, "above": kind.gt, "below": kind.lt}
    said = [f"{word} {bound}" for word, bound in named.items() if bound is not None]
    return f"must be {' and '.join(said)}"


def _truth(value: Scalar, *, is_word: bool) -> bool:
    if isinstance(value, bool):
        return value
    if is_word and isinstance(value, str):
        word = value.lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    raise Refused("must be true or false")


def _one_of(names: Mapping[str, object], value: Scalar) -> object:
    text = _string(value)
    if text not in names:
        raise Refused(f"must be one of {', '.join(names)}")
    return names[text]
