"""The schema follows the rules of Citus, so that the rows of a project can be on one node.

Every unique key and foreign key of a distributed table includes the distribution column. Foreign
keys refer to co-located tables or to reference tables.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from adapters.postgres.database.pool import Pool

pytestmark = pytest.mark.service

DOCS: Final = Path(__file__).parents[3] / "docs" / "scaling.md"
COLUMN: Final = "project_id"
# On the coordinator alone.
LOCAL: Final = frozenset(
    {"migration", "workers", "audit_log", "audit_chains", "access_refusals", "shared_spending"}
)

COLUMNS: Final = """
SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
  AND NOT a.attisdropped
"""
UNIQUE: Final = """
SELECT i.indrelid::regclass::text AS relation, array(
  SELECT a.attname::text FROM unnest(i.indkey) AS k(number)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND (i.indisunique OR i.indisexclusion)
"""
REFERENCES: Final = """
SELECT conrelid::regclass::text AS relation, confrelid::regclass::text AS other,
  array(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k(number, place)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place) AS own,
  array(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS k(number, place)
        JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY place) AS theirs
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'f'
"""
TRIGGERS: Final = """
SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal
"""


def told(call: str) -> list[str]:
    """The tables that the document has in statements of a kind, in their order."""
    return re.findall(rf"SELECT {call}\('(\w+)'", DOCS.read_text())


@pytest.fixture
async def columns(pool: Pool) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for table, column in await pool.fetch(COLUMNS):
        found[table].add(column)
    return found


async def test_document_lists_every_table(columns: dict[str, set[str]]):
    copied, distributed = told("create_reference_table"), told("create_distributed_table")
    assert len(copied) == len({*copied})
    assert len(distributed) == len({*distributed})
    assert {*copied} & {*distributed} == set()
    assert {*copied, *distributed} == columns.keys() - LOCAL


async def test_tables_with_a_project_are_distributed_by_it(columns: dict[str, set[str]]):
    assert set(told("create_distributed_table")) == {
        table
        for table, has in columns.items()
        if COLUMN in has and table not in told("create_reference_table")
    }


async def test_every_unique_key_includes_the_project(pool: Pool):
    distributed = told("create_distributed_table")
    keys = [one for one in await pool.fetch(UNIQUE) if one["relation"] in distributed]
    assert {one["relation"] for one in keys} == {*distributed}
    assert [one for one in keys if COLUMN not in one["columns"]] == []


async def test_foreign_keys_stay_on_one_node(pool: Pool):
    copied, distributed = told("create_reference_table"), told("create_distributed_table")
    for one in await pool.fetch(REFERENCES):
        if one["relation"] in copied:
            assert one["other"] in copied, dict(one)
        elif one["relation"] in distributed and one["other"] not in copied:
            pairs = zip(one["own"], one["theirs"], strict=True)
            assert (COLUMN, COLUMN) in pairs, dict(one)


async def test_distributed_tables_have_no_triggers_but_those_of_payloads(pool: Pool):
    """Which docs/scaling.md lists under what would have to change."""
    assert {row[0] for row in await pool.fetch(TRIGGERS)} <= LOCAL | {"trace_payloads"}
