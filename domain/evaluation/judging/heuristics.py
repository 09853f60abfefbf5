"""The heuristic judge: rules instead of a model, for installations without one.

Its scores are rough: they compare words, numbers and states, and understand nothing. So it never
claims certainty, marks each score as heuristic, and skips rather than guesses.
docs/evaluation/metrics.md reports how well `task_completion` agrees with labels.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from domain.evaluation.evidence.evidence import Evidence, OmittedSteps, Step
from domain.evaluation.evidence.features import ToolCallFeatures
from domain.evaluation.judging.findings import findings
from domain.evaluation.judging.models import HEURISTIC_MODEL
from domain.evaluation.judging.prompt import heuristic_fingerprint
from domain.evaluation.metrics.metric import JudgeKind
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.text import (
    content_words,
    has_words,
    longest_common_subsequence,
    words,
)
from domain.wording import counted

MODEL: Final = HEURISTIC_MODEL
SCORE_MIN: Final = 0.1
SCORE_MAX: Final = 0.9

GROUNDING_MIN: Final = 0.5
MATCH_SHARE_MIN: Final = 0.5  # of the content words of a plan item

EMPTY_SCORE: Final = 0.1


def heuristic_outcome(metric: str, evidence: Evidence) -> Outcome:
    """Applies the rules of a judged metric to the evidence alone.

    Scores lie in [SCORE_MIN, SCORE_MAX] and are marked as heuristic. Raises KeyError for a metric
    without a judge.
    """
    outcome = HEURISTICS[metric](evidence)
    marks: dict[str, object] = {
        "judge_kind": JudgeKind.HEURISTIC.value,
        "confidence": "low",
        "model": MODEL,
        "fingerprint": heuristic_fingerprint(metric),
    }
    if isinstance(outcome, Scored):
        value = min(max(outcome.value, SCORE_MIN), SCORE_MAX)
        return Scored(value, outcome.reason, {**outcome.metadata, **marks})
    return outcome


def task_completion(evidence: Evidence) -> Outcome:
    """The sum of what speaks for and against a fulfilled request, as a probability.

    Skipped if nothing does. An empty output scores EMPTY_SCORE, whatever the steps were.
    """
    signs = evidence.signs
    if not has_words(evidence.final_output):
        if not signs.calls and evidence.status != "ERROR":
            return Skipped(SkipCode.EMPTY_OUTPUT)
        has_failed = evidence.status == "ERROR"
        reason = "The run ended with an error" if has_failed else "The output is empty"
        return Scored(EMPTY_SCORE, reason)
    found = list(findings(evidence))
    if not found:
        return Skipped(SkipCode.CANNOT_JUDGE, "no rule knows whether the request was fulfilled")
    total = math.fsum(one.weight for one in found)
    decisive = max(found, key=lambda one: (one.weight * total > 0, abs(one.weight)))
    return Scored(
        1 / (1 + math.exp(-total)),
        decisive.reason,
        {"findings": {one.name: round(one.weight, 2) for one in found}},
    )


def tool_correctness(evidence: Evidence) -> Outcome:
    """The mean of the known shares of: declared tools, successful calls, unrepeated calls."""
    calls = evidence.signs.calls
    if not calls:
        return Skipped(SkipCode.NO_TOOLS, "no tool was called, and rules can't tell whether to")
    known = [one for one in calls if one.is_declared is not None]
    parts = {
        "tool_success_rate": _share(not one.has_failed for one in calls),
        "not_repeated": _share(not one.is_repeat for one in calls),
    }
    if known:
        parts["tool_name_validity"] = _share(bool(one.is_declared) for one in known)
    return Scored(
        sum(parts.values()) / len(parts),
        f"By {counted(len(calls), 'tool call')}: declared, successful, not repeated",
        {name: round(part, 4) for name, part in parts.items()},
    )


def argument_correctness(evidence: Evidence) -> Outcome:
    """The share of calls whose arguments pass: schema, grounding, and not rejected by the tool.

    A call for which none of these is known is left out.
    """
    if not evidence.signs.calls:
        return Skipped(SkipCode.NO_TOOL_CALLS)
    checks = [check for one in evidence.signs.calls if (check := _check(one)) is not None]
    if not checks:
        return Skipped(SkipCode.CANNOT_JUDGE, "no call has arguments that rules can judge")
    right = checks.count(_RIGHT)
    return Scored(
        right / len(checks),
        f"The arguments of {right} of {len(checks)} tool calls pass the rules",
        {"verdicts": [{"verdict": verdict, "reason": why} for verdict, why in checks]},
    )


_RIGHT: Final = ("yes", "The arguments pass the rules")


def _check(call: ToolCallFeatures) -> tuple[str, str] | None:
    """The verdict on a call's arguments, and its reason; None if nothing is known."""
    if call.is_rejected:
        return ("no", "The tool refused the arguments")
    if call.fits_schema is False:
        return ("no", "The arguments do not fit the declared schema")
    if call.grounding is not None and call.grounding < GROUNDING_MIN:
        return ("no", "Most of the specific arguments were never said before")
    if call.fits_schema is None and call.grounding is None:
        return None
    return _RIGHT


