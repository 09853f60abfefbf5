"""Error responses: one envelope, and the only table from failures to statuses."""

import logging
from http import HTTPStatus
from typing import Final

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import UNSET, UnsetType

from domain import errors
from domain.tracing.otel.requests import TooManyItems, UnacceptableRequest
from entrypoints.http.endpoint import count_invalid_ingest, endpoint_of
from entrypoints.http.middleware.request_ids import HttpRequest, request_id_of
from entrypoints.http.refusals import record_refusal
from entrypoints.http.requests.body_io import JSON, compress
from entrypoints.http.requests.errors import FIELD_ERRORS_MAX, ClientDisconnected, HttpProblem
from entrypoints.tracebacks import with_cause

STATUS_OF_FAILURE: Final[dict[type[errors.Failure], int]] = {
    errors.Invalid: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,  # also for another tenant's objects: a 403 would reveal that they exist
    errors.Conflict: 409,
    errors.LimitExceeded: 429,
    errors.Unavailable: 503,
}

NO_SUCH_PATH: Final = "There is no such path: GET /openapi.json lists all"

_log: Final = logging.getLogger(__name__)


class FieldProblem(msgspec.Struct, frozen=True):
    """One error. `field` is a dotted path such as `spans.0.name` or `query.limit`."""

    field: str
    message: str


class ErrorResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every error. `errors` is set for 422; `error`, the same text as `detail`, for 429."""

    detail: str
    errors: list[FieldProblem] | UnsetType = UNSET
    error: str | UnsetType = UNSET


def exception_handlers() -> ExceptionHandlersMap:
    return {
        errors.Failure: _respond_to_failure,
        HttpProblem: _respond_to_problem,
        UnacceptableRequest: _respond_to_unacceptable,
        # The client is gone; the server drops what is sent.
        ClientDisconnected: lambda request, _: _respond(
            request, 400, "The request was not complete"
        ),
        HTTPException: _respond_to_litestar,
        Exception: _respond_to_fault,
    }


def _respond_to_failure(request: HttpRequest, failure: errors.Failure) -> Response[bytes]:
    status = next(code for kind, code in STATUS_OF_FAILURE.items() if isinstance(failure, kind))
    headers: dict[str, str] = {}
    fields: list[FieldProblem] | UnsetType = UNSET
    error: str | UnsetType = UNSET
    match failure:
        case errors.Invalid():
            shown = failure.errors[:FIELD_ERRORS_MAX]
            fields = [FieldProblem(one.field, one.message) for one in shown]
            count_invalid_ingest(request, failure)
        case errors.LimitExceeded():
            headers["retry-after"], error = str(failure.retry_after_s), failure.message
        case errors.Unavailable():
            headers["retry-after"] = str(failure.retry_after_s)
            # The cause is for operators: it is logged, and not part of the response.
            _log.warning("%s: %s", request_id_of(request.scope), with_cause(failure))
        case errors.Unauthenticated():
            headers["www-authenticate"] = "Bearer"
    record_refusal(request, status)
    return _respond(request, status, failure.message, headers, fields=fields, error=error)


def _respond_to_problem(request: HttpRequest, problem: HttpProblem) -> Response[bytes]:
    _notify_endpoint(request, problem.status, problem)
    return _respond(request, problem.status, problem.detail, problem.headers)


def _respond_to_unacceptable(request: HttpRequest, refused: UnacceptableRequest) -> Response[bytes]:
    status = HTTPStatus.BAD_REQUEST
    if isinstance(refused, TooManyItems):
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    _notify_endpoint(request, status, refused)
    return _respond(request, status, refused.message)


def _notify_endpoint(request: HttpRequest, status: int, error: Exception) -> None:
    called = endpoint_of(request.route_handler)
    if called is not None and called.on_refused is not None:
        called.on_refused(request, status, error)


def _respond_to_litestar(request: HttpRequest, error: HTTPException) -> Response[bytes]:
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _respond_to_fault(request, error)
    detail = HTTPStatus(status).phrase if status in HTTPStatus else "Bad Request"
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
        detail = f"{request.method} isn't served here, only {headers['allow']}"
    elif status == HTTPStatus.NOT_FOUND:
        detail = NO_SUCH_PATH
    return _respond(request, status, detail, headers)


def _respond_to_fault(request: HttpRequest, fault: Exception) -> Response[bytes]:
    _log.error(
        "Unexpected fault in request %s (%s %s)",
        request_id_of(request.scope),
        request.scope["method"],
        request.scope.get("path_template", "?"),  # not the path: callers' ids stay out of the logs
        exc_info=fault,
    )
    return _respond(request, 500, "Internal server error")


def _respond(
    request: HttpRequest,
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    fields: list[FieldProblem] | UnsetType = UNSET,
    error: str | UnsetType = UNSET,
) -> Response[bytes]:
    body = msgspec.json.encode(ErrorResponse(detail, fields, error))
    body, coding = compress(body, request.scope["headers"])
    return Response(
        body, status_code=status, media_type=JSON, headers={**(headers or {}), **coding}
    )
