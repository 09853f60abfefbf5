"""The rate limiter of all processes together: the window of `domain.limits`, said again in Lua."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from hashlib import sha1
from typing import Final, Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from application.ports import ADMIT_MAX_S, MonotonicClock
from domain.limits import SECOND_US, Decision, Limit

AWAY_S: Final = 1  # Redis isn't asked again for so long after it failed, and then by one request
KEY_PREFIX: Final = "limit:"

_log = logging.getLogger(__name__)

# One list a bucket: the instants that count, the oldest first. `SlidingWindow` of domain/limits.py
# tells why each step is as it is. The key lives a millisecond longer than its youngest instant
# counts, since Redis cuts the present down to milliseconds before it adds the life of a key to it.
# Numbers are doubles, which hold microseconds exactly for another two centuries.
ADMIT: Final = """
local key, count, window = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local counts, now = ARGV[3] == '1', tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local at, newest = now, tonumber(redis.call('LINDEX', key, -1))
if newest and newest - now > window then
  local ahead = newest - now
  for index, instant in ipairs(redis.call('LRANGE', key, 0, -1)) do
    redis.call('LSET', key, index - 1, instant - ahead)
  end
  newest = now
end
if newest and newest > now then at = newest end
local oldest = tonumber(redis.call('LINDEX', key, 0))
while oldest and oldest <= at - window do
  redis.call('LPOP', key)
  oldest = tonumber(redis.call('LINDEX', key, 0))
end
local counted = redis.call('LLEN', key)
local reset = (oldest or at) + window - now
if counted >= count then
  return {0, counted, reset, redis.call('LINDEX', key, counted - count) + window - now}
end
if counts then
  redis.call('RPUSH', key, at)
  redis.call('PEXPIRE', key, math.ceil((at - now + window) / 1000) + 1)
end
return {1, counted + 1, reset, 0}
"""
_SHA: Final = sha1(ADMIT.encode(), usedforsecurity=False).hexdigest()


class RedisWindows:
    """The histories of all buckets, in Redis, by Redis's own clock. One round trip a question."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def decide(
        self, bucket: str, limit: Limit, *, counts: bool = True, at_us: int | None = None
    ) -> Decision:
        """What `History.admit` decides; where not `counts`, what it would.

        Tests may give the instant. Raises whatever the client raises.
        """
        arguments = (
            *(1, KEY_PREFIX + bucket, limit.count, limit.window_us),
            *(int(counts), "" if at_us is None else at_us),
        )
        try:
            answer = await cast("Awaitable[list[int]]", self._client.evalsha(_SHA, *arguments))
        except NoScriptError:  # Redis is new, or was restarted or flushed: it learns the script
            answer = await cast("Awaitable[list[int]]", self._client.eval(ADMIT, *arguments))
        admitted, counted, reset_us, wait_us = answer
        if admitted:
            return Decision.admitting(limit, counted=counted, reset_us=reset_us)
        return Decision.refusing(limit, reset_us=reset_us, wait_us=wait_us)


class OwnLimiter(Protocol):
    """What this process admitted itself; `adapters/memory/rate_limiter.py` has it."""

    def admit_at_once(self, bucket: str, limit: Limit) -> tuple[Decision, int]: ...

    def take_back(self, bucket: str, limit: Limit, at_us: int) -> None: ...


class RedisRateLimiter:
    """Redis decides for all processes; what this one admitted is counted here as well.

    A request has to pass both. While Redis keeps its memory, what is counted here is part of what
    is counted there, and Redis is the stricter. When it is gone, slow, or has forgotten, this
    process still admits no more than the limit in any window, before, during and after.

    `fallbacks` is how many requests were decided without Redis; `on_fallback` is called for each.
    """

    def __init__(self, windows: RedisWindows, own: OwnLimiter, ticks: MonotonicClock) -> None:
        self.fallbacks = 0
        self.on_fallback: Callable[[], None] = lambda: None
        self._windows = windows
        self._own = own
        self._ticks = ticks
        self._ask_again_us: int | None = None  # None while Redis answers

    async def admit(self, bucket: str, limit: Limit) -> Decision:
        # Counted before Redis is asked: so the own window is never behind, however many ask at
        # once, and its places are free no later than those in Redis.
        own, at_us = self._own.admit_at_once(bucket, limit)
        shared = await self._asked(bucket, limit, counts=own.admitted)
        if shared is None:
            return own
        if own.admitted and not shared.admitted:
            self._own.take_back(bucket, limit, at_us)
        return min(shared, own, key=_strictness)

    async def _asked(self, bucket: str, limit: Limit, *, counts: bool) -> Decision | None:
        """What Redis says; None where it doesn't, or isn't asked."""
        probing = self._ask_again_us is not None
        if probing and not self._is_due():
            self._fall_back()
            return None
        try:
            async with asyncio.timeout(ADMIT_MAX_S):
                decision = await self._windows.decide(bucket, limit, counts=counts)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the limit holds
            self._fall_back()
            self._lost(error)
            return None
        if probing:
            self._found()
        return decision

    def _fall_back(self) -> None:
        self.fallbacks += 1
        self.on_fallback()

    def _is_due(self) -> bool:
        """Whether Redis may be asked again; whoever is told so is the only one for a while."""
        now_us = self._ticks()
        if self._ask_again_us is not None and now_us < self._ask_again_us:
            return False
        self._ask_again_us = now_us + AWAY_S * SECOND_US
        return True

    def _lost(self, error: Exception) -> None:
        if self._ask_again_us is None:
            _log.warning(
                "Redis doesn't answer (%s): each process limits by itself", type(error).__name__
            )
        self._ask_again_us = self._ticks() + AWAY_S * SECOND_US

    def _found(self) -> None:
        if self._ask_again_us is not None:
            _log.info("Redis answers again: limits are shared")
        self._ask_again_us = None


def _strictness(decision: Decision) -> tuple[bool, int, int]:
    """Refusals first, the longest wait first among them; then what leaves the least."""
    return decision.admitted, -decision.retry_after_s, decision.remaining
