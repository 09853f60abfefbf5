"""No text of a trace rests anywhere after its erasure, in any table or any key.

The tests plant a marker in everything that a trace, its scores and their evaluation may hold. They
list the tables and the keys from the servers, so that a new table is searched without a change.
"""

import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
from redis.asyncio import Redis

from adapters.dramatiq.broker import QueueBroker
from adapters.dramatiq.jobs import DramatiqJobs
from adapters.dramatiq.messages import NAMESPACE
from adapters.memory.rate_limiter import monotonic_us
from adapters.postgres.database.idempotency import PostgresIdempotencyStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.identity.project_purge import PROJECT_TABLES, PostgresRemovedProjects
from adapters.postgres.tracing.payloads.frames import decompressed_with
from adapters.postgres.tracing.payloads.shared_texts import text_from_frame
from adapters.redis.client import opened
from application.jobs import EvaluateTargetJob, queue_of
from domain.evaluation.runs.run import TargetType, WorkItem
from domain.evaluation.runs.selection import batch_as_given
from domain.evaluation.scores.outcome import Scored
from domain.ids import ProjectId, RunId, TraceId
from domain.tracing.otel.evaluations import ReceivedEvaluation, SentEvaluation
from entrypoints.composition.memory import replace_ports
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.contracts.evaluation.judging.test_verdict_cache import a_verdict
from tests.http.conftest import Site, a_span, a_trace
from tests.support.builders.otel import fragments, sent_record, sent_span
from tests.support.builders.values import NOON
from tests.support.clients.scored_project import store_export
from tests.support.clients.stored_tenants import new_database
from tests.support.fixtures import data_plane
from tests.support.fixtures.evaluation.evaluation import a_run
from tests.support.fixtures.servers import citus
from tests.support.waiting import until, until_done

pytestmark = pytest.mark.service

MARKER: Final = "mk7f3c90d1"
USER, SESSION = f"{MARKER}-user", f"{MARKER}-session"
# Every table that may hold text of a trace; each must have been planted.
PLANTED: Final = {
    *(
        "waiting_evaluations",
        "traces",
        "trace_payloads",
        "shared_texts",
        "span_rows",
        "span_fragment_rows",
        "trace_facets",
    ),
    *(
        "usage_hours",
        "span_hours",
        "sessions",
        "trace_users",
        "trace_scores",
        "latest_trace_scores",
        "session_scores",
        "judge_verdicts",
        "judge_calls",
    ),
    *("eval_runs", "eval_jobs", "replies", "exports", "export_pieces"),
    "dataset_items",
}
# Tables that keep text after traces are deleted; docs/operation/retention.md says for how long.
LEFT_BY_DELETION: Final = {
    *("exports", "export_pieces"),  # until the file expires
    *("eval_runs", "eval_jobs", "judge_calls"),  # the id of the session
    "dataset_items",  # until the item or its dataset is deleted
    "replies",  # of other writes that name the session, for a day
    "shared_texts",  # for a minute, until a worker removes those that no trace has
}
# Tables with rows of a project that hold no text of a trace, and what they hold instead. A new
# table belongs here or to PLANTED.
WITHOUT_TEXT: Final = {
    "trace_hours": "counts",
    "session_hours": "counts",
    "trace_percentiles": "numbers",
    "search_queue": "ids",
    "search_traces": "ids",
    "search_terms": "hashes of words; test_search_index.py looks for them",
    "search_segments": "ids",
    "search_postings": "hashes of words; test_search_index.py looks for them",
    "search_garbage": "ids",
    "model_prices": "prices that a member set",
    "repricings": "names of models that a member gave, and of spans without a price",
    "monitors": "filters that a member set",
    "alerts": "thresholds",
    "alert_changes": "states and figures",
    "removed_payload_objects": "ids",
    "long_texts": "hashes of texts, with the id of the project as a key",
    "released_texts": "hashes of texts, with the id of the project as a key",
    "webhooks": "addresses",
    "alert_deliveries": "names of monitors and metrics, and figures",
    "custom_metrics": "names that a member gave",
    "custom_metric_revisions": "definitions that a member gave",
    "datasets": "names that a member gave",
    "dataset_versions": "hashes and counts",
    "experiments": "names that a member gave",
    "experiment_results": "ids",
    "judge_budgets": "amounts",
    "judge_spending": "amounts",
    "erasures": "a salted hash",
    "erased_traces": "ids",
    "score_rollups": "days",
    "changed_score_days": "days",
    "score_days": "counts by name of a score, until a worker counts the day again",
    "score_day_numbers": "numbers by name of a score, until a worker counts the day again",
    "annotation_claims": "ids, and what clients that label call themselves",
    "otlp_rejections": "ids as they were sent, and names of instrumentations and services",
}
SELECT_BLOCKS: Final = """
SELECT block, array(
  SELECT frame FROM unnest(texts) WITH ORDINALITY AS named (text_id, place)
  JOIN shared_texts AS s ON s.project_id = p.project_id AND s.text_id = named.text_id ORDER BY place
) AS frames FROM trace_payloads AS p
"""
SELECT_SHARED_TEXTS: Final = "SELECT frame FROM shared_texts"
LONG_TEXT: Final = MARKER + "".join(random.Random(1).choices("abcdefghijkl ", k=5_000))
SELECT_TABLES: Final = """
SELECT format('%I.%I', n.nspname, c.relname) AS qualified, c.relname AS name
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg_toast%'
ORDER BY 1
"""
INSERT_PROJECT: Final = """
WITH home AS (INSERT INTO organizations VALUES ($1, 'Ours', now()))
INSERT INTO projects VALUES ($2, $1, 'shop', '', now(), 1)
"""


