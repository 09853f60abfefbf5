"""The heuristic judge: its rules, its score range, its metadata, and its skips."""

import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.evidence.answer_features import AnswerFeatures
from domain.evaluation.evidence.builder import build_evidence
from domain.evaluation.evidence.evidence import Evidence, OmittedSteps, RunFacts, Step
from domain.evaluation.evidence.features import ToolCallFeatures, TraceFeatures
from domain.evaluation.judging.heuristics import HEURISTICS, heuristic_outcome
from domain.evaluation.metrics.metric import EvaluationMethod
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.tracing.span import SpanStatus
from domain.tracing.trace import TraceStatus
from tests.support.builders.evaluated_traces import model, offering, subject, tool

SEARCH = {
    "name": "search",
    "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}


def judged(metric: str, *spans: Any, **said: Any) -> Outcome:
    return heuristic_outcome(metric, build_evidence(subject(*spans, **said)))


def value(outcome: Outcome) -> float | str:
    return outcome.value if isinstance(outcome, Scored) else outcome.code.value


def failed(name: str = "search", **said: Any) -> Any:
    return tool(name, **{"status": SpanStatus.ERROR, "error": "it broke"} | said)


# --- task completion -------------------------------------------------------------------------

ASKED = "book flight HAT123 to Oslo"
DONE: dict[str, Any] = {"input": ASKED, "output": "Done."}
BOOKED: dict[str, Any] = {"input": ASKED, "output": "Flight HAT123 to Oslo is booked."}
BOOKING = {"flight": "HAT123", "to": "Oslo"}


@pytest.mark.parametrize(
    ("spans", "said", "score"),
    [
        ([], DONE | {"status": TraceStatus.ERROR}, 0.1),
        ([], {"input": ASKED, "status": TraceStatus.ERROR}, 0.1),
        ([tool("book", BOOKING)], DONE | {"output": "…"}, 0.1),
        ([tool("book", BOOKING)], {"input": ASKED}, 0.1),
        ([tool("book", BOOKING)], BOOKED, 0.9),
        ([tool("book", BOOKING)], DONE, 0.8176),
        ([failed("book", given=BOOKING)], BOOKED, 0.1),
        ([tool("book", BOOKING)] * 3, BOOKED, 0.1824),
        ([], BOOKED, 0.1192),
        ([], DONE | {"output": "Which date?"}, 0.1),
        ([], DONE | {"output": "I can't help with that."}, 0.1),
        ([], DONE, "cannot_judge"),
        ([], DONE | {"output": "…"}, "empty_output"),
        ([], {"input": ASKED}, "empty_output"),
    ],
)
def test_task_completion_weighs_what_is_known(spans, said, score):
    assert value(judged("task_completion", *fresh(spans), **said)) == score


def test_task_completion_names_its_findings():
    found = judged("task_completion", tool("book", BOOKING), **BOOKED)
    assert found.metadata["findings"] == {
        "calls_succeeded": 0.8,
        "handled_terms": 0.7,
        "grounded_numbers": 1.0,
    }
    assert found.reason == "Each number of the answer occurs in the sources"
    refused = judged("task_completion", output="I can't help with that.", input=ASKED)
    assert refused.reason == "The answer declines the request"


def fresh(spans: list[Any]) -> list[Any]:
    """Gives repeated spans distinct ids."""
    return [replace(one, id=tool().id) for one in spans]


# --- tools -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "score"),
    [
        ([tool(given={"q": "a"}), tool(given={"q": "b"})], 0.9),
        ([tool(given={"q": "a"}), failed(given={"q": "b"})], 0.75),
        ([offering(SEARCH), tool("search"), failed("fly")], 0.6667),
        ([offering(SEARCH), failed("fly")], 0.3333),
        ([offering(SEARCH)], "no_tools"),
        ([model("hello")], "no_tools"),
    ],
)
def test_tool_correctness_is_the_mean_of_known_shares(spans, score):
    assert value(judged("tool_correctness", *spans)) == score