def step_efficiency(evidence: Evidence) -> Outcome:
    """1 - (repeats + retries that failed again + idle steps) / steps."""
    steps = evidence.facts.steps
    if not steps:
        return Skipped(SkipCode.NO_STEPS)
    calls = evidence.signs.calls
    repeats = sum(one.is_repeat for one in calls)
    failed_retries = sum(
        one.has_failed and is_retry and not one.is_repeat for one, is_retry in _retries(calls)
    )
    wasted = min(repeats + failed_retries + evidence.signs.idle_steps, steps)
    return Scored(
        1 - wasted / steps,
        f"{wasted} of {steps} steps repeat, fail again, or leave nothing behind",
        {"repeats": repeats, "failed_retries": failed_retries, "idle": evidence.signs.idle_steps},
    )


def confidence(evidence: Evidence) -> Outcome:
    """Confidence by recorded token probabilities, else by retries and unresolved failures."""
    signs, steps = evidence.signs, evidence.facts.steps
    if signs.token_confidence is not None:
        return Scored(signs.token_confidence, "By the probability of the models' own tokens")
    if not steps:
        return Skipped(SkipCode.NO_STEPS)
    retries = sum(is_retry for _, is_retry in _retries(signs.calls))
    last = {one.tool: one.has_failed for one in signs.calls}
    abandoned = sum(last.values())
    contradicting = int(evidence.status == "COMPLETED" and signs.ends_in_error)
    loose = min(retries + abandoned + contradicting, steps)
    return Scored(
        1 - loose / steps,
        f"{counted(retries, 'retry', 'retries')} and "
        f"{counted(abandoned, 'abandoned tool')} in {counted(steps, 'step')}",
        {"retries": retries, "abandoned_tools": abandoned, "contradicting_end": contradicting},
    )


def _retries(calls: Sequence[ToolCallFeatures]) -> list[tuple[ToolCallFeatures, bool]]:
    """Each call, and whether the previous call of its tool had failed."""
    failed: set[int] = set()
    found: list[tuple[ToolCallFeatures, bool]] = []
    for one in calls:
        found.append((one, one.tool in failed))
        (failed.add if one.has_failed else failed.discard)(one.tool)
    return found


def plan_adherence(evidence: Evidence) -> Outcome:
    """The longest sequence of plan items that later steps follow in order / items.

    A step matches an item if it contains half of the item's content words. Items without content
    words don't count.
    """
    if not evidence.plan:
        return Skipped(SkipCode.NO_PLAN)
    items = [known for item in evidence.plan if (known := content_words(item))]
    if not items:
        return Skipped(SkipCode.CANNOT_JUDGE, "no item of the plan has words to look for")
    later = _later(evidence.steps)
    steps = [content_words(f"{one.name} {one.arguments} {one.text}") for one in later]
    matches = [
        [len(item & step) >= MATCH_SHARE_MIN * len(item) for step in steps] for item in items
    ]
    followed = longest_common_subsequence(matches)
    return Scored(
        followed / len(items),
        f"{followed} of {len(items)} items of the plan are found in later steps, in order",
        {"plan": list(evidence.plan), "followed": followed},
    )


def _later(steps: Sequence[Step | OmittedSteps]) -> list[Step]:
    """The steps after the one that states the plan: the first model step, or a planning tool."""
    shown = [step for step in steps if isinstance(step, Step)]
    return shown[next((at for at, step in enumerate(shown) if _states_plans(step)), -1) + 1 :]


def _states_plans(step: Step) -> bool:
    name = step.name.lower()
    return step.kind == "LLM" or (step.kind == "TOOL" and ("plan" in name or "todo" in name))


def plan_quality(evidence: Evidence) -> Outcome:
    """Always skipped: assessing a plan requires understanding it."""
    if not evidence.plan:
        return Skipped(SkipCode.NO_PLAN)
    lengths = [len(words(item)) for item in evidence.plan]
    facts: Mapping[str, object] = {
        "plan_items": len(lengths),
        "distinct_items": len(set(evidence.plan)),
        "mean_item_words": round(sum(lengths) / len(lengths), 1),
    }
    return Skipped(SkipCode.CANNOT_JUDGE, "no rule can tell how good a plan is", facts)


def _share(claims: Iterable[bool]) -> float:
    found = list(claims)
    return sum(found) / len(found)


HEURISTICS: Final[Mapping[str, Callable[[Evidence], Outcome]]] = {
    rules.__name__: rules
    for rules in (
        *(argument_correctness, confidence, plan_adherence, plan_quality),
        *(step_efficiency, task_completion, tool_correctness),
    )
}
"""The rules by metric, one entry for each judged metric."""
