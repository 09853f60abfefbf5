"""`doctor`: checks the settings, folders, sign-in, servers and workers of this installation."""

import asyncio
import difflib
import ipaddress
import json
import logging
import os
import shutil
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from redis.exceptions import RedisError

from adapters.oidc.issuer_urls import is_private
from adapters.postgres.database.connections.host_urls import single_host_urls
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.secret_rotation import count_secrets_by_key
from adapters.postgres.database.server_info import ServerInfo, fetch_server_info
from adapters.postgres.database.table_groups import PostgresTableGroups
from adapters.postgres.evaluation.work_queue.work_queue import PostgresWorkQueue
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers
from adapters.postgres.health import CLOCKS_APART_MAX, MigrationsHealthCheck, PostgresHealthCheck
from adapters.postgres.schema.fitness import check_schema
from adapters.postgres.tracing.rollups.counter_check import (
    is_moving,
    list_projects_from,
    wrong_counters,
)
from adapters.redis.client import opened, read_server_info
from adapters.redis_failures import redis_failure
from application.clock import utc_now
from application.evaluation.ports.work_queue import WorkQueue
from application.health import QueueHealthCheck, WorkOfGroups
from application.ports import HealthStatus
from application.workers import WORKER_TIMEOUT
from domain.errors import Conflict, Failure, Invalid, Unavailable
from domain.wording import counted
from entrypoints.composition.database import open_database, open_group, route_problem
from entrypoints.composition.evaluation import judge_models
from entrypoints.composition.identity_provider import identity_provider
from entrypoints.composition.payload_store import payload_store
from entrypoints.composition.read_replica import open_replica
from entrypoints.composition.sign_in import NO_SIGN_IN, redirect_uri, sign_in_state
from entrypoints.settings import (
    DEPLOYED,
    PREFIX,
    SECRET,
    Settings,
    file_variable,
    variable,
)
from entrypoints.startup import base_url, print_line

SETTINGS: Final = "settings"
CLOCK_WARN: Final = timedelta(seconds=1)
CLOCK_FAIL: Final = CLOCKS_APART_MAX
REDIS_TIMEOUT_S: Final = 5.0
GROUP_TIMEOUT_S: Final = 5.0
GIB: Final = 1 << 30
STORAGE_ERROR_MAX: Final = 300  # characters of what a storage says
FREE_MIN_BYTES: Final = GIB  # an afternoon of tracing fills less than that
COUNTED_PROJECTS: Final = 20  # of a group, others each time
COUNTERS_TIMEOUT_S: Final = 10.0
LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
ENCRYPTED_SSL_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})
# Variables with our prefix that SDKs and the client's command line read.
CLIENT_VARIABLES: Final = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("API_KEY", "PROJECT_NAME", "ENDPOINT", "ENVIRONMENT", "RELEASE", "ENABLED", "DEBUG"),
        *("TIMEOUT", "BATCH_SIZE", "FLUSH_INTERVAL", "MAX_QUEUE_SIZE", "AUTH_URL", "BASE_URL"),
        *("FORMAT", "CONFIG", "VERSION", "INSTALL_DIR"),
    )
)
# Variables of dev.env and of the Compose file.
OTHER_VARIABLES: Final = frozenset({f"{PREFIX}TOKEN", f"{PREFIX}PUBLISHED_PORT"})


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # it works, but the operator should know
    FAIL = "fail"  # it doesn't work, or soon won't


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `advice` says what to do about it."""

    level: Level
    name: str
    detail: str | None = None
    advice: str | None = None

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.level:<5} {self.name}{detail}{f' — {self.advice}' if self.advice else ''}"


ok: Final = partial(Finding, Level.OK)
warn: Final = partial(Finding, Level.WARN)
fail: Final = partial(Finding, Level.FAIL)


def examine(
    settings: Settings, environ: Mapping[str, str] | None = None, *, as_json: bool = False
) -> int:
    """Prints a line for each finding, or one JSON object. Returns 1 if a check failed, else 0.

    Whatever a checked part logs, its finding says.
    """
    # Without any handler, Python writes warnings to the standard error.
    logging.basicConfig(handlers=[logging.NullHandler()])
    return asyncio.run(_report(_run_checks(settings, environ or {}), as_json=as_json))


def report_invalid_settings(problems: str, *, as_json: bool = False) -> int:
    """Prints each problem of settings that can't be used, in the format of `examine`."""

    async def findings() -> AsyncIterator[Finding]:
        for line in problems.splitlines():
            yield fail(SETTINGS, line)

    return asyncio.run(_report(findings(), as_json=as_json))


