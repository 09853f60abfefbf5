"""Erasure of the data of a user or a session, with a receipt that can be verified."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from application.batches import run_in_batches
from application.ports import Clock, NewId, RandomBytes
from application.privacy.ports import Erasures
from domain.errors import Invalid, NotFound, Unavailable
from domain.identity.audit import UNKNOWN_ORIGIN, AuditAction, AuditEntry
from domain.identity.caller import Caller
from domain.ids import AuditEntryId, ErasureId, ProjectId
from domain.privacy.erasure import SALT_BYTES, DataSubject, Erasure, ErasureState, RemainingData

REQUEST_TIME_MAX: Final = timedelta(seconds=10)  # workers delete what is left after it
STEPS_MAX: Final = 200  # of one erasure, in a request or a round
ERASED_IDS_RETENTION: Final = timedelta(days=7)  # longer than any client retries


@dataclass(frozen=True, slots=True)
class EraseDataSubject:
    """Deletes all data of a user or a session; hides it from all readers at the start."""

    erasures: Erasures
    clock: Clock
    new_id: NewId
    random: RandomBytes

    async def __call__(self, caller: Caller, owner: DataSubject) -> Erasure:
        """The receipt: usually REMOVED; REMOVING if there is too much data for a request.

        Its row counts say whether there was any data. Raises Unavailable if it wasn't begun,
        Conflict if too many are in progress.
        """
        salt = self.random(SALT_BYTES)
        began = self.clock()
        erasure = Erasure(
            id=ErasureId(self.new_id()),
            organization_id=caller.organization_id,
            project_id=caller.project_id,
            kind=owner.kind,
            salt=salt,
            digest=await asyncio.to_thread(owner.digest, salt),
            requested_at=began,
            requested_by=replace(caller.actor, origin=UNKNOWN_ORIGIN),
        )
        requested = _audit_entry(erasure, AuditAction.ERASURE_REQUESTED, self.new_id, began)
        await self.erasures.begin(erasure, owner, replace(requested, actor=caller.actor))
        try:
            for _ in range(STEPS_MAX):
                is_over = self.clock() - began > REQUEST_TIME_MAX
                if erasure.state is ErasureState.REMOVED or is_over:
                    break
                erasure = await _advance(self.erasures, erasure, self.clock, self.new_id)
        except Unavailable:
            return erasure  # it has begun; workers continue it
        return erasure


@dataclass(frozen=True, slots=True)
class FinishErasures:
    """Continues erasures in progress, and deletes old ids of erased traces."""

    erasures: Erasures
    clock: Clock
    new_id: NewId

    async def __call__(self) -> int:
        """The number of erasures that finished. Raises Unavailable; deleted rows stay deleted.

        A failing erasure delays no other.
        """
        finished, failures = 0, list[Exception]()
        for project, id_ in await self.erasures.list_unfinished():
            try:
                finished += await self._finish(project, id_)
            except NotFound:  # the project was removed meanwhile
                continue
            except Exception as failure:  # noqa: BLE001 - not even a bug stops the others
                failures.append(failure)
        before = await self.erasures.current_time() - ERASED_IDS_RETENTION
        await run_in_batches(lambda: self.erasures.delete_erased_ids(before))
        if failures:
            raise failures[0]
        return finished

    async def _finish(self, project: ProjectId, id_: ErasureId) -> bool:
        """Whether it finished within STEPS_MAX."""
        known = await self.erasures.get(project, id_)
        for _ in range(STEPS_MAX):
            known = await _advance(self.erasures, known, self.clock, self.new_id)
            if known.state is ErasureState.REMOVED:
                return True
        return False


@dataclass(frozen=True, slots=True)
class CheckErasure:
    """Counts what is stored now of the data subject of an erasure, who has to be named."""

    erasures: Erasures

    async def __call__(
        self, project: ProjectId, erasure: ErasureId, owner: DataSubject
    ) -> tuple[Erasure, RemainingData]:
        """Raises Invalid if the erasure was of another data subject, NotFound, Unavailable."""
        known = await self.erasures.get(project, erasure)
        digest = await asyncio.to_thread(owner.digest, known.salt)
        if not known.is_of(owner.kind, digest):
            raise Invalid.field(f"{owner.kind}_id", "isn't the one that this receipt is about")
        return known, await self.erasures.count_remaining(known, owner)


async def _advance(erasures: Erasures, known: Erasure, clock: Clock, new_id: NewId) -> Erasure:
    def finished_entry(finished: Erasure) -> AuditEntry:
        return _audit_entry(finished, AuditAction.ERASURE_FINISHED, new_id, clock())

    now = await erasures.current_time()
    return await erasures.advance(known.project_id, known.id, now, finished_entry)


def _audit_entry(erasure: Erasure, action: AuditAction, new_id: NewId, at: datetime) -> AuditEntry:
    detail = {"project_id": str(erasure.project_id), "kind": str(erasure.kind)}
    if erasure.sha256 is not None:
        detail |= {"receipt_sha256": erasure.sha256}
    return AuditEntry(
        id=AuditEntryId(new_id()),
        organization_id=erasure.organization_id,
        at=at,
        actor=erasure.requested_by,
        action=action,
        resource_id=str(erasure.id),
        detail=detail,
    )
