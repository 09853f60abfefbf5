"""`remap`: applies the current version of the mapping to stored OpenTelemetry fragments."""

import asyncio
import sys
from contextlib import aclosing
from uuid import UUID

from application.tracing.otlp.remap import RemapReport
from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.tracing.otel.remapping import FieldChange
from domain.wording import counted
from entrypoints.composition import root
from entrypoints.progress import Progress
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, print_line


def remap(settings: Settings, project: str | None, *, is_dry_run: bool) -> int:
    """Prints what changed. Raises CommandError, Unavailable."""
    report = asyncio.run(_remap(settings, _parse_project(project), is_dry_run=is_dry_run))
    verb = "would change" if is_dry_run else "changed"
    print_line(
        f"{counted(report.traces, 'OpenTelemetry trace')} read: "
        f"{counted(report.changed_spans, 'span')} of "
        f"{counted(report.changed_traces, 'trace')} {verb}"
    )
    if is_dry_run:
        for change in report.changes:
            print_line(_described(change))
    return 0


def _parse_project(text: str | None) -> ProjectId | None:
    try:
        return None if text is None else ProjectId(UUID(text))
    except ValueError:
        raise CommandError(f"--project: {text!r} is not the id of a project") from None


async def _remap(settings: Settings, project: ProjectId | None, *, is_dry_run: bool) -> RemapReport:
    progress = Progress(None, sys.stderr)
    before = last = RemapReport()

    def show(report: RemapReport) -> None:
        nonlocal last
        progress.advance(before.traces + report.traces - last.traces)
        last = before.plus(report)

    async with aclosing(root.remapping(settings)) as groups:
        with progress:
            try:
                async for remap_traces in groups:
                    report = await remap_traces(project, is_dry_run=is_dry_run, on_batch=show)
                    before = last = before.plus(report)
            except Unavailable as failure:
                raise CommandError(
                    f"{failure.message} ({counted(last.traces, 'trace is', 'traces are')} done; "
                    "run the same command to "
                    "continue: it passes over them)"
                ) from failure
    return before


def _described(change: FieldChange) -> str:
    return (
        f"trace {change.trace} span {change.span_id} {change.field}: "
        f"{_one_line(change.before)} -> {_one_line(change.after)}"
    )


def _one_line(text: str) -> str:
    """The text without control characters, which could change the terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
