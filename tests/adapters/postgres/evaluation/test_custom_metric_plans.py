"""Query plans: the indexes that find custom metrics among many."""

import json
import uuid

import pytest

from adapters.postgres.evaluation.custom_metrics.custom_metrics import (
    LOCK_METRIC,
    SELECT_METRIC,
    SELECT_METRICS,
    SELECT_METRICS_BY_NAME,
    SELECT_REVISIONS,
)
from tests.adapters.postgres.tracing.test_plans import nodes

pytestmark = pytest.mark.service

TABLES = ("custom_metrics", "custom_metric_revisions")
METRICS, REVISION = 40, 5  # of each project
PROJECTS = 250


async def fill(connection, projects):
    await connection.execute(
        f"""
        INSERT INTO custom_metrics (project_id, name, id, revision, created_at)
        SELECT p, 'metric_' || n, gen_random_uuid(), {REVISION}, now()
        FROM unnest($1::uuid[]) AS p, generate_series(1, {METRICS}) AS n
        """,
        projects,
    )
    await connection.execute(
        f"""
        INSERT INTO custom_metric_revisions
        SELECT p, 'metric_' || n, r, 'rule', 'd', 0.5, ''::bytea, now()
        FROM unnest($1::uuid[]) AS p, generate_series(1, {METRICS}) AS n,
          generate_series(1, {REVISION}) AS r
        """,
        projects,
    )


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
async def test_metrics_are_found_by_key_with_any_statistics(pool, is_known):
    """To the planner an unknown project has no rows."""
    ours, others = uuid.uuid4(), [uuid.uuid4() for _ in range(PROJECTS)]
    async with pool.acquire() as connection:
        changes = connection.transaction()
        await changes.start()
        try:
            await fill(connection, [*others, *([ours] if is_known else [])])
            for table in TABLES:
                await connection.execute(f"ANALYZE {table}")
            if not is_known:
                await fill(connection, [ours])
            for sql, args, most in (
                (SELECT_METRIC, (ours, "metric_7"), 2),
                (SELECT_METRICS_BY_NAME, (ours, ["metric_7", "metric_8", "nothing"]), 4),
                (SELECT_METRICS, (ours,), 2 * METRICS),
                (SELECT_REVISIONS, (ours, "metric_7"), REVISION),
                (LOCK_METRIC, (ours, "metric_7"), 1),
            ):
                text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args)
                found = list(nodes(json.loads(text)[0]["Plan"]))
                scanned = [one for one in found if one.get("Relation Name") in TABLES]
                assert scanned
                assert {one["Node Type"] for one in scanned} & {"Seq Scan"} == set(), sql
                read = sum(
                    (one["Actual Rows"] + one.get("Rows Removed by Filter", 0))
                    * one["Actual Loops"]
                    for one in scanned
                )
                assert read <= most, sql
        finally:
            await changes.rollback()
