"""Reports what became of spans and log records: in metrics, and in the project's rejections."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

from domain.identity.caller import Caller
from domain.tracing.otel.requests import (
    NothingStored,
    Rejection,
    RejectionReason,
    Signal,
    UnacceptableRequest,
)
from domain.tracing.otel.scope_families import family_of
from entrypoints.http.config import http_context
from entrypoints.http.middleware.request_ids import HttpRequest

METRICS_SIGNAL: Final = "metrics"  # of which nothing is kept
_REASONS: Final = {
    HTTPStatus.BAD_REQUEST: RejectionReason.UNDECODABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: RejectionReason.BODY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: RejectionReason.UNSUPPORTED_TYPE,
}

type RejectedBy = Mapping[tuple[RejectionReason, str], int]
"""The number of rejections by reason and name of the scope."""


def report(
    request: HttpRequest,
    signal: str,
    *,
    stored: int = 0,
    ignored: int = 0,
    rejections: Sequence[Rejection] = (),
    rejected_by: RejectedBy | None = None,
) -> None:
    """Never raises, and waits for nothing."""
    context, rejected_by = http_context(request), rejected_by or {}
    observer = context.config.observer
    if observer is not None:
        rejected = sum(rejected_by.values())
        outcomes = {"stored": stored, "rejected": rejected, "ignored": ignored}
        for outcome, count in outcomes.items():
            if count:
                observer.otlp_received(signal, outcome, count)
        for (reason, scope), count in rejected_by.items():
            observer.otlp_rejected(reason, family_of(scope), count)
    caller = cast("dict[str, Any]", request.scope).get("user")
    # A project that the request would have created doesn't exist.
    if rejections and signal in Signal and isinstance(caller, Caller) and not caller.new_project:
        record = context.use_cases.tracing.record_rejections
        record(caller.project_id, Signal(signal), rejections)


def report_refused(signal: str) -> Callable[[HttpRequest, int, Exception], None]:
    """A function that is called with a request that fails as a whole, and its status."""

    def refused(request: HttpRequest, status: int, error: Exception) -> None:
        is_known = isinstance(cast("dict[str, Any]", request.scope).get("user"), Caller)
        if isinstance(error, NothingStored):
            rejections, rejected_by = error.rejections, error.rejected_by
            report(request, signal, rejections=rejections, rejected_by=rejected_by)
        elif is_known and status in _REASONS:
            reason = _REASONS[HTTPStatus(status)]
            if isinstance(error, UnacceptableRequest):
                reason = error.reason
            whole = Rejection(reason=reason, message=str(error))
            report(request, signal, rejections=[whole], rejected_by={(reason, ""): 1})

    return refused
