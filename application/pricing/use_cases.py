"""The use cases of pricing, and the ports that they need: a part of `application.use_cases`."""

from dataclasses import dataclass

from application.deletion import DeleteOne
from application.ports import Clock
from application.pricing import model_prices, repricing
from application.pricing.ports import ModelPrices, Repricings
from application.tracing.ports import PriceBook


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingPorts:
    """Every port of pricing, filled."""

    book: PriceBook
    prices: ModelPrices
    repricings: Repricings


class PricingUseCases:
    """The prices of a project, and repricings."""

    def __init__(self, ports: PricingPorts, clock: Clock) -> None:
        prices, repricings, book = ports.prices, ports.repricings, ports.book
        self.repricings = repricings
        self.create_price = model_prices.CreateModelPrice(prices, clock)
        self.list_prices = model_prices.ListModelPrices(prices)
        self.delete_price = DeleteOne(prices.delete, "Price not found")
        self.list_unpriced_models = model_prices.ListUnpricedModels(prices, clock)
        self.start_repricing = repricing.StartRepricing(repricings, book, clock)
        self.reprice_spans = repricing.RepriceSpans(repricings, prices, book, clock)
