"""Filters of traces as SQL conditions, and the number of matches from roll-ups or a query."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE, PLAN_BY_VALUE
from adapters.postgres.database.statements.keyset_pages import rows_of_keys
from adapters.postgres.database.statements.sql_builder import Parameters, Sql, like
from adapters.postgres.database.statements.time_buckets import Bounds, split_period
from adapters.postgres.tracing.rollups.facets import (
    LABELS,
    Facet,
    member_value,
    metadata_terms,
    search_term,
    span_name_terms,
    span_term,
)
from adapters.postgres.tracing.rollups.latency_bins import split_range
from domain.ids import ProjectId
from domain.tracing.analytics import Granularity
from domain.tracing.facet_values import SEPARATOR
from domain.tracing.query import ScoreCondition, TraceFilter, TraceSort
from domain.tracing.span import SpanKind

BY_START: Final = frozenset({TraceSort.STARTED_AT})
NO_SORTS: Final = frozenset[TraceSort]()

COUNT_ALL_TRACES: Final = Sql(
    "(SELECT trace_count FROM trace_facets"
    f" WHERE {IN_PROJECT} AND kind = '{Facet.ALL}' AND value = '')"
)
HAS_ERROR: Final = "(status = 'ERROR' OR error_span_count > 0)"
_METADATA_HAS_VALUE: Final = (
    "json_typeof(metadata -> {}::text) NOT IN ('object', 'array')"
    " AND coalesce(metadata ->> {}::text, 'null') = ANY({}::text[])"
)
# Another name of a column, so that `trace_id` is that of the trace.
_LATEST_SCORE: Final = (
    "SELECT 1 FROM latest_trace_scores AS latest (project_id, scored_trace)"
    " WHERE scored_trace = trace_id"
)
COUNTED_SCORES_MAX: Final = 20_000  # that satisfy a condition; more are not counted
NAMES_MAX: Final = 1_000  # looked up one by one; if more names match, names are compared instead

_SELECT_MATCHING_NAMES: Final = f"""
WITH names AS MATERIALIZED (
  SELECT value, trace_count FROM trace_facets
  WHERE {IN_PROJECT} AND kind = '{Facet.NAME}' AND search_value LIKE $2
)
SELECT coalesce(sum(trace_count), 0)::bigint AS traces, count(*) AS names,
       ARRAY(SELECT value FROM names LIMIT $3) AS some
FROM names
"""


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on traces; `$1` is the project.

    `counter` is an upper bound of the matching traces from the roll-ups, exact if `is_exact`; None
    or negative if unknown. If it isn't exact, `least` is a lower bound. In the orders of `sorts`,
    the matches are one range of an index; if `is_range`, several clauses narrow that range
    together. `keys` selects the ids of the matches from another table, at most `rows_of_each` times
    each; `sql` looks into that for one trace. Then `counter` counts those rows, and is negative
    where it ended early. `many` is the condition for statements that compare all traces.
    """

    sql: Sql
    counter: Sql | None = None
    is_exact: bool = True
    sorts: frozenset[TraceSort] = NO_SORTS
    is_range: bool = False
    least: Sql | None = None
    keys: Sql | None = None
    rows_of_each: int = 1
    many: Sql | None = None

    @property
    def scan_condition(self) -> Sql:
        """The condition for statements that compare all traces: the planner chooses the way."""
        if self.keys is None:
            return self.many or self.sql
        return Sql(f"trace_id IN ({self.keys.text})", self.keys.values)


def filter_clauses(project: ProjectId, matching: TraceFilter) -> list[Clause]:
    """The conditions of `TraceFilter.matches`, all of which have to hold.

    Except `name`: see `counts`.
    """
    return [
        *_labels(matching),
        *_containment(project, matching),
        *_ranges(matching),
        *_totals(matching),
        *_metadata(project, matching),
        *_scores(matching),
        *_exclusions(project, matching),
    ]


