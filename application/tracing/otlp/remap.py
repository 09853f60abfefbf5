"""Applying the current version of the mapping to what is stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from application.tracing.otlp.ports import (
    CHANGES_SHOWN_MAX,
    OtlpTraces,
    RemappedTraces,
)
from domain.ids import ProjectId
from domain.tracing.otel.remapping import FieldChange


@dataclass(frozen=True, slots=True, kw_only=True)
class RemapReport:
    """The changes, made or only found: counts of traces and spans, and the first changed fields."""

    traces: int = 0
    changed_traces: int = 0
    changed_spans: int = 0
    changes: Sequence[FieldChange] = ()

    def plus(self, more: "RemapReport | RemappedTraces") -> "RemapReport":
        return RemapReport(
            traces=self.traces + more.traces,
            changed_traces=self.changed_traces + more.changed_traces,
            changed_spans=self.changed_spans + more.changed_spans,
            changes=(*self.changes, *more.changes)[:CHANGES_SHOWN_MAX],
        )


@dataclass(frozen=True, slots=True)
class RemapTraces:
    """Maps the stored fragments again of spans that an earlier version of the mapping mapped.

    Each batch is a transaction, and a stopped run leaves the others: the next run passes over the
    spans that are done.
    """

    traces: OtlpTraces

    async def __call__(
        self,
        project: ProjectId | None,
        *,
        is_dry_run: bool,
        on_batch: Callable[[RemapReport], None] = lambda _: None,
    ) -> RemapReport:
        """Remaps one project, or all. Calls `on_batch` with the report so far.

        Raises Unavailable; earlier batches stay changed.
        """
        report, after = RemapReport(), None
        while True:
            batch = await self.traces.remap(project, after, is_dry_run=is_dry_run)
            if batch.last is None:
                return report
            report, after = report.plus(batch), batch.last
            on_batch(report)
