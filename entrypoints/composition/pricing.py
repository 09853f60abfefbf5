"""The price book by the settings, and the ports of pricing."""

from pathlib import Path

from adapters.postgres.database.pool import Pool
from adapters.postgres.pricing.repricings import PostgresRepricings
from adapters.postgres.tracing.model_prices import PostgresModelPrices
from adapters.postgres.tracing.writes.edits import TraceEdits
from adapters.pricing.genai_prices import GenaiPriceBook
from adapters.pricing.price_table import PriceTableError, TablePriceBook
from application.pricing.use_cases import PricingPorts
from application.tracing.ports import PriceBook
from entrypoints.settings import Settings, SettingsError, variable


def price_book(settings: Settings) -> PriceBook:
    """The operator's table if configured, else the built-in prices. Raises SettingsError."""
    if settings.price_table is None:
        return GenaiPriceBook()
    try:
        return TablePriceBook.from_file(Path(settings.price_table))
    except PriceTableError as error:
        raise SettingsError(f"{variable('price_table')}: {error}") from error


def pricing_ports(pool: Pool, book: PriceBook, edits: TraceEdits) -> PricingPorts:
    return PricingPorts(
        book=book,
        prices=PostgresModelPrices(pool, edits.prices.invalidate),
        repricings=PostgresRepricings(pool, edits),
    )
