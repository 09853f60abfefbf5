"""The gate: verdicts of rules over measured experiments."""

import random
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.experiments.comparison import (
    Gate,
    Rule,
    Verdict,
    find_mismatches,
    new_failures,
    noise_floor,
    validate_rules,
    worst,
)
from domain.evaluation.experiments.experiment import NoiseFloor
from domain.evaluation.experiments.measurements import Figure
from tests.support.builders.experiments import an_experiment
from tests.support.builders.measurements import measured, named

DROP = Rule(metric="m", max_drop=0.05)
scores = st.lists(
    st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=2, max_size=2), min_size=1, max_size=40
)


def check(rule, base, candidate, **options):
    return Gate(base=base, candidate=candidate, **options).check(rule)


def test_clear_drop_is_regressed_and_its_items_are_named():
    base = measured(named([[1.0]] * 40))
    candidate = measured(named([[0.0]] * 20 + [[1.0]] * 20))
    found = check(DROP, base, candidate)
    assert (found.verdict, found.change, found.items) == (Verdict.REGRESSED, -0.5, 40)
    assert found.low < -0.5 < found.high < -0.05
    failures = new_failures(base, candidate, "m")
    assert [one.item for one in failures] == sorted(f"item {at}" for at in range(20))
    assert new_failures(candidate, base, "m") == []


def test_several_rules_need_clearer_drops():
    base = measured(named([[1.0]] * 40))
    candidate = measured(named([[0.0]] * 10 + [[1.0]] * 30))
    found = [check(DROP, base, candidate, rules=rules).verdict for rules in (1, 2, 10)]
    assert found == [Verdict.REGRESSED, Verdict.REGRESSED, Verdict.INCONCLUSIVE]
    least = measured(named([[0.0]] * 6 + [[1.0]] * 34))  # by chance in 4.4 % of cases
    assert check(DROP, base, least).verdict is Verdict.INCONCLUSIVE


def test_few_equal_items_decide_nothing_and_many_pass():
    few, many = measured(named([[1.0]] * 20)), measured(named([[1.0]] * 200))
    found = check(DROP, few, few, case_cost_usd=Decimal("0.01"))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert str(found.change) == "0.0"  # not -0.0
    assert 40 < found.needed.items < 300
    assert found.needed.items_cost_usd == found.needed.items * 2 * Decimal("0.01")
    assert found.needed.repetitions is None  # they showed no variance
    assert check(DROP, many, many).verdict is Verdict.PASS


def test_needed_repetitions_decide():
    """With the same items and as much noise, the number that was asked for gives a verdict."""
    source = random.Random(5)

    def side(repetitions, drop):
        rows = [
            [min(1.0, max(0.0, 0.6 - drop + source.gauss(0, 0.12))) for _ in range(repetitions)]
            for _ in range(30)
        ]
        return measured(named(rows))

    found = check(DROP, side(2, 0), side(2, 0.0), case_cost_usd=Decimal(1))
    assert found.verdict is Verdict.INCONCLUSIVE
    needed = found.needed.repetitions
    assert needed is not None
    assert found.needed.repetitions_cost_usd == 30 * 2 * (needed - 2)
    wide = found.high - found.low
    again = check(DROP, side(needed, 0), side(needed, 0.0))
    assert again.high - again.low < wide


@pytest.mark.parametrize(
    ("rule", "repetitions", "seed"),
    [
        (Rule(metric="m", max_drop=0.03), (2, 5), 6),
        (Rule(metric="m", max_drop=0.03), (5, 2), 7),
        (Rule(metric="m", min=0.575), (8, 2), 0),  # the baseline needs none, whatever it has
    ],
)
def test_only_the_side_with_too_few_repetitions_needs_more(rule, repetitions, seed):
    source = random.Random(seed)

    def side(count):
        rows = [[0.6 + source.gauss(0, 0.12) for _ in range(count)] for _ in range(30)]
        return measured(named(rows))

    base, candidate = map(side, repetitions)
    needed = check(rule, base, candidate, case_cost_usd=Decimal(1)).needed
    assert (needed.repetitions, needed.repetitions_cost_usd) == (4, 30 * (4 - 2))


def test_missing_scores_and_missing_results_are_counted_separately():
    whole = measured(named([[1.0]] * 100))
    unscored = replace(whole, metrics={})
    found = check(DROP, whole, unscored).why
    assert "the candidate: no score of m in 100 of 100 cases (no result in 0)" in found
    tokens = Rule(metric="tokens", max_ratio=1.1)
    assert "the candidate: no tokens in 100 of 100 cases" in check(tokens, whole, whole).why
    least = check(Rule(metric="m", min=0.1), unscored, unscored).why
    assert "the baseline" not in least  # its scores don't count


