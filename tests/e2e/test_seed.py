"""`seed` on real servers: it reports what it stored, also when it is stopped."""

import asyncio
import os
import re
import signal
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from domain.ids import ProjectId
from domain.tracing.trace import Trace
from entrypoints.composition import root
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from entrypoints.settings import read_settings
from tests.support.clients.command_line import command, run_command
from tests.support.waiting import WAIT_MAX_S, in_time

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
UNTIL = "2026-03-01T00:00:00Z"

type Environment = dict[str, str]


@pytest.fixture
def environ(postgres_url: str, redis_url: str, pool: Pool, tmp_path: Path) -> Environment:
    """A developer's environment; requesting `pool` ensures that the database is migrated."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PANDAPROBE_")}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "PANDAPROBE_DATABASE_URL": postgres_url,
        "PANDAPROBE_REDIS_URL": redis_url,
        "PANDAPROBE_DATA_DIR": str(tmp_path / "data"),
        "PANDAPROBE_APP_ENV": "development",
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
    }


async def start_seed(environ: Environment, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "entrypoints.cli", "seed", "--until", UNTIL, *arguments),
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def wait_ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), WAIT_MAX_S)
    return process.returncode, out.decode(), err.decode()


async def count_stored(pool: Pool, project: str) -> tuple[int, int]:
    """Counts the traces and spans of the project with this name."""
    row = await pool.fetchrow(
        "SELECT count(DISTINCT (t.project_id, t.trace_id)), count(s.span_id) FROM traces t "
        "JOIN projects p ON p.id = t.project_id LEFT JOIN span_rows s USING (project_id, trace_id) "
        "WHERE p.name = $1",
        project,
    )
    assert row
    return row[0], row[1]


def test_repeated_seed_stores_same_traces_once(environ):
    name = f"seeded-{uuid.uuid4().hex}"
    wanted = Recipe(traces=60, seed=7, days=2, until=datetime(2026, 3, 1, tzinfo=UTC))
    made = list(synthetic_traces(wanted))
    spans = sum(len(trace.spans) for trace in made)
    options = ("--until", UNTIL, "--traces", "60", "--seed", "7", "--days", "2", "--project", name)
    for _ in range(2):
        run = run_command(environ, "seed", *options)
        assert run.returncode == 0, run.stderr
        reported = f"60 traces with {spans:,} spans stored in project {name} in "
        assert run.stdout.startswith(reported)
        assert "60/60 100%" in run.stderr
        asyncio.run(assert_stored(environ, name, made))


async def assert_stored(environ: Environment, name: str, made: Sequence[Trace]) -> None:
    settings = read_settings(environ)
    async with open_pool(Engine(config={}), PoolSettings(url=settings.database_url)) as pool:
        assert await count_stored(pool, name) == (60, sum(len(one.spans) for one in made))
        project = await pool.fetchval("SELECT id FROM projects WHERE name = $1", name)
    async with root.ports(settings) as ports:
        for trace in made[::20]:
            found = await ports.tracing.traces.get(ProjectId(project), trace.id)
            assert (found.name, found.output, found.tags) == (trace.name, trace.output, trace.tags)
            assert {s.id: s.input for s in found.spans} == {s.id: s.input for s in trace.spans}


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)]
)
async def test_stopped_seed_reports_stored_traces(environ, pool, number):
    name = f"seeded-{uuid.uuid4().hex}"
    run = await start_seed(environ, "--traces", "1000000", "--project", name)
    async with in_time():
        while await count_stored(pool, name) == (0, 0):
            assert run.returncode is None
            await asyncio.sleep(0.05)
    run.send_signal(number)
    status, out, err = await wait_ended(run)
    assert status == 130, err
    report = re.match(r"stopped: ([\d,]+) of 1,000,000 traces with ([\d,]+) spans", out)
    assert report, out
    assert await count_stored(pool, name) == tuple(int(n.replace(",", "")) for n in report.groups())
    assert "Traceback" not in err


async def test_unknown_organization_is_reported(environ):
    arguments = ("--traces", "5", "--organization", uuid.uuid4())
    status, out, err = await command(environ, "seed", *arguments)
    assert (status, out) == (1, "")
    assert "not found" in err.lower()
