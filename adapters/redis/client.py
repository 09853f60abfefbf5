"""The Redis client of a process, its health check, and what is wrong with its server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from adapters.redis_failures import redis_failure
from application.ports import HealthStatus

CONNECTIONS_MAX: Final = 20
NEARLY_FULL: Final = 0.9  # share of the memory of the server
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
        # With these, the pool would give out connections that a restart of Redis has closed.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    client = Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()


def parameter_problems(url: str) -> Iterator[str]:
    """The faults of the parameters of a URL, without any value, which may be secret.

    The client finds it out with the first connection only. Hosted providers show URLs with
    parameters of other clients.
    """
    parts = urlsplit(url)
    for name, value in parse_qsl(parts.query):
        one = f"{parts.scheme}://localhost?{urlencode({name: value})}"
        try:
            pool = BlockingConnectionPool.from_url(one)
            pool.make_connection()  # type: ignore[no-untyped-call]  # the library has no types for it
        except (TypeError, ValueError, RedisError):
            yield f"its parameter {name} can't be used: remove it, or correct its value"


@dataclass(frozen=True, slots=True)
class RedisHealthCheck:
    """Ready while Redis answers."""

    client: Redis

    async def check(self) -> HealthStatus:
        try:
            await self.client.ping()
        except Exception as error:  # noqa: BLE001 - whatever the cause, it is reported
            return HealthStatus(ok=False, detail=redis_failure(error))
        return HealthStatus(ok=True)


@dataclass(frozen=True, slots=True)
class RedisServerInfo:
    """Pairs of a problem and advice: `failures` prevent work now, `warnings` may later."""

    version: str
    failures: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...]


async def read_server_info(client: Redis) -> RedisServerInfo:
    """Raises what the client raises."""
    return parse_info(await client.info("all"))


def parse_info(info: dict[str, Any]) -> RedisServerInfo:
    """Checks the answer to INFO. Missing fields are skipped, because servers differ in them."""
    version = info.get("valkey_version") or info.get("redis_version") or "unknown"
    return RedisServerInfo(str(version), tuple(_failures(info)), tuple(_warnings(info)))


def _failures(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if info.get("role") == "slave":
        yield "it is a replica and refuses writes", "use the URL of its primary"
    if info.get("loading"):
        yield "it is still loading its data", "wait"
    if info.get("aof_last_write_status") == "err":
        yield "it can't write its append-only file, and refuses writes", "check its disk"


def _warnings(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    most, used = info.get("maxmemory", 0), info.get("used_memory", 0)
    policy = info.get("maxmemory_policy", "noeviction")
    if most and policy != "noeviction":
        yield (
            f"when it is full, it evicts jobs and rate limits ({policy})",
            "set maxmemory-policy noeviction",
        )
    if most and used > NEARLY_FULL * most:
        yield f"{used / most:.0%} of its memory is used", "give it more memory"
    if info.get("rdb_last_bgsave_status") == "err":
        yield "its last snapshot failed, so it may refuse writes", "check its disk"
