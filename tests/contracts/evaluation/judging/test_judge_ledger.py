"""Contract of Ledger: every request once, and what they come to."""

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
from domain.evaluation.scores.query import CreatedWithin
from domain.ids import ProjectId, RunId
from tests.support.builders.values import NOON
from tests.support.hypothesis_scale import scaled

DAY = timedelta(days=1)
ALWAYS = CreatedWithin()


@pytest.fixture
def ledger(adapter: Pool | None) -> Ledger:
    return MemoryLedger(MemoryStore()) if adapter is None else PostgresLedger(adapter)


def an_entry(**said: Any) -> LedgerEntry:
    of_call = {key: said.pop(key) for key in ("provider", "model", "use", "code") if key in said}
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
        "call": JudgeCall(**call | of_call),
        "usd": Decimal("0.001"),
        "price_version": "test",
        "created_at": NOON,
    }
    return LedgerEntry(**known | said)


async def test_a_run_is_told_what_it_took(ledger: Ledger):
    first = an_entry()
    ours = {"project_id": first.project_id, "run_id": first.run_id}
    failed = an_entry(**ours, code=FailCode.RATE_LIMITED, use=TokenUse(requests=1), usd=None)
    others = [an_entry(project_id=first.project_id), an_entry(run_id=first.run_id)]
    await ledger.enter([first, failed, *others])
    assert await ledger.of_run(first.project_id, first.run_id) == Spending(
        calls=2,
        failed=1,
        unpriced=1,
        use=TokenUse(requests=2, input=100, output=10),
        usd=Decimal("0.001"),
    )


async def test_what_nobody_asked_cost_nothing(ledger: Ledger):
    await ledger.enter([])
    project = ProjectId(uuid.uuid4())
    assert await ledger.of_run(project, RunId(uuid.uuid4())) == Spending()
    assert await ledger.of_projects([project], ALWAYS, SpendingBy.MODEL) == []
    assert await ledger.of_projects([], ALWAYS, SpendingBy.MODEL) == []
    assert await ledger.total([project], ALWAYS) == Spending()
    assert await ledger.total([], ALWAYS) == Spending()


async def test_an_entry_is_entered_once(ledger: Ledger):
    one = an_entry()
    await asyncio.gather(*(ledger.enter([one]) for _ in range(5)))
    assert (await ledger.of_run(one.project_id, one.run_id)).calls == 1


async def test_a_period_has_its_beginning_and_not_its_end(ledger: Ledger):
    project = ProjectId(uuid.uuid4())
    entries = [an_entry(project_id=project, created_at=NOON + n * DAY) for n in range(3)]
    await ledger.enter(entries)
    within = CreatedWithin(NOON, NOON + 2 * DAY)
    days = await ledger.of_projects([project], within, SpendingBy.DAY)
    assert [(one.key, one.spending.calls) for one in days] == [
        (f"{NOON + n * DAY:%Y-%m-%d}", 1) for n in range(2)
    ]


def many(projects: Sequence[ProjectId]) -> st.SearchStrategy[list[LedgerEntry]]:
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
async def test_it_adds_up_as_the_entries_do(ledger: Ledger, data: st.DataObject, by: SpendingBy):
    projects = [ProjectId(uuid.uuid4()) for _ in range(3)]
    entries = data.draw(many(projects))
    await ledger.enter(entries)
    asked = projects[:2]
    within = CreatedWithin(NOON - DAY, NOON + DAY)
    ours = [one for one in entries if one.project_id in asked and within.includes(one.created_at)]
    found = await ledger.of_projects(asked, within, by)
    assert list(found) == group_spending(ours, by)
    assert await ledger.total(asked, within) == Spending.from_entries(ours)


async def test_of_many_parts_some_are_told_and_the_total_is_that_of_all(ledger: Ledger):
    project = ProjectId(uuid.uuid4())
    entries = [
        an_entry(project_id=project, metric=f"m{n:03}", created_at=NOON + n * DAY)
        for n in range(PARTS_MAX + 2)
    ]
    await ledger.enter(entries)
    metrics = await ledger.of_projects([project], ALWAYS, SpendingBy.METRIC)
    assert [one.key for one in metrics] == [f"m{n:03}" for n in range(PARTS_MAX)]
    days = await ledger.of_projects([project], ALWAYS, SpendingBy.DAY)
    assert len(days) == PARTS_MAX
    assert days[-1].key == f"{entries[-1].created_at:%Y-%m-%d}"
    assert (await ledger.total([project], ALWAYS)).calls == len(entries)


async def test_the_oldest_are_swept(ledger: Ledger):
    long_ago = NOON - 9_000 * DAY  # of this test alone, in a database of all
    project = ProjectId(uuid.uuid4())
    await ledger.enter(
        [an_entry(project_id=project, created_at=long_ago + n * DAY) for n in range(3)]
    )
    assert await ledger.sweep(long_ago + 2 * DAY) == 2
    [left] = await ledger.of_projects([project], ALWAYS, SpendingBy.PROJECT)
    assert left == SpendingGroup(str(project), left.spending)
    assert left.spending.calls == 1
