"""Contract of Experiments, run against every adapter."""

import asyncio
import json
import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

from domain.errors import Conflict, NotFound
from domain.evaluation.experiments.experiment import CaseResult, GitRevision, NoiseFloor
from domain.evaluation.experiments.measurements import Figure, MetricValues
from domain.evaluation.runs.run import WorkItem
from domain.evaluation.scores.outcome import Scored
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.ids import RunId
from domain.page import PageRequest
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.span import SpanKind
from tests.support.builders.datasets import a_dataset, an_item, put
from tests.support.builders.experiments import a_result, an_experiment
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import project, read_all_pages
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.fixtures.evaluation.evaluation import a_run
from tests.support.waiting import until_done


@pytest.fixture
def experiments(plane):
    return plane.evaluation.experiments


@pytest.fixture
async def ours(plane):
    """A project with a dataset of three items; one of them in another split."""
    of = project()
    await plane.evaluation.datasets.create(a_dataset(of))
    items = [an_item("a", expected=1), an_item("b", expected=2), an_item("c", split="other")]
    await put(plane.evaluation.datasets, of, *items)
    return of


@pytest.fixture
def create(plane, ours, experiments):
    async def create(**said):
        version = await plane.evaluation.datasets.find_version(ours, "refunds")
        known = {"project_id": ours, "version": version, "items": 3}
        return await experiments.create(an_experiment(**known | said))

    return create


async def test_reads_return_experiment_as_created(experiments, ours, create):
    one = await create(
        split="test", repetitions=3, release="2.1", git=GitRevision(sha="9fceb02", branch="b"),
        model="openai/gpt-4o", votes=3, max_cost_usd=Decimal("0.5"),
    )  # fmt: skip
    bare = await create(name=None, created_at=at(1))
    assert await experiments.get(ours, one.id) == one
    page = await experiments.page(ours, None, PageRequest())
    assert (page.items, page.total) == ([bare, one], 2)
    assert (await experiments.page(ours, "other", PageRequest())).items == []
    assert await create(id=one.id, name="another") == one
    by_cursor, by_offset = await read_all_pages(
        lambda window: experiments.page(ours, "refunds", window), 1
    )
    assert by_cursor == by_offset == [bare, one]


async def test_results_in_any_order_and_repeated(experiments, ours, create):
    one = await create(repetitions=2)
    results = [a_result("b", 2), a_result("a"), a_result("b")]
    written = await experiments.put_results(ours, one.id, results[:2])
    assert (written.stored, written.unchanged, written.results) == (2, 0, 2)
    written = await experiments.put_results(ours, one.id, results)
    assert (written.stored, written.unchanged, written.results) == (1, 2, 3)
    assert await experiments.results(ours, one.id) == [results[1], results[2], results[0]]
    newer = a_result("a")
    assert (await experiments.put_results(ours, one.id, [newer])).stored == 1
    assert (await experiments.results(ours, one.id))[0] == newer


async def test_invalid_results_are_refused_by_themselves(experiments, ours, create):
    first, other = await create(), await create(split="other")
    known = a_result("a")
    await experiments.put_results(ours, first.id, [known])
    sent = [
        a_result("z"),  # no item
        a_result("c", trace=known.trace),  # the result of another case
        a_result("c", 2),
        a_result("c"),
        a_result("c"),  # twice
    ]
    written = await experiments.put_results(ours, other.id, sent)
    fields = {index: one.errors[0].field for index, one in written.refused.items()}
    assert fields == {0: "item", 1: "trace_id", 2: "repetition", 4: "item"}
    assert written.stored == 1
    # An item of another split is none of the experiment.
    assert list((await experiments.put_results(ours, other.id, [a_result("a")])).refused) == [0]


async def test_results_are_those_of_the_version(plane, experiments, ours, create):
    one = await create()
    await put(plane.evaluation.datasets, ours, an_item("new"))
    await plane.evaluation.datasets.delete_item(ours, "refunds", "a", at(1))
    written = await experiments.put_results(ours, one.id, [a_result("a"), a_result("new")])
    assert (written.stored, list(written.refused)) == (1, [1])


async def test_closed_experiment_takes_no_results(experiments, ours, create):
    one, run = await create(), RunId(uuid.uuid4())
    closed = await experiments.close(ours, one.id, run, at(5))
    assert closed == replace(one, run_id=run, closed_at=at(5))
    assert await experiments.close(ours, one.id, RunId(uuid.uuid4()), at(6)) == closed
    assert await experiments.get(ours, one.id) == closed
    with pytest.raises(Conflict, match="closed"):
        await experiments.put_results(ours, one.id, [a_result("a")])


