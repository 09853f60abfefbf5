"""What `doctor` says of PostgreSQL and of Redis, and of the work that is in them."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from adapters.postgres.database.pool import Pool
from adapters.postgres.database.server_info import ServerInfo
from adapters.postgres.database.server_info import fetch_server_info as postgres_server
from adapters.postgres.evaluation.work_queue.work_queue import PostgresWorkQueue
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers
from adapters.postgres.health import MigrationsHealthCheck, PostgresHealthCheck
from adapters.redis.client import opened
from adapters.redis.server import server as redis_server
from application.evaluation.runs.queue_health import QueueHealthCheck
from application.ports import HealthStatus
from application.use_cases import utc_now
from application.workers import WORKER_TIMEOUT
from domain.errors import Failure
from entrypoints.cli.doctor_findings import Finding, fail, ok, warn
from entrypoints.composition import root
from entrypoints.settings import Settings, variable

CLOCK_WARN: Final = timedelta(seconds=1)
CLOCK_FAIL: Final = timedelta(seconds=30)  # leases and tokens hold out no longer
ASK_TIMEOUT_S: Final = 5.0
FREE_MIN_BYTES: Final = 1 << 30  # less than that is gone in an afternoon of tracing
GIB: Final = 1 << 30
HERE: Final = ("127.0.0.1", "localhost", "::1")


async def database_found(settings: Settings) -> AsyncIterator[Finding]:
    """What there is to say of the database that the settings name."""
    try:
        async with root.database(settings) as pool:
            async for found in _in_database(settings, pool):
                yield found
    except Failure as failure:
        place = urlsplit(settings.database_url or "")
        yield fail(
            "postgres",
            f"{failure.message} ({place.hostname or 'localhost'}:{place.port or 5432})",
            f"does it run, and is {variable('database_url')} right?",
        )


async def _in_database(settings: Settings, pool: Pool) -> AsyncIterator[Finding]:
    server = await postgres_server(pool)
    for found in server_found(server, urlsplit(settings.database_url or "").hostname):
        yield found
    state = await PostgresHealthCheck(pool).check()
    if not state.ok:
        yield _of("postgres writes", state, "name its primary, or see its log")
    state = await MigrationsHealthCheck(pool).check()
    yield _of("migrations", state, None)
    if not state.ok:
        return  # what follows asks tables that may be missing
    for found in await work_found(settings, pool):
        yield found


def server_found(server: ServerInfo, host: str | None) -> Iterator[Finding]:
    size = f"PostgreSQL {server.version}, {server.bytes / GIB:.1f} GiB"
    if server.is_new_enough:
        yield ok("postgres", size)
    else:
        yield fail("postgres", size, "PostgreSQL 16 or newer is needed")
    yield clock_found(server.ahead, server.ahead_within)
    if server.folder is not None and host in HERE and server.folder.exists():
        yield disk_found("disk of postgres", server.folder)


def clock_found(ahead: timedelta, within: timedelta) -> Finding:
    off = max(abs(ahead) - within, timedelta())
    said = f"{abs(ahead).total_seconds():.3f} s {'ahead of' if ahead > timedelta() else 'behind'}"
    detail, advice = f"the database's is {said} ours", "let both machines set theirs by NTP"
    if off >= CLOCK_FAIL:
        return fail("clock", detail, advice)
    return warn("clock", detail, advice) if off >= CLOCK_WARN else ok("clock", detail)


def disk_found(name: str, folder: Path) -> Finding:
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / GIB:.1f} GiB free"
    return ok(name, detail) if free >= FREE_MIN_BYTES else fail(name, detail, "make room")


async def work_found(settings: Settings, pool: Pool) -> list[Finding]:
    """What waits, and who there is to do it. Raises Unavailable."""
    work_queue, workers = PostgresWorkQueue(pool), PostgresWorkers(pool)
    age_max = timedelta(seconds=settings.ready_max_queue_age_seconds)
    state = await QueueHealthCheck(work_queue, workers, utc_now, age_max).check()
    now = utc_now()
    worker_status = await workers.status(now)
    waiting = await work_queue.oldest_wait(now)
    queue = _of("queue", state, "see the logs of workers, or start more")
    advice = "start `pandaprobe-server worker`"
    said = worker_status.problem(now)
    if said is None:
        return [queue, ok("workers", f"{worker_status.alive} at work")]
    if waiting is not None and waiting > WORKER_TIMEOUT:
        return [queue, fail("workers", f"{said}, and work waits", advice)]
    if worker_status.last_seen_at is not None:  # who ends in order isn't remembered
        return [queue, fail("workers", f"{said}, and it didn't end in order", advice)]
    return [queue, warn("workers", said, advice)]


async def redis_found(settings: Settings) -> list[Finding]:
    """What there is to say of the Redis that the settings name."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S), opened(settings.redis_url or "") as client:
            server = await redis_server(client)
    except (RedisError, OSError, TimeoutError) as error:
        place = urlsplit(settings.redis_url or "")
        detail = f"no answer from {place.hostname}:{place.port or 6379} ({type(error).__name__})"
        return [fail("redis", detail, f"does it run, and is {variable('redis_url')} right?")]
    found = [fail("redis", *one) for one in server.broken]
    found += [warn("redis", *one) for one in server.doubtful]
    return found or [ok("redis", f"version {server.version}")]


def _of(name: str, state: HealthStatus, advice: str | None) -> Finding:
    if state.ok:
        return ok(name, state.detail)
    return fail(name, state.detail or "it doesn't work", advice)
