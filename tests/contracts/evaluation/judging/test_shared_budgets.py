"""Budgets of an organization and of the server: part of the contract of Budgets.

Run against every adapter. They hold over all projects together, whatever becomes of one of them.
"""

import asyncio
import uuid
from datetime import timedelta
from decimal import Decimal

import pytest

from adapters.memory.evaluation.judge_costs import MemoryBudgets
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.judging.budgets import PostgresBudgets
from domain.evaluation.costs.judge_costs import month_start
from domain.identity.organization import NO_LIMITS, OrganizationLimits, Project
from domain.ids import ProjectId, RunId
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.support.fixtures.in_memory_app import World
from tests.support.waiting import until_done

ONE = Decimal(1)
TWO_IN_ALL = OrganizationLimits(monthly_usd=Decimal(2))


@pytest.fixture
async def ada(world: World):
    return await world.person("ada")


@pytest.fixture
async def ours(world: World, ada):
    return (await world.do.identity.create_organization(ada, "Ours")).id


@pytest.fixture
def reserve(world: World):
    """Returns a function that reserves one dollar for a new run of a project."""

    async def reserve(project: ProjectId, usd: Decimal = ONE):
        budgets = world.ports.evaluation.judging.budgets
        return await budgets.reserve(project, RunId(uuid.uuid4()), None, usd, world.now)

    return reserve


async def new_project(world: World, ada, ours, name: str) -> ProjectId:
    return (await world.do.identity.create_project(ada, ours, name, "")).id


async def test_projects_share_the_budget_of_their_organization(world, ada, ours, reserve):
    await world.do.costs.set_limits(ada, ours, TWO_IN_ALL)
    first, second = [await new_project(world, ada, ours, name) for name in "ab"]
    found = await asyncio.gather(*(reserve(one) for one in (first, second) * 3))
    assert sum(one is not None for one in found) == 2
    budgets = world.ports.evaluation.judging.budgets
    [held, _] = [one for one in found if one is not None]
    await budgets.settle(first, held, Decimal("0.5"))
    assert await reserve(second, Decimal("0.6")) is None
    assert await reserve(second, Decimal("0.5")) is not None
    other = (await world.do.identity.create_organization(ada, "Other")).id
    assert await reserve(await new_project(world, ada, other, "a")) is not None
    world.forward(days=40)
    assert await reserve(first) is not None


async def test_deleted_project_frees_no_budget_of_its_organization(world, ada, ours, reserve):
    await world.do.costs.set_limits(ada, ours, TWO_IN_ALL)
    project = await new_project(world, ada, ours, "bot")
    assert await reserve(project, Decimal(2)) is not None
    await world.do.identity.delete_project(ada, ours, project)
    await until_done(world.do.identity.purge_removed_projects)
    again = await new_project(world, ada, ours, "bot")
    assert await reserve(again) is None
    assert (await world.do.costs.read_limits(ours)).spent.usd == 2
    await world.do.costs.set_limits(ada, ours, NO_LIMITS)
    assert (await world.do.costs.read_limits(ours)).spent.usd == 0
    assert await reserve(again) is not None


async def test_budget_set_within_a_month_counts_what_was_spent(world, ada, ours, reserve):
    project, sibling = [await new_project(world, ada, ours, name) for name in ("bot", "sibling")]
    other = (await world.do.identity.create_organization(ada, "Other")).id
    theirs = await new_project(world, ada, other, "bot")
    ledger = world.ports.evaluation.judging.ledger
    earlier, began = world.now - timedelta(days=40), month_start(world.now)
    await ledger.append(
        [
            an_entry(project_id=project, usd=ONE, created_at=world.now),
            an_entry(project_id=project, usd=Decimal(9), created_at=earlier),
            an_entry(project_id=sibling, usd=Decimal("0.5"), created_at=began),
            an_entry(project_id=theirs, usd=Decimal(9), created_at=world.now),
        ]
    )
    await world.do.costs.set_limits(ada, ours, TWO_IN_ALL)
    assert await reserve(project) is None
    assert await reserve(project, Decimal("0.5")) is not None
    await world.do.costs.set_limits(ada, ours, OrganizationLimits(monthly_usd=Decimal(3)))
    assert await reserve(project) is not None
    assert await reserve(project, Decimal("0.01")) is None  # what is reserved still counts
    await world.do.costs.set_limits(ada, ours, OrganizationLimits(monthly_usd=Decimal(9)))
    await world.do.costs.set_budget(ada, ours, sibling, ONE)
    assert await reserve(sibling, Decimal("0.6")) is None
    assert await reserve(sibling, Decimal("0.5")) is not None


async def test_reservation_from_before_a_shared_budget_was_set_again_releases_nothing(
    world, ada, ours, reserve
):
    project = await new_project(world, ada, ours, "bot")
    budgets = world.ports.evaluation.judging.budgets
    await world.do.costs.set_limits(ada, ours, TWO_IN_ALL)
    under_way = await reserve(project, Decimal(2))
    for limits in (NO_LIMITS, TWO_IN_ALL):
        await world.do.costs.set_limits(ada, ours, limits)
    world.forward(seconds=1)
    assert await reserve(project) is not None
    await budgets.settle(project, under_way, Decimal("0.5"))
    assert await reserve(project, Decimal("0.6")) is None
    assert await reserve(project, Decimal("0.5")) is not None


async def test_new_projects_start_with_the_limits_of_their_organization(world, ada, ours):
    limits = OrganizationLimits(
        project_monthly_usd=Decimal(7), project_retention_days=30, key_days=90
    )
    before = await new_project(world, ada, ours, "before")
    await world.do.costs.set_limits(ada, ours, limits)
    ports = world.ports
    created = await new_project(world, ada, ours, "created")

    async def named() -> Project:
        made = Project(
            id=ProjectId(uuid.uuid4()), organization_id=ours, name="named", created_at=world.now
        )
        return await ports.identity.projects.ensure(ours, made)

    first = await named()
    await world.do.identity.delete_project(ada, ours, first.id)
    again = await named()
    assert again.id != first.id
    for project in (created, again.id):
        assert await ports.evaluation.judging.budgets.monthly(project) == Decimal(7)
        stored = await ports.identity.projects.get(ours, project)
        assert stored.retention_days == 30
    assert again.retention_days == 30
    assert await ports.evaluation.judging.budgets.monthly(before) is None
    assert await ports.identity.directory.limits(ours) == limits


async def test_all_projects_share_the_budget_of_the_server(adapter: Pool | None, world, ada, ours):
    if adapter is None:
        budgets: MemoryBudgets | PostgresBudgets = MemoryBudgets(MemoryStore(), Decimal(2))
        first, second = [ProjectId(uuid.uuid4()) for _ in range(2)]
    else:
        budgets = PostgresBudgets(adapter, Decimal(2))
        first = await new_project(world, ada, ours, "a")
        other = (await world.do.identity.create_organization(ada, "Other")).id
        second = await new_project(world, ada, other, "a")
    later = world.now + timedelta(days=3_650)  # a month in which no other test spends
    found = [
        await budgets.reserve(project, RunId(uuid.uuid4()), None, ONE, later)
        for project in (first, second, first)
    ]
    assert [one is None for one in found] == [False, False, True]
    assert found[1] is not None
    await budgets.settle(second, found[1], Decimal(0))
    assert await budgets.reserve(first, RunId(uuid.uuid4()), None, ONE, later) is not None
    if adapter is not None:
        budgets = PostgresBudgets(adapter, Decimal(2))  # of a process that starts
    assert await budgets.reserve(first, RunId(uuid.uuid4()), None, ONE, later) is None
