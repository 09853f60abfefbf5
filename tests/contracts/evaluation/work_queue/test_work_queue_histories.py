"""Random histories of runs and workers read the same from memory and from PostgreSQL.

Part of the contracts of Runs and Assignments.
"""

import asyncio
import uuid
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, ClassVar, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from application.evaluation.ports.work_queue import ANNOUNCE_TIMEOUT, LEASE, Claim
from application.jobs import EvaluateTargetJob, Job, PlanRunJob
from domain.errors import Failure
from domain.evaluation.runs.run import EvalRun, TargetType, WorkItem
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import Score, ScoreChange, ScoreOutcome
from domain.ids import RunId
from tests.support.builders.values import NOON, prices, trace
from tests.support.fixtures.data_plane import ALL, fill, project
from tests.support.fixtures.evaluation.evaluation import (
    METRICS,
    WINDOW,
    Evaluating,
    a_run,
    is_over,
    over_memory,
    over_postgres,
    signal_of,
)
from tests.support.fixtures.histories import ComparedHistories, check_histories

pytestmark = pytest.mark.service

TRACES: Final = 4  # the last of which is in no session
RUNS_MAX: Final = 5
ROUNDS_MAX: Final = 60  # rounds of upkeep until every run is over
COUNT_IN_FLIGHT: Final = """
SELECT count(*) FROM eval_jobs WHERE project_id = $1 AND state IN ('queued', 'running')
"""

indexes = st.integers(0, 5)  # index of an existing item
outcomes: Final[st.SearchStrategy[Outcome]] = st.sampled_from(
    [
        Scored(0.5, "fair", {"fingerprint": "f", "evidence_hash": "e"}),
        Skipped(SkipCode.NO_TOOLS),
        Failed(FailCode.RATE_LIMITED),
        Failed(FailCode.AUTH, "", {"more": [1.5]}),
    ]
)
changes: Final = st.sampled_from(
    [
        ScoreChange(value="1.0"),
        ScoreChange(reason="wait"),
        ScoreChange(metadata=b'{"code":"mine"}'),
        ScoreChange(value="0.0", reason="no", metadata=b"{}"),
    ]
)
waits: Final = st.sampled_from([0, 1, 30, 59, 60, 61, 119, 120, 600])  # seconds
codes: Final = st.sampled_from([FailCode.RATE_LIMITED, FailCode.PROVIDER_ERROR])


