"""Contract of CustomMetrics, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from domain.errors import Conflict, NotFound, Unavailable
from domain.evaluation.custom_metrics.custom_metric import METRICS_MAX, REVISIONS_MAX, Revision
from domain.evaluation.scores.outcome import SkipCode
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.tracing.span import SpanKind
from tests.support.builders import custom_metric_definitions
from tests.support.builders.custom_metric_definitions import a_definition, a_metric, shown
from tests.support.builders.custom_metrics import evaluate_rule, taken
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures.data_plane import project


@pytest.fixture
async def fixture(adapter):
    if adapter is None:
        yield custom_metric_definitions.over_memory()
        return
    async with custom_metric_definitions.over_postgres(adapter) as postgres:
        yield postgres


def name_equals(value):
    return {"path": "trace.name", "op": "eq", "value": value}


async def test_reads_return_metric_as_created(fixture):
    ours = project()
    body = {"all": [name_equals("ü\U0001f40d"), {"path": "trace.cost", "op": "le", "value": 0.1}]}
    second = await fixture.made(ours, name="b_metric", body=body, description="Ü", threshold=0.25)
    first = await fixture.made(ours, name="a_metric", created_at=at(1))
    await fixture.made(project())
    assert await fixture.metrics.all(ours) == [first, second]
    assert await fixture.metrics.get(ours, "b_metric") == second
    assert shown(second) == body
    assert await fixture.metrics.by_names(ours, ["b_metric", "nothing", "b_metric"]) == {
        "b_metric": second
    }
    assert await fixture.metrics.revisions(ours, "b_metric") == [Revision(second.newest, NOON)]


async def test_create_with_existing_id_returns_stored_metric(fixture):
    ours = project()
    metric = await fixture.made(ours)
    again = replace(a_metric(ours, name="another"), id=metric.id)
    assert await fixture.metrics.create(again) == metric
    assert await fixture.metrics.all(ours) == [metric]


async def test_name_is_unique_in_project_also_among_archived(fixture):
    ours, theirs = project(), project()
    await fixture.made(ours)
    await fixture.metrics.edit(ours, "finished", lambda it: it.archived(at(1)))
    with pytest.raises(Conflict, match="finished already"):
        await fixture.made(ours)
    assert (await fixture.made(theirs)).name == "finished"


async def test_concurrent_creations_of_one_name_store_one(fixture):
    ours = project()
    made = await asyncio.gather(*(fixture.made(ours) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in made) == 4
    assert len(await fixture.metrics.all(ours)) == 1


async def test_metric_limit_of_project_is_metrics_max(fixture):
    ours = project()
    for number in range(METRICS_MAX):
        await fixture.made(ours, name=f"metric_{number:03}")
    with pytest.raises(Conflict, match=f"{METRICS_MAX} metrics.*: revise one"):
        await fixture.made(ours, name="one_more")
    assert len(await fixture.metrics.all(ours)) == METRICS_MAX


async def test_revisions_are_numbered_and_immutable(fixture):
    ours = project()
    first = await fixture.made(ours)
    for number in range(2, 5):
        await fixture.metrics.edit(
            ours,
            "finished",
            lambda it, n=number: it.revised(a_definition(body=name_equals(str(n))), at(n)),
        )
    newest = await fixture.metrics.get(ours, "finished")
    assert (newest.newest.revision, newest.updated_at, newest.created_at) == (4, at(4), NOON)
    found = await fixture.metrics.revisions(ours, "finished")
    assert [one.definition.revision for one in found] == [4, 3, 2, 1]
    assert found[-1] == Revision(first.newest, NOON)
    assert found[0] == newest.revision


async def test_concurrent_revisions_get_distinct_numbers(fixture):
    ours = project()
    await fixture.made(ours)

    def revise(value):
        return fixture.metrics.edit(
            ours, "finished", lambda it: it.revised(a_definition(body=name_equals(value)), at(1))
        )

    await asyncio.gather(*(revise(f"{number}") for number in range(6)))
    found = await fixture.metrics.revisions(ours, "finished")
    assert [one.definition.revision for one in found] == [7, 6, 5, 4, 3, 2, 1]
    assert len({one.definition.body for one in found}) == 7


async def test_equal_definition_adds_no_revision(fixture):
    ours = project()
    metric = await fixture.made(ours)
    same = await fixture.metrics.edit(ours, "finished", lambda it: it.revised(metric.newest, at(9)))
    assert same == metric
    assert len(await fixture.metrics.revisions(ours, "finished")) == 1


async def test_revision_limit_of_metric_is_revisions_max(fixture):
    ours = project()
    await fixture.made(ours)

    def revise(number):
        body = name_equals(str(number))
        return fixture.metrics.edit(
            ours, "finished", lambda it: it.revised(a_definition(body=body), at(number))
        )

    for number in range(2, REVISIONS_MAX + 1):
        await revise(number)
    with pytest.raises(Conflict, match=f"{REVISIONS_MAX} revisions"):
        await revise(REVISIONS_MAX + 1)
    found = await fixture.metrics.revisions(ours, "finished")
    assert [one.definition.revision for one in found] == [*range(REVISIONS_MAX, 0, -1)]


async def test_archived_metric_is_readable_and_restorable(fixture):
    ours = project()
    metric = await fixture.made(ours)
    archived = await fixture.metrics.edit(ours, "finished", lambda it: it.archived(at(1)))
    assert archived == replace(metric, archived_at=at(1))
    again = await fixture.metrics.edit(ours, "finished", lambda it: it.archived(at(2)))
    assert again.archived_at == at(1)
    assert await fixture.metrics.by_names(ours, ["finished"]) == {"finished": archived}
    with pytest.raises(Conflict, match="archived"):
        await fixture.metrics.edit(
            ours, "finished", lambda it: it.revised(a_definition(threshold=1.0), at(3))
        )
    assert await fixture.metrics.edit(ours, "finished", lambda it: it.restored()) == metric


async def test_metrics_of_another_project_are_not_found(fixture):
    ours, theirs = project(), project()
    metric = await fixture.made(ours)
    for ask in (
        fixture.metrics.get(theirs, "finished"),
        fixture.metrics.revisions(theirs, "finished"),
        fixture.metrics.edit(theirs, "finished", lambda it: it.archived(at(1))),
        fixture.metrics.get(ours, "Finished"),
    ):
        with pytest.raises(NotFound):
            await ask
    assert await fixture.metrics.by_names(theirs, ["finished"]) == {}
    assert await fixture.metrics.all(theirs) == []
    assert await fixture.metrics.all(ours) == [metric]


async def test_failed_edit_changes_nothing(fixture):
    ours = project()
    metric = await fixture.made(ours)

    def fails(_):
        raise Conflict("no")

    with pytest.raises(Conflict):
        await fixture.metrics.edit(ours, "finished", fails)
    assert await fixture.metrics.get(ours, "finished") == metric


async def test_metrics_of_removed_project_are_not_found_or_created(fixture):
    ours = project()
    await fixture.made(ours)
    await fixture.remove(ours)
    assert await fixture.metrics.all(ours) == []
    assert await fixture.metrics.by_names(ours, ["finished"]) == {}
    with pytest.raises(NotFound):
        await fixture.metrics.get(ours, "finished")
    with pytest.raises(Unavailable):
        await fixture.metrics.create(replace(a_metric(ours, name="late"), id=uuid.uuid4()))


# --- what they read of stored traces ----------------------------------------------------------


def llm(usage):
    return span(kind=SpanKind.LLM, model="gpt-4o", token_usage=usage)


async def stored(plane, *spans):
    ours, sent = project(), trace(*spans)
    await plane.traces.put(ours, sent)
    return EvaluatedTrace(await plane.traces.get(ours, sent.id), ())


async def test_stored_tokens_are_known(plane):
    found = await stored(plane, llm(b'{"prompt_tokens":10,"completion_tokens":5}'), span())
    assert taken("token_budget", found, tokens=10).value == 0.5
    for path in ("trace.tokens", "spans.tokens"):
        assert evaluate_rule({"path": path, "op": "eq", "value": 15}, found).value == 1.0


async def test_stored_call_of_zero_tokens_is_known(plane):
    found = await stored(plane, llm(b'{"prompt_tokens":0,"completion_tokens":0}'))
    assert taken("token_budget", found, tokens=10).value == 1.0


@pytest.mark.parametrize("usage", [None, b"{}", b'{"total_tokens":9}'])
async def test_stored_call_without_counted_tokens_is_skipped(plane, usage):
    found = await stored(plane, llm(b'{"prompt_tokens":10}'), llm(usage))
    assert taken("token_budget", found, tokens=10).code is SkipCode.NO_USAGE
