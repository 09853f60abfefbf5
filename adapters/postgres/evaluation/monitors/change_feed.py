"""Traces written since a watermark.

`updated_at` of a trace is the start of the transaction that wrote it, and transactions that start
later may commit earlier. So a read goes no further than the start of the oldest running
transaction.

With Citus traces may be written by connections to the worker that has them. The coordinator doesn't
show their transactions, so the worker is asked too.

An OpenTelemetry trace changes when it is over: its last fragment was stored a while ago. So the
instant that is compared with watermarks may be later than the write, and never earlier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from adapters.postgres.database.leader_election import LEADER_APPLICATION_NAME
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.tenants import NO_TENANTS
from adapters.postgres.evaluation.runs.eligible_traces import WriteWindow
from adapters.postgres.evaluation.runs.target_selection import (
    EligibleTraces,
    select_sessions,
    select_traces,
)
from adapters.postgres.evaluation.runs.targets import NARROW_FILTERS
from domain.evaluation.monitors.monitor import SETTLE_DELAY, Selection, Watermark
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import SETTLED, Eligibility, Sample, TraceSelection
from domain.ids import ProjectId
from domain.tracing.otel.otlp_state import QUIET_DEFAULT

# A transaction that has written nothing for this long will not write a trace: batches are cancelled
# after WRITE_TIMEOUT_S. Otherwise long reads, such as backups, would hold up every monitor.
# Autovacuum, which isn't a client, writes none either.
SILENT_TRANSACTION_MAX: Final = timedelta(seconds=60)
SELECT_OLDEST_TRANSACTION: Final = f"""
SELECT least(now() - $1::interval, min(xact_start)) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND application_name <> '{LEADER_APPLICATION_NAME}'
  AND (backend_xid IS NOT NULL OR xact_start > now() - $2::interval)
"""
_LAST_TRACE_ID: Final = UUID(int=2**128 - 1)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PostgresChangeFeed(PoolReader):
    """Uses the clock of the database. `near` is the pool for traces, if it is another one."""

    settling: timedelta = SETTLE_DELAY
    quiet: timedelta = QUIET_DEFAULT
    near: Pool | None = None

    async def readable_until(self) -> Watermark:
        [[began]] = await self._fetch(
            RETRY_LATER,
            NO_TENANTS,
            SELECT_OLDEST_TRANSACTION,
            self.settling,
            SILENT_TRANSACTION_MAX,
        )
        edge = Watermark(began - _MICROSECOND, _LAST_TRACE_ID)
        if self.near is None:
            return edge
        return min(edge, await replace(self, pool=self.near, near=None).readable_until())

    async def targets(
        self,
        project: ProjectId,
        selection: Selection,
        after: Watermark | None,
        upto: Watermark,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        eligible = EligibleTraces(eligibility, self.quiet, WriteWindow(after, upto))
        async with self._visible_snapshot(NARROW_FILTERS, project) as connection:
            if isinstance(selection, TraceSelection):
                return await select_traces(
                    connection, project, selection, most, eligible, sample=sample
                )
            return await select_sessions(
                connection, project, selection, most, eligible, sample=sample
            )
