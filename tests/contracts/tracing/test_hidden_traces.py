"""Data under erasure is hidden once the erasure has begun.

Part of the contract of Erasures.

The tests compare a project that has the subject's traces with one that never had them.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import product
from typing import Any, Final

import pytest

from domain.errors import Invalid, NotFound
from domain.evaluation.agreement.claims import ClaimRequest
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.evaluation.scores.outcome import FailCode, Failed
from domain.evaluation.scores.score import CreatedWithin, ScoreChange, ScoreFilter, ScoreTarget
from domain.ids import ProjectId
from domain.page import PageRequest, SortOrder
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.analytics import Granularity, Period
from domain.tracing.facet_values import FacetField, FacetQuery
from domain.tracing.payloads.payload_detail import WHOLE_PAYLOADS, PayloadName
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import SessionFilter, SessionSort
from domain.tracing.span import SpanChange, SpanStatus
from domain.tracing.spans.error_groups import ErrorFilter, ErrorSort
from domain.tracing.spans.span_analytics import SpanAnalyticsQuery, SpanGroupKey, SpanInterval
from domain.tracing.spans.span_query import SpanFilter, SpanSort
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from domain.tracing.trace_breakdown import TraceAnalyticsQuery
from tests.contracts.exports.test_exports import an_export
from tests.contracts.exports.test_trace_archive import read
from tests.contracts.privacy.test_erasures import GRACE, ErasureFixture
from tests.support.builders.scores import AUTOMATED, RUNS, session_score, trace_score
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures.data_plane import (
    ALL,
    ALL_TIME,
    TRACE_GROUPS,
    DataPlane,
    assert_summaries_match,
    fill,
    project,
    read_all_pages,
    session_counts,
)
from tests.support.fixtures.evaluation.evaluation import a_run, work_of
from tests.support.fixtures.in_memory_app import World
from tests.support.hypothesis_scale import crossed, sampled

ASC, DESC = SortOrder.ASC, SortOrder.DESC
TALK = DataSubject(DataSubjectKind.SESSION, "gone 0")
BOTH_SUBJECTS = pytest.mark.parametrize("owner", [GRACE, TALK], ids=["user", "session"])
EVER = CreatedWithin()
CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"tags": ("a",)},
    {"tags": ("a", "b")},
    {"name": "e"},
    {"status": TraceStatus.ERROR},
    {"has_error": False},
    {"started_after": at(3), "started_before": at(11)},
    {"min_latency_ms": 1.0},
    {"model": "gpt-4o"},
    {"environment": "prod"},
    {"session_id": "stays 0"},
    {"session_id": "gone 0"},
    {"user_id": GRACE.id},
    {"user_id": "ada"},
    {"metadata": (("k", ("1",)),)},
    {"environment": "prod", "tags": ("b",)},
)


def traces_of(owner: DataSubject | None, count: int = 12) -> list[Trace]:
    """Returns traces of a user or of a session; with None, of neither."""
    kind = None if owner is None else owner.kind
    which = "stays" if owner is None else "gone"
    return [
        trace(
            span(
                model="gpt-4o" if n % 2 else "o3",
                token_usage=b'{"prompt_tokens":3}',
                status=SpanStatus.ERROR if n % 3 == 1 else None,
                error=f"{which} after {n} s" if n % 3 == 1 else None,
                started_at=at(n),
            ),
            name=f"{which} {n % 3}",
            started_at=at(n),
            ended_at=None if n % 4 == 0 else at(n + 1 + n % 3),
            status=TraceStatus.ERROR if n % 3 == 0 else None,
            session_id=TALK.id if kind is DataSubjectKind.SESSION else f"{which} {n % 3}",
            user_id=GRACE.id if kind is DataSubjectKind.USER else "ada" if n % 2 else None,
            tags=("a",) if n % 2 else ("a", "b"),
            environment="prod" if n % 3 else None,
            metadata=b'{"k":1}' if n % 2 else b"{}",
            input=b"[1]",
        )
        for n in range(count)
    ]


async def put_with_scores(plane: DataPlane, project_id: ProjectId, sent: list[Trace]) -> None:
    """Stores traces, with scores of each trace, of its spans, and of each session."""
    await fill(plane, project_id, *sent)
    for n, one in enumerate(sent):
        for source, name in ((AUTOMATED, "m"), (AUTOMATED, "n")):
            score = trace_score(
                project_id, one.id, name=name, source=source, run_id=RUNS[0], created_at=at(n),
                value=str(n % 5 / 4), id=uuid.uuid5(one.id, name),
            )  # fmt: skip
            await plane.evaluation.trace_scores.add(score)
        for step in one.spans:
            score = trace_score(
                project_id, one.id, span_id=step.id, value=str(n % 5 / 4), created_at=at(n),
                id=uuid.uuid5(one.id, "span"),
            )  # fmt: skip
            await plane.evaluation.trace_scores.add(score)
    for n, session in enumerate(sorted({one.session_id or "" for one in sent})):
        score_id = uuid.uuid5(sent[0].id, session)
        about = session_score(project_id, session, created_at=at(n), run_id=RUNS[0], id=score_id)
        await plane.evaluation.session_scores.add(about)


@pytest.fixture
def fixture(world: World) -> ErasureFixture:
    return ErasureFixture(DataPlane.from_ports(world.ports), world, [])


# --- reads -------------------------------------------------------------------------------------

type Read = Callable[[DataPlane, ProjectId], Awaitable[Any]]


async def _lists(plane: DataPlane, project_id: ProjectId) -> Any:
    found = []
    orders = crossed(list(TraceSort), list(SortOrder))
    for conditions, (sort, order) in crossed(CONDITIONS, orders):
        matching = TraceFilter(**conditions)

        async def page(window: PageRequest) -> Any:
            return await plane.traces.summaries(project_id, matching, sort, order, window)  # noqa: B023 - asked at once

        found.append(await read_all_pages(page, 5))
        found.append(await page(PageRequest(limit=3, offset=2)))
    return found


async def _spans(plane: DataPlane, project_id: ProjectId) -> Any:
    found = []
    orders = crossed(list(SpanSort), list(SortOrder))
    for conditions, (sort, order) in crossed(
        (
            *({}, {"has_error": True}, {"model": "o3"}, {"user_id": GRACE.id}, {"tags": ("b",)}),
            *({"session_id": "gone 0"}, {"environment": "prod", "started_after": at(3)}),
        ),
        orders,
    ):
        matching = SpanFilter(**conditions)

        async def page(window: PageRequest) -> Any:
            return await plane.tracing.spans.summaries(project_id, matching, sort, order, window)  # noqa: B023 - asked at once

        found.append(await read_all_pages(page, 4))
    return found


async def _errors(plane: DataPlane, project_id: ProjectId) -> Any:
    found = []
    for period in (ALL_TIME, Period(at(3), at(9))):
        matching = ErrorFilter(period=period)
        found.append(
            await plane.tracing.spans.error_groups(project_id, matching, ErrorSort.COUNT, DESC, ALL)
        )
    return found


SOME_CONDITIONS: Final[list[dict[str, Any]]] = [
    *({}, {"model": "o3"}, {"environment": "prod"}, {"user_id": GRACE.id})
]


async def _trace_groups(plane: DataPlane, project_id: ProjectId) -> Any:
    found = []
    for by, conditions in crossed((None, *TRACE_GROUPS), SOME_CONDITIONS):
        matching = TraceFilter(**conditions)
        query = TraceAnalyticsQuery(period=ALL_TIME, matching=matching, by=by)
        found.append(await plane.analytics.groups(project_id, query))
    return found


async def _span_figures(plane: DataPlane, project_id: ProjectId) -> Any:
    found = []
    figures = list(product(SpanGroupKey, (SpanInterval.NONE, SpanInterval.HOUR)))
    for (group_by, interval), conditions in crossed(figures, SOME_CONDITIONS):
        query = SpanAnalyticsQuery(
            matching=SpanFilter(**conditions),
            period=ALL_TIME,
            group_by=group_by,
            interval=interval,
        )
        found.append(await plane.tracing.spans.analytics(project_id, query))
    return found


async def _sessions(plane: DataPlane, project_id: ProjectId) -> Any:
    found = []
    for conditions, (sort, order) in crossed(
        (
            {}, {"has_error": True}, {"has_error": False}, {"query": "S"}, {"query": "0"},
            {"user_id": "ada"}, {"user_id": GRACE.id}, {"tags": ("b",)}, {"started_after": at(4)},
        ),
        crossed(list(SessionSort), list(SortOrder)),
    ):  # fmt: skip
        matching = SessionFilter(**conditions)

        async def page(window: PageRequest) -> Any:
            return await plane.sessions.summaries(project_id, matching, sort, order, window)  # noqa: B023 - asked at once

        found.append(await read_all_pages(page, 2))
    return found


async def _users(plane: DataPlane, project_id: ProjectId) -> Any:
    return await read_all_pages(lambda window: plane.analytics.users(project_id, window), 1)


async def _facets(plane: DataPlane, project_id: ProjectId) -> Any:
    fields = [one for one in FacetField if one is not FacetField.USER]
    queries = [FacetQuery(one, key="k") for one in fields]
    matching = TraceFilter(has_error=False)
    queries += [FacetQuery(one, key="k", matching=matching) for one in FacetField]
    return [await plane.analytics.facets(project_id, one) for one in queries]


async def _scores(plane: DataPlane, project_id: ProjectId) -> Any:
    found: list[Any] = []
    traces, sessions = plane.evaluation.trace_scores, plane.evaluation.session_scores
    for port, conditions in product(
        (traces, sessions),
        (
            *({}, {"name": "m"}, {"session_id": "gone 0"}, {"run_id": RUNS[0]}),
            *({"environment": "x"}, {"of_spans": True}),
        ),
    ):
        matching = ScoreFilter(**conditions)

        async def page(window: PageRequest) -> Any:
            return await port.page(project_id, matching, window)  # noqa: B023 - asked at once

        found.append([[one.id for one in pages] for pages in await read_all_pages(page, 4)])
    found.append([one.id for one in await traces.by_run(project_id, RUNS[0])])
    found.append([one.id for one in await sessions.by_run(project_id, RUNS[0])])
    for session in ("stays 0", "gone 0"):
        found.append([one.id for one in await sessions.by_session(project_id, session)])
    return found


async def _score_figures(plane: DataPlane, project_id: ProjectId) -> Any:
    figures = plane.evaluation.score_analytics
    found: list[Any] = [await figures.summaries(project_id, kind, EVER) for kind in ScoreTarget]
    found += [
        await figures.trend(project_id, kind, ("m",), Granularity.DAY, EVER) for kind in ScoreTarget
    ]
    found += [await figures.distribution(project_id, kind, "m", 4, EVER) for kind in ScoreTarget]
    found += [await figures.history(project_id, one, None, 9) for one in ("stays 0", "gone 0")]
    found.append(
        await read_all_pages(lambda window: figures.comparison(project_id, "m", DESC, window), 2)
    )
    labels = plane.evaluation.labels
    found += [await labels.compare_with_human_labels(project_id, "m", 0.5, EVER)]
    offered = await labels.annotation_queue(project_id, "m", 0.5, "seed", 9)
    found.append([(one.score.id, one.why) for one in offered])
    claims, day = plane.evaluation.annotation_claims, NOON.replace(hour=0)
    request = ClaimRequest(
        name="m",
        threshold=0.5,
        seed="",
        holder="a",
        count=99,
        skipped=frozenset(),
        day=day,
        now=NOON,
    )
    claimed = await claims.claim(project_id, request)
    found += [claimed.progress, await claims.progress(project_id, "m", day)]
    return [*found, {one.item.score.id for one in claimed.items}]


async def _compared_groups(plane: DataPlane, project_id: ProjectId) -> Any:
    return await plane.evaluation.trace_groups.figures(project_id, TraceFilter())


async def _targets(plane: DataPlane, project_id: ProjectId) -> Any:
    targets, changed = plane.evaluation.targets, plane.evaluation.changed
    upto = replace(await changed.readable_until(), written_at=NOON.replace(year=2_100))
    selections = (TraceSelection(), SessionSelection())
    return [
        await targets.traces(project_id, TraceSelection(), 99),
        await targets.sessions(project_id, SessionSelection(), 99),
        *[await targets.session_traces(project_id, one) for one in ("stays 0", "gone 0")],
        *[await changed.targets(project_id, one, None, upto, 99) for one in selections],
    ]


async def _archive(plane: DataPlane, project_id: ProjectId) -> Any:
    return [one.trace for one in await read(plane, project_id)]


READS: dict[str, Read] = {
    "traces": _lists,
    "spans": _spans,
    "errors": _errors,
    "figures of spans": _span_figures,
    "groups of traces": _trace_groups,
    "sessions": _sessions,
    "users": _users,
    "facets": _facets,
    "scores": _scores,
    "figures of scores": _score_figures,
    "compared groups": _compared_groups,
    "targets": _targets,
    "archive": _archive,
}


# A session hides in the same way as a user.
@pytest.mark.parametrize(
    "owner", [GRACE, pytest.param(TALK, marks=pytest.mark.exhaustive)], ids=["user", "session"]
)
async def test_reads_are_as_if_subject_never_existed(fixture: ErasureFixture, owner: DataSubject):
    plane, ours, bare, others = fixture.plane, project(), project(), traces_of(None)
    for sent in (others, traces_of(owner)):
        await put_with_scores(plane, ours, sent)
    await put_with_scores(plane, bare, others)
    asked = dict(READS)
    if owner == TALK:
        # The totals of a user are a sum, which counts a session until the session is deleted.
        asked.pop("users", None)
    expected = {}
    for what, ask in asked.items():
        before, expected[what] = await ask(plane, ours), await ask(plane, bare)
        assert before != expected[what], what
    await fixture.request(ours, owner)
    for what, ask in asked.items():
        assert await ask(plane, ours) == expected[what], what
    # Nothing is hidden in another project.
    other = project()
    await put_with_scores(plane, other, [*others, *traces_of(owner)])
    for what in sampled(list(asked), 4, 0, usually=True):
        assert await asked[what](plane, other) != expected[what], what


@BOTH_SUBJECTS
async def test_hidden_data_cannot_be_read_or_changed_by_id(
    fixture: ErasureFixture, owner: DataSubject
):
    plane, ours, gone = fixture.plane, project(), traces_of(owner)
    await put_with_scores(plane, ours, gone)
    one, do = gone[0], plane.evaluation
    assert one.session_id is not None
    [score, *_] = await do.trace_scores.latest(ours, one.id)
    [of_session, *_] = await do.session_scores.by_session(ours, one.session_id)
    await fixture.request(ours, owner)
    reads: list[Awaitable[Any]] = [
        plane.traces.get(ours, one.id),
        plane.traces.revision(ours, one.id),
        plane.traces.outline(ours, one.id, 0, 9),
        plane.traces.span(ours, one.id, one.spans[0].id, WHOLE_PAYLOADS),
        plane.traces.spans(ours, one.id, WHOLE_PAYLOADS, ALL),
        plane.traces.spans_by_id(ours, one.id, [one.spans[0].id], WHOLE_PAYLOADS),
        plane.traces.detail(ours, one.id, WHOLE_PAYLOADS),
        plane.traces.payload(ours, one.id, one.spans[0].id, PayloadName.INPUT),
        *[plane.traces.payload(ours, one.id, None, name) for name in PayloadName],
        plane.traces.change(ours, one.id, TraceChange(name="named")),
        plane.traces.change_span(ours, one.id, one.spans[0].id, SpanChange(name="named")),
        plane.traces.add_spans(ours, one.id, [span()]),
        plane.sessions.get(ours, one.session_id, ALL),
        plane.sessions.turns(ours, one.session_id, ASC, ALL),
        do.trace_scores.change(ours, score.id, ScoreChange(value="1"), NOON, None),
        do.trace_scores.add(trace_score(ours, one.id)),
        do.trace_scores.add(trace_score(ours, one.id, span_id=one.spans[0].id)),
        do.session_scores.add(session_score(ours, one.session_id)),
    ]
    for call in reads:
        with pytest.raises(NotFound):
            await call
    assert await plane.traces.retag(ours, [one.id], ["b"], []) == 0
    assert await plane.traces.delete(ours, [one.id]) == 0
    assert await plane.sessions.delete(ours, one.session_id) == 0
    assert await plane.traces.previews(ours, [one.id]) == {}
    assert await do.trace_scores.latest_of_traces(ours, [one.id]) == {}
    assert await do.trace_scores.latest(ours, one.id) == []
    assert await do.trace_scores.latest(ours, one.id, one.spans[0].id) == []
    assert not await do.trace_scores.delete(ours, score.id)
    assert not await do.session_scores.delete(ours, of_session.id)
    assert await do.targets.load_trace(ours, one.id) == Failed(FailCode.TARGET_GONE)
    assert await plane.exporting.archive.load(ours, [one.id]) == []


async def test_session_that_loses_a_trace_is_hidden_but_its_other_traces_are_not(
    fixture: ErasureFixture,
):
    plane, ours = fixture.plane, project()
    mine, others = (
        trace(session_id="s", user_id=one, tags=("a",), started_at=NOON)
        for one in (GRACE.id, "ada")
    )
    await put_with_scores(plane, ours, [mine, others])
    filters: list[dict[str, Any]] = [
        {}, {"user_id": "ada"}, {"tags": ("a",)}, {"started_after": NOON}, {"query": "S"},
        {"has_error": False}, {"user_id": "ada", "has_error": False, "query": "s"},
    ]  # fmt: skip
    for one in filters:
        assert (await session_counts(plane, ours, **one)).keys() == {"s"}
    erasure = await fixture.request(ours)
    for one in filters:
        assert await session_counts(plane, ours, **one) == {}
    for call in (
        plane.sessions.get(ours, "s", ALL),
        plane.sessions.turns(ours, "s", ASC, ALL),
        plane.evaluation.session_scores.add(session_score(ours, "s")),
    ):
        with pytest.raises(NotFound):
            await call
    assert await plane.sessions.delete(ours, "s") == 0
    assert await plane.sessions.first_inputs(ours, ["s"]) == {}
    assert await plane.evaluation.session_scores.by_session(ours, "s") == []
    assert await plane.evaluation.session_scores.latest_of_sessions(ours, ["s"]) == {}
    assert (await plane.traces.get(ours, others.id)).id == others.id
    assert len(await plane.evaluation.trace_scores.latest(ours, others.id)) == 2
    await fixture.finish(erasure)
    assert len((await plane.sessions.get(ours, "s", ALL)).traces) == 1
    await plane.evaluation.session_scores.add(session_score(ours, "s"))
    assert len(await assert_summaries_match(plane, ours)) == 1


async def test_several_subjects_are_hidden_at_once(fixture: ErasureFixture):
    plane, ours, others = fixture.plane, project(), traces_of(None)
    await fill(plane, ours, *others, *traces_of(GRACE), *traces_of(TALK))
    first, second = await fixture.request(ours), await fixture.request(ours, TALK)
    page = await plane.traces.summaries(ours, TraceFilter(), TraceSort.STARTED_AT, ASC, ALL)
    assert {one.id for one in page.items} == {one.id for one in others}
    assert page.total == len(others)
    for erasure in (first, second):
        await fixture.finish(erasure)
    assert len(await assert_summaries_match(plane, ours)) == len(others)


@BOTH_SUBJECTS
async def test_hidden_trace_is_not_judged(fixture: ErasureFixture, owner: DataSubject):
    evaluation, ours, gone = fixture.plane.evaluation, project(), traces_of(owner)
    await fill(fixture.plane, ours, *gone)
    run = a_run(ours, 1)
    [work] = work_of(run)
    await evaluation.runs.create(run, [replace(work, target=str(gone[0].id))])
    await evaluation.work_queue.plan(ours, run.id, NOON)
    [due] = await evaluation.work_queue.dispatch(ours, NOON)
    claim = await evaluation.work_queue.claim(ours, run.id, due.target, NOON)
    assert claim is not None
    assert await evaluation.work_queue.is_live(claim, gone[0].id)
    await fixture.request(ours, owner)
    assert not await evaluation.work_queue.is_live(claim, gone[0].id)
    assert await evaluation.work_queue.is_live(claim)


async def test_exports_are_deleted_when_erasure_begins(fixture: ErasureFixture):
    ours, exports = project(), fixture.world.ports.exporting.exports
    made = an_export(ours, due_at=NOON.replace(year=2_000))
    await exports.create(made)
    claimed = await exports.claim(NOON.replace(year=2_000), NOON)
    assert claimed is not None
    assert claimed.id == made.id
    assert await exports.save(claimed, b"piece")
    assert await exports.read_piece(ours, made.id, 0) == b"piece"
    erasure = await fixture.request(ours)
    assert await exports.all(ours) == []
    # A client in the middle of a download gets no further piece.
    with pytest.raises(NotFound):
        await exports.read_piece(ours, made.id, 0)
    assert not await exports.save(claimed, b"more")
    known = await fixture.port.get(ours, erasure.id)
    assert known.rows["exports"] == 1
    assert (await fixture.step(erasure)).rows == {"exports": 1, "export_pieces": 1}


@BOTH_SUBJECTS
async def test_hidden_trace_cannot_be_reassigned(fixture: ErasureFixture, owner: DataSubject):
    plane, ours = fixture.plane, project()
    mine = [trace(session_id=TALK.id, user_id=GRACE.id) for _ in range(2)]
    await fill(plane, ours, *mine)
    erasure = await fixture.request(ours, owner)
    to_ada: dict[str, Any] = {"user_id": "ada"}
    to_s: dict[str, Any] = {"session_id": "s"}
    takes, keeps = (to_ada, to_s) if owner is GRACE else (to_s, to_ada)
    with pytest.raises(Invalid) as refused:
        await plane.traces.put(ours, trace(id=mine[0].id, **takes))
    assert [error.field for error in refused.value.errors] == ["trace_id"]
    # A late trace that keeps the subject, or names none, is stored and erased too.
    await plane.traces.put(ours, trace(id=mine[1].id))
    await plane.traces.put(ours, trace(id=mine[1].id, **keeps))
    erasure = await fixture.finish(erasure)
    assert erasure.rows["traces"] == 2
    assert list(await assert_summaries_match(plane, ours)) == []
