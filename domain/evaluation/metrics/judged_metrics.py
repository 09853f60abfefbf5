"""The metrics that a judge is asked for, and when nobody needs to be asked."""

from typing import Final

from domain.evaluation.metrics.metric import JudgeKind, Metric, Way
from domain.evaluation.metrics.rubrics import RUBRICS
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import Subject
from domain.evaluation.trace_content.stated_plan import plan_of
from domain.evaluation.trace_content.text import has_words


def no_tool_calls(subject: Subject) -> Outcome | None:
    return None if subject.calls else Skipped(SkipCode.NO_TOOL_CALLS)


def no_tools(subject: Subject) -> Outcome | None:
    return None if subject.calls or subject.declared else Skipped(SkipCode.NO_TOOLS)


def no_plan(subject: Subject) -> Outcome | None:
    return None if plan_of(subject) else Skipped(SkipCode.NO_PLAN)


def no_spans(subject: Subject) -> Outcome | None:
    return None if subject.spans else Skipped(SkipCode.NO_STEPS)


def nothing_said(subject: Subject) -> Outcome | None:
    said = subject.answer.text.strip() or subject.models
    return None if said else Skipped(SkipCode.NO_STEPS)


def nothing_to_complete(subject: Subject) -> Outcome | None:
    """Without a word in the output the steps are judged; without a tool call there are none.

    Short meaningless strings are known to fool judges (arXiv 2507.08794), so none is asked.
    """
    if not subject.request.text.strip():
        return Skipped(SkipCode.NO_INPUT)
    if subject.is_running:
        return Skipped(SkipCode.TRACE_RUNNING)
    if subject.calls or has_words(subject.answer.text):
        return None
    if not subject.answer.text.strip():
        return Skipped(SkipCode.EMPTY_OUTPUT)
    return Scored(0.0, "the output holds no word", {"judge_kind": JudgeKind.RULE.value})


def is_output_shown(metric: Metric, subject: Subject) -> bool:
    """Whether the evidence for a metric shows the final output.

    A wordless one is left out where a judge would be asked how far it fulfils the request.
    """
    return metric is not TASK_COMPLETION or has_words(subject.answer.text)


TASK_COMPLETION: Final = Metric(
    name="task_completion",
    description="How fully the request was fulfilled",
    way=Way.JUDGED,
    rubric=RUBRICS["task_completion"],
    rule=nothing_to_complete,
)
JUDGED_METRICS: Final = (
    Metric(
        name="argument_correctness",
        description="Share of tool calls whose arguments fit the request",
        way=Way.JUDGED,
        rubric=RUBRICS["argument_correctness"],
        rule=no_tool_calls,
    ),
    Metric(
        name="confidence",
        description="How decisive and well-grounded the agent's behaviour was",
        way=Way.JUDGED,
        rubric=RUBRICS["confidence"],
        rule=nothing_said,
        sees_reasoning=True,
    ),
    Metric(
        name="plan_adherence",
        description="How closely the run kept to the agent's stated plan",
        way=Way.JUDGED,
        rubric=RUBRICS["plan_adherence"],
        rule=no_plan,
        sees_reasoning=True,
    ),
    Metric(
        name="plan_quality",
        description="How good the agent's plan was, executed or not",
        way=Way.JUDGED,
        rubric=RUBRICS["plan_quality"],
        rule=no_plan,
        sees_reasoning=True,
    ),
    Metric(
        name="step_efficiency",
        description="How little wasted work the run contained",
        way=Way.JUDGED,
        rubric=RUBRICS["step_efficiency"],
        rule=no_spans,
        sees_reasoning=True,
    ),
    TASK_COMPLETION,
    Metric(
        name="tool_correctness",
        description="How suitable the chosen tools were",
        way=Way.JUDGED,
        rubric=RUBRICS["tool_correctness"],
        rule=no_tools,
    ),
)
