"""Experiments, and their results."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import IN_PROJECT, Connection, require_row
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.removed_projects import check_not_removed
from adapters.postgres.database.statements.columns import Column, Table, columns, compile_reader
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.database.transactions import project_transaction, transaction
from adapters.postgres.evaluation.datasets.dataset_rows import VERSIONS, version_from_row
from adapters.postgres.evaluation.runs.target_selection import trace_conditions
from adapters.postgres.identity.audit_log import store_audit_entry
from domain.errors import Conflict
from domain.evaluation.datasets.dataset import Version
from domain.evaluation.experiments.experiment import (
    EXPERIMENT_KEY,
    EXPERIMENTS_MAX,
    RESULTS_MAX,
    Case,
    CaseResult,
    CaseScore,
    Experiment,
    GitRevision,
    NoiseFloor,
    Result,
    ResultsWritten,
    first_of_cases,
    named_case,
    plan_results,
)
from domain.evaluation.experiments.measurements import (
    Figure,
    Measurements,
    MetricValues,
    measured_usage,
)
from domain.evaluation.runs.run import EvalRun
from domain.evaluation.scores.score import ScoreOutcome
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId, ScoreId, TraceId
from domain.page import Page, PageRequest, Position
from domain.tracing.query import TraceFilter
from domain.tracing.span import Totals

NOT_FOUND: Final = "Experiment not found"
NARROW_LIST: Final = "narrow the list with dataset, or try again later"
PUT_TRIES_MAX: Final = 5  # while other experiments take the same traces
NAMED_MAX: Final = 2 * RESULTS_MAX  # traces that are read for the cases that they name


# A number alone was stored before floors had fingerprints.
_FLOORS: Final = msgspec.json.Decoder(dict[str, NoiseFloor | float])


def _floor_text(floor: Mapping[str, NoiseFloor] | None) -> bytes | None:
    return None if floor is None else msgspec.json.encode(floor)


def _floor(text: bytes | None) -> Mapping[str, NoiseFloor] | None:
    if text is None:
        return None
    return {
        metric: floor if isinstance(floor, NoiseFloor) else NoiseFloor(floor)
        for metric, floor in _FLOORS.decode(text).items()
    }


EXPERIMENTS: Final = Table(
    "experiments",
    (
        *columns("project_id uuid, id uuid, name text"),
        Column("dataset_id", "uuid", "version.dataset_id"),
        *columns("dataset text"),
        Column("version", "int", "version.number"),
        *columns("split text, items int, repetitions int, release text"),
        Column("git_sha", "text", "git.sha"),
        Column("git_branch", "text", "git.branch"),
        Column("pull_request", "text", "git.pull_request"),
        Column("metrics", "text[]", read=tuple),
        *columns("model text, votes int, max_cost_usd numeric, run_id uuid"),
        *columns("created_at timestamptz, closed_at timestamptz"),
        Column("noise_floor", "json", write=_floor_text, read=_floor),
    ),
)
_experiment_row: Final = EXPERIMENTS.compile_row()
_git_from_row: Final = EXPERIMENTS.compile_reader(GitRevision, at="git")
_fields: Final = EXPERIMENTS.fields_of(Experiment)
_experiment_from_row: Final = compile_reader(
    Experiment,
    {name: column for name, column in _fields.items() if name != "version"},
    given=("version",),
    git=_git_from_row,
)

INSERT_EXPERIMENT: Final = EXPERIMENTS.insert()
SELECT_EXPERIMENT: Final = f"""
SELECT {EXPERIMENTS.select()} FROM experiments WHERE {IN_PROJECT} AND id = $2
"""
# Serialises writes of results, closing and the delete.
LOCK_EXPERIMENT: Final = f"{SELECT_EXPERIMENT} FOR UPDATE"
COUNT_EXPERIMENTS: Final = f"SELECT count(*) FROM experiments WHERE {IN_PROJECT}"
# Held until the transaction ends, so that the dataset isn't deleted meanwhile.
LOCK_DATASET_SHARED: Final = f"""
SELECT 1 FROM datasets WHERE {IN_PROJECT} AND id = $2 FOR SHARE
"""
CLOSE_EXPERIMENT: Final = f"""
UPDATE experiments SET run_id = $3, closed_at = $4 WHERE {IN_PROJECT} AND id = $2
"""
DELETE_EXPERIMENT: Final = f"DELETE FROM experiments WHERE {IN_PROJECT} AND id = $2"
DELETE_RESULTS: Final = f"""
DELETE FROM experiment_results WHERE {IN_PROJECT} AND experiment_id = $2
"""
# Each version is looked up by its key, whatever the statistics say.
SELECT_VERSIONS: Final = f"""
SELECT {VERSIONS.select("v")} FROM unnest($2::uuid[], $3::int[]) AS wanted (dataset_id, number)
CROSS JOIN LATERAL (
  SELECT * FROM dataset_versions
  WHERE {IN_PROJECT} AND dataset_id = wanted.dataset_id AND number = wanted.number
) AS v
"""
SELECT_ITEMS_OF_VERSION: Final = f"""
SELECT item_id FROM visible_dataset_items
WHERE {IN_PROJECT} AND dataset_id = $2 AND item_id = ANY($3::text[]) AND valid_from <= $4
  AND (valid_to IS NULL OR valid_to > $4) AND ($5::text IS NULL OR split = $5)
