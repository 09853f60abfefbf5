"""Whether the service is ready, and its health check `queue`: whether waiting work is done."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from application.evaluation.ports.work_queue import WorkQueue
from application.ports import Clock, HealthCheck, HealthStatus
from application.workers import Workers
from domain.errors import Failure, Unavailable
from domain.wording import counted, noun_of

CHECK_MAX_S: Final = 2
GROUP_MAX_S: Final = 0.8  # of several groups, each of two questions


@dataclass(frozen=True, slots=True)
class CheckReadiness:
    """Runs all health checks concurrently."""

    checks: Mapping[str, HealthCheck]

    async def __call__(self) -> Mapping[str, HealthStatus]:
        """The status of each check by its name."""
        states = await asyncio.gather(*(check.check() for check in self.checks.values()))
        return dict(zip(self.checks, states, strict=True))


@dataclass(frozen=True, slots=True)
class WorkOfGroups:
    """The work that waits in the queues of all groups of organizations.

    A queue that doesn't answer in time is passed over unless none answers: the other groups are
    served.
    """

    queues: Callable[[], Awaitable[Sequence[WorkQueue]]]

    async def oldest_wait(self, now: datetime) -> timedelta | None:
        waits = await self._ask(lambda queue: queue.oldest_wait(now))
        return max((one for one in waits if one is not None), default=None)

    async def count_dead(self) -> int:
        return sum(await self._ask(lambda queue: queue.count_dead()))

    async def _ask[T](self, question: Callable[[WorkQueue], Awaitable[T]]) -> list[T]:
        """All at once, so that a group that hangs delays the others' answers by GROUP_MAX_S only.

        The caller limits how long a single group may take.
        """
        queues = await self.queues()
        limit_s = GROUP_MAX_S if len(queues) > 1 else None

        async def ask(queue: WorkQueue) -> T | Unavailable:
            try:
                async with asyncio.timeout(limit_s):
                    return await question(queue)
            except Unavailable as error:
                return error
            except TimeoutError:
                return Unavailable(f"no answer within {GROUP_MAX_S} s")

        answers = await asyncio.gather(*map(ask, queues))
        given = [one for one in answers if not isinstance(one, Unavailable)]
        for one in answers:
            if isinstance(one, Unavailable) and not given:
                raise one
        return given


@dataclass(frozen=True, slots=True)
class QueueHealthCheck:
    """Ok while no ready work has waited for longer than `age_max`.

    The detail also counts dead targets; retrying their runs evaluates them again.
    """

    work_queue: WorkQueue | WorkOfGroups
    workers: Workers
    clock: Clock
    age_max: timedelta

    async def check(self) -> HealthStatus:
        try:
            async with asyncio.timeout(CHECK_MAX_S):
                now = self.clock()
                # At once: one after the other takes nine round trips to a distant database.
                age, dead, status = await asyncio.gather(
                    self.work_queue.oldest_wait(now),
                    self.work_queue.count_dead(),
                    self.workers.status(now),
                )
        except TimeoutError:
            return HealthStatus(ok=False, detail=f"no answer within {CHECK_MAX_S} s")
        except Exception as error:  # noqa: BLE001 - any error is a status
            reason = error.message if isinstance(error, Failure) else type(error).__name__
            return HealthStatus(ok=False, detail=reason)
        is_late = age is not None and age > self.age_max
        words = []
        if age is not None:
            words.append(f"the oldest job has waited {age.total_seconds():.0f} s")
            if problem := status.problem(now):
                words.append(problem)
            elif is_late:
                words.append(f"workers don't get to it: {status.alive}")
        if dead:
            words.append(
                f"{counted(dead, 'target was', 'targets were')} given up: see the log, then "
                f"retry {noun_of(dead, 'its run', 'their runs')}"
            )
        return HealthStatus(ok=not is_late, detail="; ".join(words) or None)
