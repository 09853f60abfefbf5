"""Contract of Budgets: reservations never exceed the limit."""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.memory.evaluation import judge_costs as memory
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.evaluation.judging.budgets import PostgresBudgets
from adapters.postgres.evaluation.judging.judge_ledger import PostgresLedger
from adapters.postgres.identity import project_budgets
from application.evaluation.ports.judging import Budgets, Ledger, Reservation
from domain.ids import ProjectId, RunId
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.support.builders.values import NOON
from tests.support.hypothesis_scale import scaled

ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class BudgetFixture:
    """The ports, and a way to set a project's monthly budget."""

    budgets: Budgets
    ledger: Ledger
    at: MemoryStore | Pool

    async def set_monthly(
        self, project: ProjectId, usd: Decimal | None, now: datetime = NOON
    ) -> None:
        if isinstance(self.at, MemoryStore):
            memory.store_budget(self.at, project, usd, now)
            return
        async with within(self.at, ALL_TENANTS).transaction() as connection:
            await project_budgets.store_budget(connection, project, usd, now)


@pytest.fixture
def fixture(adapter: Pool | None) -> BudgetFixture:
    if adapter is None:
        store = MemoryStore()
        return BudgetFixture(memory.MemoryBudgets(store), memory.MemoryLedger(store), store)
    return BudgetFixture(PostgresBudgets(adapter), PostgresLedger(adapter), adapter)


@pytest.fixture
def budgets(fixture: BudgetFixture) -> Budgets:
    return fixture.budgets


def ids() -> tuple[ProjectId, RunId]:
    return ProjectId(uuid.uuid4()), RunId(uuid.uuid4())


async def reserve(
    budgets: Budgets,
    project: ProjectId,
    run: RunId,
    usd: Decimal = ONE,
    run_limit: Decimal | None = None,
    now: datetime = NOON,
) -> Reservation | None:
    return await budgets.reserve(project, run, run_limit, usd, now)


async def test_reservation_without_limit_succeeds(budgets: Budgets):
    project, run = ids()
    assert await reserve(budgets, project, run) == Reservation({}, ONE)
    await budgets.settle(project, Reservation({}, ONE), Decimal(0))
    assert await budgets.monthly(project) is None


async def test_run_limit_caps_reservations(budgets: Budgets):
    project, run = ids()
    limit = Decimal("2.5")
    found = [await reserve(budgets, project, run, run_limit=limit) for _ in range(3)]
    assert [one is None for one in found] == [False, False, True]
    assert await reserve(budgets, project, run, Decimal("0.5"), run_limit=limit) is not None
    assert await reserve(budgets, project, RunId(uuid.uuid4()), run_limit=limit) is not None


async def test_unspent_reservation_is_released(budgets: Budgets):
    project, run = ids()
    first = await reserve(budgets, project, run, run_limit=ONE)
    assert first is not None
    assert await reserve(budgets, project, run, run_limit=ONE) is None
    await budgets.settle(project, first, Decimal("0.25"))
    assert await reserve(budgets, project, run, Decimal("0.76"), run_limit=ONE) is None
    assert await reserve(budgets, project, run, Decimal("0.75"), run_limit=ONE) is not None


async def test_monthly_budget_resets_each_month(fixture: BudgetFixture):
    budgets = fixture.budgets
    project, run = ids()
    await fixture.set_monthly(project, ONE)
    assert await budgets.monthly(project) == ONE
    assert await reserve(budgets, project, run) is not None
    assert await reserve(budgets, project, RunId(uuid.uuid4())) is None
    assert await reserve(budgets, *ids()) is not None
    first_of_april = datetime(2026, 4, 1, tzinfo=UTC)
    assert await reserve(budgets, project, run, now=first_of_april) is not None
    moment = first_of_april - timedelta(microseconds=1)
    assert await reserve(budgets, project, run, now=moment) is None


