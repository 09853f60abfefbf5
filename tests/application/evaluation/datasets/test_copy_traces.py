"""Copying traces into a dataset."""

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemoryTraces
from application.evaluation.datasets.copy_traces import (
    COPIED_MAX,
    READS_AT_ONCE,
    AnnotationQueueSource,
)
from application.use_cases import UseCases
from domain.errors import Invalid, NotFound
from domain.evaluation.datasets.dataset import ITEM_BYTES_MAX
from domain.evaluation.runs.selection import TraceSelection
from domain.ids import ProjectId, SpanId, TraceId
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.payload_detail import PayloadName
from domain.tracing.trace import Trace
from entrypoints.composition.memory import memory_ports
from tests.support.builders.datasets import a_dataset, shown
from tests.support.builders.scores import AUTOMATED, by, trace_score
from tests.support.builders.values import prices, trace
from tests.support.fixtures.data_plane import project


class Copying:
    def __init__(self) -> None:
        self.ports = memory_ports(MemoryStore(), prices())
        self.use_cases = UseCases(self.ports)
        self.project: ProjectId = project()

    async def new(self) -> None:
        await self.ports.evaluation.datasets.create(a_dataset(self.project))

    async def store(self, **said: Any) -> Trace:
        made = trace(**said)
        await self.ports.tracing.traces.put(self.project, made)
        return made

    async def copy(self, source: Any, **said: Any) -> Any:
        options = {"with_outputs": False, "split": None, **said}
        return await self.use_cases.datasets.copy_traces(self.project, "refunds", source, **options)


@pytest.fixture
async def copying() -> Copying:
    made = Copying()
    await made.new()
    return made


async def test_copies_keep_their_payloads_and_the_link(copying: Copying) -> None:
    known = await copying.store(input=b'{"q":1.10}', output=b'"a"')
    traces, result = await copying.copy([known.id, known.id], with_outputs=True, split="test")
    assert (traces, result.created) == ([known.id], 1)
    [item] = (await shown(copying.ports.evaluation.datasets, copying.project)).values()
    assert (item.input, item.expected, item.split) == (b'{"q":1.10}', b'"a"', "test")
    assert (item.id, item.from_trace) == (str(known.id), known.id)
    _, again = await copying.copy([known.id], with_outputs=True, split="test")
    assert (again.unchanged, again.version) == (1, result.version)


async def test_traces_without_payloads_are_refused(copying: Copying) -> None:
    silent = await copying.store(output=b"1")
    asking = await copying.store(input=b"1")
    other = Copying()
    foreign = await other.store(input=b"1", output=b"1")
    _, result = await copying.copy([silent.id, asking.id, foreign.id], with_outputs=True)
    messages = {index: one.errors[0].message for index, one in result.refused.items()}
    assert messages == {
        0: "the trace has no input", 1: "the trace has no output",
        2: "isn't a trace of this project",
    }  # fmt: skip
    assert result.version.items == 0


async def test_filters_must_not_match_too_many(copying: Copying) -> None:
    for number in range(COPIED_MAX + 1):
        await copying.store(input=json.dumps(number).encode(), name="many" if number else "one")
    traces, result = await copying.copy(TraceSelection(name="many"))
    assert (len(traces), result.created) == (COPIED_MAX, COPIED_MAX)
    with pytest.raises(Invalid, match=f"{COPIED_MAX} traces"):
        await copying.copy(TraceSelection())
    traces, _ = await copying.copy(TraceSelection(name="none"))
    assert traces == []


class FreshPayloads(MemoryTraces):
    """Each read takes memory of its own, as from a database."""

    async def payload(
        self, project: ProjectId, trace: TraceId, span: SpanId | None, name: PayloadName
    ) -> JsonText | None:
        known = await super().payload(project, trace, span, name)
        return None if known is None else bytes(bytearray(known))


@pytest.fixture
def traced_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced_memory")
async def test_payloads_that_are_too_large_are_not_kept_in_memory(copying: Copying) -> None:
    large = b'"' + b"x" * (4 * ITEM_BYTES_MAX) + b'"'
    known = [await copying.store(input=large) for _ in range(8 * READS_AT_ONCE)]
    good = await copying.store(input=b"1")
    traces = FreshPayloads(copying.ports.tracing.traces.store, prices())
    copy = replace(copying.use_cases.datasets.copy_traces, traces=traces)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    ids = [*(one.id for one in known), good.id]
    _, result = await copy(copying.project, "refunds", ids, with_outputs=False, split=None)
    _, peak = tracemalloc.get_traced_memory()
    assert (result.created, [*result.refused]) == (1, [*range(len(known))])
    assert {one.errors[0].field for one in result.refused.values()} == {"input"}
    assert peak - before < 3 * READS_AT_ONCE * len(large)


async def test_annotation_queue_is_copied_in_its_order(copying: Copying) -> None:
    known = [await copying.store(input=b"1") for _ in range(3)]
    for number, one in zip((0.9, 0.5, 0.1), known, strict=True):
        score = trace_score(
            copying.project, one.id, name="coherence", value=str(number), source=AUTOMATED,
            metadata=by("model", fingerprint="f"),
        )  # fmt: skip
        await copying.ports.evaluation.trace_scores.add(score)
    queue = await copying.use_cases.evaluation.annotation.read_queue(
        copying.project, "coherence", 0.5, 2
    )
    traces, result = await copying.copy(AnnotationQueueSource("coherence", 0.5, 2))
    assert len(queue) == 2
    assert (list(traces), result.created) == ([one.score.trace_id for one in queue], 2)


async def test_unknown_dataset_is_not_found(copying: Copying) -> None:
    known = await copying.store(input=b"1")
    copy = copying.use_cases.datasets.copy_traces
    with pytest.raises(NotFound):
        await copy(copying.project, "other", [known.id], with_outputs=False, split=None)
