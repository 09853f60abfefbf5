"""The composition root: connects every port with its adapter."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs
from redis.asyncio import Redis

from adapters.caching.identity_cache import (
    CachedApiKeys,
    CachedProjects,
    CacheInvalidatingAdministration,
)
from adapters.caching.key_usage_buffer import KeyUsageBuffer
from adapters.caching.refusal_buffer import RefusalBuffer
from adapters.dramatiq.jobs import DramatiqJobs
from adapters.memory.jobs import OwnJobs
from adapters.memory.rate_limiter import MemoryRateLimiter, monotonic_us
from adapters.memory.token_buckets import MemoryTokenBuckets
from adapters.postgres.database.idempotency import PostgresIdempotencyStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers, PostgresWorkloads
from adapters.postgres.health import MigrationsHealthCheck, PostgresHealthCheck
from adapters.postgres.identity.administration import PostgresAdministration
from adapters.postgres.identity.browser_sessions import (
    PostgresBrowserSessions,
    PostgresSignInAttempts,
)
from adapters.postgres.identity.directory import PostgresDirectory
from adapters.postgres.identity.identity import (
    PostgresApiKeys,
    PostgresOrganizations,
    PostgresProjects,
    PostgresUsers,
)
from adapters.postgres.identity.object_index import PostgresObjectIndex
from adapters.postgres.identity.project_activity import PostgresProjectActivities
from adapters.postgres.identity.project_purge import PostgresRemovedProjects
from adapters.postgres.identity.refusals import PostgresRefusals
from adapters.postgres.privacy.erasures import PostgresErasures
from adapters.postgres.privacy.retention import PostgresExpiredTraces
from adapters.postgres.sharing.trace_links import PostgresTraceLinks
from adapters.postgres.tracing.edits import TraceEdits
from adapters.postgres.tracing.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.traces import PostgresTraces
from adapters.redis.client import RedisHealthCheck
from adapters.redis.client import opened as redis_opened
from adapters.redis.limits import RedisRateLimiter, RedisSlidingWindows
from adapters.redis.token_buckets import RedisTokenBuckets, SharedTokenBuckets
from application.health import QueueHealthCheck
from application.identity.audit_chain import VerifyAuditLog
from application.identity.ports import Directory, KeyUsage, RefusalLog
from application.identity.use_cases import IdentityPorts
from application.jobs import Job, JobQueue, Jobs
from application.privacy.use_cases import PrivacyPorts
from application.sharing.use_cases import SharingPorts
from application.tracing.otlp.remap import RemapTraces
from application.tracing.ports import PriceBook
from application.use_cases import Ports, utc_now
from domain.identity.browser_session import SessionLifetime
from domain.identity.caller import SignInRules
from entrypoints.composition.database import open_database
from entrypoints.composition.evaluation import evaluation_ports, open_judge
from entrypoints.composition.exports import export_ports
from entrypoints.composition.otlp_rules import fragment_rules
from entrypoints.composition.pricing import price_book, pricing_ports
from entrypoints.composition.read_replica import open_replica
from entrypoints.composition.sign_in import SignIn, open_sign_in
from entrypoints.composition.tracing import tracing_ports
from entrypoints.observability.observer import Observer, sample_gauges
from entrypoints.settings import Settings

type RunJob = Callable[[Job], Coroutine[Any, Any, None]]

REMAPPING_CONNECTIONS: Final = 2

if TYPE_CHECKING:
    from adapters.dramatiq.worker_pool import WorkerPool


@asynccontextmanager
async def audit_logs(settings: Settings) -> AsyncIterator[tuple[Directory, VerifyAuditLog]]:
    """What reads the audit logs of all organizations, and what checks one."""
    async with open_database(structs.replace(settings, database_pool_size=1)) as pool:
        directory = PostgresDirectory(pool)
        yield directory, VerifyAuditLog(directory)


@asynccontextmanager
async def remapping(settings: Settings) -> AsyncIterator[RemapTraces]:
    """What applies the current mapping to stored OpenTelemetry fragments."""
    async with (
        open_database(structs.replace(settings, database_pool_size=REMAPPING_CONNECTIONS)) as pool,
        PostgresTraces.open(pool, price_book(settings)) as traces,
        PostgresOtlpTraces.open(traces.edits, fragment_rules()) as otlp,
    ):
        yield RemapTraces(otlp)


@asynccontextmanager
async def ports(
    settings: Settings,
    fallback_jobs: Jobs | None = None,
    observer: Observer | None = None,
    prices: PriceBook | None = None,
) -> AsyncIterator[Ports]:
    """Fills every port while the block runs. At its end, accepted data is written.

    Jobs that can't be sent to Redis go to `fallback_jobs`. `observer` records what the ports do.
    Raises SettingsError, Unavailable.
    """
    ttl_s = settings.api_key_cache_seconds
    async with AsyncExitStack() as stack:
        sign_in = await stack.enter_async_context(open_sign_in(settings))
        pool = await stack.enter_async_context(open_database(settings))
        redis = await stack.enter_async_context(redis_opened(settings.redis_url or ""))
        book = prices or price_book(settings)
        keys = CachedApiKeys(PostgresApiKeys(pool), utc_now, ttl_s)
        projects = CachedProjects(PostgresProjects(pool), utc_now, ttl_s)
        traces = await stack.enter_async_context(
            PostgresTraces.open(pool, book, projects.invalidate, observer)
        )
        on_rejections = None if observer is None else observer.count_late_rejections
        tracing = await stack.enter_async_context(
            tracing_ports(settings, pool, traces, projects.invalidate, on_rejections=on_rejections)
        )
        uses = await stack.enter_async_context(KeyUsageBuffer.flushing_to(keys))
        refused = await stack.enter_async_context(RefusalBuffer.flushing_to(PostgresRefusals(pool)))
        on_job = None if observer is None else observer.record_sent_job
        jobs = DramatiqJobs(redis, monotonic_us, fallback_jobs, on_job)
        judge = await stack.enter_async_context(open_judge(settings))
        evaluation = evaluation_ports(settings, pool, jobs, book, judge)
        stack.push_async_callback(evaluation.leader_election.close)
        workers = PostgresWorkers(pool)
        limiter, token_buckets = _limiters(redis, observer)
        if observer is not None:
            judging = replace(evaluation.judging, on_entry=observer.record_judge_call)
            evaluation = replace(evaluation, judging=judging)
            await stack.enter_async_context(sample_gauges(observer.metrics, pool, traces.line))
        age_max = timedelta(seconds=settings.ready_max_queue_age_seconds)
        on_main = Ports(
            tracing=tracing,
            identity=identity_ports(
                settings,
                pool,
                sign_in=sign_in,
                keys=keys,
                projects=projects,
                key_usage=uses,
                refusal_log=refused,
            ),
            evaluation=evaluation,
            pricing=pricing_ports(pool, book, traces.edits),
            exporting=await stack.enter_async_context(export_ports(settings, pool)),
            privacy=privacy_ports(traces.edits),
            sharing=SharingPorts(trace_links=PostgresTraceLinks(pool)),
            limiter=limiter,
            token_buckets=token_buckets,
            idempotency=PostgresIdempotencyStore(pool),
            workers=workers,
            workloads=PostgresWorkloads(pool),
            idempotency_ttl=timedelta(hours=settings.idempotency_ttl_hours),
            health_checks={
                "postgres": PostgresHealthCheck(pool),
                "redis": RedisHealthCheck(redis),
                "migrations": MigrationsHealthCheck(pool),
                "queue": QueueHealthCheck(evaluation.work_queue, workers, utc_now, age_max),
            },
        )
        on_read = None if observer is None else observer.count_replica_read
        opened = await stack.enter_async_context(open_replica(settings, pool, on_read))
        yield on_main if opened is None else opened.serving(on_main)


def _limiters(
    redis: Redis, observer: Observer | None
) -> tuple[RedisRateLimiter, RedisTokenBuckets]:
    limiter = RedisRateLimiter(
        RedisSlidingWindows(redis), MemoryRateLimiter(monotonic_us), monotonic_us
    )
    token_buckets = RedisTokenBuckets(
        SharedTokenBuckets(redis), MemoryTokenBuckets(monotonic_us), monotonic_us
    )
    if observer is not None:
        limiter.on_fallback = token_buckets.on_fallback = observer.count_limiter_fallback
    return limiter, token_buckets


def identity_ports(
    settings: Settings,
    pool: Pool,
    *,
    sign_in: SignIn,
    keys: CachedApiKeys,
    projects: CachedProjects,
    key_usage: KeyUsage,
    refusal_log: RefusalLog,
) -> IdentityPorts:
    return IdentityPorts(
        keys=keys,
        key_usage=key_usage,
        tokens=sign_in.tokens,
        users=PostgresUsers(pool),
        projects=projects,
        organizations=PostgresOrganizations(pool),
        directory=PostgresDirectory(pool),
        objects=PostgresObjectIndex(pool),
        activities=PostgresProjectActivities(pool),
        administration=CacheInvalidatingAdministration(
            PostgresAdministration(pool), keys, projects
        ),
        removed_projects=PostgresRemovedProjects(pool),
        refusals=PostgresRefusals(pool),
        refusal_log=refusal_log,
        browser_sessions=PostgresBrowserSessions(pool),
        sign_in_attempts=PostgresSignInAttempts(pool),
        sign_in_provider=sign_in.provider,
        session_lifetime=SessionLifetime(
            idle=timedelta(hours=settings.session_hours),
            total=timedelta(days=settings.session_max_days),
        ),
        owned_organizations_max=settings.max_owned_organizations or None,
        projects_max=settings.max_projects_per_organization,
        active_keys_max=settings.max_keys_per_organization,
        sign_in_rules=SignInRules(
            email_domains=frozenset(
                domain.lower() for domain in settings.auth_allowed_email_domains
            ),
            allows_sign_up=settings.auth_sign_up,
        ),
    )


def privacy_ports(edits: TraceEdits) -> PrivacyPorts:
    return PrivacyPorts(expired=PostgresExpiredTraces(edits), erasures=PostgresErasures(edits))


def own_jobs() -> OwnJobs:
    """Jobs that this process runs itself, without Redis."""
    return OwnJobs()


def create_worker_pool(
    settings: Settings, concurrency: Mapping[JobQueue, int], run_job: RunJob
) -> "WorkerPool":
    """The threads of a worker, which run the jobs from Redis on this event loop."""
    from adapters.dramatiq.worker_pool import WorkerPool  # noqa: PLC0415 - only workers need Dramatiq

    return WorkerPool(settings.redis_url or "", concurrency, run_job)
