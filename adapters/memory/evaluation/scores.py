"""Scores and their analytics in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from adapters.memory.store import MemoryStore, newest_page
from domain.errors import NotFound
from domain.evaluation.agreement.calibration import Fingerprint
from domain.evaluation.scores import analytics
from domain.evaluation.scores.edits import ScoreEdit
from domain.evaluation.scores.score import (
    BRIEF_SCORES_MAX,
    CreatedWithin,
    Score,
    ScoreBrief,
    ScoreChange,
    ScoreFilter,
    ScoreSource,
    ScoreTarget,
    SessionScore,
    TraceScore,
    latest_by_name,
    newest_first,
    storable_text,
)
from domain.ids import ProjectId, RunId, ScoreId, SpanId, TraceId, UserId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import Granularity
from domain.tracing.payloads.payload import scalar_members
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, scores_too_large


@dataclass(frozen=True, slots=True)
class _Scores[S: Score]:
    """The part that scores of traces and of sessions share."""

    store: MemoryStore
    bytes_max: int = READ_BYTES_MAX

    def _readable(self, scores: Sequence[S]) -> Sequence[S]:
        """The scores. Raises TooLargeToRead."""
        if sum(one.size for one in scores) > self.bytes_max:
            raise scores_too_large()
        return scores

    def _visible(self, project: ProjectId) -> list[S]:
        raise NotImplementedError

    async def change(
        self,
        project: ProjectId,
        score: ScoreId,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
        *,
        edit: ScoreEdit | None = None,
    ) -> S:
        known = await self.get(project, score)
        changed = known.patched(change, now, author, None if edit is None else edit.actor.key_id)
        if changed != known:
            self._record(edit, known, changed)
            self.store.put_score(changed)
        return changed

    async def get(self, project: ProjectId, score: ScoreId) -> S:
        known = self._find(project, score)
        if known is None:
            raise NotFound("Score not found")
        return known

    async def run_has_scores_of_others(
        self, project: ProjectId, run: RunId, user: UserId | None
    ) -> bool:
        run_scores = [one for one in self._visible(project) if one.run_id == run]
        return any(one.author_id not in {None, user} for one in run_scores)

    async def delete(
        self, project: ProjectId, score: ScoreId, edit: ScoreEdit | None = None
    ) -> bool:
        known = self._find(project, score)
        if known is None:
            return False
        self._record(edit, known, None)
        return self.store.delete_score(project, score)

    def _find(self, project: ProjectId, score: ScoreId) -> S | None:
        return next((one for one in self._visible(project) if one.id == score), None)

    def _record(self, edit: ScoreEdit | None, before: Score, after: Score | None) -> None:
        if edit is not None:
            edit.check(before)
            entry = edit.audit_entry(before, after)
            self.store.audit_log[entry.id] = entry

    async def page(self, project: ProjectId, matching: ScoreFilter, window: PageRequest) -> Page[S]:
        return newest_page([one for one in self._visible(project) if matching.matches(one)], window)

    async def by_run(self, project: ProjectId, run: RunId) -> Sequence[S]:
        found = newest_first(one for one in self._visible(project) if one.run_id == run)
        return self._readable(found)


@dataclass(frozen=True, slots=True)
class MemoryTraceScores(_Scores[TraceScore]):
    def _visible(self, project: ProjectId) -> list[TraceScore]:
        return self.store.visible_trace_scores(project)

    async def add(self, score: TraceScore, *, checks_span: bool = True) -> TraceScore:
        trace = self.store.visible_trace(score.project_id, score.trace_id)
        if trace is None:
            raise NotFound("Trace not found")
        if (
            checks_span
            and score.is_of_span
            and score.span_id not in {one.id for one in trace.spans}
        ):
            raise NotFound("Span not found")
        known = self.store.trace_scores.get((score.project_id, score.id))
        if known is None:
            self.store.add_score(score)
        return known or score

    async def add_new(
        self, project: ProjectId, trace: TraceId, scores: Sequence[TraceScore]
    ) -> Mapping[ScoreId, TraceId]:
        stored = {one.id: self.store.trace_scores.get((project, one.id)) for one in scores}
        for score in scores:
            if stored[score.id] is None:
                assert score.trace_id == trace
                await self.add(score, checks_span=False)
        return {id_: known.trace_id for id_, known in stored.items() if known is not None}

    async def latest(
        self, project: ProjectId, trace: TraceId, span: SpanId | None = None
    ) -> Sequence[TraceScore]:
        wanted = (trace, span)
        known = self._visible(project)
        found = latest_by_name(one for one in known if (one.trace_id, one.span_id) == wanted)
        return self._readable(found)

    async def latest_of_traces(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Mapping[TraceId, Sequence[ScoreBrief]]:
        found = {one: (await self.latest(project, one))[:BRIEF_SCORES_MAX] for one in traces}
        return {
            trace: [ScoreBrief.from_score(one) for one in scores]
            for trace, scores in found.items()
            if scores
        }


@dataclass(frozen=True, slots=True)
class MemorySessionScores(_Scores[SessionScore]):
    def _visible(self, project: ProjectId) -> list[SessionScore]:
        return self.store.visible_session_scores(project)

    async def add(self, score: SessionScore) -> SessionScore:
        project = score.project_id
        shown = self.store.sessions_of(project) - self.store.hidden_sessions(project)
        if score.session_id not in shown:
            raise NotFound("Session not found")
        known = self.store.session_scores.get((project, score.id))
        if known is None:
            self.store.add_score(score)
        return known or score

    async def add_new(
        self, project: ProjectId, session: str, scores: Sequence[SessionScore]
    ) -> Mapping[ScoreId, str]:
        stored = {one.id: self.store.session_scores.get((project, one.id)) for one in scores}
        for score in scores:
            if stored[score.id] is None:
                assert score.session_id == session
                await self.add(score)
        return {id_: known.session_id for id_, known in stored.items() if known is not None}

    async def by_session(self, project: ProjectId, session: str) -> Sequence[SessionScore]:
        known = self.store.visible_session_scores(project)
        return self._readable(newest_first(one for one in known if one.session_id == session))

    async def latest_of_sessions(
        self, project: ProjectId, sessions: Sequence[str]
    ) -> Mapping[str, Sequence[ScoreBrief]]:
        found = {one: latest_by_name(await self.by_session(project, one)) for one in sessions}
        return {
            session: [ScoreBrief.from_score(one) for one in scores[:BRIEF_SCORES_MAX]]
            for session, scores in found.items()
            if scores
        }


@dataclass(frozen=True, slots=True)
class MemoryScoreAnalytics:
    store: MemoryStore

    async def summaries(
        self,
        project: ProjectId,
        target: ScoreTarget,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: analytics.SeparateKind | None = None,
    ) -> Sequence[analytics.ScoreSummary]:
        return analytics.summaries(
            self._within(project, target, within),
            source=source,
            judge_kind=judge_kind,
            fingerprint_of=partial(fingerprint_of_run, self.store),
        )

    async def trend(
        self,
        project: ProjectId,
        target: ScoreTarget,
        names: Sequence[str],
        granularity: Granularity,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: analytics.SeparateKind | None = None,
        empty_buckets: bool = False,
    ) -> Sequence[analytics.TrendPoint]:
        return analytics.trend(
            self._within(project, target, within),
            names,
            granularity,
            source=source,
            judge_kind=judge_kind,
            empty_buckets=empty_buckets,
            fingerprint_of=partial(fingerprint_of_run, self.store),
        )

    async def distribution(
        self,
        project: ProjectId,
        target: ScoreTarget,
        name: str,
        parts: int,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: analytics.SeparateKind | None = None,
        empty_buckets: bool = False,
    ) -> analytics.Histogram:
        return analytics.distribution(
            self._within(project, target, within),
            name,
            parts,
            source=source,
            judge_kind=judge_kind,
            empty_buckets=empty_buckets,
        )

    async def history(
        self,
        project: ProjectId,
        session: str,
        name: str | None,
        limit: int,
        *,
        source: ScoreSource | None = None,
    ) -> Sequence[analytics.HistoryPoint]:
        scores = self.store.visible_session_scores(project)
        return analytics.history(scores, session, name, limit, source=source)

    async def comparison(
        self,
        project: ProjectId,
        name: str,
        order: SortOrder,
        window: PageRequest,
        *,
        source: ScoreSource | None = None,
    ) -> Page[analytics.RankedSession]:
        scores = self.store.visible_session_scores(project)
        return analytics.comparison(scores, name, order, window, source=source)

    def _within(
        self, project: ProjectId, target: ScoreTarget, within: CreatedWithin
    ) -> list[Score]:
        known: Sequence[Score] = (
            self.store.visible_session_scores(project)
            if target is ScoreTarget.SESSION
            else self.store.visible_trace_scores(project)
        )
        return [one for one in known if one.target is target and within.matches(one)]


def fingerprint_of_run(store: MemoryStore, score: Score) -> Fingerprint:
    """That of a score which a run has written, also after the run was deleted."""
    if not store.is_of_run(score):
        return None
    text = scalar_members(score.metadata).get("fingerprint")
    return None if text is None else storable_text(text)
