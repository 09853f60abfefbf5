"""A metric: what is evaluated of a trace or a session, and what its number means."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Final

from domain.evaluation.metrics.rubrics import Rubric
from domain.evaluation.scores.outcome import Outcome
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import decode_json
from domain.tracing.payloads.payload import JsonText

THRESHOLD: Final = 0.5
PRECHECK_PATTERN: Final = "rule/[0-9]{1,4}"


class Category(StrEnum):
    """The kind of target. Runs don't know metrics of the other category."""

    TRACE = "trace"
    SESSION = "session"


class EvaluationMethod(StrEnum):
    """How a metric gets its value."""

    JUDGED = "judged"  # a judge reads the evidence
    EMBEDDED = "embedded"  # texts are compared by their vectors
    COMPUTED = "measured"  # computed from the trace alone
    AGGREGATED = "rolled_up"  # aggregated from the signals of a session's traces


class JudgeKind(StrEnum):
    """The kind of judge that gave the score: `metadata.judge_kind`."""

    MODEL = "model"
    HEURISTIC = "heuristic"
    EMBEDDING = "embedding"
    MEASURED = "measured"
    RULE = "rule"


class Direction(StrEnum):
    HIGHER_IS_BETTER = "higher_is_better"
    NEUTRAL = "neutral"  # neither end is better


type MetricFunction = Callable[[EvaluatedTrace], Outcome]
"""Computes the outcome of a trace. Pure; never raises."""
type Precheck = Callable[[EvaluatedTrace], Outcome | None]
"""Decides an outcome without a judge; None if a judge is needed. Pure; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The definition of a metric; its scores lie in [0, 1].

    `version` changes with the formula and with any text that a judge reads. `compute` is set for
    computed metrics, `rubric` and `precheck` for judged ones. With `sees_reasoning`, the judge also
    reads the agent's reasoning. `model` is the judge of this metric, None for the run's. Unlisted
    metrics can't be requested by name. `revision` is set for custom metrics only.
    """

    name: str
    description: str
    method: EvaluationMethod
    category: Category = Category.TRACE
    version: int = 1
    threshold: float = THRESHOLD
    direction: Direction = Direction.HIGHER_IS_BETTER
    is_listed: bool = True
    compute: MetricFunction | None = None
    rubric: Rubric | None = None
    precheck: Precheck | None = None
    sees_reasoning: bool = False
    model: str | None = None
    revision: int | None = None

    def marks(self, value: float) -> dict[str, object]:
        """`threshold` and `success` of a score that reaches it or not; empty for neutral metrics.

        A threshold of 0 is valid, and every score meets it. Custom metrics add `metric_revision`.
        """
        own: dict[str, object] = {}
        if self.revision is not None:
            own["metric_revision"] = self.revision
        if self.direction is Direction.NEUTRAL:
            return own
        return {**own, "threshold": self.threshold, "success": value >= self.threshold}


def rule_fingerprint(metric: Metric) -> str:
    """Identifies scores that the precheck of a metric gave, whichever judge would be asked."""
    return f"{JudgeKind.RULE}/{metric.version}"


def is_rule_fingerprint(fingerprint: str) -> bool:
    """Whether it is a `rule_fingerprint`. Those of custom rules end with a longer digest."""
    return re.fullmatch(PRECHECK_PATTERN, fingerprint) is not None


class DefinitionKind(StrEnum):
    JUDGE = "judge"  # a judge reads the evidence
    RULE = "rule"  # conditions on paths of the trace
    MEASURED = "measured"  # one of `checks.COMPUTED_CHECKS`


@dataclass(frozen=True, kw_only=True)  # no slots: `cached_property` needs an instance dict
class Definition:
    """One revision of a custom metric. `body` is the JSON that `encode_definition` wrote.

    A revision never changes, so a run's scores always belong to the definition it was created with.
    """

    name: str
    revision: int
    kind: DefinitionKind
    description: str
    threshold: float
    body: JsonText

    @property
    def method(self) -> EvaluationMethod:
        return (
            EvaluationMethod.JUDGED
            if self.kind is DefinitionKind.JUDGE
            else EvaluationMethod.COMPUTED
        )

    @cached_property
    def model(self) -> str | None:
        """The judge model that it names; None if it names none or has no judge."""
        value = decode_json(self.body)
        named = value.get("model") if isinstance(value, Mapping) else None
        return str(named) if named is not None and self.kind is DefinitionKind.JUDGE else None

    def has_same_content(self, other: "Definition") -> bool:
        """Whether the other definition differs at most in its revision."""
        return replace(self, revision=other.revision) == other


def encode_definition(body: object) -> JsonText:
    """A canonical encoding: keys sorted, no whitespace."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
