"""Endpoints: what guards and dependencies do for every handler before it runs.

A handler is an ordinary Litestar handler. Its signature is the contract:

    CREATE: Final = endpoint(data_plane(Scope.EVALUATE), summary="Create a monitor", ...)

    @post("/", status_code=201, **CREATE)
    async def create_monitor(
        self,
        caller: Injected[Caller],
        content: Injected[NewMonitor],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse: ...

caller     who sends the request, as the access of the endpoint makes it
content    the body: a Struct, or `Annotated[value, Body(...)]` for what is made of it
path       the words of the path: a Struct
params     the parameters of the query: a Struct
key        by what a repeated request is recognised; a handler with one runs once
use_cases  everything that the service does

The guard `admit` authenticates and counts the request; the dependencies read it. All errors of a
request are found before the handler runs, and answered together. The OpenAPI document is made of
the same signatures (openapi/document.py).
"""

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import NoneType, UnionType
from typing import Any, Final, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from litestar import Response
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation

from application.use_cases import UseCases
from domain.errors import Unauthenticated
from entrypoints.http.authentication import Access, Headers, Incoming, header
from entrypoints.http.config import Edge, HttpConfig
from entrypoints.http.middleware.access_log import note
from entrypoints.http.middleware.load_shedding import intake_of
from entrypoints.http.middleware.observer_ports import Kind
from entrypoints.http.middleware.path_segments import segment
from entrypoints.http.middleware.rate_limits import RouteClass, of_address, principal_of
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.problems import Disconnected, Mistakes, Problem
from entrypoints.http.requests.body_io import (
    BODY_S,
    CODINGS,
    JSON,
    Broken,
    Slow,
    TooLarge,
    inflated,
    is_json,
    received,
)
from entrypoints.http.requests.idempotency_key import IdempotencyKey, parse_idempotency_key
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.parameters import Words, query_words

EDGE: Final = "edge"  # where the application's state holds what handlers work with
READING: Final = ("GET", "HEAD")
WALK_IN_THREAD_BYTES: Final = 256 << 10  # the walk over a faulty body takes 50 ms a megabyte
_ENDPOINT: Final = "endpoint"
_PARTS: Final = "pandaprobe.request_parts"

_T = TypeVar("_T")
# A plain assignment, since Litestar does not see through a `type` alias. Validation is skipped:
# what a dependency gives has been checked, and msgspec would walk through every port behind it.
Injected = SkipValidation[NamedDependency[_T]]


@dataclass(frozen=True, slots=True)
class RequestShape:
    """What the signature of a handler says that it reads, and what it returns."""

    path: Words[Any] | None
    params: Words[Any] | None
    content: Body[Any] | None
    takes_key: bool
    answers: tuple[Any, ...]  # types of the body of a success; several where it is one of them

    @property
    def reads_parts(self) -> bool:
        return self.takes_key or any((self.path, self.params, self.content))

    @classmethod
    def from_handler(cls, fn: Any, body: Body[Any] | None, answer: Any) -> Self:
        """`body` and `answer` stand for what the signature does not say."""
        hints = get_type_hints(inspect.unwrap(fn), include_extras=True)
        return cls(
            path=Words(_bare(hints["path"]), "path") if "path" in hints else None,
            params=Words(_bare(hints["params"]), "query") if "params" in hints else None,
            content=body or (_body_of(hints["content"]) if "content" in hints else None),
            takes_key="key" in hints,
            answers=_answers_of(hints["return"] if answer is None else answer),
        )


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """Who may call a handler, what limits them, and what the reference says of it."""

    access: Access[Any]
    summary: str
    description: str
    example: Any = None  # of the answer
    body_example: Any = None
    answers: Mapping[int, Any] = field(default_factory=dict)  # types of other answers, by status
    route_class: RouteClass | None = RouteClass.DEFAULT  # None: no rate limit, and no guard
    media_types: Sequence[str] = (JSON,)  # of a success
    answer: Any = None  # of a stream, whose type the signature doesn't say
    body: Body[Any] | None = None  # of a handler that is made for several types of bodies
    referenced_types: tuple[Any, ...] = ()  # named in the schema of the body, and nowhere else
    _shape: RequestShape | None = None

    def __deepcopy__(self, _: object) -> Self:
        return self  # Litestar copies the handlers of a controller with all they hold

    def shape(self, handler: BaseRouteHandler) -> RequestShape:
        if self._shape is None:
            self._shape = RequestShape.from_handler(handler.fn, self.body, self.answer)
        return self._shape


