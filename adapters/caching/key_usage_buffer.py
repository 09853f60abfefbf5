"""Uses of API keys, gathered in memory and written aside from any request."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from application.identity.ports import ApiKeys, KeyOrigin
from application.ports import NewId
from domain.identity.audit import Origin
from domain.ids import ApiKeyId, AuditEntryId

NOTE_STEP: Final = timedelta(minutes=1)  # `last_used_at` moves no more often than this
NOTES_MAX: Final = 4_096  # keys and origins; with more in use, some are noted more often
MEETINGS_MAX: Final = 256  # new origins of one round
MEETINGS_OF_KEY_MAX: Final = 8  # of one key: a client may call itself anything
FLUSH_EVERY_S: Final = 5.0
LAST_FLUSH_S: Final = 0.5  # a stop isn't held up longer by a database that doesn't answer

_log = logging.getLogger(__name__)


class KeyUsageBuffer:
    """Uses of keys, gathered in memory and written every few seconds.

    A database that is away delays the writing and nothing else. What a killed process had
    gathered is lost.
    """

    def __init__(
        self, keys: ApiKeys, every_s: float = FLUSH_EVERY_S, new_id: NewId = uuid.uuid4
    ) -> None:
        self._keys = keys
        self._every_s = every_s
        self._new_id = new_id
        self._noted: dict[tuple[ApiKeyId, Origin], datetime] = {}
        self._due: dict[ApiKeyId, datetime] = {}
        self._met: dict[tuple[ApiKeyId, Origin], KeyOrigin] = {}

    @classmethod
    @asynccontextmanager
    async def over(
        cls, keys: ApiKeys, every_s: float = FLUSH_EVERY_S
    ) -> AsyncIterator["KeyUsageBuffer"]:
        """Writes through `keys` while the block is open, and once more when it is left."""
        uses = cls(keys, every_s)
        rounds = asyncio.create_task(uses._rounds())
        try:
            yield uses
        finally:
            rounds.cancel()
            await asyncio.wait([rounds])
            await uses._last_round()

    def record(self, key: ApiKeyId, at: datetime, origin: Origin) -> None:
        last = self._noted.get((key, origin))
        if last is not None and at - last < NOTE_STEP:
            return
        _put(self._due, key, max(at, self._due.get(key, at)))
        if last is None and not self._has_room(key):
            return  # not as noted: its next use tells of it
        _put(self._noted, (key, origin), at)
        if last is None:
            meeting = KeyOrigin(key, origin, at, AuditEntryId(self._new_id()))
            self._met[key, origin] = meeting

    def _has_room(self, key: ApiKeyId) -> bool:
        """Whether another origin of the key may wait: nobody's names push out another's."""
        return (
            len(self._met) < MEETINGS_MAX
            and sum(met == key for met, _ in self._met) < MEETINGS_OF_KEY_MAX
        )

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
        met, self._met = self._met, {}
        written = False
        try:
            await self._keys.mark_used(due)
            await self._keys.record_origins(list(met.values()))
            written = True
        except Exception:  # noqa: BLE001 - whatever it is, the next round tries again
            _log.warning("uses of %d API keys could not be written yet", len(due), exc_info=True)
        finally:
            if not written:
                for key, at in self._due.items():
                    _put(due, key, at)
                for place, meeting in self._met.items():
                    if len(met) < MEETINGS_MAX:
                        met[place] = meeting
                    else:
                        self._noted.pop(place, None)  # its next use tells of it
                self._due, self._met = due, met


def _put[K, V](notes: dict[K, V], key: K, value: V) -> None:
    """Adds a note as the newest; where there are too many, the oldest goes."""
    notes.pop(key, None)
    notes[key] = value
    while len(notes) > NOTES_MAX:
        del notes[next(iter(notes))]
