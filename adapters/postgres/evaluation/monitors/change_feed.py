"""What was written since somebody looked last, in Postgres: the port.

`updated_at` of a trace is when the transaction began that wrote it, and others may commit before
it does. So nobody looks further than where the oldest of those that are under way began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from adapters.postgres.database.leader_election import LEADER
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.database.sql_builder import Parameters
from adapters.postgres.evaluation.runs.target_selection import select_sessions, traces_selected
from adapters.postgres.evaluation.runs.targets import ADVICE
from domain.evaluation.monitors.monitor import SETTLE_DELAY, Selection, Watermark
from domain.evaluation.runs.run import Target
from domain.evaluation.runs.selection import TraceSelection
from domain.ids import ProjectId

# One that has written nothing for so long won't write a trace any more: a batch is given up after
# WRITE_TIMEOUT_S. Else whoever reads for hours, as a backup does, would hold up every monitor.
SILENT_MAX: Final = timedelta(seconds=60)
UNDER_WAY: Final = f"""
SELECT least(now() - $1::interval, min(xact_start)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND application_name <> '{LEADER}'
  AND (backend_xid IS NOT NULL OR xact_start > now() - $2::interval)
"""
_LAST: Final = UUID(int=2**128 - 1)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PostgresChangeFeed:
    """By the clock of the database. Each read takes `timeout_s` at most."""

    pool: Pool
    settling: timedelta = SETTLE_DELAY
    timeout_s: float = READ_TIMEOUT_S

    async def readable_until(self) -> Watermark:
        async with reading(self.pool, "try again later", self.timeout_s) as connection:
            began = await connection.fetchval(UNDER_WAY, self.settling, SILENT_MAX)
        return Watermark(began - _MICROSECOND, _LAST)

    async def targets(
        self,
        project: ProjectId,
        selection: Selection,
        after: Watermark | None,
        upto: Watermark,
        most: int,
    ) -> Sequence[Target]:
        def written(p: Parameters) -> str:
            return _between(p, after, upto)

        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            if isinstance(selection, TraceSelection):
                return await traces_selected(connection, project, selection, most, written)
            return await select_sessions(connection, project, selection, most, written)


def _between(p: Parameters, after: Watermark | None, upto: Watermark) -> str:
    # The instants by themselves as well: no index knows what a pair is.
    conditions = [_beside(p, "<=", upto)]
    if after is not None:
        conditions.append(_beside(p, ">", after))
    return " AND ".join(conditions)


def _beside(p: Parameters, sign: str, mark: Watermark) -> str:
    instant, trace = p.put(mark.written_at), p.put(mark.trace)
    pair = f"(updated_at, trace_id) {sign} ({instant}::timestamptz, {trace}::uuid)"
    return f"updated_at {sign[0]}= {instant}::timestamptz AND {pair}"
