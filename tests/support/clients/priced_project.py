"""Stores a price of a project, and a completed repricing."""

import uuid

from application.pricing.use_cases import PricingPorts
from domain.ids import ProjectId
from tests.support.builders.values import NOON
from tests.support.fixtures.pricing import a_price, a_repricing


async def store_prices(
    ports: PricingPorts, project: ProjectId, price: str, repricing: str, text: str = "text"
) -> None:
    await ports.prices.create(a_price(project, id=uuid.UUID(price), match=text))
    over = a_repricing(project, id=uuid.UUID(repricing), models=(text,), completed_at=NOON)
    await ports.repricings.create(over)
