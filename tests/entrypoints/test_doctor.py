"""`doctor` names what is wrong, says what to do, and fails where something doesn't work."""

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
from adapters.redis.client import opened
from adapters.redis.server import told
from application.use_cases import utc_now
from application.workers import WORKER_TIMEOUT, Worker
from domain.ids import ProjectId
from entrypoints.cli import doctor
from entrypoints.cli.doctor_findings import Finding, Level
from entrypoints.cli.doctor_servers import (
    CLOCK_FAIL,
    CLOCK_WARN,
    clock_found,
    database_found,
    disk_found,
    redis_found,
    server_found,
    work_found,
)
from entrypoints.cli.doctor_settings import FOREIGN, settings_found
from entrypoints.cli.main import main
from entrypoints.settings import Settings
from tests.support.fixtures import evaluation
from tests.support.fixtures.evaluation import a_run, work_of

SAFE = Settings(
    database_url="postgresql://u:p@postgres:5432/d", redis_url="redis://:secret@valkey:6379/0"
)


def levels(found: list[Finding]) -> dict[str, str]:
    return {one.name: one.level.value for one in found}


# --- settings --------------------------------------------------------------------------------


def test_every_wrong_setting_is_a_line_and_it_fails(capsys):
    assert main(["doctor"], {"PANDAPROBE_PORT": "many", "PANDAPROBE_LOG_FORMAT": "xml"}) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [
        ["fail", "settings:", "PANDAPROBE_PORT"],
        ["fail", "settings:", "PANDAPROBE_LOG_FORMAT"],
    ]
    assert (lines[2:], err) == (["2 failed, 0 to look at."], "")


def test_as_json_it_says_the_same(capsys, tmp_path):
    assert main(["doctor", "--json"], {"PANDAPROBE_PORT": "many"}) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], [one["level"] for one in said["findings"]]) == (False, ["fail"])
    assert main(["doctor", "--json"], {"PANDAPROBE_DATA_DIR": str(tmp_path)}) == 1
    said = json.loads(capsys.readouterr().out)
    assert set(said["findings"][0]) == {"level", "name", "detail", "advice"}
    wrong = [one["name"] for one in said["findings"] if one["level"] == "fail"]
    assert wrong == ["postgres", "redis"]


def test_what_is_safe_is_fine():
    assert list(settings_found(SAFE, {"PANDAPROBE_HOST": "::", "HOME": "/"})) == [
        Finding(Level.OK, "settings")
    ]


def test_names_that_are_no_setting_are_told_and_those_of_clients_are_not():
    environ = dict.fromkeys([*FOREIGN, "PANDAPROBE_DATABSE_URL", "PANDAPROBE_XYZ"], "x")
    near, far = settings_found(SAFE, environ)
    assert near.level is Level.WARN
    assert str(near).endswith("— is PANDAPROBE_DATABASE_URL meant?")
    assert "PANDAPROBE_XYZ is no setting" in str(far)


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
def test_what_is_unsafe_is_told_where_people_work(field):
    kept = {"database_url": SAFE.database_url, "redis_url": SAFE.redis_url}
    told_in = {
        env: list(settings_found(Settings(**kept | {field: UNSAFE[field], "app_env": env}), {}))
        for env in ("production", "staging", "development")
    }
    for env in ("production", "staging"):
        [found] = told_in[env]
        assert (found.level, found.advice is not None) == (Level.WARN, True)
        assert f"PANDAPROBE_{field.upper()}" in str(found)
        assert ":p@" not in str(found)
    assert levels(told_in["development"]) == {"settings": "ok"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db.example.com/d?sslmode=verify-full",
        "postgresql://u@10.1.2.3/d",
        "postgresql://u@db.internal/d",
        "postgresql:///d?host=/run/postgresql",
    ],
)
def test_a_database_nearby_or_over_tls_is_safe(url):
    settings = Settings(database_url=url, redis_url="rediss://:p@cache.example.com")
    assert levels(list(settings_found(settings, {}))) == {"settings": "ok"}


