"""Contract of Jobs: it tells what it can, never raises, and waits no longer than its bound."""

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

from adapters.dramatiq.jobs import SENT_AT_ONCE, DramatiqJobs
from adapters.dramatiq.messages import NAMESPACE, build_message, job_of
from adapters.embedded.process import free_port
from adapters.memory.jobs import WAITING_MAX, OwnJobs, RecordedJobs
from adapters.memory.rate_limiter import monotonic_us
from adapters.redis.client import opened
from application.jobs import EvaluateTargetJob, Job, JobQueue, Jobs, PlanRunJob
from domain.ids import ProjectId, RunId

WITHIN_S = 2.5  # the two seconds, and what a busy machine needs

type Told = Callable[[], Awaitable[list[Job]]]
"""All jobs that were told and not taken yet, in the order of each queue."""

ids = st.builds(uuid.UUID, int=st.integers(0, 2**128 - 1))
targets = st.one_of(ids.map(str), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
jobs_of_any_kind = st.one_of(
    st.builds(PlanRunJob, ids.map(ProjectId), ids.map(RunId)),
    st.builds(EvaluateTargetJob, ids.map(ProjectId), ids.map(RunId), targets, st.booleans()),
)


def a_run() -> tuple[ProjectId, RunId]:
    return ProjectId(uuid.uuid4()), RunId(uuid.uuid4())


async def messages(client: Redis, queue: str) -> list[Message]:
    """As Dramatiq reads them."""
    keys = await client.lrange(f"{NAMESPACE}:{queue}", 0, -1)
    found = await client.hmget(f"{NAMESPACE}:{queue}.msgs", keys) if keys else []
    return [Message.decode(one) for one in found]


async def told_to(client: Redis) -> list[Job]:
    return [
        job_of(queue, message.args)
        for queue in JobQueue
        for message in await messages(client, queue)
    ]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client whose database is empty."""
    async with opened(redis_url) as client:
        await client.delete(
            *(f"{NAMESPACE}:{queue}{end}" for queue in JobQueue for end in ("", ".msgs"))
        )
        yield client


@pytest.fixture(params=["recorded", "own", pytest.param("dramatiq", marks=pytest.mark.service)])
def telling(request: pytest.FixtureRequest) -> tuple[Jobs, Told]:
    """A plain fixture: it may ask for another by name."""
    if request.param == "dramatiq":
        client = request.getfixturevalue("redis")
        return DramatiqJobs(client, monotonic_us), lambda: told_to(client)
    recorded, own = RecordedJobs(), OwnJobs()

    async def told() -> list[Job]:
        return recorded.sent or own.waiting()

    return recorded if request.param == "recorded" else own, told


# --- every adapter -------------------------------------------------------------------------------


async def test_what_is_sent_is_told(telling):
    jobs, told = telling
    run = a_run()
    due = [
        PlanRunJob(*run),
        EvaluateTargetJob(*run, str(uuid.uuid4())),
        EvaluateTargetJob(*run, "s", asks_judge=True),
    ]
    await jobs.send(*due)
    assert await told() == due


async def test_each_kind_keeps_its_order_over_several_calls(telling):
    jobs, told = telling
    run = a_run()
    due = [EvaluateTargetJob(*run, f"session {n}") for n in range(30)]
    for n in range(0, 30, 10):
        await jobs.send(*due[n : n + 10])
    assert await told() == due


async def test_nothing_to_send_is_nothing_sent(telling):
    jobs, told = telling
    await jobs.send()
    assert await told() == []


async def test_the_same_job_may_be_sent_again(telling):
    jobs, told = telling
    job = PlanRunJob(*a_run())
    await jobs.send(job, job)
    await jobs.send(job)
    assert await told() == [job] * 3


async def test_more_than_one_transaction_holds_all_arrive(telling):
    jobs, told = telling
    run = a_run()
    due = [EvaluateTargetJob(*run, str(n)) for n in range(2 * SENT_AT_ONCE + 1)]
    await jobs.send(*due)
    if isinstance(jobs, OwnJobs):  # it is no store: the rest is found in the database
        assert jobs.dropped == len(due) - WAITING_MAX
        due = due[:WAITING_MAX]
    assert await told() == due


# --- memory --------------------------------------------------------------------------------------


async def test_recorded_jobs_are_done_with_all_that_comes_of_them():
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


async def test_own_jobs_are_done_by_as_many_hands_as_each_lane_has():
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
    while len(done) < 10:
        await asyncio.sleep(0)
    assert len(begun) == 13
    gate.set()
    while len(done) < 20:
        await asyncio.sleep(0)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert working.cancelled()


# --- messages ------------------------------------------------------------------------------------


@given(jobs_of_any_kind)
def test_a_message_names_its_job_and_nothing_else(job):
    sent = build_message(job)
    message = Message.decode(sent.encode())
    assert message == sent
    assert job_of(message.queue_name, message.args) == job
    assert (message.options, message.kwargs) == ({"redis_message_id": message.message_id}, {})
    assert message.queue_name == JobQueue.PLAN or message.args[2:] == (job.target,)


def test_a_message_of_an_older_version_is_read():
    """As it lies in Redis while a new version is installed."""
    project, run = a_run()
    options = {"redis_message_id": "k"}
    fields = {"queue_name": "judge", "actor_name": "evaluate_target", "kwargs": {}}
    fields |= {"args": [str(project), str(run), "é"], "options": options, "message_id": "k"}
    data = json.dumps(fields | {"message_timestamp": 1}, ensure_ascii=False).encode()
    message = Message.decode(data)
    assert job_of(message.queue_name, message.args) == EvaluateTargetJob(
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
def test_arguments_that_name_nothing_are_told_from_others(queue, args):
    with pytest.raises(ValueError):
        job_of(queue, args)


async def test_judging_and_measuring_have_queues_of_their_own():
    run = a_run()
    due = [
        PlanRunJob(*run),
        EvaluateTargetJob(*run, "t"),
        EvaluateTargetJob(*run, "t", asks_judge=True),
    ]
    assert [build_message(job).queue_name for job in due] == list(JobQueue)


# --- a Redis that isn't as it should be ----------------------------------------------------------


class Hands:
    """Ticks that are set."""

    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@asynccontextmanager
async def telling_nobody(url: str, ticks: Hands) -> AsyncIterator[tuple[DramatiqJobs, list[Job]]]:
    """Jobs over a Redis that isn't there, and what they couldn't tell."""
    untold = RecordedJobs()
    async with opened(url) as client:
        yield DramatiqJobs(client, ticks, untold), untold.sent


async def took_s(sending: Awaitable[None]) -> float:
    begin = time.perf_counter()
    await sending
    return time.perf_counter() - begin


async def test_nobody_to_tell_raises_nothing_and_is_counted():
    run = a_run()
    due = [EvaluateTargetJob(*run, str(n)) for n in range(5)]
    async with telling_nobody(f"redis://127.0.0.1:{free_port()}/0", Hands()) as (jobs, untold):
        assert await took_s(jobs.send(*due)) < WITHIN_S
        assert untold == due
        assert (jobs.sent, jobs.lost) == (0, 5)


@pytest.mark.slow
async def test_a_redis_that_says_nothing_is_waited_for_two_seconds_once(silent):
    run, ticks = a_run(), Hands()
    async with telling_nobody(silent, ticks) as (jobs, untold):
        assert (
            await took_s(jobs.send(*(EvaluateTargetJob(*run, str(n)) for n in range(3_000))))
            < WITHIN_S
        )
        for _ in range(100):  # the next ones don't ask at all
            await jobs.send(PlanRunJob(*run))
        assert len(untold) == jobs.lost == 3_100
        ticks.now_us += 1_000_000
        assert await took_s(jobs.send(PlanRunJob(*run))) < WITHIN_S


async def test_one_outage_is_told_once(caplog):
    ticks = Hands()
    async with telling_nobody(f"redis://127.0.0.1:{free_port()}/0", ticks) as (jobs, _):
        for _ in range(5):
            await jobs.send(PlanRunJob(*a_run()))
            ticks.now_us += 1_000_000
    told = [one.levelname for one in caplog.records if one.name == "adapters.dramatiq.jobs"]
    assert told == ["WARNING"]


@pytest.mark.service
async def test_a_redis_that_is_flushed_meanwhile_is_told_what_follows(redis):
    jobs = DramatiqJobs(redis, monotonic_us)
    await jobs.send(PlanRunJob(*a_run()))
    await redis.flushdb()
    due = PlanRunJob(*a_run())
    await jobs.send(due)
    assert await told_to(redis) == [due]


@pytest.mark.service
async def test_a_key_of_another_kind_is_no_reason_to_raise(redis):
    jobs = DramatiqJobs(redis, monotonic_us)
    await redis.set(f"{NAMESPACE}:{JobQueue.PLAN}", "something else")
    await jobs.send(PlanRunJob(*a_run()))
    assert jobs.lost == 1
    await redis.delete(f"{NAMESPACE}:{JobQueue.PLAN}")


@pytest.mark.service
async def test_who_gives_up_waiting_leaves_a_client_that_works(redis):
    jobs = DramatiqJobs(redis, monotonic_us)
    for _ in range(20):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0, 0.004)):
                await jobs.send(*(PlanRunJob(*a_run()) for _ in range(200)))
    await redis.flushdb()
    due = PlanRunJob(*a_run())
    await jobs.send(due)
    assert await told_to(redis) == [due]
