"""The cost of the judges of an organization, and the monthly budget of a project."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from application.evaluation.ports.judging import Budgets, Ledger
from application.identity.organization_edit import OrganizationEditor, require
from application.identity.ports import Directory, Projects
from application.identity.projects import PROJECT_NOT_FOUND
from application.ports import Clock
from domain.errors import Invalid
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
from domain.identity.organization import (
    KEY_DAYS_MAX,
    Action,
    Membership,
    OrganizationLimits,
    validate_retention,
)
from domain.ids import OrganizationId, ProjectId
from domain.wording import counted


@dataclass(frozen=True, slots=True)
class OrganizationUsage:
    """The spending in a period: the total and its groups, as many as `Ledger` returns."""

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
        parts = await self.ledger.projects_spending(projects, within, by)
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


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """The limits of an organization, and what all its projects spent this month.

    `spent` is at least what the budget counts, which includes deleted projects. Otherwise judges
    would stop although the figures show that some of the budget is left.
    """

    month: datetime
    limits: OrganizationLimits
    spent: Spending


@dataclass(frozen=True, slots=True)
class ReadLimits:
    directory: Directory
    budgets: Budgets
    ledger: Ledger
    clock: Clock

    async def __call__(self, organization: OrganizationId) -> SpendingLimits:
        """Raises NotFound, Unavailable."""
        limits = await self.directory.limits(organization)
        return await _with_spending(self, limits, organization, self.clock())


@dataclass(frozen=True, slots=True)
class SetLimits:
    editor: OrganizationEditor
    directory: Directory
    budgets: Budgets
    ledger: Ledger

    async def __call__(
        self, person: Person, organization: OrganizationId, limits: OrganizationLimits
    ) -> SpendingLimits:
        """Sets them for this month, and for projects that are created from now on.

        Raises Invalid, Forbidden, Unavailable.
        """
        new = OrganizationLimits(
            monthly_usd=_validated(limits.monthly_usd, "monthly_usd"),
            project_monthly_usd=_validated(limits.project_monthly_usd, "project_monthly_usd"),
            project_retention_days=validate_retention(
                limits.project_retention_days, "project_retention_days"
            ),
            key_days=_validated_days(limits.key_days),
        )
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_BUDGET, Action.CHANGE_RETENTION)
            known = await edit.locked.limits()
            if new != known:
                await edit.locked.put_limits(new, self.editor.clock())
                detail = {"from": _limits_text(known), "to": _limits_text(new)}
                await edit.record(AuditAction.ORGANIZATION_LIMITS_CHANGED, organization, detail)
        return await _with_spending(self, new, organization, self.editor.clock())


async def _with_spending(
    ports: ReadLimits | SetLimits,
    limits: OrganizationLimits,
    organization: OrganizationId,
    now: datetime,
) -> SpendingLimits:
    month = month_start(now)
    projects = [one.id for one in await ports.directory.projects(organization)]
    spent = await ports.ledger.total(projects, CreatedWithin(month))
    budgeted = await ports.budgets.organization_spending(organization, now)
    return SpendingLimits(month, limits, replace(spent, usd=max(spent.usd, budgeted)))


def _validated(usd: Decimal | None, field: str) -> Decimal | None:
    return None if usd is None else validate_budget(usd, field)


def _validated_days(days: int | None) -> int | None:
    if days is not None and not 1 <= days <= KEY_DAYS_MAX:
        raise Invalid.field("key_days", f"must be between 1 and {KEY_DAYS_MAX}, or null")
    return days


def _limits_text(limits: OrganizationLimits) -> str:
    days = limits.project_retention_days
    return (
        f"in all: {_budget_text(limits.monthly_usd)}; new projects: "
        f"{_budget_text(limits.project_monthly_usd)}, kept "
        f"{'for ever' if days is None else counted(days, 'day')}; new keys expire "
        f"{'never' if limits.key_days is None else 'after ' + counted(limits.key_days, 'day')}"
    )


async def _this_month(
    ledger: Ledger, project: ProjectId, usd: Decimal | None, now: datetime
) -> MonthlyBudget:
    month = month_start(now)
    return MonthlyBudget(month, usd, await ledger.total([project], CreatedWithin(month)))


def _budget_text(usd: Decimal | None) -> str:
    return "none" if usd is None else f"{usd.normalize():f} USD a month"
