"""The schema keeps the rules of Citus, so that the rows of a project can be on one node.

Every unique key of a table of projects includes the project, so that a table can also be divided by
it. No foreign key leads from these tables to others: Citus allows none.
"""

from collections import defaultdict
from typing import Final

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.schema.distributing import SELECT_TABLES

pytestmark = pytest.mark.service

COLUMN: Final = "project_id"

UNIQUE: Final = """
SELECT i.indrelid::regclass::text AS relation, array(
  SELECT a.attname::text FROM unnest(i.indkey) AS k(number)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND (i.indisunique OR i.indisexclusion)
"""
REFERENCES: Final = """
SELECT conrelid::regclass::text AS relation, confrelid::regclass::text AS other
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'f'
"""
TRIGGERS: Final = """
SELECT tgrelid::regclass::text FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal
"""


@pytest.fixture
async def of_projects(pool: Pool) -> list[str]:
    return [row["name"] for row in await pool.fetch(SELECT_TABLES, None)]


async def test_every_unique_key_includes_the_project(pool: Pool, of_projects: list[str]):
    keys = defaultdict[str, list[list[str]]](list)
    for relation, columns in await pool.fetch(UNIQUE):
        keys[relation].append(columns)
    assert [one for one in of_projects if not keys[one]] == []
    assert [one for one in of_projects if not all(COLUMN in key for key in keys[one])] == []


async def test_no_foreign_key_joins_tables_of_projects_to_others(
    pool: Pool, of_projects: list[str]
):
    for relation, other in await pool.fetch(REFERENCES):
        assert (relation in of_projects) is (other in of_projects)


async def test_tables_of_projects_have_no_triggers_but_those_of_payloads_and_scores(
    pool: Pool, of_projects: list[str]
):
    """Citus allows them as unsafe; these write to a table of the same node."""
    found = {row[0] for row in await pool.fetch(TRIGGERS)} & {*of_projects}
    assert found == {"trace_payloads", "trace_scores", "session_scores"}