def test_missing_never_counts_as_passed():
    whole, half = measured(named([[1.0]] * 100)), measured(named([[1.0]] * 50), items=100)
    found = check(DROP, whole, half)
    assert (found.verdict, found.candidate_coverage) == (Verdict.INCOMPLETE, 0.5)
    lacking = "no score of m in 50 of 100 cases (no result in 50)"
    assert found.why == f"the candidate: {lacking}; 95% of the cases need one"
    both = check(DROP, half, half, names=("A", "B")).why
    assert both == f"A: {lacking} and B: {lacking}; 95% of the cases need one"
    repeated = measured(named([[1.0, 1.0]] * 50), items=100)
    assert "no score of m in 100 of 200 cases" in check(DROP, repeated, repeated).why
    nearly = measured(named([[1.0]] * 2_849), items=3_000)
    assert "no score of m in 151 of 3,000 cases" in check(DROP, nearly, nearly).why
    assert check(Rule(metric="m", min=0.1), whole, half).verdict is Verdict.INCOMPLETE
    assert check(Rule(metric="other", min=0.1), whole, whole).verdict is Verdict.INCOMPLETE
    assert check(DROP, whole, half, coverage=0.5).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("passing", "verdict"),
    [(200, Verdict.PASS), (180, Verdict.INCONCLUSIVE), (100, Verdict.REGRESSED)],
)
def test_least_mean(passing, verdict):
    side = measured(named([[1.0]] * passing + [[0.0]] * (200 - passing)))
    found = check(Rule(metric="m", min=0.9), measured({}, items=1), side)
    assert (found.verdict, found.change) == (verdict, passing / 200)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, Verdict.PASS), (1.2, Verdict.INCONCLUSIVE), (1.6, Verdict.REGRESSED)],
)
def test_ratio_of_a_figure(factor, verdict):
    source = random.Random(3)
    items = [[source.uniform(500, 1500)] for _ in range(50)]
    slower = [[one * factor * source.uniform(0.9, 1.1)] for [one] in items]
    ones = named([[1.0]] * 50)
    base, candidate = (measured(ones, latency=named(some)) for some in (items, slower))
    found = check(Rule(metric=Figure.LATENCY, max_ratio=1.2), base, candidate)
    assert found.verdict is verdict
    assert found.low < factor < found.high
    assert abs(found.change - factor) < 0.05


@pytest.mark.parametrize(("base", "drop"), [(0.8, 0.2), (0.4, 0.3), (0.2, 0.05), (0.7, 0.1)])
def test_limit_that_all_items_reach_exactly_is_not_exceeded(base, drop):
    """As doubles, 0.8 - 0.6 is more than 0.2."""
    candidate = measured(named([[round(base - drop, 2)]] * 50))
    found = check(Rule(metric="m", max_drop=drop), measured(named([[base]] * 50)), candidate)
    assert (found.verdict, found.p_value) == (Verdict.PASS, 1.0)
    least = check(Rule(metric="m", min=round(base - drop, 2)), measured({}, items=1), candidate)
    assert (least.verdict, least.p_value) == (Verdict.PASS, 1.0)
    narrower = check(
        Rule(metric="m", max_drop=drop - 0.01), measured(named([[base]] * 50)), candidate
    )
    assert narrower.verdict is Verdict.REGRESSED


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e6])
def test_ratio_doesnt_depend_on_the_unit(unit):
    ones = named([[1.0]] * 50)
    base = measured(ones, latency=named([[(one % 7 + 1) * unit] for one in range(50)]))
    verdicts = []
    for factor in (1.1, 1.2):
        items = [[(one % 7 + 1) * factor * unit] for one in range(50)]
        candidate = measured(ones, latency=named(items))
        found = check(Rule(metric=Figure.LATENCY, max_ratio=1.1), base, candidate)
        verdicts.append(found.verdict)
    assert verdicts == [Verdict.PASS, Verdict.REGRESSED]


def test_judge_that_disagrees_with_people_decides_nothing():
    side = measured(named([[1.0]] * 200))
    options = {"min_kappa": 0.6, "kappas": {"m": 0.4}}
    found = check(DROP, side, side, **options)
    assert (found.verdict, found.kappa) == (Verdict.INCONCLUSIVE, 0.4)
    assert check(DROP, side, side, min_kappa=0.6).verdict is Verdict.PASS


@given(scores)
def test_equal_sides_never_regress(rows):
    side = measured(named(rows))
    for limit in (0.0, 0.05, 1.0):
        found = check(Rule(metric="m", max_drop=limit), side, side)
        assert found.verdict in {Verdict.PASS, Verdict.INCONCLUSIVE}


@given(scores, st.randoms(use_true_random=False))
def test_order_of_items_changes_nothing(rows, source):
    other = measured(named([[1.0, *row[1:]] for row in rows]))
    shuffled = list(named(rows).items())
    source.shuffle(shuffled)
    one, two = (check(DROP, other, measured(of)) for of in (named(rows), dict(shuffled)))
    assert one == two


