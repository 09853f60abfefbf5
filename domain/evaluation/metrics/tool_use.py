"""Computed metrics of tool calls: success, repetition, and conformance to declarations."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from domain.evaluation.metrics.metric import EvaluationMethod, Metric
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped, clamped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import is_supported_schema, matches_schema
from domain.evaluation.trace_content.tool_calls import (
    ToolCall,
    count_repeated_calls,
    longest_identical_run,
)

# Near the thresholds of agents' own guards: OpenHands' stuck detector stops at four equal pairs
# of action and observation, at three equal errors, or after six steps of ping-pong.
LOOP_LENGTH: Final = 4  # adjacent identical calls that are certainly a loop
FAILED_LOOP_LENGTH: Final = 3  # the same if each of them failed
ALTERNATION_LENGTH: Final = 6  # adjacent alternating calls: three cycles of two


def tool_success_rate(subject: EvaluatedTrace) -> Outcome:
    """1 - failed / calls."""
    calls = subject.tool_calls
    if not calls:
        return Skipped(SkipCode.NO_TOOL_CALLS)
    failed = sum(call.has_failed for call in calls)
    return Scored(
        1 - failed / len(calls),
        f"{failed} of {len(calls)} tool calls failed",
        {"calls": len(calls), "failed_calls": failed},
    )


def error_recovery(subject: EvaluatedTrace) -> Outcome:
    """Failed calls followed by a successful call of the same tool / failed calls."""
    failed = [at for at, call in enumerate(subject.tool_calls) if call.has_failed]
    if not failed:
        return Skipped(SkipCode.NO_FAILED_CALLS)
    last_good = {call.name: at for at, call in enumerate(subject.tool_calls) if not call.has_failed}
    good = sum(at < last_good.get(subject.tool_calls[at].name, -1) for at in failed)
    return Scored(
        good / len(failed),
        f"{good} of {len(failed)} failed calls were made good later by the same tool",
        {"failed_calls": len(failed), "recovered_calls": good},
    )


def tool_name_validity(subject: EvaluatedTrace) -> Outcome:
    """Calls of declared tools / calls."""
    if not subject.tool_calls:
        return Skipped(SkipCode.NO_TOOL_CALLS)
    if not subject.declared_tools:
        return Skipped(SkipCode.NO_DECLARED_TOOLS)
    valid = sum(call.name in subject.declared_tools for call in subject.tool_calls)
    return Scored(
        valid / len(subject.tool_calls),
        f"{valid} of {len(subject.tool_calls)} tool calls named a declared tool",
        {"calls": len(subject.tool_calls), "declared_tools": len(subject.declared_tools)},
    )


def tool_args_schema(subject: EvaluatedTrace) -> Outcome:
    """Calls whose arguments match their schema / calls that can be checked."""
    if not subject.tool_calls:
        return Skipped(SkipCode.NO_TOOL_CALLS)
    schemas = {
        name: tool.schema
        for name, tool in subject.declared_tools.items()
        if tool.schema is not None and is_supported_schema(tool.schema)
    }
    # Arguments that weren't recorded are unknown rather than wrong.
    checkable = [
        call for call in subject.tool_calls if call.name in schemas and call.arguments is not None
    ]
    if not checkable:
        return Skipped(SkipCode.NO_SCHEMAS)
    valid = sum(matches_schema(call.arguments, schemas[call.name]) for call in checkable)
    return Scored(
        valid / len(checkable),
        f"the arguments of {valid} of {len(checkable)} calls fit the declared schema",
        {"calls": len(subject.tool_calls), "checkable_calls": len(checkable)},
    )


def tool_loop(subject: EvaluatedTrace, polling_tools: frozenset[str] = frozenset()) -> Outcome:
    """0 if two calls alternate for three cycles, else 1 - max(redundancy, run).

    Calls are identical if request and output are equal: a different output means progress.
    redundancy = (calls - distinct calls) / calls. run grows with the longest run of identical
    calls, up to 1 at LOOP_LENGTH calls. Calls of `polling_tools` don't count.
    """
    calls = [call for call in subject.tool_calls if call.name not in polling_tools]
    if len(calls) < 2:  # noqa: PLR2004 - one call repeats nothing
        return Skipped(SkipCode.TOO_SHORT)
    repeats, run = count_repeated_calls(calls), _run(calls)
    alternates = _alternates(calls)
    score = 0.0 if alternates else 1 - max(repeats / len(calls), run)
    return Scored(
        score,
        f"{repeats} of {len(calls)} tool calls repeat an earlier one"
        + (", and two calls take turns" if alternates else ""),
        {
            "calls": len(calls),
            "repeated_calls": repeats,
            "longest_block": longest_identical_run(calls),
            "alternates": alternates,
        },
    )


def _run(calls: Sequence[ToolCall]) -> float:
    worst = 0.0
    for _, equal in groupby(calls, key=lambda call: call.exchange_key):
        block = list(equal)
        enough = FAILED_LOOP_LENGTH if all(call.has_failed for call in block) else LOOP_LENGTH
        worst = max(worst, clamped((len(block) - 1) / (enough - 1)))
    return worst


def _alternates(calls: Sequence[ToolCall]) -> bool:
    length = 2 if len(calls) > 1 else 0
    for at in range(2, len(calls)):
        turns = calls[at].exchange_key == calls[at - 2].exchange_key != calls[at - 1].exchange_key
        length = length + 1 if turns else 2
        if length >= ALTERNATION_LENGTH:
            return True
    return False


TOOL_METRICS: Final = (
    Metric(
        name="tool_success_rate",
        description="Share of tool calls that did not fail",
        method=EvaluationMethod.COMPUTED,
        compute=tool_success_rate,
    ),
    Metric(
        name="error_recovery",
        description="Share of failed calls made good later by the same tool",
        method=EvaluationMethod.COMPUTED,
        compute=error_recovery,
    ),
    Metric(
        name="tool_loop",
        description="Absence of repeated identical tool calls within a trace",
        method=EvaluationMethod.COMPUTED,
        compute=tool_loop,
    ),
    Metric(
        name="tool_name_validity",
        description="Share of called tools that were declared",
        method=EvaluationMethod.COMPUTED,
        compute=tool_name_validity,
    ),
    Metric(
        name="tool_args_schema",
        description="Share of calls whose arguments fit the declared schema",
        method=EvaluationMethod.COMPUTED,
        compute=tool_args_schema,
    ),
)
