"""Runs as a client sees them, and a worker that does them when it's told to."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from adapters.memory.jobs import RecordedJobs
from application.evaluation.use_cases import EvaluationUseCases
from application.jobs import EvaluateTargetJob, Job, PlanRunJob
from application.use_cases import UseCases
from tests.http.conftest import Site
from tests.support.clients.scored_project import Scored

RUNS = "/evaluations/trace-runs"
SESSION_RUNS = "/evaluations/session-runs"
PAIR = ["tool_success_rate", "trace_success"]


@dataclass(frozen=True)
class Running(Scored):
    """As Scored. `jobs` are what workers were told since it was made."""

    jobs: RecordedJobs = field(kw_only=True)
    do: EvaluationUseCases = field(kw_only=True)

    @classmethod
    async def over(cls, site: Site) -> Self:
        made = await Scored.new(site)
        ports = replace(site.ports, **site.swapped)
        jobs = ports.evaluation.jobs
        assert isinstance(jobs, RecordedJobs)
        jobs.sent.clear()
        do = UseCases.over(ports).evaluation
        return cls(made.site, made.head, made.trace, made.session, jobs=jobs, do=do)

    def told(self) -> list[Job]:
        """What workers were told since this was last asked."""
        told, self.jobs.sent = self.jobs.sent, []
        return told

    async def planned(self) -> None:
        """Has every run planned that waits for it, and nothing measured."""
        for job in self.told():
            if isinstance(job, PlanRunJob):
                await self.do.plan_run(job.project, job.run)

    async def works(self) -> None:
        """Does all that is due, and all that comes of it."""
        await self.jobs.done(self._does)

    async def _does(self, job: Job) -> None:
        match job:
            case PlanRunJob():
                await self.do.plan_run(job.project, job.run)
            case EvaluateTargetJob():
                await self.do.evaluate_target(job.project, job.run, job.target)

    async def starts(self, path: str = RUNS, **said: Any) -> Any:
        """A run, as it was answered."""
        metrics = ["agent_reliability"] if path.startswith(SESSION_RUNS) else PAIR
        started = await self("POST", path, {"metrics": metrics} | said)
        assert started.status_code == 202, started.text
        return started.json()

    async def run(self, started: Any) -> Any:
        """It, as it is now."""
        return await self.got(f"{RUNS}/{started['id']}")

    async def scores(self, started: Any, path: str = RUNS) -> Any:
        return await self.got(f"{path}/{started['id']}/scores")
