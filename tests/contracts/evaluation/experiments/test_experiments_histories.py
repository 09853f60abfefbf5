"""Random histories of datasets and experiments read the same from memory and from PostgreSQL.

Part of the contracts of Datasets and Experiments.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from domain.evaluation.datasets.dataset import DatasetItem, WriteResult
from domain.evaluation.experiments.experiment import (
    Case,
    Experiment,
    NoiseFloor,
    Result,
    ResultsWritten,
)
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.scores.score import ScoreChange, ScoreOutcome, ScoreSource
from domain.ids import ProjectId, RunId, TraceId
from domain.page import Page, PageRequest
from domain.privacy.erasure import DataSubject
from domain.tracing.trace import Trace
from tests.support.builders import scores, strategies, trace_strategies
from tests.support.builders.datasets import a_dataset, hashed
from tests.support.builders.experiments import METRICS, an_experiment
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import ALL, DataPlane, over_memory, over_postgres
from tests.support.fixtures.erasures import ErasingHistories, ErasureSteps, owners, which
from tests.support.fixtures.evaluation.evaluation import a_run
from tests.support.fixtures.histories import Step, Steps, assert_histories_agree

pytestmark = pytest.mark.service

ITEMS: Final = ("a", "b", "c")
EXPERIMENTS: Final = tuple(UUID(int=n) for n in (1, 2, 5))
RUNS: Final = tuple(RunId(UUID(int=n)) for n in (3, 4))
UNKNOWN: Final = TraceId(UUID(int=6))
FIRST_RESULTS: Final = tuple(
    Result(Case(item, repetition), id_)
    for (item, repetition), id_ in zip(
        [("a", 1), ("a", 2), ("b", 1)], strategies.TRACE_IDS, strict=True
    )
)
COSTS: Final = (None, {"total": 0.25}, {"total": 0.0})

names: Final = st.sampled_from(["d", "d", "d", "e", "f"])
item_ids: Final = st.sampled_from(ITEMS)
links: Final = st.none() | strategies.trace_ids
splits: Final = st.sampled_from([None, "x", "y"])
experiments: Final = st.sampled_from([*EXPERIMENTS, EXPERIMENTS[0]])
runs: Final = st.sampled_from(RUNS)
cases: Final = st.builds(Case, item_ids, st.sampled_from([1, 1, 1, 2, 2, 0, 3]))
items: Final = st.builds(
    DatasetItem,
    id=item_ids,
    input=st.sampled_from([b'"?"', b'{"a":1,"b":2}', b'{"b":2, "a":1}', b"1.0", b"1"]),
    expected=st.sampled_from([None, b"null", b'"!"']),
    metadata=st.sampled_from([b"{}", b'{"k":1}', b'{"k": 1}']),
    split=splits,
    from_trace=links,
)


type Verdict = tuple[str | None, dict[str, Any]]  # a value, and what is said of the judge
verdicts: Final[st.SearchStrategy[Verdict]] = st.tuples(
    st.sampled_from([None, "0", "0.5", "1"]),
    st.sampled_from(
        [
            {},
            *({"fingerprint": one} for one in "fg"),
            {"fingerprint": "f", "threshold": 0.5},
            {"fingerprint": "f", "threshold": 0.7},
        ]
    ),
)


@st.composite
def traces(draw: st.DrawFn, ids: st.SearchStrategy[TraceId] = strategies.trace_ids) -> Trace:
    """Few traces, some of which name a case."""
    metadata = b"{}"
    if draw(st.booleans()):
        named = {"experiment.id": str(draw(experiments)), "experiment.item": draw(item_ids)}
        more = draw(st.sampled_from([{}, {"experiment.repetition": 2}]))
        metadata = json.dumps(named | more).encode()
    cost = draw(st.sampled_from(COSTS))
    unknown = span(id=strategies.SPAN_IDS[1], model="unknown", ended_at=at(1))
    spans = [span(id=strategies.SPAN_IDS[0], cost=cost)] * draw(st.integers(0, 1))
    spans += [unknown] * draw(st.integers(0, 1))
    return trace(
        *spans,
        id=draw(ids),
        metadata=metadata,
        ended_at=draw(st.sampled_from([None, at(1.5)])),
        user_id=draw(st.sampled_from([None, "u", "v"])),
        session_id=draw(st.sampled_from([None, "s"])),
    )


STEPS: Final = Steps()


class Histories(ErasingHistories):
    """Two projects with the same few datasets, items, experiments and traces."""

    @initialize(
        sent=st.tuples(*(traces(st.just(id_)) for id_ in strategies.TRACE_IDS)),
        first=st.tuples(*(items.map(partial(replace, id=id_, split=None)) for id_ in ITEMS)),
        given=st.lists(verdicts, min_size=6, max_size=6),
    )
    def begin(
        self, sent: Sequence[Trace], first: Sequence[DatasetItem], given: Sequence[Verdict]
    ) -> None:
        """Experiments over two versions and another dataset; the first has results.

        Random steps alone would seldom store a result, and measure less than that.
        """
        self.projects = [ProjectId(uuid.uuid4()), ProjectId(uuid.uuid4())]
        self.model = over_memory()
        self.erasing = ErasureSteps(self.run_on_both)
        self.now = 0
        last = first[2]
        for of in (0, 1):
            for one in sent[: len(sent) - of]:
                self.ingest(of, one)
            for name in ("d", "e", "f"):
                self.create_dataset(of, name)
            self.put_items(of, "d", [*first])
            self.create_experiment(of, EXPERIMENTS[0], "d", None, 2)
            self.delete_item(of, "d", last.id)
            self.create_experiment(of, EXPERIMENTS[1], "d", None, 2)
            self.put_items(of, "d", [last])
            self.put_items(of, "e", [replace(first[1], split="x"), last])
            self.create_experiment(of, EXPERIMENTS[2], "e", "x", 2)
            self.put_items(of, "f", [replace(one, split="y") for one in first])
        changed = replace(first[0], input=b'"changed"')
        for metadata in (b"{}", b'{"noted": 1}'):
            self.put_items(0, "d", [replace(changed, metadata=metadata)])
        # Replaced by the next, not in the version, and outside of the split.
        self.put_results(0, EXPERIMENTS[0], [replace(FIRST_RESULTS[0], trace=UNKNOWN)])
        self.put_results(0, EXPERIMENTS[0], [*FIRST_RESULTS])
        for one in EXPERIMENTS[1:]:
            self.put_results(0, one, [Result(Case(last.id, 1), UNKNOWN)])
        for at_, metric in enumerate(METRICS, 1):
            self.keep_noise_floor(0, EXPERIMENTS[0], metric, 0.1 * at_)
            self.close(0, EXPERIMENTS[1], RUNS[at_ - 1])
        for name, split in (("d", None), ("f", "x"), ("f", "y")):
            self.browse(0, name, split, PageRequest(1))
        self.delete_dataset(1, "f")
        of_metrics = [(one, metric) for one in strategies.TRACE_IDS for metric in METRICS]
        for (scored, metric), verdict in zip(of_metrics, given, strict=True):
            self.score(0, RUNS[0], scored, metric, *verdict)
        for scored, value, limit in zip(strategies.TRACE_IDS, "101", (0.5, 0.7, 0.6), strict=True):
            by = {"fingerprint": "f", "threshold": limit}
            self.score(0, RUNS[1], scored, METRICS[0], value, by)

    def comparable(self, result: Any) -> Any:
        return plain(result)

    def _next(self) -> Any:
        self.now += 1
        return at(self.now)

    # --- writes ---

    @STEPS.step(3, of=which, sent=traces())
    def ingest(self, of: int, sent: Trace) -> None:
        self.run_on_both(lambda plane: plane.traces.put(self.projects[of], sent))

    @STEPS.step(of=which, gone=strategies.trace_ids)
    def delete_trace(self, of: int, gone: TraceId) -> None:
        self.run_on_both(lambda plane: plane.traces.delete(self.projects[of], [gone]))

    @STEPS.step(of=which, name=names)
    def create_dataset(self, of: int, name: str) -> None:
        new = a_dataset(self.projects[of], name, now=self._next())
        self.run_on_both(lambda plane: plane.evaluation.datasets.create(new))

    @STEPS.step(of=which, name=names)
    def delete_dataset(self, of: int, name: str) -> None:
        self.run_on_both(lambda plane: plane.evaluation.datasets.delete(self.projects[of], name))

    @STEPS.step(8, of=which, name=names, sent=st.lists(items, min_size=1, max_size=3))
    def put_items(self, of: int, name: str, sent: list[DatasetItem]) -> None:
        now = self._next()
        self.run_on_both(
            lambda plane: plane.evaluation.datasets.put_items(
                self.projects[of], name, hashed(*sent), now
            )
        )

    @STEPS.step(3, of=which, name=names, item=item_ids)
    def delete_item(self, of: int, name: str, item: str) -> None:
        now = self._next()
        self.run_on_both(
            lambda plane: plane.evaluation.datasets.delete_item(self.projects[of], name, item, now)
        )

    @STEPS.step(
        2, of=which, new=experiments, name=names, split=splits, repetitions=st.integers(1, 2)
    )
    def create_experiment(
        self, of: int, new: UUID, name: str, split: str | None, repetitions: int
    ) -> None:
        """Over the newest version of a dataset, or one that was deleted meanwhile."""
        project, now = self.projects[of], self._next()

        async def create(plane: DataPlane) -> Experiment:
            version = await plane.evaluation.datasets.find_version(project, name)
            return await plane.evaluation.experiments.create(
                an_experiment(
                    id=new, project_id=project, dataset=name, version=version, split=split,
                    repetitions=repetitions, created_at=now, max_cost_usd=Decimal("0.5"),
                )
            )  # fmt: skip

        self.run_on_both(create)

    @STEPS.step(
        8,
        of=which,
        one=experiments,
        sent=st.lists(st.builds(Result, cases, strategies.trace_ids), min_size=1, max_size=4),
    )
    def put_results(self, of: int, one: UUID, sent: list[Result]) -> None:
        self.run_on_both(
            lambda plane: plane.evaluation.experiments.put_results(self.projects[of], one, sent)
        )

    @STEPS.step(of=which, one=experiments, run=runs)
    def close(self, of: int, one: UUID, run: RunId) -> None:
        now = self._next()
        self.run_on_both(
            lambda plane: plane.evaluation.experiments.close(self.projects[of], one, run, now)
        )

    @STEPS.step(of=which, one=experiments, metric=st.sampled_from(METRICS), drop=st.floats(0, 1))
    def keep_noise_floor(self, of: int, one: UUID, metric: str, drop: float) -> None:
        floor = {metric: NoiseFloor(drop, ("f",))}
        self.run_on_both(
            lambda plane: plane.evaluation.experiments.keep_noise_floor(
                self.projects[of], one, floor
            )
        )

    @STEPS.step(of=which, one=experiments)
    def delete_experiment(self, of: int, one: UUID) -> None:
        self.run_on_both(lambda plane: plane.evaluation.experiments.delete(self.projects[of], one))

    @STEPS.step(
        4,
        of=which,
        run=runs,
        scored=strategies.trace_ids,
        metric=st.sampled_from(METRICS),
        verdict=verdicts,
    )
    def score_again(
        self, of: int, run: RunId, scored: TraceId, metric: str, verdict: Verdict
    ) -> None:
        self.score(of, run, scored, metric, *verdict)

    def score(
        self,
        of: int,
        run: RunId,
        scored: TraceId,
        metric: str,
        value: str | None,
        judge: dict[str, Any],
    ) -> None:
        """A score as a run gives it; None: it has failed."""
        project = self.projects[of]
        given = scores.trace_score(
            project, scored, id=run_of(project, run).score_id(str(scored), metric), run_id=run,
            name=metric, value=value, source=ScoreSource.AUTOMATED,
            outcome=ScoreOutcome.FAILED if value is None else ScoreOutcome.SCORED,
            metadata=scores.by("model", **judge),
        )  # fmt: skip
        self.run_on_both(lambda plane: plane.evaluation.trace_scores.add(given))

    @STEPS.step(of=which, run=runs, scored=strategies.trace_ids, metric=st.sampled_from(METRICS))
    def correct(self, of: int, run: RunId, scored: TraceId, metric: str) -> None:
        """A person gives another value."""
        project, now = self.projects[of], self._next()
        known = run_of(project, run).score_id(str(scored), metric)
        self.run_on_both(
            lambda plane: plane.evaluation.trace_scores.change(
                project, known, ScoreChange(value="0.25"), now, scores.ADA
            )
        )

    # Steps and no rules: Hypothesis disables some of the rules in each history.
    @STEPS.step(2, of=which, owner=owners)
    def erase(self, of: int, owner: DataSubject) -> None:
        self.erasing.begin(self.projects[of], owner)

    @STEPS.step(2)
    def advance_erasure(self) -> None:
        self.erasing.step()

    # --- reads ---

    @STEPS.step(3, of=which, name=names, split=splits, window=trace_strategies.windows)
    def browse(self, of: int, name: str, split: str | None, window: PageRequest) -> None:
        """Reads two pages of each, the second from the end of the first."""
        project = self.projects[of]

        async def read(plane: DataPlane) -> list[Any]:
            datasets, ports = plane.evaluation.datasets, plane.evaluation.experiments
            page: Page[Any] = await ports.page(project, name, window)
            after = PageRequest(window.limit, after=page.end)
            found = [page, await ports.page(project, name, after)]
            for version in await datasets.versions(project, name):
                page = await datasets.items(project, version, split, window)
                after = PageRequest(window.limit, after=page.end)
                found += [page, await datasets.items(project, version, split, after)]
            return found

        self.run_on_both(read)

    @rule(steps=STEPS.some(8, 24))
    def write(self, steps: list[Step]) -> None:
        """Several steps before all is read: reading takes longer."""
        for name, values in steps:
            getattr(self, name)(**values)

    @invariant()
    def datasets_agree(self) -> None:
        async def read(plane: DataPlane) -> list[Any]:
            found, datasets = list[Any](), plane.evaluation.datasets
            for project in self.projects:
                for known in await datasets.all(project):
                    versions = await datasets.versions(project, known.name)
                    found += [known, list(versions)]
                    for one in versions:
                        found += [
                            await datasets.find_version(project, known.name, one.digest),
                            await datasets.items(project, one, None, ALL),
                        ]
            return found

        self.run_on_both(read)

    @invariant()
    def experiments_agree(self) -> None:
        async def read(plane: DataPlane) -> list[Any]:
            found, ports = list[Any](), plane.evaluation.experiments
            for project in self.projects:
                page = await ports.page(project, None, ALL)
                found += [page, *[await ports.named_results(project, one) for one in EXPERIMENTS]]
                for one in page.items:
                    found += [
                        await ports.results(project, one.id),
                        await ports.count_results(project, one.id),
                    ]
                    for run in (None, *(run_of(project, id_) for id_ in RUNS)):
                        found += [
                            await ports.case_results(project, one.id, ITEMS, run),
                            await ports.measurements(one, run, METRICS),
                        ]
            return found

        self.run_on_both(read)


def run_of(project: ProjectId, run: RunId) -> EvalRun:
    """A run of both metrics with this id, which need not be stored."""
    return replace(a_run(project), id=run, metrics=METRICS)


def plain(answer: Any) -> Any:
    """Errors of parts of a request are compared by what they say."""
    if isinstance(answer, WriteResult | ResultsWritten):
        refused = {index: one.errors for index, one in answer.refused.items()}
        return replace(answer, refused={}), refused
    return answer


def test_random_histories_of_experiments_agree(pool, serving_url):
    assert_histories_agree(Histories, over_postgres, serving_url, examples=50, steps=8)
