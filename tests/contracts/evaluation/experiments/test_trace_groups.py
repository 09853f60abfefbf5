"""Contract of TraceGroups, run against every adapter."""

import dataclasses
import math
import uuid
from decimal import Decimal

import pytest

from adapters.postgres.evaluation.experiments.trace_groups import PostgresTraceGroups
from domain.errors import Invalid
from domain.evaluation.experiments.trace_groups import (
    GROUP_MEANS_MAX,
    LOWEST_MAX,
    GroupComparison,
    GroupFigures,
    LowScore,
    ScoreFigures,
    ScoreKind,
)
from domain.tracing.analytics import Latencies
from domain.tracing.query import TraceFilter
from domain.tracing.span import SpanStatus
from domain.tracing.trace import TraceStatus
from tests.support.builders.scores import (
    ANNOTATION,
    AUTOMATED,
    FAILED,
    PENDING,
    PROGRAMMATIC,
    RUNS,
    SKIPPED,
    by,
    trace_score,
)
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import fill, over_postgres, project

OLD, NEW = TraceFilter(release="1"), TraceFilter(release="2")
TOKENS = b'{"prompt_tokens": 3, "completion_tokens": 4}'


@pytest.fixture
def groups(plane):
    return plane.evaluation.trace_groups


@pytest.fixture
def add(plane):
    async def add(ours, of, value, **said):
        known = {"source": AUTOMATED, "run_id": RUNS[0]} | said
        await plane.evaluation.trace_scores.add(trace_score(ours, of.id, value=value, **known))

    return add


async def test_figures_are_those_of_the_matching_traces(plane, groups):
    ours, theirs = project(), project()
    priced = span(cost={"total": 0.25}, token_usage=TOKENS)
    unpriced = span(model="nobody-knows", token_usage=TOKENS, status=SpanStatus.ERROR)
    known = [
        trace(priced, release="1", started_at=at(0), ended_at=at(1)),
        trace(unpriced, unpriced_too(), release="1", started_at=at(2), ended_at=at(4)),
        trace(unpriced_too(), release="1", started_at=at(3), status=TraceStatus.ERROR),
    ]
    await fill(plane, ours, *known, trace(release="2", started_at=at(9)))
    await fill(plane, theirs, trace(release="1"))
    assert await groups.figures(ours, OLD) == GroupFigures(
        total=3,
        traces=frozenset(one.id for one in known),
        failed=1,
        erroneous=2,
        latencies=Latencies(2, 1_500.0, 1_500.0, 1_900.0, 1_990.0),
        tokens=28,
        cost=Decimal("0.25"),
        unpriced_traces=2,
        unpriced_spans=3,
        first_started_at=at(0),
        last_started_at=at(3),
    )
    assert await groups.figures(ours, TraceFilter(release="3")) == GroupFigures(total=0)


@pytest.mark.service
async def test_total_of_a_large_group_is_a_lower_bound(pool):
    ours = project()
    async with over_postgres(pool) as plane:
        await fill(plane, ours, *(trace(release="1", name="n") for _ in range(4)))
    groups = PostgresTraceGroups(pool, traces_max=1, sorted_max=1, counted_max=2)
    found = await groups.figures(ours, TraceFilter(release="1", name="n"))
    assert (found.total, found.total_is_at_least, len(found.traces)) == (2, True, 1)


def unpriced_too():
    return span(model="nobody-knows", token_usage=TOKENS)


async def test_the_newest_score_of_a_name_counts(plane, groups, add):
    ours = project()
    one, other = trace(release="1"), trace(release="1")
    await fill(plane, ours, one, other)
    model = by("model", fingerprint="f")
    await add(ours, one, "0.1", name="m", metadata=model, created_at=at(0))
    for n, value in ((1, "0.2"), (3, "0.5"), (2, "0.3")):  # of equals, the one with the last id
        score = {"id": uuid.UUID(int=n), "created_at": at(1)}
        await add(ours, one, value, name="m", metadata=model, **score)
    await add(ours, one, None, name="m", outcome=PENDING, created_at=at(2))
    await add(ours, one, "0.9", name="m", source=ANNOTATION, run_id=None, created_at=at(3))
    await add(ours, other, "1.0", name="m", metadata=model, created_at=at(0))
    await add(ours, one, None, name="n", outcome=SKIPPED)
    await add(ours, other, None, name="n", outcome=FAILED)
    assert found(await groups.figures(ours, OLD)) == {
        ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="f"): ScoreFigures(
            kind=ScoreKind("m", is_of_run=True, judge_kind="model", fingerprint="f"),
            numbers=2, mean=0.75, variance=0.125, extremes=1,
            lowest=(LowScore(one.id, 0.5), LowScore(other.id, 1.0)),
        ),
        ScoreKind("m", is_of_run=False): ScoreFigures(
            kind=ScoreKind("m", is_of_run=False), numbers=1, mean=0.9,
            lowest=(LowScore(one.id, 0.9),),
        ),
        ScoreKind("n", is_of_run=True): ScoreFigures(
            kind=ScoreKind("n", is_of_run=True), numbers=0, skipped=1, failed=1
        ),
    }  # fmt: skip
    only = await groups.figures(ours, OLD, ["n", "gone"])
    assert [one.kind.name for one in only.scores] == ["n"]


def found(group):
    return {
        one.kind: dataclasses.replace(
            one, variance=None if one.variance is None else round(one.variance, 12)
        )
        for one in group.scores
    }


async def test_scores_of_spans_are_left_out(plane, groups, add):
    ours, step = project(), span()
    one = trace(step, release="1")
    await fill(plane, ours, one)
    await add(ours, one, "0.5", source=PROGRAMMATIC, run_id=None, span_id=step.id)
    assert (await groups.figures(ours, OLD)).scores == ()


async def test_lowest_scores_name_their_traces(plane, groups, add):
    ours = project()
    known = [trace(release="1", started_at=at(n)) for n in range(LOWEST_MAX + 2)]
    await fill(plane, ours, *known)
    for n, one in enumerate(known):
        await add(ours, one, str(n / 10), name="m")
    [scores] = (await groups.figures(ours, OLD)).scores
    lowest = [LowScore(one.id, n / 10) for n, one in enumerate(known[:LOWEST_MAX])]
    assert scores.lowest == tuple(lowest)
    assert math.isclose(scores.mean, 0.3)


async def test_groups_of_two_releases_are_compared(plane, groups, add):
    ours = project()
    sides = {}
    for release, value in (("1", "1.0"), ("2", "0.0")):
        sides[release] = [trace(release=release) for _ in range(3)]
        await fill(plane, ours, *sides[release])
        for one in sides[release]:
            await add(ours, one, value, name="m", metadata=by("heuristic", fingerprint=release))
    compared = GroupComparison.from_groups(
        await groups.figures(ours, OLD), await groups.figures(ours, NEW)
    )
    [metric] = compared.metrics
    assert (metric.a.scored, metric.b.scored, metric.has_other_fingerprints) == (3, 3, True)
    assert [one.difference for one in metric.means] == [None, None]


async def test_too_many_kinds_of_scores_are_refused(plane, groups, add):
    ours, one = project(), trace(release="1")
    await fill(plane, ours, one)
    for n in range(GROUP_MEANS_MAX + 1):
        await add(ours, one, "0.5", name=f"m{n}", id=uuid.uuid4())
    with pytest.raises(Invalid, match="metrics"):
        await groups.figures(ours, OLD)
    assert len((await groups.figures(ours, OLD, ["m7"])).scores) == 1
