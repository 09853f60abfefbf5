"""Lists of scores, newest first, with exact totals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.engine import OF_PROJECT, Pool
from adapters.postgres.reading.fragments import Sql
from adapters.postgres.reading.ordered import Ordered, Where
from adapters.postgres.reading.snapshots import READ_TIMEOUT_S, snapshot
from adapters.postgres.score_rows import ScoreTable
from domain.evaluation.score import Score, ScoreOutcome, ScoreStatus
from domain.evaluation.score_query import ScoreFilter, place_in_list
from domain.ids import ProjectId
from domain.page import Page, Window

ADVICE: Final = "narrow the list with date_from and date_to, or with another filter"


@dataclass(frozen=True, slots=True)
class ScoreLists[S: Score]:
    """Each list is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    table: ScoreTable[S]
    timeout_s: float = READ_TIMEOUT_S

    async def page(self, project: ProjectId, matching: ScoreFilter, window: Window) -> Page[S]:
        ordered = Ordered(
            project=project,
            table=self.table.name,
            id="id",
            value="created_at",
            columns=tuple(self.table.types),
            down=True,
            window=window,
        )
        where = list(conditions(self.table, matching))
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            found = await ordered.matching(connection, Where(rest=where, among=0, total=None))
        items = [self.table.score(row) for row in found.rows]
        shown = items[: window.limit]
        end = place_in_list(shown[-1]) if len(items) > len(shown) else None
        return Page(shown, found.total, end)

    async def all(self, project: ProjectId, column: str, value: object) -> Sequence[S]:
        """Those with a value in a column, newest first."""
        sql = f"""
        SELECT {", ".join(self.table.types)} FROM {self.table.name}
        WHERE {OF_PROJECT} AND {column} = $2 ORDER BY created_at DESC, id DESC
        """
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            return [self.table.score(row) for row in await connection.fetch(sql, project, value)]


def conditions[S: Score](table: ScoreTable[S], matching: ScoreFilter) -> Iterator[Sql]:
    """What `ScoreFilter.admits` says, all of which has to hold."""
    for column in ("trace_id", "session_id", "environment", "name", "source", "outcome"):
        if (value := getattr(matching, column)) is not None:
            yield Sql(f"{column} = {{}}", (value,)) if column in table.types else Sql("false")
    for column in ("data_type", "run_id"):
        if (value := getattr(matching, column)) is not None:
            yield Sql(f"{column} = {{}}", (value,))
    if (status := matching.status) is not None:
        yield Sql("outcome = ANY({}::text[])", (_outcomes(status),))
    if (after := matching.created_after) is not None:
        yield Sql("created_at >= {}", (after,))
    if (before := matching.created_before) is not None:
        yield Sql("created_at < {}", (before,))


def _outcomes(status: ScoreStatus) -> list[str]:
    return [one for one in ScoreOutcome if one.status is status]
