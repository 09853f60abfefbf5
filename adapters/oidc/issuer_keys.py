"""Caches the keys of an issuer: refreshes them by age, and serves old ones during an outage."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from joserfc.jwk import KeySet

from domain.errors import Unavailable

REFRESH_AFTER_S: Final = 600  # how long a key that its issuer withdrew is still accepted
FETCH_INTERVAL_MIN_S: Final = 60
RETRY_FIRST_S: Final = 2  # after a failure without keys; doubles up to FETCH_INTERVAL_MIN_S
STALE_MAX_S: Final = 24 * 3_600  # how long the last keys are used while the issuer is down

UNAVAILABLE: Final = "The identity provider's keys are not available; try again"

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class IssuerKeys:
    """A KeySource over `fetch`. Concurrent callers share one fetch.

    - An unknown key causes another fetch, at most once every FETCH_INTERVAL_MIN_S.
    - Keys older than REFRESH_AFTER_S are fetched again. Callers wait for that only while the
      issuer answers. Otherwise they use the old keys, for STALE_MAX_S, and fetches are repeated in
      the background.
    - Without usable keys, failed fetches are RETRY_FIRST_S apart at first. A caller in between
      gets Unavailable immediately.

    `elapsed` returns monotonic seconds from any origin.
    """

    fetch: Callable[[], Awaitable[KeySet]]
    issuer: str = field(kw_only=True)
    elapsed: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    _keys: KeySet | None = None
    _fetched_s: float = -math.inf
    _next_fetch_s: float = -math.inf  # no fetch begins earlier
    _failures: int = 0  # since the last success
    _cause: Exception | None = None
    _fetching: asyncio.Task[None] | None = None

    async def __call__(self, kid: str | None) -> KeySet:
        """The issuer's keys, even if `kid` isn't among them. Raises Unavailable."""
        known = self._usable()
        if known is None or not (kid is None or any(key.kid == kid for key in known)):
            await self._await_fetch()
        elif self.elapsed() - self._fetched_s >= REFRESH_AFTER_S:
            if self._failures:
                self._start_fetch()
            else:
                await self._await_fetch()
        usable = self._usable()
        if usable is None:
            wait_s = max(1, math.ceil(self._next_fetch_s - self.elapsed()))
            raise Unavailable(UNAVAILABLE, retry_after_s=wait_s) from self._cause
        return usable

    async def aclose(self) -> None:
        """Cancels a fetch that is under way."""
        if (fetching := self._fetching) is not None:
            fetching.cancel()
            await asyncio.wait([fetching])
            self._fetching = None  # a task cancelled before it began doesn't reset it

    def _usable(self) -> KeySet | None:
        return self._keys if self.elapsed() - self._fetched_s < STALE_MAX_S else None

    async def _await_fetch(self) -> None:
        if (fetching := self._start_fetch()) is not None:
            # A cancelled caller leaves the fetch to the other callers.
            await asyncio.shield(fetching)

    def _start_fetch(self) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one if one may begin, else None."""
        if self._fetching is None and self.elapsed() >= self._next_fetch_s:
            self._fetching = asyncio.create_task(self._renew())
        return self._fetching

    async def _renew(self) -> None:
        pause_s: float = FETCH_INTERVAL_MIN_S
        try:
            self._keys = await self.fetch()
            self._fetched_s = self.elapsed()
            if self._failures:
                _log.info("the keys of %s can be fetched again", self.issuer)
            self._failures, self._cause = 0, None
        except Exception as error:  # noqa: BLE001 - whatever the cause, the cached keys are still used
            self._failures, self._cause = self._failures + 1, error
            has_keys = self._usable() is not None
            if not has_keys:
                pause_s = RETRY_FIRST_S * 2.0 ** min(self._failures - 1, 10)
                pause_s = min(FETCH_INTERVAL_MIN_S, pause_s)
            _log.warning(
                "the keys of %s cannot be fetched (%s); %s",
                self.issuer,
                error,
                "using the cached keys" if has_keys else "users can't sign in with its tokens",
            )
        finally:
            self._next_fetch_s = self.elapsed() + pause_s
            self._fetching = None
