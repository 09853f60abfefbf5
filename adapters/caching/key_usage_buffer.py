"""Buffers the uses of API keys in memory, and writes them outside of any request."""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from adapters.caching.periodic_flush import flush_periodically
from application.identity.ports import ApiKeys, KeyOrigin
from application.ports import NewId
from domain.identity.audit import Origin
from domain.ids import ApiKeyId, AuditEntryId

LAST_USED_RESOLUTION: Final = timedelta(minutes=1)  # `last_used_at` changes no more often
BUFFERED_USES_MAX: Final = 4_096  # keys and networks; with more, some are buffered more often
NEW_NETWORKS_MAX: Final = 256  # per flush
NEW_NETWORKS_PER_KEY_MAX: Final = 8  # because a stolen key may be used from many
FLUSH_EVERY_S: Final = 5.0

_log = logging.getLogger(__name__)


class KeyUsageBuffer:
    """Collects the uses of keys in memory and writes them every few seconds.

    If the database is unavailable, they are written later. If the process is killed, the buffered
    uses are lost.
    """

    def __init__(self, keys: ApiKeys, new_id: NewId = uuid.uuid4) -> None:
        self._keys = keys
        self._new_id = new_id
        self._last_noted: dict[tuple[ApiKeyId, str], datetime] = {}
        self._pending_uses: dict[ApiKeyId, datetime] = {}
        self._pending_origins: dict[tuple[ApiKeyId, str], KeyOrigin] = {}

    @classmethod
    @asynccontextmanager
    async def flushing_to(
        cls, keys: ApiKeys, every_s: float = FLUSH_EVERY_S
    ) -> AsyncIterator["KeyUsageBuffer"]:
        """Writes to `keys` periodically while the block runs, and once more at its end."""
        buffer = cls(keys)
        async with flush_periodically(buffer._flush, every_s, buffer._warn_lost):
            yield buffer

    def record(self, key: ApiKeyId, at: datetime, origin: Origin) -> None:
        network = origin.network
        last = self._last_noted.get((key, network))
        if last is not None and at - last < LAST_USED_RESOLUTION:
            return
        _put_newest(self._pending_uses, key, max(at, self._pending_uses.get(key, at)))
        if last is None and not self._has_room(key):
            return  # without an entry in `_last_noted`, so that its next use reports the network
        _put_newest(self._last_noted, (key, network), at)
        if last is None:
            entry = AuditEntryId(self._new_id())
            self._pending_origins[key, network] = KeyOrigin(key, origin, at, entry)

    def _has_room(self, key: ApiKeyId) -> bool:
        """Whether another network of the key may be buffered.

        The limit per key keeps the networks of one key from displacing those of others.
        """
        return (
            len(self._pending_origins) < NEW_NETWORKS_MAX
            and sum(one == key for one, _ in self._pending_origins) < NEW_NETWORKS_PER_KEY_MAX
        )

    def _warn_lost(self) -> None:
        _log.warning("the last uses of %d API keys were not written", len(self._pending_uses))

    async def _flush(self) -> None:
        if not self._pending_uses:
            return
        uses, self._pending_uses = self._pending_uses, {}
        origins, self._pending_origins = self._pending_origins, {}
        written = False
        try:
            await self._keys.mark_used(uses)
            await self._keys.record_origins(list(origins.values()))
            written = True
        except Exception:  # noqa: BLE001 - whatever the cause, the next flush tries again
            _log.warning("uses of %d API keys could not be written yet", len(uses), exc_info=True)
        finally:
            if not written:
                for key, at in self._pending_uses.items():
                    _put_newest(uses, key, at)
                for network, origin in self._pending_origins.items():
                    if len(origins) < NEW_NETWORKS_MAX:
                        origins[network] = origin
                    else:
                        self._last_noted.pop(network, None)  # its next use reports it again
                self._pending_uses, self._pending_origins = uses, origins


def _put_newest[K, V](buffer: dict[K, V], key: K, value: V) -> None:
    """Adds an entry as the newest. Beyond BUFFERED_USES_MAX the oldest entry is dropped."""
    buffer.pop(key, None)
    buffer[key] = value
    while len(buffer) > BUFFERED_USES_MAX:
        del buffer[next(iter(buffer))]
