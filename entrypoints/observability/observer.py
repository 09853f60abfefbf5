"""What is watched of a process: its figures, and spans of its own where they are wanted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from adapters.postgres.database.pool import Pool
from adapters.postgres.tracing.batch_writer import Item
from adapters.postgres.tracing.group_commit import Batch, GroupCommit
from adapters.prometheus import definitions
from adapters.prometheus.process_slots import SeatError
from adapters.prometheus.registry import Figures
from application.jobs import Job, PlanRunJob, queue_of
from domain.evaluation.costs.judge_costs import LedgerEntry
from entrypoints.http.middleware.observer_ports import Kind
from entrypoints.settings import Settings, SettingsError, variable

if TYPE_CHECKING:
    from adapters.otlp_spans import ActiveSpan, OtlpSpans  # the extra `otel`, which may be missing

SAMPLE_EVERY_S: Final = 5.0  # more often than anybody scrapes


class Observer:
    """Counts what happens, and makes spans of it where `spans` are wanted. Never raises."""

    def __init__(self, figures: Figures, spans: "OtlpSpans | None" = None) -> None:
        self.figures = figures
        self.spans = spans

    # --- requests: entrypoints/http/middleware/observer_ports.py ---

    def answered(self, method: str, route: str, status: int, kind: Kind, seconds: float) -> None:
        self.figures.count(definitions.REQUESTS, method, route, str(status))
        self.figures.observe(definitions.REQUEST_SECONDS, seconds, kind)
        if kind is Kind.INGEST:
            self.figures.count(definitions.INGEST_REQUESTS, outcome_of(status))

    def decided(self, route_class: str, *, admitted: bool) -> None:
        decision = "admitted" if admitted else "refused"
        self.figures.count(definitions.DECISIONS, route_class, decision)

    def unshared(self) -> None:
        """A decision of the rate limiter was made without Redis."""
        self.figures.count(definitions.FALLBACKS)

    # --- batches: adapters/postgres/tracing/group_commit.py ---

    def mark(self) -> object:
        return None if self.spans is None else self.spans.current()

    def settled(self, batch: Batch[Item]) -> None:
        count, observe = self.figures.count, self.figures.observe
        count(definitions.BATCHES, "stored" if batch.error is None else "failed")
        observe(definitions.BATCH_TRACES, len(batch.items))
        observe(definitions.BATCH_SIZE, batch.bytes)
        observe(definitions.COMMIT_SECONDS, batch.seconds)
        if batch.error is None:
            count(definitions.STORED_TRACES, by=len(batch.items))
            count(definitions.STORED_SPANS, by=sum(len(trace.spans) for _, trace in batch.items))
        above: list[Any] = [one for one in batch.marks if one is not None]
        if self.spans is not None and above:
            self.spans.record(
                "group commit",
                "internal",
                batch.seconds,
                {"pandaprobe.traces": len(batch.items), "pandaprobe.bytes": batch.bytes},
                above=above,
                has_failed=batch.error is not None,
            )

    # --- judges: application/evaluation/judging/judge_client.py ---

    def entered(self, entry: LedgerEntry) -> None:
        call = entry.call
        outcome = "answered" if call.code is None else call.code.value
        seconds, use = call.latency_ms / 1_000, call.use
        self.figures.count(definitions.JUDGE_CALLS, call.provider, outcome)
        self.figures.observe(definitions.JUDGE_SECONDS, seconds, call.provider)
        # What is cached is part of what is read, and what is reasoned of what is written.
        tokens = {
            "input": use.input - use.cache_read,
            "cached_input": use.cache_read,
            "output": use.output - use.reasoning,
            "reasoning": use.reasoning,
        }
        for kind, number in tokens.items():
            if number > 0:
                self.figures.count(definitions.JUDGE_TOKENS, call.provider, kind, by=number)
        if entry.usd:
            self.figures.count(definitions.JUDGE_COST, call.provider, by=float(entry.usd))
        if self.spans is not None:
            said = {
                "gen_ai.provider.name": call.provider,
                "gen_ai.response.model": call.model,
                "pandaprobe.metric": entry.metric,
            }
            failed = call.code is not None
            self.spans.record("ask judge", "client", seconds, said, has_failed=failed)

    # --- runs that are asked for: adapters/dramatiq/jobs.py ---

    def sending(self, job: Job) -> None:
        """A run begins its trace with what a request did; a monitor's begins without."""
        if self.spans is None or not isinstance(job, PlanRunJob):
            return
        request = self.spans.current()
        if request is not None and request.trace_flags.sampled:
            with self.spans.root(job.run, "start run", _ids_of(job), request):
                pass  # an instant: it leads from the run's trace to the request's

    # --- workers: entrypoints/worker/worker.py ---

    @contextmanager
    def job(self, job: Job) -> Iterator["Told"]:
        """What is done for a job in the block; whoever does it tells how it went."""
        told, began, lane = Told(), time.perf_counter(), queue_of(job).value
        try:
            with self._span_of(job) as span:
                yield told
                if span is not None and told.outcome != DONE:
                    span.fail()
        finally:
            self.figures.count(definitions.JOBS, lane, told.outcome)
            self.figures.observe(definitions.JOB_SECONDS, time.perf_counter() - began, lane)

    def round(self, name: str, outcome: str) -> None:
        self.figures.count(definitions.ROUNDS, name, outcome)

    def _span_of(self, job: Job) -> "AbstractContextManager[ActiveSpan | None]":
        """All spans of a run are in one trace, whose id is the run's: nothing has to carry it."""
        if self.spans is None:
            return nullcontext()
        name = "plan run" if isinstance(job, PlanRunJob) else "evaluate target"
        attributes = {**_ids_of(job), "pandaprobe.lane": queue_of(job).value}
        return self.spans.root(job.run, name, attributes)


