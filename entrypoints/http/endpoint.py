"""Endpoints: what guards and dependencies do for every handler before it runs.

A handler is an ordinary Litestar handler. Its signature is the contract:

    @post("/", CAN_EVALUATE, example=..., body_example=...)
    async def create_monitor(
        self, caller: Caller, content: NewMonitor, new_id: MonitorId, use_cases: UseCases
    ) -> MonitorResponse:
        "Create a monitor."

caller     the authenticated caller, as the access policy of the endpoint makes it
content    the body: a Struct, or `Annotated[value, Body(...)]` for a value converted from one, or
           `Annotated[value, RawBody(...)]` for one that isn't JSON
path       the path parameters: a Struct
params     the query parameters: a Struct
new_id     the id of the object to create: the handler runs once for each Idempotency-Key, and a
           repeated request gets the stored response
use_cases  the registry of all use cases

The route decorators `get`, `post` and so on are those of Litestar with the fields of `Endpoint`.
The guard `admit` authenticates and counts the request. The wrapper of the handler then reads its
parts: all errors are found before the handler runs, and are returned together. The OpenAPI document
is made of the same signatures and docstrings (openapi/document.py): the first line of a docstring
is the summary of the operation, and the rest its description.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial, wraps
from http import HTTPStatus
from types import NoneType, UnionType
from typing import (
    Any,
    Concatenate,
    Final,
    Self,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    override,
)
from urllib.parse import quote
from uuid import UUID

import msgspec
from litestar import Litestar, Request, Response
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import ASGIApp

from application.concurrency import compute
from application.identity.authenticate import NOT_A_MEMBER, PROJECT_NOT_FOUND
from application.use_cases import UseCases
from domain.errors import (
    Failure,
    Forbidden,
    Invalid,
    LimitExceeded,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from domain.identity.api_key import UNKNOWN_KEY
from domain.identity.caller import Caller
from domain.tracing.otel.requests import RejectionReason
from entrypoints.http.authentication import (
    CAN_READ,
    AccessPolicy,
    AuthContext,
    BrowserAccess,
    PublicAccess,
    header,
)
from entrypoints.http.browser_requests import SAFE_METHODS, Headers
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.config import HttpConfig, HttpContext, choose_use_cases, http_context
from entrypoints.http.middleware.access_log import annotate
from entrypoints.http.middleware.load_shedding import AdmissionTicket, admission_ticket
from entrypoints.http.middleware.observer_ports import RequestKind
from entrypoints.http.middleware.path_segments import decode_segment
from entrypoints.http.middleware.rate_limits import (
    RouteClass,
    address_principal,
    organization_of,
    rate_limit_principal,
    shares_of,
)
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.middleware.response_headers import add_response_header
from entrypoints.http.refusals import AUTH_CONTEXT
from entrypoints.http.requests.body_io import (
    BODY_TOO_SLOW,
    GZIP_MAGIC,
    JSON,
    MESSAGE_EXTENSION,
    REQUEST_CODINGS,
    BodyTimeout,
    BodyTooLarge,
    InvalidCoding,
    decompress,
    read_body,
)
from entrypoints.http.requests.errors import (
    ClientDisconnected,
    FieldErrors,
    HttpProblem,
    IgnoredFields,
)
from entrypoints.http.requests.etags import IF_MATCH_UNSUPPORTED, fails_if_match
from entrypoints.http.requests.idempotency_key import IdempotencyKey, parse_idempotency_key
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.parameters import Parameters, parse_query
from entrypoints.http.requests.raw_body import RawBody
from entrypoints.http.responses import HAS_ETAG, as_json, respond_idempotently

UNAUTHENTICATED_BODY_MAX_BYTES: Final = 64 << 10  # of requests without credentials
CHANGING_METHODS: Final = ("PATCH", "PUT", "DELETE")  # of an object that the path names
NO_PARAMETERS: Final = Parameters(msgspec.defstruct("NoParameters", []), "query")
PARSE_IN_THREAD_BYTES: Final = 64 << 10  # checking an object of as many bytes takes 10 ms
ERROR_SHOWN_CHARS: Final = 200
_ENDPOINT: Final = "endpoint"
_CODING: Final = "pandaprobe.body_coding"

# The parameters of handlers besides `new_id`: fields of RequestParts.
HANDLER_PARTS: Final = ("request", "use_cases", "caller", "content", "path", "params")


@dataclass(frozen=True, slots=True)
class HandlerSignature:
    """The parts that a handler reads and the types that it returns."""

    path: Parameters[Any] | None
    params: Parameters[Any] | None
    content: Body[Any] | RawBody[Any] | None
    takes_key: bool
    response_types: tuple[Any, ...]  # of a success; several if it is one of them

    @property
    def reads_parts(self) -> bool:
        return self.takes_key or any((self.path, self.params, self.content))

    @classmethod
    def from_handler(
        cls, fn: Any, body: Body[Any] | RawBody[Any] | None, response_type: Any
    ) -> Self:
        """`body` and `response_type` are used if the signature can't express them."""
        hints = get_type_hints(inspect.unwrap(fn), include_extras=True)
        return cls(
            path=Parameters(_unwrapped(hints["path"]), "path") if "path" in hints else None,
            params=Parameters(_unwrapped(hints["params"]), "query") if "params" in hints else None,
            content=body or (_body_of(hints["content"]) if "content" in hints else None),
            takes_key="new_id" in hints,
            response_types=_response_types(
                hints["return"] if response_type is None else response_type
            ),
        )


