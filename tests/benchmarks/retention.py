"""Measures retention: traces that a worker removes while others are stored.

Prints Markdown.

    [FOLDER=/a/folder] [RATE=50] [SECONDS=60] [DAYS=6] [READ_INDEXES=on]
    python -m tests.benchmarks.retention [TRACES]

Fills a project with about TRACES (50,000) traces of ten spans over 30 days, as `many_traces.py`
says. Then one `serve` stores RATE traces of ten spans a second (an open loop, so that a stall can't
hide), one `worker` does all that workers do, and PostgreSQL has its default durability:

1. ingestion alone;
2. ingestion while the worker removes the DAYS oldest days of the project, or as much as it can;
3. the worker removes the rest and as many days again, alone, for SECONDS at most;
4. VACUUM of all rows and indexes, and ingestion alone again: whether the space is used again.

CPU is that of the processes of PostgreSQL, by whom they work for. Lock waits and dead rows are
looked at once in SAMPLE_S. FOLDER keeps the data, of which each run removes some days.
READ_INDEXES reads all indexes first, into the memory of the machine, as far as they fit.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers
from domain.ids import ProjectId
from entrypoints import provisioning
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.compare import cpu_ns, postgres_processes
from tests.benchmarks.dashboard_views import WORKER
from tests.benchmarks.evaluation import cpu_s
from tests.benchmarks.reads import UNTIL, configured, data_folder, ensure_project, vacuum
from tests.benchmarks.support import many_traces
from tests.benchmarks.writes.ingest import SERVE, machine, process

TRACES: Final = 50_000
RATE: Final = int(os.environ.get("RATE", "50"))  # traces a second
SECONDS: Final = int(os.environ.get("SECONDS", "60"))  # of ingestion in each phase
DAYS: Final = int(os.environ.get("DAYS", "6"))  # that expire in each of two phases
SPANS: Final = 10
CONNECTIONS: Final = 32
SAMPLE_S: Final = 0.2
SETTLE_S: Final = 3.0  # until sessions of PostgreSQL have reported what they did
NAME: Final = "retention"
REMOVED: Final = ("traces", "span_rows", "trace_payloads")
# Tables that have rows of each trace; the others are small.
TABLES: Final = (
    *REMOVED, "search_traces", "search_postings", "search_garbage", "search_terms", "search_queue",
    "sessions", "trace_users", "trace_facets", "trace_hours", "usage_hours", "span_hours",
)  # fmt: skip
BACKENDS: Final = """
SELECT pid, backend_type, client_port FROM pg_stat_activity WHERE pid <> pg_backend_pid()
"""
LONGEST_WAIT: Final = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8
FROM pg_locks WHERE NOT granted
"""
ROWS: Final = """
SELECT relname, n_live_tup, n_dead_tup, n_tup_del, autovacuum_count, last_autovacuum
FROM pg_stat_user_tables WHERE relname = ANY($1) ORDER BY relname
"""
SIZES: Final = """
SELECT relname::text, pg_relation_size(oid) AS rows, pg_indexes_size(oid) AS indexes,
       pg_table_size(oid) - pg_relation_size(oid) AS other
FROM pg_class WHERE relname = ANY($1) AND relkind = 'r'
"""
# Bytes of the write-ahead log, and how many whole pages it has: one for the first change of each
# page after a checkpoint.
WAL: Final = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 AS bytes, wal_fpi AS pages
FROM pg_stat_wal
"""
COUNT_EXPIRED: Final = """
SELECT count(*), coalesce(sum(span_count), 0) FROM traces
WHERE project_id = $1 AND created_at < now() - make_interval(days => $2)
"""
STATEMENTS: Final = r"""
SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 70) AS text, calls, total_exec_time AS ms
FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 12
"""
STORED: Final = """
SELECT min(created_at), count(*), sum(span_count)::bigint FROM traces WHERE project_id = $1
"""
READ_INDEXES: Final = "SELECT sum(pg_prewarm(oid, 'read')) FROM pg_class WHERE relkind = 'i'"
KEEP: Final = "UPDATE projects SET retention_days = $2 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of tables: rows, indexes, and TOAST with the maps of free space and visibility."""

    rows: int = 0
    indexes: int = 0
    other: int = 0

    def __add__(self, more: "Size") -> "Size":
        return Size(self.rows + more.rows, self.indexes + more.indexes, self.other + more.other)

    @property
    def total(self) -> int:
        return self.rows + self.indexes + self.other


def whole(sizes: Mapping[str, Size]) -> Size:
    return sum(sizes.values(), Size())


