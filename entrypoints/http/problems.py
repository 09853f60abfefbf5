"""Errors as they are answered: one envelope, and the only table from failures to statuses."""

import logging
from http import HTTPStatus
from typing import Final

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import UNSET, UnsetType

from domain import errors
from entrypoints.http.middleware.request_ids import HttpRequest, request_id_of
from entrypoints.http.requests.body_io import JSON, compressed
from entrypoints.observability.tracebacks import name_of

ERRORS_MAX: Final = 100  # of one request; who has more mistakes than that has one big one
KEY_SHOWN: Final = 200  # characters of a key of the caller's in the path of a mistake

STATUS: Final[dict[type[errors.Failure], int]] = {
    errors.Invalid: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,  # also for what is another tenant's: a 403 would tell that it exists
    errors.Conflict: 409,
    errors.LimitExceeded: 429,
    errors.Unavailable: 503,
}

_log: Final = logging.getLogger(__name__)


class FieldProblem(msgspec.Struct, frozen=True):
    """One mistake. `field` is a dotted path such as `spans.0.name` or `query.limit`."""

    field: str
    message: str


class ErrorResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every error. `errors` comes with 422; `error`, the same text as `detail`, with 429."""

    detail: str
    errors: list[FieldProblem] | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Problem(Exception):  # noqa: N818 - what only HTTP knows, beside the domain's failures
    """What only HTTP can get wrong: syntax, size, media type, range."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class Disconnected(Exception):  # noqa: N818 - nothing of ours went wrong
    """The client hung up before its request was complete."""


class Mistakes:
    """The field errors of one request, all found before any is told."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[errors.FieldError] = []

    def add(self, field: str, message: str) -> None:
        """Raises Invalid at once where there are as many as one answer holds."""
        self.found.append(errors.FieldError(field, message))
        if len(self.found) >= ERRORS_MAX:
            self.check()

    def check(self) -> None:
        """Raises Invalid where there are any."""
        if self.found:
            raise errors.Invalid.fields(self.found)


def exception_handlers() -> ExceptionHandlersMap:
    return {
        errors.Failure: _failure,
        Problem: lambda request, problem: _answer(
            request, problem.status, problem.detail, problem.headers
        ),
        # Nobody listens any more; the server drops what is sent.
        Disconnected: lambda request, _: _answer(request, 400, "The request was not complete"),
        HTTPException: _litestar,
        Exception: _unexpected,
    }


def _failure(request: HttpRequest, failure: errors.Failure) -> Response[bytes]:
    status = next(code for kind, code in STATUS.items() if isinstance(failure, kind))
    if isinstance(failure, errors.Invalid):
        found = [FieldProblem(one.field, one.message) for one in failure.errors[:ERRORS_MAX]]
        return _answer(request, status, failure.message, found=found)
    if isinstance(failure, errors.LimitExceeded):
        wait = {"retry-after": str(failure.retry_after_s)}
        return _answer(request, status, failure.message, wait, error=failure.message)
    if isinstance(failure, errors.Unavailable):
        # The cause is an operator's business, and the caller is told none of it.
        cause = failure.__cause__
        why = "" if cause is None else f" ({name_of(cause)})"
        _log.warning("%s: %s%s", request_id_of(request.scope), failure, why)
        return _answer(
            request, status, failure.message, {"retry-after": str(failure.retry_after_s)}
        )
    if isinstance(failure, errors.Unauthenticated):
        return _answer(request, status, failure.message, {"www-authenticate": "Bearer"})
    return _answer(request, status, failure.message)


def _litestar(request: HttpRequest, problem: HTTPException) -> Response[bytes]:
    status = problem.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(request, problem)
    detail = HTTPStatus(status).phrase if status in HTTPStatus else "Bad Request"
    headers = {name.lower(): value for name, value in (problem.headers or {}).items()}
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    return _answer(request, status, detail, headers)


def _unexpected(request: HttpRequest, fault: Exception) -> Response[bytes]:
    _log.error(
        "Unexpected fault in request %s (%s %s)",
        request_id_of(request.scope),
        request.scope["method"],
        request.scope.get("path_template", "?"),  # not the path: ids of callers stay out of logs
        exc_info=fault,
    )
    return _answer(request, 500, "Internal server error")


def _answer(
    request: HttpRequest,
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    found: list[FieldProblem] | UnsetType = UNSET,
    error: str | UnsetType = UNSET,
) -> Response[bytes]:
    body = msgspec.json.encode(ErrorResponse(detail, found, error))
    body, coding = compressed(body, request.scope["headers"])
    return Response(
        body, status_code=status, media_type=JSON, headers={**(headers or {}), **coding}
    )
