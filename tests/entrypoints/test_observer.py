"""The observer: metrics and spans of requests, jobs and batches, and the metrics text."""

import uuid
from asyncio import CancelledError
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from adapters.memory.store import MemoryStore
from adapters.otlp_spans import OtlpSpans
from adapters.postgres.tracing.writes.group_commit import Batch
from adapters.prometheus import definitions
from adapters.prometheus.definitions import DATABASE_METRICS
from adapters.prometheus.registry import MetricsRegistry
from application.jobs import EvaluateTargetJob, PlanRunJob
from application.workers import Worker
from domain.errors import Unavailable
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.outcome import FailCode
from domain.ids import ProjectId, RejectionId, RunId
from domain.tracing.otel.requests import (
    RecordedRejection,
    Rejection,
    RejectionReason,
    Signal,
)
from entrypoints.composition.memory import memory_ports
from entrypoints.http.middleware.observer_ports import RequestKind
from entrypoints.observability.metrics_text import MetricsText, read_database_metrics
from entrypoints.observability.observer import (
    BROKEN,
    DONE,
    PUT_OFF,
    Observer,
    create_registry,
    outcome_of,
)
from entrypoints.settings import Settings, SettingsError
from entrypoints.worker.status_port import STUCK_AFTER_S, check_health
from tests.contracts.evaluation.judging.test_judge_ledger import an_entry
from tests.support.builders.values import NOON, prices, span, trace
from tests.support.fixtures.evaluation.evaluation import a_run, work_of
from tests.support.fixtures.in_memory_app import World

PROJECT, RUN = ProjectId(uuid.UUID(int=1)), RunId(uuid.UUID(int=2))
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def samples(metrics: MetricsRegistry, text: bytes | None = None) -> dict[tuple[str, ...], float]:
    """Return samples other than 0, by name and by label values in the order of label names."""
    families = text_string_to_metric_families((text or metrics.text()).decode())
    return {
        (one.name.removeprefix("pandaprobe_"), *one.labels.values()): one.value
        for family in families
        for one in family.samples
        if one.value and "_bucket" not in one.name and "build_info" not in one.name
    }


