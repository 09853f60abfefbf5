"""What an endpoint takes and gives, said once: requests are read by it, and documented by it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Self, cast
from uuid import UUID

import msgspec
from litestar import Response

from application.ports import StoredResponse
from domain.errors import Unauthenticated
from domain.identity.caller import Caller
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
    compressed_aside,
    inflated,
    is_json,
    received,
)
from entrypoints.http.requests.idempotency_key import Repeated, repeated_of
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.parameters import Words, query_words

PARSED_ASIDE_FROM: Final = 256 << 10  # bytes; looking for mistakes takes up to 50 ms a megabyte
READING: Final = ("GET", "HEAD")
EDGE: Final = "edge"  # where the application's state holds what handlers work with


@dataclass(frozen=True, slots=True)
class Given[C, P, Q, B]:
    """A request, checked: who asks, and what each part of it says."""

    caller: C
    path: P
    query: Q
    body: B
    repeated: Repeated | None = None  # by what a repeat is known, where one has no other effect


class OneOf:
    """An answer that has one of several types: those that no union can hold, such as lists."""

    def __init__(self, *types: Any) -> None:
        self.types = types


@dataclass(frozen=True, slots=True)
class Documented:
    """What the reference says of an endpoint beside its types."""

    summary: str
    description: str
    answer: Any  # the type of the body of a success, or OneOf some; None for an empty one
    example: Any = None  # of the answer
    body_example: Any = None
    answers: Mapping[int, Any] = field(default_factory=dict)  # others, by status
    route_class: RouteClass | None = RouteClass.DEFAULT  # what limits it; None: nothing
    is_once: bool = False  # a repeat with the same key gets the first answer again
    media_types: Sequence[str] = (JSON,)  # of a success
    parts: tuple[Any, ...] = ()  # types that the body refers to by their names


@dataclass(frozen=True, slots=True)
class Operation[C, P, Q, B]:
    """Made by `operation`; `with_path`, `with_query` and `with_body` say what else it takes."""

    documented: Documented
    access: Access[C]
    path: Words[Any] | None = None
    query: Words[Any] | None = None
    body: Body[Any] | None = None

    def with_path[T: msgspec.Struct](self, wire: type[T]) -> "Operation[C, T, Q, B]":
        return Operation(self.documented, self.access, Words(wire, "path"), self.query, self.body)

    def with_query[T: msgspec.Struct](self, wire: type[T]) -> "Operation[C, P, T, B]":
        return Operation(self.documented, self.access, self.path, Words(wire, "query"), self.body)

    def with_body[T](self, body: Body[T]) -> "Operation[C, P, Q, T]":
        return Operation(self.documented, self.access, self.path, self.query, body)

    def __deepcopy__(self, _: object) -> Self:
        return self  # Litestar copies the handlers of a controller with all they hold

    @property
    def opt(self) -> dict[str, Any]:
        """For Litestar's route handler: what the OpenAPI document is made of."""
        return {"operation": self}

    async def read(self, request: HttpRequest) -> Given[C, P, Q, B]:
        """The request in the order of the contract: what it declares, who asks, what it holds.

        Raises Problem for what only HTTP knows, Invalid with every mistake at once, and what
        authentication raises.
        """
        scope = request.scope
        note(scope, kind=self._kind(scope["method"]))
        edge = edge_of(request)
        incoming = Incoming.of(scope, edge.config.trusted_proxies)
        if self.body is not None:
            coding = _declared(request, incoming.headers, edge.config)
        caller = await self._admitted(request, incoming, edge)
        mistakes = Mistakes()
        body = path = query = None
        data = b""
        if self.body is not None:
            data = await _content(request, coding, edge.config.max_body_bytes)
            if len(data) < PARSED_ASIDE_FROM:
                body = self.body.read(data, edge.config, mistakes)
            else:
                body = await asyncio.to_thread(self.body.read, data, edge.config, mistakes)
        if self.path is not None:
            given = {name: [segment(word)] for name, word in scope["path_params"].items()}
            path = self.path.read(given, mistakes)
        if self.query is not None:
            query = self.query.read(query_words(scope["query_string"], mistakes), mistakes)
        repeated = repeated_of(scope, data, mistakes) if self.documented.is_once else None
        mistakes.check()
        if self.documented.route_class is not RouteClass.INGEST:  # those are committed together
            await intake_of(scope).turn()
        return Given(caller, cast("P", path), cast("Q", query), cast("B", body), repeated)

    def _kind(self, method: str) -> Kind:
        if self.documented.route_class is RouteClass.INGEST:
            return Kind.INGEST
        return Kind.READ if method in READING else Kind.WRITE

    async def _admitted(self, request: HttpRequest, incoming: Incoming, edge: Edge) -> C:
        """Who asks, once the rate limit lets them. Raises what `access` raises, LimitExceeded."""
        scope = cast("dict[str, Any]", request.scope)
        try:
            caller = await self.access(incoming, edge.use_cases)
        except Unauthenticated:
            # Guessing counts against the address, whatever it was that was guessed at.
            if self.documented.route_class is not None:
                address = of_address(incoming.origin)
                await edge.rate_limits.admit(scope, RouteClass.DEFAULT, address)
            raise
        note(scope, caller=caller)
        principal = principal_of(caller)
        await edge.rate_limits.admit(scope, self.documented.route_class, principal)
        if self.documented.route_class is not None:
            await intake_of(scope).enter(principal)
        return caller


