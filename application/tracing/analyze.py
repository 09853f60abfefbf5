"""Figures of traces and of their usage, over time and by groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from application.tracing.ports import TraceAnalytics
from domain.errors import Invalid
from domain.ids import ProjectId
from domain.tracing.analytics import ModelUsage, TraceBucket, UsageBucket, bucket_edges
from domain.tracing.query import ALL_TRACES
from domain.tracing.trace_breakdown import (
    FigureGroup,
    TraceAnalyticsQuery,
    TraceGroupKey,
    UsageGroup,
    filled,
    no_traces,
    no_usage,
    usage_groups,
)


@dataclass(frozen=True, slots=True)
class AnalyzeTraces:
    """Reads roll-ups where they have the figures, else the traces that match.

    Roll-ups have the figures of all traces, and the usage of spans by model. All raise Unavailable,
    and Invalid as TraceAnalytics.
    """

    analytics: TraceAnalytics

    async def volume(self, project: ProjectId, query: TraceAnalyticsQuery) -> Sequence[TraceBucket]:
        """The buckets of all groups together."""
        if query.matching == ALL_TRACES:
            found = await self.analytics.volume(
                project, query.period, query.granularity, query.zone
            )
        else:
            groups = await self.analytics.groups(project, replace(query, by=None))
            found = [one.traces for group in groups for one in group.buckets]
        return _shown(query, found)

    async def volume_groups(
        self, project: ProjectId, query: TraceAnalyticsQuery
    ) -> Sequence[FigureGroup[TraceBucket]]:
        if query.by is TraceGroupKey.MODEL:
            raise Invalid.semantic(
                "query.by",
                "`model` groups spans: ask for the metric cost or tokens, or for GET "
                "/analytics/spans with group_by=model",
            )
        groups = await self.analytics.groups(project, query)
        return [
            FigureGroup(
                kind=one.kind,
                key=one.key,
                count=one.count,
                total=one.total.traces,
                buckets=_shown(query, [cell.traces for cell in one.buckets]),
            )
            for one in groups
        ]

    async def usage(self, project: ProjectId, query: TraceAnalyticsQuery) -> Sequence[UsageBucket]:
        """The buckets of all groups together."""
        if query.matching == ALL_TRACES:
            found = await self.analytics.usage(project, query.period, query.granularity, query.zone)
        else:
            groups = await self.analytics.groups(project, replace(query, by=None))
            found = [one.usage for group in groups for one in group.buckets]
        return _shown_usage(query, found)

    async def usage_groups(
        self, project: ProjectId, query: TraceAnalyticsQuery
    ) -> Sequence[UsageGroup]:
        if query.by is TraceGroupKey.MODEL:
            _check_unfiltered(query)
            by_model = await self.analytics.model_usage(
                project, query.period, query.granularity, query.zone
            )
            groups = usage_groups(by_model, query)
            return [replace(one, buckets=_shown_usage(query, one.buckets)) for one in groups]
        return [
            FigureGroup(
                kind=one.kind,
                key=one.key,
                count=one.count,
                total=one.total.usage,
                buckets=_shown_usage(query, [cell.usage for cell in one.buckets]),
            )
            for one in await self.analytics.groups(project, query)
        ]

    async def models(self, project: ProjectId, query: TraceAnalyticsQuery) -> Sequence[ModelUsage]:
        if query.by is not None:
            raise Invalid.semantic(
                "query.by",
                "the metric models is not grouped: leave it out, or ask for the metric cost or "
                "tokens with by=model",
            )
        _check_unfiltered(query)
        return await self.analytics.models(project, query.period)


def _check_unfiltered(query: TraceAnalyticsQuery) -> None:
    if query.matching != ALL_TRACES:
        raise Invalid.semantic(
            "query.by" if query.by else "query.metric",
            "figures by model are those of all traces: leave out the filters, or ask for GET "
            "/analytics/spans with group_by=model",
        )


def _starts(query: TraceAnalyticsQuery) -> Sequence[datetime]:
    return bucket_edges(query.period, query.granularity, query.zone)[:-1]


def _shown(query: TraceAnalyticsQuery, buckets: Sequence[TraceBucket]) -> Sequence[TraceBucket]:
    return filled(buckets, _starts(query), no_traces) if query.fill else buckets


def _shown_usage(
    query: TraceAnalyticsQuery, buckets: Sequence[UsageBucket]
) -> Sequence[UsageBucket]:
    return filled(buckets, _starts(query), no_usage) if query.fill else buckets
