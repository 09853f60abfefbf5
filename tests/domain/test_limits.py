"""The strict sliding window: admission, and the figures for callers."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.limits import COUNT_MAX, SECOND_US, UNITS_S, Decision, Limit, SlidingWindow
from tests.support.builders.strategies import limits, steps_us

START_US = 1_800_000_000 * SECOND_US
NOT_LIMITS = [
    *("", "100", "/minute", "0/minute", "-1/minute", "1.5/minute", "100/minutes", "100/Minute"),
    *("100 / minute", " 100/minute", "100/minute\n", "100/week", "1e2/minute", "٣/minute"),
    *("01/minute", f"{COUNT_MAX + 1}/day", "9" * 5000 + "/day"),
]


def most(instants: Iterable[int], window_us: int) -> int:
    """Count the maximum number of instants in one window."""
    ordered = sorted(instants)
    return max((sum(end - window_us < one <= end for one in ordered) for end in ordered), default=0)


def refused(history: SlidingWindow, limit: Limit, now_us: int) -> Decision:
    """Return the first refusal at an instant."""
    for _ in range(limit.count + 1):
        decision = history.admit(limit, now_us)
        if not decision.admitted:
            return decision
    raise AssertionError("nothing is refused")


# --- text form -----------------------------------------------------------------------------------


@given(st.builds(Limit, st.integers(1, COUNT_MAX), st.sampled_from(list(UNITS_S))))
def test_limit_text_round_trips(limit):
    assert Limit.parse(str(limit)) == limit


def test_window_lengths():
    lengths_s = [Limit(1, unit).window_us / SECOND_US for unit in UNITS_S]
    assert lengths_s == [1, 60, 3_600, 86_400]


@pytest.mark.parametrize("text", NOT_LIMITS, ids=lambda text: repr(text[:12]))
def test_malformed_limits_are_rejected(text):
    with pytest.raises(ValueError, match="limit"):
        Limit.parse(text)


@pytest.mark.parametrize(("count", "unit"), [(0, "day"), (COUNT_MAX + 1, "day"), (1, "week")])
def test_invalid_limit_is_refused(count, unit):
    with pytest.raises(ValueError, match="limit"):
        Limit(count, unit)


# --- admission -----------------------------------------------------------------------------------


@given(st.data(), limits)
def test_window_never_admits_more_than_limit(data, limit):
    history, now_us, admitted = SlidingWindow(), START_US, []
    for step_us in data.draw(st.lists(steps_us(limit), max_size=40)):
        now_us += step_us
        expected = most([*admitted, now_us], limit.window_us) <= limit.count
        decision = history.admit(limit, now_us)
        assert decision.admitted == expected  # exactly as many as permitted
        if decision.admitted:
            admitted.append(now_us)
        assert len(history) <= limit.count


def test_window_end_is_exclusive():
    limit = Limit(1, "minute")
    for later_us, admitted in ((limit.window_us - 1, False), (limit.window_us, True)):
        history = SlidingWindow()
        history.admit(limit, START_US)
        assert history.admit(limit, START_US + later_us).admitted == admitted


def test_burst_across_a_minute_boundary_is_limited():
    history, limit = SlidingWindow(), Limit(100, "minute")
    before, after = START_US - 1, START_US
    admitted = [history.admit(limit, now).admitted for now in [before] * 100 + [after] * 100]
    assert sum(admitted) == 100


@given(st.data(), limits)
def test_clock_set_back_admits_no_more(data, limit):
    """Instants are compared in real time, which the clock lags behind."""
    history, true_us, clock_us, admitted = SlidingWindow(), START_US, START_US, []
    window_us = limit.window_us
    backward = st.sampled_from([0, 0, 1, window_us - 1, window_us, window_us + 1, 50 * window_us])
    for step_us in data.draw(st.lists(steps_us(limit), max_size=40)):
        true_us += step_us
        clock_us += step_us - data.draw(backward)
        decision = history.admit(limit, clock_us)
        if decision.admitted:
            admitted.append(true_us)
        else:
            assert decision.retry_after_s <= 2 * window_us // SECOND_US
    assert most(admitted, window_us) <= limit.count


@given(limits, st.lists(st.integers(-3, 3), max_size=30))
def test_jittering_clock_counts_as_its_maximum(limit, tremor):
    history, steady, now_us, furthest = SlidingWindow(), SlidingWindow(), START_US, START_US
    for step_us in tremor:
        now_us += step_us
        furthest = max(furthest, now_us)
        assert history.admit(limit, now_us).admitted == steady.admit(limit, furthest).admitted


@given(limits, limits, st.data())
def test_lowered_limit_applies_immediately(before, lowered, data):
    history = SlidingWindow()
    lowered = Limit(min(before.count, lowered.count), before.unit)
    instants = [START_US]
    for step_us in data.draw(st.lists(st.integers(0, before.window_us // 11), max_size=10)):
        instants.append(instants[-1] + step_us)
    admitted = [one for one in instants if history.admit(before, one).admitted]
    decision = history.admit(lowered, instants[-1])
    assert decision.admitted == (len(admitted) < lowered.count)
    assert decision.remaining == max(0, lowered.count - len(admitted) - 1)
    if not decision.admitted:
        retry_us = instants[-1] + decision.retry_after_s * SECOND_US
        assert history.admit(lowered, retry_us).admitted


# --- retry figures -------------------------------------------------------------------------------


@given(st.data(), limits)
def test_single_retry_after_retry_after_is_admitted(data, limit):
    history, now_us = SlidingWindow(), START_US
    for step_us in data.draw(st.lists(steps_us(limit), max_size=20)):
        now_us += step_us
        history.admit(limit, now_us)
    decision = refused(history, limit, now_us)
    assert decision.retry_after_s >= 1
    early_us = now_us + (decision.retry_after_s - 1) * SECOND_US
    if early_us > now_us:  # less than a second later than necessary
        assert not history.admit(limit, early_us).admitted
    assert history.admit(limit, now_us + decision.retry_after_s * SECOND_US).admitted


@given(st.data(), limits, st.integers(0, 100) | st.integers(0, 100).map(lambda n: n * 30_000_000))
def test_single_retry_is_admitted_after_clock_was_set_back(data, limit, back_us):
    history = SlidingWindow()
    refused(history, limit, START_US)
    decision = history.admit(limit, START_US - back_us)
    assert not decision.admitted
    retry_us = START_US - back_us + decision.retry_after_s * SECOND_US
    assert history.admit(limit, retry_us).admitted


@given(st.data(), limits)
@example(data=None, limit=Limit(3, "minute"))
def test_remaining_and_reset(data, limit):
    steps = [0, 1] if data is None else data.draw(st.lists(steps_us(limit), min_size=1))
    history, now_us, admitted = SlidingWindow(), START_US, []
    for step_us in steps:
        now_us += step_us
        decision = history.admit(limit, now_us)
        if decision.admitted:
            admitted.append(now_us)
        counted = [one for one in admitted if now_us - one < limit.window_us]
        left_us = counted[0] + limit.window_us - now_us
        assert decision == Decision(
            admitted=decision.admitted,
            limit=limit,
            remaining=limit.count - len(counted),
            reset_s=-(-left_us // SECOND_US),
            retry_after_s=0 if decision.admitted else -(-left_us // SECOND_US),
        )


def test_remaining_requests_are_admitted():
    history, limit = SlidingWindow(), Limit(5, "hour")
    remaining = [history.admit(limit, START_US).remaining for _ in range(7)]
    assert remaining == [4, 3, 2, 1, 0, 0, 0]


# --- taking back ---------------------------------------------------------------------------------


@given(limits, st.lists(st.integers(0, 3), min_size=1, max_size=20), st.data())
def test_taken_back_request_no_longer_counts(limit, steps, data):
    """The limit is so high that no request is refused."""
    limit = Limit(len(steps) + 1, limit.unit)
    instants = [START_US + sum(steps[: n + 1]) for n in range(len(steps))]
    removed = data.draw(st.sampled_from(instants))
    with_it, without = SlidingWindow(), SlidingWindow()
    for one in instants:
        with_it.admit(limit, one)
    instants.remove(removed)
    for one in instants:
        without.admit(limit, one)
    with_it.take_back(removed)
    with_it.take_back(START_US - 1)  # a request that was never admitted
    assert len(with_it) == len(without)
    end_us = START_US + 100
    assert with_it.admit(limit, end_us) == without.admit(limit, end_us)
    assert with_it.newest_us == end_us


@pytest.mark.parametrize("later_us", [0, 59_999_999, 60_000_000])
def test_counts_at(later_us):
    history, limit = SlidingWindow(), Limit(2, "minute")
    assert not history.counts_at(limit, START_US)
    history.admit(limit, START_US)
    assert history.counts_at(limit, START_US + later_us) == (later_us < limit.window_us)
