"""`doctor` names each problem with advice, and fails if something doesn't work."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from adapters.embedded.process import free_port
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.server_info import ServerInfo
from adapters.postgres.database.server_info import fetch_server_info as postgres_server
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkers
from adapters.redis.client import opened, parse_info
from application.clock import utc_now
from application.workers import WORKER_TIMEOUT, Worker
from domain.ids import ProjectId
from entrypoints.cli import doctor
from entrypoints.cli.doctor import (
    CLIENT_VARIABLES,
    CLOCK_FAIL,
    CLOCK_WARN,
    Finding,
    Level,
    check_clock,
    check_connections,
    check_counters,
    check_database,
    check_disk,
    check_postgres_server,
    check_redis,
    check_secrets,
    check_settings,
    check_sign_in,
    check_workers,
    describe_ingestion_limit,
)
from entrypoints.cli.main import main
from entrypoints.settings import Settings
from tests.support.fixtures.evaluation import evaluation
from tests.support.fixtures.evaluation.evaluation import a_run, work_of

SAFE = Settings(
    database_url="postgresql://u:p@postgres:5432/d", redis_url="redis://:secret@valkey:6379/0"
)


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.level.value for finding in findings}


# --- sign-in ---------------------------------------------------------------------------------


async def test_service_where_no_one_can_sign_in_is_a_warning():
    [finding] = await check_sign_in(SAFE)
    assert (finding.name, finding.level) == ("sign-in", Level.WARN)
    assert "can't sign in" in finding.detail
    assert "organization create --key" in finding.advice
    assert levels(await check_sign_in(Settings(auth_dev_issuer=True))) == {"sign-in": "ok"}


@pytest.mark.parametrize("client", [None, "pandaprobe"])
async def test_provider_without_a_client_is_a_warning(client):
    settings = Settings(
        auth_issuer="http://127.0.0.1:9",
        auth_audience=("x",),
        auth_hs256_secret="s" * 32,
        auth_client_id=client,
        public_url="http://127.0.0.1:8000/p/",
    )
    _, browsers = await check_sign_in(settings)
    assert browsers.level is (Level.WARN if client is None else Level.OK)
    if client is not None:
        assert "http://127.0.0.1:8000/p/session/callback" in browsers.detail


# --- settings --------------------------------------------------------------------------------


def test_each_invalid_setting_is_a_failed_line(capsys):
    assert main(["doctor"], {"PANDAPROBE_PORT": "many", "PANDAPROBE_LOG_FORMAT": "xml"}) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [
        ["fail", "settings:", "PANDAPROBE_PORT"],
        ["fail", "settings:", "PANDAPROBE_LOG_FORMAT"],
    ]
    assert (lines[2:], err) == (["2 failed, 0 warnings."], "")


def test_json_has_the_same_findings(capsys, tmp_path):
    assert main(["doctor", "--json"], {"PANDAPROBE_PORT": "many"}) == 1
    output = json.loads(capsys.readouterr().out)
    assert (output["ok"], [finding["level"] for finding in output["findings"]]) == (False, ["fail"])
    assert main(["doctor", "--json"], {"PANDAPROBE_DATA_DIR": str(tmp_path)}) == 1
    output = json.loads(capsys.readouterr().out)
    assert set(output["findings"][0]) == {"level", "name", "detail", "advice"}
    wrong = [finding for finding in output["findings"] if finding["level"] == "fail"]
    assert [finding["name"] for finding in wrong] == ["postgres", "redis"]
    assert all("PANDAPROBE_DATA_DIR" in finding["advice"] for finding in wrong)


KEYS = tuple(f"{name}:{'A' * 43}" for name in ("new", "old"))


@pytest.mark.parametrize(
    ("keys", "counts", "level", "said"),
    [
        (KEYS, {}, "ok", "0 stored"),
        (KEYS, {"new": 3}, "ok", "3 stored, encrypted with new"),
        (KEYS, {"new": 3, "old": 1}, "warn", "new"),
        (KEYS, {"lost": 2, "new": 1}, "fail", "PANDAPROBE_SECRET_KEYS lacks lost"),
        ((), {}, "warn", "PANDAPROBE_SECRET_KEYS isn't set"),
        ((), {"new": 1}, "fail", "PANDAPROBE_SECRET_KEYS lacks new"),
    ],
)
def test_keys_of_stored_secrets_are_checked(keys, counts, level, said):
    found = check_secrets(Settings(secret_keys=keys), counts)
    assert (found.level.value, said in (found.detail or "")) == (level, True)
    assert found.advice or level == "ok"


def test_variables_of_files_with_secrets_are_known():
    [found] = check_settings(Settings(), {"PANDAPROBE_REDIS_URL_FILE": "/run/secrets/redis"})
    assert found.level is Level.OK


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "100/minute for each key; PANDAPROBE_RATE_LIMIT_INGEST changes it"),
        ({"rate_limit_enabled": False}, "none; PANDAPROBE_RATE_LIMIT_ENABLED changes it"),
    ],
)
def test_limit_of_ingestion_is_shown(limits, said):
    assert describe_ingestion_limit(Settings(**limits)).detail == said


def test_safe_settings_pass():
    assert list(check_settings(SAFE, {"PANDAPROBE_HOST": "::", "HOME": "/"})) == [
        Finding(Level.OK, "settings")
    ]


def test_unknown_variables_warn_and_client_variables_do_not():
    environ = dict.fromkeys([*CLIENT_VARIABLES, "PANDAPROBE_DATABSE_URL", "PANDAPROBE_XYZ"], "x")
    similar, unknown = check_settings(SAFE, environ)
    assert similar.level is Level.WARN
    assert str(similar).endswith("— did you mean PANDAPROBE_DATABASE_URL?")
    assert "PANDAPROBE_XYZ is not a setting" in str(unknown)


UNSAFE: dict[str, Any] = {
    "rate_limit_enabled": False,
    "allowed_origins": ("https://a.example", "*"),
    "trusted_proxies": ("10.0.0.0/8", "::/0"),
    "alert_allow_private_targets": True,
    "eval_mask": "off",
    "database_url": "postgresql://u:p@db.example.com/d?sslmode=prefer",
    "redis_url": "redis://:p@cache.example.com",
}


@pytest.mark.parametrize("field", UNSAFE)
def test_unsafe_settings_warn_in_deployments_only(field):
    safe_urls = {"database_url": SAFE.database_url, "redis_url": SAFE.redis_url}
    unsafe = safe_urls | {field: UNSAFE[field]}
    findings = {
        env: list(check_settings(Settings(**unsafe, app_env=env), {}))
        for env in ("production", "staging", "development")
    }
    for env in ("production", "staging"):
        [found] = findings[env]
        assert (found.level, found.advice is not None) == (Level.WARN, True)
        assert f"PANDAPROBE_{field.upper()}" in str(found)
        assert ":p@" not in str(found)
    assert levels(findings["development"]) == {"settings": "ok"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db.example.com/d?sslmode=verify-full",
        "postgresql://u@10.1.2.3/d",
        "postgresql://u@db.internal/d",
        "postgresql:///d?host=/run/postgresql",
    ],
)
def test_private_or_encrypted_database_passes(url):
    settings = Settings(database_url=url, redis_url="rediss://:p@cache.example.com")
    assert levels(list(check_settings(settings, {}))) == {"settings": "ok"}


def test_redis_without_password_warns_unless_local():
    [found] = check_settings(Settings(redis_url="redis://valkey:6379"), {})
    assert "no password" in str(found)
    [found] = check_settings(Settings(redis_url="redis://127.0.0.1:6379"), {})
    assert found.level is Level.OK


def test_exporting_spans_to_this_server_warns():
    settings = Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:8000/otel")
    [found] = check_settings(settings, {})
    assert (found.level, found.advice) == (Level.WARN, "set the address of a collector")


# --- folders, and what is missing ------------------------------------------------------------


def test_missing_server_urls_fail_by_name(tmp_path, capsys):
    assert main(["doctor"], {"PANDAPROBE_DATA_DIR": str(tmp_path / "data")}) == 1
    output = capsys.readouterr().out
    assert "fail  postgres: PANDAPROBE_DATABASE_URL isn't set" in output
    assert "fail  redis: PANDAPROBE_REDIS_URL isn't set" in output
    assert "ok    data folder" in output
    assert output.splitlines()[-1].startswith("2 failed, ")


@pytest.mark.parametrize("field", ["data_dir", "metrics_dir"])
def test_folder_that_is_a_file_fails(tmp_path, capsys, field):
    (tmp_path / "file").write_text("")
    assert doctor.examine(Settings(**{field: str(tmp_path / "file")})) == 1
    assert "file: is not a folder" in capsys.readouterr().out


# --- clocks, versions ------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("off", "level"),
    [
        (CLOCK_WARN - timedelta(microseconds=1), Level.OK),
        (CLOCK_WARN, Level.WARN),
        (CLOCK_FAIL - timedelta(microseconds=1), Level.WARN),
        (CLOCK_FAIL, Level.FAIL),
    ],
)
def test_clock_offset_warns_then_fails_in_both_directions(off, level, sign):
    within = timedelta(milliseconds=300)
    found = check_clock(sign * (off + within), within)
    assert found.level is level
    assert ("ahead of" in str(found)) == (sign == 1)


def test_clock_offset_within_the_measurement_error_passes():
    assert check_clock(timedelta(seconds=40), timedelta(seconds=40)).level is Level.OK


SERVER = ServerInfo(
    version="15.4",
    is_new_enough=False,
    bytes=1 << 30,
    bypasses_policies=False,
    connections=97,
    ahead=timedelta(),
    ahead_within=timedelta(),
    folder=None,
)


def test_role_that_passes_every_policy_is_a_warning():
    findings = list(check_postgres_server(replace(SERVER, bypasses_policies=True), None))
    [warning] = [one for one in findings if one.level is Level.WARN]
    assert "row-level security" in str(warning)
    assert "docs/operation/operations.md" in str(warning)


@pytest.mark.parametrize(("admitted", "level"), [(39, Level.WARN), (40, Level.OK)])
def test_more_connections_than_are_admitted_is_a_warning(admitted, level):
    settings = Settings(api_processes=3, database_pool_size=10)
    finding = check_connections(settings, admitted)
    assert (finding.level, "up to 40" in str(finding)) == (level, True)
    assert ("PANDAPROBE_DATABASE_POOL_SIZE" in str(finding)) == (level is Level.WARN)


def test_unsupported_postgres_version_fails():
    finding, _ = check_postgres_server(SERVER, "127.0.0.1")
    assert (
        str(finding)
        == "fail  postgres: PostgreSQL 15.4, 1.0 GiB — PostgreSQL 16 or newer is needed"
    )


def test_database_disk_is_checked_only_if_local(tmp_path):
    here = replace(SERVER, folder=tmp_path)
    assert "disk of postgres" in levels(list(check_postgres_server(here, "127.0.0.1")))
    assert "disk of postgres" not in levels(list(check_postgres_server(here, "db.internal")))
    away = replace(SERVER, folder=Path("/nowhere/pg"))
    assert "disk of postgres" not in levels(list(check_postgres_server(away, "localhost")))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc as a full disk")
def test_full_disk_fails():
    assert check_disk("disk", Path("/proc")) == Finding(
        Level.FAIL, "disk", "0.0 GiB free", "free some space"
    )


# --- Redis -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "failures", "warnings"),
    [
        ({}, 0, 0),
        ({"maxmemory": 100, "used_memory": 90, "maxmemory_policy": "noeviction"}, 0, 0),
        ({"maxmemory": 100, "used_memory": 91, "maxmemory_policy": "noeviction"}, 0, 1),
        ({"maxmemory": 0, "used_memory": 91, "maxmemory_policy": "allkeys-lru"}, 0, 0),
        ({"maxmemory": 100, "used_memory": 9, "maxmemory_policy": "allkeys-lru"}, 0, 1),
        ({"rdb_last_bgsave_status": "err"}, 0, 1),
        ({"aof_last_write_status": "err"}, 1, 0),
        ({"role": "slave"}, 1, 0),
        ({"loading": 1}, 1, 0),
    ],
)
def test_redis_info_is_classified(info, failures, warnings):
    server = parse_info({"redis_version": "7.2.4", **info})
    assert (len(server.failures), len(server.warnings)) == (failures, warnings)
    assert server.version == "7.2.4"


async def test_unreachable_redis_fails_without_showing_its_password():
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    [found] = await check_redis(Settings(redis_url=url))
    assert (found.level, "secret" in str(found)) == (Level.FAIL, False)
    assert "PANDAPROBE_REDIS_URL" in str(found)


@pytest.mark.service
async def test_redis_with_an_eviction_policy_warns(redis_url):
    settings = Settings(redis_url=redis_url)
    assert levels(await check_redis(settings)) == {"redis": "ok"}
    async with opened(redis_url) as client:
        before = await client.config_get("maxmemory*")
        await client.config_set("maxmemory", "1gb")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            [found] = await check_redis(settings)
        finally:
            for name in ("maxmemory", "maxmemory-policy"):
                await client.config_set(name, before[name])
    assert (found.level, found.advice) == (Level.WARN, "set maxmemory-policy noeviction")


# --- PostgreSQL ------------------------------------------------------------------------------


async def test_unreachable_database_fails_without_showing_its_password():
    port = free_port()
    url = f"postgresql://u:secret@127.0.0.1:{port}/d"
    [found] = [finding async for finding in check_database(Settings(database_url=url))]
    assert (found.level, "secret" in str(found)) == (Level.FAIL, False)
    assert f"127.0.0.1:{port}" in str(found)


@pytest.mark.service
async def test_pending_migrations_fail_and_skip_later_checks(postgres_url):
    name = f"doctor_{uuid.uuid4().hex}"
    administrator = await asyncpg.connect(postgres_url)
    await administrator.execute(f"CREATE DATABASE {name}")
    settings = Settings(database_url=urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}")))
    found = levels([finding async for finding in check_database(settings)])
    await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await administrator.close()
    assert found["postgres"] == found["clock"] == "ok"
    assert found["migrations"] == "fail"
    assert not {"queue", "workers"} & set(found)


@pytest.mark.service
async def test_postgres_server_info_is_read(pool: Pool):
    server = await postgres_server(pool)
    assert server.is_new_enough
    assert abs(server.ahead) < CLOCK_WARN  # the clock of this machine
    assert server.folder is not None
    assert server.bytes > 0
    assert server.connections > 0


@pytest.mark.service
async def test_limits_of_role_and_database_are_read(pool: Pool, postgres_url: str):
    name = await pool.fetchval("SELECT current_database()")
    owner = await asyncpg.connect(postgres_url)
    try:
        await owner.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 41')
        assert (await postgres_server(pool)).connections == 41
    finally:
        await owner.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')
        await owner.close()


@pytest.fixture
async def idle(pool: Pool) -> Pool:
    """A database without runs, jobs and workers."""
    for table in ("workers", "eval_jobs", "eval_runs"):
        await pool.execute(f"DELETE FROM {table}")
    return pool


@pytest.mark.service
async def test_missing_worker_warns_and_lost_worker_fails(
    idle: Pool,
):
    none = await check_workers(Settings(), idle)
    assert levels(none) == {"queue": "ok", "workers": "warn"}
    worker = Worker(id=uuid.uuid4(), version="1", started_at=utc_now())
    await PostgresWorkers(idle).record_heartbeat(worker, utc_now() - WORKER_TIMEOUT)
    assert levels(await check_workers(Settings(), idle)) == {"queue": "ok", "workers": "fail"}
    await PostgresWorkers(idle).record_heartbeat(worker, utc_now())
    assert levels(await check_workers(Settings(), idle)) == {"queue": "ok", "workers": "ok"}
    await PostgresWorkers(idle).remove(worker)
    assert levels(await check_workers(Settings(), idle)) == {"queue": "ok", "workers": "warn"}


@pytest.mark.service
async def test_waiting_run_without_workers_fails(idle: Pool):
    run = a_run(ProjectId(uuid.uuid4()))
    async with evaluation.over_postgres(idle) as evaluating:
        await evaluating.runs.create(run, work_of(run))
        await idle.execute("UPDATE eval_runs SET created_at = now() - interval '2 minutes'")
        assert levels(await check_workers(Settings(), idle)) == {"queue": "ok", "workers": "fail"}
        hasty = Settings(ready_max_queue_age_seconds=100)
        found = await check_workers(hasty, idle)
        await evaluating.runs.delete(run.project_id, run.id, utc_now(), with_scores=True)
    assert levels(found) == {"queue": "fail", "workers": "fail"}
    assert "no worker has been seen" in str(found[0])


@pytest.mark.service
@pytest.mark.parametrize(("traces", "level"), [(0, Level.OK), (1, Level.WARN)])
async def test_counters_of_some_projects_are_compared_with_their_rows(pool: Pool, traces, level):
    last = uuid.UUID(int=2**128 - 1 - traces)
    insert = "INSERT INTO trace_hours VALUES ($1, '2026-01-01', $2, 0, 0, 0)"
    await pool.execute(insert, last, traces)
    found = await check_counters(pool, [pool], uuid.UUID(int=last.int - 1), 1)
    assert (found.level, str(last) in found.detail) == (level, level is Level.WARN)
    found = await check_counters(pool, [pool], uuid.UUID(int=2**128 - 1), 1)
    assert "0 projects" not in found.detail  # after the last project come the first ones


@pytest.mark.service
async def test_read_only_database_fails(pool: Pool, postgres_url):
    url = f"{postgres_url}?options=-cdefault_transaction_read_only%3Don"
    found = levels([finding async for finding in check_database(Settings(database_url=url))])
    assert found["postgres writes"] == "fail"
