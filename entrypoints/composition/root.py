"""The composition root: the one module that knows which adapter stands behind which port."""

import logging
import tomllib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from adapters.caching.identity_cache import (
    RememberedAdministration,
    RememberedApiKeys,
    RememberedProjects,
)
from adapters.caching.key_usage_buffer import KeyUsageBuffer
from adapters.dramatiq.jobs import DramatiqJobs
from adapters.hash_embedder import HashEmbedder
from adapters.memory.jobs import OwnJobs
from adapters.memory.rate_limiter import MemoryRateLimiter, monotonic_us
from adapters.postgres.database.idempotency import PostgresIdempotencyStore
from adapters.postgres.database.leader_election import PostgresLeaderElection
from adapters.postgres.database.pool import Pool, PoolSettings, open_pool
from adapters.postgres.evaluation.custom_metrics.custom_metrics import PostgresCustomMetrics
from adapters.postgres.evaluation.monitors.change_feed import PostgresChangeFeed
from adapters.postgres.evaluation.monitors.monitors import PostgresMonitors
from adapters.postgres.evaluation.runs.runs import PostgresRuns
from adapters.postgres.evaluation.runs.targets import PostgresTargets
from adapters.postgres.evaluation.scores.agreement import PostgresHumanLabels
from adapters.postgres.evaluation.scores.score_analytics import PostgresScoreAnalytics
from adapters.postgres.evaluation.scores.scores import PostgresSessionScores, PostgresTraceScores
from adapters.postgres.evaluation.work_queue.work_queue import PostgresWorkQueue
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers, PostgresWorkloads
from adapters.postgres.health import MigrationsHealthCheck, PostgresHealthCheck
from adapters.postgres.identity.administration import PostgresAdministration
from adapters.postgres.identity.directory import PostgresDirectory
from adapters.postgres.identity.identity import (
    PostgresApiKeys,
    PostgresOrganizations,
    PostgresProjects,
    PostgresUsers,
)
from adapters.postgres.identity.project_purge import PostgresRemovedProjects
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema.pending import pending_migrations as schema_pending
from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from adapters.postgres.tracing.sessions import PostgresSessions
from adapters.postgres.tracing.traces import PostgresTraces
from adapters.re2_patterns import Re2Engine
from adapters.redis.client import RedisHealthCheck
from adapters.redis.client import opened as redis_opened
from adapters.redis.limits import RedisRateLimiter, RedisWindows
from application.evaluation.ports.evaluation import Judge
from application.evaluation.runs.queue_health import QueueHealthCheck
from application.evaluation.use_cases import EvaluationPorts
from application.jobs import Job, JobQueue, Jobs
from application.tracing.ports import PriceBook
from application.use_cases import Ports, utc_now
from domain.errors import Failure
from domain.evaluation.monitors.monitor import Monitor
from domain.ids import ScoreId
from entrypoints.composition.alerts import alert_ports
from entrypoints.composition.exports import export_ports
from entrypoints.composition.judges import (
    evaluation_policy,
    judge_models,
    judge_providers,
    judging_ports,
    opened_judge,
)
from entrypoints.composition.pricing import price_book, pricing_ports
from entrypoints.composition.privacy import privacy_ports
from entrypoints.composition.sign_in import tokens
from entrypoints.observability.observer import Observer, sampled
from entrypoints.settings import Settings

type Do = Callable[[Job], Coroutine[Any, Any, None]]

MIGRATING_CONNECTIONS: Final = 3  # one holds the turn while others look and change

if TYPE_CHECKING:
    from adapters.dramatiq.worker_pool import Crew

_log: Final = logging.getLogger(__name__)


def product_version() -> str:
    try:
        return version("pandaprobe-server")
    except PackageNotFoundError:  # run from a folder that was never installed, as in an image
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
        return str(project["project"]["version"])


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Pool]:
    """The connections of this process. Raises Unavailable where there is no database."""
    async with open_pool(
        DB,
        PoolSettings(
            url=settings.database_url or "",
            size=settings.database_pool_size,
            statement_timeout_ms=settings.database_statement_timeout_ms,
        ),
    ) as pool:
        yield pool


async def migrate(settings: Settings) -> list[str]:
    """Brings the database to the newest schema; the migrations that were run, in order."""
    from adapters.postgres.schema import migrating  # noqa: PLC0415 - loads much that serving never needs

    roomy = structs.replace(
        settings, database_pool_size=max(settings.database_pool_size, MIGRATING_CONNECTIONS)
    )
    async with database(roomy) as pool:
        return await migrating.migrate(pool)


async def pending(settings: Settings) -> list[str]:
    """The migrations that the database lacks, in order."""
    async with database(settings) as pool:
        return await schema_pending(pool)


