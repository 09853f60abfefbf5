"""The audit log of an organization."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller

from application.use_cases import UseCases
from domain.identity import audit
from domain.page import SortOrder
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import get
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.wire_types import PaginatedResponse, ResponseInstant
from entrypoints.http.response_structs import WHOLE, ResponseStruct, Source


class AuditLogQuery(PageQuery, frozen=True, kw_only=True):
    pass


class AuditActor(ResponseStruct[audit.Actor], frozen=True, kw_only=True):
    """A person or an API key; without either id, an operator at the command line.

    `name` is the email address or the key's prefix at that time.
    """

    user_id: UUID | None
    api_key_id: Annotated[UUID | None, Source("key_id")]
    name: str


class AuditResource(ResponseStruct[audit.AuditEntry], frozen=True, kw_only=True):
    """The object of the action."""

    type: Annotated[str, Source("action.resource")]
    id: Annotated[str, Source("resource_id")]


class AuditEntryResponse(ResponseStruct[audit.AuditEntry], frozen=True, kw_only=True):
    """One action: its actor, resource, time and origin; `detail` depends on the action."""

    id: UUID
    occurred_at: Annotated[ResponseInstant, Source("at")]
    action: audit.AuditAction
    actor: AuditActor
    resource: Annotated[AuditResource, Source(WHOLE)]
    detail: dict[str, str]
    address: Annotated[str | None, Source("actor.origin.address")]
    user_agent: Annotated[str | None, Source("actor.origin.agent")]


ENTRIES: Final = PagedList("audit log", {None: INSTANT}, ID)


class AuditLogController(Controller):
    path = "/organizations/{org_id:str}/audit-log"

    @get("/", ORGANIZATION_MEMBER, example=page_of(examples.AUDIT_ENTRY))
    async def list_audit_log(
        self,
        caller: OrganizationCaller,
        path: OrganizationPath,
        params: AuditLogQuery,
        use_cases: UseCases,
    ) -> PaginatedResponse[AuditEntryResponse]:
        """Read the audit log.

        For OWNER and ADMIN. A page of the actions in the organization, the newest first. Entries
        are never changed or deleted. The use of an API key is recorded when it is used from a new
        address or by a new client.
        """
        membership = caller.membership
        organization = membership.organization_id
        requested = ENTRIES.parse_page(params, organization, None, None, SortOrder.DESC)
        page = await use_cases.identity.list_audit_log(membership, requested.page)
        return requested.respond(page, AuditEntryResponse.from_domain)
