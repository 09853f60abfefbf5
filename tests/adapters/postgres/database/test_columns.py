"""Column specs: what is derived from them, and that the tables are as they say."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.database.statements.columns import (
    WHOLE,
    Column,
    Table,
    array_text,
    arrays,
    columns,
    compile_reader,
)
from adapters.postgres.evaluation.alerts.alert_rows import ALERTS, CHANGES, DELIVERIES, WEBHOOKS
from adapters.postgres.evaluation.custom_metrics.definition_rows import METRICS, REVISIONS
from adapters.postgres.evaluation.datasets.dataset_rows import DATASETS, VERSIONS
from adapters.postgres.evaluation.experiments.experiments import EXPERIMENTS
from adapters.postgres.evaluation.judging.judge_ledger import JUDGE_CALLS
from adapters.postgres.evaluation.monitors.monitor_rows import MONITORS
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES
from adapters.postgres.evaluation.work_queue.run_rows import RUNS
from adapters.postgres.exports.exports import EXPORTS
from adapters.postgres.identity import identity_rows as rows
from adapters.postgres.privacy.erasures import ERASURES
from adapters.postgres.tracing.model_prices import MODEL_PRICES
from adapters.postgres.tracing.payloads.payload_text import PAYLOADS
from adapters.postgres.tracing.trace_rows import SPANS, TRACES
from tests.support.fixtures.servers import citus

TABLES = (
    *(TRACES, PAYLOADS, SPANS, TRACE_SCORES, SESSION_SCORES, RUNS, MONITORS, JUDGE_CALLS),
    *(ALERTS, CHANGES, WEBHOOKS, DELIVERIES, EXPORTS, MODEL_PRICES, ERASURES, METRICS, REVISIONS),
    *(DATASETS, VERSIONS, EXPERIMENTS),
    *(rows.USERS, rows.ORGANIZATIONS, rows.MEMBERSHIPS, rows.PROJECTS, rows.API_KEYS),
    *(rows.INVITATIONS, rows.LOGIN_CODES, rows.AUDIT_LOG),
)


@dataclass(frozen=True)
class Author:
    name: str


@dataclass(frozen=True)
class Book:
    id: int
    title: str
    author: Author
    tags: tuple[str, ...] = ()
    pages: int | None = None
    length: int = field(init=False, default=0)


BOOKS = Table(
    "books",
    key=("shelf", "book_id"),
    given=(Column("shelf", "text"),),
    columns=(
        Column("book_id", "int", "id"),
        Column("title", "text"),
        Column("search_title", "text", WHOLE, write=lambda book: book.title.casefold()),
        Column("author_name", "text", "author.name"),
        Column("tags", "text[]", write=array_text, read=tuple),
    ),
)
row_of = BOOKS.compile_row()
book_of: Any = compile_reader(
    Book, BOOKS.fields_of(Book), author=lambda row: Author(row["author_name"])
)


def test_row_has_given_values_then_column_values():
    book = Book(7, "ZEN", Author("Robert"), tags=("a", 'b"\\'))
    assert row_of("north", book) == ("north", 7, "ZEN", "zen", "Robert", r'{"a","b\"\\"}')
    assert BOOKS.names == ("shelf", "book_id", "title", "search_title", "author_name", "tags")


def test_reader_builds_fields_and_parts():
    row = {"book_id": 7, "title": "ZEN", "search_title": "?", "author_name": "R", "tags": ["a"]}
    assert book_of(row) == Book(7, "ZEN", Author("R"), tags=("a",))


def test_derived_columns_are_not_read_back():
    assert set(BOOKS.fields_of(Book)) == {"id", "title", "tags"}
    assert set(BOOKS.fields_of(Author, at="author")) == {"name"}


def test_statements_list_column_names():
    assert BOOKS.select("b") == (
        "b.shelf, b.book_id, b.title, b.search_title, b.author_name, b.tags"
    )
    assert BOOKS.insert_from("sent", first=3) == (
        "INSERT INTO books (shelf, book_id, title, search_title, author_name, tags) "
        "SELECT sent.shelf, sent.book_id, sent.title, sent.search_title, sent.author_name, "
        "sent.tags::text[] AS tags FROM unnest($3::text[], $4::int[], $5::text[], $6::text[], "
        "$7::text[], $8::text[]) AS sent (shelf, book_id, title, search_title, author_name, tags)"
    )
    assert BOOKS.unnest("found", "title", "book_id") == (
        "unnest($1::text[], $2::int[]) AS found (title, book_id)"
    )
    assert BOOKS.insert("b").startswith("INSERT INTO books AS b (shelf, ")
    assert BOOKS.insert_if_new().endswith(" ON CONFLICT (shelf, book_id) DO NOTHING")
    assert BOOKS.on_key("found") == "books.shelf = found.shelf AND books.book_id = found.book_id"
    assert BOOKS.overwrite().startswith("title = excluded.title, search_title = ")
    assert BOOKS.assignments().startswith("title = $3, search_title = $4, ")


def test_declared_columns_hold_attributes_of_the_same_names():
    assert columns("id uuid, tags text[]") == (Column("id", "uuid"), Column("tags", "text[]"))
    assert [one.path for one in columns("name text, born timestamptz", at="author")] == [
        "author.name",
        "author.born",
    ]


def test_arrays_transposes_rows_to_columns():
    assert arrays([(1, "a"), (2, "b")]) == [[1, 2], ["a", "b"]]
    assert arrays([]) == []


# --- against the database ------------------------------------------------------------------------

STORED = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AND NOT a.atthasdef AS is_required
FROM pg_attribute AS a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""
KEY = """
SELECT array(
  SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
  JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place
) FROM pg_index AS i WHERE i.indrelid = $1::text::regclass AND i.indisprimary
"""


@pytest.mark.service
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_column_specs_match_the_schema(pool: Pool, table: Table):
    below = citus.placed({"spans": "span_rows"}.get(table.name, table.name))  # of a view
    stored = {row["name"]: row for row in await pool.fetch(STORED, below)}
    for column in table.all_columns:
        type_ = await pool.fetchval("SELECT $1::text::regtype::text", column.type)
        assert (column.name, stored[column.name]["type"]) == (column.name, type_)
    required = {name for name, row in stored.items() if row["is_required"]}
    assert required <= set(table.names)
    assert tuple(await pool.fetchval(KEY, below)) == table.key
