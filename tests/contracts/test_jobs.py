"""Contract of Jobs: it sends what it can, never raises, and waits no longer than its limit."""

import asyncio
import contextlib
import json
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from dramatiq.message import Message
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from adapters.dramatiq.jobs import TRANSACTION_JOBS_MAX, DramatiqJobs
from adapters.dramatiq.messages import NAMESPACE, build_message, parse_job
from adapters.embedded.process import free_port
from adapters.memory.jobs import WAITING_MAX, OwnJobs, RecordedJobs
from adapters.memory.rate_limiter import monotonic_us
from adapters.redis.client import opened
from application.jobs import EvaluateTargetJob, Job, JobQueue, Jobs, PlanRunJob
from domain.ids import ProjectId, RunId
from tests.support.fakes.clocks import MicrosecondClock
from tests.support.waiting import WAIT_MAX_S, until

WITHIN_S = WAIT_MAX_S  # far less than to wait for Redis with each of thousands of jobs

type ReadJobs = Callable[[], Awaitable[list[Job]]]
"""Returns all jobs that were sent and not taken yet, in the order of each queue."""

ids = st.builds(uuid.UUID, int=st.integers(0, 2**128 - 1))
targets = st.one_of(ids.map(str), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
jobs_of_any_kind = st.one_of(
    st.builds(PlanRunJob, ids.map(ProjectId), ids.map(RunId)),
    st.builds(EvaluateTargetJob, ids.map(ProjectId), ids.map(RunId), targets, st.booleans()),
)


def a_run() -> tuple[ProjectId, RunId]:
    return ProjectId(uuid.uuid4()), RunId(uuid.uuid4())


async def messages(client: Redis, queue: str) -> list[Message]:
    """Reads a queue's messages as Dramatiq does."""
    keys = await client.lrange(f"{NAMESPACE}:{queue}", 0, -1)
    found = await client.hmget(f"{NAMESPACE}:{queue}.msgs", keys) if keys else []
    return [Message.decode(one) for one in found]


async def read_jobs(client: Redis) -> list[Job]:
    return [
        parse_job(lane, message.args)
        for lane in JobQueue
        for message in await messages(client, lane)
    ]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client whose queues are empty."""
    async with opened(redis_url) as client:
        await client.delete(
            *(f"{NAMESPACE}:{queue}{end}" for queue in JobQueue for end in ("", ".msgs"))
        )
        yield client


@pytest.fixture(params=["recorded", "own", pytest.param("dramatiq", marks=pytest.mark.service)])
def queue(request: pytest.FixtureRequest) -> tuple[Jobs, ReadJobs]:
    """A synchronous fixture, so that it may request another by name."""
    if request.param == "dramatiq":
        client = request.getfixturevalue("redis")
        return DramatiqJobs(client, monotonic_us), lambda: read_jobs(client)
    recorded, own = RecordedJobs(), OwnJobs()

    async def received() -> list[Job]:
        return recorded.sent or own.waiting()

    return recorded if request.param == "recorded" else own, received


# --- every adapter -------------------------------------------------------------------------------


async def test_sent_jobs_are_received(queue):
    jobs, received = queue
    run = a_run()
    due = [
        PlanRunJob(*run),
        EvaluateTargetJob(*run, str(uuid.uuid4())),
        EvaluateTargetJob(*run, "s", asks_judge=True),
    ]
    await jobs.send(*due)
    assert await received() == due


async def test_jobs_of_one_lane_keep_their_order(queue):
    jobs, received = queue
    run = a_run()
    due = [EvaluateTargetJob(*run, f"session {n}") for n in range(30)]
    for n in range(0, 30, 10):
        await jobs.send(*due[n : n + 10])
    assert await received() == due


async def test_sending_no_jobs_sends_nothing(queue):
    jobs, received = queue
    await jobs.send()
    assert await received() == []


async def test_same_job_may_be_sent_again(queue):
    jobs, received = queue
    job = PlanRunJob(*a_run())
    await jobs.send(job, job)
    await jobs.send(job)
    assert await received() == [job] * 3


async def test_jobs_beyond_one_transaction_all_arrive(queue):
    jobs, received = queue
    run = a_run()
    due = [EvaluateTargetJob(*run, str(n)) for n in range(2 * TRANSACTION_JOBS_MAX + 1)]
    await jobs.send(*due)
    if isinstance(jobs, OwnJobs):  # the queue is bounded; the rest is found in the database
        assert jobs.dropped == len(due) - WAITING_MAX
        due = due[:WAITING_MAX]
    assert await received() == due


# --- memory --------------------------------------------------------------------------------------


async def test_recorded_jobs_run_until_none_is_left():
    jobs, run, done = RecordedJobs(), a_run(), []

    async def do(job: Job) -> None:
        done.append(job)
        if isinstance(job, PlanRunJob):
            await jobs.send(*(EvaluateTargetJob(*run, str(n)) for n in range(3)))

    await jobs.send(PlanRunJob(*run))
    assert await jobs.done(do) == 4
    assert [type(one) for one in done] == [
        PlanRunJob,
        EvaluateTargetJob,
        EvaluateTargetJob,
        EvaluateTargetJob,
    ]
    assert await jobs.done(do) == 0


async def test_own_jobs_run_with_concurrency_of_each_lane():
    jobs, run, gate = OwnJobs(), a_run(), asyncio.Event()
    begun: list[Job] = []
    done: list[Job] = []

    async def do(job: Job) -> None:
        begun.append(job)
        if isinstance(job, EvaluateTargetJob) and job.asks_judge:
            await gate.wait()
        done.append(job)

    working = asyncio.create_task(jobs.work({JobQueue.MEASURE: 2, JobQueue.JUDGE: 3}, do))
    for asks_judge in (True, False):
        await jobs.send(*(EvaluateTargetJob(*run, str(n), asks_judge) for n in range(10)))
    await until(lambda: len(done) >= 10)
    assert len(begun) == 13
    gate.set()
    await until(lambda: len(done) >= 20)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert working.cancelled()


async def test_stop_lets_running_own_jobs_end_and_starts_no_others():
    jobs, run, gate = OwnJobs(), a_run(), asyncio.Event()
    begun: list[Job] = []
    done: list[Job] = []

    async def do(job: Job) -> None:
        begun.append(job)
        await gate.wait()
        await jobs.send(job)  # as a finished target announces the next one
        done.append(job)

    working = asyncio.create_task(jobs.work(dict.fromkeys(JobQueue, 2), do))
    await jobs.send(*(EvaluateTargetJob(*run, str(n)) for n in range(5)))
    await until(lambda: len(begun) >= 2)
    stopping = asyncio.create_task(jobs.stop(WAIT_MAX_S))
    await asyncio.sleep(0)
    assert not stopping.done()
    gate.set()
    await stopping
    await working
    assert len(done) == len(begun) == 2
    assert jobs.waiting() == []


async def test_own_job_that_exceeds_the_stop_timeout_is_cancelled():
    jobs, begun, ended = OwnJobs(), asyncio.Event(), list[str]()

    async def do(_: Job) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    working = asyncio.create_task(jobs.work({JobQueue.PLAN: 1}, do))
    await jobs.send(PlanRunJob(*a_run()))
    await begun.wait()
    await jobs.stop(0)
    await working
    assert ended == ["cancelled"]


async def test_own_jobs_stop_before_they_start():
    jobs = OwnJobs()
    await jobs.stop(WAIT_MAX_S)
    await jobs.work({JobQueue.PLAN: 1}, asyncio.Event)  # returns at once
    assert jobs.waiting() == []


# --- messages ------------------------------------------------------------------------------------


@given(jobs_of_any_kind)
def test_message_contains_job_only(job):
    sent = build_message(job)
    message = Message.decode(sent.encode())
    assert message == sent
    assert parse_job(message.queue_name, message.args) == job
    assert (message.options, message.kwargs) == ({"redis_message_id": message.message_id}, {})
    assert message.queue_name == JobQueue.PLAN or message.args[2:] == (job.target,)


def test_message_of_older_version_is_read():
    """As it is stored in Redis while a new version is installed."""
    project, run = a_run()
    options = {"redis_message_id": "k"}
    fields = {"queue_name": "judge", "actor_name": "evaluate_target", "kwargs": {}}
    fields |= {"args": [str(project), str(run), "é"], "options": options, "message_id": "k"}
    data = json.dumps(fields | {"message_timestamp": 1}, ensure_ascii=False).encode()
    message = Message.decode(data)
    assert parse_job(message.queue_name, message.args) == EvaluateTargetJob(
        project, run, "é", asks_judge=True
    )


@pytest.mark.parametrize("queue", JobQueue)
@pytest.mark.parametrize(
    "args",
    [
        (),
        ("x", "y"),
        ("x", "y", "z"),
        (str(uuid.UUID(int=1)),),
        (str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), "t", "u"),
        (1, 2),
        (None, None, None),
    ],
)
def test_invalid_arguments_raise_value_error(queue, args):
    with pytest.raises(ValueError):
        parse_job(queue, args)


async def test_judging_and_measuring_have_separate_queues():
    run = a_run()
    due = [
        PlanRunJob(*run),
        EvaluateTargetJob(*run, "t"),
        EvaluateTargetJob(*run, "t", asks_judge=True),
    ]
    assert [build_message(job).queue_name for job in due] == list(JobQueue)


# --- a faulty Redis ------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@asynccontextmanager
async def unreachable_jobs(
    url: str, ticks: MicrosecondClock
) -> AsyncIterator[tuple[DramatiqJobs, list[Job]]]:
    """Jobs over an unreachable Redis, and the jobs that could not be sent."""
    unsent = RecordedJobs()
    async with opened(url) as client:
        yield DramatiqJobs(client, ticks, unsent), unsent.sent


async def duration_s(sending: Awaitable[None]) -> float:
    begin = time.perf_counter()
    await sending
    return time.perf_counter() - begin


async def test_unreachable_redis_raises_nothing_and_counts_lost():
    run = a_run()
    due = [EvaluateTargetJob(*run, str(n)) for n in range(5)]
    async with unreachable_jobs(f"redis://127.0.0.1:{free_port()}/0", MicrosecondClock()) as (
        jobs,
        unsent,
    ):
        assert await duration_s(jobs.send(*due)) < WITHIN_S
        assert unsent == due
        assert (jobs.sent, jobs.lost) == (0, 5)


@pytest.mark.slow
async def test_silent_redis_is_waited_for_once(silent):
    run, ticks = a_run(), MicrosecondClock()
    async with unreachable_jobs(silent, ticks) as (jobs, unsent):
        assert (
            await duration_s(jobs.send(*(EvaluateTargetJob(*run, str(n)) for n in range(3_000))))
            < WITHIN_S
        )
        for _ in range(100):  # the next ones do not ask Redis at all
            await jobs.send(PlanRunJob(*run))
        assert len(unsent) == jobs.lost == 3_100
        ticks.now_us += 1_000_000
        assert await duration_s(jobs.send(PlanRunJob(*run))) < WITHIN_S


async def test_outage_is_logged_once(caplog):
    ticks = MicrosecondClock()
    async with unreachable_jobs(f"redis://127.0.0.1:{free_port()}/0", ticks) as (jobs, _):
        for _ in range(5):
            await jobs.send(PlanRunJob(*a_run()))
            ticks.now_us += 1_000_000
    levels = [one.levelname for one in caplog.records if one.name == "adapters.dramatiq.jobs"]
    assert levels == ["WARNING"]


@pytest.mark.service
async def test_flushed_redis_receives_later_jobs(redis):
    jobs = DramatiqJobs(redis, monotonic_us)
    await jobs.send(PlanRunJob(*a_run()))
    await redis.flushdb()
    due = PlanRunJob(*a_run())
    await jobs.send(due)
    assert await read_jobs(redis) == [due]


@pytest.mark.service
async def test_key_of_another_type_does_not_raise(redis):
    jobs = DramatiqJobs(redis, monotonic_us)
    await redis.set(f"{NAMESPACE}:{JobQueue.PLAN}", "something else")
    await jobs.send(PlanRunJob(*a_run()))
    assert jobs.lost == 1
    await redis.delete(f"{NAMESPACE}:{JobQueue.PLAN}")


@pytest.mark.service
async def test_cancelled_send_leaves_client_usable(redis):
    jobs = DramatiqJobs(redis, monotonic_us)
    for _ in range(20):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0, 0.004)):
                await jobs.send(*(PlanRunJob(*a_run()) for _ in range(200)))
    await redis.flushdb()
    due = PlanRunJob(*a_run())
    await jobs.send(due)
    assert await read_jobs(redis) == [due]
