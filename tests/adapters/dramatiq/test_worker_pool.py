"""A worker's threads on a real Valkey: what is sent is done, whatever else lies in the queue."""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import dramatiq
import pytest
from dramatiq import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from redis.asyncio import Redis

from adapters.dramatiq.broker import QueueBroker
from adapters.dramatiq.jobs import DramatiqJobs
from adapters.dramatiq.messages import NAMESPACE, build_message
from adapters.dramatiq.worker_pool import RunJob, WorkerPool
from adapters.memory.rate_limiter import monotonic_us
from adapters.redis.client import opened
from application.jobs import EvaluateTargetJob, Job, JobQueue, PlanRunJob
from domain.ids import ProjectId, RunId
from tests.support.fixtures.servers.valkey_server import Valkey
from tests.support.waiting import WAIT_MAX_S, in_time, until

pytestmark = pytest.mark.service

HANDS = {JobQueue.PLAN: 1, JobQueue.MEASURE: 2, JobQueue.JUDGE: 2}


def a_run() -> tuple[ProjectId, RunId]:
    return ProjectId(uuid.uuid4()), RunId(uuid.uuid4())


def some_targets(count: int, *, asks_judge: bool = False) -> list[Job]:
    run = a_run()
    return [EvaluateTargetJob(*run, str(n), asks_judge) for n in range(count)]


@dataclass
class Doing:
    """Records started and finished jobs. A job with a gate waits for it."""

    begun: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)
    gate: Callable[[Job], asyncio.Event | None] = lambda _: None

    async def __call__(self, job: Job) -> None:
        self.begun.append(job)
        if gate := self.gate(job):
            await gate.wait()
        self.done.append(job)


