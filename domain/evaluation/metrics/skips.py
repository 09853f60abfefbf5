"""When a built-in metric is skipped instead of scored: its codes, for the catalogue of metrics."""

from collections.abc import Mapping, Sequence
from typing import Final

from domain.evaluation.metrics.metric import EvaluationMethod, Metric
from domain.evaluation.scores.outcome import SkipCode

OWN_SKIPS: Final[Mapping[str, tuple[SkipCode, ...]]] = {
    "agent_consistency": (SkipCode.INSUFFICIENT_SIGNALS,),
    "agent_consistency_v2": (SkipCode.INSUFFICIENT_SIGNALS,),
    "agent_reliability": (SkipCode.INSUFFICIENT_SIGNALS,),
    "agent_reliability_v2": (SkipCode.INSUFFICIENT_SIGNALS,),
    "answer_repetition": (
        *(SkipCode.NO_PREVIOUS_TRACES, SkipCode.NO_PREVIOUS_OUTPUTS, SkipCode.TOO_SHORT),
    ),
    "argument_correctness": (SkipCode.NO_TOOL_CALLS,),
    "coherence": (SkipCode.EMPTY_INPUT_OR_OUTPUT,),
    "confidence": (SkipCode.NO_STEPS,),
    "error_recovery": (SkipCode.NO_FAILED_CALLS,),
    "loop_detection": (
        *(SkipCode.NO_PREVIOUS_TRACES, SkipCode.NO_PREVIOUS_OUTPUTS, SkipCode.EMPTY_OUTPUT),
    ),
    "outcome_consistency": (SkipCode.NO_REPEATED_INPUTS, SkipCode.INSUFFICIENT_SIGNALS),
    "output_degeneration": (SkipCode.EMPTY_OUTPUT, SkipCode.STRUCTURED_OUTPUT),
    "plan_adherence": (SkipCode.NO_PLAN,),
    "plan_quality": (SkipCode.NO_PLAN,),
    "refusal": (SkipCode.EMPTY_OUTPUT, SkipCode.UNKNOWN_LANGUAGE),
    "retrieval_hit_rate": (SkipCode.NO_RETRIEVALS,),
    "session_error_rate": (SkipCode.INSUFFICIENT_SIGNALS,),
    "step_efficiency": (SkipCode.NO_STEPS,),
    "task_completion": (SkipCode.NO_INPUT, SkipCode.TRACE_RUNNING, SkipCode.EMPTY_OUTPUT),
    "tool_args_schema": (SkipCode.NO_TOOL_CALLS, SkipCode.NO_SCHEMAS),
    "tool_correctness": (SkipCode.NO_TOOLS,),
    "tool_loop": (SkipCode.TOO_SHORT,),
    "tool_name_validity": (SkipCode.NO_TOOL_CALLS, SkipCode.NO_DECLARED_TOOLS),
    "tool_success_rate": (SkipCode.NO_TOOL_CALLS,),
    "trace_hygiene": (SkipCode.NO_SPANS,),
    "trace_success": (SkipCode.TRACE_RUNNING,),
    "untruncated_rate": (SkipCode.NO_FINISH_REASONS,),
    "user_repetition": (SkipCode.TOO_FEW_INPUTS, SkipCode.INSUFFICIENT_SIGNALS),
}


def skip_codes(metric: Metric) -> Sequence[SkipCode] | None:
    """Why the metric may be skipped, its own reasons first; None for a custom metric.

    Without the codes of what ends a run: any metric is skipped if its run is cancelled.
    """
    if metric.revision is not None:
        return None
    judged = metric.method is EvaluationMethod.JUDGED
    return (
        *OWN_SKIPS[metric.name],
        *((SkipCode.CANNOT_JUDGE, SkipCode.BUDGET) if judged else ()),
        SkipCode.TRACE_TOO_LARGE,
    )