async def tables_with(pool: Pool, text: str) -> Counter[str]:
    """How many rows of each table contain the text, also in bytes and in blocks of payloads."""
    found = Counter[str]()
    for table in await pool.fetch(SELECT_TABLES):
        sql = f"""
        SELECT count(*) FROM {table["qualified"]} AS one
        WHERE strpos(one::text, $1) > 0 OR strpos(one::text, $2) > 0
        """
        found[table["name"]] = await pool.fetchval(sql, text, text.encode().hex())
    for row in await pool.fetch(SELECT_BLOCKS):
        texts = [text_from_frame(frame) for frame in row["frames"]]
        found["trace_payloads"] += text.encode() in decompressed_with(texts, row["block"])
    for row in await pool.fetch(SELECT_SHARED_TEXTS):
        found["shared_texts"] += text.encode() in text_from_frame(row[0])
    return +found


async def keys_with(client: Redis, text: str) -> set[str]:
    """The keys of Redis whose name or value contains the text."""
    found, of_server = set[str](), cast("Any", client)
    readers = {
        b"string": of_server.get,
        b"hash": of_server.hgetall,
        b"list": lambda key: of_server.lrange(key, 0, -1),
        b"set": of_server.smembers,
        b"zset": lambda key: of_server.zrange(key, 0, -1),
        b"stream": of_server.xrange,
    }
    async for key in client.scan_iter():
        if text in f"{key} {await readers[await client.type(key)](key)}":
            found.add(key.decode())
    return found


