"""Details of a judged score: excerpts of what the judge read, in a few metadata fields."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from domain.evaluation.evidence.evidence import Evidence
from domain.evaluation.trace_content.messages import decode_embedded_json

OUTCOME_MAX: Final = 500  # characters of the final output
PARAMETERS_MAX: Final = 500  # characters of the arguments of a call
LISTED_MAX: Final = 100  # calls, or tools

type ScoreDetails = dict[str, object]


def score_details(metric: str, evidence: Evidence) -> ScoreDetails:
    """The metric-specific metadata of a score, redacted; {} for most metrics."""
    build_details = _DETAILS.get(metric)
    return build_details(evidence) if build_details else {}


def _request(evidence: Evidence) -> ScoreDetails:
    return {"user_input": evidence.task}


def _task(evidence: Evidence) -> ScoreDetails:
    return {"task": evidence.task}


def _plan(evidence: Evidence) -> ScoreDetails:
    return {"task": evidence.task, "plan": list(evidence.plan)}


def _completion(evidence: Evidence) -> ScoreDetails:
    return {"task": evidence.task, "outcome": _cut(evidence.final_output, OUTCOME_MAX)}


def _tools(evidence: Evidence) -> ScoreDetails:
    return {
        "user_input": evidence.task,
        "tools_called": [
            {"name": call.name, "parameters": _parameters(call.arguments)}
            for call in _some(evidence.calls)
        ],
        "available_tools": [
            {"name": tool.name, "description": tool.description}
            for tool in _some(evidence.declared_tools)
        ],
    }


def _some[T](items: Sequence[T]) -> Sequence[T]:
    return items[:LISTED_MAX]


def _parameters(arguments: str) -> object:
    """The arguments as JSON if they are short, otherwise the beginning of their text."""
    if not arguments:
        return {}
    return (
        decode_embedded_json(arguments)
        if len(arguments) <= PARAMETERS_MAX
        else _cut(arguments, PARAMETERS_MAX)
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


_DETAILS: Final[Mapping[str, Callable[[Evidence], ScoreDetails]]] = {
    "argument_correctness": _request,
    "plan_adherence": _plan,
    "plan_quality": _plan,
    "step_efficiency": _task,
    "task_completion": _completion,
    "tool_correctness": _tools,
}
