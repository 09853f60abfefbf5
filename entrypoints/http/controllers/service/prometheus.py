"""/metrics, for Prometheus: not for tenants, and so not part of the API reference."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, get

from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import admit_by_address
from entrypoints.http.middleware.metrics_access import CONTENT_TYPE, refusal
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.problems import Problem


def metrics_pages(config: HttpConfig) -> Sequence[Any]:
    """The route, where there are figures."""
    figures, token = config.figures, config.metrics_token
    if figures is None:
        return ()

    @get("/metrics")
    async def metrics(request: HttpRequest) -> Response[bytes]:
        client = request.scope["client"]
        refused = refusal(client and client[0], dict(request.scope["headers"]), token)
        if refused is not None:
            await admit_by_address(request)  # guessing at the token counts as guessing at any other
            raise Problem(*refused)
        text = await figures()
        return Response(text, media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})

    return (metrics,)
