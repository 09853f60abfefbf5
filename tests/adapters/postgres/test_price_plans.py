"""By which indexes prices and repricings reach their rows, whatever the statistics say."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest

from adapters.postgres.pricing.repricings import PostgresRepricings
from adapters.postgres.tracing.model_prices import PostgresModelPrices
from application.pricing.ports import REPRICED_SPANS_BATCH
from domain.ids import ProjectId
from tests.adapters.postgres.tracing.test_plans import nodes, plans, read_rows, scanned_whole
from tests.support.builders.values import NOON, prices
from tests.support.fixtures.pricing import LATER, a_price, a_repricing
from tests.support.fixtures.seeded_database import OURS, START, UNKNOWN, Seeded
from tests.support.fixtures.servers import citus

pytestmark = pytest.mark.service

TAKEN: Final = 3_000  # spans of each project that no client said the cost of
SPANS: Final = citus.placed("span_rows")
# By the key, PostgreSQL reads the project for each of them, since it expects one row there.
KEY: Final = "project_id, trace_id, span_id" if citus.IS_USED else "ctid"
SPREAD: Final = f"""
WITH newest AS MATERIALIZED (
  SELECT {KEY}, row_number() OVER (ORDER BY started_at DESC, span_id) AS n
  FROM {SPANS} WHERE project_id = $1 ORDER BY started_at DESC, span_id LIMIT $2
)
UPDATE {SPANS} AS s SET cost_source = CASE WHEN n <= 100 THEN 'unpriced' ELSE 'table' END
FROM newest
WHERE {" AND ".join(f"s.{one} = newest.{one}" for one in KEY.split(", "))}
"""
BACK: Final = f"""
UPDATE {SPANS} SET cost_source = 'client' WHERE project_id = $1 AND cost_source <> 'client'
"""


@pytest.fixture(scope="module")
async def priced(seeded: Seeded) -> AsyncIterator[Seeded]:
    for project_id in (OURS, UNKNOWN):
        await seeded.owner.execute(SPREAD, project_id, TAKEN)
    yield seeded
    for project_id in (OURS, UNKNOWN):
        await seeded.owner.execute(BACK, project_id)


type Read = Callable[[Seeded, ProjectId], Awaitable[object]]


@pytest.mark.parametrize("project_id", [OURS, UNKNOWN])
async def test_unpriced_models_use_their_index(priced: Seeded, project_id: ProjectId) -> None:
    read: Read = lambda at, project_id: PostgresModelPrices(at.pool).list_unpriced(
        project_id, START
    )
    found = await plans(priced, read, project_id)
    assert not scanned_whole(found)
    assert read_rows(found)["span_rows"] == 100
    assert {one["Index Name"] for one in found if "Index Name" in one} >= {"spans_unpriced"}


@pytest.mark.parametrize("is_dry", [True, False])
@pytest.mark.parametrize("project_id", [OURS, UNKNOWN])
async def test_repricing_step_reads_only_its_spans(
    priced: Seeded, project_id: ProjectId, is_dry: bool
) -> None:
    repricings = PostgresRepricings(priced.pool, priced.edits)
    period = {"started_after": START, "started_before": START + timedelta(days=365)}
    asked = a_repricing(project_id, id=uuid.uuid4(), is_dry=is_dry, **period)
    first = await repricings.create(asked)
    priced.statements.clear()
    second = await repricings.step(first, prices().price, NOON, LATER)
    assert second is not None
    third = await repricings.step(second, prices().price, NOON, LATER)
    assert third is not None
    assert third.found.total.spans == 2 * REPRICED_SPANS_BATCH
    walked = [one for one in priced.statements if "LIMIT $3" in one.query]
    assert len(walked) == 2
    for asked_for in walked:
        found = await explained(priced, asked_for)
        assert not scanned_whole(found)
        assert read_rows(found)["span_rows"] <= REPRICED_SPANS_BATCH + 3  # spans of one instant
        assert "spans_priced" in {one.get("Index Name") for one in found}
    for other in priced.statements:
        if other.query.lstrip().startswith(("UPDATE", "SELECT")) and other.args:
            assert not scanned_whole(await planned(priced, other)), other.query
    await priced.pool.execute("DELETE FROM repricings WHERE project_id = $1", project_id)


async def test_prices_are_found_by_key(priced: Seeded) -> None:
    at = PostgresModelPrices(priced.pool)
    for project_id in (OURS, UNKNOWN):
        await at.create(a_price(project_id))
    priced.statements.clear()
    assert {
        project_id: len(some)
        for project_id, some in (await at.for_projects([OURS, UNKNOWN])).items()
    } == {
        OURS: 1,
        UNKNOWN: 1,
    }
    [asked] = [one for one in priced.statements if one.args]
    for node in await planned(priced, asked):
        if node.get("Relation Name") == "model_prices":
            assert "project_id" in node.get("Index Cond", node.get("Recheck Cond", ""))
    await priced.pool.execute(
        "DELETE FROM model_prices WHERE project_id = ANY($1)", [OURS, UNKNOWN]
    )


async def explained(seeded: Seeded, asked: Any) -> list[Any]:
    return await _plan(seeded, "ANALYZE, FORMAT JSON", asked)


async def planned(seeded: Seeded, asked: Any) -> list[Any]:
    return await _plan(seeded, "FORMAT JSON", asked)


async def _plan(seeded: Seeded, how: str, asked: Any) -> list[Any]:
    text = await seeded.pool.fetchval(f"EXPLAIN ({how}) {asked.query}", *asked.args)
    return [*nodes(msgspec.json.decode(text)[0]["Plan"])]
