"""Records the metrics of a process, and spans of this server if they are exported."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from adapters.postgres.database.pool import Pool
from adapters.postgres.read_replica import ReadOutcome
from adapters.postgres.tracing.writes.batch_writer import Item
from adapters.postgres.tracing.writes.group_commit import Batch, GroupCommit
from adapters.prometheus import definitions
from adapters.prometheus.process_slots import ProcessSlotError
from adapters.prometheus.registry import MetricsRegistry
from application.jobs import Job, PlanRunJob, queue_of
from domain.evaluation.costs.judge_costs import LedgerEntry
from domain.tracing.otel.requests import RecordedRejection, RejectionReason
from domain.tracing.otel.scope_families import family_of
from entrypoints.http.middleware.observer_ports import RequestKind
from entrypoints.settings import Settings, SettingsError, variable

if TYPE_CHECKING:
    from adapters.otlp_spans import ActiveSpan, OtlpSpans  # the extra `otel`, which may be missing

LATE_REASONS: Final = {RejectionReason.SPAN_NEVER_CAME, RejectionReason.UNKNOWN_RESPONSE_ID}
SAMPLE_EVERY_S: Final = 5.0  # at least as often as common scrape intervals


@dataclass(frozen=True, slots=True)
class Observer:
    """Counts events, and records them as spans if `spans` is given. Never raises."""

    metrics: MetricsRegistry
    spans: "OtlpSpans | None" = None

    # --- requests: entrypoints/http/middleware/observer_ports.py ---

    def request_ended(
        self, method: str, route: str, status: int, kind: RequestKind, seconds: float
    ) -> None:
        self.metrics.count(definitions.HTTP_REQUESTS, method, route, str(status))
        self.metrics.observe(definitions.HTTP_REQUEST_SECONDS, seconds, kind)
        if kind is RequestKind.INGEST:
            self.metrics.count(definitions.INGEST_REQUESTS, outcome_of(status))

    def rate_limit_decided(self, route_class: str, *, admitted: bool) -> None:
        decision = "admitted" if admitted else "refused"
        self.metrics.count(definitions.RATE_LIMIT_DECISIONS, route_class, decision)

    def fields_ignored(self, count: int) -> None:
        self.metrics.count(definitions.IGNORED_FIELDS, by=count)

    def otlp_received(self, signal: str, outcome: str, count: int) -> None:
        self.metrics.count(definitions.OTLP_RECEIVED, signal, outcome, by=count)

    def otlp_rejected(self, reason: str, scope: str, count: int) -> None:
        self.metrics.count(definitions.OTLP_REJECTED, reason, scope, by=count)

    def count_late_rejections(self, rejections: Sequence[RecordedRejection]) -> None:
        """Counts those that no request has counted: what they waited for never came."""
        for one in (each.rejection for each in rejections):
            if one.reason in LATE_REASONS:
                self.otlp_rejected(one.reason, family_of(one.scope or ""), one.count)

    def count_limiter_fallback(self) -> None:
        """Counts a decision that the rate limiter made without Redis."""
        self.metrics.count(definitions.RATE_LIMIT_FALLBACKS)

    def count_replica_read(self, outcome: ReadOutcome) -> None:
        self.metrics.count(definitions.REPLICA_READS, outcome)

    # --- batches: adapters/postgres/tracing/writes/group_commit.py ---

    def mark(self) -> object:
        return None if self.spans is None else self.spans.current()

    def settled(self, batch: Batch[Item]) -> None:
        count, observe = self.metrics.count, self.metrics.observe
        count(definitions.INGEST_BATCHES, "stored" if batch.error is None else "failed")
        observe(definitions.BATCH_TRACES, len(batch.items))
        observe(definitions.BATCH_BYTES_STORED, batch.bytes)
        observe(definitions.COMMIT_SECONDS, batch.seconds)
        if batch.error is None:
            count(definitions.STORED_TRACES, by=len(batch.items))
            count(definitions.STORED_SPANS, by=sum(len(trace.spans) for _, trace in batch.items))
        parents: list[Any] = [mark for mark in batch.marks if mark is not None]
        if self.spans is not None and parents:
            self.spans.record(
                "group commit",
                "internal",
                batch.seconds,
                {"pandaprobe.traces": len(batch.items), "pandaprobe.bytes": batch.bytes},
                above=parents,
                has_failed=batch.error is not None,
            )

    # --- judges: application/evaluation/judging/judge_client.py ---

    def record_judge_call(self, entry: LedgerEntry) -> None:
        call = entry.call
        outcome = "answered" if call.code is None else call.code.value
        seconds, use = call.latency_ms / 1_000, call.use
        self.metrics.count(definitions.JUDGE_CALLS, call.provider, outcome)
        self.metrics.observe(definitions.JUDGE_SECONDS, seconds, call.provider)
        # Cached tokens are part of the input, and reasoning tokens are part of the output.
        tokens = {
            "input": use.input - use.cache_read,
            "cached_input": use.cache_read,
            "output": use.output - use.reasoning,
            "reasoning": use.reasoning,
        }
        for kind, number in tokens.items():
            if number > 0:
                self.metrics.count(definitions.JUDGE_TOKENS, call.provider, kind, by=number)
        if entry.usd:
            self.metrics.count(definitions.JUDGE_COST, call.provider, by=float(entry.usd))
        if self.spans is not None:
            attributes = {
                "gen_ai.provider.name": call.provider,
                "gen_ai.response.model": call.model,
                "pandaprobe.metric": entry.metric,
            }
            failed = call.code is not None
            self.spans.record("ask judge", "client", seconds, attributes, has_failed=failed)

    # --- sent jobs: adapters/dramatiq/jobs.py ---

    def record_sent_job(self, job: Job) -> None:
        """Begins the trace of a run with a link to the request that started it.

        The run of a monitor has no request.
        """
        if self.spans is None or not isinstance(job, PlanRunJob):
            return
        request = self.spans.current()
        if request is not None and request.trace_flags.sampled:
            with self.spans.root(job.run, "start run", _ids_of(job), request):
                pass  # without duration: it links the run's trace to the request's

    # --- workers: entrypoints/worker/worker.py ---

    @contextlib.contextmanager
    def observe_job(self, job: Job) -> Iterator["JobOutcome"]:
        """Observes the job that runs in the block, which sets the outcome."""
        outcome, began, lane = JobOutcome(), time.perf_counter(), queue_of(job).value
        try:
            with self._job_span(job) as span:
                yield outcome
                if span is not None and outcome.value != DONE:
                    span.fail()
        finally:
            self.metrics.count(definitions.WORKER_JOBS, lane, outcome.value)
            self.metrics.observe(definitions.WORKER_JOB_SECONDS, time.perf_counter() - began, lane)

    def count_task_run(self, name: str, outcome: str) -> None:
        self.metrics.count(definitions.WORKER_ROUNDS, name, outcome)

    def _job_span(self, job: Job) -> "contextlib.AbstractContextManager[ActiveSpan | None]":
        """A span in the trace of the run. The trace has the run's id, so no message carries it."""
        if self.spans is None:
            return contextlib.nullcontext()
        name = "plan run" if isinstance(job, PlanRunJob) else "evaluate target"
        attributes = {**_ids_of(job), "pandaprobe.lane": queue_of(job).value}
        return self.spans.root(job.run, name, attributes)


