"""Definitions of a project's own metrics, and what they come to on a trace."""

import re
from typing import Any

from domain.evaluation.custom_metrics.parser import metric_of
from domain.evaluation.metrics.definition import Definition, Kind, as_kept
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.metrics.registry import measured
from domain.evaluation.scores.outcome import Outcome
from domain.evaluation.trace_content.evaluated_trace import Subject

ANCHORS = ["never", "once", "seldom", "often", "nearly always", "always"]
JUDGE: dict[str, Any] = {"criterion": "Is the answer polite?", "anchors": ANCHORS}


def finds(pattern: str, text: str) -> bool:
    """As an adapter does, for patterns of ours."""
    return re.search(pattern, text) is not None


def definition(kind: Kind, body: Any, **said: Any) -> Definition:
    known: dict[str, Any] = {"name": "own", "revision": 3, "description": "D", "threshold": 0.5}
    return Definition(**known | said, kind=kind, body=as_kept(body))


def metric(kind: Kind, body: Any, **said: Any) -> Metric:
    return metric_of(definition(kind, body, **said), finds)


def ruled(body: Any, subject: Subject) -> Outcome:
    return measured(metric(Kind.RULE, body), subject)


def taken(kind: str, subject: Subject, **parameters: Any) -> Outcome:
    body = {"type": kind, "parameters": parameters}
    return measured(metric(Kind.MEASURED, body), subject)