class Histories(ComparedHistories[Evaluating]):
    """Two projects, a few runs on the same few targets, and jobs that arrive twice or never."""

    pool: ClassVar[Pool]

    @initialize()
    def begin(self) -> None:
        self.model, self.now = over_memory(), NOON
        self.projects = [project(), project()]
        self.traces = [
            trace(session_id=None if n == TRACES - 1 else f"s{n % 2}", environment=f"e{n}")
            for n in range(TRACES)
        ]
        self.settled = [one.settled(prices().price) for one in self.traces]
        for of in self.projects:
            self.run_on_both(lambda to, of=of: fill(to.plane, of, *self.traces))
        self.runs: list[EvalRun] = []
        self.jobs_sent: list[Job] = []
        self.claims: list[Claim] = []
        self.measured = set[tuple[RunId, str, str]]()
        self.dead_before = self.runner.run(self.postgres.work_queue.count_dead())
        self.create(0, 3, TargetType.TRACE, 3)
        self.plan(0)

    def comparable(self, result: Any) -> Any:
        return list(result) if isinstance(result, tuple | list) else result

    def refusal(self, failure: Failure) -> Any:
        return type(failure)

    def _ours(self, jobs: list[Job]) -> list[Job]:
        """Leaves out jobs of other examples, which share the database."""
        return [one for one in jobs if one.project in self.projects]

    def _pick[T](self, of: list[T], n: int) -> T | None:
        return of[-1 - n % len(of)] if of else None

    # --- runs ---

    @rule(
        of=st.sampled_from([0, 0, 1]), count=indexes, kind=st.sampled_from(TargetType), own=indexes
    )
    def create(self, of: int, count: int, kind: TargetType, own: int) -> None:
        """Creates a run of `count` targets, every `own`th of which has metrics of its own."""
        ids = [str(one.id) for one in self.traces] if kind is TargetType.TRACE else ["s0", "s1"]
        ids += [str(uuid.UUID(int=9)) if kind is TargetType.TRACE else "nobody's"]
        metrics = METRICS if kind is TargetType.TRACE else ("agent_reliability",)
        work = [
            WorkItem(one, metrics[:1] if own and n % own == 1 else metrics)
            for n, one in enumerate(ids[:count])
        ]
        if len(self.runs) == RUNS_MAX:
            return
        run = a_run(
            self.projects[of],
            len(work),
            target_type=kind,
            metrics=metrics,
            created_at=self.now,
        )
        self.run_on_both(lambda to: to.runs.create(run, work))
        self.runs.append(run)
        self.jobs_sent.append(PlanRunJob(run.project_id, run.id))

    @rule(which=indexes)
    def create_again(self, which: int) -> None:
        if run := self._pick(self.runs, which):
            work = [WorkItem(str(uuid.UUID(int=n)), run.metrics) for n in range(run.targets)]
            self.run_on_both(lambda to: to.runs.create(run, work))

    @rule(which=indexes)
    def plan(self, which: int) -> None:
        if run := self._pick(self.runs, which):
            self.run_on_both(lambda to: to.work_queue.plan(run.project_id, run.id, self.now))

    @rule(which=indexes, really=st.booleans())
    def cancel(self, which: int, really: bool) -> None:
        if really and (run := self._pick(self.runs, which)):
            self.run_on_both(lambda to: to.runs.cancel(run.project_id, run.id, self.now))

    @rule(which=indexes, really=st.integers(0, 3), with_scores=st.booleans())
    def delete(self, which: int, really: int, with_scores: bool) -> None:
        if really == 0 and (run := self._pick(self.runs, which)):
            key = (run.project_id, run.id, self.now)
            self.run_on_both(lambda to: to.runs.delete(*key, with_scores=with_scores))
            # The run may be created and measured again.
            self.measured = {pair for pair in self.measured if pair[0] != run.id}

    # --- workers ---

    @rule(of=st.sampled_from([0, 0, 1]))
    def dispatch(self, of: int) -> None:
        self.jobs_sent += self.run_on_both(
            lambda to: to.work_queue.dispatch(self.projects[of], self.now)
        )

    @rule(which=indexes)
    def claim(self, which: int) -> None:
        """Claims by a job that may be a duplicate, or late."""
        targets = [one for one in self.jobs_sent if isinstance(one, EvaluateTargetJob)]
        if due := self._pick(targets, which):
            key = (due.project, due.run, due.target, self.now)
            if claim := self.run_on_both(lambda to: to.work_queue.claim(*key)):
                self.claims.append(claim)

    @rule(which=indexes, metric=st.integers(0, 1), outcome=outcomes)
    def record(self, which: int, metric: int, outcome: Outcome) -> None:
        """Records an outcome, also for a claim that has been lost meanwhile."""
        claim = self._pick(self.claims, which)
        if claim is not None and claim.metrics:
            name = claim.metrics[metric % len(claim.metrics)]
            self._record(claim, name, outcome)

    def _record(self, claim: Claim, metric: str, outcome: Outcome) -> None:
        if self.run_on_both(lambda to: to.work_queue.record(claim, metric, outcome, self.now)):
            pair = (claim.run.id, claim.target, metric)
            assert pair not in self.measured
            self.measured.add(pair)

    @rule(which=indexes, of=st.integers(0, TRACES - 1), outcome=outcomes)
    def record_signal(self, which: int, of: int, outcome: Outcome) -> None:
        claim = self._pick(self.claims, which)
        if claim is not None and claim.run.target_type is TargetType.SESSION:
            signal = signal_of(claim.run, self.settled[of], "confidence", self.now)
            score = signal.with_outcome(outcome, self.now)
            self.run_on_both(lambda to: to.work_queue.record_signal(claim, score, self.now))

    @rule(which=indexes)
    def renew(self, which: int) -> None:
        if claim := self._pick(self.claims, which):
            self.run_on_both(lambda to: to.work_queue.renew(claim, self.now))

    @rule(which=indexes)
    def close(self, which: int) -> None:
        if claim := self._pick(self.claims, which):
            self.jobs_sent += self.run_on_both(lambda to: to.work_queue.close([claim], self.now))

    @rule(which=indexes, seconds=waits, code=codes)
    def postpone(self, which: int, seconds: int, code: FailCode) -> None:
        if claim := self._pick(self.claims, which):
            until = self.now + timedelta(seconds=seconds)
            self.run_on_both(lambda to: to.work_queue.postpone(claim, until, code, self.now))

    @rule(which=indexes)
    def release(self, which: int) -> None:
        if claim := self._pick(self.claims, which):
            self.run_on_both(lambda to: to.work_queue.release(claim, self.now))
            self.claims = [one for one in self.claims if one != claim]  # a worker forgets it

    # --- time, people, upkeep ---

    @rule(seconds=waits)
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(which=indexes, change=changes)
    def edit(self, which: int, change: ScoreChange) -> None:
        scores = [one for run in self.runs for one in self._scores(run)]
        of_traces = [one for one in scores if hasattr(one, "trace_id")]
        if score := self._pick(of_traces, which):
            key = (score.project_id, score.id, change, self.now, None)
            self.run_on_both(lambda to: to.trace_scores.change(*key))

    @rule(of=st.integers(0, TRACES - 1), really=st.integers(0, 3))
    def remove_trace(self, of: int, really: int) -> None:
        if really == 0:
            gone = [self.traces[of].id]
            self.run_on_both(lambda to: to.plane.traces.delete(self.projects[0], gone))

    @rule()
    def overdue(self) -> None:
        async def act(to: Evaluating) -> list[Job]:
            return self._ours(list(await to.work_queue.requeue_overdue(self.now)))

        self.jobs_sent += self.run_on_both(act)

    # --- what always holds ---

    def _scores(self, run: EvalRun) -> list[Score]:
        return self.run_on_both(lambda to: to.scores(run))  # type: ignore[no-any-return]  # of both

    @invariant()
    def every_read_agrees(self) -> None:
        async def read(to: Evaluating) -> Any:
            """Reads all runs, each with its scores and failures."""
            found: list[Any] = [await to.work_queue.is_live(one) for one in self.claims[-2:]]
            for of in self.projects:
                for kind in TargetType:
                    page = await to.runs.page(of, kind, None, ALL)
                    found.append(page)
                    for one in page.items:
                        scores = await to.scores(one.run)
                        found += [scores, await to.runs.failures(of, one.run.id)]
                        if is_over(one.run):
                            assert ScoreOutcome.PENDING not in {score.outcome for score in scores}
            return found

        self.run_on_both(read)
        for of in self.projects:
            assert self.runner.run(within(self.pool, of).fetchval(COUNT_IN_FLIGHT, of)) <= WINDOW
        dead = self.runner.run(self.postgres.work_queue.count_dead())
        assert dead - self.dead_before == self.runner.run(self.model.work_queue.count_dead())

    def teardown(self) -> None:
        """Upkeep ends every run, whatever jobs were lost; then every run is deleted."""
        if not hasattr(self, "model"):
            return
        for _ in range(ROUNDS_MAX):
            if all(self._is_over(run) for run in self.runs):
                break
            self.now += max(LEASE, ANNOUNCE_TIMEOUT, timedelta(minutes=10))
            self.jobs_sent = []
            self.overdue()
            for job in list(self.jobs_sent):
                self._do(job)
        assert all(self._is_over(run) for run in self.runs)
        self.every_read_agrees()
        for run in self.runs:
            key = (run.project_id, run.id, self.now)
            self.run_on_both(lambda to, key=key: to.runs.delete(*key, with_scores=True))

    def _is_over(self, run: EvalRun) -> bool:
        found = self.run_on_both(lambda to: to.runs.get(run.project_id, run.id))
        return isinstance(found, type) or is_over(found.run)

    def _do(self, job: Job) -> None:
        if isinstance(job, PlanRunJob):
            self.run_on_both(lambda to: to.work_queue.plan(job.project, job.run, self.now))
            return
        key = (job.project, job.run, job.target, self.now)
        if (claim := self.run_on_both(lambda to: to.work_queue.claim(*key))) is None:
            return
        for metric in claim.metrics:
            self._record(claim, metric, Failed(FailCode.INTERNAL))
        self.run_on_both(lambda to: to.work_queue.close([claim], self.now))


async def open_postgres(url: str, stack: AsyncExitStack) -> tuple[Pool, Evaluating]:
    pool = await stack.enter_async_context(
        open_pool(Engine(config={}), PoolSettings(url=url, size=3))
    )
    return pool, await stack.enter_async_context(over_postgres(pool))


def test_random_histories_of_runs_and_workers_agree(pool, serving_url):
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        Histories.runner = runner
        Histories.pool, Histories.postgres = runner.run(open_postgres(serving_url, stack))
        try:
            check_histories(Histories, examples=40, steps=25)
        finally:
            runner.run(stack.aclose())
