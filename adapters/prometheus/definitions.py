"""Defines every metric. A test compares docs/operation/observability.md with this list.

No label value comes from callers: routes are templates, the other values are our own words. So
the number of series is bounded, independent of the number of tenants.
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
class MetricDefinition:
    """A metric. `name` is its name in Prometheus; the name of a counter ends with `_total`.

    `multiprocess_mode` says how the values of a gauge in several live processes are combined:
    `livesum`, `livemin` or `livemax`.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = ()
    multiprocess_mode: str = ""


def _counter(name: str, help_: str, *labels: str) -> MetricDefinition:
    return MetricDefinition(f"{PREFIX}{name}_total", "counter", help_, labels)


def _gauge(name: str, help_: str, *labels: str, mode: str = "livesum") -> MetricDefinition:
    return MetricDefinition(PREFIX + name, "gauge", help_, labels, multiprocess_mode=mode)


def _histogram(name: str, help_: str, *labels: str, buckets: Sequence[float]) -> MetricDefinition:
    return MetricDefinition(PREFIX + name, "histogram", help_, labels, buckets)


HTTP_REQUESTS: Final = _counter("http_requests", "Answered requests", "method", "route", "status")
HTTP_REQUEST_SECONDS: Final = _histogram(
    "http_request_seconds",
    "Seconds from a request to the end of its response",
    "kind",
    buckets=SECONDS,
)
INGEST_REQUESTS: Final = _counter("ingest_requests", "Requests that store traces", "outcome")
STORED_TRACES: Final = _counter("ingest_traces", "Traces that were committed")
STORED_SPANS: Final = _counter("ingest_spans", "Spans that were committed with their traces")
IGNORED_FIELDS: Final = _counter(
    "ingest_ignored_fields", "Unknown keys of traces and spans, which were not stored"
)
INGEST_BATCHES: Final = _counter("ingest_batches", "Transactions that store traces", "outcome")
BATCH_TRACES: Final = _histogram("ingest_batch_traces", "Traces per transaction", buckets=BATCH)
BATCH_BYTES_STORED: Final = _histogram(
    "ingest_batch_bytes", "Approximate bytes that a transaction stores", buckets=BATCH_BYTES
)
COMMIT_SECONDS: Final = _histogram(
    "ingest_commit_seconds", "Seconds that a transaction took", buckets=SECONDS
)
QUEUED_TRACES: Final = _gauge("ingest_queue_traces", "Traces that wait for a transaction")
QUEUED_BYTES: Final = _gauge("ingest_queue_bytes", "Approximate bytes that wait for a transaction")
RATE_LIMIT_DECISIONS: Final = _counter(
    "rate_limit_decisions", "Requests that the rate limiter decided on", "class", "decision"
)
RATE_LIMIT_FALLBACKS: Final = _counter(
    "rate_limit_fallbacks", "Decisions that were made without Redis"
)
DATABASE_CONNECTIONS: Final = _gauge("database_connections", "Connections of the pools", "state")
DATABASE_CONNECTIONS_MAX: Final = _gauge("database_connections_max", "Maximum size of the pools")
REPLICA_READS: Final = _counter(
    "replica_reads", "Reads that a replica may serve, by where they were made", "outcome"
)
JUDGE_CALLS: Final = _counter(
    "judge_calls", "Requests to providers of judges", "provider", "outcome"
)
JUDGE_SECONDS: Final = _histogram(
    "judge_call_seconds",
    "Seconds that a request to a provider took",
    "provider",
    buckets=LONG_SECONDS,
)
JUDGE_TOKENS: Final = _counter("judge_tokens", "Tokens of these requests", "provider", "kind")
JUDGE_COST: Final = _counter("judge_cost_usd", "Cost of these requests in USD", "provider")
WORKER_JOBS: Final = _counter("worker_jobs", "Jobs that workers began", "lane", "outcome")
WORKER_JOB_SECONDS: Final = _histogram(
    "worker_job_seconds", "Seconds that a job took", "lane", buckets=LONG_SECONDS
)
WORKER_ROUNDS: Final = _counter("worker_rounds", "Runs of periodic tasks", "round", "outcome")
HEARTBEAT: Final = _gauge(
    "beat_timestamp_seconds",
    "When the event loop last ran, in the process where that is longest ago",
    "process",
    mode="livemin",
)
OTLP_RECEIVED: Final = _counter(
    "otlp_received", "Spans and log records of OTLP requests", "signal", "outcome"
)
OTLP_REJECTED: Final = _counter(
    "otlp_rejected", "Rejected spans and log records of OTLP requests", "reason", "scope"
)
OTLP_SPANS: Final = _counter("otlp_spans", "Spans of this server", "outcome")
BUILD_INFO: Final = _gauge("build_info", "Always 1", "version", mode="livemax")

# Collected in each process: all metrics above. The values of processes that share a folder are
# combined.
PROCESS_METRICS: Final = tuple(
    value for value in tuple(globals().values()) if isinstance(value, MetricDefinition)
)

DATABASE_UP: Final = _gauge("database_up", "1 if the database answered with the metrics below")
TABLE_GROUP_UP: Final = _gauge(
    "table_group_up", "1 if the tables of a group of organizations answered", "group"
)
RUNS: Final = _gauge("runs", "Runs that have not finished", "status")
JOBS_QUEUED: Final = _gauge("jobs_queued", "Targets that a worker could begin, by their age", "age")
JOBS_RUNNING: Final = _gauge("jobs_running", "Targets that workers are evaluating")
OLDEST_JOB_SECONDS: Final = _gauge(
    "jobs_oldest_seconds", "Seconds that the oldest waiting job has waited"
)
JOBS_DEAD: Final = _gauge("jobs_dead", "Targets that were given up after repeated failures")
WORKERS: Final = _gauge("workers", "Worker processes with a recent heartbeat")
WORKER_SEEN_AT: Final = _gauge(
    "worker_seen_timestamp_seconds", "When a worker last sent a heartbeat; 0: none for a day"
)

# Read from the database for the whole installation: all metrics after PROCESS_METRICS. Every
# `serve` process returns the same.
DATABASE_METRICS: Final = tuple(
    value
    for value in tuple(globals().values())
    if isinstance(value, MetricDefinition) and value not in PROCESS_METRICS
)
