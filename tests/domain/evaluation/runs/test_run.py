"""Runs: states, tallies, and retries."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain.errors import Conflict, Invalid
from domain.evaluation.runs.run import EvalRun, Execution, RunStatus, Tally, TargetType, build_retry
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import RunId
from tests.support.builders.values import NOON, OURS, at

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = RunStatus
WAITS, SCORED, BROKE, SKIPPED = ScoreOutcome
METRICS = ("task_completion", "coherence")


def run(**said: Any) -> EvalRun:
    known: dict[str, Any] = {
        "id": RunId(UUID(int=1)),
        "project_id": OURS,
        "target_type": TargetType.TRACE,
        "metrics": METRICS,
        "targets": 2,
        "model": "heuristic/1",
        "created_at": NOON,
    }
    return EvalRun(**known | said)


def tally(*outcomes: ScoreOutcome, finished: int = 2, code: str | None = "auth") -> Tally:
    """The tally of a run with one metric, and one target per outcome."""
    rows = [Execution(f"t{n}", METRICS[0], outcome, code) for n, outcome in enumerate(outcomes)]
    return Tally.from_executions(METRICS, finished, rows)


# --- states ----------------------------------------------------------------------------------


def test_run_starts_once_and_ends_when_all_targets_are_finished():
    begun = run().started()
    assert begun.status is begun.started().status is RUNNING
    assert begun.settled(tally(SCORED, WAITS, finished=1), at(1)) is begun
    assert begun.settled(tally(SCORED, WAITS), at(1)) is begun
    assert begun.settled(tally(SCORED, SCORED, finished=1), at(1)) is begun
    over = begun.settled(tally(SCORED, BROKE), at(1))
    assert (over.status, over.completed_at, over.error_message) == (COMPLETED, at(1), None)
    assert over.started() is over.settled(tally(BROKE, BROKE), at(2)) is over


def test_pending_run_does_not_settle():
    assert run().settled(tally(SCORED, SCORED), at(1)).status is PENDING


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([BROKE, BROKE], FAILED),
        ([BROKE, SKIPPED], COMPLETED),
        ([BROKE, SCORED], COMPLETED),
        ([SKIPPED, SKIPPED], COMPLETED),
        ([], COMPLETED),
    ],
)
def test_run_fails_only_if_every_execution_failed(outcomes, status):
    assert run().started().settled(tally(*outcomes), at(1)).status is status


def test_failed_run_names_the_most_frequent_code():
    rows = [
        Execution(f"t{n}", METRICS[0], BROKE, code)
        for n, code in enumerate(["judge_timeout", "auth", None, "judge_timeout", "auth"])
    ]
    over = run(targets=5).started().settled(Tally.from_executions(METRICS, 5, rows), at(1))
    assert over.error_message == "auth: 2 of 5 failed executions"


def test_run_without_targets_is_completed_at_creation():
    assert run(targets=0).completed_if_empty().status is COMPLETED
    assert run(targets=0).completed_if_empty().completed_at == NOON
    assert run().completed_if_empty() == run()


@pytest.mark.parametrize("ready", [run(), run().started()], ids=["pending", "running"])
def test_cancelling_is_idempotent(ready):
    over = ready.cancelled(at(1))
    assert (over.status, over.completed_at) == (CANCELLED, at(1))
    assert over.cancelled(at(2)) is over


@pytest.mark.parametrize(
    "over",
    [run().started().settled(tally(SCORED), at(1)), run().failed("no such thing", at(1))],
    ids=["completed", "failed"],
)
def test_ended_run_cannot_be_cancelled(over):
    with pytest.raises(Conflict, match=over.status):
        over.cancelled(at(2))


def test_failed_run_has_an_error_message():
    over = run().failed("the plan is gone", at(1))
    assert (over.status, over.error_message) == (FAILED, "the plan is gone")
    assert over.failed("again", at(2)) is over
    assert run().cancelled(at(1)).failed("late", at(2)).status is CANCELLED


@pytest.mark.parametrize(
    "said",
    [
        {"metrics": ()},
        {"metrics": ("a", "a")},
        {"targets": -1},
        {"sampling_rate": 1.1},
        {"sampling_rate": float("nan")},
        {"status": COMPLETED},
        {"completed_at": NOON},
        {"status": FAILED, "completed_at": NOON},
        {"error_message": "why"},
    ],
)
def test_impossible_run_cannot_be_built(said):
    with pytest.raises(ValueError):
        run(**said)


# --- counts ----------------------------------------------------------------------------------


def test_tallies_add_up():
    parts = [tally(BROKE, SCORED), tally(WAITS, BROKE, SKIPPED, finished=1, code="quota")]
    parts.append(tally(BROKE, finished=0))
    assert sum(parts, Tally()) == Tally(
        evaluated=3, pending=1, scored=1, failed=3, skipped=1, codes={"auth": 2, "quota": 1}
    )


def test_tally_excludes_signals():
    rows = [
        Execution("s", "agent_reliability", SCORED),
        Execution("s", "agent_consistency", SKIPPED, "insufficient_signals"),
        Execution("t", "confidence", BROKE, "auth"),
        Execution("t", "coherence", SKIPPED, "empty_output"),
    ]
    found = Tally.from_executions(("agent_reliability", "agent_consistency"), 1, rows)
    assert found == Tally(evaluated=1, scored=1, skipped=1)


def test_progress_is_the_share_of_finished_targets():
    some = run(targets=4)
    assert [some.progress(Tally(evaluated=n)) for n in (0, 1, 4, 5)] == [0, 0.25, 1, 1]
    assert run(targets=0).progress(Tally()) == 1


def test_score_id_derives_from_run_target_and_metric():
    target = "00000000-0000-0000-0000-000000000007"
    found = run().score_id(target, "task_completion")
    assert str(found) == "9902941e-05d8-5819-b62e-52bcc18ded40"
    assert run().score_id(target, "coherence") != found
    assert replace(run(), id=RunId(UUID(int=2))).score_id(target, "task_completion") != found


# --- retries ---------------------------------------------------------------------------------


def test_retry_covers_exactly_the_failed_pairs():
    old = run(
        target_type=TargetType.SESSION,
        metrics=("agent_reliability", "agent_consistency"),
        name="nightly",
        targets=3,
        sampling_rate=0.5,
        model="openai/gpt-5-mini",
        signal_weights={"confidence": 2.0},
    )
    rows = [
        Execution("é/b", "agent_reliability", BROKE, "internal"),
        Execution("é/b", "agent_consistency", SCORED),
        Execution("a", "agent_reliability", BROKE, "internal"),
        Execution("a", "agent_consistency", BROKE, "auth"),
        Execution("c", "agent_reliability", SKIPPED, "insufficient_signals"),
        Execution("c", "agent_consistency", WAITS),
        Execution("t", "confidence", BROKE, "auth"),
    ]
    new, work = build_retry(old, rows, RunId(UUID(int=2)), at(9))
    assert [(one.target, one.metrics) for one in work] == [
        ("a", ("agent_consistency", "agent_reliability")),
        ("é/b", ("agent_reliability",)),
    ]
    assert (new.id, new.name, new.targets) == (RunId(UUID(int=2)), "Retry: nightly", 2)
    assert new.metrics == ("agent_consistency", "agent_reliability")
    assert (new.model, new.signal_weights) == (old.model, old.signal_weights)
    assert (new.sampling_rate, new.created_at, new.status) == (1.0, at(9), PENDING)
    assert json.loads(new.filters) == {"retry_of": str(old.id), "session_ids": ["a", "é/b"]}


def test_retry_without_failures_is_rejected():
    with pytest.raises(Invalid, match="Nothing to retry"):
        build_retry(run(), [Execution("t", METRICS[0], SKIPPED)], RunId(UUID(int=2)), NOON)


@pytest.mark.parametrize("name", ["n" * 255, None])
def test_retry_name_is_truncated(name):
    rows = [Execution("t", METRICS[0], BROKE)]
    new, _ = build_retry(run(name=name), rows, RunId(UUID(int=2)), NOON)
    assert new.name == f"Retry: {name or run().id}"[:255]


@given(
    st.lists(
        st.builds(
            Execution,
            st.sampled_from("abc"),
            st.sampled_from(METRICS),
            st.sampled_from(list(ScoreOutcome)),
        ),
        unique_by=lambda one: (one.target, one.metric),
    )
)
def test_retry_of_any_run_covers_exactly_the_failed_pairs(rows):
    failed = {(one.target, one.metric) for one in rows if one.outcome is BROKE}
    if not failed:
        with pytest.raises(Invalid):
            build_retry(run(), rows, RunId(UUID(int=2)), NOON)
        return
    new, work = build_retry(run(), rows, RunId(UUID(int=2)), NOON)
    assert {(one.target, metric) for one in work for metric in one.metrics} == failed
    assert new.targets == len({target for target, _ in failed})
    assert set(new.metrics) == {metric for _, metric in failed}


# --- state machine ---------------------------------------------------------------------------


class Life(RuleBasedStateMachine):
    """A run of two targets with one metric: no order of events loses a result."""

    def __init__(self) -> None:
        super().__init__()
        self.run = run(metrics=METRICS[:1])
        self.rows: dict[str, ScoreOutcome] = {}
        self.finished: set[str] = set()
        self.ended: EvalRun | None = None
        self.seconds = 0.0

    def now(self):
        self.seconds += 1
        return at(self.seconds)

    @property
    def tally(self) -> Tally:
        rows = [Execution(target, METRICS[0], outcome) for target, outcome in self.rows.items()]
        return Tally.from_executions(self.run.metrics, len(self.finished), rows)

    @rule()
    def a_worker_plans(self):
        if self.run.status is PENDING:
            self.rows = dict.fromkeys("ab", WAITS)
        self.run = self.run.started()

    @rule(which=st.sampled_from("ab"), outcome=st.sampled_from([SCORED, BROKE, SKIPPED]))
    def a_worker_measures(self, which, outcome):
        if self.rows.get(which) is WAITS:
            self.rows[which] = outcome
            self.finished.add(which)
        self.run = self.run.settled(self.tally, self.now())

    @rule()
    def somebody_looks(self):
        self.run = self.run.settled(self.tally, self.now())

    @rule()
    def a_caller_cancels(self):
        if self.run.status in {COMPLETED, FAILED}:
            with pytest.raises(Conflict):
                self.run.cancelled(self.now())
            return
        self.run = self.run.cancelled(self.now())
        for target, outcome in self.rows.items():
            self.rows[target] = SKIPPED if outcome is WAITS else outcome

    @invariant()
    def what_is_over_stays_as_it_is(self):
        if self.ended is not None:
            assert self.run == self.ended
        if self.run.status.is_final:
            self.ended = self.run

    @invariant()
    def nothing_waits_in_a_run_that_is_over(self):
        if self.run.status.is_final:
            assert WAITS not in self.rows.values()

    @invariant()
    def it_has_failed_only_where_everything_has(self):
        if self.run.status is FAILED:
            assert set(self.rows.values()) == {BROKE}
        if self.run.status is COMPLETED:
            assert set(self.rows.values()) - {BROKE}

    @invariant()
    def progress_is_a_share(self):
        assert 0 <= self.run.progress(self.tally) <= 1


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=12, deadline=None)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ({"auth": 1, "circuit_open": 9}, "auth: 10 of 10 failed executions"),
        ({"circuit_open": 9, "rejected": 1}, "circuit_open: 9 of 10 failed executions"),
        ({"rejected": 8, "auth": 1, "circuit_open": 1}, "rejected: 8 of 10 failed executions"),
        ({"auth": 2, "quota": 3, "circuit_open": 5}, "quota: 8 of 10 failed executions"),
    ],
)
def test_failure_names_what_stopped_the_questions(codes, said):
    """A refused key fails one question, and holds all others back."""
    assert Tally(failed=10, codes=codes).failure_summary == said