def test_argument_correctness():
    found = judged(
        "argument_correctness",
        offering(SEARCH),
        tool(given={"q": "HAT123"}),  # fits, and occurred before
        tool(given={"q": "HAT999"}),  # never occurred before
        tool("fly", given={"to": "HAT123", "by": "HAT998"}),  # half of it occurred before
        tool(given={"n": "HAT123"}),  # doesn't fit
        tool("fly", given={"to": "HAT123"}, got={"error": "invalid argument: to"}),  # was rejected
        tool("fly", given={"to": "HAT123"}, got={"error": "the airline is on strike"}),
        tool("wait", given={"s": 1}),  # nothing is known
        input=ASKED,
    )
    assert found.value == 0.5
    assert [one["verdict"] for one in found.metadata["verdicts"]] == [
        *("yes", "no", "yes", "no", "no", "yes"),
    ]


def test_argument_correctness_skips_unknown_arguments():
    assert value(judged("argument_correctness", tool("wait", given={"s": 1}))) == "cannot_judge"
    assert value(judged("argument_correctness", model("x"))) == "no_tool_calls"


@pytest.mark.parametrize(
    ("said", "rejected"),
    [
        ("1 validation error for Search", True),
        ("missing 1 required positional argument: 'q'", True),
        ("Missing required field", True),
        ("TypeError: unexpected keyword argument", True),
        ("HTTP 400 Bad Request", True),
        ("q must be a string", True),
        ("connection reset by peer", False),
        ("rate limit exceeded", False),
        ("file not found", False),
    ],
)
def test_rejection_is_detected_by_message(said, rejected):
    some = build_evidence(subject(tool(given={"q": 1}, error=said)))
    assert some.signs.calls[0].is_rejected is rejected


@pytest.mark.parametrize(
    ("code", "rejected"), [(400, True), (422, True), (404, False), (500, False)]
)
def test_rejection_is_detected_by_status(code, rejected):
    some = build_evidence(subject(tool(got={"status_code": code})))
    assert some.signs.calls[0].is_rejected is rejected


# --- steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "score"),
    [
        ([tool(given=1), tool(given=2), model("x")], 0.9),
        ([tool(given=1), tool(given=1), tool(given=2), model("x")], 0.75),
        ([failed(given=1), failed(given=2), tool(given=3), model("x")], 0.75),
        ([failed(given=1), failed(given=1), tool(given=3), model("x")], 0.75),
        ([failed(given=1), failed("fly", given=2), tool(given=3), model("x")], 0.9),
        ([tool(given=1), tool(given=2, got=None)], 0.5),
        ([], "no_steps"),
    ],
)
def test_step_efficiency_is_the_share_of_steps_that_were_not_wasted(spans, score):
    assert value(judged("step_efficiency", *fresh(spans))) == score


@pytest.mark.parametrize(
    ("spans", "said", "score"),
    [
        ([model("x"), tool()], {}, 0.9),
        ([failed(), tool(given=2), model("x"), model("y")], {}, 0.75),
        ([tool(), failed("fly"), model("x"), model("y")], {}, 0.75),
        ([model("x"), model("y", status=SpanStatus.ERROR)], {}, 0.5),
        ([model("Sorry, I am not sure. Perhaps I can't.")], {}, 0.9),
        ([], {"output": "x"}, "no_steps"),
    ],
)
def test_confidence_counts_retries_and_unresolved_failures(spans, said, score):
    assert value(judged("confidence", *spans, **said)) == score


def test_confidence_uses_recorded_token_probabilities():
    tokens = [
        {"token": "a", "logprob": -0.5},
        {"token": "b", "logprob": -1.5},
        {"logprob": "x"},
        {"logprob": 9},
    ]
    choice = {"message": {"content": "ab"}, "logprobs": {"content": tokens}}
    assert value(judged("confidence", model({"choices": [choice]}))) == 0.3679
    assert value(judged("confidence", model({"choices": [{"logprobs": {"content": 1}}]}))) == 0.9


