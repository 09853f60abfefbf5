"""Composition: adapters that depend on settings."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from domain.tracing.usage import Usage
from entrypoints.composition.database import migrate
from entrypoints.composition.pricing import price_book
from entrypoints.settings import Settings, SettingsError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PAGE = (Path(__file__).parents[3] / "docs/operation/settings.md").read_text()


def test_price_table_replaces_built_in_prices(tmp_path):
    file = tmp_path / "prices.json"
    file.write_text(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    book = price_book(Settings(price_table=str(file)))
    usage = Usage(1_000_000, 1_000_000)
    assert book.price("openai/gpt-4o-mini", usage, NOW).amount == Decimal("12.50")
    assert book.price("our-model", usage, NOW).amount == Decimal("0.60")
    assert book.price("our-model", usage, datetime(2025, 12, 31, tzinfo=UTC)) is None
    assert book.price("claude-sonnet-4-20250514", usage, NOW) is None


def test_built_in_prices_apply_without_a_price_table():
    book = price_book(Settings())
    assert book.price("gpt-4o", Usage(1_000, 100), NOW).amount == Decimal("0.0035")


@pytest.mark.parametrize("content", [None, "no json", json.dumps([{"match": "a"}])])
def test_invalid_price_table_error_names_the_variable(tmp_path, content):
    file = tmp_path / "prices.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"PANDAPROBE_PRICE_TABLE: .*prices\.json"):
        price_book(Settings(price_table=str(file)))


@pytest.mark.service
async def test_migrate_needs_one_connection_and_its_own_time(postgres_url):
    """In a database of its own: one role for everything forces policies on it."""
    server = await asyncpg.connect(postgres_url)
    await server.execute("CREATE DATABASE migrated_alone")
    url = urlsplit(postgres_url)._replace(path="/migrated_alone").geturl()
    # Statements of `migrate` may take longer than those of requests.
    settings = Settings(database_url=url, database_pool_size=1, database_statement_timeout_ms=1)
    assert await migrate(settings) != []
    assert await migrate(settings) == []
    await server.execute("DROP DATABASE migrated_alone WITH (FORCE)")
    await server.close()
