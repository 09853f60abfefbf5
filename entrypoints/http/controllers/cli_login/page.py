"""The login page of the command line, and the developer's token for it."""

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from litestar import Response, get, post

from domain.errors import Forbidden
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
# A foreign site could make another name resolve to this machine (DNS rebinding).
_LOOPBACK_HOST: Final = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
# A proxy on this machine is a loopback peer too, but its client may be on any machine.
_PROXIED: Final = re.compile(rb"forwarded|x-forwarded-.*|x-real-ip|via")


def cli_login_pages(config: HttpConfig) -> Sequence[Any]:
    """The routes of the page, and of the developer's token if there is one."""
    sign_in = "token" if config.development_token is None else "development"
    page, own = render_page("cli_login", sign_in=sign_in)
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


def is_from_our_page(scope: Mapping[str, Any]) -> bool:
    """Whether a page of this service sent the request, in a browser on this machine."""
    sent: Sequence[tuple[bytes, bytes]] = scope["headers"]
    if any(_PROXIED.fullmatch(name.lower()) for name, _ in sent):
        return False
    hosts, origins, sites = (
        [value for name, value in sent if name.lower() == wanted]
        for wanted in (b"host", b"origin", b"sec-fetch-site")
    )
    return (
        _is_loopback(scope.get("client"))
        and len(hosts) == 1
        and _LOOPBACK_HOST.fullmatch(hosts[0]) is not None
        and origins == [b"http://" + hosts[0]]
        and sites in ([], [b"same-origin"])  # older browsers don't send the header
    )


def _is_loopback(client: Sequence[Any] | None) -> bool:
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:  # a Unix socket
        return False
