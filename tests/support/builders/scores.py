"""Scores for tests, strategies of overlapping scores, and results that adapters must share."""

import json
import uuid
from dataclasses import replace
from itertools import product
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from application.evaluation.ports.scores import ScoreAnalytics
from application.evaluation.scores.agreement import HumanLabels
from domain.evaluation.scores.analytics import ScoreCounts, SeparateKind
from domain.evaluation.scores.score import (
    CreatedWithin,
    DataType,
    ScoreChange,
    ScoreFilter,
    ScoreOutcome,
    ScoreSource,
    ScoreStatus,
    ScoreTarget,
    SessionScore,
    TraceScore,
)
from domain.ids import ProjectId, RunId, ScoreId, TraceId, UserId
from domain.page import PageRequest, SortOrder
from domain.tracing.analytics import Granularity
from domain.tracing.payloads.payload import JsonText
from domain.tracing.query import ScoredOutcome, TraceFilter
from tests.support.builders import strategies
from tests.support.builders.strategies import TRACE_IDS, maybe
from tests.support.builders.trace_strategies import mostly
from tests.support.builders.values import NOON, OURS, at

RUNS: Final = tuple(RunId(uuid.UUID(int=n << 64 | 0x3)) for n in range(1, 3))
ADA: Final = UserId(uuid.UUID(int=0xADA))
AUTOMATED, ANNOTATION, PROGRAMMATIC = (
    *(ScoreSource.AUTOMATED, ScoreSource.ANNOTATION, ScoreSource.PROGRAMMATIC),
)
SCORED, FAILED, SKIPPED, PENDING = (
    *(ScoreOutcome.SCORED, ScoreOutcome.FAILED, ScoreOutcome.SKIPPED, ScoreOutcome.PENDING),
)


def by(kind: str, **more: object) -> JsonText:
    """The metadata of a score from this kind of judge."""
    return json.dumps({"judge_kind": kind} | more).encode()


def score_id() -> ScoreId:
    return ScoreId(uuid.uuid4())


def _known(of: ProjectId, said: dict[str, Any]) -> dict[str, Any]:
    """A person's 0.5 named m, created at noon, with the `said` fields; None gives no value."""
    made = said.get("created_at", NOON)
    outcome = SCORED if said.get("value", "") is not None else FAILED
    known: dict[str, Any] = {
        "id": score_id(),
        "project_id": of,
        "name": "m",
        "outcome": outcome,
        "value": "0.5",
        "source": ANNOTATION,
        "created_at": made,
        "updated_at": made,
    }
    return known | said


def trace_score(of: ProjectId, trace: TraceId, **said: Any) -> TraceScore:
    return TraceScore(**_known(of, said), trace_id=trace)


def session_score(of: ProjectId, session: str = "s", **said: Any) -> SessionScore:
    return SessionScore(**_known(of, said), session_id=session)


# --- strategies ------------------------------------------------------------------------------

names: Final = st.sampled_from(["m", "M", "ß", "n%"])
sessions: Final = st.sampled_from(["s", "S", "ß", ""])
kinds: Final = st.sampled_from(["heuristic", "model", "rule", "measured"])
sources: Final = mostly(st.just(AUTOMATED), st.sampled_from(ScoreSource))
environments: Final = st.sampled_from(["prod", ""])
instants: Final = mostly(strategies.edges, strategies.instants)
runs: Final = st.sampled_from(RUNS)
values: Final[dict[DataType, SearchStrategy[str]]] = {
    DataType.NUMERIC: st.sampled_from(
        ["0", "1", "1.0", "0.29", "0.5", "5e-1", "-0.0", "1e-400", "0.3333", ".1", "0.7", "+0.1"]
    )
    | st.integers(0, 10_000).map(lambda n: repr(n / 10_000))
    | st.floats(0, 1).map(repr),
    DataType.BOOLEAN: st.sampled_from(["true", "False"]),
    DataType.CATEGORICAL: st.sampled_from(["good", "0.5", "", "\U0001f43c"]),
}
originals: Final = st.sampled_from(["0.25", "0.5", "1e-400", "2", "", "\u0661", None, 1, True, {}])
metadata: Final[SearchStrategy[JsonText]] = mostly(
    st.builds(by, kinds, fingerprint=strategies.texts)
    | st.builds(by, kinds, fingerprint=st.sampled_from("fg"), original_value=originals),
    strategies.objects | st.just(b'{"judge_kind": "\\u0000", "code": "\\ud800"}'),
)


@st.composite
def _said(draw: st.DrawFn) -> dict[str, Any]:
    data_type = draw(mostly(st.just(DataType.NUMERIC), st.sampled_from(DataType)))
    outcome = draw(mostly(st.just(SCORED), st.sampled_from(ScoreOutcome)))
    return {
        "name": draw(names),
        "outcome": outcome,
        "value": draw(values[data_type]) if outcome is SCORED else None,
        "data_type": data_type,
        "source": draw(sources),
        "run_id": draw(maybe(runs)),
        "author_id": draw(st.sampled_from([None, ADA])),
        "reason": draw(maybe(strategies.texts)),
        "metadata": draw(metadata),
        "created_at": draw(instants),
        "updated_at": draw(instants),
    }


@st.composite
def trace_scores(draw: st.DrawFn) -> TraceScore:
    """Scores of the few traces and spans of `strategies`; the caller replaces the project."""
    said = {"environment": draw(maybe(environments))} | draw(_said())
    if said["run_id"] is None:  # runs score no spans
        said["span_id"] = draw(maybe(strategies.span_ids))
    return trace_score(OURS, draw(strategies.trace_ids), **said)


@st.composite
def session_scores(draw: st.DrawFn) -> SessionScore:
    return session_score(OURS, draw(sessions), **draw(_said()))


