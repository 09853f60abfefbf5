"""Comparing experiments over HTTP."""

import uuid
from http import HTTPStatus
from typing import Any

import pytest

from tests.http.conftest import a_span, field_errors
from tests.http.experiments.conftest import DATASET, EXACT, SPLIT, Experimenting

ANY = [{"metric": "as_expected", "max_drop": 0.05}]


async def revise_metric(project: Experimenting) -> None:
    parameters = {"op": "contains", "expected_from": "item"}
    changed = {
        "description": EXACT["description"],
        "definition": {"type": "text_match", "parameters": parameters},
    }
    await project.ok("PUT", "/evaluations/custom-metrics/as_expected", changed)


async def rescore(project: Experimenting, experiment: str) -> str:
    project.ids["experiment"] = experiment
    results = [one["results"] for one in (await project.items()).values()]
    traces = [result["trace_id"] for some in results for result in some]
    again = {"metrics": ["as_expected"], "trace_ids": traces}
    run = await project.ok("POST", "/evaluations/trace-runs/batch", again)
    await project.run_jobs()
    return str(run["id"])


async def test_broken_items_are_found_by_name(project: Experimenting) -> None:
    ids = await project.prepare_questions(40)
    broken = ids[:20]
    base = await project.run({one: [one] for one in ids}, cost=0.5)
    answers = {one: ["?" if one in broken else one] for one in ids}
    candidate = await project.run(answers, cost=0.5)
    found = await project.compare(base, candidate)
    assert (found["verdict"], found["mismatches"], found["noise_floor"]) == ("regressed", [], None)
    [rule] = found["results"]
    assert (rule["rule"]["max_drop"], rule["change"], rule["items"]) == (0.05, -0.5, 40)
    assert rule["low"] < -0.5 < rule["high"] < -0.05
    assert [one["item"] for one in found["new_failures"]] == broken
    assert found["failures"] == 20
    evidence = found["new_failures"][0]["results"][0]
    assert (evidence["scores"][0]["value"], found["new_failures"][0]["threshold"]) == ("0.0", 0.5)
    assert (found["base"]["id"], found["candidate"]["id"]) == (base, candidate)
    side = found["base"]
    assert (side["cost_usd"], side["total_cost_usd"]) == (0.5, 20.0)
    assert (side["cost_items"], side["cases"]) == (40, 40)
    unpriced = a_span(kind="LLM", model="unlisted", token_usage={"prompt_tokens": 5})
    unknown = await project.run({one: [one] for one in ids}, spans=[unpriced])
    side = (await project.compare(unknown, candidate))["base"]
    assert (side["tokens"], side["tokens_items"]) == (5, 40)
    assert (side["cost_usd"], side["cost_items"]) == (None, 0)
    assert (side["latency_ms"], side["latency_items"]) == (None, 0)
    ratio = [{"metric": "cost_usd", "max_ratio": 1.1}]
    assert (await project.compare(base, candidate, rules=ratio))["verdict"] == "pass"
    least = [{"metric": "as_expected", "min": 0.9}]
    assert (await project.compare(candidate, base, rules=least))["verdict"] == "inconclusive"
    wide = [{"metric": "as_expected", "max_drop": 0.9}]
    assert (await project.compare(base, candidate, rules=wide))["verdict"] == "pass"


async def test_inconclusive_says_what_would_decide_it(project: Experimenting) -> None:
    ids = await project.prepare_questions(20)
    base = await project.run({one: [one] for one in ids}, cost=0.5)
    same = await project.run({one: [one] for one in ids}, cost=0.5)
    found = await project.compare(base, same)
    [rule] = found["results"]
    assert (found["verdict"], rule["change"]) == ("inconclusive", 0)
    needed = rule["needed"]
    assert needed["items"] > 20
    assert needed["items_cost_usd"] == pytest.approx(needed["items"] * 2 * 0.5)
    assert needed["repetitions"] is None


async def test_answer_without_a_word_is_compared(project: Experimenting) -> None:
    """Its score needs no judge, so it has none, whatever judge has scored the others."""
    ids = await project.prepare_questions(20)
    said = {"metrics": ["task_completion"], "question": "Add 2 and 3"}
    base = await project.run({one: ["2 + 3 = 5"] for one in ids}, **said)
    broken = {one: ["…" if at < 10 else "2 + 3 = 5"] for at, one in enumerate(ids)}
    candidate = await project.run(broken, **said)
    found = await project.compare(base, candidate)
    assert (found["mismatches"], found["verdict"]) == ([], "regressed")
    assert found["results"][0]["candidate_coverage"] == 1


async def test_model_without_a_price_is_not_the_cheapest(project: Experimenting) -> None:
    ids = await project.prepare_questions(20)
    answers = {one: [one] for one in ids}
    base = await project.run(answers, cost=0.5)
    unpriced = a_span(kind="LLM", model="unlisted", token_usage={"prompt_tokens": 7})
    candidate = await project.run(answers, spans=[unpriced])
    rules = [{"metric": "cost_usd", "max_ratio": 1.1}]
    found = await project.compare(base, candidate, rules=rules)
    [of_cost] = found["results"]
    assert (found["verdict"], of_cost["verdict"]) == ("incomplete", "incomplete")
    assert (of_cost["base_coverage"], of_cost["candidate_coverage"]) == (1, 0)
    assert (found["candidate"]["cost_usd"], found["candidate"]["tokens"]) == (None, 7)


