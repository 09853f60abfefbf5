"""Checks of tool calls with parameters set by a project: permitted and expected calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.evaluation.custom_metrics.limit_checks import CheckFunction, CheckReader
from domain.evaluation.custom_metrics.regex import RegexSearch
from domain.evaluation.custom_metrics.strict_json import ErrorCollector, ObjectReader
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import json_equal
from domain.evaluation.trace_content.tool_calls import ToolCall

TOOLS_MAX: Final = 100
TOOL_MAX: Final = 255  # characters of a name
EXPECTED_MAX: Final = 50  # calls
CALLS_MAX: Final = 2_000  # of a trace: each is compared with each expected call
REPORTED_MAX: Final = 20  # names of forbidden tools in the metadata


class TrajectoryMode(StrEnum):
    STRICT = "strict"  # the expected calls and no others, in order
    UNORDERED = "unordered"  # the expected calls and no others, in any order
    SUBSET = "subset"  # no others than the expected calls
    SUPERSET = "superset"  # all expected calls, and possibly others


class ArgumentMode(StrEnum):
    IGNORE = "ignore"
    EXACT = "exact"
    SUBSET = "subset"  # the expected arguments are among the given ones


def tool_permission(reader: ObjectReader) -> CheckFunction:
    """Permitted calls / calls. A call must be in `allow`, if given, and not in `deny`."""
    allow = reader.texts("allow", TOOLS_MAX, TOOL_MAX)
    deny = reader.texts("deny", TOOLS_MAX, TOOL_MAX)
    has_allow = reader.has("allow")
    if not has_allow and not deny:
        reader.refuse("allow", "or deny is required")

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        names = [call.name for call in subject.tool_calls]
        if not names:
            return Skipped(SkipCode.NO_TOOL_CALLS)
        refused = [name for name in names if name in deny or (has_allow and name not in allow)]
        forbidden = list(dict.fromkeys(refused))[:REPORTED_MAX]
        return Scored(
            1 - len(refused) / len(names),
            f"{len(refused)} of {len(names)} tool calls were not allowed",
            {"forbidden_tools": forbidden},
        )

    return check


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that is expected."""

    name: str
    arguments: object = None

    def is_made_by(self, call: ToolCall, mode: ArgumentMode) -> bool:
        if call.name != self.name:
            return False
        if mode is ArgumentMode.IGNORE:
            return True
        due, given = self.arguments, call.arguments
        if mode is ArgumentMode.SUBSET and isinstance(due, Mapping) and isinstance(given, Mapping):
            return all(name in given and json_equal(given[name], due[name]) for name in due)
        return json_equal(given, due)


def trajectory_match(reader: ObjectReader) -> CheckFunction:
    """How far the calls match the expected ones; see TrajectoryMode.

    Strict: longest common subsequence / the longer sequence. The other modes count matching pairs.
    """
    mode = reader.choice("mode", TrajectoryMode, default=TrajectoryMode.STRICT)
    arg_mode = reader.choice("arg_mode", ArgumentMode, default=ArgumentMode.IGNORE)
    expected = [
        _due(one, at, reader.errors, arg_mode) for at, one in reader.items("expected", EXPECTED_MAX)
    ]

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        calls = subject.tool_calls
        if len(calls) > CALLS_MAX:
            return Skipped(SkipCode.TRACE_TOO_LARGE)
        if mode is TrajectoryMode.SUBSET and not calls:
            return Skipped(SkipCode.NO_TOOL_CALLS)
        made = [[due.is_made_by(call, arg_mode) for call in calls] for due in expected]
        common = (
            longest_common_subsequence(made)
            if mode is TrajectoryMode.STRICT
            else maximum_matching(made)
        )
        among = {
            TrajectoryMode.SUBSET: len(calls),
            TrajectoryMode.SUPERSET: len(expected),
        }.get(mode, max(len(calls), len(expected)))
        details = {"expected": len(expected), "calls": len(calls), "common": common}
        return Scored(common / among, f"{common} of {among} calls are as expected", details)

    return check


def _due(one: object, at: str, errors: ErrorCollector, mode: ArgumentMode) -> ExpectedCall:
    """An expected call: a name, or an object with `name` and `arguments`."""
    named = {"name": one} if isinstance(one, str) else one
    reader = ObjectReader(named, at, errors)
    name, arguments = reader.text("name", TOOL_MAX), reader.value("arguments")
    if arguments is not None and mode is ArgumentMode.IGNORE:
        reader.refuse("arguments", "are ignored unless arg_mode is exact or subset")
    reader.end()
    return ExpectedCall(name, arguments)


type Made = Sequence[Sequence[bool]]
"""For each expected call, whether each actual call matches it."""


def longest_common_subsequence(made: Made) -> int:
    """The length of the longest common subsequence."""
    above = [0] * (len(made[0]) + 1) if made else [0]
    for row in made:
        here = [0]
        for at, is_it in enumerate(row):
            here.append(above[at] + 1 if is_it else max(above[at + 1], here[at]))
        above = here
    return above[-1]


def maximum_matching(made: Made) -> int:
    """The size of a maximum matching: each expected and each actual call in at most one pair."""
    matched: dict[int, int] = {}  # actual call → expected call

    def paired(due: int, tried: set[int]) -> bool:
        for at, is_it in enumerate(made[due]):
            if is_it and at not in tried:
                tried.add(at)
                if at not in matched or paired(matched[at], tried):
                    matched[at] = due
                    return True
        return False

    return sum(paired(due, set()) for due in range(len(made)))


TOOL_CALL_CHECKS: Final[Mapping[str, CheckReader]] = {
    "tool_permission": tool_permission,
    "trajectory_match": trajectory_match,
}