"""
SELECT_TAKEN: Final = f"""
SELECT trace_id, experiment_id, item_id, repetition FROM experiment_results
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[])
"""
_OF_EXPERIMENT: Final = f"{IN_PROJECT} AND experiment_id = $2"
SELECT_KNOWN: Final = f"""
SELECT item_id, repetition, trace_id FROM experiment_results
WHERE {_OF_EXPERIMENT} AND item_id = ANY($3::text[])
"""
PUT_RESULTS: Final = """
INSERT INTO experiment_results (
  project_id, experiment_id, item_id, repetition, trace_id
)
SELECT $1::uuid, $2::uuid, item, repetition, trace
FROM unnest($3::text[], $4::int[], $5::uuid[]) AS sent (item, repetition, trace)
ON CONFLICT (project_id, experiment_id, item_id, repetition)
DO UPDATE SET trace_id = excluded.trace_id
"""
COUNT_RESULTS: Final = f"SELECT count(*) FROM experiment_results WHERE {_OF_EXPERIMENT}"
SELECT_RESULTS: Final = f"""
SELECT item_id, repetition, trace_id FROM experiment_results
WHERE {_OF_EXPERIMENT} ORDER BY item_id, repetition
"""
_FIGURE_COLUMNS: Final = (
    "latency_us, span_count, prompt_tokens, completion_tokens, total_cost, unpriced_span_count"
)
SELECT_CASE_RESULTS: Final = f"""
SELECT r.item_id, r.repetition, r.trace_id, t.*
FROM (
  SELECT * FROM experiment_results WHERE {_OF_EXPERIMENT} AND item_id = ANY($3::text[])
) AS r
LEFT JOIN LATERAL (
  SELECT {_FIGURE_COLUMNS} FROM traces
  WHERE project_id = r.project_id AND trace_id = r.trace_id LIMIT 1
) AS t ON true
ORDER BY r.item_id, r.repetition
"""
SELECT_SCORES: Final = f"""
SELECT found.* FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
  SELECT id, name, outcome, value, code, reason FROM trace_scores
  WHERE {IN_PROJECT} AND id = wanted.id LIMIT 1
) AS found
"""

# One row for each item and metric: a row for each score would take several times as long.
SELECT_NUMBERS: Final = f"""
SELECT s.name, r.item_id, array_agg(r.repetition ORDER BY r.repetition) AS repetitions,
  array_agg(s.number ORDER BY r.repetition) AS numbers, max(s.threshold) AS threshold,
  min(coalesce(s.fingerprint, '')) AS fingerprint,
  max(coalesce(s.fingerprint, '')) AS another
FROM (SELECT * FROM experiment_results WHERE {_OF_EXPERIMENT}) AS r
JOIN trace_scores AS s
  ON s.project_id = r.project_id AND s.run_id = $3 AND s.trace_id = r.trace_id
