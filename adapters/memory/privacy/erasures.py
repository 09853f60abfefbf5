"""Erasures, and the deletion of traces after their retention time, in memory."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from adapters.memory.evaluation.datasets import erase_items
from adapters.memory.store import MemoryStore, StoredItem, delete_rows
from application.privacy.ports import (
    ERASURES_IN_PROGRESS_MAX,
    PROJECTS_AT_ONCE,
    SESSIONS_AT_ONCE,
    UNFINISHED_MAX,
    MakeAuditEntry,
    too_many_erasures,
)
from domain.evaluation.runs.selection import rename_session
from domain.evaluation.scores.outcome import FailCode, SkipCode
from domain.evaluation.scores.score import ScoreOutcome, SessionScore, TraceScore
from domain.identity.audit import AuditEntry
from domain.ids import ErasureId, ProjectId, TraceId
from domain.page import Page, PageRequest, Position, SortOrder, paginate
from domain.privacy.erasure import (
    DataSubject,
    DataSubjectKind,
    Erasure,
    ErasureState,
    RemainingData,
)
from domain.tracing.trace import Trace

TRACES_PER_STEP: Final = 1_000  # traces that one step deletes


@dataclass(frozen=True, slots=True)
class MemoryErasures:
    store: MemoryStore

    async def begin(self, erasure: Erasure, owner: DataSubject, entry: AuditEntry) -> None:
        self.store.check_exists(erasure.project_id)
        if len(self.store.erasing.in_project(erasure.project_id)) >= ERASURES_IN_PROGRESS_MAX:
            raise too_many_erasures()
        key = (erasure.project_id, erasure.id)
        self.store.erasures[key] = erasure.with_rows(self._delete_files(erasure.project_id))
        self.store.erasing[key] = owner
        self.store.audit_log[entry.id] = entry

    async def current_time(self) -> datetime:
        return self.store.traces.clock()

    async def advance(
        self, project: ProjectId, erasure: ErasureId, now: datetime, make_entry: MakeAuditEntry
    ) -> Erasure:
        known = await self.get(project, erasure)
        if known.state is ErasureState.REMOVED:
            return known
        owner = self.store.erasing[project, erasure]
        if some := self._traces(project, owner)[:TRACES_PER_STEP]:
            known = known.with_rows(self._delete_traces(known, some, now))
        else:
            rows = self._anonymize_session(known, owner) + self._delete_files(project)
            rows["dataset_items"] = erase_items(
                self.store, project, lambda one: _is_copy_of(one, owner), now
            )
            rows["replies"] = self.store.erase_replies(project)
            known = known.with_rows(rows).finished(now)
            del self.store.erasing[project, erasure]
            entry = make_entry(known)
            self.store.audit_log[entry.id] = entry
        self.store.erasures[project, erasure] = known
        return known

    async def list_unfinished(self) -> Sequence[tuple[ProjectId, ErasureId]]:
        known = [self.store.erasures[key] for key, _ in self.store.erasing.live()]
        found = sorted((one.requested_at, one.project_id, one.id) for one in known)
        return [(of, id_) for _, of, id_ in found[:UNFINISHED_MAX]]

    async def get(self, project: ProjectId, erasure: ErasureId) -> Erasure:
        return self.store.erasures.require(project, erasure)

    async def page(self, project: ProjectId, window: PageRequest) -> Page[Erasure]:
        ours = self.store.erasures.in_project(project)
        return paginate(
            ours, lambda one: Position(one.requested_at, one.id), SortOrder.DESC, window
        )

    async def count_remaining(self, erasure: Erasure, owner: DataSubject) -> RemainingData:
        project, made_at = erasure.project_id, self.store.traces.made_at
        traces = self._traces(project, owner)
        over = erasure.removed_at
        since = [one for one in traces if over is not None and made_at[project, one.id] > over]
        rows = Counter(traces=len(traces) - len(since))
        gone = {trace for (of, trace), (by, _) in self.store.erased.items()
                if (of, by) == (project, erasure.id)}  # fmt: skip
        rows += self._count_rows(project, gone)
        rows["trace_scores"] = sum(
            one.trace_id in gone and _has_result(one)
            for one in self.store.trace_scores.in_project(project)
        )
        rows["exports"] = sum(
            of == project and one.created_at <= erasure.requested_at
            for (of, _), one in self.store.exports.items()
        )
        rows["replies"] = sum(
            key[0] == project
            and one.response is not None
            and one.has_text
            and one.begun_at <= erasure.requested_at
            for key, one in self.store.replies.items()
        )
        rows["dataset_items"] = sum(
            of == project
            and (one.item.from_trace in gone or _is_copy_of(one, owner))
            and (over is None or one.created_at <= over)
            for (of, *_), one in self.store.dataset_items.items()
        )
        if owner.kind is DataSubjectKind.SESSION:
            scores = self.store.session_scores.in_project(project)
            rows["session_scores"] = sum(
                one.session_id == owner.id and (over is None or one.created_at <= over)
                for one in scores
            )
            later = {
                one.run.id
                for one in self.store.runs.in_project(project)
                if over is not None and one.run.created_at > over
            }
            waiting = self.store.waiting_evaluations
            rows["waiting_evaluations"] += sum(
                over is None or waiting[project, one].stored_at <= over
                for one in self.store.evaluations_of_session(project, owner.id)
            )
            rows["eval_jobs"] = sum(
                (of, target) == (project, owner.id) and run not in later
                for of, run, target in self.store.work_queue
            )
            rows["judge_calls"] = sum(
                (of, one.target) == (project, owner.id) and one.run_id not in later
                for (of, _), one in self.store.ledger.items()
            )
        return RemainingData({table: count for table, count in rows.items() if count}, len(since))

    async def delete_erased_ids(self, before: datetime) -> int:
        erased = self.store.erased
        return len(delete_rows(erased, lambda _, one: one[1] < before, TRACES_PER_STEP))

    def _delete_files(self, project: ProjectId) -> Counter[str]:
        """Deletes all exports: their files hold data as of the time they were written."""
        exports = delete_rows(self.store.exports, lambda key, _: key[0] == project)
        pieces = delete_rows(self.store.export_pieces, lambda key, _: key[0] == project)
        return Counter(exports=len(exports), export_pieces=sum(map(len, pieces)))

    def _traces(self, project: ProjectId, owner: DataSubject) -> list[Trace]:
        of = "user_id" if owner.kind is DataSubjectKind.USER else "session_id"
        return [
            one for one in self.store.traces.in_project(project) if getattr(one, of) == owner.id
        ]

    def _count_rows(self, project: ProjectId, traces: Collection[TraceId]) -> Counter[str]:
        """Counts the rows that refer to the traces."""
        hex_ids = {trace.hex for trace in traces}
        scores, verdicts = self.store.trace_scores.in_project(project), self.store.verdicts.items()
        fragments = self.store.fragments
        return Counter(
            span_fragments=sum(key[0] == project and key[1] in traces for key in fragments),
            trace_scores=sum(one.trace_id in traces for one in scores),
            otlp_rejections=sum(
                one.rejection.trace_id in hex_ids
                for one in self.store.rejections.in_project(project)
            ),
            annotation_claims=sum(
                key[0] == project and key[2] in traces for key in self.store.annotation_claims
            ),
            waiting_evaluations=len(self.store.evaluations_waiting_for(project, traces)),
            trace_links=sum(
                one.project_id == project and one.trace_id in traces
                for one in self.store.trace_links.values()
            ),
            judge_verdicts=sum(of == project and one.trace in traces for (of, _), one in verdicts),
        )

    def _delete_traces(self, known: Erasure, some: Sequence[Trace], now: datetime) -> Counter[str]:
        """Deletes existing traces; returns how many rows of each table."""
        project, ids = known.project_id, {one.id for one in some}
        rows = Counter(traces=len(some), spans=sum(len(one.spans) for one in some))
        rows["trace_payloads"] = sum(
            one.input is not None or one.output is not None for one in some
        )
        rows += self._count_rows(project, ids)
        sessions = {one.session_id for one in some}
        rows["replies"] = self.store.erase_replies(project, {str(id_) for id_ in ids} | sessions)
        rows["dataset_items"] = erase_items(
            self.store, project, lambda one: one.item.from_trace in ids, now
        )
        for one in some:
            self.store.delete_trace(project, one.id)
            self.store.erased[project, one.id] = (known.id, now)
        rows["session_scores"] = self.store.delete_session_scores(project, sessions)
        return rows

    def _anonymize_session(self, known: Erasure, owner: DataSubject) -> Counter[str]:
        """Anonymizes what refers to a session besides its traces; returns how many rows changed."""
        rows = Counter[str]()
        if owner.kind is DataSubjectKind.USER:
            return rows
        project, new_name = known.project_id, pseudonym(known)
        runs = {key[1] for key in self.store.work_queue if (key[0], key[2]) == (project, owner.id)}
        for run in runs:
            stored = self.store.runs[project, run]
            filters = rename_session(stored.run.filters, owner.id, new_name)
            if filters != stored.run.filters:
                changed = replace(stored, run=replace(stored.run, filters=filters))
                self.store.runs[project, run] = changed
                rows["eval_runs"] += 1
        for key in [*self.store.work_queue]:
            if key[0] == project and key[2] == owner.id:
                work = self.store.work_queue.pop(key)
                named = replace(work.assignment, target=new_name)
                self.store.work_queue[project, key[1], new_name] = replace(work, assignment=named)
                rows["eval_jobs"] += 1
        for place, entry in [*self.store.ledger.items()]:
            if place[0] == project and entry.target == owner.id:
                self.store.ledger[place] = replace(entry, target=new_name)
                rows["judge_calls"] += 1
        for waiting in self.store.evaluations_of_session(project, owner.id):
            del self.store.waiting_evaluations[project, waiting]
            rows["waiting_evaluations"] += 1
        rows["session_scores"] = self.store.delete_session_scores(project, {owner.id})
        return rows


def _is_copy_of(item: StoredItem, owner: DataSubject) -> bool:
    """Whether the item of a dataset was copied from a trace of the owner."""
    return owner.id == (item.user if owner.kind is DataSubjectKind.USER else item.session)


def pseudonym(erasure: Erasure) -> str:
    """The name that replaces that of an erased session."""
    return f"erased:{erasure.id}"


@dataclass(frozen=True, slots=True)
class MemoryExpiredTraces:
    store: MemoryStore

    async def current_time(self) -> datetime:
        return self.store.traces.clock()

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        found = [project for project in self.store.projects if self._of(project, now)]
        return sorted(found)[:PROJECTS_AT_ONCE]

    async def delete(self, project: ProjectId, now: datetime) -> int:
        gone = self._of(project, now)[:TRACES_PER_STEP]
        sessions = {self.store.traces[project, trace].session_id for trace in gone}
        for trace in gone:
            self.store.delete_trace(project, trace)
        self.store.delete_session_scores(project, sessions - self.store.sessions_of(project))
        return len(gone)

    async def projects_with_old_session_scores(
        self, now: datetime, after: ProjectId | None
    ) -> Sequence[ProjectId]:
        found = [project for project in self.store.projects if self._old_scores(project, now)]
        return [one for one in sorted(found) if after is None or one > after][:PROJECTS_AT_ONCE]

    async def delete_session_scores(
        self, project: ProjectId, now: datetime, after: str
    ) -> tuple[int, str | None]:
        scored = sorted({one.session_id for one in self.store.session_scores.in_project(project)})
        some = [session for session in scored if session > after][:SESSIONS_AT_ONCE]
        empty = set(some) - self.store.sessions_of(project)
        old = [one for one in self._old_scores(project, now) if one.session_id in empty]
        self.store.erase_replies(project, {one.session_id for one in old})
        for one in old:
            del self.store.session_scores[project, one.id]
        return len(old), some[-1] if len(some) == SESSIONS_AT_ONCE else None

    def _old_scores(self, project: ProjectId, now: datetime) -> list[SessionScore]:
        if (until := self._kept_since(project, now)) is None:
            return []
        return [
            one for one in self.store.session_scores.in_project(project) if one.created_at < until
        ]

    def _kept_since(self, project: ProjectId, now: datetime) -> datetime | None:
        known = self.store.projects.get(project)
        if known is None or known.retention_days is None:
            return None
        return now - timedelta(days=known.retention_days)

    def _of(self, project: ProjectId, now: datetime) -> list[TraceId]:
        """Expired traces, the oldest first."""
        if (until := self._kept_since(project, now)) is None:
            return []
        made_at = self.store.traces.made_at
        ages = [(made_at[project, one.id], one.id) for one in self.store.traces.in_project(project)]
        return [trace for made, trace in sorted(ages) if made < until]


def _has_result(score: TraceScore) -> bool:
    """Whether it says more than that a run named a trace that doesn't exist, or was cancelled."""
    without = (FailCode.TARGET_GONE, SkipCode.CANCELLED)
    return score.outcome is not ScoreOutcome.PENDING and score.code not in without