def test_a_redis_without_a_password_is_told_unless_it_is_here():
    [found] = settings_found(Settings(redis_url="redis://valkey:6379"), {})
    assert "no password" in str(found)
    [found] = settings_found(Settings(redis_url="redis://127.0.0.1:6379"), {})
    assert found.level is Level.OK


def test_spans_of_our_own_that_lead_back_to_us_are_told():
    settings = Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:8000/otel")
    [found] = settings_found(settings, {})
    assert (found.level, found.advice) == (Level.WARN, "name a collector")


# --- folders, and what is missing ------------------------------------------------------------


def test_what_is_missing_is_named(tmp_path, capsys):
    assert main(["doctor"], {"PANDAPROBE_DATA_DIR": str(tmp_path / "data")}) == 1
    said = capsys.readouterr().out
    assert "fail  postgres: PANDAPROBE_DATABASE_URL isn't set" in said
    assert "fail  redis: PANDAPROBE_REDIS_URL isn't set" in said
    assert "ok    data folder" in said
    assert said.splitlines()[-1].startswith("2 failed, ")


@pytest.mark.parametrize("field", ["data_dir", "metrics_dir"])
def test_a_folder_that_is_none_fails(tmp_path, capsys, field):
    (tmp_path / "file").write_text("")
    assert doctor.examine(Settings(**{field: str(tmp_path / "file")})) == 1
    assert "file: is no folder" in capsys.readouterr().out


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
def test_a_clock_that_is_off_is_told_whichever_way(off, level, sign):
    within = timedelta(milliseconds=300)
    found = clock_found(sign * (off + within), within)
    assert found.level is level
    assert ("ahead of" in str(found)) == (sign == 1)


def test_what_nobody_can_know_of_a_clock_is_not_held_against_it():
    assert clock_found(timedelta(seconds=40), timedelta(seconds=40)).level is Level.OK


SERVER = ServerInfo(
    version="15.4",
    is_new_enough=False,
    bytes=1 << 30,
    ahead=timedelta(),
    ahead_within=timedelta(),
    folder=None,
)


def test_a_database_that_is_too_old_fails():
    about, _ = server_found(SERVER, "127.0.0.1")
    assert (
        str(about) == "fail  postgres: PostgreSQL 15.4, 1.0 GiB — PostgreSQL 16 or newer is needed"
    )


def test_the_disk_of_a_database_is_looked_at_where_it_is_here(tmp_path):
    here = replace(SERVER, folder=tmp_path)
    assert "disk of postgres" in levels(list(server_found(here, "127.0.0.1")))
    assert "disk of postgres" not in levels(list(server_found(here, "db.internal")))
    away = replace(SERVER, folder=Path("/nowhere/pg"))
    assert "disk of postgres" not in levels(list(server_found(away, "localhost")))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a disk without room is Linux's")
def test_a_disk_without_room_fails():
    assert disk_found("disk", Path("/proc")) == Finding(
        Level.FAIL, "disk", "0.0 GiB free", "make room"
    )


# --- Redis -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "broken", "doubtful"),
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
def test_what_a_redis_says_of_itself(info, broken, doubtful):
    server = told({"redis_version": "7.2.4", **info})
    assert (len(server.broken), len(server.doubtful)) == (broken, doubtful)
    assert server.version == "7.2.4"


async def test_a_redis_that_is_away_fails_and_its_password_is_not_told():
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    [found] = await redis_found(Settings(redis_url=url))
    assert (found.level, "secret" in str(found)) == (Level.FAIL, False)
    assert "PANDAPROBE_REDIS_URL" in str(found)


