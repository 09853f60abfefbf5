"""What a comparison says of scoring its baseline again."""

from dataclasses import replace
from decimal import Decimal

from application.evaluation.experiments.compare import _rescoring, _Side
from domain.evaluation.costs.judge_costs import Spending
from domain.evaluation.experiments.comparison import Mismatch
from tests.support.builders.experiments import an_experiment
from tests.support.builders.measurements import measured


def test_estimate_is_for_as_many_results_as_the_baseline_has():
    known, spending = measured({}), Spending(calls=20, usd=Decimal(6))
    old, new = (
        _Side(an_experiment(), None, replace(known, repetition_results={1: results}), spending)
        for results in (40, 20)
    )
    mismatch = Mismatch(what="fingerprint", metric="m", base=["a"], candidate=["b"])
    found = _rescoring([mismatch], old, new)
    assert (found.metrics, found.targets, found.estimated_cost_usd) == (["m"], 40, Decimal(12))
