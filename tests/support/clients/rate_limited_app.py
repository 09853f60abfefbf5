"""A site with adjustable rate limits and clock, and clients at any address."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from domain.limits import SECOND_US, Limit
from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.fakes.clocks import MicrosecondClock

if TYPE_CHECKING:
    from tests.http.conftest import Site

HEADERS = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
DAY_US = 86_400 * SECOND_US


@dataclass
class LimitedSite:
    """A site with adjustable limits and clock, and clients at any address."""

    site: "Site"
    clock: MicrosecondClock
    limits: dict[RouteClass, Limit]

    def set_limit(self, route_class: RouteClass, count: int, unit: str = "minute") -> None:
        self.limits[route_class] = Limit(count, unit)

    async def request(
        self,
        method: str,
        path: str,
        *heads: Mapping[str, str],
        at: str = "192.0.2.1",
        **options: Any,
    ) -> httpx.Response:
        """The response to a request from the address `at`."""
        head = {name: value for one in heads for name, value in one.items()}
        transport = httpx.ASGITransport(self.site.app, client=(at, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.request(method, path, headers=head, **options)

    async def remaining(
        self, *heads: Mapping[str, str], path: str = "/traces", at: str = ""
    ) -> int:
        """How many requests the bucket has left for this caller, after one request to `path`."""
        answer = await self.request("GET", path, *heads, at=at or "192.0.2.1")
        return int(answer.headers["ratelimit-remaining"])
