"""The tables of prices, as Piccolo sees them; tables.py says more."""

from typing import Final

from piccolo.columns import JSON, UUID, Array, Boolean, Integer, Numeric, Text, Timestamptz
from piccolo.table import Table


class ModelPriceRow(Table, tablename="model_prices"):
    project_id = UUID(primary_key=True)
    id = UUID()
    match = Text()
    input = Numeric()
    output = Numeric()
    cache_read = Numeric(null=True, default=None)
    cache_write = Numeric(null=True, default=None)
    effective_from = Timestamptz(null=True, default=None)
    effective_to = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class RepricingRow(Table, tablename="repricings"):
    project_id = UUID(primary_key=True)
    id = UUID()
    started_after = Timestamptz(null=True, default=None)
    started_before = Timestamptz(null=True, default=None)
    models = Array(base_column=Text())
    is_dry = Boolean()
    place = JSON(null=True, default=None)
    found = JSON()
    created_at = Timestamptz()
    completed_at = Timestamptz(null=True, default=None)
    held_until = Timestamptz()
    attempts = Integer(default=0)
    error = Text(null=True, default=None)


PRICES: Final = (ModelPriceRow, RepricingRow)