def count_facet(kind: Facet, value: str) -> Sql:
    """The count of traces with a value."""
    sql = f"WHERE {IN_PROJECT} AND kind = '{kind}' AND value = {{}}"
    return Sql(f"(SELECT trace_count FROM trace_facets {sql})", (value,))


def _sum_facets(kind: Facet, values: Sequence[str]) -> Sql:
    """The sum of the counts of several values."""
    sql = f"WHERE {IN_PROJECT} AND kind = '{kind}' AND value = ANY({{}}::text[])"
    return Sql(f"(SELECT sum(trace_count) FROM trace_facets {sql})", (values,))


def _count_most_frequent(kind: Facet, values: Sequence[str]) -> Sql:
    """The count of traces with the most frequent of several values."""
    sql = f"WHERE {IN_PROJECT} AND kind = '{kind}' AND value = ANY({{}}::text[])"
    return Sql(f"(SELECT max(trace_count) FROM trace_facets {sql})", (values,))


def _count_user(user: str) -> Sql:
    where = f"WHERE {IN_PROJECT} AND user_id = {{}}"
    return Sql(f"(SELECT trace_count FROM trace_users {where})", (user,))


def _labels(matching: TraceFilter) -> Iterator[Clause]:
    for kind, column in LABELS.items():
        if (label := getattr(matching, column)) is not None:
            yield Clause(
                Sql(f"{column} = {{}}", (label,)), count_facet(kind, label), sorts=BY_START
            )
    if (user := matching.user_id) is not None:
        yield Clause(Sql("user_id = {}", (user,)), _count_user(user), sorts=BY_START)
    several = (
        (Facet.ENVIRONMENT, "environment", matching.environments),
        (Facet.STATUS, "status", matching.statuses),
        (Facet.NAME, "name", matching.names),
    )
    for kind, column, texts in several:
        if labels := sorted(set(texts)):  # a trace has one of them at most
            yield Clause(Sql(f"{column} = ANY({{}}::text[])", (labels,)), _sum_facets(kind, labels))
    if (status := matching.status) is not None:
        counter = count_facet(Facet.STATUS, status)
        sorts = frozenset({TraceSort.STATUS})
        yield Clause(Sql("status = {}", (status,)), counter, sorts=sorts)


def _containment(project: ProjectId, matching: TraceFilter) -> Iterator[Clause]:
    if tags := sorted(set(matching.tags)):
        terms = [search_term(project, Facet.TAG, tag) for tag in tags]
        yield Clause(
            Sql("terms && {}::bigint[] AND tags && {}::text[]", (terms, tags)),
            _sum_facets(Facet.TAG, tags),
            is_exact=len(tags) == 1,
            least=None if len(tags) == 1 else _count_most_frequent(Facet.TAG, tags),
        )
    if tags := sorted(set(matching.tags_all)):
        terms = [search_term(project, Facet.TAG, tag) for tag in tags]
        yield Clause(
            Sql("terms @> {}::bigint[] AND tags @> {}::text[]", (terms, tags)),
            _count_rarest(tags),
            is_exact=len(tags) == 1,
        )
    if (model := matching.model) is not None:
        terms = [search_term(project, Facet.MODEL, model)]
        sql = Sql("terms && {}::bigint[] AND {} = ANY(models)", (terms, model))
        yield Clause(sql, count_facet(Facet.MODEL, model))
    yield from _spans(project, matching)
    if matching.has_error is True:
        yield Clause(Sql(HAS_ERROR), count_facet(Facet.FAILED, ""), sorts=BY_START)
    elif matching.has_error is False:
        yield Clause(Sql(f"NOT {HAS_ERROR}"), _count_others([count_facet(Facet.FAILED, "")]))
    if matching.has_failed_span is True:  # `HAS_ERROR` is implied, and lets its index be used
        sql = Sql(f"error_span_count > 0 AND {HAS_ERROR}")
        yield Clause(sql, count_facet(Facet.FAILED, ""), is_exact=False)
    elif matching.has_failed_span is False:
        yield Clause(Sql("error_span_count = 0"))


