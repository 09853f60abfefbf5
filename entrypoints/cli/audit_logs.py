"""`audit`: checks the audit logs of organizations."""

import asyncio
from uuid import UUID

from domain.identity.audit import EMPTY_CHAIN, BrokenChainError, ChainHead
from domain.ids import OrganizationId
from entrypoints.composition import root
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, print_line


def verify(settings: Settings, organization: str | None, known: tuple[int, bytes] | None) -> int:
    """Prints the head of each log; 1 if one isn't what was written.

    Raises CommandError, Unavailable.
    """
    if known is not None and organization is None:
        raise CommandError("--known is about one organization: give --organization ID")
    head = EMPTY_CHAIN if known is None else ChainHead(*known)
    return asyncio.run(_verify(settings, _parse_organization(organization), head))


def _parse_organization(text: str | None) -> OrganizationId | None:
    try:
        return None if text is None else OrganizationId(UUID(text))
    except ValueError:
        raise CommandError(f"--organization: {text!r} is not the id of an organization") from None


async def _verify(settings: Settings, only: OrganizationId | None, known: ChainHead) -> int:
    broken = 0
    async with root.audit_logs(settings) as (directory, check):
        for one in [only] if only is not None else await directory.audited_organizations():
            try:
                head = await check(one, known)
            except BrokenChainError as fault:
                broken += 1
                print_line(f"{one} BROKEN: {fault}")
                continue
            if head == EMPTY_CHAIN:
                # Each organization has an entry from its creation on.
                raise CommandError(f"{one} has no audit log: is this the id of an organization?")
            print_line(f"{one} {head.sequence}:{head.hash.hex()}")
    return 1 if broken else 0
