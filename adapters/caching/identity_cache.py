"""Caches API keys and projects in the process, so that a request costs no statement for them.

An entry is at most a few seconds old, and the number of entries is bounded. A change by another
process shows once its entry has expired; a change by this process shows immediately.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from application.identity import ports
from application.ports import Clock
from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry
from domain.identity.organization import Project
from domain.ids import ApiKeyId, OrganizationId, ProjectId

TTL_MAX_S: Final = 30  # how long a key that another process revoked may still be accepted
ENTRIES_MAX: Final = 4_096  # about 1 KB each


class CachedApiKeys:
    """Caches the keys of `inner` for `ttl_s` seconds; 0 disables it. Unknown keys aren't cached."""

    def __init__(self, inner: ports.ApiKeys, clock: Clock, ttl_s: float) -> None:
        self._inner = inner
        self._cache: _TtlCache[bytes, ApiKey] = _TtlCache(clock, ttl_s)

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        return await self._cache.get(digest, lambda: self._inner.by_digest(digest))

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        await self._inner.mark_used(uses)
        self._cache.update(lambda key: _with_last_use(key, uses.get(key.id)))

    async def record_origins(self, origins: Sequence[ports.KeyOrigin]) -> None:
        await self._inner.record_origins(origins)

    def invalidate_organization(self, organization: OrganizationId) -> None:
        """Drops every key of the organization."""
        self._cache.invalidate(lambda key: key.organization_id == organization)


def _with_last_use(key: ApiKey, at: datetime | None) -> ApiKey:
    last = key.last_used_at
    return key if at is None or (last is not None and last >= at) else replace(key, last_used_at=at)


class CachedProjects:
    """Caches the project of each name of `inner` for `ttl_s` seconds; 0 disables it."""

    def __init__(self, inner: ports.Projects, clock: Clock, ttl_s: float) -> None:
        self.inner = inner
        self._cache: _TtlCache[tuple[OrganizationId, str], Project] = _TtlCache(clock, ttl_s)

    def over(self, inner: ports.Projects) -> "CachedProjects":
        """The same cache, in front of what reads and writes the tables of another group."""
        other = copy(self)
        other.inner = inner
        return other

    async def by_name(self, organization: OrganizationId, name: str) -> Project | None:
        return await self._cache.get(
            (organization, name), lambda: self.inner.by_name(organization, name)
        )

    async def ensure(
        self,
        organization: OrganizationId,
        project: Project,
        entry: AuditEntry | None = None,
        projects_max: int | None = None,
    ) -> Project:
        async def load() -> Project:
            return await self.inner.ensure(organization, project, entry, projects_max)

        # None: it shared the load of a `by_name` that found no project.
        return await self._cache.get((organization, project.name), load) or await load()

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        return await self.inner.get(organization, project)

    def invalidate_organization(self, organization: OrganizationId) -> None:
        """Drops every project of the organization."""
        self._cache.invalidate(lambda project: project.organization_id == organization)

    def invalidate(self, project: ProjectId) -> None:
        """Drops a project that turned out to be deleted."""
        self._cache.invalidate(lambda cached: cached.id == project)


class CacheInvalidatingAdministration:
    """Wraps `inner`, and drops the cached entries of an organization after each edit of it."""

    def __init__(
        self, inner: ports.Administration, keys: CachedApiKeys, projects: CachedProjects
    ) -> None:
        self._inner = inner
        self._keys = keys
        self._projects = projects

    @asynccontextmanager
    async def lock(self, organization: OrganizationId) -> AsyncIterator[ports.LockedOrganization]:
        try:
            async with self._inner.lock(organization) as opened:
                yield opened
        finally:  # after a failed COMMIT too: the database may have applied it
            self._keys.invalidate_organization(organization)
            self._projects.invalidate_organization(organization)


def _retrieve_error(loading: asyncio.Task[Any]) -> None:
    """Retrieves the error: asyncio logs one that no caller is left for."""
    if not loading.cancelled():
        loading.exception()


class _TtlCache[K, V]:
    """The newest ENTRIES_MAX values, each cached for `ttl_s` seconds.

    Concurrent misses of the same key share one load. A failed load and a None aren't cached.
    """

    def __init__(self, clock: Clock, ttl_s: float) -> None:
        if not 0 <= ttl_s <= TTL_MAX_S:
            raise ValueError(f"entries are cached for 0 to {TTL_MAX_S} seconds")
        self._clock = clock
        self._ttl = timedelta(seconds=ttl_s)
        self._entries: dict[K, tuple[datetime, V]] = {}
        self._loading: dict[K, asyncio.Task[V | None]] = {}

    async def get(self, key: K, load: Callable[[], Awaitable[V | None]]) -> V | None:
        if not self._ttl:
            return await load()
        now = self._clock()
        if (entry := self._entries.get(key)) is not None:
            since, value = entry
            # A clock that was set back expires an entry instead of prolonging it.
            if timedelta() <= now - since < self._ttl:
                return value
        if (loading := self._loading.get(key)) is None:
            loading = asyncio.create_task(self._load(key, load, now))
            loading.add_done_callback(_retrieve_error)
            self._loading[key] = loading
        # A cancelled caller leaves the load to the other callers. `asyncio.shield` would log the
        # error of a load whose callers are all cancelled, since Python 3.14.
        await asyncio.wait([loading])
        return loading.result()

    async def _load(
        self, key: K, load: Callable[[], Awaitable[V | None]], since: datetime
    ) -> V | None:
        current = asyncio.current_task()
        try:
            value = await load()
            # An invalidation during the load removes the task: the value may be older than it.
            if value is not None and self._loading.get(key) is current:
                self._entries.pop(key, None)
                self._entries[key] = (since, value)
                while len(self._entries) > ENTRIES_MAX:
                    del self._entries[next(iter(self._entries))]
            return value
        finally:
            if self._loading.get(key) is current:
                del self._loading[key]

    def invalidate(self, matches: Callable[[V], bool]) -> None:
        # A load under way may return the value from before the change.
        self._loading.clear()
        self._entries = {
            key: entry for key, entry in self._entries.items() if not matches(entry[1])
        }

    def update(self, change: Callable[[V], V]) -> None:
        """Replaces each value by its changed copy, without prolonging its life."""
        self._loading.clear()
        self._entries = {
            key: (since, change(value)) for key, (since, value) in self._entries.items()
        }