async def test_concurrent_writes_keep_all_results(experiments, ours, create):
    one = await create(repetitions=6)
    sent = [a_result("a", n) for n in range(1, 7)]
    await asyncio.gather(*(experiments.put_results(ours, one.id, [result]) for result in sent))
    assert await experiments.results(ours, one.id) == sent
    assert await experiments.count_results(ours, one.id) == 6


async def test_traces_name_their_cases(plane, experiments, ours, create):
    one = await create(repetitions=2)

    def naming(item, repetition, of=one.id):
        named = {"experiment.id": str(of), "experiment.item": item}
        metadata = json.dumps(named | {"experiment.repetition": repetition}).encode()
        return trace(metadata=metadata)

    good, second, foreign = naming("a", 1), naming("b", 2), naming("a", 1, uuid.uuid4())
    for sent in (good, second, foreign, trace()):
        await plane.traces.put(ours, sent)
    found = await experiments.named_results(ours, one.id)
    assert found == [a_result("a", 1, good.id), a_result("b", 2, second.id)]
    theirs = project()
    await plane.traces.put(theirs, good)
    assert await experiments.named_results(theirs, uuid.uuid4()) == []


async def test_figures_and_scores_of_cases(plane, experiments, ours, create):
    one = await create()
    known = trace(
        span(token_usage=b'{"prompt_tokens":3,"completion_tokens":2}', cost={"total": 0.25}),
        ended_at=at(1.5),
    )
    await plane.traces.put(ours, known)
    gone = a_result("b")
    await experiments.put_results(ours, one.id, [a_result("a", trace=known.id), gone])
    run, ports = a_run(ours, 1), plane.evaluation
    await ports.runs.create(run, [WorkItem(str(known.id), run.metrics)])
    await until_done(ports.work_queue.plan, ours, run.id, at(2))
    [job] = await ports.work_queue.dispatch(ours, at(2))
    claim = await ports.work_queue.claim(ours, run.id, job.target, at(2))
    scored = Scored(0.75, "well done", {"judge_kind": "measured", "fingerprint": "m/1"})
    await ports.work_queue.record(claim, run.metrics[0], scored, at(2))
    first, second = await experiments.case_results(ours, one.id, ["a", "b", "c"], run)
    assert (first.latency_ms, first.tokens, first.cost_usd) == (1_500, 5, Decimal("0.25"))
    assert [score.metric for score in first.scores] == list(run.metrics)
    assert (first.scores[0].value, first.scores[0].reason) == ("0.75", "well done")
    assert second == CaseResult(case=gone.case, trace=gone.trace)
    bare, _ = await experiments.case_results(ours, one.id, ["a", "b"], None)
    assert bare.scores == ()
    assert await experiments.case_results(ours, one.id, ["c"], run) == []
    measured = await experiments.measurements(one, run, run.metrics)
    assert (measured.cases, measured.results, measured.cost_usd) == (3, 1, Decimal("0.25"))
    assert {name: dict(of) for name, of in measured.figures.items()} == {
        Figure.LATENCY: {"a": [(1, 1_500)]},
        Figure.TOKENS: {"a": [(1, 5)]},
        Figure.COST: {"a": [(1, 0.25)]},
    }
    of_metric = MetricValues(values={"a": [(1, 0.75)]}, fingerprints=frozenset({"m/1"}))
    assert measured.metrics == {run.metrics[0]: of_metric}
    assert (await experiments.measurements(one, run, ["other"])).metrics == {}
    assert (await experiments.measurements(one, None, run.metrics)).metrics == {}


async def test_unknown_cost_and_tokens_are_null(plane, experiments, ours, create):
    """A step without a price, one that doesn't say its tokens either, and no step at all."""
    one = await create(repetitions=2)
    used = b'{"prompt_tokens":3,"completion_tokens":2}'
    paid, free = span(cost={"total": 0.5}), span(kind=SpanKind.TOOL)
    unpriced = span(kind=SpanKind.LLM, model="unlisted", token_usage=used)
    sent = [
        (("a", 1), [paid, unpriced], (5, None)),
        (("a", 2), [span(kind=SpanKind.LLM)], (None, None)),
        (("b", 1), [], (None, None)),
        (("b", 2), [free], (0, 0)),
        (("c", 1), [span(kind=SpanKind.LLM, cost={"total": 0.25})], (None, Decimal("0.25"))),
    ]
    for case, spans, _ in sent:
        stored = trace(*spans)
        await plane.traces.put(ours, stored)
        await experiments.put_results(ours, one.id, [a_result(*case, stored.id)])
    found = await experiments.case_results(ours, one.id, ["a", "b", "c"], None)
    assert [(result.tokens, result.cost_usd) for result in found] == [
        reported for *_, reported in sent
    ]
    measured = await experiments.measurements(one, None, [])
    assert dict(measured.figures[Figure.TOKENS]) == {"a": [(1, 5)], "b": [(2, 0)]}
    assert dict(measured.figures[Figure.COST]) == {"b": [(2, 0)], "c": [(1, 0.25)]}
    assert (measured.cost_usd, measured.results, measured.is_priced) == (Decimal("0.25"), 5, False)
    assert measured.repetition_results == {1: 3, 2: 2}


