"""Runs: starting them by filter or ids, retrying, cancelling and deleting them.

A stored run will be evaluated, even if the message to the workers is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.evaluation.ports.runs import Runs, Targets
from application.evaluation.ports.scores import SessionScores, TraceScores
from application.evaluation.runs.run_rules import RunRequest, RunRules
from application.jobs import Jobs, PlanRunJob
from application.ports import Clock
from domain.errors import Forbidden
from domain.evaluation.runs.run import (
    TARGETS_MAX,
    EvalRun,
    RunProgress,
    RunStatus,
    Target,
    TargetType,
    WorkItem,
    build_retry,
)
from domain.evaluation.runs.selection import (
    Eligibility,
    Sample,
    SessionSelection,
    TargetCount,
    TraceSelection,
    batch_as_given,
    counted_max,
    filters_as_given,
    validate_batch_ids,
    validate_target_count,
)
from domain.evaluation.scores.edits import ONLY_THEIR_AUTHORS
from domain.evaluation.sessions.signals import validate_weights
from domain.identity.audit import AuditEntry
from domain.identity.caller import Caller
from domain.identity.organization import Role
from domain.ids import ProjectId, RunId
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText


@dataclass(frozen=True, slots=True)
class RunFactory:
    """Creates runs from requests: validates, stores, enqueues. A service of several use cases."""

    runs: Runs
    jobs: Jobs
    rules: RunRules
    clock: Clock

    async def build(
        self,
        project: ProjectId,
        new: RunId,
        target_type: TargetType,
        request: RunRequest,
        filters: JsonText = EMPTY_OBJECT,
    ) -> EvalRun:
        """The run of a request, which has no targets and isn't stored yet.

        Raises Invalid, also for weights, votes, and the budget.
        """
        validate_weights(request.signal_weights)
        selected, model = await self.rules.validate(project, target_type, request)
        return EvalRun(
            id=new,
            project_id=project,
            target_type=target_type,
            name=request.name,
            metrics=selected.names,
            targets=0,
            filters=filters,
            sampling_rate=request.sampling_rate,
            settled_only=request.settled_only,
            model=model,
            signal_weights=request.signal_weights,
            definitions=selected.definitions,
            votes=request.votes,
            max_cost_usd=request.max_cost_usd,
            created_at=self.clock(),
        )

    async def store(self, built: EvalRun, targets: Sequence[Target]) -> RunProgress:
        """Stores a run over these targets, in their order, and enqueues it."""
        run = replace(built, targets=len(targets))
        return await self.store_and_enqueue(
            run, [WorkItem(target, run.metrics) for target in targets]
        )

    async def store_and_enqueue(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        """Stores a run, unless its id exists, and enqueues its planning."""
        progress = await self.runs.create(run, work)
        if progress.run.status is RunStatus.PENDING:
            await self.jobs.send(PlanRunJob(run.project_id, run.id))
        return progress


async def find_targets(
    targets: Targets,
    project: ProjectId,
    selection: TraceSelection | SessionSelection,
    eligibility: Eligibility,
    sample: Sample,
) -> Sequence[Target]:
    """The sample of the traces or sessions that match; the first TARGETS_MAX + 1."""
    if isinstance(selection, TraceSelection):
        return await targets.traces(
            project, selection, TARGETS_MAX, eligibility=eligibility, sample=sample
        )
    return await targets.sessions(
        project, selection, TARGETS_MAX, eligibility=eligibility, sample=sample
    )


async def find_run_targets(
    targets: Targets,
    project: ProjectId,
    selection: TraceSelection | SessionSelection,
    eligibility: Eligibility,
    rate: float,
) -> Sequence[Target]:
    """The targets of a run over what matches. Raises Invalid if nothing matches, or too much."""
    # A rate of 0 takes nothing, and is refused if nothing matches.
    sample = Sample(rate, str(project), least=1)
    found = await find_targets(targets, project, selection, eligibility, sample)
    validate_target_count(found)
    return found if rate else ()


@dataclass(frozen=True, slots=True)
class StartRun:
    """Starts a run over a sample of the traces or sessions that match."""

    run_factory: RunFactory
    targets: Targets

    async def __call__(
        self,
        project: ProjectId,
        new: RunId,
        request: RunRequest,
        selection: TraceSelection | SessionSelection,
    ) -> RunProgress:
        """The run, or the one that has the id `new` already.

        Raises Invalid for a metric that is unknown, archived, or needs another judge, for a model
        that isn't allowed, and if no targets or too many match.
        """
        is_trace = isinstance(selection, TraceSelection)
        target_type = TargetType.TRACE if is_trace else TargetType.SESSION
        filters = filters_as_given(selection, request.signal_weights)
        run = await self.run_factory.build(project, new, target_type, request, filters)
        eligibility = Eligibility(settled_only=request.settled_only)
        found = await find_run_targets(
            self.targets, project, selection, eligibility, request.sampling_rate
        )
        return await self.run_factory.store(run, found)


@dataclass(frozen=True, slots=True)
class CountTargets:
    """Counts what filters match, and what a run would evaluate; reads no trace."""

    targets: Targets

    async def __call__(
        self,
        project: ProjectId,
        selection: TraceSelection | SessionSelection,
        sampling_rate: float,
        eligibility: Eligibility,
    ) -> TargetCount:
        """It is not an error here if nothing matches. Raises Unavailable."""
        limit = counted_max(sampling_rate)
        found = await self.targets.count(project, selection, limit, eligibility=eligibility)
        return TargetCount.from_matches(found, sampling_rate)


@dataclass(frozen=True, slots=True)
class StartBatch:
    """Starts a run over given ids, whether they exist or not."""

    run_factory: RunFactory

    async def __call__(
        self,
        project: ProjectId,
        new: RunId,
        target_type: TargetType,
        request: RunRequest,
        ids: Sequence[Target],
    ) -> RunProgress:
        """The run, or the one that has the id `new` already. Its targets keep the order of `ids`.

        Raises Invalid for an unknown metric, a model that isn't allowed, and too many ids.
        """
        targets = validate_batch_ids(target_type, ids)
        request = replace(request, settled_only=False)
        run = await self.run_factory.build(
            project, new, target_type, request, batch_as_given(target_type, targets)
        )
        return await self.run_factory.store(run, targets)


@dataclass(frozen=True, slots=True)
class RetryRun:
    run_factory: RunFactory

    async def __call__(self, project: ProjectId, run: RunId, new: RunId) -> RunProgress:
        """A new run over exactly what failed in another, which doesn't change.

        Raises NotFound, and Invalid if nothing failed.
        """
        known, failures = await self.run_factory.runs.failures(project, run)
        return await self.run_factory.store_and_enqueue(
            *build_retry(known, failures, new, self.run_factory.clock())
        )


@dataclass(frozen=True, slots=True)
class CancelRun:
    runs: Runs
    clock: Clock

    async def __call__(self, project: ProjectId, run: RunId) -> RunProgress:
        """The cancelled run. Raises NotFound, Conflict if it has ended."""
        return await self.runs.cancel(project, run, self.clock())


@dataclass(frozen=True, slots=True)
class DeleteRun:
    runs: Runs
    trace_scores: TraceScores
    session_scores: SessionScores
    clock: Clock

    async def __call__(
        self, caller: Caller, run: RunId, *, with_scores: bool, audit: AuditEntry | None = None
    ) -> None:
        """Deletes it, in any state.

        Raises NotFound, and Forbidden if it would delete what another person wrote over a score.
        What others write after that check stays, without the run.
        """
        project, authors = caller.project_id, None
        if with_scores and caller.role not in {Role.OWNER, Role.ADMIN}:
            authors = () if caller.user_id is None else (caller.user_id,)
            for scores in (self.trace_scores, self.session_scores):
                if await scores.run_has_scores_of_others(project, run, caller.user_id):
                    raise Forbidden(ONLY_THEIR_AUTHORS)
        now = self.clock()
        await self.runs.delete(
            project, run, now, with_scores=with_scores, authors=authors, audit=audit
        )