def _spans(project: ProjectId, matching: TraceFilter) -> Iterator[Clause]:
    kind, name = matching.span_kind, matching.span_name
    if kind is not None or name is not None:
        yield Clause(_has_span(project, kind, name))


def _has_span(project: ProjectId, kind: SpanKind | None, name: str | None) -> Sql:
    """Whether a span has the kind and the name. Terms name candidates, whose spans are read."""
    terms, conditions, values = list[list[int]](), list[str](), list[str]()
    if kind is not None:
        terms.append([span_term(project, Facet.SPAN_KIND, kind)])
        conditions.append("span_kind = {}")
        values.append(kind)
    if name is not None:
        terms.append(span_name_terms(project, name))
        conditions.append("span_name = {}")
        values.append(name)
    # Other names of the first columns, so that `trace_id` is that of the trace.
    columns = "project_id, span_trace, own_id, parent_id, span_name, span_kind"
    where = " AND ".join([IN_PROJECT, "span_trace = trace_id", *conditions])
    found = f"EXISTS (SELECT 1 FROM spans AS step ({columns}) WHERE {where} OFFSET 0)"
    sql = " AND ".join([*["terms && {}::bigint[]"] * len(terms), found])
    return Sql(f"({sql})", (*terms, *values))


def _ranges(matching: TraceFilter) -> Iterator[Clause]:
    after, before = matching.started_after, matching.started_before
    within = []
    if after is not None:
        within.append(("started_at >= {}", after))
    if before is not None:
        within.append(("started_at < {}", before))
    if within:
        sql = Sql(" AND ".join(text for text, _ in within), tuple(value for _, value in within))
        yield Clause(sql, _count_started((after, before)), sorts=BY_START, is_range=True)
    if (bounds := matching.latency_us) is not None:
        sql = Sql("latency_us BETWEEN {} AND {}", bounds)
        sorts = frozenset({TraceSort.LATENCY})
        yield Clause(sql, _count_latency(bounds), sorts=sorts, is_range=True)


def _totals(matching: TraceFilter) -> Iterator[Clause]:
    """Lower bounds of sums, each of which is a range of the index of its order."""
    bounds = (
        ("total_cost", "numeric", matching.least_cost, TraceSort.COST),
        ("total_tokens", "numeric", matching.min_tokens, TraceSort.TOKENS),
        ("span_count", "int", matching.min_span_count, TraceSort.SPAN_COUNT),
    )
    for column, of, least, sort in bounds:
        if least is not None:
            sql = Sql(f"{column} >= {{}}::{of}", (least,))
            yield Clause(sql, sorts=frozenset({sort}), is_range=True)


def _metadata(project: ProjectId, matching: TraceFilter) -> Iterator[Clause]:
    # 64 bits distinguish pairs of key and text well enough: reading the object of each match would
    # take three times as long. It is read if its members have no terms, or if one pair could be
    # read as another.
    for key, texts in matching.metadata:
        yield Clause(_has_member(project, key, texts), _count_members(key, texts))


def _has_member(project: ProjectId, key: str, texts: Sequence[str]) -> Sql:
    *pairs, many = metadata_terms(project, key, texts)
    terms = f"terms && {{}}::bigint[] AND {_METADATA_HAS_VALUE}"
    looked_into = (key, key, list(texts))
    if any(SEPARATOR in text for text in (key, *texts)):
        return Sql(f"({terms})", ([*pairs, many], *looked_into))
    return Sql(f"(terms && {{}}::bigint[] OR ({terms}))", (pairs, [many], *looked_into))


