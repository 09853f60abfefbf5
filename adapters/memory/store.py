"""The database in memory: tables of frozen values by their primary keys."""

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from application.evaluation.ports.judging import Verdict
from application.evaluation.ports.sent_evaluations import WaitingEvaluation
from application.ports import IdempotencyLock, StoredResponse
from domain import ids
from domain.errors import NotFound, Unavailable
from domain.evaluation.agreement.claims import QueueClaim
from domain.evaluation.alerts.alert import Alert, AlertChange
from domain.evaluation.alerts.webhook import Delivery, Webhook
from domain.evaluation.costs.judge_costs import LedgerEntry
from domain.evaluation.custom_metrics.custom_metric import CustomMetric, Revision
from domain.evaluation.datasets.dataset import Dataset, DatasetItem, Version
from domain.evaluation.experiments.experiment import Case, Experiment
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.runs.run import EvalRun, Tally, Target, WorkItem
from domain.evaluation.scores.score import Score, SessionScore, TraceScore, latest_by_name
from domain.exports.export import Export
from domain.exports.ticket import DownloadTicket
from domain.identity.api_key import ApiKey
from domain.identity.audit import EMPTY_CHAIN, AuditEntry, ChainHead, chain_hash
from domain.identity.browser_session import BrowserSession
from domain.identity.caller import User
from domain.identity.invitation import Invitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import Membership, Organization, OrganizationLimits, Project
from domain.identity.sign_in_attempt import SignInAttempt
from domain.page import Page, PageRequest, Position, SortOrder, paginate
from domain.pricing.model_price import ModelPrice
from domain.pricing.repricing import Repricing
from domain.privacy.erasure import DataSubject, DataSubjectKind, Erasure, data_subjects_of
from domain.sharing.trace_link import TraceLink
from domain.tracing.otel.facts import SpanFacts
from domain.tracing.otel.fragments import Sent
from domain.tracing.otel.native_fields import edited_facts
from domain.tracing.otel.otlp_state import OtlpState
from domain.tracing.otel.requests import RecordedRejection
from domain.tracing.query import ScoreCondition, TraceFilter
from domain.tracing.trace import Trace


