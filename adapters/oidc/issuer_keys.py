"""An issuer's keys, kept: fetched seldom, renewed by age, and good for a while without it."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

from joserfc.jwk import KeySet

from domain.errors import Unavailable

REFRESH_AFTER_S: Final = 600  # how long a key that its issuer withdrew is still believed
FETCH_EVERY_S: Final = 60  # at the most, whatever is asked
RETRY_FIRST_S: Final = 2  # after a first failure with nothing to serve; doubles up to FETCH_EVERY_S
STALE_MAX_S: Final = 24 * 3_600  # how long the last keys serve while the issuer is away

UNAVAILABLE: Final = "The identity provider's keys cannot be had; try again"

_log: Final = logging.getLogger(__name__)


class IssuerKeys:
    """A KeySource over `fetch`. Whoever asks at the same time shares one fetch.

    - A key that isn't known is looked for again, at most once every FETCH_EVERY_S.
    - Keys older than REFRESH_AFTER_S are fetched anew. Callers wait for that only while the issuer
      answers; else they go on with the old keys, for STALE_MAX_S, and it is tried again aside.
    - With no keys to serve, failed fetches are RETRY_FIRST_S apart at first; who comes in between
      is told at once.

    `elapsed` gives seconds that only grow, from any origin.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[KeySet]],
        *,
        issuer: str,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._issuer = issuer
        self._elapsed = elapsed
        self._keys: KeySet | None = None
        self._fetched_s = -math.inf
        self._next_s = -math.inf  # no fetch begins before
        self._failures = 0  # since the last success
        self._cause: Exception | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def __call__(self, kid: str | None) -> KeySet:
        """The issuer's keys, also where `kid` is none of them. Raises Unavailable."""
        known = self._usable()
        if known is None or not (kid is None or any(key.kid == kid for key in known)):
            await self._tried()
        elif self._elapsed() - self._fetched_s >= REFRESH_AFTER_S:
            if self._failures:
                self._attempt()
            else:
                await self._tried()
        found = self._usable()
        if found is None:
            wait_s = max(1, math.ceil(self._next_s - self._elapsed()))
            raise Unavailable(UNAVAILABLE, retry_after_s=wait_s) from self._cause
        return found

    async def aclose(self) -> None:
        """Gives up a fetch that is under way."""
        if (fetching := self._fetching) is not None:
            fetching.cancel()
            await asyncio.wait([fetching])
            self._fetching = None  # one that was never begun doesn't see to it

    def _usable(self) -> KeySet | None:
        return self._keys if self._elapsed() - self._fetched_s < STALE_MAX_S else None

    async def _tried(self) -> None:
        if (attempt := self._attempt()) is not None:
            # A caller who gives up leaves the fetch to the others.
            await asyncio.shield(attempt)

    def _attempt(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one where one may begin, else None."""
        if self._fetching is None and self._elapsed() >= self._next_s:
            self._fetching = asyncio.create_task(self._renew())
        return self._fetching

    async def _renew(self) -> None:
        pause_s: float = FETCH_EVERY_S
        try:
            self._keys = await self._fetch()
            self._fetched_s = self._elapsed()
            if self._failures:
                _log.info("the keys of %s can be fetched again", self._issuer)
            self._failures, self._cause = 0, None
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys at hand still serve
            self._failures, self._cause = self._failures + 1, error
            served = self._usable() is not None
            if not served:
                pause_s = min(FETCH_EVERY_S, RETRY_FIRST_S * 2.0 ** min(self._failures - 1, 10))
            _log.warning(
                "the keys of %s cannot be fetched (%s); %s",
                self._issuer,
                error,
                "the last ones serve on" if served else "nobody can sign in with its tokens",
            )
        finally:
            self._next_s = self._elapsed() + pause_s
            self._fetching = None
