"""Every port over a memory adapter, for tests and for programs that embed the use cases.

docs/development/embedding.md shows how to use it. It imports no web server, no driver and no
broker.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from adapters.hash_embedder import HashEmbedder
from adapters.judges.heuristic import HeuristicJudge
from adapters.memory.evaluation.agreement import MemoryAnnotationClaims, MemoryHumanLabels
from adapters.memory.evaluation.alerts import MemoryAlerts, MemoryWebhooks, MemoryWebhookSender
from adapters.memory.evaluation.custom_metrics import MemoryCustomMetrics
from adapters.memory.evaluation.datasets import MemoryDatasets
from adapters.memory.evaluation.experiments import MemoryExperiments
from adapters.memory.evaluation.judge_costs import MemoryBudgets, MemoryLedger, MemoryVerdicts
from adapters.memory.evaluation.monitors import (
    MemoryChangeFeed,
    MemoryLeaderElection,
    MemoryMonitors,
)
from adapters.memory.evaluation.runs import MemoryRuns, MemoryTargets
from adapters.memory.evaluation.score_rollups import MemoryScoreRollups
from adapters.memory.evaluation.scores import (
    MemoryScoreAnalytics,
    MemorySessionScores,
    MemoryTraceScores,
)
from adapters.memory.evaluation.trace_groups import MemoryTraceGroups
from adapters.memory.evaluation.waiting_evaluations import MemoryWaitingEvaluations
from adapters.memory.evaluation.work_queue import MemoryWorkers, MemoryWorkloads, MemoryWorkQueue
from adapters.memory.exports.exports import MemoryExports, MemoryTraceArchive
from adapters.memory.exports.tickets import MemoryDownloadTickets
from adapters.memory.idempotency import MemoryIdempotencyStore
from adapters.memory.identity.browser_sessions import (
    MemoryBrowserSessions,
    MemorySignInAttempts,
)
from adapters.memory.identity.identity import (
    MemoryAdministration,
    MemoryApiKeys,
    MemoryDirectory,
    MemoryKeyUsage,
    MemoryOrganizations,
    MemoryProjects,
    MemoryRefusals,
    MemoryRemovedProjects,
    MemoryTokens,
    MemoryUsers,
)
from adapters.memory.identity.object_index import MemoryObjectIndex
from adapters.memory.identity.project_activity import MemoryProjectActivities
from adapters.memory.jobs import RecordedJobs
from adapters.memory.pricing.pricing import MemoryModelPrices, MemoryRepricings
from adapters.memory.privacy.erasures import MemoryErasures, MemoryExpiredTraces
from adapters.memory.rate_limiter import MemoryRateLimiter, monotonic_us
from adapters.memory.sharing.trace_links import MemoryTraceLinks
from adapters.memory.store import MemoryStore
from adapters.memory.token_buckets import MemoryTokenBuckets
from adapters.memory.tracing.otlp_traces import MemoryOtlpTraces
from adapters.memory.tracing.payload_storage import MemoryPayloadStorage
from adapters.memory.tracing.rejections import MemoryRejections
from adapters.memory.tracing.search import MemorySearchIndex, MemorySpanSearch, MemoryTraceSearch
from adapters.memory.tracing.spans import MemorySpans
from adapters.memory.tracing.traces import (
    MemoryPriceBook,
    MemorySessions,
    MemoryTraceAnalytics,
    MemoryTraces,
)
from adapters.otlp.decoding.requests import Codec
from adapters.re2_patterns import Re2Engine
from application.evaluation.ports.alerts import FinishedRun, MonitorSlot
from application.evaluation.ports.judging import JudgingPorts, Pricings
from application.evaluation.use_cases import AlertPorts, EvaluationPorts
from application.exports.use_cases import ExportPorts
from application.identity.use_cases import IdentityPorts
from application.jobs import Jobs
from application.pricing.use_cases import PricingPorts
from application.privacy.use_cases import PrivacyPorts
from application.sharing.use_cases import SharingPorts
from application.tracing.ports import PriceBook
from application.tracing.use_cases import TracingPorts
from application.use_cases import Ports
from domain.evaluation.monitors.monitor import Monitor
from domain.ids import ScoreId
from entrypoints.composition.export_formats import ENCODERS, missing_formats
from entrypoints.composition.otlp_rules import fragment_rules


def memory_ports(
    store: MemoryStore | None = None, book: PriceBook | None = None, jobs: Jobs | None = None
) -> Ports:
    """Every port. Their data is in `store`, by default a new one.

    Without a `book`, no model has a price, and costs are those that were sent. Jobs are recorded
    in `jobs`, by default a new RecordedJobs; nothing runs them until its `done` is called. An
    unexpected fault that a worker would log is raised as RuntimeError.
    """
    store = MemoryStore() if store is None else store
    book = MemoryPriceBook({}) if book is None else book
    return Ports(
        tracing=memory_tracing(store, book),
        identity=memory_identity(store),
        evaluation=memory_evaluation(store, book, jobs),
        pricing=memory_pricing(store, book),
        exporting=memory_exporting(store),
        sharing=SharingPorts(trace_links=MemoryTraceLinks(store)),
        privacy=PrivacyPorts(expired=MemoryExpiredTraces(store), erasures=MemoryErasures(store)),
        limiter=MemoryRateLimiter(monotonic_us),
        token_buckets=MemoryTokenBuckets(monotonic_us),
        idempotency=MemoryIdempotencyStore(store),
        workers=MemoryWorkers(),
        workloads=MemoryWorkloads(store),
        health_checks={},
    )


def replace_ports(ports: Ports, **swapped: Any) -> Ports:
    """The ports with some of them replaced, by name: of a port, or of a context.

    A name of a port is enough, as in `replace_ports(ports, judge=own)`: each is in one context.
    """
    for name, port in swapped.items():
        context = name if hasattr(ports, name) else _context_of(ports, name)
        group: Any = port if context == name else replace(getattr(ports, context), **{name: port})
        ports = replace(ports, **{context: group})
    return ports


def _context_of(ports: Ports, name: str) -> str:
    contexts = [one.name for one in fields(ports) if is_dataclass(getattr(ports, one.name))]
    found = [one for one in contexts if hasattr(getattr(ports, one), name)]
    if len(found) != 1:
        raise TypeError(f"no port is named {name!r}")
    return found[0]


def memory_tracing(store: MemoryStore, book: PriceBook) -> TracingPorts:
    return TracingPorts(
        traces=MemoryTraces(store, book),
        spans=MemorySpans(store),
        sessions=MemorySessions(store),
        analytics=MemoryTraceAnalytics(store),
        otlp=MemoryOtlpTraces(store, book, fragment_rules()),
        otlp_codec=Codec(),
        rejections=(rejections := MemoryRejections(store)),
        rejection_log=rejections,
        payload_storage=MemoryPayloadStorage(),
        trace_search=MemoryTraceSearch(store),
        span_search=MemorySpanSearch(store),
        search_index=MemorySearchIndex(),
    )


def memory_identity(store: MemoryStore) -> IdentityPorts:
    refusals = MemoryRefusals()
    return IdentityPorts(
        refusals=refusals,
        refusal_log=refusals,
        keys=MemoryApiKeys(store),
        key_usage=MemoryKeyUsage(store),
        tokens=MemoryTokens({}),
        users=MemoryUsers(store),
        projects=MemoryProjects(store),
        organizations=MemoryOrganizations(store),
        directory=MemoryDirectory(store),
        objects=MemoryObjectIndex(store),
        activities=MemoryProjectActivities(store),
        administration=MemoryAdministration(store),
        removed_projects=MemoryRemovedProjects(store),
        browser_sessions=MemoryBrowserSessions(store),
        sign_in_attempts=MemorySignInAttempts(store),
    )


def memory_evaluation(
    store: MemoryStore, book: PriceBook, jobs: Jobs | None = None
) -> EvaluationPorts:
    return EvaluationPorts(
        trace_scores=MemoryTraceScores(store),
        session_scores=MemorySessionScores(store),
        waiting_evaluations=MemoryWaitingEvaluations(store),
        score_analytics=MemoryScoreAnalytics(store),
        score_rollups=MemoryScoreRollups(),
        labels=MemoryHumanLabels(store),
        annotation_claims=MemoryAnnotationClaims(store),
        runs=MemoryRuns(store),
        work_queue=MemoryWorkQueue(store),
        targets=MemoryTargets(store),
        monitors=MemoryMonitors(store),
        changed=MemoryChangeFeed(store),
        leader_election=MemoryLeaderElection(),
        alerting=AlertPorts(
            alerts=MemoryAlerts(store),
            webhooks=MemoryWebhooks(store),
            webhook_sender=MemoryWebhookSender(),
            on_fault=_raise_alert_fault,
        ),
        custom_metrics=MemoryCustomMetrics(store),
        datasets=MemoryDatasets(store),
        experiments=MemoryExperiments(store),
        trace_groups=MemoryTraceGroups(store),
        regex=Re2Engine(),
        jobs=RecordedJobs() if jobs is None else jobs,
        judge=HeuristicJudge(),
        judging=_memory_judging(store, book),
        embedder=HashEmbedder(),
        on_fault=_raise_score_fault,
        on_monitor_fault=_raise_monitor_fault,
    )


def memory_pricing(store: MemoryStore, book: PriceBook) -> PricingPorts:
    return PricingPorts(
        book=book, prices=MemoryModelPrices(store), repricings=MemoryRepricings(store)
    )


def memory_exporting(store: MemoryStore) -> ExportPorts:
    return ExportPorts(
        archive=MemoryTraceArchive(store),
        exports=MemoryExports(store),
        tickets=MemoryDownloadTickets(store),
        encoders=ENCODERS,
        missing_formats=missing_formats(),
    )


def _memory_judging(store: MemoryStore, book: PriceBook) -> JudgingPorts:
    return JudgingPorts(
        verdicts=MemoryVerdicts(store),
        ledger=MemoryLedger(store),
        budgets=MemoryBudgets(store),
        prices=Pricings(MemoryModelPrices(store), book),
    )


def _raise_score_fault(score: ScoreId, fault: Exception) -> None:
    raise RuntimeError(f"evaluating the score {score} failed") from fault


def _raise_monitor_fault(monitor: Monitor, fault: Exception) -> None:
    raise RuntimeError(f"firing the monitor {monitor.name} failed") from fault


def _raise_alert_fault(ended: FinishedRun | MonitorSlot, fault: Exception) -> None:
    raise RuntimeError(f"evaluating alerts failed after {ended}") from fault