@given(scores, st.floats(0, 0.5), st.floats(0, 0.5))
def test_wider_limit_never_gives_a_worse_verdict(rows, limit, more):
    base = measured(named([[1.0, 1.0] for _ in rows]))
    strict, wide = (
        check(Rule(metric="m", max_drop=one), base, measured(named(rows))).verdict
        for one in (limit, limit + more)
    )
    order = [Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.PASS]
    assert order.index(strict) <= order.index(wide)


def test_worst_verdict():
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.INCOMPLETE, Verdict.REGRESSED]) is Verdict.REGRESSED
    assert worst([]) is Verdict.INCOMPLETE


def test_noise_floor_and_halves():
    source = random.Random(1)
    noisy = measured(named([[source.choice([0.0, 1.0]) for _ in range(4)] for _ in range(50)]))
    calm = measured(named([[1.0, 1.0]] * 50))
    assert noise_floor(calm, "m") == NoiseFloor(0, ("f",))
    assert str(noise_floor(calm, "m").drop) == "0.0"  # not -0.0
    assert 0.05 < noise_floor(noisy, "m").drop < 0.3
    assert noise_floor(measured(named([[1.0, 0.0]] * 4)), "m") is None
    first, second = noisy.halves()
    assert (first.repetitions, second.cases, second.results) == (2, 100, 100)
    assert [at for at, _ in second.metrics["m"].values["item 0"]] == [2, 4]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Rule(metric="m"), "metric"),
        (Rule(metric="m", max_drop=0.1, min=0.5), "metric"),
        (Rule(metric="tokens", max_drop=0.1), "metric"),
        (Rule(metric="m", max_ratio=1.1), "max_ratio"),
        (Rule(metric="none", min=0.5), "metric"),
        (Rule(metric="m", max_drop=0.03), "max_drop"),
    ],
)
def test_wrong_rules_are_refused(rule, field):
    with pytest.raises(Invalid) as raised:
        validate_rules([rule], ["m"], {"m": 0.04})
    assert [one.field for one in raised.value.errors] == [f"rules.0.{field}"]


def test_valid_rules():
    rules = [DROP, Rule(metric="m", min=0.5), Rule(metric="tokens", max_ratio=1.1)]
    validate_rules(rules, ["m"], {"m": 0.05})
    assert DROP.text == "m: max_drop 0.05"


def test_decision_of_a_metric_without_judge_is_comparable():
    """One answer without a word must not keep a candidate from being compared."""
    ones, same = named([[1.0]] * 5), an_experiment()
    base, candidate = measured(ones), measured(ones)
    [values] = candidate.metrics.values()
    ruled = replace(values, fingerprints=frozenset({"f", "rule/1"}))
    candidate = replace(candidate, metrics={"m": ruled})
    assert find_mismatches((same, base), (same, candidate), ["m"]) == []
    custom = replace(values, fingerprints=frozenset({"f", "rule/0123456789abcdef"}))
    [found] = find_mismatches((same, base), (same, replace(base, metrics={"m": custom})), ["m"])
    assert found.candidate == ["f", "rule/0123456789abcdef"]


@pytest.mark.parametrize("is_of_base", [True, False])
def test_scores_of_several_judges_do_not_match_a_side_without_scores(is_of_base):
    """A rule of a least mean needs no score of the baseline, but one judge of the candidate."""
    ones, same = named([[1.0]] * 5), an_experiment()
    judged = measured(ones)
    [values] = judged.metrics.values()
    several = replace(judged, metrics={"m": replace(values, fingerprints=frozenset({"f", "g"}))})
    none = replace(judged, metrics={})
    assert find_mismatches((same, none), (same, judged), ["m"]) == []
    sides = (several, none) if is_of_base else (none, several)
    [found] = find_mismatches((same, sides[0]), (same, sides[1]), ["m"])
    reported = (["f", "g"], []) if is_of_base else ([], ["f", "g"])
    assert (found.what, (found.base, found.candidate)) == ("fingerprint", reported)


def test_mismatches_are_named():
    ones = named([[1.0]] * 5)
    base, candidate = measured(ones), measured(ones, fingerprint="g")
    same = an_experiment()
    assert find_mismatches((same, base), (same, base), ["m"]) == []
    [found] = find_mismatches((same, base), (same, candidate), ["m"])
    assert (found.what, found.metric, found.base, found.candidate) == (
        "fingerprint", "m", ["f"], ["g"]
    )  # fmt: skip
    other = replace(same, split="x", version=replace(same.version, digest=bytes(32)))
    found = find_mismatches((same, base), (other, base), ["m"])
    assert [one.what for one in found] == ["dataset version", "split"]
