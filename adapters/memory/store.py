"""The database in memory: dicts of frozen values by their primary keys."""

from collections import defaultdict
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from adapters.memory.stored_work import StoredRun, StoredTarget
from application.evaluation.ports.judging import Verdict
from application.ports import IdempotencyLock, StoredResponse
from domain.evaluation.costs.judge_costs import LedgerEntry
from domain.evaluation.custom_metrics.custom_metric import CustomMetric, Revision
from domain.evaluation.monitors.alert import Alert, AlertChange
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.monitors.webhook import Delivery, Webhook
from domain.evaluation.runs.run import Target
from domain.evaluation.scores.score import Score, SessionScore, TraceScore
from domain.exporting.export import Export
from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry, Origin
from domain.identity.invitation import Invitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import Membership, Organization, Project
from domain.identity.user import User
from domain.ids import (
    ApiKeyId,
    AuditEntryId,
    ErasureId,
    InvitationId,
    MonitorId,
    OrganizationId,
    ProjectId,
    RunId,
    ScoreId,
    TraceId,
    UserId,
)
from domain.tracing.erasure import DataSubject, DataSubjectKind, Erasure, data_subjects_of
from domain.tracing.model_price import ModelPrice, newest_first
from domain.tracing.repricing import Repricing
from domain.tracing.trace import Trace


@dataclass(frozen=True, slots=True)
class KnownAttempt:
    """A write that may be sent again: who has its lock, and its response once there is one."""

    request_hash: bytes
    lock: IdempotencyLock
    response: StoredResponse | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A verdict on a trace, and when it was stored."""

    trace: TraceId
    verdict: Verdict
    at: datetime


class TimestampedDict[K, V](dict[K, V]):
    """A dict that records when each key was inserted, and when its value last changed."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.made_at: dict[K, datetime] = {}
        self.written_at: dict[K, datetime] = {}

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self.made_at[key] = self.clock()
        if key not in self or self[key] != value:
            self.written_at[key] = self.clock()
        super().__setitem__(key, value)


