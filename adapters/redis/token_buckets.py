"""The token buckets that processes share: those of `domain.token_buckets` as a Lua script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final, Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from adapters.redis.fallback import RedisFallback
from domain.token_buckets import DEBT_MAX_US, HELD_US

KEY_PREFIX: Final = "bucket:"

# The value of a bucket has the two instants of `TokenBucket`. A full bucket needs no key, so a key
# expires a millisecond after that. If the clock was set back, the key is written by what it lacks.
# Returns how long one of the buckets is empty.
CHARGE: Final = f"""
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local longest = 0
for number, key in ipairs(KEYS) do
  local full, charged = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  local back = math.max(0, (tonumber(charged) or now) - now)
  local missing = math.max(0, (tonumber(full) or now) - back - now)
  missing = math.min(missing, {DEBT_MAX_US})
  local cost = tonumber(ARGV[number + 1])
  if cost > 0 or back > 0 then
    missing = math.min(missing + cost, {DEBT_MAX_US})
    local lifetime = math.ceil(missing / 1000) + 1
    redis.call('SET', key, string.format('%.0f %.0f', now + missing, now), 'PX', lifetime)
  end
  if missing >= {HELD_US} then longest = math.max(longest, missing - {HELD_US} + 1) end
end
return longest
"""
_SHA: Final = sha1(CHARGE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class SharedTokenBuckets:
    """All buckets in Redis, by its clock. One round trip each."""

    client: Redis

    async def charge(self, costs_us: Mapping[str, int], at_us: int | None = None) -> int:
        """Subtracts the costs; returns the longest time for which a bucket is empty then.

        `at_us` replaces the clock in tests. Raises whatever the client raises.
        """
        keys = [KEY_PREFIX + bucket for bucket in costs_us]
        arguments = (*keys, "" if at_us is None else at_us, *costs_us.values())
        try:
            return int(await cast("Any", self.client.evalsha(_SHA, len(keys), *arguments)))
        except NoScriptError:  # Redis is new, restarted or flushed: send the whole script
            return int(await cast("Any", self.client.eval(CHARGE, len(keys), *arguments)))


class LocalBuckets(Protocol):
    """The buckets of this process; implemented by `adapters/memory/token_buckets.py`."""

    def wait_us_at_once(self, buckets: Sequence[str]) -> int: ...

    def charge_at_once(self, costs_us: Mapping[str, int]) -> None: ...


@dataclass(frozen=True, slots=True)
class RedisTokenBuckets:
    """Redis has the buckets of all processes, and this process its own as well.

    Both have to have something. While Redis keeps its data, its buckets are the emptier ones. If it
    is down, slow or has lost its data, this process still keeps to its own.
    """

    shared: SharedTokenBuckets
    local: LocalBuckets
    redis: RedisFallback

    async def wait_us(self, buckets: Sequence[str]) -> int:
        shared = await self.redis.ask(lambda: self.shared.charge(dict.fromkeys(buckets, 0)))
        return max(shared or 0, self.local.wait_us_at_once(buckets))

    async def charge(self, costs_us: Mapping[str, int]) -> None:
        self.local.charge_at_once(costs_us)
        await self.redis.ask(lambda: self.shared.charge(costs_us))
