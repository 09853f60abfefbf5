"""Contract of HumanLabels, run against every adapter. Any history: test_scores_histories.py."""

import asyncio
import json
import uuid

import pytest

from domain.evaluation.agreement.annotation_queue import SelectionReason, random_key
from domain.evaluation.agreement.calibration import (
    JUDGE_SCORES_PER_TRACE_MAX,
    JUDGES_MAX,
    JudgeScores,
    JudgeVolume,
)
from domain.evaluation.agreement.statistics import ScorePair
from domain.evaluation.scores.query import CreatedWithin
from domain.evaluation.scores.score import DataType, ScoreChange
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
from tests.support.builders.values import at, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation import a_run, work_of

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
    """Stores a score of the n-th trace; gives it."""

    async def add(n, value, **said):
        score = trace_score(ours, traces(ours)[n], value=value, **said)
        return await plane.evaluation.trace_scores.add(score)

    return add


@pytest.fixture
def judge(add):
    """A run's score of the n-th trace."""

    async def judge(n, value, seconds=0, by_whom="f", **said):
        known = {"source": AUTOMATED, "run_id": RUNS[0], "created_at": at(seconds)}
        marks = by("model", fingerprint=by_whom, evidence_hash="e")
        return await add(n, value, **known | {"metadata": marks} | said)

    return judge


@pytest.fixture
def change(plane, ours):
    async def change(score, seconds=1, **said):
        ports = plane.evaluation.trace_scores
        return await ports.change(ours, score.id, ScoreChange(**said), at(seconds), ADA)

    return change


@pytest.fixture
def against(labels, ours):
    async def against(within=EVER, *, name="m", threshold=0.5, of=None):
        return [*await labels.compare_with_human_labels(of or ours, name, threshold, within)]

    return against


@pytest.fixture
def offered(labels, ours):
    """Which traces are offered, by number, and why."""

    async def offered(limit=12, *, threshold=0.5, seed=SEED, of=None):
        known = {one: n for n, one in enumerate(traces(ours))}
        found = await labels.annotation_queue(of or ours, "m", threshold, seed, limit)
        return [(known[one.score.trace_id], one.why) for one in found]

    return offered


def said(fingerprint, *pairs, judged, passed, kind="model"):
    return JudgeScores(
        fingerprint=fingerprint,
        pairs=[ScorePair(*pair) for pair in pairs],
        rated=JudgeVolume(judge_kind=kind, judged=judged, passed=passed),
    )


# --- judges held against people --------------------------------------------------------------


async def test_an_annotation_of_the_same_trace_and_name_makes_a_pair(against, add, judge):
    await judge(0, "0.2")
    await judge(1, "0.8")
    await judge(2, "0.5")
    await add(0, "1")
    await add(1, "0.75", name="other")
    await add(3, "0.9")
    assert await against() == [said("f", (0.2, 1.0), judged=3, passed=2)]
    assert await against(threshold=0.51) == [said("f", (0.2, 1.0), judged=3, passed=1)]
    assert await against(threshold=0) == [said("f", (0.2, 1.0), judged=3, passed=3)]
    assert await against(name="other") == []
    assert await against(of=project()) == []


async def test_a_persons_value_over_a_runs_score_makes_a_pair_of_both(against, judge, change):
    first, second = await judge(0, "0.2"), await judge(1, "0.9")
    await change(first, value="0.7")
    await change(first, seconds=2, value="0.75", metadata=by("model", fingerprint="f"))
    await change(second, reason="as it says")
    assert await against() == [said("f", (0.2, 0.75), judged=1, passed=0, kind=None)]


async def test_what_looks_like_a_machines_value_is_none(against, add, judge, change):
    """Neither on a score that somebody sends, nor on one of a run that somebody patches."""
    forged = json.dumps({"original_value": "1", "fingerprint": "f"}).encode()
    await add(0, "0.1", metadata=forged)
    await add(1, "0.1", metadata=forged, source=AUTOMATED)
    waiting = await judge(2, "0.4")
    patched = await change(waiting, metadata=forged)
    assert "original_value" not in json.loads(patched.metadata)
    assert await against() == [said(None, judged=1, passed=0, kind=None)]
    await change(waiting, value="0.3")
    assert await against() == [
        said("f", (0.4, 0.3), judged=1, passed=0, kind=None),
        said(None, judged=1, passed=0, kind=None),
    ]