@dataclass(slots=True)
class MemoryStore:
    """For one process and one event loop: adapters never await in the middle of a change."""

    traces: TimestampedDict[tuple[ProjectId, TraceId], Trace] = field(
        default_factory=TimestampedDict
    )
    organizations: dict[OrganizationId, Organization] = field(default_factory=dict)
    projects: dict[ProjectId, Project] = field(default_factory=dict)
    memberships: dict[tuple[OrganizationId, UserId], Membership] = field(default_factory=dict)
    users: dict[UserId, User] = field(default_factory=dict)
    keys: dict[ApiKeyId, ApiKey] = field(default_factory=dict)
    origins: dict[ApiKeyId, set[Origin]] = field(default_factory=lambda: defaultdict(set))
    invitations: dict[InvitationId, Invitation] = field(default_factory=dict)
    login_codes: dict[bytes, LoginCode] = field(default_factory=dict)
    audit_log: dict[AuditEntryId, AuditEntry] = field(default_factory=dict)
    removed: dict[ProjectId, datetime] = field(default_factory=dict)
    trace_scores: dict[tuple[ProjectId, ScoreId], TraceScore] = field(default_factory=dict)
    session_scores: dict[tuple[ProjectId, ScoreId], SessionScore] = field(default_factory=dict)
    # The run that wrote a score, also after the run was deleted.
    written_by: dict[tuple[ProjectId, ScoreId], RunId] = field(default_factory=dict)
    runs: dict[tuple[ProjectId, RunId], StoredRun] = field(default_factory=dict)
    work_queue: dict[tuple[ProjectId, RunId, Target], StoredTarget] = field(default_factory=dict)
    monitors: dict[tuple[ProjectId, MonitorId], Monitor] = field(default_factory=dict)
    assessed: dict[tuple[ProjectId, RunId], datetime] = field(default_factory=dict)
    alerts: dict[tuple[ProjectId, UUID], Alert] = field(default_factory=dict)
    alert_changes: dict[tuple[ProjectId, UUID], AlertChange] = field(default_factory=dict)
    alert_slots: dict[tuple[ProjectId, UUID], datetime | None] = field(default_factory=dict)
    webhooks: dict[tuple[ProjectId, UUID], Webhook] = field(default_factory=dict)
    deliveries: dict[tuple[ProjectId, UUID], Delivery] = field(default_factory=dict)
    deliveries_held: dict[tuple[ProjectId, UUID], datetime] = field(default_factory=dict)
    exports: dict[tuple[ProjectId, UUID], Export] = field(default_factory=dict)
    export_pieces: dict[tuple[ProjectId, UUID], tuple[bytes, ...]] = field(default_factory=dict)
    custom_metrics: dict[tuple[ProjectId, str], CustomMetric] = field(default_factory=dict)
    revisions: dict[tuple[ProjectId, str, int], Revision] = field(default_factory=dict)
    verdicts: dict[tuple[ProjectId, bytes], StoredVerdict] = field(default_factory=dict)
    ledger: dict[tuple[ProjectId, UUID], LedgerEntry] = field(default_factory=dict)
    budgets: dict[ProjectId, Decimal] = field(default_factory=dict)
    spending: dict[tuple[ProjectId, str], Decimal] = field(default_factory=dict)
    erasures: dict[tuple[ProjectId, ErasureId], Erasure] = field(default_factory=dict)
    erasing: dict[tuple[ProjectId, ErasureId], DataSubject] = field(default_factory=dict)
    # The erasure that deleted a trace, and when.
    erased: dict[tuple[ProjectId, TraceId], tuple[ErasureId, datetime]] = field(
        default_factory=dict
    )
    replies: dict[tuple[ProjectId, str, str], KnownAttempt] = field(default_factory=dict)
    model_prices: dict[tuple[ProjectId, UUID], ModelPrice] = field(default_factory=dict)
    repricings: dict[tuple[ProjectId, UUID], Repricing] = field(default_factory=dict)
    repricings_held: dict[tuple[ProjectId, UUID], datetime] = field(default_factory=dict)

    def traces_of(self, project: ProjectId) -> list[Trace]:
        """Empty if the project was removed, although its rows may exist for a while."""
        if project in self.removed:
            return []
        return [trace for (of, _), trace in self.traces.items() if of == project]

    def visible_traces(self, project: ProjectId) -> list[Trace]:
        """The traces that are not hidden by an erasure."""
        users = self.hidden_users(project)
        sessions = self._erasing(project, DataSubjectKind.SESSION)
        return [
            one
            for one in self.traces_of(project)
            if one.user_id not in users and one.session_id not in sessions
        ]

    def hidden_sessions(self, project: ProjectId) -> set[str | None]:
        """Sessions that are being erased, or that lose a trace to an erasure."""
        users = self.hidden_users(project)
        losing = {one.session_id for one in self.traces_of(project) if one.user_id in users}
        return (self._erasing(project, DataSubjectKind.SESSION) | losing) - {None}

    def hidden_users(self, project: ProjectId) -> set[str | None]:
        """Users that are being erased."""
        return self._erasing(project, DataSubjectKind.USER)

    def _erasing(self, project: ProjectId, kind: DataSubjectKind) -> set[str | None]:
        open_ = [owner for (of, _), owner in self.erasing.items() if of == project]
        return {one.id for one in open_ if one.kind is kind}

    def leaves_erased_subject(self, project: ProjectId, before: Trace, after: Trace) -> bool:
        """Whether a change moves a trace away from a user or session under erasure."""
        lost = data_subjects_of(before) - data_subjects_of(after)
        return any(of == project and owner in lost for (of, _), owner in self.erasing.items())

    def delete_trace(self, project: ProjectId, trace: TraceId) -> None:
        """Deletes an existing trace with its scores and verdicts."""
        del self.traces[project, trace]
        for key, kept in [*self.verdicts.items()]:
            if key[0] == project and kept.trace == trace:
                del self.verdicts[key]
        for score in self.trace_scores_of(project):
            if score.trace_id == trace:
                del self.trace_scores[project, score.id]

    def sessions_of(self, project: ProjectId) -> set[str | None]:
        return {trace.session_id for trace in self.traces_of(project)}

    def delete_session_scores(self, project: ProjectId, sessions: Container[str | None]) -> int:
        """Deletes all scores of the sessions and returns how many."""
        gone = [one for one in self.session_scores_of(project) if one.session_id in sessions]
        for score in gone:
            del self.session_scores[project, score.id]
        return len(gone)

    def trace_scores_of(self, project: ProjectId) -> list[TraceScore]:
        if project in self.removed:
            return []
        return [score for (of, _), score in self.trace_scores.items() if of == project]

    def session_scores_of(self, project: ProjectId) -> list[SessionScore]:
        if project in self.removed:
            return []
        return [score for (of, _), score in self.session_scores.items() if of == project]

    def visible_trace_scores(self, project: ProjectId) -> list[TraceScore]:
        hidden = {one.id for one in self.traces_of(project)}
        hidden -= {one.id for one in self.visible_traces(project)}
        return [one for one in self.trace_scores_of(project) if one.trace_id not in hidden]

    def visible_session_scores(self, project: ProjectId) -> list[SessionScore]:
        hidden = self.hidden_sessions(project)
        return [one for one in self.session_scores_of(project) if one.session_id not in hidden]

    def scores_of_run(self, project: ProjectId, run: RunId) -> list[Score]:
        """The scores of a run, of traces and sessions."""
        known = [*self.trace_scores_of(project), *self.session_scores_of(project)]
        return [score for score in known if score.run_id == run]

    def score_of(self, project: ProjectId, score: ScoreId) -> Score | None:
        if project in self.removed:
            return None
        key = (project, score)
        return self.trace_scores.get(key) or self.session_scores.get(key)

    def put_score(self, score: Score) -> None:
        if score.run_id is not None:
            self.written_by[score.project_id, score.id] = score.run_id
        if isinstance(score, TraceScore):
            self.trace_scores[score.project_id, score.id] = score
        elif isinstance(score, SessionScore):
            self.session_scores[score.project_id, score.id] = score

    def runs_of(self, project: ProjectId) -> list[StoredRun]:
        """Ordered by creation."""
        if project in self.removed:
            return []
        ours = [stored for (of, _), stored in self.runs.items() if of == project]
        return sorted(ours, key=lambda one: (one.run.created_at, one.run.id))

    def run_of(self, project: ProjectId, run: RunId) -> StoredRun | None:
        return None if project in self.removed else self.runs.get((project, run))

    def work_of(self, project: ProjectId, run: RunId) -> list[StoredTarget]:
        """In the order in which they are queued."""
        keys = [key for key in self.work_queue if key[:2] == (project, run)]
        ours = [self.work_queue[key] for key in keys if project not in self.removed]
        return sorted(ours, key=lambda one: one.place)

    def monitor_of(self, project: ProjectId, monitor: MonitorId) -> Monitor | None:
        return None if project in self.removed else self.monitors.get((project, monitor))

    def alerts_of(self, project: ProjectId, monitor: MonitorId) -> list[Alert]:
        """Ordered by creation."""
        if project in self.removed:
            return []
        ours = [one for (of, _), one in self.alerts.items() if of == project]
        found = [one for one in ours if one.monitor_id == monitor]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def delete_alert(self, project: ProjectId, alert: UUID) -> None:
        """Deletes an existing alert with its changes."""
        del self.alerts[project, alert]
        self.alert_slots.pop((project, alert), None)
        for key, change in [*self.alert_changes.items()]:
            if key[0] == project and change.alert_id == alert:
                del self.alert_changes[key]

    def model_prices_of(self, project: ProjectId) -> list[ModelPrice]:
        """In the order in which they are matched."""
        if project in self.removed:
            return []
        return newest_first([one for (of, _), one in self.model_prices.items() if of == project])

    def webhook_of(self, project: ProjectId, webhook: UUID) -> Webhook | None:
        return None if project in self.removed else self.webhooks.get((project, webhook))
