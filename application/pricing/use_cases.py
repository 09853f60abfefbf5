"""The use cases of pricing: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.ports import Clock
from application.pricing.model_prices import (
    CreateModelPrice,
    DeleteModelPrice,
    ListModelPrices,
    ListUnpricedModels,
)
from application.pricing.ports import ModelPrices, Repricings
from application.pricing.repricing import ReadRepricing, RepriceSpans, StartRepricing
from application.tracing.ports import PriceBook


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingPorts:
    """Every port of pricing, filled."""

    book: PriceBook
    prices: ModelPrices
    repricings: Repricings


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingUseCases:
    """The use cases of pricing."""

    create_price: CreateModelPrice
    list_prices: ListModelPrices
    delete_price: DeleteModelPrice
    list_unpriced_models: ListUnpricedModels
    start_repricing: StartRepricing
    read_repricing: ReadRepricing
    reprice_spans: RepriceSpans

    @classmethod
    def over(cls, ports: PricingPorts, clock: Clock) -> Self:
        prices, repricings, book = ports.prices, ports.repricings, ports.book
        return cls(
            create_price=CreateModelPrice(prices, clock),
            list_prices=ListModelPrices(prices),
            delete_price=DeleteModelPrice(prices),
            list_unpriced_models=ListUnpricedModels(prices, clock),
            start_repricing=StartRepricing(repricings, book, clock),
            read_repricing=ReadRepricing(repricings),
            reprice_spans=RepriceSpans(repricings, prices, book, clock),
        )
