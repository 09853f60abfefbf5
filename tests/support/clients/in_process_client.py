"""A client for an app in the same process, for tests that send thousands of requests."""

from typing import Any

import httpx
from litestar.types import ASGIApp


class InProcessClient(httpx.AsyncClient):
    """Follows no redirects, and keeps no cookies: together they take as long as the app itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = httpx.ASGITransport(app)
        super().__init__(transport=self._app, base_url="http://test")

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **_: Any
    ) -> httpx.Response:
        response = await self._app.handle_async_request(request)
        response.request = request
        if not stream:
            await response.aread()
        return response