def _scores(matching: TraceFilter) -> Iterator[Clause]:
    """Whether one of the newest scores of a name has the outcome and a number within bounds."""
    if (wanted := matching.scored) is not None:
        where, values = _score_conditions(wanted)
        some = f"(SELECT 1 FROM latest_trace_scores WHERE {where} LIMIT {COUNTED_SCORES_MAX + 1})"
        counted = (
            f"SELECT CASE WHEN count(*) > {COUNTED_SCORES_MAX} THEN -count(*) ELSE count(*) END"
        )
        yield Clause(
            Sql(f"EXISTS ({_LATEST_SCORE} AND {where} OFFSET 0)", values),  # a lookup
            Sql(f"({counted} FROM {some} AS first_ones)", values),
            is_exact=False,
            keys=Sql(f"SELECT trace_id FROM latest_trace_scores WHERE {where}", values),
            rows_of_each=2,  # the newest of runs, and that of all others
        )
    for unwanted in matching.not_scored:
        where, values = _score_conditions(unwanted)
        yield Clause(
            Sql(f"NOT EXISTS ({_LATEST_SCORE} AND {where} OFFSET 0)", values),
            many=Sql(f"NOT EXISTS ({_LATEST_SCORE} AND {where})", values),
        )


def _score_conditions(wanted: ScoreCondition) -> tuple[str, tuple[object, ...]]:
    """The conditions on a row of `latest_trace_scores`, and their values."""
    conditions = [
        ("name = {}", wanted.name),
        ("outcome = {}", wanted.outcome),
        ("number >= {}::float8", wanted.least),
        ("number <= {}::float8", wanted.most),
    ]
    given = [(sql, value) for sql, value in conditions if value is not None]
    return " AND ".join([IN_PROJECT, *(sql for sql, _ in given)]), tuple(v for _, v in given)


def _exclusions(project: ProjectId, matching: TraceFilter) -> Iterator[Clause]:
    """The fields `not_…`. A row without a value stays: a condition on it is null, so not true."""
    for kind, column in {**LABELS, Facet.STATUS: "status"}.items():
        if labels := sorted(set(getattr(matching, f"not_{column}"))):
            counter = _count_others([count_facet(kind, label) for label in labels])
            yield Clause(Sql(f"({column} = ANY({{}}::text[])) IS NOT TRUE", (labels,)), counter)
    if users := sorted(set(matching.not_user_id)):
        counter = _count_others([_count_user(user) for user in users])
        yield Clause(Sql("(user_id = ANY({}::text[])) IS NOT TRUE", (users,)), counter)
    several = ((Facet.TAG, "tags", matching.not_tags), (Facet.MODEL, "models", matching.not_model))
    for kind, column, texts in several:
        for text in sorted(set(texts)):  # each by itself, since a trace may have several
            counter = _count_others([count_facet(kind, text)])
            yield Clause(Sql(f"NOT {column} && {{}}::text[]", ([text],)), counter)
    span_conditions = [_has_span(project, one, None) for one in sorted(set(matching.not_span_kind))]
    span_conditions += [
        _has_span(project, None, one) for one in sorted(set(matching.not_span_name))
    ]
    for found in span_conditions:
        yield Clause(Sql(f"{found.text} IS NOT TRUE", found.values))
    for part in sorted(set(matching.not_name_parts)):
        yield Clause(Sql("search_name NOT LIKE {}", (like(part),)))
    for key, texts in matching.not_metadata:
        has_member, members = _has_member(project, key, texts), _count_members(key, texts)
        others = None if members is None else _count_others([members])
        yield Clause(Sql(f"{has_member.text} IS NOT TRUE", has_member.values), others)


def _count_rarest(tags: Sequence[str]) -> Sql:
    """The count of traces with the rarest of some tags."""
    counted = count_facet(Facet.TAG, "")
    one = counted.text.format("tag")
    return Sql(f"(SELECT min(coalesce({one}, 0)) FROM unnest({{}}::text[]) AS tag)", (tags,))


