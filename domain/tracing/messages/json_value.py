"""JSON text to Python values and back: bounded in depth, and no digit of a number is lost."""

import json
import math
import re
from collections.abc import Iterator
from typing import Final, Self

DEPTH_MAX: Final = 500  # levels; deeper texts aren't parsed
DIGITS_MAX: Final = 4_000  # of an integer: Python refuses to parse more
UNINTERRUPTED_CHARS: Final = 1 << 20  # parsing as many takes 10 ms

_OPENERS: Final = re.compile(r"\s*[{\[\"]")


class ExactFloat(float):
    """A number that Python would write with other digits, such as `1.10`, with the digits sent.

    `json.dumps` writes it as a float. `encoded` writes its digits. A msgspec encoder needs a hook
    that returns `msgspec.Raw(number.digits)`.
    """

    __slots__ = ("digits",)
    digits: str

    def __new__(cls, digits: str) -> Self:
        number = super().__new__(cls, digits)
        number.digits = digits
        return number

    def __reduce__(self) -> tuple[type["ExactFloat"], tuple[str]]:
        return type(self), (self.digits,)


def parsed(text: str, *, keeps_digits: bool = True) -> object:
    """The value of a JSON text. With `keeps_digits`, a number may be an ExactFloat.

    Numbers that Python can't represent become text. Raises ValueError for invalid JSON and for a
    text of more than DEPTH_MAX levels.
    """
    try:
        value: object = json.loads(
            text,
            parse_int=_integer,
            parse_float=_exact_fraction if keeps_digits else _fraction,
            parse_constant=str,
            # A call of Python code lets other threads run: the parser itself doesn't.
            object_hook=_unchanged if len(text) > UNINTERRUPTED_CHARS else None,
        )
    except RecursionError as error:
        raise ValueError("too deep") from error
    openers = text.count("[") + text.count("{")
    if openers > DEPTH_MAX and _is_too_deep(value):
        raise ValueError("too deep")
    return value


def _unchanged(members: dict[str, object]) -> dict[str, object]:
    return members


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= DIGITS_MAX else digits


def _fraction(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _exact_fraction(digits: str) -> float | str:
    number = _fraction(digits)
    return number if isinstance(number, str) or repr(number) == digits else ExactFloat(digits)


def _is_too_deep(value: object) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH_MAX - 1):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return any(level)


def child_values(value: object) -> Iterator[object]:
    """The values of an object or the items of an array; empty for anything else."""
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value if isinstance(value, list) else ())


def parsed_once(value: object) -> object:
    """A string that begins with `{`, `[` or `"` as the value of its JSON; anything else unchanged.

    Other strings stay text: `2024` and `true` may be what was searched for. A string that isn't
    JSON stays too, and so does JSON in JSON in a string, so that parsing again changes nothing.
    """
    if not isinstance(value, str) or not _OPENERS.match(value):
        return value
    try:
        found = parsed(value)
    except ValueError:
        return value
    return value if isinstance(found, str) and _OPENERS.match(found) else found


def encoded(value: object) -> str:
    """Compact JSON, with the digits of `ExactFloat`, for values of any depth."""
    try:
        if not _has_exact_floats(value):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        pass
    return "".join(_pieces(value))


def _has_exact_floats(value: object) -> bool:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict | list):
            left.extend(child_values(one))
        elif type(one) is ExactFloat:
            return True
    return False


def _pieces(value: object) -> Iterator[str]:
    """The text in pieces, without recursion."""
    left: list[tuple[str, object]] = [("", value)]  # what stands before a value, and the value
    while left:
        before, one = left.pop()
        yield before
        if one is _NO_VALUE:
            continue
        if isinstance(one, dict):
            yield "{"
            left.append(("}", _NO_VALUE))
            keys = [f"{json.dumps(key, ensure_ascii=False)}:" for key in one]
            inner = list(zip(keys, one.values(), strict=True))
        elif isinstance(one, list):
            yield "["
            left.append(("]", _NO_VALUE))
            inner = [("", item) for item in one]
        else:
            yield one.digits if isinstance(one, ExactFloat) else json.dumps(one, ensure_ascii=False)
            continue
        for at in range(len(inner) - 1, -1, -1):
            key, item = inner[at]
            left.append((f",{key}" if at else key, item))


_NO_VALUE: Final = object()
