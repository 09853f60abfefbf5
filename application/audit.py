"""Entries of the audit log for changes of a project's data."""

import asyncio
from dataclasses import dataclass

from application.identity.ports import Administration
from application.ports import Clock, NewId, RandomBytes
from domain.identity.audit import AuditAction, AuditEntry
from domain.identity.caller import Caller
from domain.ids import AuditEntryId
from domain.privacy.erasure import SALT_BYTES, DataSubject, DataSubjectKind


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """Makes the entries. A service that all use cases share which change data of a project.

    A port stores the entry with the change, in one transaction, and only if there is a change.
    """

    administration: Administration
    clock: Clock
    new_id: NewId
    random: RandomBytes

    def entry(
        self, caller: Caller, action: AuditAction, resource: object, **detail: object
    ) -> AuditEntry:
        """`resource` is the id of what is changed."""
        facts = {"project_id": str(caller.project_id)}
        return AuditEntry(
            id=AuditEntryId(self.new_id()),
            organization_id=caller.organization_id,
            at=self.clock(),
            actor=caller.actor,
            action=action,
            resource_id=str(resource),
            detail=facts | {key: str(one) for key, one in detail.items()},
        )

    async def session_entry(self, caller: Caller, session: str) -> AuditEntry:
        """An entry of a deleted session, with a salted hash: the id itself may name a person.

        It is that of an erasure's receipt: who knows the id of the session can find the entry.
        """
        salt, owner = self.random(SALT_BYTES), DataSubject(DataSubjectKind.SESSION, session)
        digest = await asyncio.to_thread(owner.digest, salt)
        return self.entry(caller, AuditAction.SESSION_DELETED, digest.hex(), salt=salt.hex())

    async def record(
        self, caller: Caller, action: AuditAction, resource: object, **detail: object
    ) -> None:
        """Stores an entry for a read. Raises NotFound without the organization, Unavailable."""
        async with self.administration.lock(caller.organization_id) as locked:
            await locked.record(self.entry(caller, action, resource, **detail))
