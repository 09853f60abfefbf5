"""Checks against limits set by a project: time, cost, tokens, steps.

Each score is 1 up to the target and falls linearly to 0 at `hard`, by default twice the target.
"""

from collections.abc import Callable, Mapping
from typing import Final

from domain.evaluation.custom_metrics.regex import RegexSearch
from domain.evaluation.custom_metrics.strict_json import ObjectReader
from domain.evaluation.custom_metrics.trace_path import total_cost, total_tokens
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.tracing.usage import CostSource

MS_MAX: Final = 30 * 86_400_000.0  # of a time limit: 30 days
USD_MAX: Final = 1_000_000.0
COUNT_MAX: Final = 1_000_000_000.0
HARD_LIMIT_FACTOR: Final = 2  # times the target

type CheckFunction = Callable[[EvaluatedTrace, RegexSearch], Outcome]
"""A check with its parameters, to apply to a trace. Pure; never raises."""
type CheckReader = Callable[[ObjectReader], CheckFunction]
"""Reads the parameters of a check, and collects errors."""


def ramp(value: float, target: float, hard: float) -> float:
    """1 up to the target, 0 from `hard` on, which is larger, and linear in between."""
    if value <= target:
        return 1.0
    return max(0.0, (hard - value) / (hard - target))


def _limits(reader: ObjectReader, name: str, most: float) -> tuple[float, float]:
    """Target and hard limit, read from `name` and from `hard_` + the last part of `name`."""
    hard_name = f"hard_{name.rpartition('_')[2]}"
    target = reader.number(name, 0, most)
    hard = reader.number(hard_name, 0, HARD_LIMIT_FACTOR * most, default=HARD_LIMIT_FACTOR * target)
    if reader.has(hard_name):
        if hard <= target:
            reader.refuse(hard_name, "must be above the target")
    elif reader.value(name) == 0:
        reader.refuse(name, f"must be above 0 without {hard_name}")
    return target, hard


def _limited(
    reader: ObjectReader,
    name: str,
    most: float,
    unit: str,
    of: Callable[[EvaluatedTrace], float | SkipCode],
) -> CheckFunction:
    target, hard = _limits(reader, name, most)

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        found = of(subject)
        if isinstance(found, SkipCode):
            return Skipped(found)
        details = {"measured": found, "target": target, "hard": hard}
        return Scored(ramp(found, target, hard), f"{found:g} {unit} of {target:g}", details)

    return check


def latency_slo(reader: ObjectReader) -> CheckFunction:
    return _limited(
        reader,
        "target_ms",
        MS_MAX,
        "ms",
        lambda it: SkipCode.TRACE_RUNNING if it.trace.latency_ms is None else it.trace.latency_ms,
    )


def ttft_slo(reader: ObjectReader) -> CheckFunction:
    """The longest time to first token among the model calls that recorded it."""

    def slowest(subject: EvaluatedTrace) -> float | SkipCode:
        times = [span.time_to_first_token_ms for span in subject.model_calls]
        return max((one for one in times if one is not None), default=SkipCode.NOT_TIMED)

    return _limited(reader, "target_ms", MS_MAX, "ms", slowest)


def cost_budget(reader: ObjectReader) -> CheckFunction:
    """Skipped if a model call has no price, since its cost would be missing."""

    def spent(subject: EvaluatedTrace) -> float | SkipCode:
        charges = [span.charge for span in subject.model_calls]
        if any(one is None or one.source is CostSource.UNPRICED for one in charges):
            return SkipCode.NO_PRICES
        found = total_cost(subject.spans)
        return SkipCode.NO_PRICES if found is None else found

    return _limited(reader, "usd", USD_MAX, "USD", spent)


def token_budget(reader: ObjectReader) -> CheckFunction:
    """Skipped if a model call has no token usage."""

    def used(subject: EvaluatedTrace) -> float | SkipCode:
        if any(span.usage is None or not span.usage.is_known for span in subject.model_calls):
            return SkipCode.NO_USAGE
        found = total_tokens(subject.spans)
        return SkipCode.NO_USAGE if found is None else found

    return _limited(reader, "tokens", COUNT_MAX, "tokens", used)


def step_budget(reader: ObjectReader) -> CheckFunction:
    """Tool calls, model calls, or both: the worse of the two scores counts."""
    budgets = {
        name: reader.number(name, 1, COUNT_MAX)
        for name in ("max_calls", "max_llm")
        if reader.has(name)
    }
    if not budgets:
        reader.refuse("max_calls", "or max_llm is required")

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        if not subject.spans:
            return Skipped(SkipCode.NO_SPANS)
        counts = {"max_calls": len(subject.tool_calls), "max_llm": len(subject.model_calls)}
        values = {
            name: ramp(counts[name], most, HARD_LIMIT_FACTOR * most)
            for name, most in budgets.items()
        }
        worst = min(values, key=values.__getitem__)
        word = "tool calls" if worst == "max_calls" else "model calls"
        details = {"calls": counts["max_calls"], "llm": counts["max_llm"]}
        return Scored(values[worst], f"{counts[worst]} {word} of {budgets[worst]:g}", details)

    return check


LIMIT_CHECKS: Final[Mapping[str, CheckReader]] = {
    "latency_slo": latency_slo,
    "ttft_slo": ttft_slo,
    "cost_budget": cost_budget,
    "token_budget": token_budget,
    "step_budget": step_budget,
}
