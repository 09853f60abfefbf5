"""/metrics for Prometheus. It isn't for tenants, so the API reference doesn't have it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from litestar import Response, get

from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import limit_by_address
from entrypoints.http.middleware.metrics_access import CONTENT_TYPE, metrics_refusal
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.errors import HttpProblem


def metrics_pages(config: HttpConfig) -> Sequence[Any]:
    """The route, if there is a text to serve."""
    metrics_text, token = config.metrics_text, config.metrics_token
    if metrics_text is None:
        return ()

    @get("/metrics")
    async def metrics(request: HttpRequest) -> Response[bytes]:
        scope = request.scope
        peer = scope["client"] and scope["client"][0]
        headers, version = dict(scope["headers"]), scope["http_version"]
        refusal = metrics_refusal(peer, headers, version, token)
        if refusal is not None:
            await limit_by_address(request)  # guesses of the token count as any other guess
            status, reason = refusal
            needs_token = status is HTTPStatus.UNAUTHORIZED
            raise HttpProblem(
                status, reason, {"www-authenticate": "Bearer"} if needs_token else None
            )
        text = await metrics_text()
        return Response(text, media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})

    return (metrics,)
