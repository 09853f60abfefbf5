"""PayloadStore in a bucket of S3-compatible storage."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from obstore.exceptions import BaseError
from obstore.store import S3Store

from application.concurrency import gather_limited
from application.tracing.ports import LISTED_MAX
from domain.errors import Unavailable

CONNECT_TIMEOUT_S: Final = 1
REQUEST_TIMEOUT_S: Final = 3
RETRIES_MAX: Final = 2
CALL_TIMEOUT_S: Final = 6  # of one call, with its retries: below the timeout of reads
CONCURRENT_CALLS_MAX: Final = (
    4  # of one process; a read holds a connection to the database meanwhile
)
WAIT_TIMEOUT_S: Final = 0.25  # for one of these calls
CONCURRENT_REQUESTS_MAX: Final = 8  # of one call
PAUSE_S: Final = 5  # after a failure, in which calls fail at once: no connection waits for them
UNAVAILABLE: Final = "The object storage of payloads can't be reached; try again later"


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSettings:
    """A bucket, and how to reach it. Without an `endpoint` it is one of AWS.

    Without keys the credentials are those of the machine, as AWS provides them.
    """

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)

    def open(self) -> S3Store:
        given: dict[str, Any] = {
            "endpoint": self.endpoint,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }
        return S3Store(
            self.bucket,
            region=self.region,
            client_options={
                "allow_http": self.endpoint is not None and self.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
            },
            retry_config={
                "max_retries": RETRIES_MAX,
                "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
            },
            **{name: value for name, value in given.items() if value is not None},
        )


@dataclass(slots=True)
class S3PayloadStore:
    """Objects of one bucket, which may have others too: only keys of three ids are ours.

    While the storage fails, a call in PAUSE_S fails by itself, and the others at once.
    """

    bucket: S3Store
    monotonic: Callable[[], float] = time.monotonic
    _slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(CONCURRENT_CALLS_MAX)
    )
    _paused_until: float = 0.0

    async def put(self, key: str, data: bytes) -> None:
        async with self._call():
            await self.bucket.put_async(key, data)

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}

        async def get_one(key: str) -> None:
            try:
                result = await self.bucket.get_async(key)
                found[key] = bytes(await result.bytes_async())
            except FileNotFoundError:
                return

        async with self._call():
            steps = [partial(get_one, key) for key in keys]
            await gather_limited(CONCURRENT_REQUESTS_MAX, steps)
        return found

    async def delete(self, keys: Sequence[str]) -> None:
        async with self._call():
            await self.bucket.delete_async(list(keys))

    async def list_keys(self, after: str, before: datetime) -> Sequence[str]:
        async with self._call():
            stream = self.bucket.list(offset=after or None, chunk_size=LISTED_MAX)
            async for listed in stream:
                return [one["path"] for one in listed if one["last_modified"] < before]
        return []

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """Raises Unavailable in place of errors of the storage, and if too many calls wait."""
        if self.monotonic() < self._paused_until:
            raise Unavailable(UNAVAILABLE, retry_after_s=PAUSE_S)
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unavailable(UNAVAILABLE, retry_after_s=1) from error
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                yield
        except (BaseError, OSError, TimeoutError) as error:
            self._paused_until = self.monotonic() + PAUSE_S
            raise Unavailable(UNAVAILABLE, retry_after_s=PAUSE_S) from error
        finally:
            self._slots.release()