@dataclass(slots=True)
class Endpoint:
    """Access, limits and documentation of one handler.

    The first line of the handler's docstring is the summary in the reference, and the rest is the
    description. `summary` and `description` replace them for texts that contain a limit, and for
    handlers that are made for several types.
    """

    access: AccessPolicy[Any]
    _: KW_ONLY
    summary: str | None = None
    description: str | None = None
    operation_id: str | None = None  # instead of the name of the handler
    status_code: int | None = None  # of a success; else 201 for POST, 204 for DELETE, 200
    example: Any = None  # of the response
    body_example: Any = None
    error_types: Mapping[int, Any] = field(default_factory=dict)  # of other responses, by status
    # Called with a request that fails as a whole, and the status, unless that is a Failure.
    on_refused: Callable[[HttpRequest, int, Exception], None] | None = None
    error_type: Any = None  # of all other errors, if it isn't the one of other endpoints
    route_class: RouteClass | None = RouteClass.DEFAULT  # None: no rate limit, and no guard
    limited_by_volume: bool = False  # by bytes and spans, not by requests
    ignores_query: bool = False  # for probes and exporters, which may add parameters
    media_types: Sequence[str] = (JSON,)  # of a success
    binary_media_types: Sequence[str] = ()  # of every response, in place of JSON
    response_type: Any = None  # of a streamed response, which the signature doesn't say
    request_id_is_key: bool = False  # if it has no Idempotency-Key, for published clients
    has_secret: bool = False  # in its response, which is therefore not stored for a repeat
    body: Body[Any] | RawBody[Any] | None = None  # for a handler made for several types of bodies
    referenced_types: tuple[Any, ...] = ()  # types that only the schema of the body names
    _signature: HandlerSignature | None = field(default=None, init=False)

    def __deepcopy__(self, _: object) -> Self:
        return self  # Litestar copies the handlers of a controller, and all that they refer to

    @property
    def has_etag(self) -> bool:
        """Whether responses to GET have an ETag: reads of a project, which clients poll."""
        return self.access is CAN_READ and tuple(self.media_types) == (JSON,)

    def signature(self, handler: BaseRouteHandler) -> HandlerSignature:
        if self._signature is None:
            self._signature = HandlerSignature.from_handler(
                handler.fn, self.body, self.response_type
            )
        return self._signature

    def body_max_bytes(self, config: HttpConfig, content: Body[Any] | RawBody[Any]) -> int:
        if isinstance(content, RawBody):
            return content.size_max(config)
        if isinstance(self.access, PublicAccess | BrowserAccess):
            return min(UNAUTHENTICATED_BODY_MAX_BYTES, config.max_body_bytes)
        return config.max_body_bytes

    def texts(self, handler: BaseRouteHandler) -> tuple[str, str]:
        """Summary and description. Line breaks of the docstring become spaces."""
        first, _, rest = (inspect.getdoc(handler.fn) or "").partition("\n")
        return self.summary or first.removesuffix("."), self.description or " ".join(rest.split())