@dataclass(slots=True)
class CpuByUser:
    """CPU seconds of the processes of PostgreSQL, by whom they work for."""

    postmaster: int
    clients: Mapping[str, int]  # processes by name
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    names: dict[int, str] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)

    async def sample(self, connection: asyncpg.Connection) -> None:
        now = cpu_ns(postgres_processes(self.postmaster))
        if now.keys() - self.names.keys():
            ports = {port: name for name, pid in self.clients.items() for port in local_ports(pid)}
            for pid, kind, port in await connection.fetch(BACKENDS):
                name = "autovacuum" if kind.startswith("autovacuum") else "other"
                if kind == "client backend":
                    name = ports.get(port, "other")
                self.names[pid] = name
        for pid, spent in now.items():
            name = self.names.setdefault(pid, "other")
            self.seconds[name] += (spent - self.last.get(pid, spent)) / 1e9
            self.last[pid] = spent


def local_ports(pid: int) -> set[int]:
    """The local ports of the TCP sockets of a process."""
    inodes = set[str]()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


@dataclass(slots=True)
class Phase:
    """What happened in a phase."""

    name: str
    took_s: float = 0.0
    stored: int = 0
    refused: int = 0
    load: dict[str, Any] = field(default_factory=dict)
    removed: Counter[str] = field(default_factory=Counter)
    removal_s: float = 0.0
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    python: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    wal: float = 0.0
    pages: int = 0
    longest_wait_s: float = 0.0
    growth: int = 0
    dead: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    loadavg: float = 0.0

    def row(self) -> str:
        spans = self.removed["span_rows"]
        cells = [
            f"{self.stored / self.took_s:.0f}" if self.stored else "–",
            f"{self.refused}" if self.stored else "–",
            f"{self.load['p50_ms']:.0f}, {self.load['p99_ms']:.0f}" if self.stored else "–",
            f"{self.removed['traces']:,}, {spans:,}",
            per(self.removed["traces"], self.removal_s),
            per(spans, self.removal_s),
            per(self.python["serve"] * 1e3, self.stored, 2),
            per(self.cpu["serve"] * 1e3, self.stored, 2),
            f"{self.python['worker']:.1f}",
            f"{self.cpu['worker']:.1f}",
            f"{self.cpu['autovacuum']:.1f}",
            f"{self.cpu['other']:.1f}",
            f"{self.wal / 1e6:.0f}, {self.pages:,}",
            f"{self.longest_wait_s * 1e3:.0f}",
            f"{self.growth / 1e6:.0f}",
            f"{self.loadavg:.0f}",
        ]
        return f"| {self.name} | {' | '.join(cells)} |"


HEAD: Final = (
    *("stored a second", "refused", "p50, p99 ms", "removed: traces, spans"),
    *("traces a second", "spans a second"),
    *("API, ms of CPU a stored trace", "PostgreSQL for it, ms a stored trace"),
    *("worker, s of CPU", "PostgreSQL for it, s", "autovacuum, s", "the rest of PostgreSQL, s"),
    *("WAL: MB, whole pages", "longest lock wait, ms", "growth, MB", "load"),
)


def per(amount: float, of: float, digits: int = 0) -> str:
    return f"{amount / of:,.{digits}f}" if amount and of else "–"