def operation[C](access: Access[C], documented: Documented) -> Operation[C, None, None, None]:
    return Operation(documented, access)


def edge_of(request: HttpRequest) -> Edge:
    return cast("Edge", request.app.state[EDGE])


async def admit_anybody(request: HttpRequest) -> None:
    """The rate limit of what has no operation: by address. Raises LimitExceeded."""
    note(request.scope)
    edge = edge_of(request)
    origin = Incoming.of(request.scope, edge.config.trusted_proxies).origin
    scope = cast("dict[str, Any]", request.scope)
    await edge.rate_limits.admit(scope, RouteClass.DEFAULT, of_address(origin))


async def answer(
    request: HttpRequest,
    value: Any,
    *,
    status: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """`value` as JSON, with the handler's status where none is given."""
    return await _shown(request, msgspec.json.encode(value), status, headers)


async def answer_once(
    request: HttpRequest,
    given: Given[Caller, Any, Any, Any],
    status: int,
    write: Callable[[UUID], Awaitable[Any]],
) -> Response[bytes]:
    """What `write` gives as JSON, or what it gave the first time that this request was sent.

    `write` makes the object of the id that it is called with; where there is one, it finds it.
    """
    use_cases, intake = edge_of(request).use_cases, intake_of(request.scope)

    async def aside(seconds: float) -> None:
        intake.worked()  # who waits for another request keeps no third one waiting
        await asyncio.sleep(seconds)

    async def reply(object_id: UUID) -> StoredResponse:
        await intake.turn()
        return StoredResponse(status, msgspec.json.encode(await write(object_id)))

    if given.repeated is None:
        made = await reply(use_cases.run_idempotently.new_id())
    else:
        attempt = given.repeated.within(given.caller.project_id)
        made = await use_cases.run_idempotently(attempt, reply, aside)
    return await _shown(request, made.body, made.status, None)


async def _shown(
    request: HttpRequest, text: bytes, status: int | None, headers: dict[str, str] | None
) -> Response[bytes]:
    body, coding = await compressed_aside(text, request.scope["headers"])
    return Response(
        body, media_type=JSON, status_code=status, headers={**(headers or {}), **coding}
    )


def _declared(request: HttpRequest, headers: Headers, config: HttpConfig) -> str | None:
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


async def _content(request: HttpRequest, coding: str | None, size_max: int) -> bytes:
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