def _ids_of(job: Job) -> dict[str, str]:
    return {"pandaprobe.project_id": str(job.project), "pandaprobe.run_id": str(job.run)}


DONE: Final = "done"
PUT_OFF: Final = "put_off"  # postponed: a worker does it later
BROKEN: Final = "broken"  # by a bug; a worker tries it again


@dataclass(slots=True)
class JobOutcome:
    """The outcome of a job: DONE, PUT_OFF or BROKEN."""

    value: str = PUT_OFF  # also if the job is cancelled


_OUTCOMES: Final = {
    0: "unanswered",
    HTTPStatus.TOO_MANY_REQUESTS: "limited",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded",
}


def outcome_of(status: int) -> str:
    """The outcome of an ingest request by its HTTP status; 0 means no response."""
    outcome = _OUTCOMES.get(status)
    if outcome is not None:
        return outcome
    if status < HTTPStatus.BAD_REQUEST:
        return "accepted"
    return "rejected" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"


def create_registry(settings: Settings, version: str) -> MetricsRegistry:
    """The metrics of this process. Raises SettingsError if their folder can't be used."""
    try:
        folder = None if settings.metrics_dir is None else Path(settings.metrics_dir).absolute()
        return MetricsRegistry(version, folder)
    except ProcessSlotError as error:
        raise SettingsError(f"{variable('metrics_dir')}: {error}") from error


@contextlib.asynccontextmanager
async def observe_process(
    settings: Settings, metrics: MetricsRegistry, process: str
) -> AsyncIterator[Observer]:
    """An observer of this process, `serve` or `worker`. The last spans are exported at the end."""
    endpoint = settings.otel_exporter_otlp_endpoint
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(
            _sampling(lambda: metrics.set(definitions.HEARTBEAT, time.time(), process))
        )
        if endpoint is None:
            yield Observer(metrics)
            return
        from adapters.otlp_spans import OtlpSpans  # noqa: PLC0415 - the extra `otel`

        pairs = (header.partition("=") for header in settings.otel_exporter_otlp_headers)
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
                lambda fate, number: metrics.count(definitions.OTLP_SPANS, fate, by=number),
            )
        )
        yield Observer(metrics, spans)


@dataclass(frozen=True, slots=True)
class Sampled:
    """The connection pools and ingest queues whose gauges are sampled: one of each by group."""

    pools: list[Pool] = field(default_factory=list)
    queues: list[GroupCommit[Item]] = field(default_factory=list)

    @contextlib.contextmanager
    def including(self, pool: Pool, queue: GroupCommit[Item]) -> Iterator[None]:
        self.pools.append(pool)
        self.queues.append(queue)
        try:
            yield
        finally:
            self.pools.remove(pool)
            self.queues.remove(queue)


@contextlib.asynccontextmanager
async def sample_gauges(metrics: MetricsRegistry, sampled: Sampled) -> AsyncIterator[None]:
    """Samples gauges of the connection pools and of the ingest queues while the block runs."""

    def sample() -> None:
        size = sum(pool.get_size() for pool in sampled.pools)
        idle = sum(pool.get_idle_size() for pool in sampled.pools)
        metrics.set(definitions.DATABASE_CONNECTIONS, idle, "idle")
        metrics.set(definitions.DATABASE_CONNECTIONS, size - idle, "used")
        most = sum(pool.get_max_size() for pool in sampled.pools)
        metrics.set(definitions.DATABASE_CONNECTIONS_MAX, most)
        waiting = [queue.waiting for queue in sampled.queues]
        metrics.set(definitions.QUEUED_TRACES, sum(items for items, _ in waiting))
        metrics.set(definitions.QUEUED_BYTES, sum(bytes_ for _, bytes_ in waiting))

    with _sampling(sample):
        yield


@contextlib.contextmanager
def _sampling(sample: Callable[[], None]) -> Iterator[None]:
    """Calls `sample` every SAMPLE_EVERY_S while the block runs."""

    async def repeat() -> None:
        while True:
            sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
