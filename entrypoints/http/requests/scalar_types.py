"""Scalar values: the spellings that clients may send, converted to domain values.

Every spelling that the contract accepts is listed here. A number in place of a string, for
example, is an error.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
import msgspec.inspect as mi

from domain.errors import Invalid
from domain.plain_text import validate_plain

type Scalar = str | int | float | bool | None

DIGITS_MAX: Final = 400  # of a number: the longest double has 309 before its point
MILLISECONDS_FROM: Final = 20_000_000_000  # an epoch beyond it (the year 2603) is in milliseconds
EPOCH_END: Final = 10**18  # beyond every year, in either unit; spares the arithmetic
INSTANT_EXPECTED: Final = "must be a date and time, e.g. 2026-03-01T09:00:00Z"
OUT_OF_RANGE: Final = "is out of range"
INSTANT_OUT_OF_RANGE: Final = "must be within the years 1 to 9999, in UTC"
NUL_MESSAGE: Final = "must not contain the character U+0000"

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
# The ends of common spellings by their length: in UTC, with 0, 3 or 6 digits below the second.
# msgspec reads them in half the time; it accepts only what we accept, and rounds none of them.
_COMMON_ENDS: Final = {20: "Z", 24: "Z", 27: "Z", 25: "+00:00", 29: "+00:00", 32: "+00:00"}
_NUMERIC: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_UUID: Final = re.compile(
    r"(?:urn:uuid:)?(\{)?([0-9a-f]{8}(-?)[0-9a-f]{4}\3[0-9a-f]{4}\3[0-9a-f]{4}\3[0-9a-f]{12})(?(1)\})",
    re.IGNORECASE,
)
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = Context(prec=3 * DIGITS_MAX)


class InvalidValue(ValueError):  # noqa: N818 - an error of the client, not of ours
    """A value in none of the accepted spellings; the message says what is expected.

    `is_semantic` is that of FieldError. If it `is_postponed`, the value is used nevertheless, and
    the error is one of `FieldErrors.postponed`.
    """

    def __init__(
        self, message: str, *, is_semantic: bool = False, is_postponed: bool = False
    ) -> None:
        super().__init__(message)
        self.is_semantic = is_semantic
        self.is_postponed = is_postponed


def domain_check(
    rule: Callable[[Any], object], *, is_postponed: bool = False
) -> Callable[[Any], None]:
    """A rule of the domain as a `check` of a wire type: InvalidValue takes the place of Invalid."""

    def check(value: Any) -> None:
        try:
            rule(value)
        except Invalid as invalid:
            first = invalid.errors[0]
            raise InvalidValue(
                first.message, is_semantic=first.is_semantic, is_postponed=is_postponed
            ) from invalid

    return check


def parse_instant(value: str | float) -> datetime:
    """An instant in UTC. Digits below a microsecond are cut off. Raises InvalidValue.

    RFC 3339, also with a space for the T, without a zone (taken as UTC), or as a date only
    (midnight UTC); or an epoch as a number or numeric string, in seconds or milliseconds.
    """
    if not isinstance(value, str):
        return _from_epoch(value)
    end = _COMMON_ENDS.get(len(value))
    if end is not None and value.endswith(end):
        try:
            return msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            return parse_any_instant(value)
    return parse_any_instant(value)


def parse_any_instant(value: str) -> datetime:
    """As `parse_instant`, for all accepted spellings in a text."""
    if _RFC3339.fullmatch(value) is None:
        return _from_epoch(_decimal(value, INSTANT_EXPECTED))
    try:
        at = datetime.fromisoformat(value if value[-1] != "z" else value.upper())
        if at.tzinfo is UTC:
            return at
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidValue(INSTANT_EXPECTED) from error
    except OverflowError as error:
        raise InvalidValue(INSTANT_OUT_OF_RANGE) from error


def parse_optional_instant(value: str | float | None) -> datetime | None:
    """As `parse_instant`; None for None."""
    return None if value is None else parse_instant(value)


def _from_epoch(number: float | Decimal) -> datetime:
    if not -EPOCH_END < number < EPOCH_END:
        raise InvalidValue(INSTANT_OUT_OF_RANGE)
    exact = number if isinstance(number, Decimal) else Decimal(repr(number))
    try:
        digits = 3 if abs(exact) > MILLISECONDS_FROM else 6
        return _EPOCH + timedelta(microseconds=int(exact.scaleb(digits, _EXACT)))
    except (ArithmeticError, ValueError) as error:
        raise InvalidValue(INSTANT_OUT_OF_RANGE) from error


def parse_uuid(text: str) -> UUID:
    """Any case, with or without hyphens, in braces or after `urn:uuid:`. Raises InvalidValue."""
    match = _UUID.fullmatch(text)
    if match is None:
        raise InvalidValue("must be a UUID")
    return UUID(match[2])


def _decimal(text: str, expected: str) -> Decimal:
    if len(text) > DIGITS_MAX or _NUMERIC.fullmatch(text) is None:
        raise InvalidValue(expected)
    return Decimal(text)


def convert_scalar(  # noqa: C901, PLR0911 - one return per type
    wire_type: mi.Type, extra: Mapping[str, Any], value: Scalar, *, from_text: bool
) -> object:
    """`value` as the wire type requires it. Raises InvalidValue.

    `value` is a JSON scalar, or the text of a path or query parameter (`from_text`), which may
    spell a boolean. `extra` may say what a text with a pattern is `expected` to be.
    """
    if extra.get("scalar") == "instant":
        if value is None or isinstance(value, bool):
            raise InvalidValue(INSTANT_EXPECTED)
        parse_instant(value)
        return value  # the wire type keeps the spelling; `to_domain` parses it
    match wire_type:
        case mi.StrType():
            return _text(wire_type, value, extra.get("expected"))
        case mi.IntType():
            return _integer(wire_type, value)
        case mi.FloatType():
            return _float(wire_type, value)
        case mi.BoolType():
            return _boolean(value, from_text=from_text)
        case mi.UUIDType():
            return parse_uuid(_string(value))
        case mi.DateTimeType():
            return parse_instant(_string(value))
        case mi.EnumType():
            members = {str(member.value): member for member in wire_type.cls}
            return _member(members, value)
        case mi.LiteralType():
            return _member({str(literal): literal for literal in wire_type.values}, value)
    raise TypeError(f"{wire_type} has no spellings")


def _string(value: Scalar) -> str:
    if value is None:
        raise InvalidValue("must not be null")
    if not isinstance(value, str):
        raise InvalidValue("must be a string")
    return value


def _text(wire_type: mi.StrType, value: Scalar, expected: str | None) -> str:
    text = _string(value)
    if "\0" in text:
        raise InvalidValue(NUL_MESSAGE)
    length_min, length_max = wire_type.min_length or 0, wire_type.max_length
    if len(text) < length_min or (length_max is not None and len(text) > length_max):
        raise InvalidValue(_length_message(length_min, length_max, "characters"))
    if wire_type.pattern is not None and re.search(wire_type.pattern, text) is None:
        raise InvalidValue(expected or f"must match {wire_type.pattern}")
    return text


def _length_message(length_min: int, length_max: int | None, unit: str) -> str:
    if length_max is None:
        return (
            "must not be empty" if length_min == 1 else f"must contain at least {length_min} {unit}"
        )
    if length_min:
        return f"must contain {length_min} to {length_max} {unit}"
    return f"must contain at most {length_max} {unit}"


def check_count(
    wire_type: mi.ListType | mi.VarTupleType | mi.DictType, count_max: int | None, count: int
) -> None:
    """Checks the length of a collection against its type and `count_max`. Raises InvalidValue."""
    count_min = wire_type.min_length or 0
    count_max = wire_type.max_length if count_max is None else count_max
    if count < count_min or (count_max is not None and count > count_max):
        raise InvalidValue(_length_message(count_min, count_max, "items"))


def _number(value: Scalar, expected: str) -> Decimal:
    if isinstance(value, str):
        return _decimal(value, expected)
    if value is None:
        raise InvalidValue("must not be null")
    if isinstance(value, bool):
        raise InvalidValue(expected)
    if isinstance(value, float) and not math.isfinite(value):  # an int may be beyond any double
        raise InvalidValue(OUT_OF_RANGE)
    return Decimal(repr(value))


def _integer(wire_type: mi.IntType, value: Scalar) -> int:
    expected = "must be a whole number"
    if isinstance(value, int) and not isinstance(value, bool):
        integer = value
    else:
        number = _number(value, expected)
        if number.adjusted() > DIGITS_MAX:
            raise InvalidValue(_bounds_message(wire_type))
        integer = int(number)
        if integer != number:
            raise InvalidValue(expected)
    _check_bounds(wire_type, integer)
    return integer


def _float(wire_type: mi.FloatType, value: Scalar) -> float:
    number = float(_number(value, "must be a number"))
    if not math.isfinite(number):
        raise InvalidValue(_bounds_message(wire_type))
    _check_bounds(wire_type, number)
    return number


def _check_bounds(wire_type: mi.IntType | mi.FloatType, number: float) -> None:
    if (
        (wire_type.ge is not None and number < wire_type.ge)
        or (wire_type.le is not None and number > wire_type.le)
        or (wire_type.gt is not None and number <= wire_type.gt)
        or (wire_type.lt is not None and number >= wire_type.lt)
    ):
        raise InvalidValue(_bounds_message(wire_type))


def _bounds_message(wire_type: mi.IntType | mi.FloatType) -> str:
    if wire_type.ge is not None and wire_type.ge == wire_type.le:
        return f"must be {wire_type.ge}"
    if wire_type.ge is not None and wire_type.le is not None:
        return f"must be between {wire_type.ge} and {wire_type.le}"
    bounds = {
        "at least": wire_type.ge,
        "at most": wire_type.le,
        "above": wire_type.gt,
        "below": wire_type.lt,
    }
    texts = [f"{name} {bound}" for name, bound in bounds.items() if bound is not None]
    return f"must be {' and '.join(texts)}" if texts else OUT_OF_RANGE


def _boolean(value: Scalar, *, from_text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if from_text and isinstance(value, str):
        text = value.lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
    raise InvalidValue("must be true or false")


def _member(members: Mapping[str, object], value: Scalar) -> object:
    text = _string(value)
    if text not in members:
        raise InvalidValue(f"must be one of {', '.join(members)}")
    return members[text]


PLAIN_TEXT: Final = {"check": domain_check(lambda text: validate_plain(text, ""))}
"""For names and labels: `Meta(extra=PLAIN_TEXT)`."""
