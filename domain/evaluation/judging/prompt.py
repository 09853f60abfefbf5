"""The prompt of a judge: its text, the schema of the answer, and the fingerprint of both.

The evidence precedes the criterion, so all prompts about one target share a prefix that the
provider's prompt cache can reuse.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from domain.evaluation.metrics.metric import Metric
from domain.evaluation.metrics.rubrics import LABEL_MAX, PROTOCOL, AnswerFormat, Rubric
from domain.evaluation.runs.selection import SAMPLING_RATE_DEFAULT, TraceSelection

CALLS_HALF: Final = 20  # calls of a checklist from the beginning, and the same from the end
FINGERPRINT_DIGITS: Final = 16
HEURISTIC_VERSIONS: Final[Mapping[str, int]] = {
    "argument_correctness": 3,
    "confidence": 2,
    "step_efficiency": 2,
    "task_completion": 3,
    "tool_correctness": 2,
}
"""The version of the rules of a metric, if they have changed. Increase it with every change."""

_BOUNDARY_SHOWN: Final = "<16 random hexadecimal digits>"
_CALLS_SHOWN: Final = "<labels of the tool calls>"

type Schema = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of evaluating a metric, with its text."""

    stage: str
    prompt: str


def judged_calls(labels: Sequence[str]) -> tuple[Sequence[str], bool]:
    """The calls that a checklist covers, and whether some in the middle are omitted."""
    if len(labels) <= 2 * CALLS_HALF:
        return labels, False
    return [*labels[:CALLS_HALF], *labels[-CALLS_HALF:]], True


def prompt_text(rubric: Rubric, fenced: str, calls: Sequence[str] = ()) -> str:
    """The user message, which follows PROTOCOL: evidence within its boundary, then the criterion.

    `fenced` is the result of `Evidence.within_boundary`. `calls` are the labels of the calls of a
    checklist, in order.
    """
    asked = ["", f"Criterion: {rubric.criterion}", ""]
    if rubric.answer_format is AnswerFormat.CHECKLIST:
        asked += [f"Tool calls, one entry each, in this order: {', '.join(calls)}", "", "ok:"]
        labels = ["false", "true"]
    else:
        asked.append("label:")
        labels = [str(label) for label in range(LABEL_MAX + 1)]
    anchored = [f"{label} = {text}" for label, text in zip(labels, rubric.anchors, strict=True)]
    return "\n".join([fenced, *asked, *reversed(anchored)])


def answer_schema(form: AnswerFormat) -> Schema:
    """JSON Schema of an answer: every property is required, no extra ones; null means absent.

    The order of the properties is the order in which a model reasons, so it is part of the prompt.
    """
    cited = {
        "type": "array",
        "items": {"type": "string"},
        "description": "labels of the steps that the grade relies on",
    }
    reason = {"type": "string", "description": "at most 60 words"}
    cannot_judge = {"type": "boolean", "description": "whether the evidence allows no grade"}
    if form is AnswerFormat.SCALE:
        whole_number = {"type": "integer", "enum": list(range(LABEL_MAX + 1))}
        label = {"anyOf": [whole_number, {"type": "null"}]}
        return _strict(evidence=cited, reason=reason, cannot_judge=cannot_judge, label=label)
    check = _strict(
        call={"type": "string", "description": "the label of the call"},
        reason={"type": "string", "description": "at most 20 words"},
        ok={"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    )
    return _strict(
        evidence=cited, verdicts={"type": "array", "items": check}, cannot_judge=cannot_judge
    )


def _strict(**properties: object) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


# --- fingerprints ----------------------------------------------------------------------------


def heuristic_fingerprint(metric: str) -> str:
    """Identifies the rules of the heuristic judge for a metric."""
    return f"heuristic/{HEURISTIC_VERSIONS.get(metric, 1)}"


def judge_fingerprint(
    metric: Metric,
    *,
    model: str,
    base_url: str | None,
    parameters: Mapping[str, object],
    evidence_version: int,
    embedder: str | None = None,
) -> str:
    """Identifies how a model judge gave a score: only equal fingerprints are comparable.

    `parameters` are what is sent in addition to the texts. Only the hash of the base URL is
    included. Raises ValueError for a metric without a judge.
    """
    rubric = metric.rubric
    if rubric is None:
        raise ValueError(f"{metric.name} is not judged")
    return _digest(
        {
            "metric": metric.name,
            "version": metric.version,
            "prompt": prompt_hash(rubric),
            "schema": _hash(json.dumps(answer_schema(rubric.answer_format))),  # in its own order
            "model": model,
            "base_url": None if base_url is None else _hash(base_url),
            "parameters": parameters,
            "evidence": evidence_version,
            "embedder": embedder,
        }
    )


def verdict_key(
    fingerprint: str, evidence_hash: str, *, is_output_shown: bool, sample: int
) -> bytes:
    """The cache key of a verdict, 32 bytes: equal for identical prompts."""
    asked = [fingerprint, evidence_hash, is_output_shown, sample]
    return sha256(json.dumps(asked).encode()).digest()


def session_fingerprint(
    metric: Metric, weights: Mapping[str, float], signals: Mapping[str, str]
) -> str:
    """The fingerprint of a session score: how its signals are judged and weighted.

    `signals` are the run's fingerprints for each signal, whether or not a session has the signal:
    otherwise sessions without tools couldn't be compared with others.
    """
    return _digest(
        {
            "metric": metric.name,
            "version": metric.version,
            "weights": {signal: float(weight) for signal, weight in weights.items()},
            "signals": signals,
        }
    )


def prompt_hash(rubric: Rubric) -> str:
    """The hash of every text that a judge reads for a rubric, except evidence and boundary."""
    return _hash(f"{PROTOCOL}\n{_shown_prompt(rubric)}")


def _shown_prompt(rubric: Rubric) -> str:
    """The prompt with placeholders for what differs between traces."""
    shown = rubric.template or "<evidence>"
    fenced = f"evidence {_BOUNDARY_SHOWN}\n{shown}\nend of evidence {_BOUNDARY_SHOWN}"
    return prompt_text(rubric, fenced, [_CALLS_SHOWN])


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _digest(value: Mapping[str, object]) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return _hash(canonical)[:FINGERPRINT_DIGITS]


# --- preview for callers ---------------------------------------------------------------------


def prompt_preview(metric: Metric) -> tuple[Stage, ...]:
    """The evaluation stages of a metric, with placeholders; () if it has no judge."""
    rubric = metric.rubric
    if rubric is None:
        return ()
    thoughts = "kept" if metric.sees_reasoning else "left out"
    taken = (
        "No model is asked. Taken from the trace, within a budget: the task, the steps with "
        "status, errors, arguments and outputs, the declared tools, the plan, the final output, "
        "and counts of calls, failures and repetitions. Secrets are masked. Ids, users, tags, "
        f"instants and costs are left out. The agent's own reasoning is {thoughts}."
    )
    return (Stage("evidence", taken), Stage("judge", f"{PROTOCOL}\n\n{_shown_prompt(rubric)}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTemplate:
    """A run over traces with one metric, as a template that callers can edit and send."""

    metric: Metric
    model: str
    filters: TraceSelection = field(default_factory=TraceSelection)
    sampling_rate: float = SAMPLING_RATE_DEFAULT

    @property
    def prompt_preview(self) -> tuple[Stage, ...]:
        return prompt_preview(self.metric)
