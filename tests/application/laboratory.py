"""Runs at work over memory: traces, a judge that does as it is told, and workers by the step."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from adapters.memory.jobs import RecordedJobs
from adapters.memory.judge import ScriptedEmbedder, ScriptedJudge
from adapters.memory.runs import MemoryRuns
from adapters.memory.store import MemoryStore
from application.evaluation.matter import USUAL, MeasuringPolicy
from application.evaluation.use_cases import EvaluationPorts, EvaluationUseCases
from application.jobs import Job, RunDue, TargetDue
from domain.evaluation.run import Assignment, EvalRun, RunProgress, Target, TargetType
from domain.evaluation.score import ScoreChange, SessionScore, TraceScore
from domain.evaluation.score_query import ScoreFilter
from domain.ids import ProjectId, RunId, ScoreId
from domain.page import LIMIT_MAX, Window
from domain.tracing.model_price import ModelPrice
from domain.tracing.payload import members
from domain.tracing.span import Span
from domain.tracing.trace import Trace
from tests.builders import NOON, OURS, at, prices
from tests.domain.evaluation.build import payloads, subject, tool
from tests.worlds import memory_evaluation

MODEL: Final = "openai/tiny"
ALL: Final = Window(limit=LIMIT_MAX)
PLAN: Final = "1. search for flights\n2. book the cheapest"


@dataclass(slots=True)
class Laboratory:
    """Its clock stands still until it is moved. `faults` are those that nobody expected."""

    store: MemoryStore = field(default_factory=MemoryStore)
    judge: ScriptedJudge = field(default_factory=ScriptedJudge)
    embedder: ScriptedEmbedder = field(default_factory=ScriptedEmbedder)
    policy: MeasuringPolicy = USUAL
    project: ProjectId = OURS
    now: datetime = NOON
    faults: list[tuple[ScoreId, Exception]] = field(default_factory=list)
    jobs: RecordedJobs = field(default_factory=RecordedJobs)

    @property
    def ports(self) -> EvaluationPorts:
        return replace(
            memory_evaluation(self.store),
            jobs=self.jobs,
            judge=self.judge,
            embedder=self.embedder,
            on_fault=lambda score, fault: self.faults.append((score, fault)),
            measuring=self.policy,
        )

    def over(self, ports: EvaluationPorts | None = None) -> EvaluationUseCases:
        """A worker's use cases, in a process of its own."""
        return EvaluationUseCases.over(
            ports or self.ports,
            lambda: self.now,
            uuid.uuid4,
            lambda count: uuid.uuid4().bytes[:count],
        )

    def forward(self, **period: float) -> None:
        self.now += timedelta(**period)

    @property
    def runs(self) -> MemoryRuns:
        return MemoryRuns(self.store)

    # --- traces ---

    def put(self, *spans: Span, **said: Any) -> Trace:
        """Stores a trace of these spans: one tool call, a request and an answer if none is said."""
        known: dict[str, Any] = {"input": "book a flight to Oslo", "output": "I booked HAT123."}
        trace = subject(*(spans or (tool(given={"to": "Oslo"}),)), **known | said).trace
        self.store.traces[self.project, trace.id] = trace
        return trace

    def session(self, count: int, name: str = "chat", **said: Any) -> list[Trace]:
        """So many traces of a session, a minute after each other, each with its own answer."""
        return [
            self.put(
                **{
                    "session_id": name,
                    "started_at": at(60 * n),
                    "output": f"Flight number {n} is booked",
                }
                | said
            )
            for n in range(count)
        ]

    def change(self, trace: Trace, **said: Any) -> Trace:
        changed = replace(trace, **payloads(said)).settled(prices().price)
        self.store.traces[self.project, trace.id] = changed
        return changed

    async def prices(self, match: str, usd: int) -> ModelPrice:
        """Gives models a price of the project's own, of a million tokens of any kind."""
        price = ModelPrice(
            id=uuid.uuid4(),
            project_id=self.project,
            match=match,
            input=Decimal(usd),
            output=Decimal(usd),
            created_at=self.now,
        )
        return await self.ports.judging.prices.own.create(price)

    # --- runs ---

    async def run(
        self,
        metrics: Sequence[str] | str,
        *targets: Trace | str,
        is_planned: bool = True,
        **said: Any,
    ) -> EvalRun:
        """A run over traces, or over sessions by their ids; planned, and its targets announced."""
        named = tuple(metrics.split()) if isinstance(metrics, str) else tuple(metrics)
        of_sessions = isinstance(targets[0], str)
        ids = [str(getattr(target, "id", target)) for target in targets]
        run = EvalRun(
            **{
                "id": RunId(uuid.uuid4()),
                "project_id": self.project,
                "target_type": TargetType.SESSION if of_sessions else TargetType.TRACE,
                "metrics": named,
                "targets": len(ids),
                "model": MODEL,
                "created_at": self.now,
            }
            | said
        )
        await self.runs.create(run, [Assignment(one, named) for one in ids])
        if is_planned:
            await self.over().plan_run(self.project, run.id)
        return run

    async def work(self, do: EvaluationUseCases | None = None) -> int:
        """Does every job that is announced, one after the other, until there is none; how many."""
        worker = do or self.over()

        async def done(job: Job) -> None:
            match job:
                case RunDue():
                    await worker.plan_run(job.project, job.run)
                case TargetDue():
                    await worker.evaluate_target(job.project, job.run, job.target)

        return await self.jobs.done(done)

    async def attempts(self, count: int, do: EvaluationUseCases | None = None) -> None:
        """Works, and works again on what was postponed, so many times in all."""
        worker = do or self.over()
        await self.work(worker)
        for _ in range(count - 1):
            self.forward(hours=1)
            await worker.announce_overdue()
            await self.work(worker)

    async def progress(self, run: EvalRun) -> RunProgress:
        return await self.runs.get(self.project, run.id)

    async def cancel(self, run: EvalRun) -> None:
        await self.runs.cancel(self.project, run.id, self.now)

    # --- scores ---

    async def of_run(self, run: EvalRun) -> dict[tuple[Target, str], TraceScore | SessionScore]:
        """Every score that a run has written, by target and name."""
        of_traces = await self.ports.trace_scores.of_run(self.project, run.id)
        of_sessions = await self.ports.session_scores.of_run(self.project, run.id)
        return {(str(one.trace_id), one.name): one for one in of_traces} | {
            (one.session_id, one.name): one for one in of_sessions
        }

    async def told(self, run: EvalRun, target: Trace | str) -> dict[str, str]:
        """What a run says of a target, by metric: the value, or the code of why there is none."""
        scores = await self.of_run(run)
        wanted = str(getattr(target, "id", target))
        return {
            name: score.value or score.code or score.outcome.value
            for (of, name), score in scores.items()
            if of == wanted
        }

    async def scores_of(self, trace: Trace) -> list[TraceScore]:
        page = await self.ports.trace_scores.page(self.project, ScoreFilter(trace_id=trace.id), ALL)
        return list(page.items)

    async def patch(self, run: EvalRun, trace: Trace, name: str, value: str) -> None:
        """A person gives another value to a run's score of a trace."""
        score = run.score_id(str(trace.id), name)
        change = ScoreChange(value=value)
        await self.ports.trace_scores.change(self.project, score, change, self.now, None)


def metadata(score: TraceScore | SessionScore) -> Mapping[str, str]:
    """Its metadata, each entry as JSON text."""
    return members(score.metadata)
