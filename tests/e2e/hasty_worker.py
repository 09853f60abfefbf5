"""`worker` as it is, but for three things: how long it waits for others, its judge, its log of it.

    python -m tests.e2e.hasty_worker ANSWER_S [FILE] [OPTION …]

A lease lasts LEASE, a message counts as lost after UNHEARD. Models are asked of nobody: an answer
takes ANSWER_S, and FILE gets a line for each question, the metric and the task.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from adapters.memory.judge import ScriptedJudge
from application.jobs import Jobs
from application.use_cases import Ports
from domain.evaluation.answer import Answer, Question
from domain.evaluation.metric import Metric
from entrypoints import composition, worker
from entrypoints.identity_provider import provider_problems
from entrypoints.settings import Settings, read_settings

LEASE = timedelta(seconds=4)
UNHEARD = timedelta(seconds=2)
ANNOUNCE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class SlowJudge:
    """Fair, after a while; writes down what it is asked."""

    answer_s: float
    file: Path | None
    fair: ScriptedJudge

    def fingerprint(self, metric: Metric, model: str) -> str:
        return self.fair.fingerprint(metric, model)

    async def ask(self, question: Question) -> Answer:
        if self.file is not None:
            line = f"{question.metric.name}\t{question.evidence.task}\n".encode()
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, line)  # one write: whole, whoever else writes, whatever comes
            os.close(descriptor)
        await asyncio.sleep(self.answer_s)
        return await self.fair.ask(question)


def main() -> int:
    answer_s, file, *_ = [*sys.argv[1:], ""]
    judge = SlowJudge(float(answer_s), Path(file) if file else None, ScriptedJudge())

    @asynccontextmanager
    async def hasty_ports(settings: Settings, otherwise: Jobs) -> AsyncIterator[Ports]:
        async with composition.workers_ports(settings, otherwise) as ports:
            assignments = replace(ports.evaluation.assignments, lease=LEASE, unheard=UNHEARD)
            evaluation = replace(ports.evaluation, assignments=assignments, judge=judge)
            yield replace(ports, evaluation=evaluation)

    settings = read_settings(os.environ, provider_problems)
    return worker.work(settings, hasty_ports, ANNOUNCE_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