@pytest.mark.parametrize("lowest", [-sys.float_info.max, -(10**400)], ids=["float", "integer"])
def test_the_lowest_log_probabilities_are_the_lowest_confidence(lowest):
    choice = {"message": {"content": "ab"}, "logprobs": {"content": [{"logprob": lowest}] * 3}}
    assert value(judged("confidence", model({"choices": [choice]}))) == 0.1


# --- plans -----------------------------------------------------------------------------------

PLAN = "1. Search flights to Oslo\n2. Book the cheapest flight\n3. Send a confirmation"


@pytest.mark.parametrize(
    ("spans", "score"),
    [
        ([tool("search_flights", given="Oslo"), tool("book", given="flight")], 0.6667),
        ([tool("book", given="flight"), tool("search_flights", given="Oslo")], 0.3333),
        ([tool("confirmation")], 0.3333),
        ([tool("weather")], 0.1),
        ([], 0.1),
    ],
)
def test_plan_adherence(spans, score):
    assert value(judged("plan_adherence", model(PLAN), *spans)) == score


def test_plan_adherence_skips_missing_or_wordless_plans():
    assert value(judged("plan_adherence", model("hello"))) == "no_plan"
    assert value(heuristic_outcome("plan_adherence", evidence(plan=("…", "a")))) == "cannot_judge"


def test_plan_quality_is_always_skipped():
    found = judged("plan_quality", model(PLAN))
    assert value(found) == "cannot_judge"
    assert found.metadata["plan_items"] == 3
    assert value(judged("plan_quality", model("hello"))) == "no_plan"


# --- all of them -----------------------------------------------------------------------------


def evidence(**said: Any) -> Evidence:
    return Evidence(**{"task": "", "final_output": "", "status": "COMPLETED"} | said)


shares = st.none() | st.floats(0, 1)
claims = st.none() | st.booleans()
calls = st.builds(
    ToolCallFeatures,
    tool=st.integers(0, 1),
    has_failed=st.booleans(),
    is_rejected=st.booleans(),
    asked_before=st.integers(0, 5),
    is_repeat=st.booleans(),
    is_declared=claims,
    fits_schema=claims,
    grounding=shares,
)
ANSWER_CLAIMS = (
    *("declines", "admits_failure", "announces_work", "claims_action", "asks_back", "is_cut"),
    *("is_wrong_language", "is_expected_translation", "leaks_secret", "is_raw", "is_copied"),
)
texts = st.sampled_from(["", "…", "find HAT123", "found it?", "plan HAT123"])
steps = st.builds(
    Step,
    label=st.just("s1"),
    kind=st.sampled_from(["LLM", "TOOL"]),
    name=texts,
    status=st.just("OK"),
    text=texts,
)
packs = st.builds(
    Evidence,
    task=texts,
    final_output=texts,
    status=st.sampled_from(TraceStatus).map(str),
    plan=st.lists(texts, max_size=4).map(tuple),
    facts=st.builds(RunFacts, steps=st.integers(0, 9)),
    signs=st.builds(
        TraceFeatures,
        calls=st.lists(calls, max_size=6).map(tuple),
        idle_steps=st.integers(0, 9),
        ends_in_error=st.booleans(),
        token_confidence=shares,
        has_no_result=st.booleans(),
        open_todos=st.integers(0, 3),
        last_check_passed=claims,
        answer=st.builds(
            AnswerFeatures,
            **{name: st.booleans() for name in ANSWER_CLAIMS},
            has_asked_result=claims,
            is_asked_json=claims,
            grounded_values=shares,
            grounded_numbers=shares,
            grounded_words=shares,
            missing_terms=st.integers(0, 2),
            known_terms=st.integers(0, 2),
        ),
    ),
    steps=st.lists(steps | st.just(OmittedSteps("s1", "s2", 2)), max_size=6).map(tuple),
)


def test_every_judged_metric_has_a_heuristic():
    assert sorted(HEURISTICS) == [
        one.name for one in METRIC_REGISTRY.values() if one.method is EvaluationMethod.JUDGED
    ]


