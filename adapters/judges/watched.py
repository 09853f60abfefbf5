"""A ledger whose entries are told too: every request to a provider, with what it cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from application.evaluation.judging import Ledger
from domain.evaluation.costs.judge_costs import (
    LedgerEntry,
    Spending,
    SpendingBy,
    SpendingGroup,
)
from domain.evaluation.scores.query import CreatedWithin
from domain.ids import ProjectId, RunId


@dataclass(frozen=True, slots=True)
class WatchedLedger:
    """As `ledger`; `on_entry` hears of each entry first, also where it can't be entered."""

    ledger: Ledger
    on_entry: Callable[[LedgerEntry], None]

    async def enter(self, entries: Sequence[LedgerEntry]) -> None:
        for entry in entries:
            self.on_entry(entry)
        await self.ledger.enter(entries)

    async def of_run(self, project: ProjectId, run: RunId) -> Spending:
        return await self.ledger.of_run(project, run)

    async def total(self, projects: Sequence[ProjectId], within: CreatedWithin) -> Spending:
        return await self.ledger.total(projects, within)

    async def of_projects(
        self, projects: Sequence[ProjectId], within: CreatedWithin, by: SpendingBy
    ) -> Sequence[SpendingGroup]:
        return await self.ledger.of_projects(projects, within, by)

    async def sweep(self, before: datetime) -> int:
        return await self.ledger.sweep(before)
