"""The Redis client of a process, and its health check."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis

from application.ports import HealthStatus

CONNECTIONS_MAX: Final = 20
TIMEOUT_S: Final = 2  # to connect, to get a connection, and to get an answer


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Redis]:
    """A client with its own pool. Connections are opened when they are first needed."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
    )
    client = Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()


@dataclass(frozen=True, slots=True)
class RedisHealthCheck:
    """Ready while Redis answers."""

    client: Redis

    async def check(self) -> HealthStatus:
        try:
            await self.client.ping()
        except Exception as error:  # noqa: BLE001 - whatever the cause, it is reported
            return HealthStatus(ok=False, detail=f"no answer: {type(error).__name__}")
        return HealthStatus(ok=True)
