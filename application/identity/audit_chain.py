"""The audit log in the order of its numbers: its export, and the check of its hashes."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from application.identity.ports import Directory, Refusals
from domain.identity.audit import (
    EMPTY_CHAIN,
    AuditEntry,
    BrokenChainError,
    ChainHead,
    follow_chain,
)
from domain.identity.organization import Action, Membership, check_right
from domain.identity.refusal import CountedRefusal
from domain.ids import OrganizationId

ENTRIES_PER_BATCH: Final = 1_000
LISTED_REFUSALS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class ExportAuditLog:
    """All entries of an organization, oldest first, in batches."""

    directory: Directory

    def __call__(self, membership: Membership) -> AsyncIterator[Sequence[AuditEntry]]:
        """Raises Forbidden at once; Unavailable, also later.

        Ends at the entry that is the last one when it begins.
        """
        check_right(membership.role, Action.READ_AUDIT_LOG)
        return read_entries(self.directory, membership.organization_id)


@dataclass(frozen=True, slots=True)
class ListRefusals:
    """The refused requests with credentials of an organization."""

    refusals: Refusals

    async def __call__(self, membership: Membership) -> Sequence[CountedRefusal]:
        """The newest LISTED_REFUSALS_MAX, with their counts. Raises Forbidden, Unavailable."""
        check_right(membership.role, Action.READ_AUDIT_LOG)
        return await self.refusals.latest(membership.organization_id, LISTED_REFUSALS_MAX)


@dataclass(frozen=True, slots=True)
class VerifyAuditLog:
    """Checks that no entry is missing, was changed or was added."""

    directory: Directory

    async def __call__(
        self, organization: OrganizationId, known: ChainHead = EMPTY_CHAIN
    ) -> ChainHead:
        """The head of the log, to compare with later. Raises BrokenChainError, Unavailable.

        `known` is the head at an earlier check: the log has to continue it.
        """
        stored = await self.directory.audit_head(organization)
        head = EMPTY_CHAIN
        async for batch in read_entries(self.directory, organization):
            for entry in batch:
                head = follow_chain(head, [entry])
                if head.sequence == known.sequence and head != known:
                    raise BrokenChainError(f"entry {known.sequence} isn't the one that was known")
        if head.sequence < max(stored.sequence, known.sequence):
            raise BrokenChainError(f"entry {head.sequence + 1} is missing")
        if head.sequence == stored.sequence and head != stored:
            raise BrokenChainError(f"entry {head.sequence} isn't the one that was written last")
        return head


async def read_entries(
    directory: Directory, organization: OrganizationId
) -> AsyncIterator[Sequence[AuditEntry]]:
    """All entries up to the last one at the moment of the call."""
    after, last = 0, (await directory.audit_head(organization)).sequence
    while after < last:
        limit = min(ENTRIES_PER_BATCH, last - after)
        batch = await directory.audit_entries(organization, after, limit)
        if not batch:
            break
        yield batch
        after = batch[-1].sequence or last
