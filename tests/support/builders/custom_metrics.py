"""Definitions of custom metrics, and their outcomes for a trace."""

import re
from typing import Any

from domain.evaluation.custom_metrics.parser import build_metric
from domain.evaluation.custom_metrics.regex import RegexSearch
from domain.evaluation.metrics.metric import Definition, DefinitionKind, Metric, encode_definition
from domain.evaluation.metrics.registry import compute_metric
from domain.evaluation.scores.outcome import Outcome
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace

ANCHORS = ["never", "once", "seldom", "often", "nearly always", "always"]
JUDGE: dict[str, Any] = {"criterion": "Is the answer polite?", "anchors": ANCHORS}


def regex_search(pattern: str, text: str) -> bool:
    """Searches like an adapter, for the patterns of tests."""
    return re.search(pattern, text) is not None


def new_search() -> RegexSearch:
    return regex_search


def definition(kind: DefinitionKind, body: Any, **said: Any) -> Definition:
    known: dict[str, Any] = {"name": "own", "revision": 3, "description": "D", "threshold": 0.5}
    return Definition(**known | said, kind=kind, body=encode_definition(body))


def metric(kind: DefinitionKind, body: Any, **said: Any) -> Metric:
    return build_metric(definition(kind, body, **said), new_search)


def evaluate_rule(body: Any, subject: EvaluatedTrace) -> Outcome:
    return compute_metric(metric(DefinitionKind.RULE, body), subject)


def taken(kind: str, subject: EvaluatedTrace, **parameters: Any) -> Outcome:
    body = {"type": kind, "parameters": parameters}
    return compute_metric(metric(DefinitionKind.MEASURED, body), subject)
