"""The login page of the command line, and the developer's token for it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from litestar import Response, get, post

from domain.errors import Forbidden
from domain.identity.browser_session import SignInMethod
from entrypoints.http.browser_requests import is_from_our_page
from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import limit_by_address
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.openapi.page_assets import content_security_policy, render_page
from entrypoints.http.requests.body_io import compress_off_loop
from entrypoints.http.responses import JsonResponse

LOCAL_ONLY: Final = (
    "This page signs in by itself only on the machine of the service, at http://127.0.0.1 or "
    "http://localhost. Elsewhere paste a token; `pandaprobe-server token` prints one"
)


def cli_login_pages(config: HttpConfig) -> Sequence[Any]:
    """The routes of the page, and of the developer's token if there is one."""
    ways = ["token"] if config.development_token is None else ["development"]
    if SignInMethod.PROVIDER in config.sign_in_methods:
        ways.append("provider")
    page, own = render_page("cli_login", sign_in=" ".join(ways))
    headers = {
        "content-security-policy": content_security_policy(
            own | {"connect-src": "'self'"}, "require-trusted-types-for 'script'"
        ),
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
    }

    @get("/cli-login")
    async def cli_login_page(request: HttpRequest) -> Response[bytes]:
        await limit_by_address(request)
        body, coding = await compress_off_loop(page, request.scope["headers"])
        return Response(body, media_type="text/html", headers={**headers, **coding})

    if config.development_token is None:
        return (cli_login_page,)
    return (cli_login_page, _token_route(config.development_token))


def _token_route(make: Callable[[], str]) -> Any:
    @post("/cli-login/token", status_code=200)
    async def development_token(request: HttpRequest) -> JsonResponse[dict[str, str]]:
        await limit_by_address(request)
        if not is_from_our_page(request.scope):
            raise Forbidden(LOCAL_ONLY)
        return JsonResponse({"token": make()}, headers={"cache-control": "no-store"})

    return development_token
