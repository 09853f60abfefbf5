"""Rules as data: conditions on places in a trace, all or any of which have to hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.evaluation.custom_metrics.regex import PATTERN_MAX, Finds
from domain.evaluation.custom_metrics.strict_json import Members, Mistakes
from domain.evaluation.custom_metrics.trace_path import PLACE_MAX, Look, NoPlace, Place
from domain.evaluation.scores.outcome import Outcome, Scored
from domain.evaluation.trace_content.evaluated_trace import Subject
from domain.evaluation.trace_content.json_schema import is_number, is_same

DEPTH_MAX: Final = 4  # of `all` and `any` within each other
CONDITIONS_MAX: Final = 50
VALUES_MAX: Final = 100  # that one may be among
VALUE_MAX: Final = 2_000  # characters


class Op(StrEnum):
    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    IN = "in"
    CONTAINS = "contains"
    MATCHES = "matches"
    EXISTS = "exists"


class Over(StrEnum):
    """Of how many of the spans that a place is of it has to hold."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Condition:
    """What has to hold of what is found at a place.

    Where nothing is, only `exists` with false holds: what isn't there is neither equal to
    anything nor different from it. Of no span nothing holds, neither of any nor of all.
    """

    place: Place
    op: Op
    value: object
    over: Over = Over.ANY

    def holds(self, look: Look, finds: Finds) -> bool:
        held = [self._holds_of(one, look, finds) for one in self.place.found(look)]
        return any(held) if self.over is Over.ANY else bool(held) and all(held)

    def _holds_of(self, found: object, look: Look, finds: Finds) -> bool:  # noqa: PLR0911 - one for each word
        if self.op is Op.EXISTS:
            return (found is not None) is self.value
        if found is None:
            return False
        match self.op:
            case Op.EQ:
                return is_same(found, self.value)
            case Op.NE:
                return not is_same(found, self.value)
            case Op.IN:
                assert isinstance(self.value, list)
                return any(is_same(found, one) for one in self.value)
            case Op.CONTAINS:
                return _contains(found, self.value)
            case Op.MATCHES:
                return finds(str(self.value), look.text(found))
            case _:
                return _compared(self.op, found, self.value)


@dataclass(frozen=True, slots=True)
class Group:
    """`of` which all have to hold, or any one."""

    is_all: bool
    of: Sequence["Node"]


type Node = Condition | Group


def _contains(found: object, value: object) -> bool:
    if isinstance(found, str):
        return isinstance(value, str) and value in found
    return isinstance(found, list) and any(is_same(one, value) for one in found)


def _compared(op: Op, found: object, value: object) -> bool:
    if not is_number(found) or not is_number(value):
        return False
    assert isinstance(found, int | float)
    assert isinstance(value, int | float)
    match op:
        case Op.LT:
            return found < value
        case Op.LE:
            return found <= value
        case Op.GT:
            return found > value
        case _:
            return found >= value


# --- reading ---------------------------------------------------------------------------------


def rule_of(value: object, at: str, mistakes: Mistakes) -> Node | None:
    """The rule that a JSON value says; None where `mistakes` of it were found."""
    before = len(mistakes.found)
    left = [CONDITIONS_MAX]
    found = _node(value, at, mistakes, DEPTH_MAX, left)
    if left[0] < 0:
        mistakes.add(at, f"must have at most {CONDITIONS_MAX} conditions")
    return found if len(mistakes.found) == before else None


def _node(value: object, at: str, mistakes: Mistakes, levels: int, left: list[int]) -> Node | None:
    members = Members(value, at, mistakes)
    kinds = [name for name in ("all", "any", "path") if members.has(name)]
    if len(kinds) != 1:
        mistakes.add(at, "must have one of: all, any, path")
        return None
    if kinds == ["path"]:
        left[0] -= 1
        return _condition(members)
    [kind] = kinds
    if not levels:
        mistakes.add(at, f"must not be nested deeper than {DEPTH_MAX} levels of all and any")
        return None
    of = []
    for place, one in members.items(kind, CONDITIONS_MAX):
        of.append(_node(one, place, mistakes, levels - 1, left))
    members.end()
    return Group(kind == "all", [one for one in of if one is not None])


def _condition(members: Members) -> Condition | None:
    text = members.text("path", PLACE_MAX)
    before = len(members.mistakes.found)
    op = members.choice("op", Op)
    is_known = len(members.mistakes.found) == before
    value = members.value("value")
    over = members.choice("over", Over, default=Over.ANY)
    members.end()
    if is_known and (wrong := _unfit(op, value)) is not None:
        members.refuse("value", wrong)
    try:
        place = Place.of(text)
    except NoPlace as error:
        if text:
            members.refuse("path", str(error))
        return None
    if members.has("over") and (not place.of_spans or place.is_count):
        members.refuse("over", "is for what is looked for in spans")
    return Condition(place, op, True if op is Op.EXISTS and value is None else value, over)


def _unfit(op: Op, value: object) -> str | None:
    """What is wrong with a value for an operation."""
    match op:
        case Op.EXISTS:
            return None if value is None or isinstance(value, bool) else "must be true or false"
        case Op.IN:
            is_fit = isinstance(value, list) and 1 <= len(value) <= VALUES_MAX
            if isinstance(value, list) and is_fit and all(map(_is_scalar, value)):
                return None
            return f"must be an array of 1 to {VALUES_MAX} texts, numbers, true or false"
        case Op.LT | Op.LE | Op.GT | Op.GE:
            return None if is_number(value) else "must be a number"
        case Op.MATCHES:
            is_fit = isinstance(value, str) and 1 <= len(value) <= PATTERN_MAX
            return None if is_fit else f"must be a pattern of 1 to {PATTERN_MAX} characters"
        case _:
            return None if _is_scalar(value) else "must be text, a number, true or false"


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= VALUE_MAX
    return isinstance(value, bool | int | float)


def patterns_in(node: Node, at: str) -> Iterator[tuple[str, str]]:
    """Every pattern of a rule, with the place of its text."""
    if isinstance(node, Condition):
        if node.op is Op.MATCHES:
            yield f"{at}.value", str(node.value)
        return
    for place, one in enumerate(node.of):
        yield from patterns_in(one, f"{at}.{'all' if node.is_all else 'any'}.{place}")


# --- measuring -------------------------------------------------------------------------------


def ruled(node: Node, subject: Subject, finds: Finds) -> Outcome:
    """1.0 where the rule holds, else 0.0; with what became of each condition, in its order.

    Each is looked at, also where others have decided: so a score tells all of what was wrong.
    """
    told: list[Mapping[str, object]] = []
    holds = _holds(node, Look(subject), finds, told)
    held = sum(one["holds"] is True for one in told)
    word = "holds" if holds else "does not hold"
    return Scored(
        float(holds),
        f"the rule {word}: {held} of {len(told)} conditions do",
        {"conditions": told},
    )


def _holds(node: Node, look: Look, finds: Finds, told: list[Mapping[str, object]]) -> bool:
    if isinstance(node, Condition):
        holds = node.holds(look, finds)
        told.append({"path": node.place.text, "op": node.op.value, "holds": holds})
        return holds
    each = [_holds(one, look, finds, told) for one in node.of]
    return all(each) if node.is_all else any(each)
