"""Identity, remembered in the process: so that a request costs no statement but its own.

What is remembered is a few seconds old at most, and bounded. What another process changed is seen
once those are over; what this one changed, at once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from application.identity.ports import ApiKeys, Projects
from application.ports import Clock
from domain.identity.api_key import ApiKey
from domain.identity.organization import Project
from domain.ids import ApiKeyId, OrganizationId, ProjectId

SECONDS_MAX: Final = 30  # how long a key that was revoked elsewhere may still pass
ENTRIES_MAX: Final = 4_096  # about 1 KB each
NOTE_STEP: Final = timedelta(minutes=1)  # `last_used_at` moves no more often than this
NOTES_MAX: Final = 4_096  # keys; with more of them in use, some are noted more often
FLUSH_EVERY_S: Final = 5.0
LAST_FLUSH_S: Final = 2.0  # a stop isn't held up longer by a database that doesn't answer

_log = logging.getLogger(__name__)


class RememberedApiKeys:
    """`inner`, with each key remembered for `seconds` (0: not at all). Unknown ones are asked."""

    def __init__(self, inner: ApiKeys, clock: Clock, seconds: float) -> None:
        self._inner = inner
        self._answers: _Answers[bytes, ApiKey] = _Answers(clock, seconds)

    async def add(self, key: ApiKey) -> None:
        await self._inner.add(key)
        self._answers.forget(key.digest)

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        return await self._answers.get(digest, lambda: self._inner.by_digest(digest))

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        await self._inner.mark_used(uses)
        self._answers.change(lambda key: _used(key, uses.get(key.id)))


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

    def forget(self, key: K) -> None:
        self._known.pop(key, None)
        self._asked.pop(key, None)

    def change(self, change: Callable[[V], V]) -> None:
        """Puts a newer value in place of each answer; none gets a longer life by it."""
        self._asked.clear()
        self._known = {key: (since, change(value)) for key, (since, value) in self._known.items()}


class RememberedKeyUses:
    """Uses of keys, gathered in memory and written every few seconds, aside from any request.

    A database that is away delays the writing and nothing else. What a killed process had
    gathered is lost.
    """

    def __init__(self, keys: ApiKeys, every_s: float = FLUSH_EVERY_S) -> None:
        self._keys = keys
        self._every_s = every_s
        self._noted: dict[ApiKeyId, datetime] = {}
        self._due: dict[ApiKeyId, datetime] = {}

    @classmethod
    @asynccontextmanager
    async def over(
        cls, keys: ApiKeys, every_s: float = FLUSH_EVERY_S
    ) -> AsyncIterator["RememberedKeyUses"]:
        """Writes through `keys` while the block is open, and once more when it is left."""
        uses = cls(keys, every_s)
        rounds = asyncio.create_task(uses._rounds())
        try:
            yield uses
        finally:
            rounds.cancel()
            await asyncio.wait([rounds])
            await uses._last_round()

    def noted(self, key: ApiKeyId, at: datetime) -> None:
        last = self._noted.get(key)
        if last is not None and at - last < NOTE_STEP:
            return
        _put(self._noted, key, at)
        _put(self._due, key, at)

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._flush()

    async def _last_round(self) -> None:
        try:
            async with asyncio.timeout(LAST_FLUSH_S):
                await self._flush()
        except TimeoutError:
            _log.warning("the last uses of %d API keys were not written", len(self._due))

    async def _flush(self) -> None:
        if not self._due:
            return
        due, self._due = self._due, {}
        written = False
        try:
            await self._keys.mark_used(due)
            written = True
        except Exception:  # noqa: BLE001 - whatever it is, the next round tries again
            _log.warning("uses of %d API keys could not be written yet", len(due), exc_info=True)
        finally:
            if not written:
                for key, at in self._due.items():
                    _put(due, key, at)
                self._due = due


def _put(notes: dict[ApiKeyId, datetime], key: ApiKeyId, at: datetime) -> None:
    """Adds a note as the newest; where there are too many, the oldest goes."""
    notes.pop(key, None)
    notes[key] = at
    while len(notes) > NOTES_MAX:
        del notes[next(iter(notes))]
