"""Builders of experiments."""

import uuid
from dataclasses import replace
from typing import Any

from domain.evaluation.experiments.experiment import Case, Experiment, Result
from domain.ids import ProjectId, TraceId
from tests.support.builders.datasets import a_dataset
from tests.support.builders.values import NOON

METRICS = ("task_completion", "tool_success_rate")


def an_experiment(**said: Any) -> Experiment:
    of = said.pop("project_id", ProjectId(uuid.UUID(int=1)))
    known: dict[str, Any] = {
        "id": uuid.uuid4(),
        "name": "shorter prompt",
        "dataset": "refunds",
        "version": replace(a_dataset(of).version),
        "items": 2,
        "metrics": METRICS,
        "created_at": NOON,
    }
    return Experiment(**known | said, project_id=of)


def a_result(item: str, repetition: int = 1, trace: TraceId | None = None) -> Result:
    return Result(Case(item, repetition), TraceId(uuid.uuid4()) if trace is None else trace)
