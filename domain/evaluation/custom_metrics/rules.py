"""Rules as data: conditions on paths of a trace, combined by all, any, none and not."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from domain.evaluation.custom_metrics.regex import PATTERN_MAX, RegexSearch
from domain.evaluation.custom_metrics.strict_json import ErrorCollector, ObjectReader
from domain.evaluation.custom_metrics.trace_path import (
    PATH_MAX,
    InvalidTracePath,
    PathResolver,
    TracePath,
)
from domain.evaluation.scores.outcome import Outcome, Scored
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import is_number, json_equal

RULE_VERSION: Final = 1  # raised when a rule comes to another result on the same trace
DEPTH_MAX: Final = 4  # nesting of `all`, `any`, `none` and `not`
CONDITIONS_MAX: Final = 50
VALUES_MAX: Final = 100  # of the operator `in`
VALUE_MAX: Final = 2_000  # characters


class Operator(StrEnum):
    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    IN = "in"
    CONTAINS = "contains"
    MATCHES = "matches"
    NOT_MATCHES = "not_matches"
    EXISTS = "exists"


def _contains(found: object, value: object) -> bool:
    if isinstance(found, str):
        return isinstance(value, str) and value in found
    return isinstance(found, list) and any(json_equal(one, value) for one in found)


_PATTERNS: Final = frozenset({Operator.MATCHES, Operator.NOT_MATCHES})
_COMPARISONS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}
# Whether a value that was found satisfies an operator with the value of the condition.
_TESTS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    **_COMPARISONS,
    Operator.EQ: json_equal,
    Operator.NE: lambda found, value: not json_equal(found, value),
    Operator.CONTAINS: _contains,
}


class Quantifier(StrEnum):
    """Whether any or all of the matching spans must satisfy the condition."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the values at a path.

    A missing value satisfies only `exists` with false: it is neither equal to nor different from
    any value. If no span matches, nothing holds, neither for any nor for all.
    """

    place: TracePath
    op: Operator
    value: object
    over: Quantifier = Quantifier.ANY

    def holds(self, resolver: PathResolver, regex_search: RegexSearch) -> bool:
        found = self.place.resolve(resolver)
        if self.op is Operator.IN and isinstance(self.value, list):
            wanted = frozenset(map(_key_of, self.value))  # compared with each of thousands of spans
            held = [_is_scalar(one) and _key_of(one) in wanted for one in found]
        else:
            held = [self._holds_of(one, resolver, regex_search) for one in found]
        return any(held) if self.over is Quantifier.ANY else bool(held) and all(held)

    def _holds_of(self, found: object, resolver: PathResolver, regex_search: RegexSearch) -> bool:
        if self.op is Operator.EXISTS:
            return (found is not None) is self.value
        if found is None:
            return False
        if self.op in _PATTERNS:
            is_match = regex_search(str(self.value), resolver.text(found))
            return is_match is (self.op is Operator.MATCHES)
        if self.op in _COMPARISONS and not (is_number(found) and is_number(self.value)):
            return False
        return _TESTS[self.op](found, self.value)


class Combination(StrEnum):
    """How many of the combined nodes must hold. NOT combines a single one."""

    ALL = "all"
    ANY = "any"
    NONE = "none"
    NOT = "not"


@dataclass(frozen=True, slots=True)
class RuleGroup:
    combination: Combination
    nodes: Sequence["RuleNode"]

    def holds(self, each: Sequence[bool]) -> bool:
        """Given whether each of the nodes holds."""
        match self.combination:
            case Combination.ALL:
                return all(each)
            case Combination.ANY:
                return any(each)
            case _:
                return not any(each)


type RuleNode = Condition | RuleGroup


# --- reading ---------------------------------------------------------------------------------


def parse_rule(value: object, at: str, errors: ErrorCollector) -> RuleNode | None:
    """The rule in a JSON value; None if `errors` were added."""
    before = len(errors.items)
    left = [CONDITIONS_MAX]
    found = _node(value, at, errors, DEPTH_MAX, left)
    if left[0] < 0:
        errors.add(at, f"must have at most {CONDITIONS_MAX} conditions")
    return found if len(errors.items) == before else None


def _node(
    value: object, at: str, errors: ErrorCollector, levels: int, left: list[int]
) -> RuleNode | None:
    reader = ObjectReader(value, at, errors)
    kinds = [name for name in (*Combination, "path") if reader.has(name)]
    if len(kinds) != 1:
        errors.add(at, f"must have one of: {', '.join(Combination)}, path")
        return None
    if kinds == ["path"]:
        left[0] -= 1
        return _condition(reader)
    combination = Combination(kinds[0])
    if not levels:
        errors.add(at, f"must not be nested deeper than {DEPTH_MAX} levels")
        return None
    if combination is Combination.NOT:
        nodes = [_node(reader.value("not"), reader.at("not"), errors, levels - 1, left)]
    else:
        nodes = [
            _node(one, place, errors, levels - 1, left)
            for place, one in reader.items(combination, CONDITIONS_MAX)
        ]
    reader.end()
    return RuleGroup(combination, [one for one in nodes if one is not None])


def _condition(reader: ObjectReader) -> Condition | None:
    text = reader.text("path", PATH_MAX)
    before = len(reader.errors.items)
    op = reader.choice("op", Operator)
    is_known = len(reader.errors.items) == before
    value = reader.value("value")
    over = reader.choice("over", Quantifier, default=Quantifier.ANY)
    reader.end()
    if is_known and (wrong := _value_problem(op, value)) is not None:
        reader.refuse("value", wrong)
    try:
        place = TracePath.parse(text)
    except InvalidTracePath as error:
        if text:
            reader.refuse("path", str(error))
        return None
    if reader.has("over") and (not place.is_per_span or place.is_count):
        reader.refuse("over", "is for what is looked for in spans")
    return Condition(place, op, True if op is Operator.EXISTS and value is None else value, over)


def _value_problem(op: Operator, value: object) -> str | None:
    """The error in a value for an operator; None if it fits."""
    match op:
        case Operator.EXISTS:
            return None if value is None or isinstance(value, bool) else "must be true or false"
        case Operator.IN:
            is_fit = isinstance(value, list) and 1 <= len(value) <= VALUES_MAX
            if isinstance(value, list) and is_fit and all(map(_is_allowed, value)):
                return None
            return f"must be an array of 1 to {VALUES_MAX} texts, numbers, true or false"
        case _ if op in _COMPARISONS:
            return None if is_number(value) else "must be a number"
        case _ if op in _PATTERNS:
            is_fit = isinstance(value, str) and 1 <= len(value) <= PATTERN_MAX
            return None if is_fit else f"must be a pattern of 1 to {PATTERN_MAX} characters"
        case _:
            return None if _is_allowed(value) else "must be text, a number, true or false"


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool | int | float)


def _key_of(scalar: object) -> tuple[bool, object]:
    """Equal for values that are equal in JSON: `1` and `1.0` are, `1` and `true` are not."""
    return isinstance(scalar, bool), scalar


def _is_allowed(value: object) -> bool:
    return _is_scalar(value) and not (isinstance(value, str) and len(value) > VALUE_MAX)


def patterns_in(node: RuleNode, at: str) -> Iterator[tuple[str, str]]:
    """Every regular expression of a rule, with the path of its text."""
    if isinstance(node, Condition):
        if node.op in _PATTERNS:
            yield f"{at}.value", str(node.value)
        return
    if node.combination is Combination.NOT:
        yield from patterns_in(node.nodes[0], f"{at}.not")
        return
    for place, one in enumerate(node.nodes):
        yield from patterns_in(one, f"{at}.{node.combination}.{place}")


# --- evaluation ------------------------------------------------------------------------------


def evaluate_rule(node: RuleNode, subject: EvaluatedTrace, regex_search: RegexSearch) -> Outcome:
    """1.0 if the rule holds, else 0.0; with the result of each condition, in order.

    All conditions are evaluated, even after the result is known, so that a score lists every
    violation.
    """
    results: list[Mapping[str, object]] = []
    holds = _holds(node, PathResolver(subject), regex_search, results)
    held = sum(one["holds"] is True for one in results)
    word = "holds" if holds else "does not hold"
    return Scored(
        float(holds),
        f"the rule {word}: {held} of {len(results)} conditions do",
        {"conditions": results},
    )


def _holds(
    node: RuleNode,
    resolver: PathResolver,
    regex_search: RegexSearch,
    results: list[Mapping[str, object]],
) -> bool:
    if isinstance(node, Condition):
        holds = node.holds(resolver, regex_search)
        results.append({"path": node.place.text, "op": node.op.value, "holds": holds})
        return holds
    return node.holds([_holds(one, resolver, regex_search, results) for one in node.nodes])