def _ids_of(job: Job) -> dict[str, str]:
    return {"pandaprobe.project_id": str(job.project), "pandaprobe.run_id": str(job.run)}


DONE: Final = "done"
PUT_OFF: Final = "put_off"  # somebody does it later
BROKEN: Final = "broken"  # by a fault of ours; somebody tries it again


@dataclass(slots=True)
class Told:
    """How a job went: one of the three words above."""

    outcome: str = PUT_OFF  # also where it was stopped


_OUTCOMES: Final = {
    0: "unanswered",
    HTTPStatus.TOO_MANY_REQUESTS: "limited",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded",
}


def outcome_of(status: int) -> str:
    """What a status makes of a request that stores traces."""
    known = _OUTCOMES.get(status)
    if known is not None:
        return known
    if status < HTTPStatus.BAD_REQUEST:
        return "accepted"
    return "rejected" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"


def figures_of(settings: Settings, version: str) -> Figures:
    """The figures of this process. Raises SettingsError where their folder can't be used."""
    try:
        folder = None if settings.metrics_dir is None else Path(settings.metrics_dir).absolute()
        return Figures(version, folder)
    except SeatError as error:
        raise SettingsError(f"{variable('metrics_dir')}: {error}") from error


@asynccontextmanager
async def observed(settings: Settings, figures: Figures, process: str) -> AsyncIterator[Observer]:
    """An observer of this process, `serve` or `worker`. What it has left is sent at the end."""
    endpoint = settings.otel_exporter_otlp_endpoint
    async with AsyncExitStack() as stack:
        beating = asyncio.create_task(_every(SAMPLE_EVERY_S, lambda: _beat(figures, process)))
        stack.callback(beating.cancel)
        if endpoint is None:
            yield Observer(figures)
            return
        from adapters.otlp_spans import OtlpSpans  # noqa: PLC0415 - the extra `otel`

        pairs = (one.partition("=") for one in settings.otel_exporter_otlp_headers)
        resource = {
            "service.name": "pandaprobe-server",
            "service.instance.id": str(uuid4()),
            "deployment.environment.name": settings.app_env,
            "pandaprobe.process": process,
        }
        spans = await stack.enter_async_context(
            OtlpSpans.exporting(
                endpoint,
                {name: value.strip() for name, _, value in pairs},
                resource,
                lambda fate, number: figures.count(definitions.SPANS, fate, by=number),
            )
        )
        yield Observer(figures, spans)


@asynccontextmanager
async def sampled(figures: Figures, pool: Pool, line: GroupCommit[Item]) -> AsyncIterator[None]:
    """Keeps the figures of what is there at a moment, while the block is open."""

    def look() -> None:
        size, idle = pool.get_size(), pool.get_idle_size()
        figures.set(definitions.CONNECTIONS, idle, "idle")
        figures.set(definitions.CONNECTIONS, size - idle, "used")
        figures.set(definitions.CONNECTIONS_MAX, pool.get_max_size())
        items, bytes_ = line.waiting
        figures.set(definitions.LINE_TRACES, items)
        figures.set(definitions.LINE_BYTES, bytes_)

    task = asyncio.create_task(_every(SAMPLE_EVERY_S, look))
    try:
        yield
    finally:
        task.cancel()


def _beat(figures: Figures, process: str) -> None:
    figures.set(definitions.BEAT, time.time(), process)


async def _every(seconds: float, call: Callable[[], None]) -> None:
    while True:
        call()
        await asyncio.sleep(seconds)
