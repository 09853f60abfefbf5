"""A site whose rate limits and clock a test sets, asked from any address."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from domain.limits import SECOND_US, Limit
from entrypoints.http.middleware.rate_limits import RouteClass

if TYPE_CHECKING:
    from tests.http.conftest import Site

HEADERS = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
DAY_US = 86_400 * SECOND_US


class Clock:
    def __init__(self) -> None:
        self.us = 0

    def __call__(self) -> int:
        return self.us

    def forward(self, seconds: float) -> None:
        self.us += round(seconds * SECOND_US)


@dataclass
class Limited:
    """A site whose limits and clock a test sets, and clients at any address."""

    site: "Site"
    clock: Clock
    limits: dict[RouteClass, Limit]

    def only(self, route_class: RouteClass, count: int, unit: str = "minute") -> None:
        self.limits[route_class] = Limit(count, unit)

    async def ask(
        self, method: str, path: str, *heads: Mapping[str, str], at: str = "192.0.2.1", **said: Any
    ) -> httpx.Response:
        """The answer to a request from the address `at`."""
        head = {name: value for one in heads for name, value in one.items()}
        transport = httpx.ASGITransport(self.site.app, client=(at, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.request(method, path, headers=head, **said)

    async def left(self, *heads: Mapping[str, str], path: str = "/traces", at: str = "") -> int:
        """How many requests the bucket of `path` has left for this caller, after this one."""
        answer = await self.ask("GET", path, *heads, at=at or "192.0.2.1")
        return int(answer.headers["ratelimit-remaining"])