class EndpointHandler(HTTPRouteHandler):
    """A handler with short ways to what Litestar does for every request.

    Its guards get the handler itself: a copy, as Litestar gives them, costs 20 us. A value that it
    returns is sent as JSON without further objects.
    """

    @override
    async def to_response(
        self, app: Litestar, data: Any, request: Request[Any, Any, Any]
    ) -> ASGIApp:
        if isinstance(data, Response):
            return await super().to_response(app, data, request)
        return as_json(data, self.status_code)

    async def authorize_connection(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        for guard in self.resolve_guards():
            await guard(connection, self)  # type: ignore[misc]  # ours are asynchronous


def endpoint_of(handler: BaseRouteHandler) -> Endpoint | None:
    """None for pages and files, which are not in the OpenAPI document."""
    return cast("Endpoint | None", handler.opt.get(_ENDPOINT))


async def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of all endpoints: authenticates the caller and counts the request.

    Raises HttpProblem for what can be refused before the body is read, LimitExceeded,
    Unavailable, and the failures of the access policy.
    """
    request = cast("HttpRequest", connection)
    called = endpoint_of(handler)
    if called is None or called.route_class is None:
        return
    scope = cast("dict[str, Any]", request.scope)
    annotate(scope, kind=_request_kind(called, scope["method"]))
    context = http_context(request)
    auth = AuthContext.from_scope(scope, context.config.trusted_proxies)
    scope[AUTH_CONTEXT] = auth
    signature = called.signature(handler)
    coding, content = None, signature.content
    if isinstance(content, Body):
        coding = _declared_coding(request, auth.headers, called, content)
    scope["user"] = await _authenticate(request, called, auth, context)
    if isinstance(content, RawBody):  # the project of the caller shows that it was refused
        coding = _declared_coding(request, auth.headers, called, content)
    scope[_CODING] = coding
    if signature.content is None:
        await admission_ticket(scope).enter_queue()
    if not signature.reads_parts:
        errors = FieldErrors()
        _parse_params(called, signature, scope, errors)
        errors.check()
        await _acquire_slot(scope, called)
        await _create_missing_project(request)


async def _authenticate(
    request: HttpRequest, called: Endpoint, auth: AuthContext, context: HttpContext
) -> Any:
    """The caller, once the rate limit admits them. Raises the failures of the access policy."""
    scope = cast("dict[str, Any]", request.scope)
    try:
        caller = await called.access(auth, context.use_cases)
        try:
            await choose_use_cases(request.scope, organization_of(caller))
        except NotFound as gone:
            raise _removed_organization(caller) from gone
    except Unauthenticated:
        # Guesses of credentials count in the bucket of the address, for all routes together.
        principal = address_principal(auth.origin)
        await context.rate_limits.admit(scope, RouteClass.DEFAULT, principal)
        raise
    annotate(scope, caller=caller)
    principal = rate_limit_principal(caller)
    limits = context.rate_limits
    if not called.limited_by_volume:
        try:
            await limits.admit(scope, called.route_class, principal, organization_of(caller))
        except LimitExceeded as refused:
            if called.route_class is RouteClass.INGEST and isinstance(caller, Caller):
                message = f"requests were refused: {refused.message}"
                count_refused_ingests(request, RejectionReason.RATE_LIMITED, message, caller)
            raise
    elif limits.volumes is not None:
        await limits.volumes.admit(scope, principal)
    admission_ticket(scope).identify(shares_of(caller, auth.origin))
    return caller


def _removed_organization(caller: object) -> Failure:
    """The failure for a caller whose organization was removed, as the access policy raises it.

    Keys are cached, so another process may have removed it some seconds ago.
    """
    match caller:
        case OrganizationCaller():
            return Forbidden(NOT_A_MEMBER)
        case Caller(key_id=None):
            return NotFound(PROJECT_NOT_FOUND)
    return Unauthenticated(UNKNOWN_KEY)


def count_refused_ingests(
    request: HttpRequest, reason: RejectionReason, message: str, caller: Caller, count: int = 1
) -> None:
    """SDKs drop what is refused; their users see it in the project's rejections."""
    if caller.new_project is None:  # else the project doesn't exist
        http_context(request).use_cases.tracing.record_rejections.count_refused(
            caller.project_id, reason, message, count
        )


def count_invalid_ingest(request: HttpRequest, failure: Invalid) -> None:
    """Counts a request to store traces that is invalid as a whole; no effect for other requests."""
    called = endpoint_of(request.route_handler)
    caller = cast("dict[str, Any]", request.scope).get("user")
    if called is None or called.route_class is not RouteClass.INGEST or called.limited_by_volume:
        return
    if isinstance(caller, Caller):
        message = f"requests were refused: {first_error(failure)}"
        count_refused_ingests(request, RejectionReason.INVALID, message, caller)


def first_error(failure: Failure) -> str:
    """The first error with its field; the list of rejections has no room for all.

    Without names that the sender chose: they may be of a person, and no erasure would find them.
    """
    text = failure.message
    if isinstance(failure, Invalid) and failure.errors:
        first = failure.errors[0]
        field = first.field if first.kept_field is None else first.kept_field
        text = f"{field}: {first.message}" if field else first.message
    return text[:ERROR_SHOWN_CHARS]


async def _create_missing_project(request: HttpRequest) -> None:
    """Stores the project that the request names, now that nothing refuses the request."""
    scope = cast("dict[str, Any]", request.scope)
    caller = scope["user"]
    if not isinstance(caller, Caller) or caller.new_project is None:
        return
    stored = await http_context(request).use_cases.identity.create_missing_project(caller)
    scope["user"] = stored
    annotate(scope, caller=stored)
    if stored.project_id == caller.project_id:
        add_response_header(scope, b"x-project-created", b"true")


async def _acquire_slot(scope: Mapping[str, Any], called: Endpoint) -> None:
    if called.route_class is not RouteClass.INGEST:  # ingests need none: they share commits
        await admission_ticket(scope).acquire_slot()


def _request_kind(called: Endpoint, method: str) -> RequestKind:
    if called.route_class is RouteClass.INGEST:
        return RequestKind.INGEST
    return RequestKind.READ if method in SAFE_METHODS else RequestKind.WRITE


def _route[**P](
    method: HttpMethod, make: Callable[P, Endpoint]
) -> Callable[Concatenate[str, P], Callable[[Callable[..., Any]], HTTPRouteHandler]]:
    """A decorator that makes a handler at a path from a function. `make` takes its arguments."""

    def at(path: str, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        endpoint = make(*args, **kwargs)
        has_etag = method is HttpMethod.GET and endpoint.has_etag
        route = EndpointHandler(
            path,
            http_method=method,
            status_code=endpoint.status_code,
            operation_id=endpoint.operation_id,
            opt={_ENDPOINT: endpoint, HAS_ETAG: has_etag},
        )

        def decorate(fn: Callable[..., Any]) -> HTTPRouteHandler:
            return route(_with_request(fn, route, endpoint))

        return decorate

    return at


def _with_request(
    fn: Callable[..., Any], route: HTTPRouteHandler, endpoint: Endpoint
) -> Callable[..., Any]:
    """`fn` as Litestar calls it: with the request alone, of which `fn` gets the parts it names.

    Litestar's own dependencies would cost a request 4 us each.
    """
    names = [name for name in HANDLER_PARTS if name in fn.__annotations__]
    changes_object = not route.http_methods.isdisjoint(CHANGING_METHODS)
    takes_new_id = "new_id" in fn.__annotations__

    @wraps(fn)
    async def handle(*owner: Any, request: HttpRequest) -> Any:
        parts = await _read_parts(request, endpoint, endpoint.signature(route))
        if changes_object and fails_if_match(request.scope["headers"]):
            raise HttpProblem(HTTPStatus.PRECONDITION_FAILED, IF_MATCH_UNSUPPORTED)
        values = {name: getattr(parts, name) for name in names}
        if not takes_new_id:
            return await fn(*owner, **values)

        async def write(new_id: UUID) -> Any:
            return await fn(*owner, new_id=new_id, **values)

        has_secret, status = endpoint.has_secret, route.status_code
        return await respond_idempotently(
            request, parts.caller, parts.key, status, write, has_secret=has_secret
        )

    known = inspect.signature(fn)
    owner = [one for name, one in known.parameters.items() if name == "self"]
    by_name = inspect.Parameter.KEYWORD_ONLY
    taken = inspect.Parameter("request", by_name, annotation=HttpRequest)
    cast("Any", handle).__signature__ = known.replace(parameters=[*owner, taken])
    handle.__annotations__ = {"request": HttpRequest, "return": fn.__annotations__["return"]}
    return handle


get: Final = _route(HttpMethod.GET, Endpoint)
post: Final = _route(HttpMethod.POST, Endpoint)
put: Final = _route(HttpMethod.PUT, Endpoint)
patch: Final = _route(HttpMethod.PATCH, Endpoint)
delete: Final = _route(HttpMethod.DELETE, Endpoint)


@dataclass(frozen=True, slots=True)
class RequestParts:
    """The parts of a request, parsed and without errors."""

    request: HttpRequest
    use_cases: UseCases
    caller: Any
    content: Any = None
    path: Any = None
    params: Any = None
    key: IdempotencyKey | None = None


async def _read_parts(
    request: HttpRequest, called: Endpoint, signature: HandlerSignature
) -> RequestParts:
    """Raises HttpProblem for errors that only HTTP knows, and Invalid with all field errors."""
    scope, context = cast("dict[str, Any]", request.scope), http_context(request)
    if not signature.reads_parts:
        return RequestParts(request, context.use_cases, scope.get("user"))
    errors = FieldErrors()
    content = path = key = None
    data = b""
    if signature.content is not None:
        size_max = called.body_max_bytes(context.config, signature.content)
        data = await _read_body(request, context.config, scope[_CODING], size_max)
        await admission_ticket(scope).enter_queue()
        content = await _parse_content(request, signature.content, data, errors)
    if signature.path is not None:
        given = {name: [decode_segment(text)] for name, text in scope["path_params"].items()}
        path = signature.path.parse(given, errors)
    params = _parse_params(called, signature, scope, errors)
    if signature.takes_key:
        parse = partial(parse_idempotency_key, accepts_request_id=called.request_id_is_key)
        is_long = len(data) >= PARSE_IN_THREAD_BYTES  # the body is hashed
        key = await compute(parse, scope, data, content, errors, is_long=is_long)
    errors.check()
    report_ignored_fields(request, errors.ignored)
    await _acquire_slot(scope, called)
    await _create_missing_project(request)
    return RequestParts(request, context.use_cases, scope["user"], content, path, params, key)


def _parse_params(
    called: Endpoint, signature: HandlerSignature, scope: Mapping[str, Any], errors: FieldErrors
) -> Any:
    if called.ignores_query or not (signature.params or scope["query_string"]):
        return None
    return (signature.params or NO_PARAMETERS).parse(
        parse_query(scope["query_string"], errors), errors
    )


def report_ignored_fields(request: HttpRequest, ignored: IgnoredFields) -> None:
    """Names ignored keys of the body in a header of the response, and counts them."""
    if not ignored.count:
        return
    # A key may have any character; a header may not.
    paths = ", ".join(quote(path, safe="") for path in ignored.paths)
    scope = cast("dict[str, Any]", request.scope)
    add_response_header(scope, b"x-ignored-fields", paths.encode())
    if (observer := http_context(request).config.observer) is not None:
        observer.fields_ignored(ignored.count)


async def _parse_content(
    request: HttpRequest, content: Body[Any] | RawBody[Any], data: bytes, errors: FieldErrors
) -> Any:
    if isinstance(content, RawBody):
        return await content.decode(request, data)
    config, is_long = http_context(request).config, len(data) >= PARSE_IN_THREAD_BYTES
    return await compute(content.parse, data, config, errors, is_long=is_long)


async def limit_by_address(
    request: HttpRequest, route_class: RouteClass = RouteClass.DEFAULT
) -> None:
    """The rate limit of pages and files, which aren't endpoints. Raises LimitExceeded."""
    annotate(request.scope)
    context = http_context(request)
    origin = AuthContext.from_scope(request.scope, context.config.trusted_proxies).origin
    scope = cast("dict[str, Any]", request.scope)
    await context.rate_limits.admit(scope, route_class, address_principal(origin))


def _unwrapped(hint: Any) -> Any:
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _body_of(hint: Any) -> Body[Any] | RawBody[Any]:
    metadata = getattr(hint, "__metadata__", ())
    bodies = [annotation for annotation in metadata if isinstance(annotation, Body | RawBody)]
    return bodies[0] if bodies else Body(_unwrapped(hint), lambda wire, _: wire)


def _response_types(hint: Any) -> tuple[Any, ...]:
    """The types that the body of a success may have.

    If a handler returns a value or a response, the response is the one with another status.
    """
    options = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    values = [option for option in options if not _is_response(option)]
    if values:
        return tuple(value for value in values if value is not NoneType)
    return tuple(inner for option in options for inner in get_args(option))


def _is_response(hint: Any) -> bool:
    bare_type = get_origin(hint) or hint
    return isinstance(bare_type, type) and issubclass(bare_type, Response)


def _declared_coding(
    request: HttpRequest, headers: Headers, called: Endpoint, content: Body[Any] | RawBody[Any]
) -> str | None:
    """The coding of the body. Raises HttpProblem for a body that can be refused unread."""
    size_max = called.body_max_bytes(http_context(request).config, content)
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > size_max:
        raise _too_large(size_max)
    if not content.accepts(header(headers, b"content-type")):
        accepted = " or ".join(content.media_types)
        raise HttpProblem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The Content-Type must be {accepted}")
    if b"content-encoding" not in headers:
        return None
    coding = (header(headers, b"content-encoding") or "identity").lower()
    codings = sum(name == b"content-encoding" for name, _ in request.scope["headers"])
    if coding == "identity" and codings < 2:  # noqa: PLR2004 - one, or none
        return None
    if coding not in REQUEST_CODINGS or codings > 1:
        supported = ", ".join((*REQUEST_CODINGS, "identity"))
        raise HttpProblem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The Content-Encoding must be one of {supported}"
        )
    return coding


async def _read_body(
    request: HttpRequest, config: HttpConfig, coding: str | None, size_max: int
) -> bytes:
    ticket = admission_ticket(request.scope)
    reserve = ticket.reserve_body_bytes
    is_message = MESSAGE_EXTENSION in (request.scope.get("extensions") or {})
    try:
        with ticket.receive_body():
            if is_message:
                data = await _read_message(request, ticket, size_max, config.message_timeout_s)
                coding = "gzip" if data is not None and data.startswith(GZIP_MAGIC) else None
            else:
                data = await read_body(request.receive, size_max, reserve)
        if data is None:
            raise ClientDisconnected
        if coding and data:
            data = await decompress(data, coding, size_max)
            reserve(len(data))
    except Unavailable:
        await ticket.delay_refusal()
        raise
    except BodyTimeout as error:
        raise HttpProblem(
            HTTPStatus.BAD_REQUEST,
            f"The message has to arrive within {config.message_timeout_s:g} s"
            if is_message
            else BODY_TOO_SLOW,
        ) from error
    except BodyTooLarge as error:
        raise _too_large(size_max) from error
    except InvalidCoding as error:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"The body is not valid {coding}") from error
    return data


async def _read_message(
    request: HttpRequest, ticket: AdmissionTicket, size_max: int, timeout_s: float
) -> bytes | None:
    """As `read_body`, for a body that comes as one message: any of them may have `size_max`."""
    await ticket.acquire_body_bytes(size_max)
    data = await read_body(request.receive, size_max, lambda _: None, timeout_s, timeout_s)
    ticket.release_body_bytes(size_max - len(data or b""))
    return data


def _too_large(size_max: int) -> HttpProblem:
    return HttpProblem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {size_max} bytes"
    )
