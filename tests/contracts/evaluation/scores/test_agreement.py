"""Contract of HumanLabels. Random histories: test_scores_histories.py."""

import asyncio
import json
import uuid
from dataclasses import replace

import pytest

from domain.errors import Conflict
from domain.evaluation.agreement.calibration import (
    JUDGE_SCORES_PER_TRACE_MAX,
    JUDGES_MAX,
    CellQuery,
    ConfusionCell,
    JudgeScores,
    JudgeVolume,
    SelectionReason,
    random_key,
    traces_of_cell,
)
from domain.evaluation.agreement.statistics import ScorePair
from domain.evaluation.scores.score import CreatedWithin, DataType, ScoreChange
from tests.support.builders.scores import (
    ADA,
    AUTOMATED,
    EVER,
    FAILED,
    PENDING,
    PROGRAMMATIC,
    RUNS,
    by,
    trace_score,
)
from tests.support.builders.values import at, span_id, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation.evaluation import a_run, work_of

SEED = "a day"


@pytest.fixture
def labels(plane):
    return plane.evaluation.labels


@pytest.fixture
async def ours(plane):
    ours = project()
    await fill(plane, ours, *(trace(id=one) for one in traces(ours)))
    return ours


def traces(of, count=12):
    return [uuid.uuid5(of, f"{n}") for n in range(count)]


@pytest.fixture
def add(plane, ours):
    """Returns a function that stores and returns a score of the n-th trace."""

    async def add(n, value, **overrides):
        score = trace_score(ours, traces(ours)[n], value=value, **overrides)
        return await plane.evaluation.trace_scores.add(score, checks_span=False)

    return add


@pytest.fixture
def judge(add):
    """Returns a function that stores a run's score of the n-th trace."""

    async def judge(n, value, seconds=0, by_whom="f", **overrides):
        known = {"source": AUTOMATED, "run_id": RUNS[0], "created_at": at(seconds)}
        metadata = by("model", fingerprint=by_whom, evidence_hash="e")
        return await add(n, value, **known | {"metadata": metadata} | overrides)

    return judge


@pytest.fixture
def change(plane, ours):
    async def change(score, seconds=1, **overrides):
        ports = plane.evaluation.trace_scores
        return await ports.change(ours, score.id, ScoreChange(**overrides), at(seconds), ADA)

    return change


@pytest.fixture
def compare(labels, ours):
    async def compare(within=EVER, *, name="m", threshold=0.5, of=None):
        return [*await labels.compare_with_human_labels(of or ours, name, threshold, within)]

    return compare


@pytest.fixture
def list_offered(labels, ours):
    """Returns a function that lists the offered traces, by number, with the reason."""

    async def list_offered(limit=12, *, threshold=0.5, seed=SEED, of=None):
        known = {one: n for n, one in enumerate(traces(ours))}
        found = await labels.annotation_queue(of or ours, "m", threshold, seed, limit)
        return [(known[one.score.trace_id], one.why) for one in found]

    return list_offered


def judge_scores(fingerprint, *pairs, judged, passed, kind="model"):
    return JudgeScores(
        fingerprint=fingerprint,
        pairs=[ScorePair(*pair) for pair in pairs],
        rated=JudgeVolume(judge_kind=kind, judged=judged, passed=passed),
    )


# --- judges compared with people -------------------------------------------------------------


async def test_score_of_span_is_neither_label_nor_judged(compare, list_offered, add, judge):
    """Neither stands for the trace, from a judge or from a person."""
    await judge(0, "0.2")
    of_span = {"span_id": span_id(), "created_at": at(9)}
    await add(0, "1", **of_span)
    await add(0, "0.5", source=AUTOMATED, metadata=by("model", fingerprint="f"), **of_span)
    await add(1, "0.5", source=AUTOMATED, metadata=by("model", fingerprint="f"), **of_span)
    assert await compare() == [judge_scores("f", judged=1, passed=0)]
    assert await list_offered() == [(0, SelectionReason.UNCERTAIN)]


