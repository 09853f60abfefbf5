"""What the judges of an organization cost, and the monthly budget of a project."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from application.evaluation.ports.judging import Budgets, Ledger
from application.identity.organization_edit import OrganizationEditor, require
from application.identity.ports import Directory, Projects
from application.identity.projects import PROJECT_NOT_FOUND
from application.ports import Clock
from domain.evaluation.costs.judge_costs import (
    Spending,
    SpendingBy,
    SpendingGroup,
    month_start,
    resolve_period,
    validate_budget,
)
from domain.evaluation.scores.score import CreatedWithin
from domain.identity.audit import AuditAction
from domain.identity.caller import Person
from domain.identity.organization import Action, Membership
from domain.ids import OrganizationId, ProjectId


@dataclass(frozen=True, slots=True)
class OrganizationUsage:
    """What was spent in a period: the total and its groups, as many as `Ledger` returns."""

    within: CreatedWithin
    total: Spending
    parts: Sequence[SpendingGroup]


@dataclass(frozen=True, slots=True)
class ReadUsage:
    """The usage of the existing projects: that of a removed project is deleted with it."""

    directory: Directory
    ledger: Ledger
    clock: Clock

    async def __call__(
        self,
        membership: Membership,
        after: datetime | None,
        before: datetime | None,
        by: SpendingBy,
    ) -> OrganizationUsage:
        """As `resolve_period`; by default this month. Raises Invalid, Unavailable."""
        within = resolve_period(after, before, self.clock())
        projects = [
            project.id for project in await self.directory.projects(membership.organization_id)
        ]
        parts = await self.ledger.of_projects(projects, within, by)
        return OrganizationUsage(within, await self.ledger.total(projects, within), parts)


@dataclass(frozen=True, slots=True)
class MonthlyBudget:
    """The monthly budget of a project, None without a limit, and what was spent this month."""

    month: datetime
    usd: Decimal | None
    spent: Spending


@dataclass(frozen=True, slots=True)
class ReadBudget:
    projects: Projects
    budgets: Budgets
    ledger: Ledger
    clock: Clock

    async def __call__(self, membership: Membership, project: ProjectId) -> MonthlyBudget:
        """The budget and usage of this month. Raises NotFound, Unavailable."""
        known = await self.projects.get(membership.organization_id, project)
        usd = await self.budgets.monthly(known.id)
        return await _this_month(self.ledger, known.id, usd, self.clock())


@dataclass(frozen=True, slots=True)
class SetBudget:
    editor: OrganizationEditor
    ledger: Ledger

    async def __call__(
        self, person: Person, organization: OrganizationId, project: ProjectId, usd: Decimal | None
    ) -> MonthlyBudget:
        """Sets it from this month on. Raises Invalid, Forbidden, NotFound, Unavailable."""
        new = None if usd is None else validate_budget(usd, "monthly_usd")
        now = self.editor.clock()
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_BUDGET)
            require(await edit.locked.project(project), PROJECT_NOT_FOUND)
            known = await edit.locked.budget(project)
            if new != known:
                await edit.locked.put_budget(project, new, now)
                detail = {"from": _budget_text(known), "to": _budget_text(new)}
                await edit.record(AuditAction.PROJECT_BUDGET_CHANGED, project, detail)
        return await _this_month(self.ledger, project, new, now)


async def _this_month(
    ledger: Ledger, project: ProjectId, usd: Decimal | None, now: datetime
) -> MonthlyBudget:
    month = month_start(now)
    return MonthlyBudget(month, usd, await ledger.total([project], CreatedWithin(month)))


def _budget_text(usd: Decimal | None) -> str:
    return "none" if usd is None else f"{usd.normalize():f} USD a month"
