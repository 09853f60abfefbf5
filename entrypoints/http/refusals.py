"""Counts the requests that are refused for their credential, their role, or a hidden project."""

from http import HTTPStatus
from typing import Any, Final, cast

from domain.identity.api_key import ApiKey
from domain.identity.caller import Caller, Person
from domain.identity.organization import Membership
from domain.identity.refusal import Refusal
from entrypoints.http.authentication import AuthContext
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.config import http_context
from entrypoints.http.middleware.request_ids import HttpRequest

AUTH_CONTEXT: Final = "pandaprobe.auth_context"  # in the scope, once authentication begins
STATUSES: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


def recognized_callers(request: HttpRequest) -> list[object]:
    """The callers that were recognized, also by a credential in the body."""
    return cast("AuthContext", cast("dict[str, Any]", request.scope)[AUTH_CONTEXT]).known


def record_refusal(request: HttpRequest, status: int) -> None:
    """Counts a response that is a refusal. A 404 is one if the caller wasn't admitted."""
    scope = cast("dict[str, Any]", request.scope)
    auth, caller = cast("AuthContext | None", scope.get(AUTH_CONTEXT)), scope.get("user")
    if auth is None:
        return
    if status in STATUSES or (status == HTTPStatus.NOT_FOUND and caller is None):
        senders = (_sender(one) for one in (caller, *reversed(auth.known)))
        organization, credential = next(filter(any, senders), (None, None))
        use_cases = http_context(request).use_cases
        use_cases.identity.refusal_log.record(
            Refusal.at(use_cases.clock(), status, organization, auth.origin.address, credential)
        )


def _sender(known: object) -> tuple[Any, Any]:
    """The organization and the id of the key or the user: of the last that is known."""
    match known:
        case Caller():
            return known.organization_id, known.key_id or known.user_id
        case ApiKey():  # revoked, expired, or used where it may not be
            return known.organization_id, known.id
        case Membership():
            return known.organization_id, known.user_id
        case OrganizationCaller():
            return known.organization, known.person.user.id
        case Person():
            return None, known.user.id
    return None, None
