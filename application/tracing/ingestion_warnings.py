"""Warnings about the spans that a project receives."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports import Clock
from application.tracing.ports import TraceAnalytics
from domain.ids import ProjectId
from domain.tracing.analytics import Period
from domain.tracing.otel.ingestion_warnings import (
    LOOK_BACK,
    IngestionWarning,
    ingestion_warnings,
)


@dataclass(frozen=True, slots=True)
class ReadIngestionWarnings:
    """Reads stored spans, so that ingestion has to remember nothing."""

    analytics: TraceAnalytics
    clock: Clock

    async def __call__(self, project: ProjectId) -> Sequence[IngestionWarning]:
        """Raises Unavailable."""
        now = self.clock()
        recent = Period(now - LOOK_BACK, now + LOOK_BACK)  # clocks of clients may be ahead
        mixed = await self.analytics.are_sources_mixed(project, recent)
        return ingestion_warnings(are_sources_mixed=mixed)
