"""Prices, as the reference shows them."""

from typing import Any, Final

from entrypoints.http.controllers.trace_examples import SPAN_ID

SPAN_PRICE: Final[dict[str, Any]] = {
    "span_id": SPAN_ID,
    "model": "gpt-4o",
    "cost_source": "client",
    "amount": 0.0004,
    "price": {"amount": 0.00008, "version": "genai-prices 0.2.3", "effective_from": None},
}
