"""The real `worker` with a faster clock, and a scripted judge.

    python -m tests.support.fakes.short_lease_worker EPOCH SPEEDUP ANSWER_S DRAIN_S [FILE]

The clock was right at EPOCH (seconds) and runs SPEEDUP times as fast: all processes that share a
database use the same EPOCH and SPEEDUP. An answer takes ANSWER_S, and FILE gets a line per
question: metric, tab, task.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.memory.evaluation.scripted_judge import ScriptedJudge
from application.clock import utc_now
from application.jobs import Jobs
from application.ports import Clock
from application.use_cases import Ports
from domain.evaluation.judging.judge import Answer, Question
from domain.evaluation.metrics.metric import Metric
from entrypoints.composition import root
from entrypoints.composition.identity_provider import provider_problems
from entrypoints.observability.observer import Observer
from entrypoints.settings import Settings, read_settings
from entrypoints.worker import worker

ANNOUNCE_EVERY_S = 0.5


def fast_clock(epoch_s: float, speedup: int) -> Clock:
    epoch = datetime.fromtimestamp(epoch_s, UTC)

    def now() -> datetime:
        passed: timedelta = utc_now() - epoch
        return epoch + speedup * passed

    return now


@dataclass(frozen=True, slots=True)
class SlowJudge:
    """Answers FAIR after a while, and records the questions in a file."""

    answer_s: float
    file: Path | None = None
    fair: ScriptedJudge = field(default_factory=ScriptedJudge)

    def fingerprint(self, metric: Metric, model: str) -> str:
        return self.fair.fingerprint(metric, model)

    async def ask(self, question: Question) -> Answer:
        if self.file is not None:
            line = f"{question.metric.name}\t{question.evidence.task}\n".encode()
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, line)  # one write, so that lines of several processes don't mix
            os.close(descriptor)
        if self.answer_s:
            done = asyncio.Event()
            asyncio.get_running_loop().call_later(self.answer_s, done.set)
            await done.wait()
        answer = await self.fair.ask(question)
        self.fair.asked.clear()
        return answer


def main() -> int:
    epoch_s, speedup, answer_s, drain_s, *file = sys.argv[1:]
    judge = SlowJudge(float(answer_s), Path(file[0]) if file else None)
    clock = fast_clock(float(epoch_s), int(speedup))

    @asynccontextmanager
    async def fast_ports(
        settings: Settings, otherwise: Jobs, observer: Observer
    ) -> AsyncIterator[Ports]:
        async with root.ports(settings, otherwise, observer) as ports:
            yield replace(ports, clock=clock, evaluation=replace(ports.evaluation, judge=judge))

    settings = read_settings(os.environ, provider_problems)
    return worker.work(settings, fast_ports, ANNOUNCE_EVERY_S, float(drain_s))


if __name__ == "__main__":
    sys.exit(main())