async def test_annotation_of_same_trace_and_name_makes_pair(compare, add, judge):
    await judge(0, "0.2")
    await judge(1, "0.8")
    await judge(2, "0.5")
    await add(0, "1")
    await add(1, "0.75", name="other")
    await add(3, "0.9")
    assert await compare() == [judge_scores("f", (0.2, 1.0), judged=3, passed=2)]
    assert await compare(threshold=0.51) == [judge_scores("f", (0.2, 1.0), judged=3, passed=1)]
    assert await compare(threshold=0) == [judge_scores("f", (0.2, 1.0), judged=3, passed=3)]
    assert await compare(name="other") == []
    assert await compare(of=project()) == []


async def test_paired_traces_are_those_of_the_pairs(compare, labels, ours, add, judge, change):
    for n, number in ((0, "0.2"), (1, "0.9"), (2, "0.8")):
        await judge(n, number)
    await judge(1, "0.1", by_whom="g")
    await add(0, "1", created_at=at(1), updated_at=at(1))
    await add(1, "1", created_at=at(2), updated_at=at(2))
    await change(await add(1, "0", created_at=at(3), updated_at=at(3)), seconds=9, value="0.6")
    found = [*await labels.paired_traces(ours, "m", EVER)]
    first, second, _ = traces(ours, 3)
    by_trace = {(one.trace, one.fingerprint): (one.pair, one.labelled_at) for one in found}
    assert by_trace == {
        (first, "f"): (ScorePair(0.2, 1.0), at(1)),
        (second, "f"): (ScorePair(0.9, 0.6), at(9)),
        (second, "g"): (ScorePair(0.1, 0.6), at(9)),
    }
    compared = await compare()
    pairs = sorted((one.fingerprint, pair.judge) for one in compared for pair in one.pairs)
    assert pairs == sorted((one.fingerprint, one.pair.judge) for one in found)
    newest = traces_of_cell(found, CellQuery(cell=ConfusionCell.ONLY_PEOPLE_PASS, threshold=0.5))
    assert [(one.trace, one.fingerprint) for one in newest.traces] == [(second, "g"), (first, "f")]
    assert newest.total == 2
    assert await labels.paired_traces(project(), "m", EVER) == []


async def test_correction_of_judge_score_makes_pair(compare, judge, change):
    first, second = await judge(0, "0.2"), await judge(1, "0.9")
    await change(first, value="0.7")
    await change(first, seconds=2, value="0.75", metadata=by("model", fingerprint="f"))
    await change(second, reason="as it says")
    assert await compare() == [judge_scores("f", (0.2, 0.75), judged=2, passed=1, kind=None)]


async def test_judge_score_with_an_edited_reason_is_compared(compare, add, judge, change):
    noted = await judge(0, "0.2")
    await add(0, "1")
    await change(noted, reason="too short", metadata=b'{"about":"\\u0000"}')
    pairs = [judge_scores("f", (0.2, 1.0), judged=1, passed=0, kind=None)]
    assert await compare() == pairs
    await change(noted, seconds=2, reason="short", metadata=b"{}")
    assert await compare() == pairs


async def test_reverted_correction_does_not_count_as_label(
    compare, labels, ours, list_offered, judge, change
):
    """The score is the judge's again, in the queue and in pass rates."""
    score = await judge(0, "0.2", reason="because")
    await change(score, value="0.7", reason="mine")
    assert await list_offered() == []
    again = await change(score, seconds=2, undo=True)
    assert replace(again, history=(), updated_at=score.updated_at) == score
    assert [one.value for one in again.history] == ["0.2", "0.7"]
    assert await compare() == [judge_scores("f", judged=1, passed=0)]
    [item] = await labels.annotation_queue(ours, "m", 0.5, SEED, 5)
    assert item.score == again
    redone = await change(score, seconds=3, undo=True)
    assert (redone.value, redone.reason) == ("0.7", "mine")
    assert await compare() == [judge_scores("f", (0.2, 0.7), judged=1, passed=0, kind=None)]


