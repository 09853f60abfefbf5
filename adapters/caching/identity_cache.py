"""Identity, remembered in the process: so that a request costs no statement but its own.

What is remembered is a few seconds old at most, and bounded. What another process changed is seen
once those are over; what this one changed, at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from application.identity.ports import (
    Administration,
    ApiKeys,
    KeyOrigin,
    LockedOrganization,
    Projects,
)
from application.ports import Clock
from domain.identity.api_key import ApiKey
from domain.identity.organization import Project
from domain.ids import ApiKeyId, OrganizationId, ProjectId

SECONDS_MAX: Final = 30  # how long a key that was revoked elsewhere may still pass
ENTRIES_MAX: Final = 4_096  # about 1 KB each


class RememberedApiKeys:
    """`inner`, with each key remembered for `seconds` (0: not at all). Unknown ones are asked."""

    def __init__(self, inner: ApiKeys, clock: Clock, seconds: float) -> None:
        self._inner = inner
        self._answers: _Answers[bytes, ApiKey] = _Answers(clock, seconds)

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        return await self._answers.get(digest, lambda: self._inner.by_digest(digest))

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        await self._inner.mark_used(uses)
        self._answers.change(lambda key: _used(key, uses.get(key.id)))

    async def record_origins(self, meetings: Sequence[KeyOrigin]) -> None:
        await self._inner.record_origins(meetings)

    def forget_of(self, organization: OrganizationId) -> None:
        """Asks anew about each key of the organization."""
        self._answers.forget_where(lambda key: key.organization_id == organization)


def _used(key: ApiKey, at: datetime | None) -> ApiKey:
    last = key.last_used_at
    return key if at is None or (last is not None and last >= at) else replace(key, last_used_at=at)


class RememberedProjects:
    """`inner`, with each name's project remembered for `seconds` (0: not at all)."""

    def __init__(self, inner: Projects, clock: Clock, seconds: float) -> None:
        self._inner = inner
        self._answers: _Answers[tuple[OrganizationId, str], Project] = _Answers(clock, seconds)

    async def ensure(self, organization: OrganizationId, project: Project) -> Project:
        found = await self._answers.get(
            (organization, project.name), lambda: self._inner.ensure(organization, project)
        )
        assert found is not None  # `ensure` gives a project or raises
        return found

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        return await self._inner.get(organization, project)

    def forget_of(self, organization: OrganizationId) -> None:
        """Asks anew about each project of the organization."""
        self._answers.forget_where(lambda project: project.organization_id == organization)

    def forget(self, project: ProjectId) -> None:
        """Asks anew about a project that turned out to be gone."""
        self._answers.forget_where(lambda known: known.id == project)


class RememberedAdministration:
    """`inner`; what it changes is forgotten in this process at once."""

    def __init__(
        self, inner: Administration, keys: RememberedApiKeys, projects: RememberedProjects
    ) -> None:
        self._inner = inner
        self._keys = keys
        self._projects = projects

    @asynccontextmanager
    async def lock(self, organization: OrganizationId) -> AsyncIterator[LockedOrganization]:
        try:
            async with self._inner.lock(organization) as opened:
                yield opened
        finally:  # after a failed COMMIT too: it may have come through
            self._keys.forget_of(organization)
            self._projects.forget_of(organization)


class _Answers[K, V]:
    """The newest ENTRIES_MAX answers, each as old as `seconds` at most.

    Callers who miss the same key at once share one question. A question that failed is not an
    answer, nor is None.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        if not 0 <= seconds <= SECONDS_MAX:
            raise ValueError(f"answers are remembered for 0 to {SECONDS_MAX} seconds")
        self._clock = clock
        self._life = timedelta(seconds=seconds)
        self._known: dict[K, tuple[datetime, V]] = {}
        self._asked: dict[K, asyncio.Task[V | None]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V | None]]) -> V | None:
        if not self._life:
            return await ask()
        now = self._clock()
        if (known := self._known.get(key)) is not None:
            since, value = known
            # A clock that was set back makes an answer old, not young.
            if timedelta() <= now - since < self._life:
                return value
        if (asked := self._asked.get(key)) is None:
            asked = asyncio.create_task(self._learn(key, ask, now))
            self._asked[key] = asked
        # A caller who gives up leaves the question to the others.
        return await asyncio.shield(asked)

    async def _learn(
        self, key: K, ask: Callable[[], Awaitable[V | None]], since: datetime
    ) -> V | None:
        current = asyncio.current_task()
        try:
            value = await ask()
            # What was forgotten meanwhile is not remembered: the answer may be older than that.
            if value is not None and self._asked.get(key) is current:
                self._known.pop(key, None)
                self._known[key] = (since, value)
                while len(self._known) > ENTRIES_MAX:
                    del self._known[next(iter(self._known))]
            return value
        finally:
            if self._asked.get(key) is current:
                del self._asked[key]

    def forget_where(self, matches: Callable[[V], bool]) -> None:
        # What is being asked right now may be the answer of before.
        self._asked.clear()
        self._known = {key: one for key, one in self._known.items() if not matches(one[1])}

    def change(self, change: Callable[[V], V]) -> None:
        """Puts a newer value in place of each answer; none gets a longer life by it."""
        self._asked.clear()
        self._known = {key: (since, change(value)) for key, (since, value) in self._known.items()}