changes: Final = st.builds(
    ScoreChange,
    value=maybe(st.sampled_from(["0.25", "TRUE", "1", "2", ""])),
    reason=maybe(strategies.texts),
    metadata=maybe(metadata),
)
within: Final = st.builds(CreatedWithin, maybe(instants), maybe(instants))
_asked: Final[dict[str, SearchStrategy[Any]]] = {
    "trace_id": strategies.trace_ids,
    "span_id": strategies.span_ids,
    "of_spans": st.booleans(),
    "session_id": sessions,
    "environment": environments,
    "name": names,
    "source": st.sampled_from(ScoreSource),
    "status": st.sampled_from(ScoreStatus),
    "outcome": st.sampled_from(ScoreOutcome),
    "data_type": st.sampled_from(DataType),
    "code": st.sampled_from(["no_tools", "rate_limited", "other"]),
    "run_id": runs,
    "created_after": instants,
    "created_before": instants,
    "min_value": st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    "below_value": st.sampled_from([0.0, 0.25, 0.5, 1.0]),
}
filters: Final[SearchStrategy[ScoreFilter]] = (
    st.lists(st.sampled_from(sorted(_asked)), max_size=3, unique=True)
    .flatmap(lambda some: st.fixed_dictionaries({name: _asked[name] for name in some}))
    .map(lambda said: ScoreFilter(**said))
)
_scored: Final[dict[str, SearchStrategy[Any]]] = {
    "score_min": st.sampled_from([0.0, 0.25, 0.5]),
    "score_max": st.sampled_from([0.5, 0.7, 1.0]),
    "score_outcome": st.sampled_from(ScoredOutcome),
    "not_score": st.lists(names, max_size=2).map(tuple),
    "session_id": sessions,
    "has_error": st.booleans(),
}
scored_filters: Final[SearchStrategy[TraceFilter]] = (
    st.lists(st.sampled_from(sorted(_scored)), max_size=3, unique=True)
    .flatmap(lambda some: st.fixed_dictionaries({name: _scored[name] for name in some}))
    .flatmap(lambda said: names.map(lambda name: TraceFilter(score=name, **said)))
)
"""Filters of traces by their scores, and sometimes by something else."""

# --- many that differ ------------------------------------------------------------------------


def varied(of: ProjectId, traces: tuple[TraceId, ...] = TRACE_IDS) -> list[TraceScore]:
    """Scores of which every filter matches some, many of them at the same instant."""
    found = []
    for n in range(24):
        outcome = (SCORED, SCORED, SCORED, FAILED, SKIPPED, PENDING)[n % 6]
        data_type = list(DataType)[n % 4 % 3]
        value = {DataType.BOOLEAN: "true", DataType.NUMERIC: "0.5"}.get(data_type, "good")
        found.append(
            trace_score(
                of,
                traces[n % 3],
                name=("m", "M", "é", "m%")[n % 4],
                outcome=outcome,
                value=value if outcome is SCORED else None,
                data_type=data_type,
                source=list(ScoreSource)[n // 3 % 3],
                environment=(None, "prod", "", "é")[n // 2 % 4],
                run_id=(None, *RUNS)[n // 4 % 3],
                created_at=at(n % 5),
            )
        )
    return found


def varied_of_sessions(of: ProjectId) -> list[SessionScore]:
    return [
        session_score(
            of,
            ("s", "S", "")[n % 3],
            **{
                name: getattr(one, name)
                for name in ("name", "outcome", "value", "data_type", "source", "run_id")
            },
            created_at=one.created_at,
        )
        for n, one in enumerate(varied(of))
    ]


def rounded[T: ScoreCounts](of: T, *fields: str) -> T:
    """The same with these fields rounded, unless they are None."""
    numbers = {name: getattr(of, name) for name in fields}
    return replace(of, **{n: round(one, 9) for n, one in numbers.items() if one is not None})


async def figures(
    of_scores: ScoreAnalytics, of: ProjectId, bounds: CreatedWithin, parts: int
) -> list[Any]:
    """All analytics of a project; means are rounded, as the last digits may differ."""
    found: list[Any] = []
    for target, source in product(ScoreTarget, (None, *ScoreSource)):
        for judge_kind in (None, *SeparateKind):
            summaries = await of_scores.summaries(
                of, target, bounds, source=source, judge_kind=judge_kind
            )
            found += [rounded(one, "mean", "median") for one in summaries]
        for granularity, judge_kind in product(Granularity, (None, *SeparateKind)):
            points = await of_scores.trend(
                of,
                target,
                ("ß", "m"),
                granularity,
                bounds,
                source=source,
                judge_kind=judge_kind,
                empty_buckets=granularity is not Granularity.WEEK,
            )
            found += [rounded(one, "mean", "p10", "p50", "p90") for one in points]
        found += [
            await of_scores.distribution(
                of, target, name, parts, bounds, source=source, empty_buckets=parts % 2 == 0
            )
            for name in ("m", "ß")
        ]
    for order, source in product(SortOrder, (None, *ScoreSource)):
        found.append(await of_scores.comparison(of, "m", order, PageRequest(), source=source))
    for session, source in product(("s", ""), (None, *ScoreSource)):
        found += await of_scores.history(of, session, None, 3, source=source)
        found += await of_scores.history(of, session, "m", 200, source=source)
    return found


async def labelled(
    labels: HumanLabels, of: ProjectId, name: str, threshold: float, bounds: CreatedWithin
) -> list[Any]:
    """Scores of people and judges, and the next changes."""
    return [
        *await labels.compare_with_human_labels(of, name, threshold, bounds),
        *[
            await labels.annotation_queue(of, name, threshold, "seed", limit)
            for limit in (1, 5, 100)
        ],
    ]


EVER: Final = CreatedWithin()
