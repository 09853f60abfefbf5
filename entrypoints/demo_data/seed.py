"""`seed`: fills a project with synthetic traces, as fast as they can be written.

They are made in the process that stores them: fetching them from another takes longer than that.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched
from typing import Final

from application.tracing.ingest import IngestBatch
from application.use_cases import Ports, UseCases, utc_now
from domain.errors import Failure, Invalid, Unavailable
from domain.identity.organization import Project, validate_name
from domain.ids import ProjectId
from domain.tracing.trace import Trace
from entrypoints import provisioning
from entrypoints.composition import root
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from entrypoints.progress import Progress
from entrypoints.settings import Settings
from entrypoints.startup import CommandError

BATCH: Final = 64  # traces: what the writer puts into one transaction
BATCHES_AT_ONCE: Final = 4  # two are written while two wait for their turn; 8 MB of traces
RETRIES_MAX: Final = 30  # of one batch, a second apart: a database restarts within it
# What a batch is made of lives until its COMMIT: looking for garbage in the midst of it is in vain.
GC_AFTER: Final = 50_000
INTERRUPTED: Final = 130


def this_hour() -> datetime:
    """When the present hour began: the same for all who ask within it."""
    return utc_now().replace(minute=0, second=0, microsecond=0)


def run(settings: Settings, recipe: Recipe, *, organization: str | None, project: str) -> int:
    """Stores the traces of `recipe`. 0, or 130 where it was stopped.

    Raises CommandError, NotFound where the organization is gone, Unavailable.
    """
    gc.freeze()
    gc.set_threshold(GC_AFTER, 20, 20)
    return asyncio.run(_run(settings, recipe, organization, project))


async def _run(settings: Settings, recipe: Recipe, organization: str | None, project: str) -> int:
    name = _project_name(project)
    async with root.ports(settings) as ports:
        migrations = await ports.health_checks["migrations"].check()
        if not migrations.ok:
            raise CommandError(f"migrations: {migrations.detail}")
        owner = await provisioning.owner(settings, ports, organization)
        wanted = Project(
            id=ProjectId(ports.new_id()),
            organization_id=owner,
            name=name,
            created_at=ports.clock(),
        )
        found = await ports.projects.ensure(owner, wanted)
        seeding = seeding_of(ports, found.id, recipe)
        _stop_on_signals(seeding.stopping)
        await seeding.run()
    return seeding.told(name)


def seeding_of(ports: Ports, project: ProjectId, recipe: Recipe) -> "Seeding":
    return Seeding(
        UseCases.over(ports).tracing.ingest_batch,
        project,
        batched(synthetic_traces(recipe), BATCH),
        Progress(recipe.traces, sys.stderr),
    )


@dataclass(slots=True)
class Seeding:
    """Some batches under way at once, until there are no more, or it is stopped, or one fails."""

    ingest: IngestBatch
    project: ProjectId
    batches: Iterator[Sequence[Trace]]
    progress: Progress
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    spans: int = 0
    failure: Failure | None = None

    async def run(self) -> None:
        """Returns once everything that was begun is stored or has failed."""
        with self.progress:
            await asyncio.gather(*(self._feed() for _ in range(BATCHES_AT_ONCE)))

    def told(self, project: str) -> int:
        """Says what was done; the exit status. Raises CommandError where a batch failed."""
        done, seconds = self.progress.done, self.progress.seconds
        total = self.progress.total or 0
        if self.failure is not None:
            raise CommandError(
                f"{self.failure.message} ({done:,} of {total:,} traces are stored; "
                "the same command goes on: what is there already is merged)"
            ) from self.failure
        stopped = done < total
        sys.stdout.write(
            f"{f'stopped: {done:,} of {total:,}' if stopped else f'{done:,}'} "
            f"traces with {self.spans:,} spans stored in project {project} in {seconds:.1f} s: "
            f"{done / seconds:,.0f} traces/s\n"
        )
        return INTERRUPTED if stopped else 0

    async def _feed(self) -> None:
        while not self.stopping.is_set() and (batch := next(self.batches, None)):
            try:
                stored = await self._put(batch)
            except Failure as failure:
                self.failure = self.failure or failure
                self.stopping.set()
                return
            if stored:
                self.spans += sum(len(trace.spans) for trace in batch)
                self.progress.advance(len(batch))

    async def _put(self, batch: Sequence[Trace]) -> bool:
        """Whether it is stored: not where it was stopped while the database was away."""
        for left in reversed(range(RETRIES_MAX + 1)):
            try:
                outcomes = await self.ingest(self.project, batch)
            except Unavailable as away:
                if not left:
                    raise
                if await self._stopped_within(away.retry_after_s):
                    break
            else:
                if refused := next(filter(None, outcomes), None):
                    raise refused
                return True
        return False

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.stopping.wait()
        except TimeoutError:
            return False


def _project_name(text: str) -> str:
    try:
        return validate_name(text, "--project")
    except Invalid as error:
        raise CommandError(f"--project {error.errors[0].message}") from error


def _stop_on_signals(stopping: asyncio.Event) -> None:
    """The first signal ends it in order, a second one at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
