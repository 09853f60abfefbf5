"""The writer of traces: many requests, one transaction, an answer after the COMMIT.

An INSERT that skips what exists tells new traces from known ones. The spans of new traces can
meet nothing and are copied in. Known traces are locked, merged by the domain's own rule, and
written back: no rule of merging is told a second time in SQL. Figures: docs/adr/0004.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from asyncpg import LockNotAvailableError

from adapters.postgres.database.columns import arrays
from adapters.postgres.database.pool import (
    OUT_OF_REACH,
    UNSTORABLE,
    WRITE_TIMEOUT_S,
    Connection,
    Pool,
)
from adapters.postgres.database.removed_projects import ProjectRemoved, check_not_removed
from adapters.postgres.tracing import rollups
from adapters.postgres.tracing.erasure_guard import Owned, check_lost
from adapters.postgres.tracing.facets import Counted
from adapters.postgres.tracing.rollup_deltas import by_project
from adapters.postgres.tracing.row_updates import (
    INSERT_TRACES,
    Key,
    copy_spans,
    locked,
    merge,
    payload_rows,
)
from adapters.postgres.tracing.trace_rows import PAYLOADS, TRACES, span_row, trace_row
from adapters.pricing.price_cache import ProjectPriceCache
from application.privacy.ports import trace_was_erased
from domain.errors import FieldError, Invalid, Unavailable
from domain.ids import ProjectId
from domain.tracing.erasure import data_subjects_of
from domain.tracing.payload import JsonText
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace
from domain.tracing.usage import Pricing

type Item = tuple[ProjectId, Trace]

NO_PAYLOADS: Final[Sequence[list[object]]] = tuple([] for _ in PAYLOADS.names)
UNSTORABLE_RULE: Final = "can't be stored: nested too deep"
SURELY_STORABLE: Final = 1_000  # levels that every Postgres takes with its default stack
ROUNDS_MAX: Final = 3  # a trace may be deleted between two statements, hardly three times in a row

# Not as a join: for that the planner may go through all that was erased lately.
NOT_ERASED: Final = """
(SELECT erased_at FROM erased_traces AS erased
 WHERE erased.project_id = sent.project_id AND erased.trace_id = sent.trace_id) IS NULL
