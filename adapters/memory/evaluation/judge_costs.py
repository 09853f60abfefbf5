"""The cache of verdicts, the ledger of judge calls, and budgets, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from adapters.memory.store import MemoryStore, StoredSpending, StoredVerdict, delete_rows
from application.evaluation.ports.judging import DELETED_ROWS_MAX, PARTS_MAX, Reservation, Verdict
from domain.evaluation.costs.judge_costs import (
    LedgerEntry,
    Spending,
    SpendingBy,
    SpendingGroup,
    group_spending,
    is_shared,
    month_scope,
    month_start,
    organization_scope,
    run_scope,
    server_scope,
)
from domain.evaluation.scores.score import CreatedWithin
from domain.identity.organization import NO_LIMITS
from domain.ids import OrganizationId, ProjectId, RunId, TraceId
from domain.tracing.usage import exact_sum


@dataclass(frozen=True, slots=True)
class MemoryVerdicts:
    store: MemoryStore

    async def find(self, project: ProjectId, key: bytes, since: datetime) -> Verdict | None:
        known = self.store.verdicts.get((project, key))
        return known.verdict if known is not None and known.at >= since else None

    async def save(
        self, project: ProjectId, key: bytes, trace: TraceId, verdict: Verdict, now: datetime
    ) -> None:
        if self.store.traces.find(project, trace) is not None:
            self.store.verdicts[project, key] = StoredVerdict(trace, verdict, now)

    async def delete_older(self, before: datetime) -> int:
        verdicts = self.store.verdicts
        return len(delete_rows(verdicts, lambda _, one: one.at < before, DELETED_ROWS_MAX))


@dataclass(frozen=True, slots=True)
class MemoryLedger:
    store: MemoryStore

    async def append(self, entries: Sequence[LedgerEntry]) -> None:
        for one in entries:
            self.store.ledger.setdefault((one.project_id, one.id), one)

    async def run_spending(self, project: ProjectId, run: RunId) -> Spending:
        return Spending.from_entries(self._of_run(project, run))

    async def spending_by_run(
        self, project: ProjectId, runs: Sequence[RunId]
    ) -> Mapping[RunId, Spending]:
        found = {one: self._of_run(project, one) for one in runs}
        return {run: Spending.from_entries(some) for run, some in found.items() if some}

    async def run_spending_by_metric(
        self, project: ProjectId, run: RunId
    ) -> Sequence[SpendingGroup]:
        return group_spending(self._of_run(project, run), SpendingBy.METRIC)[:PARTS_MAX]

    async def total(self, projects: Sequence[ProjectId], within: CreatedWithin) -> Spending:
        return Spending.from_entries(self._entered(projects, within))

    async def projects_spending(
        self, projects: Sequence[ProjectId], within: CreatedWithin, by: SpendingBy
    ) -> Sequence[SpendingGroup]:
        found = group_spending(self._entered(projects, within), by)
        return found[-PARTS_MAX:] if by is SpendingBy.DAY else found[:PARTS_MAX]

    def _of_run(self, project: ProjectId, run: RunId) -> Sequence[LedgerEntry]:
        ours = [one for (of, _), one in self.store.ledger.items() if of == project]
        return [one for one in ours if one.run_id == run]

    def _entered(
        self, projects: Sequence[ProjectId], within: CreatedWithin
    ) -> Sequence[LedgerEntry]:
        return [
            one
            for one in self.store.ledger.values()
            if one.project_id in projects and within.includes(one.created_at)
        ]

    async def delete_older(self, before: datetime) -> int:
        ledger = self.store.ledger
        return len(delete_rows(ledger, lambda _, one: one.created_at < before, DELETED_ROWS_MAX))


@dataclass(frozen=True, slots=True)
class MemoryBudgets:
    """`server_usd` is the monthly limit of all projects together; None: no limit."""

    store: MemoryStore
    server_usd: Decimal | None = None

    async def monthly(self, project: ProjectId) -> Decimal | None:
        return self.store.budgets.get(project)

    async def organization_spending(self, organization: OrganizationId, now: datetime) -> Decimal:
        known = self.store.shared_spending.get(organization_scope(organization, now))
        return Decimal(0) if known is None else known.usd

    async def reserve(
        self, project: ProjectId, run: RunId, run_limit: Decimal | None, usd: Decimal, now: datetime
    ) -> Reservation | None:
        limits = {
            run_scope(run): run_limit,
            month_scope(now): self.store.budgets.get(project),
            server_scope(now): self.server_usd,
        }
        if (ours := self.store.projects.get(project)) is not None:
            organization = ours.organization_id
            usd_of_all = self.store.limits.get(organization, NO_LIMITS).monthly_usd
            limits[organization_scope(organization, now)] = usd_of_all
        known = {scope: limit for scope, limit in limits.items() if limit is not None}
        counts = {scope: self._count(project, scope, now) for scope in known}
        if any(counts[scope].usd + usd > limit for scope, limit in known.items()):
            return None
        for scope, one in counts.items():
            self._store(project, scope, replace(one, usd=one.usd + usd))
        return Reservation({scope: one.since for scope, one in counts.items()}, usd)

    async def settle(self, project: ProjectId, reservation: Reservation, usd: Decimal) -> None:
        for scope, since in reservation.scopes.items():
            if (known := self._find(project, scope)) is not None:
                released = reservation.usd if known.since == since else Decimal(0)
                self._store(project, scope, replace(known, usd=known.usd + usd - released))

    def _find(self, project: ProjectId, scope: str) -> StoredSpending | None:
        if is_shared(scope):
            return self.store.shared_spending.get(scope)
        return self.store.spending.get((project, scope))

    def _store(self, project: ProjectId, scope: str, count: StoredSpending) -> None:
        if is_shared(scope):
            self.store.shared_spending[scope] = count
        else:
            self.store.spending[project, scope] = count

    def _count(self, project: ProjectId, scope: str, now: datetime) -> StoredSpending:
        """The spending that is counted. A new budget starts with the sum of the ledger."""
        known = self._find(project, scope)
        return known or StoredSpending(self._spent_before(project, scope, now), now)

    def _spent_before(self, project: ProjectId, scope: str, now: datetime) -> Decimal:
        if scope.startswith("run "):
            return Decimal(0)
        projects = self.store.projects
        ours, counted = projects.get(project), {project}
        if scope != month_scope(now) and ours is not None:
            organization = ours.organization_id
            counted = {id_ for id_, one in projects.items() if one.organization_id == organization}
        return exact_sum(
            one.usd
            for one in self.store.ledger.values()
            if one.usd is not None
            and one.created_at >= month_start(now)
            and (scope == server_scope(now) or one.project_id in counted)
        )


def store_budget(
    store: MemoryStore, project: ProjectId, usd: Decimal | None, now: datetime
) -> None:
    """As `LockedOrganization.put_budget`."""
    if usd is None or project not in store.budgets:
        store.spending.pop((project, month_scope(now)), None)
    if usd is None:
        store.budgets.pop(project, None)
    else:
        store.budgets[project] = usd