# A change of the rules needs a new version here.
VERSIONS = {"argument_correctness": 3, "plan_adherence": 1, "task_completion": 3}
VERSIONS |= dict.fromkeys(("confidence", "step_efficiency", "tool_correctness"), 2)


@given(st.sampled_from(list(HEURISTICS)), packs)
def test_heuristic_scores_are_marked_with_low_confidence(metric, pack):
    found = heuristic_outcome(metric, pack)
    if isinstance(found, Scored):
        assert 0.1 <= found.value <= 0.9
        assert found.metadata["judge_kind"] == "heuristic"
        assert found.metadata["confidence"] == "low"
        assert found.metadata["model"] == "heuristic/1"
        assert found.metadata["fingerprint"] == f"heuristic/{VERSIONS[metric]}"
    else:
        assert isinstance(found, Skipped)
    assert heuristic_outcome(metric, pack) == found


@given(packs)
def test_empty_answer_scores_at_most_0_2(pack):
    found = heuristic_outcome("task_completion", replace(pack, final_output=" …"))
    assert not isinstance(found, Scored) or found.value <= 0.2


@given(packs, st.sampled_from(ANSWER_CLAIMS))
def test_defect_of_an_answer_never_raises_its_score(pack, name):
    if name == "is_expected_translation":  # the only one that isn't a defect
        return
    answer = pack.signs.answer
    before, after = (
        heuristic_outcome(
            "task_completion",
            replace(pack, signs=replace(pack.signs, answer=replace(answer, **{name: it}))),
        )
        for it in (False, True)
    )
    if isinstance(before, Scored) and not pack.signs.has_no_result:
        assert after.value <= before.value


@pytest.mark.parametrize(
    ("metric", "code"),
    [
        ("argument_correctness", SkipCode.NO_TOOL_CALLS),
        ("confidence", SkipCode.NO_STEPS),
        ("plan_adherence", SkipCode.NO_PLAN),
        ("plan_quality", SkipCode.NO_PLAN),
        ("step_efficiency", SkipCode.NO_STEPS),
        ("task_completion", SkipCode.EMPTY_OUTPUT),
        ("tool_correctness", SkipCode.NO_TOOLS),
    ],
)
def test_empty_trace_is_skipped_by_all_heuristics(metric, code):
    assert value(heuristic_outcome(metric, evidence())) == code


@given(st.sampled_from(["tool_correctness", "step_efficiency", "confidence"]), packs)
def test_additional_failure_never_raises_a_score(metric, pack):
    """The last call fails, so that no later call can recover from it."""
    some = pack.signs.calls
    if not some or pack.signs.token_confidence is not None:
        pack = replace(pack, signs=TraceFeatures(calls=(ToolCallFeatures(),)))
        some = pack.signs.calls
    good = replace(some[-1], has_failed=False)
    bad = replace(some[-1], has_failed=True)
    before = heuristic_outcome(
        metric, replace(pack, signs=replace(pack.signs, calls=(*some[:-1], good)))
    )
    after = heuristic_outcome(
        metric, replace(pack, signs=replace(pack.signs, calls=(*some[:-1], bad)))
    )
    assert isinstance(before, Scored) is isinstance(after, Scored)
    if isinstance(before, Scored):
        assert after.value <= before.value


@pytest.mark.parametrize("metric", ["confidence", "step_efficiency"])
def test_20_000_failed_tools_take_bounded_memory(metric):
    """A copy of the state per call would take quadratic memory."""
    count = 20_000
    calls = tuple(ToolCallFeatures(tool=n, has_failed=True) for n in range(count))
    evidence = Evidence(
        task="",
        final_output="",
        status="COMPLETED",
        facts=RunFacts(steps=count, calls=count, failed_calls=count),
        signs=TraceFeatures(calls=calls),
    )
    expected = {"confidence": 0.1, "step_efficiency": 0.9}
    assert value(heuristic_outcome(metric, evidence)) == expected[metric]
