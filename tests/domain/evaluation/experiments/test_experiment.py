"""Experiments: cases that traces name, and coverage."""

import json
import uuid
from typing import Any

import pytest

from domain.evaluation.experiments.experiment import (
    Case,
    Coverage,
    ExperimentStatus,
    Result,
    first_of_cases,
    named_case,
    status_of,
)
from domain.evaluation.runs.run import RunStatus, Tally
from domain.ids import RunId, TraceId
from tests.support.builders.experiments import an_experiment
from tests.support.builders.values import at

OURS = uuid.UUID(int=7)


ID, ITEM, REPETITION = "experiment.id", "experiment.item", "experiment.repetition"


@pytest.mark.parametrize(
    ("metadata", "case"),
    [
        ({ID: str(OURS), ITEM: "a"}, Case("a", 1)),
        ({ID: str(OURS), ITEM: "a", REPETITION: 3}, Case("a", 3)),
        ({ID: str(OURS), ITEM: "a", REPETITION: "2"}, Case("a", 2)),
        ({ID: str(OURS), ITEM: 7}, Case("7", 1)),
        ({ID: str(uuid.UUID(int=8)), ITEM: "a"}, None),
        ({ID: str(OURS)}, None),
        ({ID: str(OURS), ITEM: "a", REPETITION: 1.5}, None),
        ({ID: str(OURS), ITEM: "a", REPETITION: "x"}, None),
        ({ID: str(OURS), ITEM: {"a": 1}}, None),
        ({}, None),
    ],
)
def test_named_case(metadata: dict[str, Any], case: Case | None) -> None:
    assert named_case(json.dumps(metadata).encode(), OURS) == case


def test_first_trace_of_a_case_counts_in_whatever_order_they_come() -> None:
    first, second = (Result(Case("a"), TraceId(uuid.UUID(int=n))) for n in (1, 2))
    assert first_of_cases([second, first]) == first_of_cases([first, second]) == [first]


def test_parts_of_coverage_sum_up_to_its_total() -> None:
    experiment = an_experiment(items=4, repetitions=3, metrics=("a", "b"))
    tally = Tally(evaluated=7, scored=9, failed=2, skipped=1, pending=2)
    coverage = Coverage.from_tally(experiment, tally)
    assert (coverage.total, coverage.missing) == (24, 10)
    assert Coverage.from_tally(experiment, None) == Coverage(total=24, missing=24)


def test_status_is_that_of_the_run() -> None:
    opened = an_experiment()
    closed = opened.closed(RunId(OURS), at(1))
    assert status_of(opened, None) is ExperimentStatus.OPEN
    assert status_of(closed, None) is ExperimentStatus.CLOSED
    assert [status_of(closed, one).value for one in RunStatus] == [one.value for one in RunStatus]
    assert closed.closed(RunId(uuid.UUID(int=9)), at(2)) == closed
