"""Comparing two groups of traces."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from application.evaluation.ports.experiments import TraceGroups
from domain.evaluation.experiments.trace_groups import GroupComparison
from domain.ids import ProjectId
from domain.tracing.query import TraceFilter


@dataclass(frozen=True, slots=True)
class CompareTraceGroups:
    """Both groups are read at the same time, each from a snapshot of its own."""

    groups: TraceGroups

    async def __call__(
        self, project: ProjectId, a: TraceFilter, b: TraceFilter, metrics: Sequence[str] = ()
    ) -> GroupComparison:
        """Raises Invalid, Unavailable."""
        found = await asyncio.gather(
            *(self.groups.figures(project, matching, metrics) for matching in (a, b))
        )
        return GroupComparison.from_groups(*found)
