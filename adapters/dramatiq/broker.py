"""A Dramatiq broker for one queue, and a consumer that survives outages and foreign messages.

Dramatiq's own consumer restarts after any error: it pauses for three seconds, logs an error at
each attempt during an outage, and leaves the messages it had fetched in a place where no consumer
finds them while the process lives. An unreadable message would trigger that at every start.
"""

import logging
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Final, cast

from dramatiq import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerError, DecodeError
from dramatiq.message import Message
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from adapters.dramatiq.messages import ACTORS, NAMESPACE
from adapters.redis_failures import redis_failure

TIMEOUT_S: Final = 2  # to connect, and to get an answer
EMPTY_WAIT_S: Final = 1  # for a message, in one request; less than TIMEOUT_S
BUSY_POLL_MAX_MS: Final = 100  # while all threads have work
RECONNECT_INTERVAL_S: Final = 1  # while Redis doesn't answer
HEARTBEAT_TIMEOUT_MS: Final = 30_000  # after it, the messages of a silent worker are requeued
# In a million: every poll also requeues the messages that dead workers had fetched.
MAINTENANCE_CHANCE_ALWAYS: Final = 1_000_000
CONNECTION_ERRORS: Final = (RedisError, BrokerError, OSError)

_log = logging.getLogger(__name__)


class QueueBroker(RedisBroker):
    """A broker for one queue without delayed messages: work for later waits in PostgreSQL."""

    def __init__(self, url: str, queue: str) -> None:
        pool = ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            # For a connection from before a restart of Redis. Not after a timeout: Redis may still
            # carry out a command whose answer came too late, and the consumer has to know.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        super().__init__(  # type: ignore[no-untyped-call]  # Dramatiq's own has no types
            client=Redis(connection_pool=pool),
            namespace=NAMESPACE,
            # No retries and no time limits, because leases provide both.
            middleware=[],
            heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
            maintenance_chance=MAINTENANCE_CHANCE_ALWAYS,
        )
        self.queue = queue

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def consume(
        self, queue_name: str, prefetch: int = 1, timeout: int = BUSY_POLL_MAX_MS
    ) -> Consumer:
        inner = super().consume(queue_name, prefetch, min(timeout, BUSY_POLL_MAX_MS))
        return ResilientConsumer(self, inner, queue_name)

    def wait_for_message(self, queue: str) -> None:
        """Returns once the queue has a message, after EMPTY_WAIT_S at the latest.

        Moves the first message to where it is, since Redis has no way to wait without taking one.
        Raises RedisError.
        """
        name = f"{NAMESPACE}:{queue}"
        self.client.blmove(name, name, EMPTY_WAIT_S, "LEFT", "LEFT")

    def close(self) -> None:
        self.client.connection_pool.disconnect()

    def list_unacknowledged(self, queue: str) -> dict[str, bytes | None]:
        """The messages that this broker has fetched and not acknowledged, by their ids in Redis.

        Raises RedisError.
        """
        name = f"{NAMESPACE}:__acks__.{self.broker_id}.{queue}"
        ids = [key.decode() for key in cast("set[bytes]", self.client.smembers(name))]
        if not ids:
            return {}
        values = cast("list[bytes | None]", self.client.hmget(f"{NAMESPACE}:{queue}.msgs", ids))
        return dict(zip(ids, values, strict=True))