class WorkState(StrEnum):
    UNPLANNED = "unplanned"
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"

    @property
    def is_in_flight(self) -> bool:
        return self in {WorkState.QUEUED, WorkState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """`final` is the tally of a finished run; of a running one it is counted."""

    run: EvalRun
    announced_at: datetime
    final: Tally | None = None

    @property
    def key(self) -> tuple[ids.ProjectId, ids.RunId]:
        return self.run.project_id, self.run.id


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTarget:
    """One target of a run.

    `due_at`, set in flight only, is when the target has to be announced again. `came_to` is the
    tally of a finished target.
    """

    assignment: WorkItem
    place: int
    state: WorkState = WorkState.UNPLANNED
    attempts: int = 0
    run_after: datetime
    due_at: datetime | None = None
    last_code: str | None = None
    came_to: Tally | None = None

    @property
    def claimable_from(self) -> datetime | None:
        """When a worker may claim it: while it is queued, or once its lease has ended."""
        if self.state is WorkState.QUEUED:
            return self.run_after
        return self.due_at if self.state is WorkState.RUNNING else None

    def is_claimable(self, now: datetime) -> bool:
        if self.state is WorkState.QUEUED and not self.attempts:  # maybe by a clock that is ahead
            return True
        return self.claimable_from is not None and self.claimable_from <= now


@dataclass(frozen=True, slots=True)
class KnownAttempt:
    """A write that may be sent again: who has its lock, and its response once there is one."""

    request_hash: bytes
    lock: IdempotencyLock
    response: StoredResponse | None
    expires_at: datetime
    begun_at: datetime
    target: str | None = None
    has_text: bool = True
    is_erased: bool = False

    def erased(self) -> "KnownAttempt":
        """The record without its response; its lock, if any, has expired: a retry takes it."""
        lock = self.lock
        if self.response is not None:
            lock = replace(lock, locked_until=datetime.min.replace(tzinfo=UTC))
        return replace(self, lock=lock, response=None, target=None, is_erased=True)


@dataclass(frozen=True, slots=True)
class StoredFragment:
    """An OpenTelemetry fragment. `is_waiting` if it is a record whose span isn't known."""

    sent: Sent
    stored_at: datetime
    is_waiting: bool


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """An evaluation that waits, and since when."""

    waiting: WaitingEvaluation
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class OtlpTrace:
    """The stored state of a trace with OpenTelemetry spans, beyond its row.

    `facts` are by span; `assigned` are the spans that take records which name others.
    """

    state: OtlpState
    facts: Mapping[ids.SpanId, SpanFacts]
    assigned: Mapping[bytes, tuple[ids.SpanId, ...]]


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A verdict on a trace, and when it was stored."""

    trace: ids.TraceId
    verdict: Verdict
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredSpending:
    """The amounts that a budget has spent or reserved, and since when it is counted."""

    usd: Decimal
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """An item of a dataset from the version `valid_from` on, without the version `valid_to`.

    `user` and `session` are those of the trace that it was copied from, at that time; if it had
    none, those that it had when it was deleted.
    """

    item: DatasetItem
    digest: bytes
    valid_from: int
    valid_to: int | None = None
    user: str | None = None
    session: str | None = None
    created_at: datetime

    def is_in(self, version: int) -> bool:
        return self.valid_from <= version and (self.valid_to is None or version < self.valid_to)


class ProjectTable[*K, V](dict[tuple[ids.ProjectId, *K], V]):
    """The rows of all projects, by project and key.

    `find`, `require`, `in_project` and `live` don't see the rows of a removed project. They may
    exist for a while.
    """

    def __init__(self, noun: str, removed: Container[ids.ProjectId]) -> None:
        super().__init__()
        self._noun = noun
        self._removed = removed

    def find(self, project: ids.ProjectId, *key: *K) -> V | None:
        return None if project in self._removed else self.get((project, *key))

    def require(self, project: ids.ProjectId, *key: *K) -> V:
        """As `find`. Raises NotFound without such a row."""
        found = self.find(project, *key)
        if found is None:
            raise NotFound(f"{self._noun} not found")
        return found

    def discard(self, project: ids.ProjectId, *key: *K) -> bool:
        """Deletes a row if `find` finds it; whether it did."""
        return self.find(project, *key) is not None and self.pop((project, *key)) is not None

    def purge(self, most: int) -> int:
        """Deletes at most `most` rows of removed projects; returns how many."""
        return len(delete_rows(self, lambda key, _: key[0] in self._removed, most))

    def in_project(self, project: ids.ProjectId) -> list[V]:
        if project in self._removed:
            return []
        return [row for key, row in self.items() if key[0] == project]

    def live(self) -> list[tuple[tuple[ids.ProjectId, *K], V]]:
        return [(key, row) for key, row in self.items() if key[0] not in self._removed]


class AuditTable(dict[ids.AuditEntryId, AuditEntry]):
    """The audit log of all organizations: numbers and hashes each new entry."""

    def __init__(self, heads: dict[ids.OrganizationId, ChainHead]) -> None:
        super().__init__()
        self._heads = heads

    def __setitem__(self, key: ids.AuditEntryId, entry: AuditEntry) -> None:
        if entry.hash is None:
            head = self._heads.get(entry.organization_id, EMPTY_CHAIN)
            number = head.sequence + 1
            entry = replace(entry, sequence=number, hash=chain_hash(head.hash, number, entry))
            self._heads[entry.organization_id] = ChainHead(number, entry.hash or b"")
        super().__setitem__(key, entry)


class TimestampedTable[*K, V](ProjectTable[*K, V]):
    """A table that records when each key was inserted, and when its value last changed."""

    def __init__(self, noun: str, removed: Container[ids.ProjectId]) -> None:
        super().__init__(noun, removed)
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.made_at: dict[tuple[ids.ProjectId, *K], datetime] = {}
        self.written_at: dict[tuple[ids.ProjectId, *K], datetime] = {}

    def __setitem__(self, key: tuple[ids.ProjectId, *K], value: V) -> None:
        if key not in self:
            self.made_at[key] = self.clock()
        if key not in self or self[key] != value:
            self.written_at[key] = self.clock()
        super().__setitem__(key, value)


def delete_rows[K, V](
    table: dict[K, V], is_meant: Callable[[K, V], bool], most: int | None = None
) -> list[V]:
    """Deletes at most `most` rows, those added first, and returns them."""
    keys = [key for key, row in table.items() if is_meant(key, row)][:most]
    return [table.pop(key) for key in keys]


class _Created(Protocol):
    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


def by_creation[T: _Created](rows: Iterable[T], *, newest_first: bool = False) -> list[T]:
    return sorted(rows, key=lambda one: (one.created_at, one.id), reverse=newest_first)


def newest_page[T: _Created](rows: Iterable[T], window: PageRequest) -> Page[T]:
    return paginate(rows, lambda one: Position(one.created_at, one.id), SortOrder.DESC, window)


class MemoryStore:
    """The rows of all ports, for one event loop: adapters never await in the middle of a change."""

    def __init__(self) -> None:
        removed = self.removed = dict[ids.ProjectId, datetime]()
        self.traces = TimestampedTable[ids.TraceId, Trace]("Trace", removed)
        self.fragments = ProjectTable[ids.TraceId, str, bytes, StoredFragment]("Fragment", removed)
        self.otlp = ProjectTable[ids.TraceId, OtlpTrace]("Trace", removed)
        self.waiting_evaluations = ProjectTable[UUID, StoredEvaluation]("Evaluation", removed)
        self.rejections = ProjectTable[ids.RejectionId, RecordedRejection]("Rejection", removed)
        self.organizations: dict[ids.OrganizationId, Organization] = {}
        self.projects: dict[ids.ProjectId, Project] = {}
        self.memberships: dict[tuple[ids.OrganizationId, ids.UserId], Membership] = {}
        self.users: dict[ids.UserId, User] = {}
        self.keys: dict[ids.ApiKeyId, ApiKey] = {}
        self.used_networks: dict[ids.ApiKeyId, set[str]] = defaultdict(set)
        self.invitations: dict[ids.InvitationId, Invitation] = {}
        self.login_codes: dict[bytes, LoginCode] = {}
        self._create_secret_tables()
        self.audit_heads: dict[ids.OrganizationId, ChainHead] = {}
        self.audit_log = AuditTable(self.audit_heads)
        self.trace_scores = ProjectTable[ids.ScoreId, TraceScore]("Score", removed)
        self.session_scores = ProjectTable[ids.ScoreId, SessionScore]("Score", removed)
        self.annotation_claims = ProjectTable[str, ids.TraceId, QueueClaim]("Claim", removed)
        # Scores that a run wrote, also after the run was deleted: see `is_of_run`.
        self._of_runs: dict[tuple[ids.ProjectId, type[Score], ids.ScoreId], ids.RunId] = {}
        self.runs = ProjectTable[ids.RunId, StoredRun]("Run", removed)
        self.work_queue = ProjectTable[ids.RunId, Target, StoredTarget]("Target", removed)
        self.monitors = ProjectTable[ids.MonitorId, Monitor]("Monitor", removed)
        self.assessed: dict[tuple[ids.ProjectId, ids.RunId], datetime] = {}
        self.alerts = ProjectTable[UUID, Alert]("Alert", removed)
        self.alert_changes = ProjectTable[UUID, AlertChange]("Change", removed)
        self.alert_slots: dict[tuple[ids.ProjectId, UUID], datetime | None] = {}
        self.webhooks = ProjectTable[UUID, Webhook]("Webhook", removed)
        self.deliveries = ProjectTable[UUID, Delivery]("Delivery", removed)
        self.deliveries_held: dict[tuple[ids.ProjectId, UUID], datetime] = {}
        self.exports = ProjectTable[UUID, Export]("Export", removed)
        self.export_pieces = ProjectTable[UUID, tuple[bytes, ...]]("Export", removed)
        self.custom_metrics = ProjectTable[str, CustomMetric]("Metric", removed)
        self._create_dataset_tables()
        self.revisions: dict[tuple[ids.ProjectId, str, int], Revision] = {}
        self.verdicts = ProjectTable[bytes, StoredVerdict]("Verdict", removed)
        self.ledger = ProjectTable[UUID, LedgerEntry]("Judge call", removed)
        self.budgets: dict[ids.ProjectId, Decimal] = {}
        self.spending: dict[tuple[ids.ProjectId, str], StoredSpending] = {}
        self.shared_spending: dict[str, StoredSpending] = {}  # of organizations and of the server
        self.limits: dict[ids.OrganizationId, OrganizationLimits] = {}
        self.erasures = ProjectTable[ids.ErasureId, Erasure]("Erasure", removed)
        self.erasing = ProjectTable[ids.ErasureId, DataSubject]("Erasure", removed)
        # The erasure that deleted a trace, and when.
        self.erased: dict[tuple[ids.ProjectId, ids.TraceId], tuple[ids.ErasureId, datetime]] = {}
        self.replies: dict[tuple[ids.ProjectId, str, str], KnownAttempt] = {}
        self.model_prices = ProjectTable[UUID, ModelPrice]("Price", removed)
        self.repricings = ProjectTable[UUID, Repricing]("Repricing", removed)
        self.repricings_held: dict[tuple[ids.ProjectId, UUID], datetime] = {}

    def _create_secret_tables(self) -> None:
        """Creates the tables whose rows are found by the hash of a secret."""
        self.sign_in_attempts: dict[bytes, SignInAttempt] = {}
        self.browser_sessions: dict[ids.BrowserSessionId, BrowserSession] = {}
        self.download_tickets: dict[bytes, DownloadTicket] = {}
        self.trace_links: dict[UUID, TraceLink] = {}

    def _create_dataset_tables(self) -> None:
        self.datasets = ProjectTable[str, Dataset]("Dataset", self.removed)
        self.dataset_versions = ProjectTable[UUID, int, Version]("Version", self.removed)
        self.dataset_items = ProjectTable[UUID, str, int, StoredItem]("Item", self.removed)
        self.experiments = ProjectTable[UUID, Experiment]("Experiment", self.removed)
        self.results = ProjectTable[UUID, Case, ids.TraceId]("Result", self.removed)

    def record(self, entry: AuditEntry | None) -> None:
        """Writes the entry to the audit log, if there is one."""
        if entry is not None:
            self.audit_log[entry.id] = entry

    def check_exists(self, project: ids.ProjectId) -> None:
        """Raises Unavailable if the project was removed, before a row of it is written."""
        if project in self.removed:
            raise Unavailable("This project was deleted; send the request again")

    # --- traces and erasures ---

    def visible_traces(self, project: ids.ProjectId) -> list[Trace]:
        """The traces that are not hidden by an erasure."""
        users = self.hidden_users(project)
        sessions = self._erasing(project, DataSubjectKind.SESSION)
        return [
            one
            for one in self.traces.in_project(project)
            if one.user_id not in users and one.session_id not in sessions
        ]

    def matching_traces(self, project: ids.ProjectId, matching: TraceFilter) -> list[Trace]:
        """The visible traces that match, with their scores."""
        found = [one for one in self.visible_traces(project) if matching.matches(one)]
        if matching.scored is None and not matching.not_scored:
            return found
        scores: dict[ids.TraceId, list[TraceScore]] = {}
        for score in self.trace_scores.in_project(project):
            if not score.is_of_span:
                scores.setdefault(score.trace_id, []).append(score)

        def satisfies(trace: Trace, condition: ScoreCondition) -> bool:
            return any(
                one.name == condition.name and condition.includes(one.outcome, one.number)
                for one in latest_by_name(scores.get(trace.id, ()))
            )

        return [
            trace
            for trace in found
            if (matching.scored is None or satisfies(trace, matching.scored))
            and not any(satisfies(trace, one) for one in matching.not_scored)
        ]

    def visible_trace(self, project: ids.ProjectId, trace: ids.TraceId) -> Trace | None:
        return next((one for one in self.visible_traces(project) if one.id == trace), None)

    def visible_traces_of(self, project: ids.ProjectId, session: str) -> list[Trace]:
        """Ordered by start."""
        ours = (one for one in self.visible_traces(project) if one.session_id == session)
        return sorted(ours, key=lambda one: (one.started_at, one.id))

    def hidden_sessions(self, project: ids.ProjectId) -> set[str | None]:
        """Sessions that are being erased, or that lose a trace to an erasure."""
        users = self.hidden_users(project)
        losing = {one.session_id for one in self.traces.in_project(project) if one.user_id in users}
        return (self._erasing(project, DataSubjectKind.SESSION) | losing) - {None}

    def hidden_users(self, project: ids.ProjectId) -> set[str | None]:
        """Users that are being erased."""
        return self._erasing(project, DataSubjectKind.USER)

    def erased_sessions(self, project: ids.ProjectId) -> set[str | None]:
        """Sessions that are being erased themselves."""
        return self._erasing(project, DataSubjectKind.SESSION)

    def _erasing(self, project: ids.ProjectId, kind: DataSubjectKind) -> set[str | None]:
        return {one.id for one in self.erasing.in_project(project) if one.kind is kind}

    def leaves_erased_subject(self, project: ids.ProjectId, before: Trace, after: Trace) -> bool:
        """Whether a change moves a trace away from a user or session under erasure."""
        lost = data_subjects_of(before) - data_subjects_of(after)
        return not lost.isdisjoint(self.erasing.in_project(project))

    def write_natively(
        self, project: ids.ProjectId, trace: Trace, payloads: Collection[str] = ()
    ) -> None:
        """Stores a trace that a native write changed or created; `payloads` are those that it set.

        What it changed of an OpenTelemetry trace stays when that is computed again.
        """
        before, known = self.traces.get((project, trace.id)), self.otlp.get((project, trace.id))
        if before is not None and known is not None:
            bare, after = (replace(one, input=None, output=None) for one in (before, trace))
            state = known.state.after_native_write(bare, after, payloads)
            old = {one.id: one for one in before.spans}
            facts = dict(known.facts)
            for span in trace.spans:
                if span.id in facts and span != old[span.id]:
                    facts[span.id] = edited_facts(facts[span.id], old[span.id], span)
            self.otlp[project, trace.id] = replace(known, state=state, facts=facts)
        self.traces[project, trace.id] = trace

    def delete_trace(self, project: ids.ProjectId, trace: ids.TraceId) -> None:
        """Deletes an existing trace with its scores, its verdicts and the responses about it."""
        self.erase_replies(project, {str(trace)})
        for waiting in self.evaluations_waiting_for(project, {trace}):
            del self.waiting_evaluations[project, waiting]
        gone = self.traces.pop((project, trace))
        for key, copy in [*self.dataset_items.items()]:
            if (key[0], copy.item.from_trace) == (project, trace):
                user = gone.user_id if copy.user is None else copy.user
                session = gone.session_id if copy.session is None else copy.session
                self.dataset_items[key] = replace(copy, user=user, session=session)
        self.otlp.discard(project, trace)
        delete_rows(self.fragments, lambda key, _: key[:2] == (project, trace))
        delete_rows(self.annotation_claims, lambda key, _: (key[0], key[2]) == (project, trace))
        delete_rows(
            self.rejections,
            lambda key, one: key[0] == project and one.rejection.trace_id == trace.hex,
        )
        delete_rows(self.verdicts, lambda key, one: key[0] == project and one.trace == trace)
        delete_rows(self.trace_scores, lambda key, one: key[0] == project and one.trace_id == trace)
        place = (project, trace)
        delete_rows(self.trace_links, lambda _, one: (one.project_id, one.trace_id) == place)

    def evaluations_waiting_for(
        self, project: ids.ProjectId, traces: Collection[ids.TraceId]
    ) -> list[UUID]:
        """The ids of those that name one of the traces, or the response of one of their spans."""
        known = [self.otlp[project, one] for one in traces if (project, one) in self.otlp]
        responses = {facts.response_id for one in known for facts in one.facts.values()}
        found = []
        for (of, id_), one in self.waiting_evaluations.items():
            received = one.waiting.received
            response = received.evaluation.response_id
            is_of_response = received.trace is None and response in responses - {None}
            if of == project and (received.trace in traces or is_of_response):
                found.append(id_)
        return found

    def evaluations_of_session(self, project: ids.ProjectId, session: str) -> list[UUID]:
        """The ids of the waiting ones that name the session."""
        return [
            id_
            for (of, id_), one in self.waiting_evaluations.items()
            if of == project and one.waiting.received.evaluation.session_id == session
        ]

    def erase_replies(
        self, project: ids.ProjectId, targets: Container[str | None] | None = None
    ) -> int:
        """Deletes the responses about the targets, or all of the project; how many rows changed."""
        ours = [
            (key, one)
            for key, one in self.replies.items()
            if key[0] == project
            and not one.is_erased
            and one.has_text
            and (targets is None or (one.target is not None and one.target in targets))
        ]
        for key, one in ours:
            self.replies[key] = one.erased()
        return len(ours)

    def sessions_of(self, project: ids.ProjectId) -> set[str | None]:
        return {trace.session_id for trace in self.traces.in_project(project)}

    # --- scores ---

    def delete_session_scores(self, project: ids.ProjectId, sessions: Container[str | None]) -> int:
        """Deletes the scores of the sessions and the responses about them; how many scores."""
        self.erase_replies(project, sessions)
        ours = delete_rows(
            self.session_scores, lambda key, one: key[0] == project and one.session_id in sessions
        )
        return len(ours)

    def delete_score(self, project: ids.ProjectId, score: ids.ScoreId) -> bool:
        return self.trace_scores.discard(project, score) or self.session_scores.discard(
            project, score
        )

    def visible_trace_scores(self, project: ids.ProjectId) -> list[TraceScore]:
        hidden = {one.id for one in self.traces.in_project(project)}
        hidden -= {one.id for one in self.visible_traces(project)}
        return [one for one in self.trace_scores.in_project(project) if one.trace_id not in hidden]

    def visible_session_scores(self, project: ids.ProjectId) -> list[SessionScore]:
        hidden = self.hidden_sessions(project)
        return [
            one for one in self.session_scores.in_project(project) if one.session_id not in hidden
        ]

    def scores_of_run(self, project: ids.ProjectId, run: ids.RunId) -> list[Score]:
        """The scores of a run, of traces and sessions."""
        known = [*self.trace_scores.in_project(project), *self.session_scores.in_project(project)]
        return [score for score in known if score.run_id == run]

    def score_of(self, project: ids.ProjectId, score: ids.ScoreId) -> Score | None:
        return self.trace_scores.find(project, score) or self.session_scores.find(project, score)

    def is_of_run(self, score: Score) -> bool:
        """Whether a run wrote it, also if the run was deleted since."""
        return (score.project_id, type(score), score.id) in self._of_runs

    def add_score(self, score: Score) -> None:
        """A run may have written one of this id that was deleted since."""
        self._of_runs.pop((score.project_id, type(score), score.id), None)
        self.put_score(score)

    def put_score(self, score: Score) -> None:
        if score.run_id is not None:
            self._of_runs[score.project_id, type(score), score.id] = score.run_id
        if isinstance(score, TraceScore):
            self.trace_scores[score.project_id, score.id] = score
        elif isinstance(score, SessionScore):
            self.session_scores[score.project_id, score.id] = score

    # --- runs and monitors ---

    def runs_of(self, project: ids.ProjectId) -> list[StoredRun]:
        """Ordered by creation."""
        return sorted(
            self.runs.in_project(project), key=lambda one: (one.run.created_at, one.run.id)
        )

    def work_of(self, project: ids.ProjectId, run: ids.RunId) -> list[StoredTarget]:
        """The items in the order in which they are queued."""
        ours = [row for key, row in self.work_queue.live() if key[:2] == (project, run)]
        return sorted(ours, key=lambda one: one.place)

    def alerts_of(self, project: ids.ProjectId, monitor: ids.MonitorId) -> list[Alert]:
        """Ordered by creation."""
        return by_creation(
            one for one in self.alerts.in_project(project) if one.monitor_id == monitor
        )

    def delete_alert(self, project: ids.ProjectId, alert: UUID) -> None:
        """Deletes an existing alert with its changes."""
        del self.alerts[project, alert]
        self.alert_slots.pop((project, alert), None)
        delete_rows(
            self.alert_changes, lambda key, one: key[0] == project and one.alert_id == alert
        )
