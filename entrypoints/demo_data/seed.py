"""`seed`: fills a project with synthetic traces as fast as they can be written.

The process that stores the traces generates them: receiving them from another would be slower.
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

from application.clock import utc_now
from application.tracing.ingest import IngestBatch
from application.use_cases import UseCases
from domain.errors import Failure, Invalid, Unavailable
from domain.identity.organization import Project, validate_name
from domain.ids import ProjectId
from domain.tracing.trace import Trace
from domain.wording import noun_of
from entrypoints import provisioning
from entrypoints.composition import root
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from entrypoints.progress import Progress
from entrypoints.settings import Settings
from entrypoints.startup import CommandError

BATCH_TRACES: Final = 64  # as many as the writer puts into one transaction
CONCURRENT_BATCHES: Final = 4  # two are written while two wait; 8 MB of traces
RETRIES_MAX: Final = 30  # per batch, one second apart; enough for a restart of the database
# A batch lives until its COMMIT, so that a garbage collection before it finds nothing.
GC_THRESHOLD: Final = 50_000
INTERRUPTED_STATUS: Final = 130


def this_hour() -> datetime:
    """The start of the current hour, so that repeated commands generate the same traces."""
    return utc_now().replace(minute=0, second=0, microsecond=0)


def run(settings: Settings, recipe: Recipe, *, organization: str | None, project: str) -> int:
    """Stores the traces of `recipe`. Returns 0, or 130 if it was stopped.

    Raises CommandError, NotFound for the organization, Unavailable.
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    return asyncio.run(_run(settings, recipe, organization, project))


async def _run(settings: Settings, recipe: Recipe, organization: str | None, project: str) -> int:
    try:
        name = validate_name(project, "--project")
    except Invalid as error:
        raise CommandError(f"--project {error.errors[0].message}") from error
    async with root.ports(settings) as ports:
        migrations = await ports.health_checks["migrations"].check()
        if not migrations.ok:
            raise CommandError(f"migrations: {migrations.detail}")
        identity = UseCases(ports).identity
        owner = await provisioning.resolve_organization(settings, identity, organization)
        new_project = Project(
            id=ProjectId(ports.new_id()), organization_id=owner, name=name, created_at=ports.clock()
        )
        use_cases = await UseCases(ports).for_organization(owner)
        stored_project = await use_cases.identity.projects.ensure(owner, new_project)
        seeder = Seeder(
            use_cases.tracing.ingest_batch,
            stored_project.id,
            batched(synthetic_traces(recipe), BATCH_TRACES),
            recipe.until,
            Progress(recipe.traces, sys.stderr),
        )
        _stop_on_signals(seeder.stopping)
        await seeder.run()
    return seeder.report(name)


@dataclass(slots=True)
class Seeder:
    """Stores batches concurrently until none is left, it is stopped, or one fails."""

    ingest: IngestBatch
    project: ProjectId
    batches: Iterator[Sequence[Trace]]
    until: datetime
    progress: Progress
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    spans: int = 0
    failure: Failure | None = None

    async def run(self) -> None:
        """Returns once every begun batch is stored or has failed."""
        with self.progress:
            await asyncio.gather(*(self._store_batches() for _ in range(CONCURRENT_BATCHES)))

    def report(self, project: str) -> int:
        """Prints the result and returns the exit status. Raises CommandError if a batch failed."""
        done, seconds = self.progress.done, self.progress.seconds
        total = self.progress.total or 0
        if self.failure is not None:
            raise CommandError(
                f"{self.failure.message} ({done:,} of {total:,} traces are stored). "
                f"{self._how_to_continue()}"
            ) from self.failure
        stopped = done < total
        sys.stdout.write(
            f"{f'stopped: {done:,} of {total:,}' if stopped else f'{done:,}'} "
            f"{noun_of(total if stopped else done, 'trace')} with {self.spans:,} "
            f"{noun_of(self.spans, 'span')} stored in project {project} in {seconds:.1f} s: "
            f"{done / seconds:,.0f} traces/s\n"
        )
        if stopped:
            sys.stdout.write(f"{self._how_to_continue()}\n")
        return INTERRUPTED_STATUS if stopped else 0

    def _how_to_continue(self) -> str:
        """Tells how to continue: the default end changes hourly, and all ids with it."""
        return f"To continue, run the same command with --until {self.until.isoformat()}"

    async def _store_batches(self) -> None:
        while not self.stopping.is_set() and (batch := next(self.batches, None)):
            try:
                stored = await self._store(batch)
            except Failure as failure:
                self.failure = self.failure or failure
                self.stopping.set()
                return
            if stored:
                self.spans += sum(len(trace.spans) for trace in batch)
                self.progress.advance(len(batch))

    async def _store(self, batch: Sequence[Trace]) -> bool:
        """Returns False if stopped while the database is unavailable."""
        for left in reversed(range(RETRIES_MAX + 1)):
            try:
                outcomes = await self.ingest(self.project, batch)
            except Unavailable as unavailable:
                if not left:
                    raise
                if await self._stopped_within(unavailable.retry_after_s):
                    break
            else:
                if failure := next(filter(None, outcomes), None):
                    raise failure
                return True
        return False

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.stopping.wait()
        except TimeoutError:
            return False


def _stop_on_signals(stopping: asyncio.Event) -> None:
    """The first signal stops gracefully, a second one immediately."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
