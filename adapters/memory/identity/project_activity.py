"""Reads what happened in several projects lately, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.memory.store import MemoryStore
from domain.evaluation.alerts.alert import AlertState
from domain.ids import ProjectId
from domain.tracing.analytics import Granularity, Period, trace_buckets, usage_buckets
from domain.tracing.project_activity import HourActivity, ProjectActivity, project_activity
from domain.tracing.usage import exact_sum


@dataclass(frozen=True, slots=True)
class MemoryProjectActivities:
    store: MemoryStore

    async def read(
        self, projects: Sequence[ProjectId], period: Period
    ) -> Mapping[ProjectId, ProjectActivity]:
        return {one: self._activity(one, period) for one in projects}

    def _activity(self, project: ProjectId, period: Period) -> ProjectActivity:
        traces = self.store.traces.in_project(project)
        spans = [span for one in traces for span in one.spans]
        usage = usage_buckets(spans, period, Granularity.WEEK)
        return project_activity(
            period,
            [
                HourActivity(
                    hour=one.bucket, trace_count=one.trace_count, error_count=one.error_count
                )
                for one in trace_buckets(traces, period, Granularity.HOUR)
            ],
            cost=exact_sum(one.cost for one in usage),
            unpriced_span_count=sum(one.unpriced for one in usage),
            last_trace_at=max(
                (one.started_at for one in self.store.visible_traces(project)), default=None
            ),
            alerting_count=sum(
                one.watch.state is AlertState.ALERTING
                for one in self.store.alerts.in_project(project)
            ),
        )
