"""A metric: what can be measured of a trace or a session, and what its number means."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from domain.evaluation.metrics.rubrics import Rubric
from domain.evaluation.scores.outcome import Outcome
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace

THRESHOLD: Final = 0.5


class Category(StrEnum):
    """What a metric is measured of. A metric of the other category is unknown to a run."""

    TRACE = "trace"
    SESSION = "session"


class EvaluationMethod(StrEnum):
    """How a metric comes by its number."""

    JUDGED = "judged"  # a judge reads the evidence
    EMBEDDED = "embedded"  # texts are compared by their vectors
    COMPUTED = "measured"  # computed from the trace alone
    AGGREGATED = "rolled_up"  # made of the signals of a session's traces


class JudgeKind(StrEnum):
    """Who says so: `metadata.judge_kind` of a score."""

    MODEL = "model"
    HEURISTIC = "heuristic"
    EMBEDDING = "embedding"
    MEASURED = "measured"
    RULE = "rule"


class Direction(StrEnum):
    HIGHER_IS_BETTER = "higher_is_better"
    NEUTRAL = "neutral"  # neither end is the good one


class Precheck(Protocol):
    """What stands instead of a verdict, where nobody needs to be asked; None where a judge is due.

    Pure; never raises.
    """

    def __call__(self, subject: EvaluatedTrace, /) -> Outcome | None: ...


class MetricFunction(Protocol):
    """A number from a trace, or a word for why there is none. Pure; never raises."""

    def __call__(self, subject: EvaluatedTrace, /) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a metric is called and how it is found; scores lie in [0, 1].

    `version` changes with the formula or with any text that a judge reads. `measure` is there for
    metrics by computation, `rubric` and `rule` for those that a judge is asked for. A judge of a
    metric that `sees_reasoning` reads what the agent thought too; it is `model`, where that is
    said, else the run's. Unlisted metrics can't be run by name. `revision` is of a project's own.
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
        """`threshold` and `success` of a score, the threshold itself included; none if neutral.

        A threshold of 0 is a threshold, which every score meets. Of a project's own metric also
        `metric_revision`.
        """
        own: dict[str, object] = {}
        if self.revision is not None:
            own["metric_revision"] = self.revision
        if self.direction is Direction.NEUTRAL:
            return own
        return {**own, "threshold": self.threshold, "success": value >= self.threshold}