@pytest.mark.parametrize(("agrees", "verdict"), [(True, "pass"), (False, "inconclusive")])
async def test_judge_counts_as_far_as_people_agree(
    project: Experimenting, agrees: bool, verdict: str
) -> None:
    ids = await project.prepare_questions(40)
    answers = {one: ["?" if at % 2 else one] for at, one in enumerate(ids)}
    base = await project.run(answers)
    candidate = await project.run(answers)
    items = await project.items()
    for at, one in enumerate(ids):
        is_right = at % 2 == 0 if agrees else at % 4 < 2
        label = {"name": "as_expected", "value": str(float(is_right)), "source": "ANNOTATION"}
        label["trace_id"] = items[one]["results"][0]["trace_id"]
        await project.ok("POST", "/evaluations/trace-scores", label)
    rules = [{"metric": "as_expected", "max_drop": 0.9}]
    found = await project.compare(base, candidate, rules=rules, min_kappa=0.6)
    assert found["verdict"] == verdict
    assert ("kappa of 0.00" in found["results"][0]["why"]) is not agrees
    assert (await project.compare(base, candidate, rules=rules))["verdict"] == "pass"


async def test_labels_of_answers_without_a_word_are_not_those_of_the_judge(
    project: Experimenting,
) -> None:
    """A metric decides these itself. It gives all the same score: a kappa of 0 says nothing."""
    ids = await project.prepare_questions(40)
    name, question = "task_completion", "Say a number."
    answers = {one: ["…" if at < 35 else "Seven."] for at, one in enumerate(ids)}
    base = await project.run(answers, metrics=[name], question=question)
    candidate = await project.run(answers, metrics=[name], question=question)
    items = await project.items()
    for at, one in enumerate(ids[:35]):
        label = {"name": name, "value": str(float(at == 0)), "source": "ANNOTATION"}
        label["trace_id"] = items[one]["results"][0]["trace_id"]
        await project.ok("POST", "/evaluations/trace-scores", label)
    rules = [{"metric": name, "max_drop": 0.9}]
    found = await project.compare(base, candidate, rules=rules, min_kappa=0.6, coverage=0.8)
    assert (found["verdict"], found["results"][0]["kappa"]) == ("pass", None)


async def test_missing_results_never_pass(project: Experimenting) -> None:
    ids = await project.prepare_questions(20)
    base = await project.run({one: [one] for one in ids})
    half = await project.run({one: [one] for one in ids[:10]})
    found = await project.compare(base, half, rules=[{"metric": "as_expected", "max_drop": 1}])
    assert (found["verdict"], found["results"][0]["candidate_coverage"]) == ("incomplete", 0.5)
    lacking = "no score of as_expected in 10 of 20 cases (no result in 10)"
    assert found["results"][0]["why"] == f"the candidate: {lacking}; 95% of the cases need one"
    asked = {"dataset": DATASET, "split": SPLIT, "metrics": ["as_expected"]}
    unopened = (await project.ok("POST", "/experiments", asked))["id"]
    for one in (base, unopened):
        found = await project.compare(one, unopened)
        assert found["verdict"] == "incomplete"
        assert "the candidate (without a run): no score of" in found["results"][0]["why"]


async def test_experiments_without_a_common_metric_are_not_compared(
    project: Experimenting,
) -> None:
    ids = await project.prepare_questions(10)
    base = await project.run({one: [one] for one in ids})
    said = {"metrics": ["task_completion"], "question": "Add 2 and 3"}
    candidate = await project.run({one: [one] for one in ids}, **said)
    found = await project.compare(base, candidate)
    assert (found["verdict"], found["results"], found["rescoring"]) == ("incomplete", [], None)
    assert found["mismatches"] == [
        {"what": "set of metrics", "metric": None,
         "base": ["as_expected"], "candidate": ["task_completion"]}
    ]  # fmt: skip
    figure = [{"metric": "cost_usd", "max_ratio": 2}]
    assert (await project.compare(base, candidate, rules=figure))["mismatches"] == []


async def test_another_version_of_a_metric_does_not_count_as_regression(
    project: Experimenting,
) -> None:
    """The baseline can be scored again, and is then compared."""
    ids = await project.prepare_questions(40)
    base = await project.run({one: [one] for one in ids})
    await revise_metric(project)
    candidate = await project.run({one: ["?"] for one in ids})
    found = await project.compare(base, candidate)
    assert (found["verdict"], found["results"]) == ("incomplete", [])
    [mismatch] = found["mismatches"]
    assert (mismatch["what"], mismatch["metric"]) == ("fingerprint", "as_expected")
    assert mismatch["base"] != mismatch["candidate"]
    assert found["rescoring"] == {
        "metrics": ["as_expected"], "targets": 40, "estimated_cost_usd": 0
    }  # fmt: skip
    run = await rescore(project, base)
    found = await project.compare(base, candidate, base_run=run)
    assert (found["verdict"], found["base"]["run_id"]) == ("regressed", run)


