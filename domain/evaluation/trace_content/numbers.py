"""Reads the numbers of a text in any notation, and checks the sums that it states.

"1.250", "1,250", "1 250" and "1250" may be the same number, so a number has several possible
values. Two numbers are equal if they share one.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Final

TEXT_MAX: Final = 20_000  # characters of a text that are read
NUMBERS_MAX: Final = 2_000  # of a text
DIGITS_MAX: Final = 30  # of a number
EQUATIONS_MAX: Final = 50
DERIVED_FROM_MAX: Final = 12  # with more numbers, almost every small one can be derived
EXPRESSION_MAX: Final = 300  # characters of a request that may be a sum to be done
TOLERANCE: Final = 0.006  # of a result that was rounded to two decimals

_THOUSAND: Final = 3  # digits of a group
_HALF_DAY: Final = 12
_MONTHS: Final = tuple(
    re.compile(rf"(?<![^\W\d_])(?:{names})", re.IGNORECASE)
    for names in (
        "jan|ene(?:ro)?|gen(?:naio)?|stycz|янв",
        "feb|f[ée]v|lut|фев",
        "m[aä]r|maart|мар",
        "apr|avr|abr|kwie|апр",
        "ma[iy]|mag(?:gio)?|mei|ма[йя]",
        "jun|juin|giu|czerw|июн",
        "jul|juil|lug|lip|июл",
        "aug|ao[uû]t|ago|sierp|авг",
        "sep|set|wrze|сен",
        "o[ck]t|out|ott|paźdz|окт",
        "nov|listopad|ноя",
        "de[cz]|dic|d[ée]c|grud|дек",
    )
)
"""How the names of months begin, in several languages."""
_DIGITS: Final = r"\d+(?:[.,]\d+|[ \u00a0\u202f'\u2019]\d{3}(?!\d))*"
_NUMBER: Final = re.compile(_DIGITS, re.ASCII)
# A term of a sum. A sum may begin at each group of digits: the bound keeps the time linear.
_TERM: Final = r"\d+(?:[.,]\d+|[ \u00a0\u202f'\u2019]\d{3}(?!\d)){0,20}"
_TIME: Final = re.compile(r"(?<!\d)(\d{1,2}):[0-5]\d(?!\d)", re.ASCII)
_UNIT: Final = r"(?: ?[a-z\u20ac$%]{1,4})?"
_OPERATOR: Final = r"(?: ?[*\u00d7\u00b7+\u00f7] ?| [-\u2212\u2013/:x] |(?<=\d)[-/](?=\d))"
_SUM: Final = rf"{_TERM}{_UNIT}(?:{_OPERATOR}{_TERM}{_UNIT}){{1,20}}"
_EQUATION: Final = re.compile(rf"(?<![\d.,/-])({_SUM}) ?= ?({_DIGITS})", re.IGNORECASE)
_EXPRESSION: Final = re.compile(
    rf"(?<![\d.,/-]){_DIGITS}(?:(?: ?[*\u00d7+\u00f7] ?| [-\u2212/] ){_DIGITS}){{1,20}}(?![\d-])"
)
_PERCENT_OF: Final = re.compile(
    rf"({_DIGITS}) ?(?:%|percent|prozent) (?:of|von|de|du|di|do|da|van|от) ({_DIGITS})",
    re.IGNORECASE,
)
_SPELLED: Final = tuple(
    (re.compile(rf" ?(?<![a-z])(?:{words})(?![a-z]) ?", re.IGNORECASE), f" {operator} ")
    for operator, words in (
        ("+", "plus|più|más|mais|плюс|加上|足す"),
        ("-", "minus|menos|meno|moins|минус|减去|減去|引く"),
        ("*", "times|multiplied by|mal|fois|multiplié par|multiplicado por|乘以"),
        ("/", "divided by|geteilt durch|divisé par|dividido (?:por|entre)|diviso"),
        ("/", "разделить на|除以|割る"),
    )
)
_TOKEN: Final = re.compile(
    rf"({_DIGITS})|([*\u00d7\u00b7x/\u00f7:])|([-+\u2212\u2013])", re.IGNORECASE
)


def plain(text: str) -> str:
    """The beginning of a text with digits and signs in their usual form."""
    text = text[:TEXT_MAX]
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def number_values(token: str) -> frozenset[float]:
    """The possible values of a number; the parts of it if it is a date or a version."""
    if token.isdecimal():
        return frozenset((float(token[:DIGITS_MAX]),))
    token = re.sub(r"[ \u00a0\u202f'\u2019]", "", token)
    groups = re.split(r"[.,]", token)
    separators = re.findall(r"[.,]", token)
    if not separators:
        return frozenset([float(token[:DIGITS_MAX])])
    joined = all(len(group) == _THOUSAND for group in groups[1:])
    if len(set(separators)) > 1:
        whole, decimals = "".join(groups[:-1]), groups[-1]
        return frozenset([float(f"{whole[:DIGITS_MAX]}.{decimals}")])
    if len(separators) == 1:
        decimal = float(f"{groups[0][:DIGITS_MAX]}.{groups[1]}")
        return frozenset([decimal, float("".join(groups)[:DIGITS_MAX])] if joined else [decimal])
    if joined:
        return frozenset([float("".join(groups)[:DIGITS_MAX])])
    return frozenset(float(group[:DIGITS_MAX]) for group in groups)


def numbers(text: str) -> Sequence[tuple[str, frozenset[float]]]:
    """The numbers of a text, each with its possible values."""
    tokens = _NUMBER.finditer(plain(text))
    return [(one[0], number_values(one[0])) for one in islice(tokens, NUMBERS_MAX)]


def known_values(text: str) -> set[float]:
    """All values of the numbers of a text. Hours count on both clocks."""
    found = {value for _, values in numbers(text) for value in values}
    for one in islice(_TIME.finditer(text[:TEXT_MAX]), NUMBERS_MAX):
        hour = int(one[1])
        found.add(float(hour - _HALF_DAY if hour > _HALF_DAY else hour + _HALF_DAY))
    return found


def named_months(text: str) -> set[float]:
    """The numbers of the months that a text names."""
    months = enumerate(_MONTHS, 1)
    return {float(number) for number, name in months if name.search(text[:TEXT_MAX])}


def is_derivable(values: frozenset[float], known: AbstractSet[float]) -> bool:
    """Whether a number is the result of one operation on two of the known ones, or on all."""
    if not known or len(known) > DERIVED_FROM_MAX:
        return False
    some = sorted(known)
    results = [math.fsum(some), math.prod(some)]
    for one, other in combinations(some, 2):
        results += [one + other, other - one, one * other, one * other / 100]
        results += [other / one] if one else []
        results += [one / other] if other else []
    return any(_is_equal(value, result) for value in values for result in results)


@dataclass(frozen=True, slots=True)
class Equations:
    """How many of the equations of a text are right, and how many wrong."""

    right: int = 0
    wrong: int = 0


def check_equations(text: str) -> Equations:
    """Checks equations such as "6 * 14 = 84" in a text."""
    right = wrong = 0
    for one in islice(_EQUATION.finditer(plain(text)), EQUATIONS_MAX):
        results = _evaluate(one[1])
        if not results:
            continue
        if any(_is_equal(value, result) for value in number_values(one[2]) for result in results):
            right += 1
        else:
            wrong += 1
    return Equations(right, wrong)


def asked_result(request: str) -> frozenset[float]:
    """The possible results of a sum that a short request asks for; empty if it asks for none."""
    if len(request) > EXPRESSION_MAX:
        return frozenset()
    text = plain(request)
    shares = [
        share * whole / 100
        for one in _PERCENT_OF.finditer(text)
        for share in number_values(one[1])
        for whole in number_values(one[2])
    ]
    if shares:
        return frozenset(shares)
    for spelled, operator in _SPELLED:
        text = spelled.sub(operator, text)
    sums = _EXPRESSION.findall(text)
    return frozenset(_evaluate(sums[0])) if len(sums) == 1 else frozenset()


def states_number(text: str, wanted: frozenset[float]) -> bool:
    """Whether one of the wanted values is among the numbers of a text."""
    stated = {value for _, values in numbers(text) for value in values}
    return any(_is_equal(value, one) for value in stated for one in wanted)


def _is_equal(value: float, result: float) -> bool:
    return abs(value - result) <= max(TOLERANCE, 1e-9 * abs(result))


def _evaluate(expression: str) -> Sequence[float]:
    """The results of an expression: with separators of decimals, and of thousands."""
    results = (_result(expression, takes_largest=largest) for largest in (False, True))
    return [one for one in results if one is not None]


def _result(expression: str, *, takes_largest: bool) -> float | None:
    pick = max if takes_largest else min
    product: float | None = None
    total, sign, operator = 0.0, 1.0, "*"
    for number, times, plus in _TOKEN.findall(expression):
        if number:
            value = pick(number_values(number))
            if product is None:
                product = value
            elif operator in "/\u00f7:":
                if not value:
                    return None
                product /= value
            else:
                product *= value
        elif times:
            operator = times
        else:
            total += sign * (product or 0.0)
            sign, product, operator = (1.0 if plus == "+" else -1.0), None, "*"
    return total + sign * (product or 0.0)