class ResilientConsumer(Consumer):
    """Dramatiq's consumer, which waits during an outage and drops unreadable messages.

    Redis may give out messages in an answer that never arrives. After an outage they are requeued;
    otherwise no consumer would find them while this process lives. So are messages whose
    acknowledgement failed: they are delivered again, although the work that they name is done.
    """

    def __init__(self, broker: QueueBroker, inner: Consumer, queue: str) -> None:
        self._broker = broker
        self._inner = inner
        self._queue = queue
        self._is_disconnected = False
        self._may_have_lost = False  # messages of which only Redis knows that we fetched them
        self._is_empty = False
        self._lock = Lock()  # held to fetch, and to close
        self._is_closed = False

    def __next__(self) -> MessageProxy | None:
        try:
            message = self._fetch()
        except (DecodeError, TypeError):  # no JSON, no message, or an id that isn't text
            self._drop_unreadable()
            return None
        except CONNECTION_ERRORS as error:
            self._wait(error)
            return None
        if self._is_disconnected:
            self._is_disconnected = False
            _log.info("%s: Redis answers again", self._queue)
        if self._may_have_lost:
            self._requeue_lost()
        if message is not None and not _is_valid(message, self._queue):
            # Otherwise it would count as fetched for ever.
            cast("Any", self._inner).queued_message_ids.discard(message.message_id)
            self._drop_unreadable()
            return None
        return message

    def _fetch(self) -> MessageProxy | None:
        """Waits in Redis for an empty queue: polling takes more, and finds a message later."""
        inner = cast("Any", self._inner)
        if self._is_empty:
            self._broker.wait_for_message(self._queue)
        with self._lock:
            if self._is_closed:
                return None
            may_fetch = inner.outstanding_message_count < inner.prefetch
            inner.timeout = 0 if may_fetch else BUSY_POLL_MAX_MS
            message = next(self._inner)
        self._is_empty = may_fetch and message is None
        return message

    def ack(self, message: MessageProxy) -> None:
        self._try(self._inner.ack, message)

    def nack(self, message: MessageProxy) -> None:
        self._try(self._inner.nack, message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._try(self._inner.requeue, messages)

    def close(self) -> None:
        """Requeues every message that isn't acknowledged, whether its job has begun or not.

        Dramatiq may close a consumer that still waits for a message. It fetches none afterwards:
        other workers would get that only when they take this one for dead.
        """
        with self._lock:
            self._is_closed = True
        self._try(self._requeue_unacknowledged)
        self._inner.close()

    def _requeue_unacknowledged(self) -> None:
        if ids := list(self._broker.list_unacknowledged(self._queue)):
            self._broker.do_requeue(self._queue, *ids)

    def _requeue_lost(self) -> None:
        """Requeues what is neither acknowledged nor known here as fetched."""
        self._may_have_lost = False  # first: a thread may fail to acknowledge meanwhile
        inner = cast("Any", self._inner)
        try:
            fetched = self._broker.list_unacknowledged(self._queue)
            lost = [
                key
                for key, data in fetched.items()
                if data not in inner.message_cache
                and _message_id(data) not in inner.queued_message_ids
            ]
            if lost:
                self._broker.do_requeue(self._queue, *lost)
        except CONNECTION_ERRORS as error:
            self._wait(error)

    def _wait(self, error: Exception) -> None:
        self._may_have_lost = True
        if not self._is_disconnected:
            self._is_disconnected = True
            cause = redis_failure(error)
            _log.warning("%s: Redis can't be used (%s); reconnecting", self._queue, cause)
        time.sleep(RECONNECT_INTERVAL_S)

    def _drop_unreadable(self) -> None:
        """Removes the unreadable messages from those that were fetched."""
        try:
            for key, data in self._broker.list_unacknowledged(self._queue).items():
                if data is None:  # another thread acknowledged it between the two commands
                    self._broker.do_ack(self._queue, key)
                elif not _is_readable(key, data, self._queue):
                    self._broker.do_ack(self._queue, key)
                    _log.warning("%s: dropped an unreadable message", self._queue)
        except CONNECTION_ERRORS as error:
            self._wait(error)

    def _try(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except CONNECTION_ERRORS as error:
            self._may_have_lost = True
            _log.debug("%s: Redis can't be used: %s", self._queue, redis_failure(error))


def _message_id(data: bytes | None) -> str | None:
    """None if another thread acknowledged it meanwhile, or if it is unreadable."""
    try:
        return None if data is None else Message.decode(data).message_id
    except DecodeError:
        return None


def _is_valid(message: Any, queue: str) -> bool:
    """Whether Dramatiq can handle the message: it doesn't check the types of the fields itself."""
    options = message.options
    return (
        isinstance(options, dict)
        and isinstance(options.get("redis_message_id"), str)
        and "eta" not in options
        and isinstance(message.message_id, str)
        and message.queue_name == queue
        and message.actor_name == ACTORS[queue]
        and message.kwargs == {}
    )


def _is_readable(key: str, data: bytes, queue: str) -> bool:
    try:
        message: Message[Any] = Message.decode(data)
    except DecodeError:
        return False
    return _is_valid(message, queue) and message.options["redis_message_id"] == key