async def test_a_person_where_the_machine_had_no_number_labels_nothing(against, judge, change):
    marks = by("model", fingerprint="f", code="no_plan")
    nothing = await judge(0, None, outcome=FAILED, metadata=marks)
    waiting = await judge(1, None, outcome=PENDING, metadata=b"{}")
    await change(nothing, value="1")
    await change(waiting, value="1")
    assert await against() == []


async def test_the_label_that_was_written_last_counts(against, add, judge, change):
    scored = await judge(0, "0.5")
    first = await add(0, "0.1", created_at=at(1))
    await add(0, "0.2", created_at=at(2))
    assert (await against())[0].pairs == [ScorePair(0.5, 0.2)]
    await change(first, seconds=3, value="0.3")
    assert (await against())[0].pairs == [ScorePair(0.5, 0.3)]
    await change(scored, seconds=4, value="0.4")
    assert (await against())[0].pairs == [ScorePair(0.5, 0.4)]


async def test_the_last_score_of_each_judge_counts(against, add, judge):
    for seconds, (value, who) in enumerate([("0.1", "f"), ("0.2", "g"), ("0.3", "f")]):
        await judge(0, value, seconds, who)
    await add(0, "1")
    assert await against() == [
        said("f", (0.3, 1.0), judged=2, passed=0),
        said("g", (0.2, 1.0), judged=1, passed=0),
    ]


async def test_only_numbers_of_judges_and_people_count(against, add, judge):
    await judge(0, "true", data_type=DataType.BOOLEAN)
    await judge(1, None, outcome=FAILED)
    await judge(2, "0.5")
    for n in range(3):
        await add(n, "true", data_type=DataType.BOOLEAN)
        await add(n, "0.5", source=PROGRAMMATIC)
    assert await against() == [said("f", judged=1, passed=1)]


async def test_whoever_has_the_most_labels_comes_first_and_there_are_so_many(against, add, judge):
    await asyncio.gather(*(judge(0, "0.5", n, f"{n:03}") for n in range(JUDGES_MAX + 5)))
    await judge(1, "0.5", 0, "002")
    await add(1, "1")
    found = await against()
    assert len(found) == JUDGES_MAX
    assert [one.fingerprint for one in found[:3]] == ["002", "000", "001"]


async def test_of_one_trace_the_newest_scores_are_regarded(against, add, judge):
    await judge(0, "0.9", 0, "old")
    await asyncio.gather(*(judge(0, "0.5", n) for n in range(1, JUDGE_SCORES_PER_TRACE_MAX + 1)))
    await add(0, "1")
    assert await against() == [
        said("f", (0.5, 1.0), judged=JUDGE_SCORES_PER_TRACE_MAX, passed=JUDGE_SCORES_PER_TRACE_MAX),
        said("old", judged=1, passed=1),
    ]


async def test_labels_and_pass_rates_are_of_what_was_made_within_the_bounds(against, add, judge):
    for n in range(4):
        await judge(n, f"0.{n + 1}", n)
        await add(n, "1", created_at=at(n))
    [found] = await against(CreatedWithin(at(1), at(3)))
    assert (found.pairs, found.rated.judged) == ([ScorePair(0.2, 1.0), ScorePair(0.3, 1.0)], 2)
    # A judge's score of another time stands beside a label of this one.
    await add(0, "0", created_at=at(9))
    [found] = await against(CreatedWithin(after=at(9)))
    assert (found.pairs, found.rated.judged) == ([ScorePair(0.1, 0.0)], 0)
    assert await against(CreatedWithin(at(3), at(1))) == []