@asynccontextmanager
async def ports(
    settings: Settings,
    prices: PriceBook | None = None,
    otherwise: Jobs | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[Ports]:
    """Every port filled, for as long as the block is open. Leaving it writes what was accepted.

    Jobs that Redis can't be told are told `otherwise`; `observer` sees what they do. Raises
    SettingsError, Unavailable.
    """
    seconds = settings.api_key_cache_seconds
    async with AsyncExitStack() as stack:
        believed = await stack.enter_async_context(tokens(settings))
        pool = await stack.enter_async_context(database(settings))
        redis = await stack.enter_async_context(redis_opened(settings.redis_url or ""))
        book = prices or price_book(settings)
        keys = RememberedApiKeys(PostgresApiKeys(pool), utc_now, seconds)
        projects = RememberedProjects(PostgresProjects(pool), utc_now, seconds)
        traces = await stack.enter_async_context(
            PostgresTraces.open(pool, book, projects.forget, observer)
        )
        uses = await stack.enter_async_context(KeyUsageBuffer.over(keys))
        on_job = None if observer is None else observer.sending
        jobs = DramatiqJobs(redis, monotonic_us, otherwise, on_job)
        judge = await stack.enter_async_context(opened_judge(settings))
        evaluation = evaluation_ports(settings, pool, jobs, book, judge)
        stack.push_async_callback(evaluation.leader_election.close)
        workers = PostgresWorkers(pool)
        limiter = RedisRateLimiter(
            RedisWindows(redis), MemoryRateLimiter(monotonic_us), monotonic_us
        )
        if observer is not None:
            limiter.on_fallback = observer.unshared
            judging = replace(evaluation.judging, on_entry=observer.entered)
            evaluation = replace(evaluation, judging=judging)
            await stack.enter_async_context(sampled(observer.figures, pool, traces.line))
        age_max = timedelta(seconds=settings.ready_max_queue_age_seconds)
        yield Ports(
            traces=traces,
            sessions=PostgresSessions(pool, traces.edits),
            analytics=PostgresTraceAnalytics(pool),
            pricing=pricing_ports(pool, book, traces.edits),
            evaluation=evaluation,
            exports=await stack.enter_async_context(export_ports(settings, pool)),
            privacy=privacy_ports(traces.edits),
            keys=keys,
            key_usage=uses,
            projects=projects,
            users=PostgresUsers(pool),
            organizations=PostgresOrganizations(pool),
            directory=PostgresDirectory(pool),
            administration=RememberedAdministration(PostgresAdministration(pool), keys, projects),
            removed_projects=PostgresRemovedProjects(pool),
            tokens=believed,
            limiter=limiter,
            idempotency=PostgresIdempotencyStore(pool),
            workers=workers,
            workloads=PostgresWorkloads(pool),
            idempotency_ttl=timedelta(hours=settings.idempotency_ttl_hours),
            owned_organizations_max=settings.max_owned_organizations or None,
            health_checks={
                "postgres": PostgresHealthCheck(pool),
                "redis": RedisHealthCheck(redis),
                "migrations": MigrationsHealthCheck(pool),
                "queue": QueueHealthCheck(evaluation.work_queue, workers, utc_now, age_max),
            },
        )


def evaluation_ports(
    settings: Settings, pool: Pool, jobs: Jobs, prices: PriceBook, judge: Judge
) -> EvaluationPorts:
    return EvaluationPorts(
        trace_scores=PostgresTraceScores(pool),
        session_scores=PostgresSessionScores(pool),
        score_analytics=PostgresScoreAnalytics(pool),
        labels=PostgresHumanLabels(pool),
        runs=PostgresRuns(pool),
        work_queue=PostgresWorkQueue(pool),
        targets=PostgresTargets(pool),
        monitors=PostgresMonitors(pool),
        changed=PostgresChangeFeed(pool),
        leader_election=PostgresLeaderElection(settings.database_url or ""),
        alerting=alert_ports(settings, pool),
        custom_metrics=PostgresCustomMetrics(pool),
        regex=Re2Engine(),
        jobs=jobs,
        judge=judge,
        judging=judging_ports(settings, pool, prices),
        embedder=HashEmbedder(),
        models=judge_models(settings),
        providers=judge_providers(settings),
        on_fault=_tell_fault,
        on_monitor_fault=_tell_monitor_fault,
        policy=evaluation_policy(settings),
    )


def _tell_fault(score: ScoreId, fault: Exception) -> None:
    _log.error("a score failed, by a fault of ours", exc_info=fault, extra={"score_id": str(score)})


def _tell_monitor_fault(monitor: Monitor, fault: Exception) -> None:
    named = {"project_id": str(monitor.project_id), "monitor_id": str(monitor.id)}
    if isinstance(fault, Failure):
        _log.warning("a monitor fires later: %s", fault.message, extra=named)
    else:
        _log.error("a monitor fires later, by a fault of ours", exc_info=fault, extra=named)


def workers_ports(
    settings: Settings, otherwise: Jobs, observer: Observer
) -> AbstractAsyncContextManager[Ports]:
    return ports(settings, otherwise=otherwise, observer=observer)


def own_jobs() -> OwnJobs:
    """Jobs that a process does itself."""
    return OwnJobs()


def crew(settings: Settings, hands: Mapping[JobQueue, int], do: Do) -> "Crew":
    """The threads of a worker: they have the jobs that Redis tells of done on this loop."""
    from adapters.dramatiq.worker_pool import Crew  # noqa: PLC0415 - only workers need Dramatiq itself

    return Crew(settings.redis_url or "", hands, do)
