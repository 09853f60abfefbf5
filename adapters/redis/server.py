"""What a Redis or Valkey server says of itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

NEARLY_FULL: Final = 0.9


@dataclass(frozen=True, slots=True)
class RedisServer:
    """`broken` is what keeps it from doing its work, `doubtful` what may one day; with advice."""

    version: str
    broken: tuple[tuple[str, str], ...]
    doubtful: tuple[tuple[str, str], ...]


async def server(client: Redis) -> RedisServer:
    """Raises what the client raises."""
    return told(await client.info("all"))


def told(info: dict[str, Any]) -> RedisServer:
    """What the answer to INFO comes to. What it lacks is passed over: not every server has it."""
    version = info.get("valkey_version") or info.get("redis_version") or "unknown"
    return RedisServer(str(version), tuple(_broken(info)), tuple(_doubtful(info)))


def _broken(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if info.get("role") == "slave":
        yield "it is a replica, and takes no writes", "name its primary"
    if info.get("loading"):
        yield "it still loads its data", "wait"
    if info.get("aof_last_write_status") == "err":
        yield "it can't write its file, and refuses writes", "look at its disk"


def _doubtful(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    most, used = info.get("maxmemory", 0), info.get("used_memory", 0)
    policy = info.get("maxmemory_policy", "noeviction")
    if most and policy != "noeviction":
        yield (
            f"once it is full it forgets jobs and rate limits ({policy})",
            "set maxmemory-policy noeviction",
        )
    if most and used > NEARLY_FULL * most:
        yield f"{used / most:.0%} of its memory are used", "give it more"
    if info.get("rdb_last_bgsave_status") == "err":
        yield "its last snapshot failed: it may refuse writes", "look at its disk"
