"""Tickets to download an export by a link, in memory."""

from dataclasses import dataclass

from adapters.memory.store import MemoryStore
from domain.exports.ticket import DownloadTicket


@dataclass(frozen=True, slots=True)
class MemoryDownloadTickets:
    store: MemoryStore

    async def add(self, ticket: DownloadTicket) -> None:
        self.store.download_tickets[ticket.digest] = ticket

    async def by_digest(self, digest: bytes) -> DownloadTicket | None:
        return self.store.download_tickets.get(digest)

    async def use(self, ticket: DownloadTicket) -> bool:
        return self.store.download_tickets.pop(ticket.digest, None) is not None
