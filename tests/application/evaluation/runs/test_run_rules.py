"""Budgets of projects, runs and monitors, and the usage of judges."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from application.evaluation.runs.run_rules import RunRequest
from domain.errors import Forbidden, Invalid, NotFound
from domain.evaluation.costs.judge_costs import Spending, SpendingBy
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import TraceSelection
from domain.identity.audit import AuditAction
from domain.identity.caller import Person
from domain.identity.organization import Role
from domain.ids import OrganizationId, ProjectId, RunId
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.support.builders.values import trace
from tests.support.fixtures.in_memory_app import World

USD = Decimal("2.5")


@pytest.fixture
async def bot(world: World, ours: OrganizationId, ada: Person) -> ProjectId:
    return (await world.do.identity.create_project(ada, ours, "bot", "")).id


async def entered(world: World, project: ProjectId, **said: Any) -> None:
    entry = an_entry(**{"project_id": project, "created_at": world.now} | said)
    await world.ports.evaluation.judging.ledger.append([entry])


# --- budgets of projects ---


async def test_budget_is_set_read_and_audited(world, ours, ada, bot):
    membership = await world.membership(ours, ada)
    assert (await world.do.costs.read_budget(membership, bot)).usd is None
    for usd, reported in (
        (USD, "2.5 USD a month"),
        (Decimal(10), "10 USD a month"),
        (None, "none"),
    ):
        world.forward(seconds=1)
        made = await world.do.costs.set_budget(ada, ours, bot, usd)
        assert made == await world.do.costs.read_budget(membership, bot)
        assert made.usd == usd
        entry = (await world.log(ours))[0]
        assert (entry.action, entry.resource_id) == (AuditAction.PROJECT_BUDGET_CHANGED, str(bot))
        assert entry.detail["to"] == reported
    before = await world.log(ours)
    await world.do.costs.set_budget(ada, ours, bot, None)
    assert await world.log(ours) == before


async def test_spent_amount_is_that_of_the_month(world, ours, ada, bot):
    await entered(world, bot, usd=Decimal("0.25"))
    await entered(world, bot, usd=None)
    await entered(world, bot, created_at=world.now - timedelta(days=31))
    await entered(world, ProjectId(uuid.uuid4()), usd=Decimal("0.5"))
    found = await world.do.costs.set_budget(ada, ours, bot, USD)
    assert found.month == datetime(2026, 3, 1, tzinfo=UTC)
    spent = found.spent
    assert (spent.usd, spent.calls, spent.unpriced) == (Decimal("0.25"), 2, 1)
    world.forward(days=31)
    membership = await world.membership(ours, ada)
    assert (await world.do.costs.read_budget(membership, bot)).spent == Spending()


async def test_members_can_read_but_not_set_a_budget(world, ours, ada, bot):
    bob = await world.member(ours, "bob")
    await world.do.costs.set_budget(ada, ours, bot, USD)
    membership = await world.membership(ours, bob)
    assert (await world.do.costs.read_budget(membership, bot)).usd == USD
    before = await world.log(ours)
    with pytest.raises(Forbidden):
        await world.do.costs.set_budget(bob, ours, bot, None)
    assert (await world.do.costs.read_budget(membership, bot)).usd == USD
    assert await world.log(ours) == before
    carol = await world.member(ours, "carol", Role.ADMIN)
    assert (await world.do.costs.set_budget(carol, ours, bot, None)).usd is None


@pytest.mark.parametrize("usd", ["-1", "1000000.5", "0.0000001", "NaN"])
async def test_rejects_invalid_budgets(world, ours, ada, bot, usd):
    with pytest.raises(Invalid) as refused:
        await world.do.costs.set_budget(ada, ours, bot, Decimal(usd))
    assert refused.value.errors[0].field == "monthly_usd"


async def test_budget_of_another_organizations_project_is_not_found(world, ours, ada, bot):
    eve = await world.person("eve")
    theirs = (await world.do.identity.create_organization(eve, "Theirs")).id
    membership = await world.membership(theirs, eve)
    for project in (bot, ProjectId(uuid.uuid4())):
        with pytest.raises(NotFound):
            await world.do.costs.read_budget(membership, project)
        with pytest.raises(NotFound):
            await world.do.costs.set_budget(eve, theirs, project, USD)
    with pytest.raises(Forbidden):
        await world.do.costs.set_budget(eve, ours, bot, USD)
    assert (await world.do.costs.read_budget(await world.membership(ours, ada), bot)).usd is None


# --- usage of an organization ---


async def used(
    world: World,
    ours: OrganizationId,
    person: Person,
    by: SpendingBy,
    *bounds: datetime | None,
) -> tuple[Decimal, dict[str, Decimal]]:
    after, before = bounds or (None, None)
    membership = await world.membership(ours, person)
    found = await world.do.costs.read_usage(membership, after, before, by)
    return found.total.usd, {one.key: one.spending.usd for one in found.parts}


async def test_usage_covers_all_projects_of_the_organization(world, ours, ada, bot):
    other = (await world.do.identity.create_project(ada, ours, "other", "")).id
    eve = await world.person("eve")
    theirs = (await world.do.identity.create_organization(eve, "Theirs")).id
    await entered(world, bot, usd=Decimal(1), model="a")
    await entered(world, other, usd=Decimal(2), model="b", metric="confidence")
    await entered(world, await world.project(theirs), usd=Decimal(4))
    await entered(world, bot, usd=Decimal(8), created_at=world.now - timedelta(days=31))
    bob = await world.member(ours, "bob")
    for by, parts in (
        (SpendingBy.PROJECT, {str(other): 2, str(bot): 1}),
        (SpendingBy.MODEL, {"openai/b": 2, "openai/a": 1}),
        (SpendingBy.METRIC, {"confidence": 2, "task_completion": 1}),
        (SpendingBy.DAY, {"2026-03-01": 3}),
    ):
        assert await used(world, ours, bob, by) == (3, parts)
    january = datetime(2026, 1, 1, tzinfo=UTC)
    assert (await used(world, ours, ada, SpendingBy.PROJECT, january, None))[0] == 11
    assert (await used(world, ours, ada, SpendingBy.PROJECT, january, world.now))[0] == 8
    with pytest.raises(Invalid):
        await used(world, ours, ada, SpendingBy.DAY, january - timedelta(days=400), None)


async def test_usage_excludes_removed_projects(world, ours, ada, bot):
    await entered(world, bot, usd=Decimal(1))
    await world.do.identity.delete_project(ada, ours, bot)
    assert await used(world, ours, ada, SpendingBy.PROJECT) == (0, {})


# --- runs and monitors ---


def order(**said: Any) -> RunRequest:
    return RunRequest(**{"metrics": ["task_completion"], "model": "gpt-4o"} | said)


async def test_run_usage_sums_its_requests(world, bot):
    await world.ports.tracing.traces.put(bot, trace())
    do = world.do.evaluation
    made = await do.start_run(bot, RunId(uuid.uuid4()), order(), TraceSelection())
    assert await do.read_run_usage(bot, made.run.id) == Spending()
    await entered(world, bot, run_id=made.run.id, usd=Decimal("0.1"))
    await entered(world, bot, usd=Decimal(7))
    use = TokenUse(requests=1, input=100, output=10)
    spent = Spending(calls=1, use=use, usd=Decimal("0.1"))
    assert await do.read_run_usage(bot, made.run.id) == spent
    for project, run in ((ProjectId(uuid.uuid4()), made.run.id), (bot, RunId(uuid.uuid4()))):
        with pytest.raises(NotFound):
            await do.read_run_usage(project, run)


@pytest.mark.parametrize("targets", ["selected", "named"])
async def test_run_has_the_requested_votes_and_budget(world, bot, targets):
    one = trace()
    await world.ports.tracing.traces.put(bot, one)
    do, new, said = world.do.evaluation, RunId(uuid.uuid4()), order(votes=5, max_cost_usd=USD)
    if targets == "named":
        made = await do.start_batch(bot, new, TargetType.TRACE, said, [str(one.id)])
    else:
        made = await do.start_run(bot, new, said, TraceSelection())
    assert (made.run.votes, made.run.max_cost_usd) == (5, USD)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"votes": 2}, "votes"),
        ({"max_cost_usd": Decimal("0.0000001")}, "max_cost_usd"),
        ({"max_cost_usd": Decimal(-1), "model": None}, "max_cost_usd"),
        ({"max_cost_usd": USD, "model": "openai/nobody-knows"}, "max_cost_usd"),
    ],
)
async def test_rejects_budgets_that_cannot_be_enforced(world, bot, said, field):
    await world.ports.tracing.traces.put(bot, trace())
    with pytest.raises(Invalid) as refused:
        await world.do.evaluation.start_run(
            bot, RunId(uuid.uuid4()), order(**said), TraceSelection()
        )
    assert [one.field for one in refused.value.errors] == [field]