async def test_other_items_are_another_test(project: Experimenting) -> None:
    ids = await project.prepare_questions(10)
    base = await project.run({one: [one] for one in ids})
    more = {"items": [{"id": "more", "input": 1, "split": SPLIT}]}
    await project.ok("POST", f"/datasets/{DATASET}/items/batch", more)
    candidate = await project.run({one: [one] for one in ids})
    found = await project.compare(base, candidate)
    assert (found["verdict"], found["rescoring"]) == ("incomplete", None)
    assert [one["what"] for one in found["mismatches"]] == ["dataset version"]


async def test_noise_floor_of_a_baseline_refuses_narrower_rules(project: Experimenting) -> None:
    ids = await project.prepare_questions(40)
    answers = {one: [one, one if at % 4 else "?"] for at, one in enumerate(ids)}
    base = await project.run(answers)
    with_itself = await project.compare(base, aa=True)
    assert with_itself["verdict"] != "incomplete"
    floor = with_itself["noise_floor"]["as_expected"]
    assert 0.05 < floor < 0.5
    assert (await project.read(f"/experiments/{base}"))["noise_floor"] == {"as_expected": floor}
    candidate = await project.run(answers)
    asked = {"base": base, "candidate": candidate, "rules": ANY}
    answer = await project("POST", "/experiments/compare", asked)
    assert "noise floor" in field_errors(answer)["rules.0.max_drop"]
    wide = [{"metric": "as_expected", "max_drop": 0.5}]
    assert (await project.compare(base, candidate, rules=wide))["verdict"] == "pass"


async def test_noise_floor_of_another_judge_refuses_no_rule(project: Experimenting) -> None:
    ids = await project.prepare_questions(40)
    answers = {one: [one, one if at % 4 else "?"] for at, one in enumerate(ids)}
    base = await project.run(answers)
    await revise_metric(project)
    rescored = await rescore(project, base)
    floors = (await project.compare(base, aa=True, base_run=rescored))["noise_floor"]
    assert floors["as_expected"] > 0.05
    assert (await project.read(f"/experiments/{base}"))["noise_floor"] == floors
    # The scores of its own run have another fingerprint.
    own = {"base": base, "candidate": base, "rules": ANY}
    answer = await project("POST", "/experiments/compare", own)
    assert answer.status_code == HTTPStatus.OK
    answer = await project("POST", "/experiments/compare", own | {"base_run": rescored})
    assert "noise floor" in field_errors(answer)["rules.0.max_drop"]


async def test_noise_floor_of_too_few_cases_is_not_kept(project: Experimenting) -> None:
    ids = await project.prepare_questions(20)
    again = [[one if at % 2 else "?"] if at < 12 else [] for at, one in enumerate(ids)]
    base = await project.run({one: [one, *more] for one, more in zip(ids, again, strict=True)})
    with_itself = await project.compare(base, aa=True)
    assert (with_itself["verdict"], with_itself["noise_floor"]) == ("incomplete", None)
    lacking = "the even repetitions: no score of as_expected in 8 of 20 cases (no result in 8)"
    assert with_itself["results"][0]["why"] == f"{lacking}; 95% of the cases need one"
    assert (await project.read(f"/experiments/{base}"))["noise_floor"] is None
    enough = await project.compare(base, aa=True, coverage=0.6)
    assert enough["noise_floor"]["as_expected"] > 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"candidate": str(uuid.UUID(int=5))}, "candidate"),
        ({"base": str(uuid.UUID(int=5))}, "base"),
        ({"candidate": None}, "candidate"),
        ({"aa": True}, "candidate"),
        ({"candidate": None, "aa": True}, "base"),
        ({"base_run": str(uuid.UUID(int=5))}, "base_run"),
        ({"candidate_run": str(uuid.UUID(int=5))}, "candidate_run"),
        ({"rules": [{"metric": "none", "min": 0.5}]}, "rules.0.metric"),
        ({"rules": [{"metric": "as_expected"}]}, "rules.0.metric"),
        ({"rules": [{"metric": "as_expected", "max_dorp": 1}]}, "rules.0.max_dorp"),
        ({"rules": [{"metric": "as_expected", "min": 2}]}, "rules.0.min"),
        ({"coverage": 1.5}, "coverage"),
    ],
)
async def test_wrong_comparisons_are_refused(
    project: Experimenting, change: dict[str, Any], field: str
) -> None:
    ids = await project.prepare_questions(2)
    one = await project.run({one: [one] for one in ids})
    other = await project.run({one: [one] for one in ids})
    asked = {"base": one, "candidate": other} | change
    answer = await project("POST", "/experiments/compare", asked)
    assert list(field_errors(answer)) == [field]
