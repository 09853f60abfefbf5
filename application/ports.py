"""Ports that every context shares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.limits import Decision, Limit

type Clock = Callable[[], datetime]
"""The present instant, aware, in UTC."""

type MonotonicClock = Callable[[], int]
"""Microseconds of a monotonic clock; only differences are meaningful."""

type NewId = Callable[[], UUID]
"""A new unique id."""

type RandomBytes = Callable[[int], bytes]
"""So many unpredictable bytes, as for secrets."""


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """Whether a part of the service works. `detail` says what is wrong, or worth knowing."""

    ok: bool
    detail: str | None = None


class HealthCheck(Protocol):
    """Checks a dependency of the service.

    Contract of HealthCheck: tests/contracts/test_health.py.
    """

    async def check(self) -> HealthStatus:
        """The present status, within two seconds. Never raises: a failure is a status."""
        ...


@dataclass(frozen=True, slots=True)
class EncryptedSecret:
    """A secret as it is stored. `key_id` names the key that encrypted it."""

    key_id: str
    ciphertext: bytes


class UnreadableSecret(Unavailable):
    """A stored secret can't be decrypted: its key isn't configured, or it was altered."""


class SecretCipher(Protocol):
    """Encrypts secrets that have to be read again, for example those of webhooks.

    The first key encrypts, every key decrypts, so that keys can be replaced while secrets are in
    use. `context` is the place of the secret, for example its table and row: at another place it
    can't be decrypted. Contract: tests/contracts/test_secret_cipher.py.
    """

    @property
    def key_ids(self) -> Sequence[str]:
        """The ids of the keys, that of the key that encrypts first."""
        ...

    def encrypt(self, secret: bytes, context: bytes) -> EncryptedSecret:
        """Equal secrets give different ciphertexts. Raises Conflict without a key."""
        ...

    def decrypt(self, stored: EncryptedSecret, context: bytes) -> bytes:
        """Raises UnreadableSecret. The message names the key if that isn't configured."""
        ...


ADMIT_MAX_S: Final = 0.1  # a hundred times what Redis needs; barely noticeable in a request


type Admission = Sequence[tuple[str, Limit, int]]
"""An admitted request: bucket, limit and instant in microseconds, for each bucket."""


class RateLimiter(Protocol):
    """Limits requests by bucket. Contract: tests/contracts/test_rate_limiter.py.

    A bucket is a name for whatever is limited together; a bucket always has the same limit. No
    process admits more requests of a bucket than the limit in any interval of the window's length,
    as `domain/limits.py` defines it. An adapter may enforce this across processes.
    """

    async def admit(self, buckets: Mapping[str, Limit]) -> Decision:
        """Admits a request and counts it in all buckets, or refuses it and counts it in none.

        The decision is that of the strictest bucket. It takes at least one, each with its limit.

        Waits at most ADMIT_MAX_S for other machines, and never raises. If the shared store fails,
        the limit still holds within this process.
        """
        ...


class TokenBuckets(Protocol):
    """Buckets of volumes by name. Contract: tests/contracts/test_token_buckets.py.

    `domain/token_buckets.py` defines them. An adapter may share them among processes; if the shared
    store fails, each process still keeps to its own. Both methods wait at most ADMIT_MAX_S for
    other machines, and never raise.
    """

    async def wait_us(self, buckets: Sequence[str]) -> int:
        """How long at least one of the buckets is empty, in microseconds; 0: none is."""
        ...

    async def charge(self, costs_us: Mapping[str, int]) -> None:
        """Subtracts costs, as `cost_us` computes them, from the buckets; below zero if need be."""
        ...


IDEMPOTENCY_LOCK_TTL: Final = timedelta(seconds=10)  # then a write's process counts as dead


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentRequest:
    """A write with an idempotency key: identified by project, operation and key.

    `request_hash` is a hash of everything that distinguishes the request from others. `target` is
    the trace or session that the request names: its response may quote it. An erasure keeps the
    response if it has no text, because doing the write again might show a secret again.
    """

    project: ProjectId
    operation: str
    key: str
    request_hash: bytes
    target: str | None = None
    has_text: bool = True


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The response to a write. `body` is what was sent."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyLock:
    """The right to do a write until `locked_until`, and the id that its object gets."""

    object_id: UUID
    locked_until: datetime


class IdempotencyStore(Protocol):
    """The stored responses to writes with an idempotency key.

    A response is deleted with its target: when the trace or session is deleted, or expires. An
    erasure deletes all responses of the project that have text; while it runs, none of those from
    before it is given out. The key stays with the request: a retry does the write again, with the
    same object id.

    Contract of IdempotencyStore: tests/contracts/test_idempotency.py. Writes are durable on
    return. All raise Unavailable.
    """

    async def begin(
        self, request: IdempotentRequest, new: UUID, now: datetime, expires_at: datetime
    ) -> IdempotencyLock | StoredResponse | None:
        """The stored response; else a lock for IDEMPOTENCY_LOCK_TTL; None if another has the lock.

        A lock that was released or has expired is given to the next attempt: with the first
        attempt's object id if it is the same request, else with `new`. Everything about the key is
        forgotten after `expires_at`. Raises Conflict if another request has a response or the lock
        under this key, NotFound if the project was removed.
        """
        ...

    async def complete(
        self, request: IdempotentRequest, lock: IdempotencyLock, response: StoredResponse
    ) -> StoredResponse:
        """Stores the first response of an object and returns it, even if it is another's."""
        ...

    async def release(
        self, request: IdempotentRequest, lock: IdempotencyLock, now: datetime
    ) -> None:
        """Ends a lock without a response. Does nothing if another attempt has the lock by now."""
        ...

    async def delete_expired(self, now: datetime) -> int:
        """Deletes some expired rows of all projects; how many, 0 if none is left."""
        ...