async def test_budget_counts_spending_before_it_was_set(fixture: BudgetFixture):
    budgets, ledger = fixture.budgets, fixture.ledger
    project, run = ids()
    before = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
    await ledger.append(
        [
            an_entry(project_id=project, usd=Decimal("0.5")),
            an_entry(
                project_id=project, usd=Decimal("0.1"), created_at=datetime(2026, 3, 1, tzinfo=UTC)
            ),
            an_entry(project_id=project, usd=None),
            an_entry(project_id=project, usd=Decimal(50), created_at=before),
            an_entry(usd=Decimal(50)),
        ]
    )
    await fixture.set_monthly(project, ONE)
    assert await reserve(budgets, project, run, Decimal("0.5")) is None
    assert await reserve(budgets, project, run, Decimal("0.4")) is not None


async def test_budget_may_be_raised_and_removed(fixture: BudgetFixture):
    budgets = fixture.budgets
    project, run = ids()
    await fixture.set_monthly(project, Decimal(0))
    assert await reserve(budgets, project, run) is None
    await fixture.set_monthly(project, ONE)
    assert await reserve(budgets, project, run) is not None
    await fixture.set_monthly(project, None)
    assert await reserve(budgets, project, run) == Reservation({}, ONE)


async def test_changing_budget_keeps_reservations(fixture: BudgetFixture):
    budgets = fixture.budgets
    project, run = ids()
    await fixture.set_monthly(project, ONE)
    assert await reserve(budgets, project, run) is not None
    await fixture.set_monthly(project, Decimal(2))
    assert await reserve(budgets, project, run) is not None
    assert await reserve(budgets, project, run, Decimal("0.01")) is None


async def test_new_budget_counts_ledger_only(fixture: BudgetFixture):
    budgets, ledger = fixture.budgets, fixture.ledger
    project, run = ids()
    await fixture.set_monthly(project, ONE)
    assert await reserve(budgets, project, run) is not None
    await fixture.set_monthly(project, None)
    await ledger.append([an_entry(project_id=project, usd=Decimal("0.75"))])
    await fixture.set_monthly(project, ONE)
    assert await reserve(budgets, project, run, Decimal("0.26")) is None
    assert await reserve(budgets, project, run, Decimal("0.25")) is not None


async def test_reservation_from_before_a_budget_was_set_again_releases_nothing(
    fixture: BudgetFixture,
):
    budgets, later = fixture.budgets, NOON + timedelta(seconds=1)
    project, run = ids()
    await fixture.set_monthly(project, ONE)
    under_way = await reserve(budgets, project, run)
    assert under_way is not None
    await fixture.set_monthly(project, None)
    await fixture.set_monthly(project, ONE)
    assert await reserve(budgets, project, run, Decimal("0.5"), now=later) is not None
    await budgets.settle(project, under_way, Decimal("0.25"))
    assert await reserve(budgets, project, run, Decimal("0.26"), now=later) is None
    assert await reserve(budgets, project, run, Decimal("0.25"), now=later) is not None


async def test_reservation_respects_run_and_monthly_limits_atomically(fixture: BudgetFixture):
    budgets = fixture.budgets
    project, run = ids()
    await fixture.set_monthly(project, ONE)
    two = Decimal(2)
    assert await reserve(budgets, project, run, two, run_limit=two) is None
    both = await reserve(budgets, project, run, run_limit=two)
    assert both is not None
    assert len(both.scopes) == 2
    await budgets.settle(project, both, Decimal(0))
    assert await reserve(budgets, project, run, run_limit=ONE) is not None


async def test_concurrent_reservations_stay_within_limit(fixture: BudgetFixture):
    budgets = fixture.budgets
    project, run = ids()
    await fixture.set_monthly(project, Decimal(5))
    found = await asyncio.gather(
        *(reserve(budgets, project, run, run_limit=Decimal(7)) for _ in range(20))
    )
    assert sum(one is not None for one in found) == 5


@settings(max_examples=scaled(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.decimals(0, 3, places=3), st.none() | st.decimals(0, 2, places=3)),
        max_size=15,
    )
)
async def test_spent_and_reserved_stay_within_limit(
    budgets: Budgets, steps: list[tuple[Decimal, Decimal | None]]
):
    project, run = ids()
    limit, used = Decimal(5), Decimal(0)
    for asked, spent in steps:
        got = await reserve(budgets, project, run, asked, run_limit=limit)
        assert (got is not None) is (used + asked <= limit)
        if got is None:
            continue
        used += asked
        if spent is not None and spent <= asked:
            await budgets.settle(project, got, spent)
            used += spent - asked