@pytest.mark.service
async def test_a_redis_that_may_forget_is_told(redis_url):
    settings = Settings(redis_url=redis_url)
    assert levels(await redis_found(settings)) == {"redis": "ok"}
    async with opened(redis_url) as client:
        before = await client.config_get("maxmemory*")
        await client.config_set("maxmemory", "1gb")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            [found] = await redis_found(settings)
        finally:
            for name in ("maxmemory", "maxmemory-policy"):
                await client.config_set(name, before[name])
    assert (found.level, found.advice) == (Level.WARN, "set maxmemory-policy noeviction")


# --- PostgreSQL ------------------------------------------------------------------------------


async def test_a_database_that_is_away_fails_and_its_password_is_not_told():
    port = free_port()
    url = f"postgresql://u:secret@127.0.0.1:{port}/d"
    [found] = [one async for one in database_found(Settings(database_url=url))]
    assert (found.level, "secret" in str(found)) == (Level.FAIL, False)
    assert f"127.0.0.1:{port}" in str(found)


@pytest.mark.service
async def test_a_schema_that_is_old_fails_and_nothing_is_asked_of_it(postgres_url):
    name = f"doctor_{uuid.uuid4().hex}"
    administrator = await asyncpg.connect(postgres_url)
    await administrator.execute(f"CREATE DATABASE {name}")
    settings = Settings(database_url=urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}")))
    found = levels([one async for one in database_found(settings)])
    await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await administrator.close()
    assert found["postgres"] == found["clock"] == "ok"
    assert found["migrations"] == "fail"
    assert not {"queue", "workers"} & set(found)


@pytest.mark.service
async def test_the_server_tells_of_itself(pool: Pool):
    server = await postgres_server(pool)
    assert server.is_new_enough
    assert abs(server.ahead) < CLOCK_WARN  # it is this machine's
    assert server.folder is not None
    assert server.bytes > 0


@pytest.fixture
async def idle(pool: Pool) -> Pool:
    """A database in which nothing is to be done, and nobody would do it."""
    for table in ("workers", "eval_jobs", "eval_runs"):
        await pool.execute(f"DELETE FROM {table}")
    return pool


@pytest.mark.service
async def test_a_worker_that_is_there_is_fine_and_none_is_told_and_one_that_is_lost_fails(
    idle: Pool,
):
    none = await work_found(Settings(), idle)
    assert levels(none) == {"queue": "ok", "workers": "warn"}
    worker = Worker(id=uuid.uuid4(), version="1", started_at=utc_now())
    await PostgresWorkers(idle).record_heartbeat(worker, utc_now() - WORKER_TIMEOUT)
    assert levels(await work_found(Settings(), idle)) == {"queue": "ok", "workers": "fail"}
    await PostgresWorkers(idle).record_heartbeat(worker, utc_now())
    assert levels(await work_found(Settings(), idle)) == {"queue": "ok", "workers": "ok"}
    await PostgresWorkers(idle).remove(worker)
    assert levels(await work_found(Settings(), idle)) == {"queue": "ok", "workers": "warn"}


@pytest.mark.service
async def test_work_that_waits_for_nobody_fails(idle: Pool):
    run = a_run(ProjectId(uuid.uuid4()))
    async with evaluation.over_postgres(idle) as evaluating:
        await evaluating.runs.create(run, work_of(run))
        await idle.execute("UPDATE eval_runs SET created_at = now() - interval '2 minutes'")
        assert levels(await work_found(Settings(), idle)) == {"queue": "ok", "workers": "fail"}
        hasty = Settings(ready_max_queue_age_seconds=100)
        found = await work_found(hasty, idle)
        await evaluating.runs.delete(run.project_id, run.id, utc_now(), with_scores=True)
    assert levels(found) == {"queue": "fail", "workers": "fail"}
    assert "no worker has been seen" in str(found[0])


@pytest.mark.service
async def test_a_database_that_takes_no_writes_fails(pool: Pool, postgres_url):
    url = f"{postgres_url}?options=-cdefault_transaction_read_only%3Don"
    found = levels([one async for one in database_found(Settings(database_url=url))])
    assert found["postgres writes"] == "fail"
