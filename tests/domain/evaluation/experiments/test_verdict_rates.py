"""How often the gate is right: simulated experiments with known differences.

`pytest -m exhaustive -rP` of this file prints the table of docs/evaluation/experiments.md.
"""

import random
from collections import Counter

import pytest

from domain.evaluation.experiments.comparison import Gate, Rule, Verdict
from tests.support.builders.measurements import measured, named

REPETITIONS = 3
ITEMS = (20, 50, 200)
DROPS = (0.0, 0.05, 0.1, 0.2)
RULE = Rule(metric="m", max_drop=0.05)
ANY_DROP = Rule(metric="m", max_drop=0.0)


def simulate(source: random.Random, items: int, drop: float, is_binary: bool):
    """Both sides, and the true difference of the population: items are a sample of it.

    Binary: an item passes with a probability of its own, mostly near 1. Continuous: scores of a
    judge, with noise between repetitions.
    """
    base, candidate = [], []
    for _ in range(items):
        if is_binary:
            chance = source.betavariate(2, 0.5)
            worse = chance * (1 - drop / 0.8)
            base.append([float(source.random() < chance) for _ in range(REPETITIONS)])
            candidate.append([float(source.random() < worse) for _ in range(REPETITIONS)])
        else:
            level = 0.4 + 0.4 * source.random()
            base.append([level + source.uniform(-0.2, 0.2) for _ in range(REPETITIONS)])
            candidate.append([level - drop + source.uniform(-0.2, 0.2) for _ in range(REPETITIONS)])
    return measured(named(base)), measured(named(candidate)), -drop


def rates(experiments: int, items: int, drop: float, is_binary: bool, seed: int = 1):
    """The shares of verdicts, of wrong "regressed" without an allowed drop, and of intervals."""
    source, verdicts, outside, strict = random.Random(seed), Counter[Verdict](), 0, 0
    for _ in range(experiments):
        base, candidate, change = simulate(source, items, drop, is_binary)
        gate = Gate(base=base, candidate=candidate)
        found = gate.check(RULE)
        verdicts[found.verdict] += 1
        outside += not found.low <= change <= found.high
        strict += gate.check(ANY_DROP).verdict is Verdict.REGRESSED
    return {one: verdicts[one] / experiments for one in Verdict} | {
        "covered": 1 - outside / experiments,
        "strict": strict / experiments,
    }


def test_equal_agents_rarely_regress():
    """A part of the simulation below."""
    found = rates(100, 20, 0.0, is_binary=True)
    assert found["strict"] <= 0.07
    assert found["covered"] >= 0.93


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "continuous"])
@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize("drop", DROPS)
def test_rates(items, drop, is_binary):
    """10,000 experiments; the bounds leave room for chance."""
    found = rates(10_000, items, drop, is_binary)
    cells = (Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.PASS, "strict", "covered")
    shares = " | ".join(f"{100 * found[one]:.1f} %" for one in cells)
    print(f"| {'0 or 1' if is_binary else 'continuous'} | {drop} | {items} | {shares} |")
    assert found["covered"] >= 0.945
    if drop == 0:
        assert found["strict"] <= 0.05
        assert found[Verdict.REGRESSED] <= 0.01
    if drop <= RULE.max_drop:
        assert found[Verdict.REGRESSED] <= 0.05
    if drop >= RULE.max_drop:
        assert found[Verdict.PASS] <= 0.05
