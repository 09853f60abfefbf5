"""The rate limiter that processes share: the sliding window of `domain.limits` as a Lua script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final, Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from adapters.redis.fallback import RedisFallback
from application.ports import Admission
from domain.limits import Decision, Limit

KEY_PREFIX: Final = "limit:"

# One list per bucket: the instants of the counted requests, oldest first. `SlidingWindow` in
# domain/limits.py explains each step. The key expires a millisecond after its newest instant
# stops counting, because Redis truncates the current time to milliseconds before it adds the TTL.
# Lua numbers are doubles, which represent microseconds exactly for another two centuries.
ADMIT: Final = """
local counts, now = ARGV[1] == '1', tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local answers, instants, admitted = {}, {}, true
for number, key in ipairs(KEYS) do
  local count, window = tonumber(ARGV[2 * number + 1]), tonumber(ARGV[2 * number + 2])
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
    admitted = false
    local wait = redis.call('LINDEX', key, counted - count) + window - now
    answers[number] = {0, counted, reset, wait}
  else
    answers[number] = {1, counted + 1, reset, 0}
  end
  instants[number] = {at, math.ceil((at - now + window) / 1000) + 1}
end
if admitted and counts then
  for number, key in ipairs(KEYS) do
    redis.call('RPUSH', key, instants[number][1])
    redis.call('PEXPIRE', key, instants[number][2])
  end
end
return answers
"""
_SHA: Final = sha1(ADMIT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class RedisSlidingWindows:
    """The sliding windows of all buckets, in Redis, by the clock of Redis. One round trip each."""

    client: Redis

    async def decide(
        self, buckets: Mapping[str, Limit], *, counts: bool = True, at_us: int | None = None
    ) -> Decision:
        """Decides as `SlidingWindow.admit` does, for all buckets together.

        Without `counts` the request isn't recorded. `at_us` replaces the clock in tests. Raises
        whatever the client raises.
        """
        numbers = [n for limit in buckets.values() for n in (limit.count, limit.window_us)]
        keys = [KEY_PREFIX + bucket for bucket in buckets]
        arguments = (*keys, int(counts), "" if at_us is None else at_us, *numbers)
        try:
            answers = await cast("Any", self.client.evalsha(_SHA, len(keys), *arguments))
        except NoScriptError:  # Redis is new, restarted or flushed: send the whole script
            answers = await cast("Any", self.client.eval(ADMIT, len(keys), *arguments))
        return min(map(_decision, buckets.values(), answers), key=Decision.strictness)


def _decision(limit: Limit, answer: Sequence[int]) -> Decision:
    admitted, counted, reset_us, wait_us = answer
    if admitted:
        return Decision.admitting(limit, counted=counted, reset_us=reset_us)
    return Decision.refusing(limit, reset_us=reset_us, wait_us=wait_us)


class LocalLimiter(Protocol):
    """Limits this process alone; implemented by `adapters/memory/rate_limiter.py`."""

    def admit_at_once(self, buckets: Mapping[str, Limit]) -> tuple[Decision, Admission]: ...

    def take_back(self, admission: Admission) -> None: ...


@dataclass(frozen=True, slots=True)
class RedisRateLimiter:
    """Redis decides for all processes, and this process counts its own requests as well.

    A request must pass both limits. While Redis keeps its data, its count includes ours, so Redis
    is the stricter. If Redis is down, slow, or has lost its data, this process still admits at
    most the limit in any window: before, during and after the outage.
    """

    windows: RedisSlidingWindows
    local: LocalLimiter
    redis: RedisFallback

    async def admit(self, buckets: Mapping[str, Limit]) -> Decision:
        # Counted before the command to Redis. So concurrent requests are all in the local window,
        # and they leave it no later than the one in Redis.
        local, admission = self.local.admit_at_once(buckets)
        shared = await self.redis.ask(lambda: self.windows.decide(buckets, counts=local.admitted))
        if shared is None:
            return local
        if local.admitted and not shared.admitted:
            self.local.take_back(admission)
        return min(shared, local, key=Decision.strictness)
