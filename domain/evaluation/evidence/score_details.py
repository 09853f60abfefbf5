"""Details of a judged score: excerpts of what the judge read, in a few metadata fields."""

from collections.abc import Callable, Mapping
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


def _tools(evidence: Evidence) -> ScoreDetails:
    return {
        "user_input": evidence.task,
        "tools_called": [
            {"name": call.name, "parameters": _parameters(call.arguments)}
            for call in evidence.calls[:LISTED_MAX]
        ],
        "available_tools": [
            {"name": tool.name, "description": tool.description}
            for tool in evidence.declared_tools[:LISTED_MAX]
        ],
    }


def _parameters(arguments: str) -> object:
    """The arguments as JSON if they are short, otherwise the beginning of their text."""
    if not arguments:
        return {}
    if len(arguments) > PARAMETERS_MAX:
        return _cut(arguments, PARAMETERS_MAX)
    return decode_embedded_json(arguments)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


_DETAILS: Final[Mapping[str, Callable[[Evidence], ScoreDetails]]] = {
    "argument_correctness": lambda it: {"user_input": it.task},
    "plan_adherence": lambda it: {"task": it.task, "plan": list(it.plan)},
    "plan_quality": lambda it: {"task": it.task, "plan": list(it.plan)},
    "step_efficiency": lambda it: {"task": it.task},
    "task_completion": lambda it: {"task": it.task, "outcome": _cut(it.final_output, OUTCOME_MAX)},
    "tool_correctness": _tools,
}
