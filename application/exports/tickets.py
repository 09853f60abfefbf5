"""Downloads of exports by a link: a ticket is issued to a caller, and used once.

A link can't send a key, a token, or the verifier of a browser's session. Its ticket is as good as
the credential for one file, for a minute, and once.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from application.exports.files import find_completed
from application.exports.ports import DownloadTickets, Exports
from application.identity.ports import BrowserSessions, Directory, Organizations, Projects
from application.ports import Clock, RandomBytes
from domain.errors import Forbidden, NotFound, Unauthenticated
from domain.exports.export import Export
from domain.exports.ticket import TICKET_BYTES, TICKET_LIFETIME, DownloadTicket
from domain.identity.api_key import Scope
from domain.identity.audit import Origin
from domain.identity.browser_session import SessionLifetime, cookie_digest
from domain.identity.caller import Caller
from domain.identity.login_code import code_digest, format_code

REFUSED: Final = "This link is unknown, used or expired, or belongs to another browser"


@dataclass(frozen=True, slots=True)
class IssueTicket:
    """Issues a ticket for the file of a completed export."""

    exports: Exports
    tickets: DownloadTickets
    clock: Clock
    random: RandomBytes

    async def __call__(self, caller: Caller, export_id: UUID) -> str:
        """The text of the ticket, valid for TICKET_LIFETIME.

        Raises NotFound; Conflict if the export failed or isn't complete yet; Unavailable.
        """
        export = await find_completed(self.exports, caller.project_id, export_id)
        ticket, now = format_code(self.random(TICKET_BYTES)), self.clock()
        await self.tickets.add(
            DownloadTicket(
                digest=code_digest(ticket),
                organization_id=caller.organization_id,
                project_id=export.project_id,
                export_id=export.id,
                user_id=caller.user_id,
                key_id=caller.key_id,
                session_id=caller.session_id,
                name=caller.name,
                created_at=now,
                expires_at=now + TICKET_LIFETIME,
            )
        )
        return ticket


@dataclass(frozen=True, slots=True)
class UseTicket:
    """Admits a download. What opened the export when the ticket was issued must still open it."""

    tickets: DownloadTickets
    exports: Exports
    sessions: BrowserSessions
    organizations: Organizations
    projects: Projects
    directory: Directory
    lifetime: SessionLifetime
    clock: Clock

    async def find(self, text: str) -> DownloadTicket:
        """The ticket that a link has. Raises NotFound, as the call does; Unavailable."""
        ticket = await self.tickets.by_digest(code_digest(text))
        if ticket is None or ticket.expires_at <= self.clock():
            raise NotFound(REFUSED)
        return ticket

    async def __call__(
        self, ticket: DownloadTicket, cookie: str | None, origin: Origin
    ) -> tuple[Caller, Export]:
        """Returns the caller and the export, and deletes the ticket.

        `cookie` is that of the browser's session, if it sent one. Raises NotFound, with one text
        for all that is wrong with a ticket; Conflict if the export failed; Unavailable.
        """
        # Checked before it is used up: another browser must not be able to waste it.
        await self._check_session(ticket, cookie)
        caller = await self._caller(ticket, origin)
        export = await find_completed(self.exports, ticket.project_id, ticket.export_id)
        if not await self.tickets.use(ticket):
            raise NotFound(REFUSED)
        return caller, export

    async def _check_session(self, ticket: DownloadTicket, cookie: str | None) -> None:
        if ticket.session_id is None:
            return
        found = None if cookie is None else await self.sessions.by_digest(cookie_digest(cookie))
        if (
            found is None
            or found[0].id != ticket.session_id
            or not found[0].is_open(self.clock(), self.lifetime)
        ):
            raise NotFound(REFUSED)

    async def _caller(self, ticket: DownloadTicket, origin: Origin) -> Caller:
        """The holder of the ticket, with the right that they have now."""
        organization, role = ticket.organization_id, None
        try:
            await self.projects.get(organization, ticket.project_id)
            if ticket.key_id is not None:
                key = await self.directory.key(organization, ticket.key_id)
                key.check_active(self.clock())
                key.limits.check_address(origin.address)
                key.limits.check_project(ticket.project_id)
            else:
                assert ticket.user_id is not None
                memberships = await self.organizations.memberships(ticket.user_id)
                [role] = [one.role for one in memberships if one.organization_id == organization]
        except (NotFound, Unauthenticated, Forbidden, ValueError) as gone:
            raise NotFound(REFUSED) from gone
        return Caller(
            organization_id=organization,
            project_id=ticket.project_id,
            scopes=frozenset({Scope.READ}),
            key_id=ticket.key_id,
            user_id=ticket.user_id,
            role=role,
            name=ticket.name,
            origin=origin,
        )
