"""All built-in metrics by name, and the evaluation of computed metrics."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from domain.errors import FieldError, Invalid
from domain.evaluation.metrics.judged_metrics import JUDGED_METRICS
from domain.evaluation.metrics.metric import Category, EvaluationMethod, JudgeKind, Metric
from domain.evaluation.metrics.output import OUTPUT_METRICS
from domain.evaluation.metrics.run_health import RUN_METRICS
from domain.evaluation.metrics.similarity import COHERENCE, LOOP_DETECTION
from domain.evaluation.metrics.tool_use import TOOL_METRICS
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace

ERRORS_MAX: Final = 100  # of one response; api.md §1.6
SPANS_MAX: Final = 20_000  # of a trace: larger ones are stored, but not evaluated

AGENT_RELIABILITY: Final = Metric(
    name="agent_reliability",
    description="Tail risk: how bad the worst traces of the session are",
    method=EvaluationMethod.AGGREGATED,
    category=Category.SESSION,
)
AGENT_CONSISTENCY: Final = Metric(
    name="agent_consistency",
    description="How evenly well-behaved the session is",
    method=EvaluationMethod.AGGREGATED,
    category=Category.SESSION,
)
AGENT_RELIABILITY_V2: Final = Metric(
    name="agent_reliability_v2",
    description="Tail risk by what can be measured: how bad the worst traces of the session are",
    method=EvaluationMethod.AGGREGATED,
    category=Category.SESSION,
)
AGENT_CONSISTENCY_V2: Final = Metric(
    name="agent_consistency_v2",
    description="How evenly well-behaved the session is, each risk counting for itself",
    method=EvaluationMethod.AGGREGATED,
    category=Category.SESSION,
)

SESSION_ERROR_RATE: Final = Metric(
    name="session_error_rate",
    description="1 - share of the session's traces that failed: higher is better",
    method=EvaluationMethod.AGGREGATED,
    category=Category.SESSION,
)
USER_REPETITION: Final = Metric(
    name="user_repetition",
    description="1 - share of the user's inputs that ask again what was asked before",
    method=EvaluationMethod.AGGREGATED,
    category=Category.SESSION,
)
OUTCOME_CONSISTENCY: Final = Metric(
    name="outcome_consistency",
    description="Whether traces with the same input succeed each time: pass^2",
    method=EvaluationMethod.AGGREGATED,
    category=Category.SESSION,
)


def _by_name(metrics: Iterable[Metric]) -> Mapping[str, Metric]:
    ordered = sorted(metrics, key=lambda metric: metric.name)
    named = {metric.name: metric for metric in ordered}
    assert len(named) == len(ordered), "two metrics of one name"
    return MappingProxyType(named)


METRIC_REGISTRY: Final = _by_name(
    (
        *(*JUDGED_METRICS, COHERENCE, LOOP_DETECTION),
        *(*TOOL_METRICS, *OUTPUT_METRICS, *RUN_METRICS),
        *(AGENT_RELIABILITY, AGENT_CONSISTENCY),
        *(AGENT_RELIABILITY_V2, AGENT_CONSISTENCY_V2),
        *(SESSION_ERROR_RATE, USER_REPETITION, OUTCOME_CONSISTENCY),
    )
)
"""Every built-in metric by name, in order of names; includes unlisted ones."""


def listed_metrics(category: Category) -> Sequence[Metric]:
    """The metrics that can be requested, by name."""
    return [one for one in METRIC_REGISTRY.values() if one.category is category and one.is_listed]


def get_metric(name: str, category: Category) -> Metric:
    """The listed metric of a name. Raises Invalid with the known names."""
    metric = METRIC_REGISTRY.get(name)
    if metric is None or not metric.is_listed or metric.category is not category:
        raise Invalid.field("metric", unknown_metric_message(name, category))
    return metric


def get_metrics(names: Sequence[str], category: Category) -> Sequence[Metric]:
    """The listed metrics of some names, at least one: each once, at its first occurrence.

    Raises Invalid, naming `metrics.<i>` for each unknown name, with the known names.
    """
    if not names:
        raise Invalid.field("metrics", "must name at least one metric")
    known = {metric.name: metric for metric in listed_metrics(category)}
    unknown = [place for place, name in enumerate(names) if name not in known]
    if unknown:
        raise Invalid.fields(
            [
                FieldError(f"metrics.{place}", unknown_metric_message(names[place], category))
                for place in unknown[:ERRORS_MAX]
            ]
        )
    return [known[name] for name in dict.fromkeys(names)]


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
