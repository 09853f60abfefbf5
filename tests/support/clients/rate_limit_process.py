"""A process that sends concurrent rate limit requests to Redis, and prints how many are admitted.

    python -m tests.support.clients.rate_limit_process REDIS_URL BUCKET LIMIT REQUESTS

It has no timeout: on a busy machine a process that times out would refuse requests by itself.
"""

import asyncio
import sys

from adapters.redis.client import opened
from adapters.redis.limits import RedisSlidingWindows
from domain.limits import Limit


async def admitted(redis_url: str, bucket: str, limit: Limit, requests: int) -> int:
    async with opened(redis_url) as client:
        windows = RedisSlidingWindows(client)
        asked = await asyncio.gather(*(windows.decide({bucket: limit}) for _ in range(requests)))
    return sum(one.admitted for one in asked)


if __name__ == "__main__":
    url, bucket, limit, requests = sys.argv[1:]
    print(asyncio.run(admitted(url, bucket, Limit.parse(limit), int(requests))))