@dataclass(slots=True)
class Retention:
    """The project, its servers, and a connection that looks at them."""

    servers: Servers
    environ: dict[str, str]
    headers: dict[str, str]
    project: ProjectId
    connection: asyncpg.Connection
    sampling: asyncpg.Connection  # another one, for what is looked at meanwhile

    async def deleted(self) -> Counter[str]:
        rows = await self.connection.fetch(ROWS, list(REMOVED))
        return Counter({row["relname"]: row["n_tup_del"] for row in rows})

    async def sizes(self) -> dict[str, Size]:
        rows = await self.connection.fetch(SIZES, list(TABLES))
        return {row["relname"]: Size(row["rows"], row["indexes"], row["other"]) for row in rows}

    async def keep(self, until: datetime) -> tuple[int, int]:
        """Keeps what was stored since about `until`; returns expired traces and their spans."""
        now = await self.connection.fetchval("SELECT now()")
        days = (now - until) // timedelta(days=1)
        await self.connection.execute(KEEP, self.project, days)
        expired = await self.connection.fetchrow(COUNT_EXPIRED, self.project, days) or (0, 0)
        return int(expired[0]), int(expired[1])

    @asynccontextmanager
    async def observed(self, phase: Phase, clients: Mapping[str, int]) -> AsyncIterator[None]:
        """Fills the figures of the phase while the block runs."""
        cpu = CpuByUser(self.servers.children[0].process.pid, clients)
        ended, begin = asyncio.Event(), time.perf_counter()
        before, [wal] = await self.deleted(), await self.connection.fetch(WAL)
        size = whole(await self.sizes()).total
        first = last = begin
        python = {name: cpu_s(pid) for name, pid in clients.items()}
        was = before["traces"]

        async def sample() -> None:
            nonlocal first, last, was
            while True:
                await cpu.sample(self.sampling)
                wait = await self.sampling.fetchval(LONGEST_WAIT)
                phase.longest_wait_s = max(phase.longest_wait_s, wait)
                rows = await self.sampling.fetch(ROWS, list(TABLES))
                now = time.perf_counter()
                traces = next(one["n_tup_del"] for one in rows if one["relname"] == "traces")
                if traces != was:
                    first = last if was == before["traces"] else first
                    was, last = traces, now
                elif was == before["traces"]:
                    last = now
                dead = {row["relname"]: row["n_dead_tup"] for row in rows}
                phase.dead.append((now - begin, dead))
                if ended.is_set():
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(SAMPLE_S):
                        await ended.wait()

        sampling = asyncio.create_task(sample())
        try:
            yield
        finally:
            phase.loadavg = os.getloadavg()[0]
            phase.python |= {name: cpu_s(pid) - python[name] for name, pid in clients.items()}
            ended.set()
            await sampling
        await asyncio.sleep(SETTLE_S)
        phase.removed = await self.deleted() - before  # without tables that lost nothing
        phase.removal_s = last - first if phase.removed["traces"] else 0.0
        phase.cpu, phase.took_s = cpu.seconds, phase.took_s or time.perf_counter() - begin
        [now] = await self.connection.fetch(WAL)
        phase.wal, phase.pages = now["bytes"] - wal["bytes"], now["pages"] - wal["pages"]
        phase.growth = whole(await self.sizes()).total - size

    async def store(self, phase: Phase, port: int) -> None:
        """Stores RATE traces a second."""
        url, count = f"http://127.0.0.1:{port}/traces", round(RATE * SECONDS / 0.9)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.support.load", url, str(SPANS), str(count),
            str(CONNECTIONS), str(RATE), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await child.communicate(json.dumps(self.headers).encode())
        phase.load = json.loads(out)
        refused = sum(n for status, n in phase.load["statuses"].items() if status != "202")
        phase.refused, phase.stored = refused, count - refused
        phase.took_s = count / phase.load["per_s"]

    async def await_removal(self, before: int, expired: int) -> None:
        """Waits until the expired traces are removed, for SECONDS at most."""
        deadline = time.perf_counter() + SECONDS
        while (await self.deleted())["traces"] - before < expired:
            if time.perf_counter() > deadline:
                return
            await asyncio.sleep(SAMPLE_S)

    async def phase(self, name: str, *, store: bool, keep: datetime | None) -> Phase:
        port, status = free_port(), free_port()
        made = Phase(name)
        before, expired = (await self.deleted())["traces"], 0
        if keep is not None:
            expired, spans = await self.keep(keep)
            print(f"{name}: {expired:,} traces with {spans:,} spans expire", file=sys.stderr)
        environ = self.environ | {
            "PANDAPROBE_PORT": str(port), "PANDAPROBE_WORKER_PORT": str(status)
        }  # fmt: skip
        with (
            process(SERVE, f"http://127.0.0.1:{port}/health/ready", environ) as (serve, _),
            process(WORKER, f"http://127.0.0.1:{status}/health", environ) as (worker, _),
        ):
            async with self.observed(made, {"serve": serve, "worker": worker}):
                if store:
                    await self.store(made, port)
                else:
                    await self.await_removal(before, expired)
        print(made.row(), file=sys.stderr, flush=True)
        return made


