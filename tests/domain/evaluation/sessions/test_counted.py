"""Counted session metrics: golden values, cases without data, and properties."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored, SkipCode, Skipped
from domain.evaluation.sessions.metrics import (
    RECENT_REQUESTS,
    outcome_consistency,
    session_error_rate,
    user_repetition,
)
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX, TraceSignals, UserRequest

METRICS = (session_error_rate, user_repetition, outcome_consistency)
GOOD, BAD = Scored(1.0, ""), Scored(0.0, "")
RUNS, BROKE = Skipped(SkipCode.TRACE_RUNNING), Failed(FailCode.INTERNAL)
LARGE = Skipped(SkipCode.TRACE_TOO_LARGE)
ORDER = "How do I cancel my order?"
TOPICS = (
    *("where is my parcel now", "which colours are there", "can it be paid by invoice"),
    *("do you ship to Norway", "what about the guarantee", "my screen stays black"),
    *("who wrote this manual", "please change the address", "is the museum open today"),
    *("find a train to Lyon", "compare both tariffs", "explain the last figure"),
)


def session(*traces: tuple[str, Outcome]) -> list[TraceSignals]:
    """Traces with these requests and results."""
    return [
        TraceSignals(f"t{number}", {"trace_success": ended}, UserRequest.from_text(text))
        for number, (text, ended) in enumerate(traces)
    ]


def ended(*outcomes: Outcome) -> list[TraceSignals]:
    return session(*((ORDER, one) for one in outcomes))


def asked(*texts: str) -> list[TraceSignals]:
    return session(*((text, GOOD) for text in texts))


def tries(*inputs: str) -> list[TraceSignals]:
    """For each input, the results of its traces in order: + and -."""
    return session(
        *(
            (f"input {'abcdefgh'[number]}", GOOD if one == "+" else BAD)
            for number, outcomes in enumerate(inputs)
            for one in outcomes
        )
    )


def value(outcome: Outcome) -> float | str:
    return outcome.value if isinstance(outcome, Scored) else outcome.code.value


# --- golden values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "score"),
    [
        ([GOOD], 1.0),
        ([BAD], 0.0),
        ([GOOD, BAD, GOOD, GOOD], 0.75),
        ([GOOD, BAD, RUNS], 0.5),
        ([GOOD, BAD, BAD, BROKE], 0.3333),
        ([GOOD, RUNS, RUNS], "insufficient_signals"),
        ([RUNS, RUNS], "insufficient_signals"),
        ([BROKE], "insufficient_signals"),
    ],
)
def test_session_error_rate(outcomes, score):
    assert value(session_error_rate(ended(*outcomes), {})) == score


def test_failed_traces_are_listed():
    found = session_error_rate(ended(GOOD, BAD, RUNS, BAD), {})
    assert found.reason == "2 of 3 traces failed"
    assert found.metadata == {
        "total_traces_in_session": 4,
        "traces_evaluated": 3,
        "failed_traces": ["t1", "t3"],
    }


@pytest.mark.parametrize(
    ("texts", "score"),
    [
        ([ORDER, ORDER], 0.0),
        ([ORDER, "how do i cancel my oder"], 0.0),
        ([ORDER, TOPICS[0]], 1.0),
        ([ORDER, TOPICS[0], "HOW DO I CANCEL MY ORDER?"], 0.5),
        ([ORDER, ORDER, ORDER, TOPICS[0], TOPICS[1]], 0.5),
        ([ORDER, "yes", "yes", "yes"], "too_few_inputs"),
        ([ORDER, "yes", TOPICS[0], "yes"], 1.0),
        ([ORDER, "", " "], "too_few_inputs"),
        ([ORDER], "too_few_inputs"),
        ([""], "too_few_inputs"),
    ],
)
def test_user_repetition(texts, score):
    assert value(user_repetition(asked(*texts), {})) == score


def test_repeated_requests_are_listed_by_trace_only():
    found = user_repetition(asked(ORDER, "yes", TOPICS[0], "How can I cancel my order?"), {})
    assert found.reason == "1 of 2 inputs after the first repeat an earlier one"
    assert found.metadata == {
        "total_traces_in_session": 4,
        "inputs": 3,
        "repeating_traces": ["t3"],
    }


def test_equal_requests_are_found_anywhere_similar_ones_nearby():
    between = TOPICS[:RECENT_REQUESTS]
    assert value(user_repetition(asked(ORDER, *between, ORDER), {})) < 1
    assert value(user_repetition(asked(ORDER, *between[1:], "how do i cancel my oder"), {})) < 1
    assert value(user_repetition(asked(ORDER, *between, "how do i cancel my oder"), {})) == 1


@pytest.mark.parametrize(
    ("inputs", "score"),
    [
        (["++"], 1.0),
        (["+-"], 0.0),
        (["--"], 0.0),
        (["++-"], 0.3333),  # C(2, 2) / C(3, 2)
        (["+++-"], 0.5),  # C(3, 2) / C(4, 2)
        (["++", "--"], 0.5),
        (["++-", "++", "+"], 0.6667),  # inputs tried once don't count
        (["+", "-"], "no_repeated_inputs"),
        ([], "target_gone"),
    ],
)
def test_outcome_consistency_is_pass_2(inputs, score):
    assert value(outcome_consistency(tries(*inputs), {})) == score


def test_consistency_metadata():
    found = outcome_consistency(tries("++-", "++", "-"), {})
    assert found.reason == "1 of 2 repeated inputs succeeded each time"
    assert found.metadata == {
        "total_traces_in_session": 6,
        "repeated_inputs": 2,
        "traces_evaluated": 5,
        "aggregation": {"method": "pass_hat_k", "k": 2, "always_succeeded": 0.5},
    }


@pytest.mark.parametrize(
    ("outcomes", "score"),
    [
        ([GOOD, RUNS], "no_repeated_inputs"),
        ([GOOD, GOOD, RUNS], 1.0),
        ([GOOD, GOOD, BROKE], 1.0),
        ([GOOD, BROKE, BROKE], "insufficient_signals"),
        ([GOOD, LARGE, LARGE], "insufficient_signals"),
    ],
)
def test_running_traces_are_not_tries(outcomes, score):
    assert value(outcome_consistency(ended(*outcomes), {})) == score


def test_only_equal_inputs_are_tries():
    close = session((ORDER, GOOD), ("how do i cancel my oder", BAD))
    assert value(outcome_consistency(close, {})) == "no_repeated_inputs"
    nothing = session(("", GOOD), (" ", BAD))
    assert value(outcome_consistency(nothing, {})) == "no_repeated_inputs"


def test_running_traces_count_for_user_repetition():
    assert value(user_repetition(ended(RUNS, RUNS), {})) == 0.0


# --- properties ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("some", "code"),
    [
        ([], "target_gone"),
        (ended(*[BROKE] * 3), "insufficient_signals"),
        (ended(GOOD, LARGE, BROKE), "insufficient_signals"),
        ([TraceSignals("t", {})] * (SESSION_TRACES_MAX + 1), "trace_too_large"),
    ],
)
def test_metrics_without_data_have_no_number(metric, some, code):
    assert value(metric(some, {})) == code


outcomes = st.sampled_from([GOOD, GOOD, BAD, BAD, RUNS, BROKE])
texts = st.sampled_from([ORDER, "how do i cancel my oder", "yes", "", *TOPICS[:3]])
sessions = st.lists(st.tuples(texts, outcomes), max_size=12)


@given(st.sampled_from(METRICS), sessions, st.floats(0, 9))
def test_weights_are_ignored(metric, some, weight):
    here = metric(session(*some), {})
    assert metric(session(*some), {"trace_success": weight, "confidence": weight}) == here


@given(st.sampled_from(METRICS[::2]), sessions, st.data())
def test_additional_failure_never_raises_the_score(metric, some, data):
    before = metric(session(*some), {})
    good = [place for place, (_, outcome) in enumerate(some) if outcome is GOOD]
    assume(good)
    place = data.draw(st.sampled_from(good))
    after = metric(session(*some[:place], (some[place][0], BAD), *some[place + 1 :]), {})
    assert isinstance(after, Scored) is isinstance(before, Scored)
    if isinstance(before, Scored):
        assert after.value <= before.value


@given(st.sampled_from(METRICS[::2]), sessions, st.randoms())
def test_counted_metrics_ignore_trace_order(metric, some, chance):
    shuffled = [*some]
    chance.shuffle(shuffled)
    assert value(metric(session(*shuffled), {})) == value(metric(session(*some), {}))


@given(sessions.filter(lambda some: len(some) > 1))
def test_repeating_the_first_request_never_raises_the_score(some):
    before = user_repetition(asked(*(text for text, _ in some)), {})
    assume(isinstance(before, Scored))
    first = next(text for text, _ in some if text not in {"", "yes"})
    after = user_repetition(asked(*(text for text, _ in some), first), {})
    assert after.value <= before.value
    assert after.metadata["inputs"] == before.metadata["inputs"] + 1


@given(st.lists(st.text("+-", min_size=2, max_size=5), min_size=1, max_size=6))
def test_pass_2_equals_the_share_of_successful_pairs(inputs):
    shares = []
    for one in inputs:
        pairs = [*combinations(one, 2)]
        shares.append(sum(pair == ("+", "+") for pair in pairs) / len(pairs))
    found: Any = outcome_consistency(tries(*inputs), {})
    assert found.value == pytest.approx(sum(shares) / len(shares), abs=1e-4)