async def _report(checks: AsyncIterator[Finding], *, as_json: bool) -> int:
    """Prints each finding once it is known, and then the counts. Returns the exit status."""
    findings = []
    async for finding in checks:
        findings.append(finding)
        if not as_json:
            print_line(str(finding))
    count = Counter(finding.level for finding in findings)
    if as_json:
        report = {"ok": not count[Level.FAIL], "findings": [asdict(one) for one in findings]}
        print_line(json.dumps(report, indent=2))
    elif count[Level.FAIL] or count[Level.WARN]:
        warnings = count[Level.WARN]
        print_line(f"{count[Level.FAIL]} failed, {counted(warnings, 'warning')}.")
    return 1 if count[Level.FAIL] else 0


async def _run_checks(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    for finding in check_settings(settings, environ):
        yield finding
    yield describe_ingestion_limit(settings)
    folder = Path(settings.data_dir)
    yield _check_folder("data folder", folder)
    yield check_disk(f"disk of {folder}", folder)
    if settings.metrics_dir is not None:
        yield _check_folder("metrics folder", Path(settings.metrics_dir))
    for finding in await check_sign_in(settings):
        yield finding
    yield check_judge(settings)
    for finding in await check_bucket(settings):
        yield finding
    if settings.database_url:
        async for finding in check_database(settings):
            yield finding
    else:
        yield _missing_server("postgres", "database_url", folder)
    if settings.redis_url:
        for finding in await check_redis(settings):
            yield finding
    else:
        yield _missing_server("redis", "redis_url", folder)


async def check_sign_in(settings: Settings) -> list[Finding]:
    """Whether people can sign in, and whether browsers can with the identity provider."""
    provider = identity_provider(settings)
    if provider is None and not settings.auth_dev_issuer:
        advice = (
            f"set {variable('auth_issuer')} and {variable('auth_client_id')}, see "
            "docs/access/sign-in.md; or create a key with "
            "`pandaprobe-server organization create --key`"
        )
        return [warn("sign-in", NO_SIGN_IN, advice)]
    state = await sign_in_state(settings)
    found = [_from_state("sign-in", state, "see docs/access/sign-in.md", "users can't sign in")]
    if provider is not None:
        url = redirect_uri(settings)
        found.append(
            ok("sign-in of browsers", f"allow the redirect URI {url} at the provider")
            if provider.client_id is not None
            else warn(
                "sign-in of browsers",
                "with a pasted token or a key only",
                f"set {variable('auth_client_id')} and {variable('public_url')}",
            )
        )
    return found


def check_judge(settings: Settings) -> Finding:
    """Whether the model that judges by default has a provider; it isn't asked."""
    models = judge_models(settings)
    try:
        models.check_available(models.default)
    except Invalid as error:
        reason = f"runs that name no model are refused: {error.errors[0].message}"
        return fail("judge", reason, f"or set {variable('eval_llm_model')} to another model")
    return ok("judge", models.default)


def _missing_server(name: str, field: str, folder: Path) -> Finding:
    detail = f"{variable(field)} isn't set, and no `pandaprobe-server dev` runs on {folder}"
    return fail(name, detail, "set it, or PANDAPROBE_DATA_DIR to the data folder of `dev`")


def _check_folder(name: str, folder: Path) -> Finding:
    name = f"{name} {folder}"
    if not folder.exists():
        return ok(name, "doesn't exist yet; it is created when it is needed")
    if not folder.is_dir():
        return fail(name, "is not a folder", "set another one")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        owner = folder.stat().st_uid
        return fail(name, f"belongs to user {owner}, and you can't write to it", "change its owner")
    return ok(name)


def check_disk(name: str, folder: Path) -> Finding:
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    free = shutil.disk_usage(existing).free
    detail = f"{free / GIB:.1f} GiB free"
    return ok(name, detail) if free >= FREE_MIN_BYTES else fail(name, detail, "free some space")


# --- settings --------------------------------------------------------------------------------


def check_settings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Finds unknown variables and unsafe values. `settings` were read from `environ`."""
    findings = [*_unknown_variables(environ), *_exports_to_itself(settings)]
    if settings.app_env in DEPLOYED:
        findings += [*_unsafe_access(settings), *_unencrypted_servers(settings)]
    yield from findings or [ok(SETTINGS)]


def describe_ingestion_limit(settings: Settings) -> Finding:
    rate, field = "none", "rate_limit_enabled"
    if settings.rate_limit_enabled:
        rate, field = f"{settings.rate_limit_ingest} for each key", "rate_limit_ingest"
    return ok("rate limit of ingestion", f"{rate}; {variable(field)} changes it")


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    settings = {variable(field) for field in Settings.__struct_fields__}
    settings |= set(map(file_variable, SECRET))
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in settings | CLIENT_VARIABLES | OTHER_VARIABLES:
            similar = difflib.get_close_matches(name, settings, 1, cutoff=0.8)
            advice = (
                f"did you mean {similar[0]}?"
                if similar
                else "docs/operation/settings.md lists them all"
            )
            yield warn(SETTINGS, f"{name} is not a setting, and is ignored", advice)


def _exports_to_itself(settings: Settings) -> Iterator[Finding]:
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is not None and endpoint.rstrip("/").startswith(base_url(settings)):
        yield warn(
            SETTINGS,
            f"{variable('otel_exporter_otlp_endpoint')} is the address of this server itself",
            "set the address of a collector",
        )


def _unsafe_access(settings: Settings) -> Iterator[Finding]:
    """Settings that give access to more callers or data than intended."""
    if not settings.rate_limit_enabled:
        yield _unsafe("rate_limit_enabled", "no caller is limited", "unset it")
    if "*" in settings.allowed_origins:
        reason = "pages of any site may call the API from their visitors' browsers"
        yield _unsafe("allowed_origins", reason, "list the origins")
    proxies = (ipaddress.ip_network(text, strict=False) for text in settings.trusted_proxies)
    if any(network.prefixlen == 0 for network in proxies):
        reason = "any client can fake its address"
        yield _unsafe("trusted_proxies", reason, "list the proxies")
    if settings.alert_allow_private_targets:
        reason = "webhooks of tenants can reach your private network"
        yield _unsafe("alert_allow_private_targets", reason, "unset it")
    if settings.eval_mask == "off":
        reason = "secrets in traces are sent to judges"
        yield _unsafe("eval_mask", reason, "unset it")


def _unencrypted_servers(settings: Settings) -> Iterator[Finding]:
    """Remote servers whose connections aren't encrypted, or that need no password."""
    for field in ("database_url", "database_read_url"):
        for database in map(urlsplit, single_host_urls(getattr(settings, field) or "")):
            modes = set(parse_qs(database.query).get("sslmode", []))
            if _is_public(database.hostname) and not modes & ENCRYPTED_SSL_MODES:
                reason = f"the connection to {database.hostname} may be unencrypted"
                yield _unsafe(field, reason, "add ?sslmode=verify-full, or require")
    redis = urlsplit(settings.redis_url or "")
    if _is_public(redis.hostname) and redis.scheme != "rediss":
        reason = f"the connection to {redis.hostname} is unencrypted"
        yield _unsafe("redis_url", reason, "use rediss://")
    if redis.hostname not in {None, *LOCAL_HOSTS} and not redis.password:
        reason = "it has no password, so any client that reaches Redis can send jobs to workers"
        yield _unsafe("redis_url", reason, "set a password")


def _is_public(host: str | None) -> bool:
    return bool(host) and not is_private(host or "")


def _unsafe(field: str, reason: str, advice: str) -> Finding:
    return warn(SETTINGS, f"{variable(field)}: {reason}", advice)


# --- servers ---------------------------------------------------------------------------------


async def check_bucket(settings: Settings) -> list[Finding]:
    """Checks the bucket of payloads, if there is one."""
    store = payload_store(settings)
    if store is None:
        return []
    try:
        await store.list_keys("", utc_now())
    except Unavailable as error:
        cause = error.__cause__
        said = str(cause).partition("\n")[0][:STORAGE_ERROR_MAX] or type(cause).__name__
        detail = f"{settings.payload_bucket} can't be listed: {said}"
        names = [variable(one) for one in ("payload_bucket", "s3_endpoint", "s3_access_key_id")]
        return [fail("payload bucket", detail, f"are {', '.join(names)} correct?")]
    return [ok("payload bucket", f"{settings.payload_bucket} can be listed")]


async def _migrations_state(pool: Pool) -> HealthStatus:
    state = await MigrationsHealthCheck(pool).check()
    if not state.ok:
        return state
    try:
        await check_schema(pool)
    except Conflict as other:
        return HealthStatus(ok=False, detail=other.message)
    return HealthStatus(ok=True)


async def check_database(settings: Settings) -> AsyncIterator[Finding]:
    """Checks PostgreSQL, the schema, the queue and the workers."""
    addresses = list(map(urlsplit, single_host_urls(settings.database_url or "")))
    # With several hosts, which of them answers isn't known: its disk isn't checked.
    host = addresses[0].hostname if len(addresses) == 1 else None
    try:
        async with open_database(settings) as pool:
            server = await fetch_server_info(pool)
            for finding in check_postgres_server(server, host):
                yield finding
            yield check_connections(settings, server.connections)
            state = await PostgresHealthCheck(pool).check()
            if not state.ok:
                yield _from_state("postgres writes", state, "use its primary, or see its log")
            state = await _migrations_state(pool)
            yield _from_state("migrations", state, None)
            if state.ok:  # otherwise the tables of these checks may be missing
                async with AsyncExitStack() as stack:
                    groups = await open_groups(settings, pool, stack)
                    for finding in check_groups(groups):
                        yield finding
                    pools = [one.pool for one in groups if one.pool is not None]
                    for finding in await check_routes(settings, groups):
                        yield finding
                    for finding in await check_workers(settings, pool, pools):
                        yield finding
                    counts = Counter[str]()
                    for one in pools:
                        counts.update(await count_secrets_by_key(one))
                    yield check_secrets(settings, counts)
                    yield await check_counters(pool, pools, uuid.uuid4())
                for finding in await check_replica(settings, pool, len(groups)):
                    yield finding
    except Failure as failure:
        yield fail("postgres", failure.message, f"see {variable('database_url')}")


@dataclass(frozen=True, slots=True)
class Group:
    """A group of organizations: its pool if its tables answer, otherwise the `problem`."""

    number: int
    pool: Pool | None = None
    problem: str | None = None


async def open_groups(settings: Settings, first: Pool, stack: AsyncExitStack) -> list[Group]:
    """All groups, the first one first. The pools are closed with the stack. Raises Unavailable."""
    groups = []
    for number in await PostgresTableGroups(first).all():
        try:
            async with asyncio.timeout(GROUP_TIMEOUT_S):
                pool = await stack.enter_async_context(open_group(settings, first, number))
                await PostgresWorkQueue(pool).count_dead()  # a table of projects
            groups.append(Group(number, pool))
        except Unavailable as error:
            groups.append(Group(number, problem=error.message))
        except TimeoutError:
            groups.append(Group(number, problem=f"no answer within {GROUP_TIMEOUT_S} s"))
    return groups


def check_groups(groups: Sequence[Group]) -> Iterator[Finding]:
    """Whether the tables of each group answer. Nothing is said of a single one that does."""
    for group in groups:
        if group.problem is not None:
            name, advice = (
                f"table group {group.number}",
                "see docs/operation/scaling.md, Several databases",
            )
            yield fail(name, f"its organizations get 503: {group.problem}", advice)
    answering = sum(group.problem is None for group in groups)
    if len(groups) > 1 and answering:
        yield ok("table groups", f"{answering} of {len(groups)} answer")


async def check_routes(settings: Settings, groups: Sequence[Group]) -> list[Finding]:
    """Whether traces of each group that answers are reached on its worker, if they shall be."""
    if not settings.database_direct_to_workers:
        return []
    findings = [
        await _check_route(settings, one.number, one.pool) for one in groups if one.pool is not None
    ]
    return [one for one in findings if one is not None] or [
        ok("direct to workers", "each group is reached on its worker")
    ]


async def _check_route(settings: Settings, number: int, pool: Pool) -> Finding | None:
    """None if the worker answers."""
    try:
        async with asyncio.timeout(GROUP_TIMEOUT_S):
            problem = await route_problem(settings, pool)
    except Unavailable as error:
        problem = error.message
    except TimeoutError:
        problem = f"no answer within {GROUP_TIMEOUT_S} s"
    if problem is None:
        return None
    return warn(
        f"table group {number}",
        f"its traces are reached through the coordinator: {problem}",
        "see docs/operation/scaling.md, Without the coordinator",
    )


async def check_replica(settings: Settings, main: Pool, groups: int = 1) -> list[Finding]:
    """Checks the standby that serves reads, if there is one. `groups` is how many there are."""
    async with open_replica(settings, main) as opened:
        if opened is None:
            return []
        await opened.replica.check()
        problem = opened.replica.problem
    if problem is None and groups > 1:
        detail = "it serves reads of organizations of group 1 alone"
        return [warn("read replica", detail, f"unset {variable('database_read_url')}")]
    if problem is None:
        return [ok("read replica", "it has all that the main database has")]
    advice = (
        "until then the main database serves its reads: see docs/operation/scaling.md, "
        "Read replicas"
    )
    return [warn("read replica", problem.message, advice)]


def check_secrets(settings: Settings, counts: Mapping[str, int]) -> Finding:
    """Checks the keys of stored secrets. `counts` says how many secrets each key encrypts."""
    key_ids = [key.partition(":")[0] for key in settings.secret_keys]
    missing = sorted(counts.keys() - set(key_ids))
    if missing:
        detail = f"{variable('secret_keys')} lacks {', '.join(missing)}"
        number = sum(counts[key_id] for key_id in missing)
        return fail("secrets", f"{detail}, which encrypted {number}", "add it from your key store")
    if not key_ids:
        detail = f"{variable('secret_keys')} isn't set, so webhooks can't be created"
        return warn("secrets", detail, "`pandaprobe-server secrets generate-key` prints a key")
    if counts.keys() - {key_ids[0]}:
        detail = f"not all are encrypted with the first key, {key_ids[0]}"
        return warn("secrets", detail, "run `pandaprobe-server secrets rotate`")
    return ok("secrets", f"{sum(counts.values())} stored, encrypted with {key_ids[0]}")


async def check_counters(
    pool: Pool, groups: Sequence[Pool], start: uuid.UUID, projects_max: int = COUNTED_PROJECTS
) -> Finding:
    """Compares counters with rows, of some projects of each group; `pool` is the first group's."""
    if await is_moving(pool):
        return ok("counters", "not compared while an organization moves")
    wrong, checked = list[str](), 0
    with suppress(TimeoutError):  # the rest isn't compared this time
        async with asyncio.timeout(COUNTERS_TIMEOUT_S):
            for group in groups:
                for project in await list_projects_from(group, start, projects_max):
                    differing = await wrong_counters(group, project)
                    wrong += [f"{one} (project {project})" for one in differing]
                    checked += 1
    if not wrong:
        return ok("counters", f"compared with the rows of {counted(checked, 'project')}")
    detail = f"totals are wrong, since {len(wrong)} differ from their rows, as {wrong[0]}"
    return warn("counters", detail, "report this line: it is a fault of the server")


def check_postgres_server(server: ServerInfo, host: str | None) -> Iterator[Finding]:
    detail = f"PostgreSQL {server.version}, {server.bytes / GIB:.1f} GiB"
    if server.is_new_enough:
        yield ok("postgres", detail)
    else:
        yield fail("postgres", detail, "PostgreSQL 16 or newer is needed")
    if server.bypasses_policies:
        yield warn(
            "row-level security",
            "the database's role is a superuser, or has BYPASSRLS: no policy binds it",
            "give serve and worker a role that owns nothing: see docs/operation/operations.md, "
            "Roles",
        )
    yield check_clock(server.ahead, server.ahead_within)
    if server.folder is not None and host in LOCAL_HOSTS and server.folder.exists():
        yield check_disk("disk of postgres", server.folder)


def check_connections(settings: Settings, admitted: int) -> Finding:
    """Compares what one `serve` and one `worker` of these settings open with what is admitted."""
    processes = settings.api_processes + settings.eval_worker_processes
    needed = settings.database_pool_size * processes
    detail = f"one serve and one worker open up to {needed}, and PostgreSQL admits {admitted}"
    if needed <= admitted:
        return ok("connections", detail)
    advice = f"raise max_connections, lower {variable('database_pool_size')}, or use PgBouncer"
    return warn("connections", detail, advice)


def check_clock(ahead: timedelta, within: timedelta) -> Finding:
    """Compares the database's clock with ours. `within` is the error of the measurement."""
    offset = max(abs(ahead) - within, timedelta())
    direction = "ahead of" if ahead > timedelta() else "behind"
    detail = f"the database's clock is {abs(ahead).total_seconds():.3f} s {direction} ours"
    advice = "synchronize both machines by NTP"
    if offset >= CLOCK_FAIL:
        return fail("clock", detail, advice)
    return warn("clock", detail, advice) if offset >= CLOCK_WARN else ok("clock", detail)


async def check_workers(
    settings: Settings, pool: Pool, answering: Sequence[Pool] = ()
) -> list[Finding]:
    """Checks the age of the queues, and whether workers are alive. Raises Unavailable.

    `answering` are the pools of the groups of organizations that answer; `pool` is that of the
    first, whose queue is asked if there are none.
    """

    async def queues() -> list[WorkQueue]:
        return [PostgresWorkQueue(one) for one in answering or (pool,)]

    work_queue, workers = WorkOfGroups(queues), PostgresWorkers(pool)
    age_max = timedelta(seconds=settings.ready_max_queue_age_seconds)
    state = await QueueHealthCheck(work_queue, workers, utc_now, age_max).check()
    now = utc_now()
    worker_status = await workers.status(now)
    waiting = await work_queue.oldest_wait(now)
    queue = _from_state("queue", state, "see the logs of workers, or start more")
    advice = "start `pandaprobe-server worker`"
    problem = worker_status.problem(now)
    if problem is None:
        return [queue, ok("workers", f"{worker_status.alive} running")]
    if waiting is not None and waiting > WORKER_TIMEOUT:
        return [queue, fail("workers", f"{problem}, and jobs are waiting", advice)]
    if worker_status.last_seen_at is not None:  # a worker that stops normally removes its heartbeat
        return [queue, fail("workers", f"{problem}, and it didn't stop normally", advice)]
    return [queue, warn("workers", problem, advice)]


async def check_redis(settings: Settings) -> list[Finding]:
    """Checks the Redis of the settings."""
    try:
        async with asyncio.timeout(REDIS_TIMEOUT_S), opened(settings.redis_url or "") as client:
            server = await read_server_info(client)
    except (RedisError, OSError, TimeoutError) as error:
        address = urlsplit(settings.redis_url or "")
        where = f"{address.hostname}:{address.port or 6379}"
        detail = f"Redis at {where}: {redis_failure(error)}"
        return [fail("redis", detail, f"see {variable('redis_url')}")]
    findings = [fail("redis", *problem) for problem in server.failures]
    findings += [warn("redis", *problem) for problem in server.warnings]
    return findings or [ok("redis", f"version {server.version}")]


def _from_state(
    name: str, state: HealthStatus, advice: str | None, problem: str = "it doesn't work"
) -> Finding:
    return ok(name, state.detail) if state.ok else fail(name, state.detail or problem, advice)
