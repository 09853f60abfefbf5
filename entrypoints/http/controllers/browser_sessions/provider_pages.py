"""The two addresses at which a browser leaves for the identity provider, and comes back.

They answer with redirects, also after an error: a person looks at what they answer.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlencode

from litestar import Response, get
from litestar.types import Receive, Scope, Send

from application.identity.provider_sign_in import ProviderAnswer
from domain.errors import LimitExceeded, Unauthenticated, Unavailable
from domain.identity.audit import Origin
from domain.identity.browser_session import (
    CHALLENGE_LENGTH,
    SessionPurpose,
    SignInMethod,
    challenge_hash,
)
from domain.identity.sign_in_attempt import (
    ATTEMPT_LIFETIME,
    HOME,
    SignInFailed,
    SignInProblem,
    is_destination,
    purpose_of,
)
from entrypoints.http.authentication import AuthContext
from entrypoints.http.browser_requests import (
    HOST_PREFIX,
    Headers,
    format_cookie,
    is_from_elsewhere,
    is_over_https,
    read_cookie,
)
from entrypoints.http.config import HttpConfig, HttpContext, http_context
from entrypoints.http.controllers.browser_sessions.browser_sessions import start_cookie
from entrypoints.http.endpoint import limit_by_address
from entrypoints.http.middleware.asgi_messages import send_response
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest

SIGN_IN_PAGE: Final = "/app/sign-in"
ATTEMPT_COOKIE: Final = "pp_sign_in"
ERROR_CHARS_MAX: Final = 200  # of the provider's error, in the log
_CHALLENGE: Final = re.compile(f"[A-Za-z0-9_-]{{{CHALLENGE_LENGTH}}}")
_log: Final = logging.getLogger(__name__)


class Redirect(Response[None]):
    """A redirect that sets any number of cookies."""

    def __init__(self, url: str, *cookies: str) -> None:
        super().__init__(None, status_code=303)
        self._head = [
            (b"location", url.encode()),
            (b"content-length", b"0"),
            *((b"set-cookie", cookie.encode()) for cookie in cookies),
        ]

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        async def respond(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send_response(send, 303, self._head)

        return respond


@get("/session/sign-in")
async def begin_sign_in(request: HttpRequest) -> Redirect:
    """Redirects to the identity provider."""
    context, query, headers = _parts(request)
    destination = query.get("to", HOME)
    try:
        await limit_by_address(request, RouteClass.SIGN_IN)
        url, cookie = await _begin(context, query, headers)
    except LimitExceeded:
        return _to_sign_in(context.config, SignInProblem.TOO_MANY, destination)
    except SignInFailed as failed:
        return _to_sign_in(context.config, failed.problem, destination)
    seconds = int(ATTEMPT_LIFETIME.total_seconds())
    return Redirect(url, _attempt_cookie(cookie, seconds, headers, context.config))


@get("/session/callback")
async def finish_sign_in(request: HttpRequest) -> Redirect:
    """Starts a session if the identity provider's answer is valid, and redirects to the page."""
    context, query, headers = _parts(request)
    config = context.config
    origin = AuthContext.from_scope(_scope(request), config.trusted_proxies).origin
    try:
        await limit_by_address(request, RouteClass.SIGN_IN)
        destination, session_cookie = await _finish(context, query, headers, origin)
    except LimitExceeded:
        return _to_sign_in(config, SignInProblem.TOO_MANY, HOME)
    except SignInFailed as failed:
        return _to_sign_in(config, failed.problem, failed.destination)
    except Unavailable:
        return _to_sign_in(config, SignInProblem.UNAVAILABLE, HOME)
    gone = _attempt_cookie("", 0, headers, config)
    return Redirect(_address(config, destination), session_cookie, gone)


async def _begin(
    context: HttpContext, query: Mapping[str, str], headers: Headers
) -> tuple[str, str]:
    challenge, destination = query.get("bind", ""), query.get("to", HOME)
    is_valid = _CHALLENGE.fullmatch(challenge) is not None and is_destination(destination)
    # Another page could begin a sign-in that the person didn't ask for.
    if not is_valid or is_from_elsewhere(headers):
        raise SignInFailed(SignInProblem.INVALID)
    return await context.use_cases.identity.begin_sign_in(challenge_hash(challenge), destination)


async def _finish(
    context: HttpContext, query: Mapping[str, str], headers: Headers, origin: Origin
) -> tuple[str, str]:
    """The next address of the browser, and its cookie. Raises SignInFailed, Unavailable."""
    identity, error = context.use_cases.identity, query.get("error")
    if error is not None:
        message = f"{error} {query.get('error_description', '')}"[:ERROR_CHARS_MAX]
        _log.warning("the identity provider refused a sign-in: %r", message)
    is_secure = is_over_https(headers, context.config.public_url)
    cookie = read_cookie(headers, f"{HOST_PREFIX if is_secure else ''}{ATTEMPT_COOKIE}")
    answer = ProviderAnswer(query.get("state", ""), query.get("code"), error)
    person, attempt = await identity.finish_sign_in(cookie, answer, origin)
    await identity.resolve_membership(person, None)  # the first one creates it
    try:
        session, session_cookie = await identity.start_browser_session(
            person,
            origin,
            SignInMethod.PROVIDER,
            attempt.verifier_hash,
            purpose_of(attempt.destination),
        )
    except Unauthenticated as gone:
        raise SignInFailed(SignInProblem.REFUSED, attempt.destination) from gone
    return attempt.destination, start_cookie(session, session_cookie, headers, context.config)


def _parts(request: HttpRequest) -> tuple[HttpContext, Mapping[str, str], Headers]:
    """The context, the query parameters that occur once, and the headers."""
    scope = _scope(request)
    words = parse_qs(scope["query_string"].decode("latin-1"))
    query = {name: values[0] for name, values in words.items() if len(values) == 1}
    return http_context(request), query, dict(scope["headers"])


def _scope(request: HttpRequest) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", request.scope)


def _to_sign_in(config: HttpConfig, problem: SignInProblem, destination: str) -> Redirect:
    """Leads to the page that shows why the sign-in didn't succeed; `GET /session` has the text."""
    to = destination if is_destination(destination) else HOME
    if purpose_of(to) is SessionPurpose.CLI:
        return Redirect(_address(config, f"{to}&sign_in_problem={problem}"))
    query = urlencode({"problem": problem, "to": to})
    return Redirect(_address(config, f"{SIGN_IN_PAGE}?{query}"))


def _address(config: HttpConfig, path: str) -> str:
    """A path of this service as browsers see it."""
    return f"{(config.public_url or '').rstrip('/')}{path}"


def _attempt_cookie(value: str, seconds: int, headers: Headers, config: HttpConfig) -> str:
    """Lax: the browser comes back from the provider's site."""
    is_secure = is_over_https(headers, config.public_url)
    return format_cookie(
        ATTEMPT_COOKIE, value, max_age_s=seconds, is_secure=is_secure, same_site="Lax"
    )


PAGES: Final[Sequence[Any]] = (begin_sign_in, finish_sign_in)
