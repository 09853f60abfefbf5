"""The audit log of an organization."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, Response
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity import audit
from domain.identity.refusal import CountedRefusal
from domain.page import SortOrder
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import get
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.body_io import NDJSON
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.wire_types import PaginatedResponse, ResponseInstant
from entrypoints.http.response_structs import WHOLE, ResponseStruct, Source
from entrypoints.http.streams import StreamingResponse


class AuditLogQuery(PageQuery, frozen=True, kw_only=True):
    action: Annotated[audit.AuditAction | None, Meta(description="Only this action")] = None
    actor_id: Annotated[
        UUID | None, Meta(description="Only what this user did, or a program with this API key")
    ] = None
    occurred_after: Annotated[
        wire.QueryInstant | None, Meta(description="Only entries from this time on")
    ] = None
    occurred_before: Annotated[
        wire.QueryEnd | None, Meta(description="Only entries before this time")
    ] = None

    def to_domain(self) -> audit.AuditFilter:
        return audit.AuditFilter(
            action=self.action,
            actor_id=self.actor_id,
            after=self.occurred_after,
            before=self.occurred_before,
        )


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
    """One action: its actor, resource, time and origin; `detail` depends on the action.

    `sequence` numbers the entries of the organization from 1, without a gap. `hash` is the SHA-256
    of the hash before it and of all other fields, in lower-case hex: see
    docs/access/organizations.md.
    """

    id: UUID
    occurred_at: Annotated[ResponseInstant, Source("at")]
    action: audit.AuditAction
    actor: AuditActor
    resource: Annotated[AuditResource, Source(WHOLE)]
    detail: dict[str, str]
    address: Annotated[str | None, Source("actor.origin.address")]
    user_agent: Annotated[str | None, Source("actor.origin.agent")]
    sequence: Annotated[int, Source("sequence", is_set=True)]
    hash: Annotated[str, Source("hash", bytes.hex, is_set=True)]


class RefusalResponse(ResponseStruct[CountedRefusal], frozen=True, kw_only=True):
    """Refused requests of one hour with one credential from one address.

    `credential` is the id of an API key or of a user. `address` and `credential` are '' if they are
    unknown, and where more were refused in the hour than are counted separately.
    """

    hour: Annotated[ResponseInstant, Source("refusal.hour")]
    status: Annotated[int, Source("refusal.status")]
    address: Annotated[str, Source("refusal.address")]
    credential: Annotated[str, Source("refusal.credential")]
    count: int


class AuditLogEnd(msgspec.Struct, frozen=True):
    """The last line of an export: the number of entries, and the hash of the last one."""

    entries: int
    hash: str


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

        For OWNER and ADMIN. A page of the actions in the organization, the newest first: all of
        them, or those of an actor, of a kind, or of a period. Entries are never changed or deleted.
        The first use of an API key from each network has an entry.
        """
        membership = caller.membership
        organization = membership.organization_id
        matching = params.to_domain()
        requested = ENTRIES.parse_page(params, organization, matching, None, SortOrder.DESC)
        page = await use_cases.identity.list_audit_log(membership, requested.page, matching)
        return requested.respond(page, AuditEntryResponse.from_domain)

    @get("/refusals", ORGANIZATION_MEMBER, example=[examples.REFUSAL])
    async def list_refusals(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> list[RefusalResponse]:
        """Read refused requests.

        For OWNER and ADMIN. How many requests with credentials of the organization were refused
        with 401, 403 or 404, by hour, address and credential: the newest hours first, at most
        1,000 of them. They are kept for 90 days.
        """
        refusals = await use_cases.identity.list_refusals(caller.membership)
        return [RefusalResponse.from_domain(one) for one in refusals]

    @get(
        "/export",
        ORGANIZATION_MEMBER,
        example=examples.AUDIT_ENTRY,
        media_types=(NDJSON,),
        response_type=AuditEntryResponse,
    )
    async def export_audit_log(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> Response[bytes]:
        """Export the audit log.

        For OWNER and ADMIN. All entries, the oldest first, one per line. The export is streamed,
        and may have any length. The last line has a single member `export` with the number of
        entries and the hash of the last one: a file without it is incomplete. See
        docs/access/organizations.md for how the hashes are checked.
        """
        batches = use_cases.identity.export_audit_log(caller.membership)

        @asynccontextmanager
        async def open_chunks() -> AsyncIterator[AsyncIterator[bytes]]:
            yield _encode_entries(batches)

        return StreamingResponse(open_chunks, NDJSON)


async def _encode_entries(
    batches: AsyncIterator[Sequence[audit.AuditEntry]],
) -> AsyncIterator[bytes]:
    entries, last = 0, audit.EMPTY_CHAIN.hash
    async for batch in batches:
        lines = [msgspec.json.encode(AuditEntryResponse.from_domain(one)) for one in batch]
        yield b"\n".join([*lines, b""])
        entries, last = entries + len(batch), batch[-1].hash or last
    yield msgspec.json.encode({"export": AuditLogEnd(entries, last.hex())}) + b"\n"