@contextlib.asynccontextmanager
async def at_work(
    url: str, doing: RunJob, hands: Mapping[JobQueue, int] = HANDS
) -> AsyncIterator[WorkerPool]:
    crew = WorkerPool(url, hands, doing)
    crew.start()
    try:
        yield crew
    finally:
        await crew.stop(0.5)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with opened(redis_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
def valkey(servers_folder: Path) -> Iterator[Valkey]:
    """A server of this test's own, which may be killed."""
    folder = servers_folder / uuid.uuid4().hex
    folder.mkdir(mode=0o755)
    server = Valkey(folder)
    yield server
    server.child.stop()


async def left(client: Redis) -> int:
    """Messages that are in a queue, or fetched and not acknowledged."""
    return sum([await client.hlen(f"{NAMESPACE}:{queue}.msgs") for queue in JobQueue])


async def emptied(client: Redis) -> None:
    async with in_time():
        while await left(client):
            await asyncio.sleep(0.02)


# --- the wire ------------------------------------------------------------------------------------


async def test_stock_dramatiq_worker_receives_sent_jobs(redis, redis_url):
    """With Dramatiq's own broker, middleware and actors."""
    broker, taken = RedisBroker(url=redis_url, namespace=NAMESPACE), []
    for queue, name in ((JobQueue.PLAN, "plan_run"), (JobQueue.MEASURE, "evaluate_target")):

        def act(*args: str) -> None:
            taken.append(args)

        dramatiq.actor(actor_name=name, queue_name=queue, broker=broker)(act)
    run = a_run()
    await DramatiqJobs(redis, monotonic_us).send(
        PlanRunJob(*run), *(EvaluateTargetJob(*run, f"session {n} é") for n in range(50))
    )
    worker = dramatiq.Worker(broker, worker_threads=4, worker_timeout=100)
    worker.start()
    try:
        await until(lambda: len(taken) == 51)
        await emptied(redis)
    finally:
        await asyncio.to_thread(worker.stop)
        broker.client.connection_pool.disconnect()
    project, number = map(str, run)
    expected = [(project, number), *((project, number, f"session {n} é") for n in range(50))]
    assert Counter(taken) == Counter(expected)


# --- work ----------------------------------------------------------------------------------------


async def test_sent_job_runs_on_the_loop_and_is_acknowledged(redis, redis_url):
    loops, doing = set(), Doing()

    async def do(job: Job) -> None:
        loops.add(asyncio.get_running_loop())
        await doing(job)

    due = [PlanRunJob(*a_run()), *some_targets(300), *some_targets(300, asks_judge=True)]
    async with at_work(redis_url, do) as crew:
        await DramatiqJobs(redis, monotonic_us).send(*due)
        await until(lambda: len(doing.done) == len(due))
        await emptied(redis)
        await until(lambda: not crew._running)  # nothing is kept of jobs that are over
    assert Counter(doing.done) == Counter(due)
    assert loops == {asyncio.get_running_loop()}


async def test_lanes_are_independent_and_their_concurrency_is_limited(redis, redis_url):
    gate, doing = asyncio.Event(), Doing()
    doing.gate = lambda job: gate if isinstance(job, EvaluateTargetJob) and job.asks_judge else None
    judged, measured = some_targets(10, asks_judge=True), some_targets(50)
    jobs = DramatiqJobs(redis, monotonic_us)
    async with at_work(redis_url, doing):
        await jobs.send(*judged)
        await until(lambda: len(doing.begun) == HANDS[JobQueue.JUDGE])
        await jobs.send(PlanRunJob(*a_run()), *measured)
        await until(lambda: len(doing.done) == 51)
        assert len(doing.begun) == 51 + HANDS[JobQueue.JUDGE]
        gate.set()
        await until(lambda: len(doing.done) == 61)


async def test_failing_job_does_not_affect_others(redis, redis_url, caplog):
    failing, *others = some_targets(5)
    doing = Doing()

    async def do(job: Job) -> None:
        if job == failing:
            raise ValueError("broken")
        await doing(job)

    async with at_work(redis_url, do):
        await DramatiqJobs(redis, monotonic_us).send(failing, *others)
        await until(lambda: len(doing.done) == 4)
        await emptied(redis)
    assert "broken" in caplog.text


# --- the end -------------------------------------------------------------------------------------


async def test_stop_finishes_running_jobs_and_requeues_the_rest(redis, redis_url):
    gate, doing = asyncio.Event(), Doing()
    doing.gate = lambda _: gate
    due = some_targets(20)
    crew = WorkerPool(redis_url, {JobQueue.MEASURE: 2}, doing)
    await DramatiqJobs(redis, monotonic_us).send(*due)
    crew.start()
    await until(lambda: len(doing.begun) == 2)
    stopping = asyncio.create_task(crew.stop(WAIT_MAX_S))
    await asyncio.sleep(0.05)
    gate.set()
    await stopping
    assert len(doing.done) == len(doing.begun) >= 2
    assert await redis.llen(f"{NAMESPACE}:{JobQueue.MEASURE}") == 20 - len(doing.done)
    async with at_work(redis_url, doing):
        await until(lambda: len(doing.done) == 20)
    assert Counter(doing.done) == Counter(due)


async def test_stop_waits_until_cancelled_jobs_have_released_what_they_hold(redis, redis_url):
    begun, released = list[Job](), list[Job]()

    async def do(job: Job) -> None:
        begun.append(job)
        try:
            await asyncio.Event().wait()
        finally:
            async with opened(redis_url) as client:  # as a statement of a database would take
                await client.ping()
            released.append(job)

    await DramatiqJobs(redis, monotonic_us).send(*some_targets(2, asks_judge=True))
    async with at_work(redis_url, do):
        await until(lambda: len(begun) == 2)
    assert Counter(released) == Counter(begun)


async def test_job_that_exceeds_the_stop_timeout_is_cancelled(redis, redis_url):
    doing = Doing()
    doing.gate = lambda _: asyncio.Event()
    await DramatiqJobs(redis, monotonic_us).send(*some_targets(4, asks_judge=True))
    async with at_work(redis_url, doing):
        await until(lambda: len(doing.begun) == 2)
    assert doing.done == []
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [one for one in others if "Doing" in repr(one)]


# --- what lies in the queue ----------------------------------------------------------------------


def a_message(**changed: object) -> Callable[[str], bytes]:
    """One as it should be, but for what is changed."""

    def made(key: str) -> bytes:
        message = json.loads(build_message(some_targets(1)[0]).encode())
        message["options"] = {"redis_message_id": key}
        return json.dumps(message | changed).encode()

    return made


POISON: dict[str, Callable[[str], bytes]] = {
    "no JSON": lambda _: b"\xff\xfe{",
    "no object": lambda _: b"[]",
    "nothing": lambda _: b"",
    "no message": lambda _: b'{"a": 1}',
    "id a list": a_message(message_id=[1]),
    "id a number": a_message(message_id=1),
    "no options": a_message(options=None),
    "no id in Redis": a_message(options={}),
    "delayed": a_message(options={"redis_message_id": "x", "eta": 1}),
    "another queue": a_message(queue_name="judge"),
    "another actor": a_message(actor_name="of_tomorrow"),
    "too much": a_message(kwargs={"trace": "{}"}),
    "args a number": a_message(args=7),
    "args of one": a_message(args=["x"]),
    "no ids": a_message(args=["x", "y", "z"]),
}


@pytest.fixture(scope="module")
def other_url(redis_url: str) -> str:
    """Another database of that server: `working` lives on, and would take the last tests' jobs."""
    return urlsplit(redis_url)._replace(path="/1").geturl()


@pytest.fixture
async def other_redis(other_url: str) -> AsyncIterator[Redis]:
    async with opened(other_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture(scope="module")
async def working(other_url: str) -> AsyncIterator[Doing]:
    """One pool for many tests: ending it takes as long as an idle thread polls."""
    doing = Doing()
    async with at_work(other_url, doing):
        yield doing


async def test_unreadable_messages_are_dropped_and_logged(other_redis, working, caplog):
    due = some_targets(40)
    jobs = DramatiqJobs(other_redis, monotonic_us)
    await jobs.send(*due[:20])
    for made in POISON.values():
        key = str(uuid.uuid4())
        await other_redis.hset(f"{NAMESPACE}:{JobQueue.MEASURE}.msgs", key, made(key))
        await other_redis.rpush(f"{NAMESPACE}:{JobQueue.MEASURE}", key)
    await jobs.send(*due[20:])
    await until(lambda: {*due} <= {*working.done})
    await emptied(other_redis)
    dropped = [record for record in caplog.records if ": dropped a" in record.message]
    assert len(dropped) == len(POISON)
    assert {record.levelname for record in dropped} == {"WARNING"}
    assert "Traceback" not in caplog.text


# --- waiting -------------------------------------------------------------------------------------


async def waits_in_redis(client: Redis) -> int:
    """How often a consumer has asked Redis to wait for a message."""
    calls: dict[str, dict[str, int]] = await client.info("commandstats")
    return calls.get("cmdstat_blmove", {"calls": 0})["calls"]


async def waiting(client: Redis) -> int:
    """How many clients wait in Redis."""
    found: dict[str, int] = await client.info("clients")
    return found["blocked_clients"]


async def test_idle_pool_waits_in_redis(valkey):
    doing = Doing()
    async with at_work(valkey.url, doing), opened(valkey.url) as client:
        await until(lambda: waiting(client), lambda found: found == len(HANDS))
        await DramatiqJobs(client, monotonic_us).send(*some_targets(3))
        await until(lambda: len(doing.done) == 3)
        again = await until(lambda: waiting(client), lambda found: found == len(HANDS))
    assert again == len(HANDS)


async def test_pool_with_a_backlog_does_not_wait_in_redis(valkey):
    async with opened(valkey.url) as client:
        waits = list[int]()

        async def count(job: Job) -> None:
            waits.append(await waits_in_redis(client))

        due = some_targets(30)
        await DramatiqJobs(client, monotonic_us).send(*due)
        async with at_work(valkey.url, count, {JobQueue.MEASURE: 1}):
            await until(lambda: len(waits) == len(due))
    assert set(waits) == {0}


async def test_closed_consumer_that_still_waits_fetches_nothing(valkey):
    broker = QueueBroker(valkey.url, JobQueue.MEASURE)
    broker.declare_queue(JobQueue.MEASURE)
    consumer = broker.consume(JobQueue.MEASURE)
    assert next(consumer) is None
    async with opened(valkey.url) as client:
        fetching = asyncio.create_task(asyncio.to_thread(next, consumer))
        await until(lambda: waiting(client))
        consumer.close()
        await DramatiqJobs(client, monotonic_us).send(*some_targets(1))
        assert await fetching is None
        assert await client.llen(f"{NAMESPACE}:{JobQueue.MEASURE}") == 1
    broker.close()


# --- outages -------------------------------------------------------------------------------------


@pytest.mark.exhaustive  # tests/e2e/test_workers.py kills Redis, and starts it again
async def test_pool_continues_after_redis_restarts_empty(valkey, caplog):
    caplog.set_level(logging.INFO, "adapters.dramatiq")
    doing = Doing()
    async with at_work(valkey.url, doing), opened(valkey.url) as client:
        jobs = DramatiqJobs(client, monotonic_us)
        await jobs.send(*some_targets(5))
        await until(lambda: len(doing.done) == 5)
        valkey.kill()
        await until(lambda: caplog.text.count("Redis can't be used") == len(HANDS))
        valkey.start_again()
        await until(lambda: caplog.text.count("Redis answers again") == len(HANDS))
        due = some_targets(5)
        async with in_time():
            while jobs.sent < 10:
                await jobs.send(*due)
                await asyncio.sleep(0.05)
        await until(lambda: set(due) <= set(doing.done))
    assert caplog.text.count("Redis can't be used") == len(HANDS)
    assert "Traceback" not in caplog.text


async def test_pool_may_start_before_redis(valkey):
    doing = Doing()
    valkey.kill()
    async with at_work(valkey.url, doing):
        await asyncio.sleep(0.05)
        valkey.start_again()
        async with opened(valkey.url) as client:
            jobs = DramatiqJobs(client, monotonic_us)
            async with in_time():
                while not jobs.sent:
                    await jobs.send(*some_targets(1))
                    await asyncio.sleep(0.05)
            await until(lambda: doing.done)
    assert doing.done


async def test_stop_is_bounded_while_redis_is_silent(valkey):
    doing = Doing()
    doing.gate = lambda _: asyncio.Event()
    async with opened(valkey.url) as client:
        await DramatiqJobs(client, monotonic_us).send(*some_targets(9))
    crew = WorkerPool(valkey.url, HANDS, doing)
    crew.start()
    await until(lambda: len(doing.begun) == 2)
    with valkey.paused():
        async with in_time():
            await crew.stop(0.1)
    assert doing.done == []


def test_message_in_a_late_answer_is_fetched_again(valkey):
    """Redis carries out the command once it answers again: the connection is closed by then."""
    queue = JobQueue.MEASURE
    broker = QueueBroker(valkey.url, queue)
    broker.client.connection_pool.connection_kwargs["socket_timeout"] = 0.1
    broker.declare_queue(queue)
    consumer = broker.consume(queue, prefetch=2)
    [known, lost] = map(build_message, some_targets(2))
    broker.enqueue(known)
    assert fetched_by(consumer).message_id == known.message_id  # and not acknowledged
    broker.enqueue(lost)
    with valkey.paused():
        assert next(consumer) is None
    assert fetched_by(consumer).message_id == lost.message_id
    assert len(broker.list_unacknowledged(queue)) == 2
    consumer.close()
    broker.close()


def fetched_by(consumer: Consumer) -> MessageProxy:
    deadline = time.monotonic() + WAIT_MAX_S
    while (message := next(consumer)) is None:
        assert time.monotonic() < deadline
    return message


async def test_messages_of_a_killed_worker_are_requeued(redis, redis_url):
    """Its broker is silent for longer than HEARTBEAT_TIMEOUT_MS."""
    [due] = some_targets(1)
    message = build_message(due)
    key, data = message.message_id, message.encode()
    dead = f"{NAMESPACE}:__acks__.dead.{JobQueue.MEASURE}"
    await redis.hset(f"{NAMESPACE}:{JobQueue.MEASURE}.msgs", key, data)
    await redis.sadd(dead, key)
    await redis.zadd(f"{NAMESPACE}:__heartbeats__", {"dead": 1})
    doing = Doing()
    async with at_work(redis_url, doing):
        await until(lambda: doing.done == [due])
    assert not await redis.exists(dead)
