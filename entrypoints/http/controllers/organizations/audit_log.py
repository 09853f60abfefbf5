"""The audit log of an organization."""

from typing import Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, get

from application.use_cases import UseCases
from domain.identity import audit
from domain.identity.audit import AuditAction
from domain.page import SortOrder
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.wire_types import PaginatedResponse, ResponseInstant, format_instant


class AuditLogQuery(PageQuery, frozen=True, kw_only=True):
    pass


class AuditActor(msgspec.Struct, frozen=True, kw_only=True):
    """A person or an API key; without either id, an operator at the command line.

    `name` is the email address or the key's prefix at that time.
    """

    user_id: UUID | None
    api_key_id: UUID | None
    name: str


class AuditResource(msgspec.Struct, frozen=True, kw_only=True):
    """The object of the action."""

    type: str
    id: str


class AuditEntryResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One action: its actor, resource, time and origin; `detail` depends on the action."""

    id: UUID
    occurred_at: ResponseInstant
    action: AuditAction
    actor: AuditActor
    resource: AuditResource
    detail: dict[str, str]
    address: str | None
    user_agent: str | None

    @classmethod
    def from_domain(cls, entry: audit.AuditEntry) -> Self:
        actor = entry.actor
        return cls(
            id=entry.id,
            occurred_at=format_instant(entry.at),
            action=entry.action,
            actor=AuditActor(user_id=actor.user_id, api_key_id=actor.key_id, name=actor.name),
            resource=AuditResource(type=entry.action.resource, id=entry.resource_id),
            detail=dict(entry.detail),
            address=actor.origin.address,
            user_agent=actor.origin.agent,
        )


ENTRIES: Final = PagedList("audit log", {None: INSTANT}, ID)

LIST: Final = endpoint(
    ORGANIZATION_MEMBER,
    summary="Read the audit log",
    description=(
        "For OWNER and ADMIN. A page of the actions in the organization, the newest first. "
        "Entries are never changed or deleted. The use of an API key is recorded when it is used "
        "from a new address or by a new client."
    ),
    example={
        "items": [examples.AUDIT_ENTRY],
        "total": 1,
        "limit": 50,
        "offset": 0,
        "next_cursor": None,
    },
)


class AuditLogController(Controller):
    path = "/organizations/{org_id:str}/audit-log"

    @get("/", **LIST)
    async def list_audit_log(
        self,
        caller: Injected[OrganizationCaller],
        path: Injected[OrganizationPath],
        params: Injected[AuditLogQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[AuditEntryResponse]:
        membership = caller.membership
        organization = membership.organization_id
        requested = ENTRIES.parse_page(params, organization, None, None, SortOrder.DESC)
        page = await use_cases.identity.list_audit_log(membership, requested.page)
        entries = [AuditEntryResponse.from_domain(entry) for entry in page.items]
        return requested.respond(page, entries)
