"""A project with runs, and a worker that works on request."""

from dataclasses import dataclass, field
from typing import Any, Self

from adapters.memory.jobs import RecordedJobs
from application.evaluation.use_cases import EvaluationUseCases
from application.jobs import Job, PlanRunJob
from application.use_cases import UseCases
from entrypoints.composition.memory import replace_ports
from tests.http.conftest import Site
from tests.support.clients.scored_project import ScoredProject

RUNS = "/evaluations/trace-runs"
SESSION_RUNS = "/evaluations/session-runs"
PAIR = ["tool_success_rate", "trace_success"]


@dataclass(frozen=True)
class RunningProject(ScoredProject):
    """As ScoredProject. `jobs` are the jobs that were enqueued since its creation."""

    jobs: RecordedJobs = field(kw_only=True)
    do: EvaluationUseCases = field(kw_only=True)

    @classmethod
    async def over(cls, site: Site) -> Self:
        made = await ScoredProject.new(site)
        ports = replace_ports(site.ports, **site.swapped)
        jobs = ports.evaluation.jobs
        assert isinstance(jobs, RecordedJobs)
        jobs.sent.clear()
        do = UseCases(ports).evaluation
        return cls(made.site, made.head, made.trace, made.session, jobs=jobs, do=do)

    def take_jobs(self) -> list[Job]:
        """The jobs that were enqueued since the last call."""
        reported, self.jobs.sent = self.jobs.sent, []
        return reported

    async def plan_runs(self) -> None:
        """Plans every pending run, and evaluates nothing."""
        for job in self.take_jobs():
            if isinstance(job, PlanRunJob):
                await self.do.plan_run(job.project, job.run)

    async def run_jobs(self) -> None:
        """Runs all due jobs, and all jobs that they enqueue."""
        await self.jobs.done(self.do.run_job)

    async def start_run(self, path: str = RUNS, **overrides: Any) -> Any:
        """The response to starting a run."""
        metrics = ["agent_reliability"] if path.startswith(SESSION_RUNS) else PAIR
        started = await self("POST", path, {"metrics": metrics} | overrides)
        assert started.status_code == 202, started.text
        return started.json()

    async def run(self, started: Any) -> Any:
        """The current state of a run."""
        return await self.read(f"{RUNS}/{started['id']}")

    async def scores(self, started: Any, path: str = RUNS) -> Any:
        return await self.read(f"{path}/{started['id']}/scores")
