"""Every figure by its name: docs/observability.md is held equal to this list.

No label's values come from callers: routes are templates, the rest are words of ours. So the
number of series has a bound, which has nothing to do with how many tenants there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

type Kind = Literal["counter", "gauge", "histogram"]

PREFIX: Final = "pandaprobe_"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
BATCH: Final = (1, 2, 4, 8, 16, 32, 64)
BATCH_BYTES: Final = (1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 21, 1 << 22, 1 << 23)


@dataclass(frozen=True, slots=True)
class Named:
    """One figure. `name` is as Prometheus has it, a counter's with `_total`.

    Of a gauge `together` says what the gauges of several live processes come to: `livesum`,
    `livemin` or `livemax`.
    """

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = ()
    together: str = ""


def _counter(name: str, about: str, *labels: str) -> Named:
    return Named(f"{PREFIX}{name}_total", "counter", about, labels)


def _gauge(name: str, about: str, *labels: str, together: str = "livesum") -> Named:
    return Named(PREFIX + name, "gauge", about, labels, together=together)


def _histogram(name: str, about: str, *labels: str, buckets: Sequence[float]) -> Named:
    return Named(PREFIX + name, "histogram", about, labels, buckets)


REQUESTS: Final = _counter(
    "http_requests", "Requests that were answered", "method", "route", "status"
)
REQUEST_SECONDS: Final = _histogram(
    "http_request_seconds", "From a request to the end of its answer", "kind", buckets=SECONDS
)
INGEST_REQUESTS: Final = _counter("ingest_requests", "Requests that store traces", "outcome")
STORED_TRACES: Final = _counter("ingest_traces", "Traces that were committed")
STORED_SPANS: Final = _counter("ingest_spans", "Spans that were committed with their traces")
BATCHES: Final = _counter("ingest_batches", "Transactions that store traces", "outcome")
BATCH_TRACES: Final = _histogram("ingest_batch_traces", "Traces of a transaction", buckets=BATCH)
BATCH_SIZE: Final = _histogram(
    "ingest_batch_bytes", "What a transaction stores, about", buckets=BATCH_BYTES
)
COMMIT_SECONDS: Final = _histogram(
    "ingest_commit_seconds", "How long a transaction took", buckets=SECONDS
)
LINE_TRACES: Final = _gauge("ingest_queue_traces", "Traces that wait for a transaction")
LINE_BYTES: Final = _gauge("ingest_queue_bytes", "What waits for a transaction, about")
DECISIONS: Final = _counter(
    "rate_limit_decisions", "Requests that the rate limiter saw", "class", "decision"
)
FALLBACKS: Final = _counter("rate_limit_fallbacks", "Decisions that were made without Redis")
CONNECTIONS: Final = _gauge("database_connections", "Connections of the pools", "state")
CONNECTIONS_MAX: Final = _gauge("database_connections_max", "How many the pools may have")
JUDGE_CALLS: Final = _counter(
    "judge_calls", "Requests to providers of judges", "provider", "outcome"
)
JUDGE_SECONDS: Final = _histogram(
    "judge_call_seconds", "How long they took", "provider", buckets=LONG_SECONDS
)
JUDGE_TOKENS: Final = _counter("judge_tokens", "Tokens of these requests", "provider", "kind")
JUDGE_COST: Final = _counter("judge_cost_usd", "What they cost", "provider")
JOBS: Final = _counter("worker_jobs", "Jobs that workers took up", "lane", "outcome")
JOB_SECONDS: Final = _histogram(
    "worker_job_seconds", "How long they took", "lane", buckets=LONG_SECONDS
)
ROUNDS: Final = _counter("worker_rounds", "Rounds of upkeep", "round", "outcome")
BEAT: Final = _gauge(
    "beat_timestamp_seconds",
    "When the event loop last turned, of the process of which that is longest ago",
    "process",
    together="livemin",
)
SPANS: Final = _counter("otlp_spans", "Spans of our own", "outcome")
BUILD: Final = _gauge("build_info", "Always 1", "version", together="livemax")

# What processes keep, each its own; of several on one folder they are summed up.
KEPT: Final = (
    *(REQUESTS, REQUEST_SECONDS, INGEST_REQUESTS, STORED_TRACES, STORED_SPANS, BATCHES),
    *(BATCH_TRACES, BATCH_SIZE, COMMIT_SECONDS, LINE_TRACES, LINE_BYTES, DECISIONS, FALLBACKS),
    *(CONNECTIONS, CONNECTIONS_MAX, JUDGE_CALLS, JUDGE_SECONDS, JUDGE_TOKENS, JUDGE_COST),
    *(JOBS, JOB_SECONDS, ROUNDS, BEAT, SPANS, BUILD),
)

DATABASE_UP: Final = _gauge("database_up", "Whether the figures of the installation are known")
RUNS: Final = _gauge("runs", "Runs that are not over", "status")
QUEUED: Final = _gauge("jobs_queued", "Targets that a worker could begin, by their age", "age")
RUNNING: Final = _gauge("jobs_running", "Targets that workers have")
OLDEST: Final = _gauge("jobs_oldest_seconds", "For how long the oldest thing to do has waited")
DEAD: Final = _gauge("jobs_dead", "Targets that were given up")
WORKERS: Final = _gauge("workers", "Worker processes that were heard of lately")
WORKER_SEEN: Final = _gauge(
    "worker_seen_timestamp_seconds", "When a worker was last heard of; 0: not for a day"
)

# What the database knows of the whole installation: every `serve` tells the same.
ASKED: Final = (DATABASE_UP, RUNS, QUEUED, RUNNING, OLDEST, DEAD, WORKERS, WORKER_SEEN)