async def test_noise_floor_is_kept(experiments, ours, create):
    one = await create()
    assert (await experiments.get(ours, one.id)).noise_floor is None
    some = NoiseFloor(0.25, ("one", "two"))
    for floor in ({"a": some}, {"a": NoiseFloor(0.5), "b": NoiseFloor(0.0, ("one",))}):
        await experiments.keep_noise_floor(ours, one.id, floor)
        assert await experiments.get(ours, one.id) == replace(one, noise_floor=floor)
    with pytest.raises(NotFound):
        await experiments.keep_noise_floor(project(), one.id, {})


async def test_noise_floors_of_other_metrics_stay(experiments, ours, create):
    one = await create()
    metrics = ["a", "b", "c", "d"]
    await asyncio.gather(
        *[experiments.keep_noise_floor(ours, one.id, {name: NoiseFloor(0.25)}) for name in metrics]
    )
    other = {"b": NoiseFloor(0.5, ("other",))}
    everything = dict.fromkeys(metrics, NoiseFloor(0.25)) | other
    assert await experiments.keep_noise_floor(ours, one.id, other) == everything
    assert (await experiments.get(ours, one.id)).noise_floor == everything


async def test_delete_leaves_nothing_and_frees_the_dataset(plane, experiments, ours, create):
    one = await create()
    result = a_result("a")
    await experiments.put_results(ours, one.id, [result])
    with pytest.raises(Conflict, match="experiments"):
        await plane.evaluation.datasets.delete(ours, "refunds")
    assert await experiments.delete(ours, one.id)
    assert not await experiments.delete(ours, one.id)
    assert await experiments.results(ours, one.id) == []
    again = await create()
    assert (await experiments.put_results(ours, again.id, [result])).stored == 1
    await experiments.delete(ours, again.id)
    assert await plane.evaluation.datasets.delete(ours, "refunds")
    with pytest.raises(NotFound):
        await experiments.create(replace(one, id=uuid.uuid4()))


async def test_other_project_sees_nothing(experiments, create):
    one, theirs = await create(), project()
    for call in (
        experiments.get(theirs, one.id),
        experiments.put_results(theirs, one.id, [a_result("a")]),
        experiments.close(theirs, one.id, RunId(uuid.uuid4()), at(1)),
    ):
        with pytest.raises(NotFound):
            await call
    assert await experiments.results(theirs, one.id) == []
    assert await experiments.case_results(theirs, one.id, ["a"], None) == []
    seen = await experiments.measurements(replace(one, project_id=theirs), None, ["a"])
    assert seen.results == 0
    assert (await experiments.page(theirs, None, PageRequest())).total == 0
    assert not await experiments.delete(theirs, one.id)


# --- what is expected -----------------------------------------------------------------------------


async def test_target_has_what_its_item_expects(plane, experiments, ours, create):
    one = await create()
    known, other = trace(), trace(session_id="s")
    for sent in (known, other):
        await plane.traces.put(ours, sent)
    targets = plane.evaluation.targets
    results = [a_result("a", trace=known.id), a_result("b", trace=other.id)]
    await experiments.put_results(ours, one.id, results)
    # The version of the experiment counts.
    await put(plane.evaluation.datasets, ours, an_item("a", expected="changed"))
    loaded = [await targets.load_trace(ours, sent.id) for sent in (known, other)]
    assert [isinstance(found, EvaluatedTrace) and found.expected for found in loaded] == [
        b"1",
        b"2",
    ]
    await experiments.delete(ours, one.id)
    assert (await targets.load_trace(ours, known.id)).expected is None


async def test_item_under_erasure_expects_nothing(plane, experiments, ours, create):
    copied, answer = trace(user_id="grace"), trace()
    for sent in (copied, answer):
        await plane.traces.put(ours, sent)
    await put(plane.evaluation.datasets, ours, an_item("g", expected="x", from_trace=copied.id))
    one = await create(items=4)
    await experiments.put_results(ours, one.id, [a_result("g", trace=answer.id)])
    assert (await plane.evaluation.targets.load_trace(ours, answer.id)).expected == b'"x"'
    owner = DataSubject(DataSubjectKind.USER, "grace")
    erasure = an_erasure(ours, owner)
    await plane.privacy.erasures.begin(erasure, owner, audit_entry(erasure))
    assert (await plane.evaluation.targets.load_trace(ours, answer.id)).expected is None
