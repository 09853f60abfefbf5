"""Making, listing, deleting and opening public links."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from application.audit import AuditTrail
from application.ports import Clock, RandomBytes
from application.sharing.ports import TraceLinks
from application.tracing.ports import Traces
from domain.errors import NotFound
from domain.identity.audit import AuditAction, AuditEntry
from domain.identity.caller import Caller
from domain.identity.login_code import code_digest, format_code
from domain.ids import ProjectId, TraceId
from domain.sharing.trace_link import TOKEN_BYTES, TraceLink

NO_SUCH_LINK: Final = "This link is unknown, expired or revoked"


@dataclass(frozen=True, slots=True)
class CreateTraceLink:
    links: TraceLinks
    traces: Traces
    audit: AuditTrail
    clock: Clock
    random: RandomBytes

    async def __call__(
        self,
        caller: Caller,
        new_id: UUID,
        trace: TraceId,
        *,
        is_masked: bool,
        has_scores: bool,
        days: int,
    ) -> tuple[TraceLink, str]:
        """The link and its token, which is stored nowhere.

        Raises NotFound without the trace, Forbidden if the organization allows no public links,
        Conflict at the limits, Unavailable.
        """
        await self.traces.revision(caller.project_id, trace)  # not one that is being erased
        token, now = format_code(self.random(TOKEN_BYTES)), self.clock()
        link = TraceLink(
            id=new_id,
            digest=code_digest(token),
            organization_id=caller.organization_id,
            project_id=caller.project_id,
            trace_id=trace,
            is_masked=is_masked,
            has_scores=has_scores,
            created_by=caller.user_id,
            creator=caller.name,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        facts = {"trace_id": trace, "masked": is_masked, "scores": has_scores}
        facts["expires_at"] = link.expires_at.isoformat()
        entry = self.audit.entry(caller, AuditAction.TRACE_LINK_CREATED, link.id, **facts)
        await self.links.add(link, audit=entry)
        return link, token


@dataclass(frozen=True, slots=True)
class ListTraceLinks:
    """Lists the links of a trace, which are hidden with it while it is being erased."""

    links: TraceLinks
    traces: Traces

    async def __call__(self, project: ProjectId, trace: TraceId) -> Sequence[TraceLink]:
        """The newest first, with expired ones; none without the trace. Raises Unavailable."""
        try:
            await self.traces.revision(project, trace)
        except NotFound:
            return []
        return await self.links.by_trace(project, trace)


@dataclass(frozen=True, slots=True)
class DeleteTraceLink:
    links: TraceLinks
    traces: Traces

    async def __call__(
        self, project: ProjectId, trace: TraceId, link: UUID, *, audit: AuditEntry
    ) -> None:
        """Raises NotFound without the trace, also while it is being erased, or the link.

        Raises Unavailable.
        """
        await self.traces.revision(project, trace)
        if not await self.links.delete(project, trace, link, audit=audit):
            raise NotFound("Link not found")


@dataclass(frozen=True, slots=True)
class OpenTraceLink:
    """Finds the link of a token. Everything that a reader gets is of its trace."""

    links: TraceLinks
    clock: Clock

    async def __call__(self, token: str) -> TraceLink:
        """Raises NotFound, with one text for all that is wrong with a token; Unavailable."""
        link = await self.links.by_digest(code_digest(token))
        if link is None or link.expires_at <= self.clock():
            raise NotFound(NO_SUCH_LINK)
        return link
