"""Contract of Ledger: stores every request once, and sums them up."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.memory.evaluation.judge_costs import MemoryLedger
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.judging.judge_ledger import PostgresLedger
from application.evaluation.ports.judging import PARTS_MAX, Ledger
from domain.evaluation.costs.judge_costs import (
    LedgerEntry,
    Spending,
    SpendingBy,
    SpendingGroup,
    group_spending,
)
from domain.evaluation.judging.judge import JudgeCall, TokenUse
from domain.evaluation.scores.outcome import FailCode
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId, RunId
from tests.support.builders.values import NOON
from tests.support.hypothesis_scale import scaled

DAY = timedelta(days=1)
ALL_TIME = CreatedWithin()


@pytest.fixture
def ledger(adapter: Pool | None) -> Ledger:
    return MemoryLedger(MemoryStore()) if adapter is None else PostgresLedger(adapter)


def an_entry(**overrides: Any) -> LedgerEntry:
    call_overrides = {
        key: overrides.pop(key) for key in ("provider", "model", "use", "code") if key in overrides
    }
    call: dict[str, Any] = {
        "provider": "openai",
        "model": "tiny",
        "use": TokenUse(requests=1, input=100, output=10),
        "latency_ms": 12.5,
    }
    known: dict[str, Any] = {
        "id": uuid.uuid4(),
        "project_id": ProjectId(uuid.uuid4()),
        "run_id": RunId(uuid.uuid4()),
        "target": str(uuid.uuid4()),
        "metric": "task_completion",
        "attempt": 1,
        "call": JudgeCall(**call | call_overrides),
        "usd": Decimal("0.001"),
        "price_version": "test",
        "created_at": NOON,
    }
    return LedgerEntry(**known | overrides)


async def test_run_spending_sums_its_entries(ledger: Ledger):
    first = an_entry()
    ours = {"project_id": first.project_id, "run_id": first.run_id}
    failed = an_entry(**ours, code=FailCode.RATE_LIMITED, use=TokenUse(requests=1), usd=None)
    others = [an_entry(project_id=first.project_id), an_entry(run_id=first.run_id)]
    await ledger.append([first, failed, *others])
    runs = [first.run_id, others[0].run_id, RunId(uuid.uuid4())]
    assert await ledger.spending_by_run(first.project_id, runs) == {
        one: await ledger.run_spending(first.project_id, one) for one in runs[:2]
    }
    assert await ledger.spending_by_run(first.project_id, []) == {}
    assert await ledger.run_spending(first.project_id, first.run_id) == Spending(
        calls=2,
        failed=1,
        unpriced=1,
        use=TokenUse(requests=2, input=100, output=10),
        usd=Decimal("0.001"),
    )


async def test_run_spending_by_metric_has_a_group_for_each(ledger: Ledger):
    first = an_entry()
    ours = {"project_id": first.project_id, "run_id": first.run_id}
    more = [an_entry(**ours, metric="coherence", usd=usd) for usd in (Decimal("0.01"), None)]
    others = [an_entry(project_id=first.project_id), an_entry(run_id=first.run_id)]
    await ledger.append([first, *more, *others])
    assert await ledger.run_spending_by_metric(first.project_id, first.run_id) == [
        SpendingGroup("coherence", Spending.from_entries(more)),
        SpendingGroup("task_completion", Spending.from_entries([first])),
    ]
    assert await ledger.run_spending_by_metric(ProjectId(uuid.uuid4()), first.run_id) == []


async def test_without_entries_spending_is_zero(ledger: Ledger):
    await ledger.append([])
    project = ProjectId(uuid.uuid4())
    assert await ledger.run_spending(project, RunId(uuid.uuid4())) == Spending()
    assert await ledger.projects_spending([project], ALL_TIME, SpendingBy.MODEL) == []
    assert await ledger.projects_spending([], ALL_TIME, SpendingBy.MODEL) == []
    assert await ledger.total([project], ALL_TIME) == Spending()
    assert await ledger.total([], ALL_TIME) == Spending()


async def test_entry_is_stored_once(ledger: Ledger):
    one = an_entry()
    await asyncio.gather(*(ledger.append([one]) for _ in range(5)))
    assert (await ledger.run_spending(one.project_id, one.run_id)).calls == 1


async def test_period_includes_start_and_excludes_end(ledger: Ledger):
    project, late = ProjectId(uuid.uuid4()), NOON + timedelta(hours=11.5)  # elsewhere the next day
    entries = [an_entry(project_id=project, created_at=late + n * DAY) for n in range(3)]
    await ledger.append(entries)
    within = CreatedWithin(late, late + 2 * DAY)
    days = await ledger.projects_spending([project], within, SpendingBy.DAY)
    assert [(one.key, one.spending.calls) for one in days] == [
        (f"{late + n * DAY:%Y-%m-%d}", 1) for n in range(2)
    ]


def entry_lists(projects: Sequence[ProjectId]) -> st.SearchStrategy[list[LedgerEntry]]:
    tokens = st.integers(0, 10**12)
    use = st.builds(
        TokenUse,
        requests=st.just(1),
        input=tokens,
        cache_read=tokens,
        cache_write=tokens,
        output=tokens,
        reasoning=tokens,
    )
    entry = st.builds(
        an_entry,
        project_id=st.sampled_from(projects),
        provider=st.sampled_from(["openai", "anthropic"]),
        model=st.sampled_from(["tiny", "größer", "a/b"]),
        metric=st.sampled_from(["confidence", "task_completion"]),
        use=use,
        code=st.sampled_from([None, FailCode.AUTH]),
        usd=st.none() | st.decimals(0, 10**6, places=12),
        created_at=st.integers(-3, 3).map(lambda n: NOON + n * DAY / 2),
    )
    return st.lists(entry, max_size=20)


@settings(max_examples=scaled(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), by=st.sampled_from(SpendingBy))
async def test_groups_and_total_match_domain(ledger: Ledger, data: st.DataObject, by: SpendingBy):
    projects = [ProjectId(uuid.uuid4()) for _ in range(3)]
    entries = data.draw(entry_lists(projects))
    await ledger.append(entries)
    asked = projects[:2]
    within = CreatedWithin(NOON - DAY, NOON + DAY)
    ours = [one for one in entries if one.project_id in asked and within.includes(one.created_at)]
    found = await ledger.projects_spending(asked, within, by)
    assert list(found) == group_spending(ours, by)
    assert await ledger.total(asked, within) == Spending.from_entries(ours)


async def test_groups_are_limited_and_total_covers_all(ledger: Ledger):
    project = ProjectId(uuid.uuid4())
    entries = [
        an_entry(project_id=project, metric=f"m{n:03}", created_at=NOON + n * DAY)
        for n in range(PARTS_MAX + 2)
    ]
    await ledger.append(entries)
    metrics = await ledger.projects_spending([project], ALL_TIME, SpendingBy.METRIC)
    assert [one.key for one in metrics] == [f"m{n:03}" for n in range(PARTS_MAX)]
    days = await ledger.projects_spending([project], ALL_TIME, SpendingBy.DAY)
    assert len(days) == PARTS_MAX
    assert days[-1].key == f"{entries[-1].created_at:%Y-%m-%d}"
    assert (await ledger.total([project], ALL_TIME)).calls == len(entries)


async def test_sweep_deletes_oldest_entries(ledger: Ledger):
    long_ago = NOON - 9_000 * DAY  # used by this test only, since all tests share a database
    project = ProjectId(uuid.uuid4())
    await ledger.append(
        [an_entry(project_id=project, created_at=long_ago + n * DAY) for n in range(3)]
    )
    assert await ledger.delete_older(long_ago + 2 * DAY) == 2
    [left] = await ledger.projects_spending([project], ALL_TIME, SpendingBy.PROJECT)
    assert left == SpendingGroup(str(project), left.spending)
    assert left.spending.calls == 1
