"""All built-in metrics by name, and the evaluation of computed metrics."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from domain.evaluation.metrics.computed_metrics import COMPUTED_METRICS
from domain.evaluation.metrics.judged_metrics import JUDGED_METRICS
from domain.evaluation.metrics.metric import Category, EvaluationMethod, JudgeKind, Metric
from domain.evaluation.metrics.similarity import COHERENCE, LOOP_DETECTION
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace

ERRORS_MAX: Final = 100  # of one response
SPANS_MAX: Final = 20_000  # of a trace: larger ones are stored, but not evaluated

# Name and description of each metric that aggregates the signals of a session's traces.
_SESSION_METRICS: Final = {
    "agent_reliability": "Tail risk: how bad the worst traces of the session are",
    "agent_consistency": "How evenly well-behaved the session is",
    "agent_reliability_v2": (
        "Tail risk by what can be measured: how bad the worst traces of the session are"
    ),
    "agent_consistency_v2": (
        "How evenly well-behaved the session is, each risk counting for itself"
    ),
    "session_error_rate": "1 - share of the session's traces that failed: higher is better",
    "user_repetition": "1 - share of the user's inputs that ask again what was asked before",
    "outcome_consistency": "Whether traces with the same input succeed each time: pass^2",
}


def _by_name(metrics: Iterable[Metric]) -> Mapping[str, Metric]:
    ordered = sorted(metrics, key=lambda metric: metric.name)
    named = {metric.name: metric for metric in ordered}
    assert len(named) == len(ordered), "two metrics of one name"
    return MappingProxyType(named)


METRIC_REGISTRY: Final = _by_name(
    (
        *(*JUDGED_METRICS, COHERENCE, LOOP_DETECTION, *COMPUTED_METRICS),
        *(
            Metric(
                name=name,
                description=description,
                method=EvaluationMethod.AGGREGATED,
                category=Category.SESSION,
            )
            for name, description in _SESSION_METRICS.items()
        ),
    )
)
"""Every built-in metric by name, in order of names; includes unlisted ones."""


def listed_metrics(category: Category) -> Sequence[Metric]:
    """The metrics that can be requested, by name."""
    return [one for one in METRIC_REGISTRY.values() if one.category is category and one.is_listed]


def unknown_metric_message(name: str, category: Category) -> str:
    there_are = ", ".join(metric.name for metric in listed_metrics(category))
    return f"unknown {category} metric {name[:100]!r}; there are: {there_are}"


def compute_metric(metric: Metric, subject: EvaluatedTrace) -> Outcome:
    """The outcome of a computed metric, with the metadata that all such scores share.

    Raises ValueError for a metric that isn't computed.
    """
    if metric.method is not EvaluationMethod.COMPUTED or metric.compute is None:
        raise ValueError(f"{metric.name} is not measured")
    if len(subject.trace.spans) > SPANS_MAX:
        return Skipped(SkipCode.TRACE_TOO_LARGE)
    outcome = metric.compute(subject)
    if not isinstance(outcome, Scored):
        return outcome
    common = {
        **metric.marks(outcome.value),
        "judge_kind": JudgeKind.MEASURED.value,
        "fingerprint": computed_fingerprint(metric),
    }
    return Scored(outcome.value, outcome.reason, {**common, **outcome.metadata})


def computed_fingerprint(metric: Metric) -> str:
    """Identifies how a score was computed: only equal fingerprints are comparable."""
    return f"measured/{metric.version}"
