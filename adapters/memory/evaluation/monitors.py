"""Monitors, the change feed and leader election in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from adapters.memory.evaluation.eligible_traces import (
    settled_from,
    traces_with_content,
    unsettled_traces,
)
from adapters.memory.evaluation.runs import MemoryRuns, list_position
from adapters.memory.store import MemoryStore, newest_page
from application.evaluation.ports.monitors import DUE_MAX
from domain.evaluation.monitors.monitor import (
    SETTLE_DELAY,
    Monitor,
    MonitorStatus,
    Selection,
    Watermark,
)
from domain.evaluation.runs.run import EvalRun, RunProgress, Target, WorkItem
from domain.evaluation.runs.selection import (
    SETTLED,
    Eligibility,
    Sample,
    TraceSelection,
    select_sessions,
)
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId
from domain.page import Page, PageRequest, SortOrder, paginate
from domain.tracing.otel.otlp_state import QUIET_DEFAULT
from domain.tracing.trace import Trace

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class MemoryMonitors:
    store: MemoryStore

    async def create(self, monitor: Monitor, *, audit: AuditEntry | None = None) -> Monitor:
        self.store.check_exists(monitor.project_id)
        key = (monitor.project_id, monitor.id)
        self.store.record(None if key in self.store.monitors else audit)
        return self.store.monitors.setdefault(key, monitor)

    async def get(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        return self.store.monitors.require(project, monitor)

    async def page(
        self, project: ProjectId, status: MonitorStatus | None, window: PageRequest
    ) -> Page[Monitor]:
        ours = self.store.monitors.in_project(project)
        return newest_page([one for one in ours if status in {None, one.status}], window)

    async def edit(
        self,
        project: ProjectId,
        monitor: MonitorId,
        edit: Callable[[Monitor], Monitor],
        *,
        audit: AuditEntry | None = None,
    ) -> Monitor:
        known = await self.get(project, monitor)
        edited = edit(known)
        self.store.record(None if edited == known else audit)
        self.store.monitors[project, monitor] = edited
        return edited

    async def delete(
        self, project: ProjectId, monitor: MonitorId, *, audit: AuditEntry | None = None
    ) -> bool:
        if self.store.monitors.find(project, monitor) is None:
            return False
        for stored in self.store.runs_of(project):
            if stored.run.monitor_id == monitor:
                free = replace(stored, run=replace(stored.run, monitor_id=None))
                self.store.runs[project, stored.run.id] = free
        for alert in self.store.alerts_of(project, monitor):
            self.store.delete_alert(project, alert.id)
        del self.store.monitors[project, monitor]
        self.store.record(audit)
        return True

    async def runs(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[RunProgress]:
        await self.get(project, monitor)
        runs = MemoryRuns(self.store)
        found = [
            await runs.get(project, one.run.id)
            for one in self.store.runs_of(project)
            if one.run.monitor_id == monitor
        ]
        return paginate(found, list_position, SortOrder.DESC, window)

    async def list_due(self, now: datetime, after: Monitor | None = None) -> Sequence[Monitor]:
        due = [one for _, one in self.store.monitors.live() if one.is_due(now)]
        left = [one for one in due if after is None or _list_order(one) > _list_order(after)]
        return sorted(left, key=_list_order)[:DUE_MAX]

    async def store_run(
        self, before: Monitor, after: Monitor, run: EvalRun | None, work: Sequence[WorkItem]
    ) -> bool:
        project = before.project_id
        if self.store.monitors.find(project, before.id) != before:
            return False
        if run is not None:
            if self.store.runs.find(project, run.id) is not None:
                return False
            await MemoryRuns(self.store).create(run, work)
        self.store.monitors[project, before.id] = after
        return True


@dataclass(frozen=True, slots=True)
class MemoryChangeFeed:
    store: MemoryStore
    settling: timedelta = SETTLE_DELAY
    quiet: timedelta = QUIET_DEFAULT

    async def readable_until(self) -> Watermark:
        last = UUID(int=2**128 - 1)
        return Watermark(self.store.traces.clock() - self.settling - _MICROSECOND, last)

    async def targets(
        self,
        project: ProjectId,
        selection: Selection,
        after: Watermark | None,
        upto: Watermark,
        most: int,
        *,
        eligibility: Eligibility = SETTLED,
        sample: Sample | None = None,
    ) -> Sequence[Target]:
        traces, quiet = traces_with_content(self.store, project, eligibility), self.quiet
        unsettled: set[str | None] = set()
        if eligibility.settled_only:
            waiting = unsettled_traces(self.store, project, upto.written_at, quiet)
            unsettled = {one.session_id for one in waiting}

        def is_meant(trace: Trace) -> bool:
            changed_at: datetime | None = self.store.traces.written_at[project, trace.id]
            if eligibility.settled_only:
                changed_at = settled_from(self.store, project, trace, quiet)
            if changed_at is None:
                return False
            mark = Watermark(changed_at, trace.id)
            return mark <= upto and (after is None or mark > after)

        changed = [one for one in traces if is_meant(one)]
        if isinstance(selection, TraceSelection):
            matching = {one.id for one in self.store.matching_traces(project, selection.matching)}
            found = sorted(str(one.id) for one in changed if one.id in matching)
        else:
            sessions = {one.session_id for one in changed} - unsettled
            found = [one for one in select_sessions(traces, selection) if one in sessions]
        return (sample.select(found) if sample else found)[: most + 1]


@dataclass(slots=True)
class Election:
    """The leader among several schedulers of one process."""

    leader: "MemoryLeaderElection | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class MemoryLeaderElection:
    """Competes with the others of `election`; leads until it closes."""

    election: Election = field(default_factory=Election)

    async def is_leader(self) -> bool:
        if self.election.leader is None:
            self.election.leader = self
        return self.election.leader is self

    async def close(self) -> None:
        if self.election.leader is self:
            self.election.leader = None


def _list_order(monitor: Monitor) -> tuple[datetime, ProjectId, MonitorId]:
    assert monitor.next_run_at is not None
    return monitor.next_run_at, monitor.project_id, monitor.id