async def test_long_reason_comes_back_whole_or_not_at_all(add, change):
    """The history has the beginning of a reason only."""
    long = "because " * 100
    kept = await add(0, "0.2", reason=long)
    await change(kept, value="0.7")
    again = await change(kept, seconds=2, undo=True)
    assert (again.value, again.reason) == ("0.2", long)
    for of, other in enumerate(("another", f"{long}with more at its end"), start=1):
        replaced = await add(of, "0.2", reason=long)
        await change(replaced, reason=other)
        with pytest.raises(Conflict):
            await change(replaced, seconds=2, undo=True)


async def test_what_has_no_value_before_is_not_taken_back(add, judge, change):
    metadata = by("model", fingerprint="f", code="no_plan")
    nothing = await judge(0, None, outcome=FAILED, metadata=metadata)
    await change(nothing, value="1")
    for score in (nothing, await add(1, "1")):
        with pytest.raises(Conflict):
            await change(score, seconds=2, undo=True)


async def test_forged_metadata_is_not_taken_for_judge_score(compare, add, judge, change):
    """Neither on a score that a client sends, nor on a run's score that a client patches."""
    forged = json.dumps({"original_value": "1", "fingerprint": "f"}).encode()
    await add(0, "0.1", metadata=forged)
    await add(1, "0.1", metadata=forged, source=AUTOMATED)
    waiting = await judge(2, "0.4")
    patched = await change(waiting, metadata=forged)
    assert "original_value" not in json.loads(patched.metadata)
    assert await compare() == [
        judge_scores(by_whom, judged=1, passed=0, kind=None) for by_whom in ("f", None)
    ]
    await change(waiting, value="0.3")
    assert await compare() == [
        judge_scores("f", (0.4, 0.3), judged=1, passed=0, kind=None),
        judge_scores(None, judged=1, passed=0, kind=None),
    ]


async def test_correction_of_unmeasured_score_does_not_count_as_label(compare, judge, change):
    metadata = by("model", fingerprint="f", code="no_plan")
    nothing = await judge(0, None, outcome=FAILED, metadata=metadata)
    waiting = await judge(1, None, outcome=PENDING, metadata=b"{}")
    await change(nothing, value="1")
    await change(waiting, value="1")
    assert await compare() == []


async def test_latest_label_counts(compare, add, judge, change):
    scored = await judge(0, "0.5")
    first = await add(0, "0.1", created_at=at(1))
    await add(0, "0.2", created_at=at(2))
    assert (await compare())[0].pairs == [ScorePair(0.5, 0.2)]
    await change(first, seconds=3, value="0.3")
    assert (await compare())[0].pairs == [ScorePair(0.5, 0.3)]
    await change(scored, seconds=4, value="0.4")
    assert (await compare())[0].pairs == [ScorePair(0.5, 0.4)]
    for n, seconds in ((1, 9), (2, 8)):  # written last at the same time: the last id counts
        known = {"id": uuid.UUID(int=n), "created_at": at(seconds), "updated_at": at(9)}
        await add(0, f"0.{n}", **known)
    assert (await compare())[0].pairs == [ScorePair(0.5, 0.2)]


async def test_latest_score_of_each_judge_counts(compare, add, judge):
    for seconds, (value, who) in enumerate([("0.1", "f"), ("0.2", "g"), ("0.3", "f")]):
        await judge(0, value, seconds, who)
    await add(0, "1")
    assert await compare() == [
        judge_scores("f", (0.3, 1.0), judged=2, passed=0),
        judge_scores("g", (0.2, 1.0), judged=1, passed=0),
    ]