"""
# Waits for another writer's uncommitted row of the same key, and then skips it. Payloads come
# along where the trace is new. Nothing is stored for a project that was removed, or of a trace
# that was erased.
INSERT_NEW: Final = f"""
WITH new AS (
  {INSERT_TRACES}
  WHERE NOT EXISTS (SELECT FROM removals WHERE removals.project_id = sent.project_id)
    AND {NOT_ERASED}
  ON CONFLICT DO NOTHING RETURNING project_id, trace_id
), payloads AS (
  {PAYLOADS.insert_from("sent", first=len(TRACES.names) + 1)}
  JOIN new ON new.project_id = sent.project_id AND new.trace_id = sent.trace_id
)
SELECT project_id, trace_id FROM new
"""

ERASED: Final = f"""
SELECT NOT bool_and({NOT_ERASED}) FROM {TRACES.unnest_keys("sent")}
"""
BLAMED: Final = (*UNSTORABLE, LockNotAvailableError, ProjectRemoved)


def is_transient(error: Exception) -> bool:
    """Whether the moment was wrong for all, and no single trace is to blame.

    One that somebody has locked for long is to blame: the others needn't wait for it.
    """
    return isinstance(error, (*OUT_OF_REACH, Unavailable)) and not isinstance(error, BLAMED)


@dataclass(frozen=True, slots=True)
class TraceWriter:
    """Stores batches of traces."""

    pool: Pool
    prices: ProjectPriceCache

    async def write(self, items: Sequence[Item]) -> None:
        """Merges each item into what is stored. Where it raises, some may be stored all the same.

        Nearly always one transaction. What met a row that was just being deleted goes into
        another: a later round must not wait for a key while it holds greater ones.
        """
        incoming, changed_hands = _by_key(items)
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            # Before there is a transaction: who holds a connection waits for no other one.
            spans = (span for trace in incoming.values() for span in trace.spans)
            pricing = await self.prices.get({project for project, _ in incoming}, spans)
            for _ in range(ROUNDS_MAX):
                async with self.pool.acquire() as connection, connection.transaction():
                    incoming = await self._store(connection, incoming, pricing, changed_hands)
                    if incoming:
                        await _check_storable(connection, incoming)
                if not incoming:
                    return
        raise Unavailable("This trace is being deleted; try again")

    async def _store(
        self,
        connection: Connection,
        incoming: dict[Key, Trace],
        pricing: Mapping[ProjectId, Pricing],
        changed_hands: Sequence[Owned],
    ) -> dict[Key, Trace]:
        # Returns what met a row that was gone again when it was to be locked.
        settled = [
            Counted(key[0], whole, Totals.from_spans(whole.spans), whole.models)
            for key, trace in incoming.items()
            for whole in (trace.settled(pricing[key[0]]),)
        ]
        rows = list(map(trace_row, settled))
        payloads = arrays(payload_rows(incoming.items())) or NO_PAYLOADS
        made = await connection.fetch(INSERT_NEW, *arrays(rows), *payloads)
        new = {(row[0], row[1]) for row in made} if len(made) < len(rows) else incoming.keys()
        fresh = [one for one in settled if (one.project, one.trace.id) in new]
        await copy_spans(
            connection,
            [span_row(one.project, one.trace.id, s) for one in fresh for s in one.trace.spans],
        )
        deltas, gone = by_project(), dict[Key, Trace]()
        for one in fresh:
            of_project = deltas[one.project]
            of_project.put(one)
            of_project.add_spans(one.trace.spans)
        if len(fresh) < len(settled):
            known = {key: trace for key, trace in incoming.items() if key not in new}
            here = await locked(connection, known)
            gone = {key: trace for key, trace in known.items() if key not in here}
            reports = {key: known[key] for key in here}
            spans = {key: trace.spans for key, trace in reports.items()}
            await merge(
                connection, pricing, here, spans,
                reports=reports, deltas=deltas, changed_hands=changed_hands,
            )  # fmt: skip
        else:
            await check_lost(connection, changed_hands)
        await rollups.write(connection, deltas)
        return gone


async def _check_storable(connection: Connection, keys: Iterable[Key]) -> None:
    """Raises ProjectRemoved or, of a trace that was erased, Invalid where that is the reason."""
    projects, traces = map(list, zip(*keys, strict=True))
    await check_not_removed(connection, *projects)
    if await connection.fetchval(ERASED, projects, traces):
        raise trace_was_erased()


async def unstorable(pool: Pool, suspects: Iterable[tuple[str, JsonText]]) -> Invalid:
    """Which values Postgres refuses, each by its path, found by asking it for each.

    For the rare item that passed every check before and still can't be stored.
    """
    errors: list[FieldError] = []
    async with pool.acquire() as connection:
        for path, text in suspects:
            try:
                await connection.execute("SELECT $1::json", text)
            except UNSTORABLE:
                errors.append(FieldError(path, UNSTORABLE_RULE))
    return Invalid.fields(errors or [FieldError("", UNSTORABLE_RULE)])


def _by_key(items: Sequence[Item]) -> tuple[dict[Key, Trace], list[Owned]]:
    # Postgres refuses to write a row twice in one statement: what comes twice is merged. Sorted,
    # so that two writers lock in one order. And between whom a trace changed hands meanwhile: where
    # one of them is being erased, each report has to be looked at by itself.
    found: dict[Key, Trace] = {}
    changed_hands: list[Owned] = []
    for project, trace in items:
        merged = trace
        if (known := found.get((project, trace.id))) is not None:
            merged = known.merged(trace)
            before, after = data_subjects_of(known), data_subjects_of(merged)
            if before - after:
                changed_hands += [(project, owner) for owner in before ^ after]
        found[project, trace.id] = merged
    return dict(sorted(found.items())), changed_hands


def suspects(prefix: str, owner: Trace | Span) -> Iterable[tuple[str, JsonText]]:
    """The values of a trace's own or of a span that may be unstorable, by their path.

    Nothing but depth can be wrong with JSON here, and what has few brackets isn't deep.
    """
    return (
        (prefix + field.name, text)
        for field in fields(owner)
        if isinstance(text := getattr(owner, field.name), bytes)
        and text.count(b"[") + text.count(b"{") > SURELY_STORABLE
    )
