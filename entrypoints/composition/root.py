"""The composition root: connects every port with its adapter."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import structs
from redis.asyncio import Redis

from adapters.caching.identity_cache import (
    CachedApiKeys,
    CachedProjects,
)
from adapters.caching.key_usage_buffer import KeyUsageBuffer
from adapters.caching.refusal_buffer import RefusalBuffer
from adapters.dramatiq.jobs import DramatiqJobs
from adapters.memory.jobs import OwnJobs
from adapters.memory.rate_limiter import MemoryRateLimiter, monotonic_us
from adapters.memory.token_buckets import MemoryTokenBuckets
from adapters.postgres.database.idempotency import PostgresIdempotencyStore
from adapters.postgres.database.leader_election import PostgresLeaderElection
from adapters.postgres.database.pool import Engine, Pool, open_pool
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers, PostgresWorkloads
from adapters.postgres.health import MigrationsHealthCheck, PostgresHealthCheck
from adapters.postgres.identity.directory import PostgresDirectory
from adapters.postgres.identity.identity import (
    PostgresApiKeys,
    PostgresProjects,
)
from adapters.postgres.identity.refusals import PostgresRefusals
from adapters.postgres.privacy.erasures import PostgresErasures
from adapters.postgres.privacy.retention import PostgresExpiredTraces
from adapters.postgres.sharing.trace_links import PostgresTraceLinks
from adapters.postgres.tracing.otlp.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.traces import PostgresTraces
from adapters.postgres.tracing.writes.edits import TraceEdits
from adapters.redis.client import RedisHealthCheck
from adapters.redis.client import opened as redis_opened
from adapters.redis.fallback import RedisFallback
from adapters.redis.limits import RedisRateLimiter, RedisSlidingWindows
from adapters.redis.token_buckets import RedisTokenBuckets, SharedTokenBuckets
from application.clock import utc_now
from application.evaluation.judging.adaptive_concurrency import (
    AdaptiveLimiter,
    provider_limiters,
)
from application.evaluation.ports.judging import Judge
from application.evaluation.ports.work_queue import WorkQueue
from application.health import QueueHealthCheck, WorkOfGroups
from application.identity.audit_chain import VerifyAuditLog
from application.identity.ports import Directory, KeyUsage, RefusalLog
from application.jobs import JobQueue, Jobs
from application.privacy.use_cases import PrivacyPorts
from application.sharing.use_cases import SharingPorts
from application.table_groups import PLACEMENT_KNOWN_S
from application.tracing.otlp.remap import RemapTraces
from application.tracing.ports import PriceBook
from application.use_cases import Ports
from entrypoints.composition.database import (
    near_tables,
    open_database,
    open_databases,
    pool_settings,
)
from entrypoints.composition.evaluation import evaluation_ports, open_judge
from entrypoints.composition.exports import export_ports
from entrypoints.composition.identity import identity_ports
from entrypoints.composition.otlp_rules import fragment_rules
from entrypoints.composition.pricing import price_book, pricing_ports
from entrypoints.composition.read_replica import open_replica
from entrypoints.composition.sign_in import SignIn, open_sign_in
from entrypoints.composition.table_groups import OpenedGroups
from entrypoints.composition.tracing import tracing_ports
from entrypoints.observability.observer import Observer, Sampled, sample_gauges
from entrypoints.settings import Settings

REMAPPING_CONNECTIONS: Final = 2

if TYPE_CHECKING:
    from adapters.dramatiq.worker_pool import RunJob, WorkerPool


@asynccontextmanager
async def audit_logs(settings: Settings) -> AsyncIterator[tuple[Directory, VerifyAuditLog]]:
    """What reads the audit logs of all organizations, and what checks one."""
    async with open_database(structs.replace(settings, database_pool_size=1)) as pool:
        directory = PostgresDirectory(pool)
        yield directory, VerifyAuditLog(directory)


async def remapping(settings: Settings) -> AsyncGenerator[RemapTraces]:
    """What applies the current mapping to stored OpenTelemetry fragments, for each group."""
    few = structs.replace(settings, database_pool_size=REMAPPING_CONNECTIONS)
    async with open_databases(few) as pools:
        async for pool in pools:
            async with (
                PostgresTraces.open(pool, price_book(settings)) as traces,
                PostgresOtlpTraces.open(traces.edits, fragment_rules()) as otlp,
            ):
                yield RemapTraces(otlp)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """Shared by the ports of all groups: servers, caches, buffers and limits of the process."""

    settings: Settings
    observer: Observer | None
    sampled: Sampled
    sign_in: SignIn
    book: PriceBook
    keys: CachedApiKeys
    projects: CachedProjects
    key_usage: KeyUsage
    refusal_log: RefusalLog
    jobs: Jobs
    judge: Judge
    judge_limiters: Mapping[str, AdaptiveLimiter]
    target_limiters: Mapping[str, AdaptiveLimiter]
    leader_election: PostgresLeaderElection
    limiter: RedisRateLimiter
    token_buckets: RedisTokenBuckets


@asynccontextmanager
async def ports(
    settings: Settings,
    fallback_jobs: Jobs | None = None,
    observer: Observer | None = None,
    prices: PriceBook | None = None,
    placement_known_s: float = PLACEMENT_KNOWN_S,
) -> AsyncIterator[Ports]:
    """Fills every port while the block runs. At its end, accepted data is written.

    They are those of the first group of organizations; their port `groups` opens those of others.
    Jobs that can't be sent to Redis go to `fallback_jobs`. `observer` records what the ports do.
    Raises SettingsError, Unavailable.
    """
    ttl_s = settings.api_key_cache_seconds
    async with AsyncExitStack() as stack:
        sign_in = await stack.enter_async_context(open_sign_in(settings))
        pool = await stack.enter_async_context(open_database(settings))
        redis = await stack.enter_async_context(redis_opened(settings.redis_url or ""))
        keys = CachedApiKeys(PostgresApiKeys(pool), utc_now, ttl_s)
        uses = await stack.enter_async_context(KeyUsageBuffer.flushing_to(keys))
        refused = await stack.enter_async_context(RefusalBuffer.flushing_to(PostgresRefusals(pool)))
        on_job = None if observer is None else observer.record_sent_job
        leader_election = PostgresLeaderElection(settings.database_url or "")
        stack.push_async_callback(leader_election.close)
        limiter, token_buckets = _limiters(redis, observer)
        sampled = Sampled()
        if observer is not None:
            await stack.enter_async_context(sample_gauges(observer.metrics, sampled))
        shared = _Shared(
            settings=settings,
            observer=observer,
            sampled=sampled,
            sign_in=sign_in,
            book=prices or price_book(settings),
            keys=keys,
            projects=CachedProjects(PostgresProjects(pool), utc_now, ttl_s),
            key_usage=uses,
            refusal_log=refused,
            jobs=DramatiqJobs(redis, monotonic_us, fallback_jobs, on_job),
            judge=await stack.enter_async_context(open_judge(settings)),
            judge_limiters=provider_limiters(settings.eval_judge_concurrency),
            target_limiters=provider_limiters(settings.eval_worker_concurrency),
            leader_election=leader_election,
            limiter=limiter,
            token_buckets=token_buckets,
        )
        first = await stack.enter_async_context(_ports_over(pool, shared))
        groups = await stack.enter_async_context(
            OpenedGroups.until_end(pool, partial(_open_group, shared), placement_known_s)
        )

        async def work_queues() -> list[WorkQueue]:
            opened = [await groups.open(one) or first for one in await groups.all()]
            return [one.evaluation.work_queue for one in opened]

        waiting = WorkOfGroups(work_queues)
        age_max = timedelta(seconds=settings.ready_max_queue_age_seconds)
        on_main = replace(
            first,
            groups=groups,
            health_checks={
                "postgres": PostgresHealthCheck(pool),
                "redis": RedisHealthCheck(redis),
                "migrations": MigrationsHealthCheck(pool),
                "queue": QueueHealthCheck(waiting, first.workers, utc_now, age_max),
            },
        )
        on_read = None if observer is None else observer.count_replica_read
        opened = await stack.enter_async_context(open_replica(settings, pool, on_read))
        yield on_main if opened is None else opened.serving(on_main)


@asynccontextmanager
async def _open_group(shared: _Shared, path: str) -> AsyncIterator[Ports]:
    """The ports over the tables of another group than the first, on connections with its `path`."""
    async with (
        open_pool(Engine({}), pool_settings(shared.settings, path)) as pool,
        _ports_over(pool, shared, path) as ports,
    ):
        yield ports


@asynccontextmanager
async def _ports_over(pool: Pool, shared: _Shared, path: str | None = None) -> AsyncIterator[Ports]:
    """The ports over the tables of one group. Without health checks, and without other groups."""
    settings, observer, book = shared.settings, shared.observer, shared.book
    invalidate = shared.projects.invalidate
    on_rejections = None if observer is None else observer.count_late_rejections
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(near_tables(settings, pool, path))
        traces = await stack.enter_async_context(
            PostgresTraces.open(near, book, invalidate, observer)
        )
        stack.enter_context(shared.sampled.including(near, traces.line))
        tracing = await stack.enter_async_context(
            tracing_ports(settings, near, traces, invalidate, on_rejections=on_rejections)
        )
        evaluation = replace(
            evaluation_ports(
                settings,
                pool,
                shared.jobs,
                book,
                shared.judge,
                near=None if near is pool else near,
            ),
            judge_limiters=shared.judge_limiters,
            target_limiters=shared.target_limiters,
            leader_election=shared.leader_election,
        )
        if observer is not None:
            judging = replace(evaluation.judging, on_entry=observer.record_judge_call)
            evaluation = replace(evaluation, judging=judging)
        yield Ports(
            tracing=tracing,
            identity=identity_ports(
                settings,
                pool,
                sign_in=shared.sign_in,
                keys=shared.keys,
                projects=shared.projects.over(PostgresProjects(pool)),
                key_usage=shared.key_usage,
                refusal_log=shared.refusal_log,
            ),
            evaluation=evaluation,
            pricing=pricing_ports(pool, book, traces.edits),
            exporting=await stack.enter_async_context(export_ports(settings, pool, path)),
            privacy=privacy_ports(traces.edits),
            sharing=SharingPorts(trace_links=PostgresTraceLinks(pool)),
            limiter=shared.limiter,
            token_buckets=shared.token_buckets,
            idempotency=PostgresIdempotencyStore(pool),
            workers=PostgresWorkers(pool),
            workloads=PostgresWorkloads(pool),
            idempotency_ttl=timedelta(hours=settings.idempotency_ttl_hours),
            health_checks={},
        )


def _limiters(
    redis: Redis, observer: Observer | None
) -> tuple[RedisRateLimiter, RedisTokenBuckets]:
    def fallback() -> RedisFallback:
        if observer is None:
            return RedisFallback(monotonic_us)
        return RedisFallback(monotonic_us, observer.count_limiter_fallback)

    return (
        RedisRateLimiter(RedisSlidingWindows(redis), MemoryRateLimiter(monotonic_us), fallback()),
        RedisTokenBuckets(SharedTokenBuckets(redis), MemoryTokenBuckets(monotonic_us), fallback()),
    )


def privacy_ports(edits: TraceEdits) -> PrivacyPorts:
    return PrivacyPorts(expired=PostgresExpiredTraces(edits), erasures=PostgresErasures(edits))


def own_jobs() -> OwnJobs:
    """Jobs that this process runs itself, without Redis."""
    return OwnJobs()


def create_worker_pool(
    settings: Settings, concurrency: Mapping[JobQueue, int], run_job: "RunJob"
) -> "WorkerPool":
    """The threads of a worker, which run the jobs from Redis on this event loop."""
    from adapters.dramatiq.worker_pool import WorkerPool  # noqa: PLC0415 - only workers need Dramatiq

    return WorkerPool(settings.redis_url or "", concurrency, run_job)