async def test_only_numbers_of_judges_and_people_count(compare, add, judge):
    await judge(0, "true", data_type=DataType.BOOLEAN)
    await judge(1, None, outcome=FAILED)
    await judge(2, "0.5")
    for n in range(3):
        await add(n, "true", data_type=DataType.BOOLEAN)
        await add(n, "0.5", source=PROGRAMMATIC)
    assert await compare() == [judge_scores("f", judged=1, passed=1)]


async def test_judges_are_ordered_by_labels_and_limited(compare, add, judge):
    await asyncio.gather(*(judge(0, "0.5", n, f"{n:03}") for n in range(JUDGES_MAX + 5)))
    await judge(1, "0.5", 0, "002")
    await add(1, "1")
    await judge(2, "0.5", 0, "054")
    found = await compare()
    assert len(found) == JUDGES_MAX
    assert [one.fingerprint for one in found[:4]] == ["002", "054", "000", "001"]


async def test_only_newest_scores_of_a_trace_count(compare, add, judge):
    await judge(0, "0.9", 0, "old")
    await asyncio.gather(*(judge(0, "0.5", n) for n in range(1, JUDGE_SCORES_PER_TRACE_MAX + 1)))
    await add(0, "1")
    assert await compare() == [
        judge_scores(
            "f", (0.5, 1.0), judged=JUDGE_SCORES_PER_TRACE_MAX, passed=JUDGE_SCORES_PER_TRACE_MAX
        ),
        judge_scores("old", judged=1, passed=1),
    ]


async def test_period_bounds_labels_and_pass_rates(compare, add, judge):
    for n in range(4):
        await judge(n, f"0.{n + 1}", n)
        await add(n, "1", created_at=at(n))
    [found] = await compare(CreatedWithin(at(1), at(3)))
    assert (found.pairs, found.rated.judged) == ([ScorePair(0.2, 1.0), ScorePair(0.3, 1.0)], 2)
    # A judge's score from another time is paired with a label from this one.
    await add(0, "0", created_at=at(9))
    [found] = await compare(CreatedWithin(after=at(9)))
    assert (found.pairs, found.rated.judged) == ([ScorePair(0.1, 0.0)], 0)
    assert await compare(CreatedWithin(at(3), at(1))) == []


async def test_deleting_run_keeps_judge_and_drops_corrected_values(evaluating):
    ours, ports = project(), evaluating.plane.evaluation
    first, second = traces(ours)[:2]
    await fill(evaluating.plane, ours, trace(id=first), trace(id=second))
    run = a_run(ours, 1)
    await evaluating.runs.create(run, work_of(run))
    measured = {"value": "0.2", "source": AUTOMATED, "metadata": by("model", fingerprint="f")}
    for one in (first, second):
        await ports.trace_scores.add(trace_score(ours, one, run_id=run.id, **measured))
    edited = (await ports.trace_scores.by_run(ours, run.id))[0]
    await ports.trace_scores.change(ours, edited.id, ScoreChange(value="0.8"), at(1), ADA)
    [found] = await ports.labels.compare_with_human_labels(ours, "m", 0.5, EVER)
    assert (found.pairs, found.rated.judged) == ([ScorePair(0.2, 0.8)], 2)
    await ports.runs.delete(ours, run.id, at(2), with_scores=False)
    [found] = await ports.labels.compare_with_human_labels(ours, "m", 0.5, EVER)
    assert (found.fingerprint, found.pairs, found.rated.judged) == ("f", [], 1)