def endpoint(
    access: Access[Any],
    *,
    summary: str,
    description: str,
    example: Any = None,
    body_example: Any = None,
    answers: Mapping[int, Any] | None = None,
    route_class: RouteClass | None = RouteClass.DEFAULT,
    media_types: Sequence[str] = (JSON,),
    answer: Any = None,
    body: Body[Any] | None = None,
    referenced_types: tuple[Any, ...] = (),
) -> dict[str, Any]:
    """The arguments of Litestar's route decorators for one handler, such as `@get("/", **READ)`.

    Each handler needs an endpoint of its own.
    """
    made = Endpoint(
        access=access,
        summary=summary,
        description=description,
        example=example,
        body_example=body_example,
        answers=answers or {},
        route_class=route_class,
        media_types=media_types,
        answer=answer,
        body=body,
        referenced_types=referenced_types,
    )
    return {"opt": {_ENDPOINT: made}}


def endpoint_of(handler: BaseRouteHandler) -> Endpoint | None:
    """None for pages and files, which are not in the OpenAPI document."""
    return cast("Endpoint | None", handler.opt.get(_ENDPOINT))


async def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of all endpoints: authenticates the caller and counts the request.

    Raises Problem for what can be refused before the body is read, LimitExceeded, Unavailable,
    and what authentication raises.
    """
    request = cast("HttpRequest", connection)
    called = endpoint_of(handler)
    if called is None or called.route_class is None:
        return
    scope = cast("dict[str, Any]", request.scope)
    note(scope, kind=_kind(called, scope["method"]))
    edge = edge_of(request)
    incoming = Incoming.of(scope, edge.config.trusted_proxies)
    shape = called.shape(handler)
    coding = None
    if shape.content is not None:
        coding = _declared_coding(request, incoming.headers, edge.config)
    scope["user"] = await _authenticate(request, called, incoming, edge)
    scope[_PARTS] = coding
    if not shape.reads_parts:
        await _wait_for_turn(scope, called)


async def _authenticate(
    request: HttpRequest, called: Endpoint, incoming: Incoming, edge: Edge
) -> Any:
    """The caller, once the rate limit lets them pass. Raises what the access raises."""
    scope = cast("dict[str, Any]", request.scope)
    try:
        caller = await called.access(incoming, edge.use_cases)
    except Unauthenticated:
        # Guessing counts against the address, whatever was guessed at.
        await edge.rate_limits.admit(scope, RouteClass.DEFAULT, of_address(incoming.origin))
        raise
    note(scope, caller=caller)
    principal = principal_of(caller)
    await edge.rate_limits.admit(scope, called.route_class, principal)
    await intake_of(scope).enter(principal)
    return caller


async def _wait_for_turn(scope: Mapping[str, Any], called: Endpoint) -> None:
    if called.route_class is not RouteClass.INGEST:  # those are committed together
        await intake_of(scope).turn()


def _kind(called: Endpoint, method: str) -> Kind:
    if called.route_class is RouteClass.INGEST:
        return Kind.INGEST
    return Kind.READ if method in READING else Kind.WRITE


# --- dependencies ------------------------------------------------------------------------------
# Each needs the one before. Litestar would start a task for each of several that are independent
# of each other, which costs a request 45 us; a chain costs 4 us a link.


async def provide_use_cases(request: HttpRequest) -> Injected[UseCases]:
    return edge_of(request).use_cases


async def provide_caller(
    request: HttpRequest,
    use_cases: Injected[UseCases],  # noqa: ARG001 - makes a chain, see above
) -> Injected[Any]:
    return request.scope["user"]


async def provide_content(
    request: HttpRequest,
    caller: Injected[Any],  # noqa: ARG001 - makes a chain, see above
) -> Injected[Any]:
    """The body. Being the first of the parts in the chain, it reads all of them."""
    parts = await _read_parts(request)
    cast("dict[str, Any]", request.scope)[_PARTS] = parts
    return parts.content


async def provide_path(
    request: HttpRequest,
    content: Injected[Any],  # noqa: ARG001 - makes a chain, see above
) -> Injected[Any]:
    return _parts_of(request).path


async def provide_params(
    request: HttpRequest,
    path: Injected[Any],  # noqa: ARG001 - makes a chain, see above
) -> Injected[Any]:
    return _parts_of(request).params


async def provide_key(
    request: HttpRequest,
    params: Injected[Any],  # noqa: ARG001 - makes a chain, see above
) -> Injected[IdempotencyKey | None]:
    return _parts_of(request).key


DEPENDENCIES: Final = {
    "use_cases": Provide(provide_use_cases),
    "caller": Provide(provide_caller),
    "content": Provide(provide_content),
    "path": Provide(provide_path),
    "params": Provide(provide_params),
    "key": Provide(provide_key),
}


@dataclass(frozen=True, slots=True)
class RequestParts:
    """The parts of a request, parsed and without errors."""

    content: Any
    path: Any
    params: Any
    key: IdempotencyKey | None


def _parts_of(request: HttpRequest) -> RequestParts:
    return cast("RequestParts", cast("dict[str, Any]", request.scope)[_PARTS])


async def _read_parts(request: HttpRequest) -> RequestParts:
    """Raises Problem for what only HTTP knows, and Invalid with every error at once."""
    scope, edge = cast("dict[str, Any]", request.scope), edge_of(request)
    handler = request.route_handler
    called = cast("Endpoint", endpoint_of(handler))
    shape = called.shape(handler)
    errors = Mistakes()
    content = path = params = None
    data = b""
    if shape.content is not None:
        data = await _received(request, scope[_PARTS], edge.config.max_body_bytes)
        if len(data) < WALK_IN_THREAD_BYTES:
            content = shape.content.read(data, edge.config, errors)
        else:
            content = await asyncio.to_thread(shape.content.read, data, edge.config, errors)
    if shape.path is not None:
        words = {name: [segment(word)] for name, word in scope["path_params"].items()}
        path = shape.path.read(words, errors)
    if shape.params is not None:
        params = shape.params.read(query_words(scope["query_string"], errors), errors)
    key = parse_idempotency_key(scope, data, errors) if shape.takes_key else None
    errors.check()
    await _wait_for_turn(scope, called)
    return RequestParts(content, path, params, key)


def edge_of(request: HttpRequest) -> Edge:
    return cast("Edge", request.app.state[EDGE])


async def admit_by_address(request: HttpRequest) -> None:
    """The rate limit of what isn't an endpoint. Raises LimitExceeded."""
    note(request.scope)
    edge = edge_of(request)
    origin = Incoming.of(request.scope, edge.config.trusted_proxies).origin
    scope = cast("dict[str, Any]", request.scope)
    await edge.rate_limits.admit(scope, RouteClass.DEFAULT, of_address(origin))


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _body_of(hint: Any) -> Body[Any]:
    bodies = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Body)]
    return bodies[0] if bodies else Body(_bare(hint), lambda wire, _: wire)