def _count_others(counts: Sequence[Sql]) -> Sql:
    """The count of all traces but those of `counts`, which no trace is in twice.

    -1 if one of them is negative, so unknown.
    """
    texts = " + ".join(f"coalesce({one.text}, 0)" for one in counts)
    values = tuple(value for one in counts for value in one.values)
    return Sql(
        "(SELECT CASE WHEN counted.traces < 0 THEN -1"
        f" ELSE coalesce({COUNT_ALL_TRACES.text}, 0) - counted.traces END"
        f" FROM (SELECT {texts} AS traces) AS counted)",
        values,
    )


def _count_members(key: str, texts: Sequence[str]) -> Sql | None:
    """The count of traces with one of `texts` under `key`; -1 if unknown."""
    values = [member_value(key, text) for text in dict.fromkeys(texts)]
    if None in values:
        return None
    return Sql(
        "(SELECT CASE WHEN EXISTS ("
        f"SELECT 1 FROM trace_facets WHERE {IN_PROJECT} AND kind = '{Facet.MANY_MEMBERS}') THEN -1"
        " ELSE coalesce(sum(trace_count), 0) END FROM trace_facets"
        f" WHERE {IN_PROJECT} AND kind = '{Facet.METADATA}' AND value = ANY({{}}::text[]))",
        (values,),
    )


def _count_latency(bounds: tuple[int, int]) -> Sql:
    """The count of traces in a range of latencies: whole bins from the roll-up.

    Partial bins are counted by index.
    """
    split = split_range(*bounds)
    # Only bins are numbers, and PostgreSQL may evaluate the value before the kind.
    least = f"(CASE WHEN kind = '{Facet.LATENCY}' THEN value::bigint END)"
    where = f"{IN_PROJECT} AND kind = '{Facet.LATENCY}' AND {least} >= {{}} AND {least} < {{}}"
    sums = [f"coalesce((SELECT sum(trace_count) FROM trace_facets WHERE {where}), 0)"]
    cut = f"(SELECT count(*) FROM traces WHERE {IN_PROJECT} AND latency_us BETWEEN {{}} AND {{}})"
    sums += [cut] * len(split.cuts)
    values = [*split.whole, *(end for cut in split.cuts for end in cut)]
    return Sql(f"({' + '.join(sums)})", tuple(values))


def _count_started(bounds: Bounds) -> Sql:
    """The count of traces that started within `bounds`: whole hours from the roll-up.

    Partial hours are counted by index.
    """
    split = split_period(bounds, Granularity.HOUR)
    sums, values = list[str](), list[object]()

    def bounded(column: str, bounds: Bounds) -> str:
        conditions = [IN_PROJECT]
        for sign, bound in zip((">=", "<"), bounds, strict=True):
            if bound is not None:
                conditions.append(f"{column} {sign} {{}}")
                values.append(bound)
        return " AND ".join(conditions)

    if split.whole is not None:
        where = bounded("hour", split.whole)
        sums.append(f"coalesce((SELECT sum(trace_count) FROM trace_hours WHERE {where}), 0)")
    for cut in split.cuts:
        sums.append(f"(SELECT count(*) FROM traces WHERE {bounded('started_at', cut)})")
    return Sql(f"({' + '.join(sums) or '0'})", tuple(values))