async def test_deleting_run_makes_no_labels_of_its_values(evaluating):
    ours, ports = project(), evaluating.plane.evaluation
    first, second = traces(ours)[:2]
    await fill(evaluating.plane, ours, trace(id=first), trace(id=second))
    run = a_run(ours, 1)
    await evaluating.runs.create(run, work_of(run))
    measured = {"value": "0.2", "source": AUTOMATED, "metadata": by("model", fingerprint="f")}
    for one in (first, second):
        await ports.trace_scores.add(trace_score(ours, one, run_id=run.id, **measured))
    noted, later = await ports.trace_scores.by_run(ours, run.id)
    seen = ScoreChange(reason="seen")
    await ports.trace_scores.change(ours, noted.id, seen, at(1), ADA)
    await ports.runs.delete(ours, run.id, at(2), with_scores=False)
    await ports.trace_scores.change(ours, later.id, seen, at(3), ADA)
    for one in (first, second):  # by another run
        await ports.trace_scores.add(trace_score(ours, one, run_id=RUNS[1], **measured))
    [found] = await ports.labels.compare_with_human_labels(ours, "m", 0.5, EVER)
    assert (found.fingerprint, found.pairs, found.rated.judged) == ("f", [], 4)
    await ports.trace_scores.change(ours, later.id, ScoreChange(value="0.8"), at(4), ADA)
    [found] = await ports.labels.compare_with_human_labels(ours, "m", 0.5, EVER)
    assert found.pairs == [ScorePair(0.2, 0.8)]


# --- what to label next ----------------------------------------------------------------------


async def test_uncertain_scores_come_first_and_every_fifth_is_random(ours, list_offered, judge):
    for n, value in enumerate(["0.1", "0.45", "0.9", "0.52", "0.7", "0.5", "0", "1", "0.3", "0.6"]):
        await judge(n, value)
    order = sorted(range(10), key=lambda n: random_key(SEED, traces(ours)[n]))
    chosen = order[:2]
    rest = [n for n in (5, 3, 1, 9, 8, 4, 0, 2, 6, 7) if n not in chosen]
    found = await list_offered()
    assert [why for _, why in found] == [
        *[SelectionReason.UNCERTAIN] * 4,
        SelectionReason.RANDOM,
    ] * 2
    assert [n for n, why in found if why is SelectionReason.RANDOM] == chosen
    # Two scores equally far from the threshold may come in either order.
    assert {n for n, why in found if why is SelectionReason.UNCERTAIN} == set(rest)
    assert [n for n, why in found if why is SelectionReason.UNCERTAIN][:2] == rest[:2]
    assert await list_offered() == found
    assert len(await list_offered(3)) == 3
    other = next(f"{n}" for n in range(99) if random_key(f"{n}", traces(ours)[6]) < min(
        random_key(f"{n}", one) for k, one in enumerate(traces(ours)[:10]) if k != 6
    ))  # fmt: skip
    assert (await list_offered(5, seed=other))[4] == (6, SelectionReason.RANDOM)
    assert (await list_offered(1, threshold=0.95))[0][0] in {2, 7}
    assert await list_offered(of=project()) == []


async def test_labelled_traces_are_not_offered(list_offered, add, judge, change):
    scores = [await judge(n, "0.5") for n in range(6)]
    await add(0, "1")
    await add(1, "true", data_type=DataType.BOOLEAN)
    await change(scores[2], value="1")
    await change(scores[3], reason="looked at")
    await add(4, "1", name="other")
    await add(5, "1", source=PROGRAMMATIC)
    assert {n for n, _ in await list_offered()} == {4, 5}


async def test_newest_score_of_trace_is_offered_in_full(labels, ours, judge):
    await judge(0, "0.5", 1)
    newest = await judge(0, "0.9", 2, "g", reason="because")
    await judge(0, None, 3, outcome=FAILED)
    await judge(1, "true", data_type=DataType.BOOLEAN)
    [found] = await labels.annotation_queue(ours, "m", 0.5, SEED, 10)
    assert (found.score, found.why) == (newest, SelectionReason.UNCERTAIN)


async def test_scores_of_deleted_traces_are_not_compared_or_offered(
    plane, ours, compare, list_offered, add, judge
):
    await judge(0, "0.5")
    await judge(1, "0.5")
    await add(1, "1")
    await plane.traces.delete(ours, traces(ours)[:2])
    assert (await compare(), await list_offered()) == ([], [])