def dead_rows(phases: Sequence[Phase]) -> Iterator[str]:
    """Yields a table of dead rows at ten instants of each phase."""
    yield f"| phase, s | {' | '.join(REMOVED)} | search_garbage |"
    yield f"|---|{'---|' * (len(REMOVED) + 1)}"
    for phase in phases:
        for at, dead in phase.dead[:: max(1, len(phase.dead) // 5)]:
            cells = (f"{dead.get(table, 0):,}" for table in (*REMOVED, "search_garbage"))
            yield f"| {phase.name}, {at:.0f} | {' | '.join(cells)} |"


def size_table(sizes: Mapping[str, Mapping[str, Size]]) -> Iterator[str]:
    """Yields a table of MB: rows, indexes and the rest, of each table and instant."""
    yield f"| MB: rows, indexes, rest | {' | '.join(sizes)} |"
    yield f"|---|{'---|' * len(sizes)}"
    for table in TABLES:
        of = [one.get(table, Size()) for one in sizes.values()]
        if max(one.total for one in of) >= 5e5:
            cells = " | ".join(
                f"{one.rows / 1e6:,.0f}, {one.indexes / 1e6:,.0f}, {one.other / 1e6:,.0f}"
                for one in of
            )
            yield f"| {table} | {cells} |"
    totals = [whole(one) for one in sizes.values()]
    yield f"| all | {' | '.join(f'{one.total / 1e6:,.0f}' for one in totals)} |"


async def measure(found: Retention) -> None:
    connection = found.connection
    [(oldest, traces, spans)] = await connection.fetch(STORED, found.project)
    sizes = {"before": await found.sizes()}
    whole = sum(sizes["before"].values(), Size()).total
    print(
        f"{traces:,} traces with {spans:,} spans: {whole / 1e9:.2f} GB, "
        f"{whole / spans:.0f} bytes a span, all indexes and roll-ups included.\n",
        flush=True,
    )
    days = timedelta(days=DAYS)
    phases = [
        await found.phase("ingestion", store=True, keep=None),
        await found.phase("ingestion and retention", store=True, keep=oldest + days),
    ]
    await connection.execute("SELECT pg_stat_statements_reset()")
    phases.append(await found.phase("retention", store=False, keep=oldest + 2 * days))
    statements = await connection.fetch(STATEMENTS)
    sizes["after the removal"] = await found.sizes()
    vacuumed = Phase("VACUUM")
    async with found.observed(vacuumed, {}):
        other = await asyncpg.connect(found.servers.owner_url)
        begin = time.perf_counter()
        await other.execute("VACUUM (INDEX_CLEANUP ON)", timeout=None)
        vacuumed.took_s = time.perf_counter() - begin
        await other.close()
    print(f"VACUUM took {vacuumed.took_s:.0f} s", file=sys.stderr)
    sizes["after VACUUM"] = await found.sizes()
    await connection.execute(KEEP, found.project, None)
    again = await found.phase("ingestion after VACUUM", store=True, keep=None)
    sizes["after that"] = await found.sizes()
    every = [*phases, vacuumed, again]
    print(f"| | {' | '.join(HEAD)} |\n|---|{'---|' * len(HEAD)}")
    print("\n".join(one.row() for one in every))
    print(f"\nVACUUM took {vacuumed.took_s:.0f} s.\n")
    print("Dead rows:\n")
    print("\n".join(dead_rows(phases)))
    print()
    print("\n".join(size_table(sizes)))
    print("\n| statements of the worker alone | calls | ms |\n|---|---|---|")
    for row in statements:
        print(f"| `{row['text'].replace('|', ' ')}` | {row['calls']:,} | {row['ms']:,.0f} |")
    for row in await connection.fetch(ROWS, list(REMOVED)):
        print(
            f"\n{row['relname']}: {row['autovacuum_count']} autovacuums, last "
            f"{row['last_autovacuum']}"
        )


async def prepare(settings: Settings, wanted: int) -> bool:
    """Fills the project. Returns False if it has traces."""
    owner_url = settings.migration_database_url or ""
    id_ = await ensure_project(settings, NAME)
    owner = await asyncpg.connect(owner_url)
    filled = await owner.fetchval("SELECT EXISTS (SELECT 1 FROM traces WHERE project_id = $1)", id_)
    await owner.close()
    if not filled:
        await many_traces.fill(owner_url, id_, wanted, UNTIL)
    return not filled


async def run(servers: Servers, settings: Settings, environ: dict[str, str]) -> None:
    key = await provisioning.ensure_developer_key(settings, None)
    id_ = await ensure_project(settings, NAME)
    connection, sampling = [await asyncpg.connect(servers.owner_url) for _ in range(2)]
    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    if os.environ.get("READ_INDEXES"):
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        await connection.execute(READ_INDEXES, timeout=None)
    headers = {"X-API-Key": key, "X-Project-Name": NAME}
    await measure(Retention(servers, environ, headers, id_, connection, sampling))
    await connection.close()
    await sampling.close()


def main(wanted: int = TRACES) -> None:
    print(machine(), "\n", flush=True)
    with data_folder() as folder:
        with run_servers(folder, many_traces.FILLING) as servers:
            settings, _ = configured(folder, servers)
            asyncio.run(database.migrate(settings))
            if asyncio.run(prepare(settings, wanted)):
                asyncio.run(vacuum(servers.owner_url))
        with run_servers(folder, {"shared_preload_libraries": "pg_stat_statements"}) as servers:
            asyncio.run(run(servers, *configured(folder, servers)))


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:]))