@dataclass(frozen=True, slots=True)
class ClauseCount:
    """A clause, and how many traces satisfy it.

    At most `most`, None if no roll-up counts them, and at least `lower_bound`.
    """

    clause: Clause
    most: int | None
    is_exact: bool
    lower_bound: int = 0

    @property
    def least(self) -> int:
        return self.most or 0 if self.is_exact else self.lower_bound


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """`all`: the traces of the project. `total`: the matching traces, or None if unknown.

    With `has_active_erasure`, the roll-ups include rows that are hidden, and no number is exact.
    """

    all: int
    clauses: Sequence[ClauseCount]
    has_active_erasure: bool = False

    @property
    def most(self) -> int:
        """The maximum number of traces that match."""
        return min([self.all, *(one.most for one in self.clauses if one.most is not None)])

    @property
    def least(self) -> int:
        """The minimum number of traces that match: each clause excludes all others at most."""
        if self.has_active_erasure:
            return 0
        return max(0, self.all - sum(self.all - one.least for one in self.clauses))

    @property
    def total(self) -> int | None:
        match self.clauses:
            case [] if not self.has_active_erasure:
                return self.all
            case [one] if one.is_exact and not self.has_active_erasure:
                return one.most
        return 0 if self.most == 0 else None

    @property
    def keyed(self) -> ClauseCount | None:
        """The clause whose keys are to be looked up, unless another one probably has fewer matches.

        Where no number is known, half of all traces are assumed to match.
        """
        unknown = self.all // 2
        by_count = [(one.most if one.most is not None else unknown, one) for one in self.clauses]
        fewest = min((count for count, _ in by_count), default=0)
        found = (one for count, one in by_count if count == fewest and one.clause.keys is not None)
        return next(found, None)


async def fetch_counts(
    connection: Connection, project: ProjectId, clauses: Sequence[Clause], part: str
) -> FilterCounts:
    """Reads the roll-up counts of each clause, and of the names that contain `part`.

    `part` is case-folded; empty for none. The statements after it are planned for their values.
    """
    p = Parameters([project])
    counts = [sql for one in clauses for sql in (one.counter, one.least) if sql is not None]
    counters = [COUNT_ALL_TRACES, *counts]
    columns = [f"coalesce({sql}, 0)::bigint" for sql in p.all_of(counters)]
    sql = f"SELECT {', '.join([HAS_ACTIVE_ERASURE, *columns, PLAN_BY_VALUE])}"
    [row] = await connection.fetch(sql, *p.values)
    numbers = iter(row[2:-1])
    counted = []
    for clause in clauses:
        number = -1 if clause.counter is None else next(numbers)
        most = None if number < 0 else number
        least = 0 if clause.least is None else next(numbers)
        if clause.keys is not None:
            least = -(-abs(number) // clause.rows_of_each)  # rounded up
        counted.append(ClauseCount(clause, most, clause.is_exact and most is not None, least))
    if part:
        counted.append(await _count_names(connection, project, part))
    return FilterCounts(row[1], counted, has_active_erasure=row[0])


async def count_traces(
    connection: Connection,
    project: ProjectId,
    counts: FilterCounts,
    most: int | None = None,
) -> int:
    """Counts the traces that match, by a query. It ends at `most`, if that is given."""
    p = Parameters([project])
    keyed = counts.keyed
    conditions = [one.clause.sql for one in counts.clauses if one is not keyed]
    source, where = "traces", " AND ".join([IN_PROJECT, *p.all_of(conditions)])
    if keyed is not None and keyed.clause.keys is not None:
        keys = p.sql(keyed.clause.keys)
        source = rows_of_keys(keys, table="traces", key="trace_id", columns="trace_id", where=where)
        where = "true"
    limit = "" if most is None else f"LIMIT {most:d}"
    counted = f"(SELECT 1 FROM {source} WHERE {where} {limit}) AS counted"
    total: int = await connection.fetchval(f"SELECT count(*) FROM {counted}", *p.values)
    return total


async def _count_names(connection: Connection, project: ProjectId, part: str) -> ClauseCount:
    [row] = await connection.fetch(_SELECT_MATCHING_NAMES, project, like(part), NAMES_MAX)
    if row["names"] <= NAMES_MAX:
        sql = Sql("name = ANY({}::text[])", (row["some"],))
    else:
        sql = Sql("search_name LIKE {}", (like(part),))
    return ClauseCount(Clause(sql), row["traces"], is_exact=True)