def _answers_of(hint: Any) -> tuple[Any, ...]:
    """The types that a success may have: a response of another type sets another status."""
    options = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    plain = [one for one in options if not _is_response(one)]
    if plain:
        return tuple(one for one in plain if one is not NoneType)
    return tuple(inner for one in options for inner in get_args(one))


def _is_response(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and issubclass(kind, Response)


def _declared_coding(request: HttpRequest, headers: Headers, config: HttpConfig) -> str | None:
    """The coding of the body. Raises Problem for what can be refused unread."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > config.max_body_bytes:
        raise _too_large(config.max_body_bytes)
    if not is_json(header(headers, b"content-type")):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The Content-Type must be {JSON}")
    coding = (header(headers, b"content-encoding") or "identity").lower()
    codings = sum(name == b"content-encoding" for name, _ in request.scope["headers"])
    if coding == "identity" and codings < 2:  # noqa: PLR2004 - one, or none
        return None
    if coding not in CODINGS or codings > 1:
        known = ", ".join((*CODINGS, "identity"))
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The Content-Encoding must be one, of {known}"
        )
    return coding


async def _received(request: HttpRequest, coding: str | None, size_max: int) -> bytes:
    take = intake_of(request.scope).take
    try:
        data = await received(request.receive, size_max, take)
        if data is None:
            raise Disconnected
        if coding and data:
            data = await inflated(data, coding, size_max)
            take(len(data))
    except Slow as error:
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"The body did not come within {BODY_S:g} s"
        ) from error
    except TooLarge as error:
        raise _too_large(size_max) from error
    except Broken as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not valid {coding}") from error
    return data


def _too_large(size_max: int) -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {size_max} bytes")
