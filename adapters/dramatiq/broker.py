"""Dramatiq's broker for one queue, and a consumer that outlives Redis and what isn't ours.

Dramatiq's own consumer starts anew after any error: it pauses for three seconds, shouts at each
turn of an outage, and leaves the messages it had fetched where nobody finds them while the process
lives. A message that can't be read would do that again at every start.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from dramatiq import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerError, DecodeError
from dramatiq.message import Message
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from adapters.dramatiq.messages import ACTORS, NAMESPACE

TIMEOUT_S: Final = 2  # to connect, and to get an answer
POLL_MAX_MS: Final = 100  # between two looks at a queue that is empty
AWAY_S: Final = 1  # between two looks for a Redis that doesn't answer
HEARTBEAT_TIMEOUT_MS: Final = 30_000  # after it, what a silent worker had fetched goes back
ALWAYS: Final = 1_000_000  # in a million: each look also puts back what dead workers had fetched
OUT_OF_REACH: Final = (RedisError, BrokerError, OSError)

_log = logging.getLogger(__name__)


class QueueBroker(RedisBroker):
    """One queue, and none of delayed messages: what is to be done later waits in Postgres."""

    def __init__(self, url: str, queue: str) -> None:
        pool = ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # a connection of before Redis was restarted
        )
        super().__init__(  # type: ignore[no-untyped-call]  # Dramatiq's own has no types
            client=Redis(connection_pool=pool),
            namespace=NAMESPACE,
            # No retries, no time limits: leases see to both.
            middleware=[],
            heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
            maintenance_chance=ALWAYS,
        )
        self.queue = queue

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = POLL_MAX_MS) -> Consumer:
        inner = super().consume(queue_name, prefetch, min(timeout, POLL_MAX_MS))
        return PatientConsumer(self, inner, queue_name)

    def close(self) -> None:
        self.client.connection_pool.disconnect()

    def fetched(self, queue: str) -> dict[str, bytes | None]:
        """The messages that this broker has fetched and not acknowledged, by their ids in Redis.

        Raises RedisError.
        """
        name = f"{NAMESPACE}:__acks__.{self.broker_id}.{queue}"
        ids = [one.decode() for one in cast("set[bytes]", self.client.smembers(name))]
        if not ids:
            return {}
        values = cast("list[bytes | None]", self.client.hmget(f"{NAMESPACE}:{queue}.msgs", ids))
        return dict(zip(ids, values, strict=True))


class PatientConsumer(Consumer):
    """Dramatiq's consumer, to whom an outage is a pause, and an unreadable message is none.

    Acknowledging may fail: then the message comes again once this process is gone, and says
    something that is done already.
    """

    def __init__(self, broker: QueueBroker, inner: Consumer, queue: str) -> None:
        self._broker = broker
        self._inner = inner
        self._queue = queue
        self._is_away = False

    def __next__(self) -> MessageProxy | None:
        try:
            message = next(self._inner)
        except (DecodeError, TypeError):  # no JSON, no message, or an id that is no text
            self._drop_unreadable()
            return None
        except OUT_OF_REACH as error:
            self._wait(error)
            return None
        if self._is_away:
            self._is_away = False
            _log.info("%s: Redis answers again", self._queue)
        if message is not None and not _is_ours(message, self._queue):
            # Or it would count as fetched for ever.
            cast("Any", self._inner).queued_message_ids.discard(message.message_id)
            self._drop_unreadable()
            return None
        return message

    def ack(self, message: MessageProxy) -> None:
        self._tell(self._inner.ack, message)

    def nack(self, message: MessageProxy) -> None:
        self._tell(self._inner.nack, message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._tell(self._inner.requeue, messages)

    def close(self) -> None:
        """Puts back what was fetched and not begun, and what is being done still."""
        self._tell(self._put_back)
        self._inner.close()

    def _put_back(self) -> None:
        if ids := list(self._broker.fetched(self._queue)):
            self._broker.do_requeue(self._queue, *ids)

    def _wait(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            name = type(error.__cause__ or error).__name__
            _log.warning("%s: Redis doesn't answer (%s); trying on", self._queue, name)
        time.sleep(AWAY_S)

    def _drop_unreadable(self) -> None:
        """Removes those that can't be read from among the messages that were fetched."""
        try:
            for key, data in self._broker.fetched(self._queue).items():
                if data is None:  # another thread acknowledged it between the two looks
                    self._broker.do_ack(self._queue, key)
                elif not _is_readable(key, data, self._queue):
                    self._broker.do_ack(self._queue, key)
                    _log.warning("%s: dropped a message that can't be read", self._queue)
        except OUT_OF_REACH as error:
            self._wait(error)

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except OUT_OF_REACH as error:
            _log.debug("%s: Redis wasn't told: %s", self._queue, type(error).__name__)


def _is_ours(message: Any, queue: str) -> bool:
    """Whether Dramatiq can handle it: it takes the types of a message for granted."""
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
    return _is_ours(message, queue) and message.options["redis_message_id"] == key
