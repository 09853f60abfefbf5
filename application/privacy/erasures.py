"""Erasing what belongs to a user or a session, with a receipt that can be checked."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from application.identity.ports import Directory
from application.ports import Clock, NewId, RandomBytes
from application.privacy.ports import Erasures
from domain.errors import Invalid, NotFound, Unavailable
from domain.identity.audit import Actor, AuditAction, AuditEntry
from domain.identity.caller import Caller
from domain.ids import AuditEntryId, ErasureId, ProjectId
from domain.page import Page, PageRequest
from domain.tracing.erasure import SALT_BYTES, DataSubject, Erasure, ErasureState, RemainingData

WITHIN: Final = timedelta(seconds=10)  # of a request; what is left then, workers remove
STEPS_AT_ONCE: Final = 200  # of a request, and of one erasure in a round
REFUSED_FOR: Final = timedelta(days=7)  # longer than any client tries again
FORGET_STEPS_MAX: Final = 1_000  # of one round


@dataclass(frozen=True, slots=True)
class Erase:
    """Removes all that names a user or a session: no reader sees any of it once it has begun."""

    erasures: Erasures
    directory: Directory
    clock: Clock
    new_id: NewId
    random: RandomBytes

    async def __call__(self, caller: Caller, owner: DataSubject) -> Erasure:
        """The receipt: mostly REMOVED; REMOVING where there is more than fits into a request.

        Whether there was anything can be read from its rows. Raises Unavailable where nothing was
        begun, Conflict where too many are under way.
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
            requested_by=await self._actor(caller),
        )
        asked = _entry(erasure, AuditAction.ERASURE_REQUESTED, self.new_id, began)
        await self.erasures.begin(erasure, owner, asked)
        try:
            for _ in range(STEPS_AT_ONCE):
                now = self.clock()
                if erasure.state is ErasureState.REMOVED or now - began > WITHIN:
                    break
                erasure = await _advanced(self.erasures, erasure, now, self.new_id)
        except Unavailable:
            return erasure  # it has begun, and workers go on with it
        return erasure

    async def _actor(self, caller: Caller) -> Actor:
        name = ""
        if caller.key_id is not None:
            try:
                name = (await self.directory.key(caller.organization_id, caller.key_id)).prefix
            except NotFound:  # deleted a moment ago
                name = ""
        elif caller.user_id is not None:
            members = await self.directory.members(caller.organization_id)
            mine = (one.email for one in members if one.membership.user_id == caller.user_id)
            name = next(mine, "")
        return Actor(user_id=caller.user_id, key_id=caller.key_id, name=name)


@dataclass(frozen=True, slots=True)
class FinishErasures:
    """Goes on with what requests have begun, and forgets which traces were erased long ago."""

    erasures: Erasures
    clock: Clock
    new_id: NewId

    async def __call__(self) -> int:
        """How many erasures came to their end. Raises Unavailable; what went stays gone.

        One that can't go on holds no other up.
        """
        over, failures = 0, list[Unavailable]()
        for project, id_ in await self.erasures.list_unfinished():
            try:
                over += await self._finished(project, id_)
            except NotFound:  # its project was removed meanwhile
                continue
            except Unavailable as failure:
                failures.append(failure)
        before = self.clock() - REFUSED_FOR
        for _ in range(FORGET_STEPS_MAX):
            if not await self.erasures.delete_erased_ids(before):
                break
        if failures:
            raise failures[0]
        return over

    async def _finished(self, project: ProjectId, id_: ErasureId) -> bool:
        """Whether it came to its end, within STEPS_AT_ONCE."""
        known = await self.erasures.get(project, id_)
        for _ in range(STEPS_AT_ONCE):
            known = await _advanced(self.erasures, known, self.clock(), self.new_id)
            if known.state is ErasureState.REMOVED:
                return True
        return False


@dataclass(frozen=True, slots=True)
class ReadErasure:
    erasures: Erasures

    async def __call__(self, project: ProjectId, erasure: ErasureId) -> Erasure:
        """Raises NotFound, Unavailable."""
        return await self.erasures.get(project, erasure)


@dataclass(frozen=True, slots=True)
class ListErasures:
    erasures: Erasures

    async def __call__(self, project: ProjectId, window: PageRequest) -> Page[Erasure]:
        """Newest first. Raises Unavailable."""
        return await self.erasures.page(project, window)


@dataclass(frozen=True, slots=True)
class CheckErasure:
    """Looks again, for somebody who knows whose erasure it was."""

    erasures: Erasures

    async def __call__(
        self, project: ProjectId, erasure: ErasureId, owner: DataSubject
    ) -> tuple[Erasure, RemainingData]:
        """Raises Invalid where it was another's, NotFound, Unavailable."""
        known = await self.erasures.get(project, erasure)
        digest = await asyncio.to_thread(owner.digest, known.salt)
        if not known.is_of(owner.kind, digest):
            raise Invalid.field(f"{owner.kind}_id", "isn't whose data this receipt is about")
        return known, await self.erasures.count_remaining(known, owner)


async def _advanced(erasures: Erasures, known: Erasure, now: datetime, new_id: NewId) -> Erasure:
    def told(over: Erasure) -> AuditEntry:
        return _entry(over, AuditAction.ERASURE_FINISHED, new_id, now)

    return await erasures.advance(known.project_id, known.id, now, told)


def _entry(erasure: Erasure, action: AuditAction, new_id: NewId, at: datetime) -> AuditEntry:
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