class RecordedSpans(OtlpSpans):
    """Records ended spans instead of exporting them."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        super().__init__(SimpleSpanProcessor(self.exporter), {})

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


def is_below(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent == parent.context


@pytest.fixture
def metrics() -> MetricsRegistry:
    return MetricsRegistry("1.2.3")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (202, "accepted"),
        (401, "rejected"),
        (413, "rejected"),
        (422, "rejected"),
        (429, "limited"),
        (503, "overloaded"),
        (500, "failed"),
        (0, "unanswered"),
    ],
)
def test_ingest_request_counts_by_outcome(metrics, status, outcome):
    assert outcome_of(status) == outcome
    Observer(metrics).request_ended("POST", "/traces", status, RequestKind.INGEST, 0.25)
    assert samples(metrics) == {
        ("http_requests_total", "POST", "/traces", str(status)): 1,
        ("http_request_seconds_count", "ingest"): 1,
        ("http_request_seconds_sum", "ingest"): 0.25,
        ("ingest_requests_total", outcome): 1,
    }


def test_read_does_not_count_as_ingest(metrics):
    Observer(metrics).request_ended("GET", "/traces", 200, RequestKind.READ, 0.25)
    assert not [name for name, *_ in samples(metrics) if name.startswith("ingest")]


def test_decisions_count_by_class(metrics):
    observer = Observer(metrics)
    observer.rate_limit_decided("ingest", admitted=True)
    observer.rate_limit_decided("ingest", admitted=False)
    observer.count_limiter_fallback()
    assert samples(metrics) == {
        ("rate_limit_decisions_total", "ingest", "admitted"): 1,
        ("rate_limit_decisions_total", "ingest", "refused"): 1,
        ("rate_limit_fallbacks_total",): 1,
    }


def test_otlp_items_count_by_outcome_and_reason(metrics):
    observer = Observer(metrics)
    observer.otlp_received("traces", "stored", 3)
    observer.otlp_rejected("too_deep", "langsmith", 2)
    late = Rejection(
        reason=RejectionReason.SPAN_NEVER_CAME, message="late", count=4, scope="langsmith"
    )
    counted_by_its_request = Rejection(reason=RejectionReason.TOO_DEEP, message="deep")
    observer.count_late_rejections(
        [
            RecordedRejection(
                project_id=PROJECT,
                id=RejectionId(uuid.uuid4()),
                rejected_at=NOON,
                signal=Signal.LOGS,
                rejection=one,
            )
            for one in (late, counted_by_its_request)
        ]
    )
    assert samples(metrics) == {
        ("otlp_received_total", "stored", "traces"): 3,
        ("otlp_rejected_total", "too_deep", "langsmith"): 2,
        ("otlp_rejected_total", "span_never_came", "langsmith"): 4,
    }


def test_only_committed_traces_count(metrics):
    items = [(PROJECT, trace(spans=(span(), span()))), (PROJECT, trace(spans=()))]
    observer = Observer(metrics)
    observer.settled(Batch(items, [None, None], 900, 0.5, None))
    observer.settled(Batch(items, [None, None], 100, 0.5, Unavailable("away")))
    assert samples(metrics) == {
        ("ingest_batches_total", "stored"): 1,
        ("ingest_batches_total", "failed"): 1,
        ("ingest_traces_total",): 2,
        ("ingest_spans_total",): 2,
        ("ingest_batch_traces_count",): 2,
        ("ingest_batch_traces_sum",): 4,
        ("ingest_batch_bytes_count",): 2,
        ("ingest_batch_bytes_sum",): 1_000,
        ("ingest_commit_seconds_count",): 2,
        ("ingest_commit_seconds_sum",): 1,
    }


def test_judge_tokens_count_once(metrics):
    use = TokenUse(requests=1, input=100, cache_read=60, cache_write=10, output=50, reasoning=20)
    observer = Observer(metrics)
    observer.record_judge_call(an_entry(use=use, usd=Decimal("0.25")))
    failed = {"use": TokenUse(requests=1, input=5), "code": FailCode.RATE_LIMITED}
    observer.record_judge_call(an_entry(**failed, usd=None))
    found = samples(metrics)
    assert found["judge_calls_total", "answered", "openai"] == 1
    assert found["judge_calls_total", "rate_limited", "openai"] == 1
    assert found["judge_call_seconds_sum", "openai"] == pytest.approx(0.025)
    assert found["judge_cost_usd_total", "openai"] == 0.25
    tokens = {kind[1]: n for kind, n in found.items() if kind[0] == "judge_tokens_total"}
    assert tokens == {"input": 45, "cached_input": 60, "output": 30, "reasoning": 20}


@pytest.mark.parametrize("outcome", [DONE, PUT_OFF, BROKEN])
def test_job_counts_by_lane_and_outcome(metrics, outcome):
    spans = RecordedSpans()
    with Observer(metrics, spans).observe_job(
        EvaluateTargetJob(PROJECT, RUN, "t", True)
    ) as job_outcome:
        job_outcome.value = outcome
    assert samples(metrics)["worker_jobs_total", "judge", outcome] == 1
    [span] = spans.ended
    assert span.status.is_ok == (outcome == DONE)


def test_cancelled_job_counts_as_postponed(metrics):
    with pytest.raises(CancelledError), Observer(metrics).observe_job(PlanRunJob(PROJECT, RUN)):
        raise CancelledError
    assert samples(metrics)["worker_jobs_total", "plan", PUT_OFF] == 1


def test_spans_of_a_job_are_one_trace(metrics):
    spans = RecordedSpans()
    observer = Observer(metrics, spans)
    with observer.observe_job(EvaluateTargetJob(PROJECT, RUN, "t")) as job_outcome:
        observer.record_judge_call(an_entry())
        job_outcome.value = DONE
    with spans.request(TRACEPARENT) as request:
        mark = observer.mark()
        request.ended("POST /traces", {"http.route": "/traces"}, has_failed=False)
    observer.settled(Batch([(PROJECT, trace())], [mark], 1, 0.1, None))
    judge, target, server, batch = spans.ended
    assert is_below(judge, target)
    assert (server.name, f"{server.parent.span_id:x}") == ("POST /traces", "b7ad6b7169203331")
    assert (batch.name, is_below(batch, server)) == ("group commit", True)
    assert f"{server.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"


def test_run_is_one_trace_linked_to_its_request(metrics):
    spans = RecordedSpans()
    observer = Observer(metrics, spans)
    with spans.request(TRACEPARENT) as request:
        observer.record_sent_job(PlanRunJob(PROJECT, RUN))
        request.ended("POST /evaluations/trace-runs", {}, has_failed=False)
    for job in (PlanRunJob(PROJECT, RUN), EvaluateTargetJob(PROJECT, RUN, "t")):
        with observer.observe_job(job):
            observer.record_sent_job(
                EvaluateTargetJob(PROJECT, RunId(uuid.UUID(int=3)), "t")
            )  # the next job
    start, server, *work = spans.ended
    assert [one.name for one in work] == ["plan run", "evaluate target"]
    assert {one.context.trace_id for one in (start, *work)} == {RUN.int}
    assert not any(one.parent for one in (start, *work))
    assert [one.context for one in start.links] == [server.context]


def test_run_without_sampled_request_has_no_start_span(metrics):
    spans = RecordedSpans()
    Observer(metrics, spans).record_sent_job(PlanRunJob(PROJECT, RUN))
    Observer(metrics).record_sent_job(PlanRunJob(PROJECT, RUN))
    with spans.request(TRACEPARENT.removesuffix("1") + "0"):
        Observer(metrics, spans).record_sent_job(PlanRunJob(PROJECT, RUN))
    assert spans.ended == []


def test_untraced_batch_makes_no_span(metrics):
    spans = RecordedSpans()
    observer = Observer(metrics, spans)
    assert observer.mark() is None
    observer.settled(Batch([(PROJECT, trace())], [None], 1, 0.1, None))
    assert spans.ended == []


def test_unusable_metrics_folder_is_a_settings_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="PANDAPROBE_METRICS_DIR"):
        create_registry(Settings(metrics_dir=str(tmp_path / "file" / "m")), "1")


# --- database metrics ------------------------------------------------------------------------


async def test_database_metrics_are_in_the_text(metrics):
    app = World(memory_ports(MemoryStore(), prices()))
    ports = app.ports
    worker = Worker(id=uuid.uuid4(), version="1", started_at=NOON)
    await ports.workers.record_heartbeat(worker, NOON)
    run = a_run(PROJECT)
    await ports.evaluation.runs.create(run, work_of(run))
    at = {"clock": lambda: NOON + timedelta(seconds=20)}
    found = await read_database_metrics(replace(ports, **at))
    assert set(found) == set(DATABASE_METRICS)
    text = samples(metrics, metrics.text(found))
    assert text["database_up",] == text["workers",] == text["runs", "PENDING"] == 1
    assert text["jobs_oldest_seconds",] == 20
    assert text["worker_seen_timestamp_seconds",] == NOON.timestamp()


class FailingWorkloads:
    """Counts calls, and raises `error` on each."""

    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, 0

    async def workload(self, _now: object) -> Any:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("error", [Unavailable("away"), TimeoutError(), KeyError("?")])
async def test_without_database_process_metrics_are_served(metrics, error):
    ports = replace(memory_ports(MemoryStore(), prices()), workloads=FailingWorkloads(error))
    metrics.count(definitions.RATE_LIMIT_FALLBACKS)
    found = samples(metrics, await MetricsText(metrics, ports)())
    assert found == {("rate_limit_fallbacks_total",): 1}  # database_up is 0, which `samples` omits
    assert b"pandaprobe_database_up 0.0" in await MetricsText(metrics, ports)()


async def test_concurrent_scrapes_share_one_query(metrics):
    broken = FailingWorkloads(Unavailable("away"))
    scrape = MetricsText(metrics, replace(memory_ports(MemoryStore(), prices()), workloads=broken))
    for _ in range(5):
        await scrape()
    assert broken.calls == 1
    uncached = MetricsText(
        metrics, replace(memory_ports(MemoryStore(), prices()), workloads=broken), cache_ttl_s=-1
    )
    for _ in range(2):
        await uncached()
    assert broken.calls == 3


# --- the port of a worker --------------------------------------------------------------------


def test_worker_is_healthy_while_its_loop_runs(metrics):
    assert check_health(metrics, 1_000)[0] == 503  # the loop has not started
    metrics.set(definitions.HEARTBEAT, 1_000, "serve")
    assert check_health(metrics, 1_000)[0] == 503
    metrics.set(definitions.HEARTBEAT, 1_000, "worker")
    for age, status in ((0, 200), (STUCK_AFTER_S, 200), (STUCK_AFTER_S + 1, 503)):
        assert check_health(metrics, 1_000 + age)[0] == status