async def test_when_a_run_is_gone_its_judge_is_known_and_what_was_written_over_is_not(evaluating):
    ours, ports = project(), evaluating.plane.evaluation
    first, second = traces(ours)[:2]
    await fill(evaluating.plane, ours, trace(id=first), trace(id=second))
    run = a_run(ours, 1)
    await evaluating.runs.create(run, work_of(run))
    measured = {"value": "0.2", "source": AUTOMATED, "metadata": by("model", fingerprint="f")}
    for one in (first, second):
        await ports.trace_scores.add(trace_score(ours, one, run_id=run.id, **measured))
    edited = (await ports.trace_scores.of_run(ours, run.id))[0]
    await ports.trace_scores.change(ours, edited.id, ScoreChange(value="0.8"), at(1), ADA)
    [found] = await ports.labels.compare_with_human_labels(ours, "m", 0.5, EVER)
    assert (found.pairs, found.rated.judged) == ([ScorePair(0.2, 0.8)], 2)
    await ports.runs.delete(ours, run.id, at(2), with_scores=False)
    [found] = await ports.labels.compare_with_human_labels(ours, "m", 0.5, EVER)
    assert (found.fingerprint, found.pairs, found.rated.judged) == ("f", [], 1)


# --- what to label next ----------------------------------------------------------------------


async def test_the_most_uncertain_come_first_and_a_fifth_by_chance(ours, offered, judge):
    for n, value in enumerate(["0.1", "0.45", "0.9", "0.52", "0.7", "0.5", "0", "1", "0.3", "0.6"]):
        await judge(n, value)
    order = sorted(range(10), key=lambda n: random_key(SEED, traces(ours)[n]))
    chosen = order[:2]
    rest = [n for n in (5, 3, 1, 9, 8, 4, 0, 2, 6, 7) if n not in chosen]
    found = await offered()
    assert [why for _, why in found] == [
        *[SelectionReason.UNCERTAIN] * 4,
        SelectionReason.RANDOM,
    ] * 2
    assert [n for n, why in found if why is SelectionReason.RANDOM] == chosen
    # Of as many below as above the threshold either may come first.
    assert {n for n, why in found if why is SelectionReason.UNCERTAIN} == set(rest)
    assert [n for n, why in found if why is SelectionReason.UNCERTAIN][:2] == rest[:2]
    assert await offered() == found
    assert len(await offered(3)) == 3
    other = next(f"{n}" for n in range(99) if random_key(f"{n}", traces(ours)[6]) < min(
        random_key(f"{n}", one) for k, one in enumerate(traces(ours)[:10]) if k != 6
    ))  # fmt: skip
    assert (await offered(5, seed=other))[4] == (6, SelectionReason.RANDOM)
    assert (await offered(1, threshold=0.95))[0][0] in {2, 7}
    assert await offered(of=project()) == []


async def test_what_a_person_has_spoken_of_is_not_offered(offered, add, judge, change):
    scores = [await judge(n, "0.5") for n in range(6)]
    await add(0, "1")
    await add(1, "true", data_type=DataType.BOOLEAN)
    await change(scores[2], value="1")
    await change(scores[3], reason="looked at")
    await add(4, "1", name="other")
    await add(5, "1", source=PROGRAMMATIC)
    assert {n for n, _ in await offered()} == {4, 5}


async def test_of_a_trace_the_newest_score_is_offered_with_all_that_it_says(labels, ours, judge):
    await judge(0, "0.5", 1)
    newest = await judge(0, "0.9", 2, "g", reason="because")
    await judge(0, None, 3, outcome=FAILED)
    await judge(1, "true", data_type=DataType.BOOLEAN)
    [found] = await labels.annotation_queue(ours, "m", 0.5, SEED, 10)
    assert (found.score, found.why) == (newest, SelectionReason.UNCERTAIN)


async def test_scores_of_removed_traces_are_neither_held_nor_offered(
    plane, ours, against, offered, add, judge
):
    await judge(0, "0.5")
    await judge(1, "0.5")
    await add(1, "1")
    await plane.traces.delete(ours, traces(ours)[:2])
    assert (await against(), await offered()) == ([], [])