WHERE s.name = ANY($4::text[]) AND s.number IS NOT NULL
GROUP BY s.name, r.item_id
"""
SELECT_FIGURES: Final = f"""
SELECT r.item_id, r.repetition, t.*
FROM (SELECT * FROM experiment_results WHERE {_OF_EXPERIMENT}) AS r
CROSS JOIN LATERAL (
  SELECT {_FIGURE_COLUMNS} FROM traces
  WHERE project_id = r.project_id AND trace_id = r.trace_id LIMIT 1
) AS t
ORDER BY r.item_id, r.repetition
"""
KEEP_NOISE_FLOOR: Final = f"""
UPDATE experiments SET noise_floor = $3 WHERE {IN_PROJECT} AND id = $2
"""


@dataclass(frozen=True, slots=True)
class PostgresExperiments(PoolReader):
    """Each list is read from one snapshot."""

    named_max: int = field(default=NAMED_MAX, kw_only=True)

    async def create(
        self, experiment: Experiment, *, audit: AuditEntry | None = None
    ) -> Experiment:
        project, lock = experiment.project_id, AdvisoryLock.EXPERIMENTS
        async with project_transaction(self.pool, lock, project) as connection:
            row = await connection.fetchrow(SELECT_EXPERIMENT, project, experiment.id)
            if row is not None:
                return (await _with_versions(connection, project, [row]))[0]
            dataset = experiment.version.dataset_id
            found = await connection.fetchrow(LOCK_DATASET_SHARED, project, dataset)
            require_row(found, "Dataset not found")
            if await connection.fetchval(COUNT_EXPERIMENTS, project) >= EXPERIMENTS_MAX:
                raise Conflict(
                    f"A project has {EXPERIMENTS_MAX:,} experiments at most: delete some"
                )
            await connection.execute(INSERT_EXPERIMENT, *_experiment_row(experiment))
            await store_audit_entry(connection, audit)
            return experiment

    async def get(self, project: ProjectId, experiment: UUID) -> Experiment:
        async with self._snapshot(RETRY_LATER, project) as connection:
            return await _fetch(connection, SELECT_EXPERIMENT, project, experiment)

    async def page(
        self, project: ProjectId, dataset: str | None, window: PageRequest
    ) -> Page[Experiment]:
        query = KeysetQuery.newest_first(project, EXPERIMENTS, window)
        where = [] if dataset is None else [Sql("dataset = {}", (dataset,))]
        async with self._snapshot(NARROW_LIST, project) as connection:
            page = await query.fetch_served(connection, where)
            shown = await _with_versions(connection, project, page.rows[: window.limit])
        has_more = len(page.rows) > len(shown)
        end = Position(shown[-1].created_at, shown[-1].id) if has_more else None
        return Page(shown, page.total, end)

    async def put_results(
        self, project: ProjectId, experiment: UUID, sent: Sequence[Result]
    ) -> ResultsWritten:
        for _ in range(PUT_TRIES_MAX):
            try:
                return await self._put_results(project, experiment, sent)
            except Conflict as conflict:
                if not isinstance(conflict.__cause__, asyncpg.UniqueViolationError):
                    raise
                # Another experiment has taken one of the traces meanwhile: that one is refused.
        raise Conflict("Other experiments take the same traces; try again")

    async def _put_results(
        self, project: ProjectId, experiment: UUID, sent: Sequence[Result]
    ) -> ResultsWritten:
        async with transaction(self.pool, project) as connection:
            await check_not_removed(connection, project)
            known = await _fetch(connection, LOCK_EXPERIMENT, project, experiment)
            known.check_open()
            ids = sorted({one.case.item for one in sent})
            version = known.version
            items = await connection.fetch(
                SELECT_ITEMS_OF_VERSION,
                *(project, version.dataset_id, ids, version.number, known.split),
            )
            rows = await connection.fetch(SELECT_KNOWN, project, experiment, ids)
            plan = plan_results(
                known,
                {one.case: one.trace for one in map(_result_from_row, rows)},
                sent,
                {row["item_id"] for row in items},
                await _taken(connection, project, sent),
            )
            if plan.stored:
                # By trace: other experiments that take the same ones wait in the same order.
                stored = sorted(plan.stored, key=lambda one: one.trace)
                values = (
                    [one.case.item for one in stored],
                    [one.case.repetition for one in stored],
                    [one.trace for one in stored],
                )
                await connection.execute(PUT_RESULTS, project, experiment, *values)
            return ResultsWritten(
                stored=len(plan.stored),
                unchanged=plan.unchanged,
                results=await connection.fetchval(COUNT_RESULTS, project, experiment),
                refused=plan.refused,
            )

    async def named_results(self, project: ProjectId, experiment: UUID) -> Sequence[Result]:
        matching = TraceFilter(metadata=((EXPERIMENT_KEY, (str(experiment),)),))
        async with self._visible_snapshot(RETRY_LATER, project) as connection:
            p, where = await trace_conditions(connection, project, matching)
            # Sorted apart: the planner would walk along the key to save the sort.
            sql = f"""
            SELECT trace_id, metadata FROM (
              SELECT trace_id, metadata FROM traces WHERE {where} OFFSET 0
            ) AS named ORDER BY trace_id LIMIT {self.named_max}
            """
            rows = await connection.fetch(sql, *p.values)
        return first_of_cases(
            Result(case, TraceId(row["trace_id"]))
            for row in rows
            if (case := named_case(row["metadata"], experiment)) is not None
        )

    async def close(
        self,
        project: ProjectId,
        experiment: UUID,
        run: RunId,
        now: datetime,
        *,
        audit: AuditEntry | None = None,
    ) -> Experiment:
        async with transaction(self.pool, project) as connection:
            known = await _fetch(connection, LOCK_EXPERIMENT, project, experiment)
            closed = known.closed(run, now)
            if closed != known:
                await connection.execute(CLOSE_EXPERIMENT, project, experiment, run, now)
                await store_audit_entry(connection, audit)
            return closed

    async def results(self, project: ProjectId, experiment: UUID) -> Sequence[Result]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_RESULTS, project, experiment)
        return [_result_from_row(row) for row in rows]

    async def count_results(self, project: ProjectId, experiment: UUID) -> int:
        async with self._statement(RETRY_LATER, project) as connection:
            count: int = await connection.fetchval(COUNT_RESULTS, project, experiment)
            return count

    async def case_results(
        self, project: ProjectId, experiment: UUID, items: Sequence[str], run: EvalRun | None
    ) -> Sequence[CaseResult]:
        async with self._visible_snapshot(RETRY_LATER, project) as connection:
            rows = await connection.fetch(SELECT_CASE_RESULTS, project, experiment, list(items))
            scores = {} if run is None else await _fetch_scores(connection, run, rows)
        return [_case_result(row, scores.get(row["trace_id"], ())) for row in rows]

    async def measurements(
        self, experiment: Experiment, run: EvalRun | None, metrics: Sequence[str]
    ) -> Measurements:
        project, id_ = experiment.project_id, experiment.id
        scores: Sequence[Record] = ()
        async with self._visible_snapshot(RETRY_LATER, project) as connection:
            rows = await connection.fetch(SELECT_FIGURES, project, id_)
            if run is not None:
                wanted = (project, id_, run.id, list(metrics))
                scores = await connection.fetch(SELECT_NUMBERS, *wanted)
        costs = [cost for row in rows if (cost := _usage(row)[1]) is not None]
        return Measurements(
            cases=experiment.cases,
            repetitions=experiment.repetitions,
            metrics=_metric_values(scores),
            figures=_figures(rows),
            repetition_results=Counter(row["repetition"] for row in rows),
            cost_usd=sum(costs, Decimal(0)),
        )

    async def keep_noise_floor(
        self, project: ProjectId, experiment: UUID, floor: Mapping[str, NoiseFloor]
    ) -> Mapping[str, NoiseFloor]:
        async with transaction(self.pool, project) as connection:
            known = await _fetch(connection, LOCK_EXPERIMENT, project, experiment)
            kept = {**(known.noise_floor or {}), **floor}
            await connection.execute(KEEP_NOISE_FLOOR, project, experiment, _floor_text(kept))
            return kept

    async def delete(
        self, project: ProjectId, experiment: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        async with transaction(self.pool, project) as connection:
            if await connection.fetchrow(LOCK_EXPERIMENT, project, experiment) is None:
                return False
            await connection.execute(DELETE_RESULTS, project, experiment)
            await connection.execute(DELETE_EXPERIMENT, project, experiment)
            await store_audit_entry(connection, audit)
            return True


async def _fetch(
    connection: Connection, sql: str, project: ProjectId, experiment: UUID
) -> Experiment:
    row = require_row(await connection.fetchrow(sql, project, experiment), NOT_FOUND)
    return (await _with_versions(connection, project, [row]))[0]


async def _with_versions(
    connection: Connection, project: ProjectId, rows: Sequence[Record]
) -> list[Experiment]:
    wanted = sorted({(row["dataset_id"], row["version"]) for row in rows})
    datasets, numbers = [one for one, _ in wanted], [number for _, number in wanted]
    found = await connection.fetch(SELECT_VERSIONS, project, datasets, numbers)
    versions: dict[tuple[UUID, int], Version] = {
        (row["dataset_id"], row["number"]): version_from_row(row) for row in found
    }
    return [_experiment_from_row(row, versions[row["dataset_id"], row["version"]]) for row in rows]


def _result_from_row(row: Record) -> Result:
    return Result(Case(row["item_id"], row["repetition"]), TraceId(row["trace_id"]))


def _case_result(row: Record, scores: Sequence[CaseScore]) -> CaseResult:
    made = CaseResult(
        case=Case(row["item_id"], row["repetition"]),
        trace=TraceId(row["trace_id"]),
        scores=tuple(scores),
    )
    if row["span_count"] is None:  # the trace isn't stored
        return made
    tokens, cost = _usage(row)
    latency_ms = None if row["latency_us"] is None else row["latency_us"] / 1_000
    return replace(made, latency_ms=latency_ms, tokens=tokens, cost_usd=cost)


def _usage(row: Record) -> tuple[int | None, Decimal | None]:
    """As `measured_usage`, of a stored trace."""
    return measured_usage(
        Totals(
            spans=row["span_count"],
            prompt_tokens=int(row["prompt_tokens"]),
            completion_tokens=int(row["completion_tokens"]),
            cost=row["total_cost"],
            unpriced=row["unpriced_span_count"],
        )
    )


async def _taken(
    connection: Connection, project: ProjectId, sent: Sequence[Result]
) -> Mapping[TraceId, tuple[UUID, Case]]:
    """The experiment and the case of traces that are results already."""
    rows = await connection.fetch(SELECT_TAKEN, project, [one.trace for one in sent])
    return {
        TraceId(row["trace_id"]): (row["experiment_id"], Case(row["item_id"], row["repetition"]))
        for row in rows
    }


async def _fetch_scores(
    connection: Connection, run: EvalRun, rows: Sequence[Record]
) -> Mapping[UUID, Sequence[CaseScore]]:
    """The scores of a run by trace, in the order of its metrics."""
    traces: dict[ScoreId, UUID] = {
        run.score_id(str(row["trace_id"]), metric): row["trace_id"]
        for row in rows
        for metric in run.metrics
    }
    found = await connection.fetch(SELECT_SCORES, run.project_id, list(traces))
    place = {metric: at for at, metric in enumerate(run.metrics)}
    by_trace: dict[UUID, list[CaseScore]] = defaultdict(list)
    for row in sorted(found, key=lambda one: place.get(one["name"], len(place))):
        by_trace[traces[row["id"]]].append(
            CaseScore(
                metric=row["name"],
                outcome=ScoreOutcome(row["outcome"]),
                value=row["value"],
                code=row["code"],
                reason=row["reason"],
            )
        )
    return by_trace


def _metric_values(rows: Iterable[Record]) -> Mapping[str, MetricValues]:
    values: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(dict)
    prints: dict[str, set[str]] = defaultdict(set)
    thresholds: dict[str, float | None] = {}
    for row in rows:
        name = row["name"]
        values[name][row["item_id"]] = list(zip(row["repetitions"], row["numbers"], strict=True))
        prints[name] |= {row["fingerprint"], row["another"]}
        if row["threshold"] is not None:
            thresholds[name] = max(row["threshold"], thresholds.get(name) or 0.0)
    return {
        name: MetricValues(
            values=by_item, fingerprints=frozenset(prints[name]), threshold=thresholds.get(name)
        )
        for name, by_item in values.items()
    }


def _figures(rows: Iterable[Record]) -> Mapping[Figure, Mapping[str, list[tuple[int, float]]]]:
    found: dict[Figure, dict[str, list[tuple[int, float]]]] = {
        one: defaultdict(list) for one in Figure
    }
    for row in rows:
        item, repetition = row["item_id"], row["repetition"]
        if row["latency_us"] is not None:
            found[Figure.LATENCY][item].append((repetition, row["latency_us"] / 1_000))
        tokens, cost = _usage(row)
        if tokens is not None:
            found[Figure.TOKENS][item].append((repetition, float(tokens)))
        if cost is not None:
            found[Figure.COST][item].append((repetition, float(cost)))
    return found