@dataclass(frozen=True)
class MarkedProject:
    """A project whose traces of one user and session hold the marker wherever text may be."""

    site: Site
    head: dict[str, str]
    id: ProjectId
    run: RunId
    trace: str
    other_trace: str  # with the same long text

    async def send(self, method: str, path: str, body: Any = None, **more: str) -> Any:
        answer = await self.site.http.request(method, path, headers=self.head | more, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


def a_marked_trace(session: str) -> dict[str, Any]:
    nested = {MARKER: [MARKER, {"deep": MARKER}], "prompt": LONG_TEXT}
    filled = {"name": MARKER, "input": nested, "output": nested, "metadata": nested}
    span = a_span(**filled, model=MARKER, error=MARKER, model_parameters=nested)
    span |= {"token_usage": {"prompt_tokens": 3, MARKER: 1}, "cost": {"total": 1}}
    trace = a_trace(**filled, trace_id=str(uuid.uuid4()), spans=[span], tags=[MARKER])
    return trace | {
        "environment": MARKER,
        "release": MARKER,
        "user_id": USER,
        "session_id": session,
    }


async def plant(site: Site, session: str) -> MarkedProject:
    """Stores the marker by requests, and by the ports what workers and OpenTelemetry would."""
    head = site.headers(project=f"p-{uuid.uuid4()}")
    trace, other = a_marked_trace(session), a_marked_trace(session)
    for one in (trace, other):
        stored = await site.http.post("/traces", headers=head, json=one)
        assert stored.status_code == 202
    [project] = [
        id_ for id_, one in site.store.projects.items() if one.name == head["x-project-name"]
    ]
    run = a_run(
        project,
        1,
        target_type=TargetType.SESSION,
        filters=batch_as_given(TargetType.SESSION, [session]),
    )
    marked = MarkedProject(site, head, project, run.id, trace["trace_id"], other["trace_id"])
    score = {"name": MARKER, "value": "0.5", "reason": MARKER, "metadata": {MARKER: MARKER}}
    of_trace = {"trace_id": marked.trace, **score, "environment": MARKER}
    await marked.send("POST", "/evaluations/trace-scores", of_trace, **key())
    of_session = {"session_id": session, **score}
    await marked.send("POST", "/evaluations/session-scores", of_session, **key())
    rule = {"path": "trace.name", "op": "eq", "value": "x"}
    metric = {"name": "named_x", "kind": "rule", "description": "d", "definition": rule}
    await marked.send("POST", "/evaluations/custom-metrics", metric, **key())
    tried = {"trace_id": marked.trace}
    await marked.send("POST", "/evaluations/custom-metrics/named_x/dry-run", tried, **key())
    batch = {"session_ids": [session], "metrics": ["agent_reliability"]}
    await marked.send("POST", "/evaluations/session-runs/batch", batch, **key())
    await marked.send("POST", "/datasets", {"name": "planted"})
    copied = {"trace_ids": [marked.trace], "expected": "output"}
    await marked.send("POST", "/datasets/planted/items/from-traces", copied)
    await plant_by_workers(marked, run, session)
    return marked


async def plant_by_workers(marked: MarkedProject, run: Any, session: str) -> None:
    ports = replace_ports(marked.site.ports, **marked.site.swapped)
    await ports.evaluation.runs.create(run, [WorkItem(session, run.metrics)])
    judging = ports.evaluation.judging
    outcome = Scored(0.5, MARKER, {"evidence": [MARKER]})
    trace = TraceId(uuid.UUID(marked.trace))
    await judging.verdicts.save(marked.id, b"k", trace, a_verdict(outcome=outcome), NOON)
    await judging.ledger.append([an_entry(project_id=marked.id, target=session)])
    await store_export(ports.exporting, marked.id, str(uuid.uuid4()), text=MARKER)
    response = f"resp-{uuid.uuid4()}"
    said = {"gen_ai.response.model": MARKER, "gen_ai.response.id": response}
    sent = sent_span({"input.value": MARKER} | said, name=MARKER)
    record = sent_record("log", {"text": MARKER})
    await ports.tracing.otlp.put(marked.id, trace, fragments(trace, sent, record))
    evaluation = SentEvaluation(name="n", time_ns=1, value=MARKER, reason=MARKER)
    await until_done(ports.tracing.payload_storage.join_blocks, datetime.max.replace(tzinfo=UTC))
    waiting = ports.evaluation.waiting_evaluations
    of_response = ReceivedEvaluation(None, replace(evaluation, response_id=response))
    await waiting.add(marked.id, [ReceivedEvaluation(trace, evaluation), of_response], NOON)


def key() -> dict[str, str]:
    return {"idempotency-key": str(uuid.uuid4())}


@pytest.fixture(scope="module")
async def owner(postgres_url: str, pool: Pool) -> AsyncIterator[Pool]:
    """A pool of a new database: in that of other tests, all their rows would be searched too."""
    async with new_database(postgres_url) as (owner, _):
        yield owner


@pytest.fixture(scope="module")
async def stored_site(owner: Pool) -> AsyncIterator[Site]:
    async with data_plane.over_postgres(owner) as plane:
        kept = plane.by_context()
        yield Site(swapped=kept | {"idempotency": PostgresIdempotencyStore(owner)})


@pytest.fixture
async def site(stored_site: Site) -> AsyncIterator[Site]:
    stored_site.begin()
    async with stored_site.http:
        yield stored_site


@pytest.mark.parametrize(
    ("subject", "session"),
    [({"user_id": USER}, "s"), ({"session_id": SESSION}, SESSION)],
    ids=["user", "session"],
)
async def test_erasure_leaves_no_text_in_any_table(
    site: Site, owner: Pool, subject: Mapping[str, str], session: str
) -> None:
    marked = await plant(site, session)
    named = PLANTED if session == SESSION else PLANTED - {"eval_runs", "eval_jobs", "judge_calls"}
    assert (await tables_with(owner, MARKER)).keys() == {*map(citus.placed, named)}
    receipt = await marked.send("POST", "/erasures", subject)
    assert receipt["state"] == "REMOVED"
    assert await tables_with(owner, MARKER) == {}
    assert receipt["rows"]["replies"] == 5
    checked = await marked.send("POST", f"/erasures/{receipt['id']}/check", subject)
    assert (checked["is_erased"], checked["found"]) == (True, {})


def test_every_table_of_a_project_is_planted_or_holds_no_text() -> None:
    below_a_view = {"spans": "span_rows", "span_fragments": "span_fragment_rows"}
    tables = {below_a_view.get(table, table) for table in PROJECT_TABLES}
    assert PLANTED | WITHOUT_TEXT.keys() == tables
    assert PLANTED.isdisjoint(WITHOUT_TEXT)


@pytest.mark.parametrize("way", ["trace", "batch", "session", "retention"])
async def test_deletion_leaves_only_what_is_documented(site: Site, owner: Pool, way: str) -> None:
    marked = await plant(site, SESSION)
    left = {*LEFT_BY_DELETION}
    match way:
        case "trace":
            await marked.send("DELETE", f"/traces/{marked.trace}")
            await marked.send("DELETE", f"/traces/{marked.other_trace}")
            left |= {"session_scores"}
        case "batch":
            ids = [marked.trace, marked.other_trace]
            await marked.send("POST", "/traces/batch/delete", {"trace_ids": ids})
            left |= {"session_scores"}
        case "session":
            await marked.send("DELETE", f"/sessions/{SESSION}")
        case "retention":
            await expire(marked, owner)
    assert (await tables_with(owner, MARKER)).keys() == left
    await marked.send("POST", "/erasures", {"session_id": SESSION})
    assert await tables_with(owner, MARKER) == {}


async def expire(marked: MarkedProject, owner: Pool) -> None:
    ports = replace_ports(marked.site.ports, **marked.site.swapped)
    await owner.execute(INSERT_PROJECT, marked.site.organization, marked.id)
    await ports.privacy.expired.delete(marked.id, datetime.now(UTC) + timedelta(days=2))


async def test_deleting_a_project_leaves_no_text_in_any_table(site: Site, owner: Pool) -> None:
    marked = await plant(site, SESSION)
    await owner.execute("INSERT INTO removals VALUES ($1, $2, $2)", marked.id, NOON)
    await until_done(PostgresRemovedProjects(owner).purge, NOON + timedelta(days=1))
    assert await tables_with(owner, MARKER) == {}


async def test_redis_holds_an_erased_session_only_until_its_job_is_taken(redis_url: str) -> None:
    """Jobs have ids alone, and one of a session run has the id of the session."""
    job = EvaluateTargetJob(ProjectId(uuid.uuid4()), RunId(uuid.uuid4()), SESSION, asks_judge=False)
    queue = queue_of(job)
    async with opened(redis_url) as client:
        await DramatiqJobs(client, monotonic_us).send(job)
        assert await keys_with(client, MARKER) == {f"{NAMESPACE}:{queue}.msgs"}
        broker = QueueBroker(redis_url, queue)
        broker.declare_queue(queue)
        consumer = broker.consume(queue)
        message = await until(
            lambda: next(consumer), lambda one: one is not None and one.args[-1] == SESSION
        )
        consumer.ack(message)
        consumer.close()
        broker.close()
        assert await keys_with(client, MARKER) == set()
