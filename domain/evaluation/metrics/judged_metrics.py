"""The judged metrics, and the prechecks that decide whether a judge is needed."""

from typing import Final

from domain.evaluation.metrics.metric import EvaluationMethod, JudgeKind, Metric, Precheck
from domain.evaluation.metrics.rubrics import RUBRICS
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.stated_plan import find_stated_plan
from domain.evaluation.trace_content.text import has_words


def no_tool_calls(subject: EvaluatedTrace) -> Outcome | None:
    return None if subject.tool_calls else Skipped(SkipCode.NO_TOOL_CALLS)


def no_tools(subject: EvaluatedTrace) -> Outcome | None:
    return None if subject.tool_calls or subject.declared_tools else Skipped(SkipCode.NO_TOOLS)


def no_plan(subject: EvaluatedTrace) -> Outcome | None:
    return None if find_stated_plan(subject) else Skipped(SkipCode.NO_PLAN)


def no_spans(subject: EvaluatedTrace) -> Outcome | None:
    return None if subject.spans else Skipped(SkipCode.NO_STEPS)


def nothing_said(subject: EvaluatedTrace) -> Outcome | None:
    said = subject.answer.text.strip() or subject.model_calls
    return None if said else Skipped(SkipCode.NO_STEPS)


def nothing_to_complete(subject: EvaluatedTrace) -> Outcome | None:
    """Skips traces without a request, running ones, and those without output and tool calls.

    An output without a word scores 0 if there was no tool call, since there are no steps to judge
    either. Judges aren't asked then, because short meaningless outputs are known to fool them
    (arXiv 2507.08794).
    """
    if not subject.request.text.strip():
        return Skipped(SkipCode.NO_INPUT)
    if subject.is_running:
        return Skipped(SkipCode.TRACE_RUNNING)
    if subject.tool_calls or has_words(subject.answer.text):
        return None
    if not subject.answer.text.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    return Scored(0.0, "the output holds no word", {"judge_kind": JudgeKind.RULE.value})


def is_output_shown(metric: Metric, subject: EvaluatedTrace) -> bool:
    """Whether the evidence for a metric includes the final output.

    An output without a word is left out where a judge would grade how far it fulfils the request.
    """
    return metric is not TASK_COMPLETION or has_words(subject.answer.text)


def _metric(
    name: str, description: str, precheck: Precheck, *, sees_reasoning: bool = False
) -> Metric:
    return Metric(
        name=name,
        description=description,
        method=EvaluationMethod.JUDGED,
        rubric=RUBRICS[name],
        precheck=precheck,
        sees_reasoning=sees_reasoning,
    )


TASK_COMPLETION: Final = _metric(
    "task_completion", "How fully the request was fulfilled", nothing_to_complete
)
JUDGED_METRICS: Final = (
    _metric(
        "argument_correctness", "Share of tool calls whose arguments fit the request", no_tool_calls
    ),
    _metric(
        "confidence",
        "How decisive and well-grounded the agent's behaviour was",
        nothing_said,
        sees_reasoning=True,
    ),
    _metric(
        "plan_adherence",
        "How closely the run kept to the agent's stated plan",
        no_plan,
        sees_reasoning=True,
    ),
    _metric(
        "plan_quality",
        "How good the agent's plan was, executed or not",
        no_plan,
        sees_reasoning=True,
    ),
    _metric(
        "step_efficiency", "How little wasted work the run contained", no_spans, sees_reasoning=True
    ),
    TASK_COMPLETION,
    _metric("tool_correctness", "How suitable the chosen tools were", no_tools),
)
