"""Random histories of scores read the same from memory and from PostgreSQL.

Part of the contracts of TraceScores, SessionScores, ScoreAnalytics and Labels.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.scores.score_rollups import PostgresScoreRollups
from adapters.postgres.evaluation.scores.scores import PostgresTraceScores
from domain.evaluation.scores.score import (
    CreatedWithin,
    ScoreChange,
    ScoreFilter,
    SessionScore,
    TraceScore,
)
from domain.ids import ProjectId, ScoreId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from tests.support.builders import scores, strategies, trace_strategies
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import ALL, DataPlane, over_memory, over_postgres
from tests.support.fixtures.erasures import ErasingHistories, ErasureSteps, which
from tests.support.fixtures.evaluation import latest_scores, score_day_recount
from tests.support.fixtures.histories import assert_histories_agree
from tests.support.hypothesis_scale import sampled

pytestmark = pytest.mark.service


class Histories(ErasingHistories):
    """Scores in two projects whose traces and sessions are the same, few, and come and go."""

    @initialize(
        of_traces=st.lists(scores.trace_scores(), min_size=4, max_size=10),
        of_sessions=st.lists(scores.session_scores(), min_size=4, max_size=10),
    )
    def begin(self, of_traces: Sequence[TraceScore], of_sessions: Sequence[SessionScore]) -> None:
        self.projects = [ProjectId(uuid.uuid4()), ProjectId(uuid.uuid4())]
        self.model = over_memory()
        self.erasing = ErasureSteps(self.run_on_both)
        self.ids: list[ScoreId] = [ScoreId(uuid.uuid4())]
        self.now = 0
        for project in (0, 1):
            for one, session in zip(strategies.TRACE_IDS, ("s", "S", ""), strict=True):
                self.ingest(project, one, session)
        for number, score in enumerate([*of_traces, *of_sessions]):
            self.add(int(number % 4 == 3), score)

    # --- writes ---

    @rule(
        index=which,
        one=strategies.trace_ids,
        session=scores.sessions,
        user=st.sampled_from([None, "u"]),
    )
    def ingest(self, index: int, one: TraceId, session: str, user: str | None = None) -> None:
        # Only the first span is stored: scores of others are refused, unless the span may come.
        spans = [span(id=strategies.SPAN_IDS[0])] * (one != strategies.TRACE_IDS[2])
        sent = trace(*spans, id=one, session_id=session, user_id=user)
        self.run_on_both(lambda plane: plane.traces.put(self.projects[index], sent))

    @rule(
        index=which,
        score=scores.trace_scores() | scores.session_scores(),
        checks_span=st.booleans(),
    )
    def add(
        self, index: int, score: TraceScore | SessionScore, *, checks_span: bool = False
    ) -> None:
        self.ids.append(score.id)
        self._add(index, score, checks_span=checks_span)

    @rule(
        index=which,
        score=scores.trace_scores() | scores.session_scores(),
        data=st.data(),
    )
    def add_again(self, index: int, score: TraceScore | SessionScore, data: st.DataObject) -> None:
        again = replace(score, id=data.draw(st.sampled_from(self.ids)))
        self._add(index, again, checks_span=data.draw(st.booleans()))

    def _add(self, index: int, score: TraceScore | SessionScore, *, checks_span: bool) -> None:
        sent = replace(score, project_id=self.projects[index])
        if isinstance(sent, TraceScore):
            self.run_on_both(
                lambda plane: plane.evaluation.trace_scores.add(sent, checks_span=checks_span)
            )
        else:
            self.run_on_both(lambda plane: plane.evaluation.session_scores.add(sent))

    @rule(
        index=which,
        sent=st.lists(scores.trace_scores(), min_size=1, max_size=3)
        | st.lists(scores.session_scores(), min_size=1, max_size=3),
        data=st.data(),
    )
    def add_new(
        self, index: int, sent: list[TraceScore] | list[SessionScore], data: st.DataObject
    ) -> None:
        """Scores of one target, some with ids that are known."""
        self.ids += [one.id for one in sent]
        first, target = sent[0], "trace_id" if isinstance(sent[0], TraceScore) else "session_id"
        fixed = {"project_id": self.projects[index], target: getattr(first, target)}
        known = [replace(first, id=data.draw(st.sampled_from(self.ids)))]
        some: list[Any] = [replace(one, **fixed) for one in (*sent, *known)]
        kind = "trace_scores" if isinstance(first, TraceScore) else "session_scores"
        self.run_on_both(
            lambda plane: getattr(plane.evaluation, kind).add_new(
                self.projects[index], getattr(first, target), some
            )
        )

    @rule(index=which, change=scores.changes, data=st.data())
    def change(self, index: int, change: ScoreChange, data: st.DataObject) -> None:
        self.now += 1
        one, now = data.draw(st.sampled_from(self.ids)), at(self.now)
        author = data.draw(st.sampled_from([None, scores.ADA]))
        for kind in ("trace_scores", "session_scores"):
            self.run_on_both(
                lambda plane, kind=kind: getattr(plane.evaluation, kind).change(
                    self.projects[index], one, change, now, author
                )
            )

    @rule(index=which, data=st.data())
    def delete(self, index: int, data: st.DataObject) -> None:
        project, one = self.projects[index], data.draw(st.sampled_from(self.ids))
        self.run_on_both(lambda plane: plane.evaluation.trace_scores.delete(project, one))
        self.run_on_both(lambda plane: plane.evaluation.session_scores.delete(project, one))

    @rule(index=which, gone=strategies.trace_ids | scores.sessions)
    def delete_target(self, index: int, gone: TraceId | str) -> None:
        project = self.projects[index]
        if isinstance(gone, str):
            self.run_on_both(lambda plane: plane.sessions.delete(project, gone))
        else:
            self.run_on_both(lambda plane: plane.traces.delete(project, [gone]))

    # --- reads ---

    @rule(index=which, matching=scores.filters, window=trace_strategies.windows)
    def browse(self, index: int, matching: ScoreFilter, window: PageRequest) -> None:
        """Reads two pages, the second from the end of the first."""
        project = self.projects[index]

        async def read(plane: DataPlane) -> list[Page[Any]]:
            found: list[Page[Any]] = []
            for ask in (plane.evaluation.trace_scores.page, plane.evaluation.session_scores.page):
                page: Page[Any] = await ask(project, matching, window)
                after = PageRequest(window.limit, after=page.end)
                found += [page, await ask(project, matching, after)]
            return found

        self.run_on_both(read)

    @rule(
        index=which,
        matching=scores.scored_filters,
        sort=trace_strategies.sorts,
        order=trace_strategies.orders,
        window=trace_strategies.windows,
    )
    def filter_traces(
        self,
        index: int,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> None:
        project, by = self.projects[index], (sort, order)

        async def read(plane: DataPlane) -> list[Any]:
            page = await plane.traces.summaries(project, matching, *by, window)
            after = PageRequest(window.limit, after=page.end)
            return [
                [[one.id for one in page.items], page.total, page.end],
                await plane.traces.summaries(project, matching, *by, after),
            ]

        self.run_on_both(read)

    @rule(index=which)
    def newest_are_known(self, index: int) -> None:
        project, ports = self.projects[index], self.postgres.evaluation
        pool = cast("PostgresTraceScores", ports.trace_scores).pool
        differing = within(pool, project).fetch(latest_scores.DIFFERING, project)
        assert self.runner.run(differing) == []

    @rule(index=which)
    def count_days(self, index: int) -> None:
        """Counts the days that are over; those that other transactions still write to wait."""
        project, rollups = self.projects[index], self.postgres.evaluation.score_rollups
        assert isinstance(rollups, PostgresScoreRollups)
        self.runner.run(rollups.count_days_of(project))
        differing = within(rollups.pool, project).fetch(score_day_recount.DIFFERING, project)
        assert self.runner.run(differing) == []

    @rule(
        index=which, within=scores.within, parts=st.integers(1, 100) | st.sampled_from([5, 10, 100])
    )
    def figures(self, index: int, within: CreatedWithin, parts: int) -> None:
        project = self.projects[index]
        self.run_on_both(
            lambda plane: scores.figures(plane.evaluation.score_analytics, project, within, parts)
        )

    @rule(index=which, within=scores.within, threshold=st.sampled_from([0.0, 0.29, 0.5, 1.0]))
    def label(self, index: int, within: CreatedWithin, threshold: float) -> None:
        project = self.projects[index]
        self.run_on_both(
            lambda plane: scores.labelled(plane.evaluation.labels, project, "m", threshold, within)
        )

    @rule(index=which, order=trace_strategies.orders, window=trace_strategies.windows)
    def compare(self, index: int, order: SortOrder, window: PageRequest) -> None:
        project = self.projects[index]

        async def read(plane: DataPlane) -> list[Any]:
            ask = plane.evaluation.score_analytics.comparison
            page = await ask(project, "m", order, window)
            return [page, await ask(project, "m", order, PageRequest(window.limit, after=page.end))]

        self.run_on_both(read)

    @invariant()
    def lists_agree(self) -> None:
        async def read(plane: DataPlane) -> list[Any]:
            found: list[Any] = []
            ports = plane.evaluation
            for project in self.projects:
                found += [
                    await ports.trace_scores.page(project, ScoreFilter(), ALL),
                    await ports.trace_scores.page(project, ScoreFilter(of_spans=True), ALL),
                    await ports.session_scores.page(project, ScoreFilter(), ALL),
                    *[list(await ports.trace_scores.by_run(project, run)) for run in scores.RUNS],
                    *[
                        list(await ports.trace_scores.latest(project, one, span_id))
                        for one in strategies.TRACE_IDS
                        for span_id in (None, *strategies.SPAN_IDS[:2])
                    ],
                    list(await ports.session_scores.by_session(project, "s")),
                ]
            return found

        self.run_on_both(read)

    def teardown(self) -> None:
        """All figures, once: they are hundreds of reads. The rules above read some in between.

        In `make test` of the first project alone, which has most of the scores.
        """

        async def read(plane: DataPlane) -> list[Any]:
            found: list[Any] = []
            ports = plane.evaluation
            for project in sampled(self.projects, 1, 0, usually=True):
                found += [
                    await scores.figures(ports.score_analytics, project, scores.EVER, 10),
                    *[
                        await scores.labelled(ports.labels, project, name, 0.5, scores.EVER)
                        for name in ("m", "M")
                    ],
                ]
            return found

        if hasattr(self, "model"):
            self.run_on_both(read)
            for project in (0, 1):
                self.newest_are_known(project)


def test_random_histories_of_scores_agree(pool, serving_url):
    assert_histories_agree(Histories, over_postgres, serving_url, examples=50, steps=12)
