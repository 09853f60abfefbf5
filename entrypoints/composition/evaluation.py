"""The ports of evaluation by the settings: judges, alerts and the adapters of the others."""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Final

from adapters.aes_gcm import AesGcmCipher
from adapters.hash_embedder import HashEmbedder
from adapters.judges import by_provider, heuristic, model, wire
from adapters.postgres.database.leader_election import PostgresLeaderElection
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.alerts import alerts, webhooks
from adapters.postgres.evaluation.custom_metrics import custom_metrics
from adapters.postgres.evaluation.datasets import datasets
from adapters.postgres.evaluation.experiments import experiments
from adapters.postgres.evaluation.experiments.trace_groups import PostgresTraceGroups
from adapters.postgres.evaluation.judging import budgets, judge_ledger, verdict_cache
from adapters.postgres.evaluation.monitors import change_feed, monitors
from adapters.postgres.evaluation.runs import runs, targets
from adapters.postgres.evaluation.scores import (
    agreement,
    annotation_claims,
    score_analytics,
    score_rollups,
    scores,
    waiting_evaluations,
)
from adapters.postgres.evaluation.work_queue import work_queue
from adapters.postgres.tracing.model_prices import PostgresModelPrices
from adapters.re2_patterns import Re2Engine
from adapters.webhook_sender import HttpWebhookSender, SystemResolver
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY, EvaluationPolicy
from application.evaluation.ports.alerts import FinishedRun, MonitorSlot
from application.evaluation.ports.judging import Judge, JudgingPorts, Pricings
from application.evaluation.use_cases import AlertPorts, EvaluationPorts
from application.jobs import Jobs
from application.tracing.ports import PriceBook
from domain.errors import Failure
from domain.evaluation.evidence.redaction import RedactionMode
from domain.evaluation.judging.models import PROVIDERS, JudgeModels, ProviderState
from domain.evaluation.monitors.monitor import Monitor
from domain.ids import ScoreId
from entrypoints.settings import UNPREFIXED, Settings, variable
from entrypoints.tracebacks import with_cause

READY: Final = "Ready"
# The settings of each provider's Endpoint, by the prefix of its models. A provider needs the first
# one. A provider that isn't here needs none.
ENDPOINT_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "openai": {"api_key": "openai_api_key", "base_url": "openai_base_url"},
    "anthropic": {"api_key": "anthropic_api_key"},
    "gemini": {"api_key": "gemini_api_key"},
    "vertex_ai": {"project": "google_cloud_project", "location": "vertex_ai_location"},
    "openai_compatible": {
        "base_url": "openai_compatible_base_url",
        "api_key": "openai_compatible_api_key",
    },
}
ATTEMPT_SHARE: Final = 0.75  # of a question's time, so that another attempt has some left
UNCHECKED: Final = {"vertex_ai": "the credentials themselves are not checked"}

_log: Final = logging.getLogger(__name__)


def evaluation_ports(
    settings: Settings,
    pool: Pool,
    jobs: Jobs,
    book: PriceBook,
    judge: Judge,
    *,
    near: Pool | None = None,
) -> EvaluationPorts:
    """`near` is the pool for traces, if it is another one."""
    quiet = timedelta(seconds=settings.otlp_quiet_seconds)
    return EvaluationPorts(
        trace_scores=scores.PostgresTraceScores(pool),
        session_scores=scores.PostgresSessionScores(pool),
        waiting_evaluations=waiting_evaluations.PostgresWaitingEvaluations(pool),
        score_analytics=score_analytics.PostgresScoreAnalytics(pool),
        score_rollups=score_rollups.PostgresScoreRollups(pool),
        labels=agreement.PostgresHumanLabels(pool),
        annotation_claims=annotation_claims.PostgresAnnotationClaims(pool),
        runs=runs.PostgresRuns(pool),
        work_queue=work_queue.PostgresWorkQueue(pool),
        targets=targets.PostgresTargets(pool, quiet=quiet),
        monitors=monitors.PostgresMonitors(pool),
        changed=change_feed.PostgresChangeFeed(pool, quiet=quiet, near=near),
        leader_election=PostgresLeaderElection(settings.database_url or ""),
        alerting=_alert_ports(settings, pool),
        custom_metrics=custom_metrics.PostgresCustomMetrics(pool),
        datasets=datasets.PostgresDatasets(pool),
        experiments=experiments.PostgresExperiments(pool),
        trace_groups=PostgresTraceGroups(pool),
        regex=Re2Engine(),
        jobs=jobs,
        judge=judge,
        judging=judging_ports(settings, pool, book),
        embedder=HashEmbedder(),
        models=judge_models(settings),
        providers=judge_providers(settings),
        on_fault=_log_score_error,
        on_monitor_fault=_log_monitor_error,
        policy=evaluation_policy(settings),
    )


def judge_models(settings: Settings) -> JudgeModels:
    """The models of judges: by default the one that is set, else the first provider's small one."""
    providers = judge_providers(settings)
    small = (one.provider.small for one in providers if one.is_available)
    preferred = settings.eval_llm_model or next(filter(None, small), None)
    missing = {
        one.provider.prefix.rstrip("/"): one.message for one in providers if not one.is_available
    }
    return JudgeModels(preferred, settings.eval_allowed_models, missing)


def judge_providers(settings: Settings) -> tuple[ProviderState, ...]:
    """Every provider, with what it lacks. A key is only mentioned by the name of its variable."""
    states = []
    for provider in PROVIDERS:
        needed = ENDPOINT_SETTINGS.get(provider.prefix.rstrip("/"), {})
        field = next(iter(needed.values()), None)
        if field is None or getattr(settings, field):
            notes = (READY, UNCHECKED.get(provider.key))
            states.append(ProviderState(provider, True, "; ".join(filter(None, notes))))
        else:
            names = [variable(field), *([field.upper()] if field in UNPREFIXED else [])]
            states.append(ProviderState(provider, False, f"{' or '.join(names)} must be set"))
    return tuple(states)


@asynccontextmanager
async def open_judge(settings: Settings) -> AsyncIterator[Judge]:
    """One judge for the models of every provider. Clients are loaded with the first question."""
    judges: dict[str, Judge | None] = {provider.prefix.rstrip("/"): None for provider in PROVIDERS}
    judges["heuristic"] = heuristic.HeuristicJudge()
    async with AsyncExitStack() as stack:
        for endpoint in _endpoints(settings):
            attempt_s = ATTEMPT_SHARE * settings.eval_judge_timeout_seconds
            judge = model.ModelJudge(endpoint, attempt_s=attempt_s)
            stack.push_async_callback(judge.close)
            judges[endpoint.provider] = judge
        yield by_provider.JudgeByProvider(judges)


def optional_usd(number: float | None) -> Decimal | None:
    """The amount of a setting, exactly as it was written."""
    return None if number is None else Decimal(repr(number))


def judging_ports(settings: Settings, pool: Pool, book: PriceBook) -> JudgingPorts:
    """The stores about judging."""
    return JudgingPorts(
        verdicts=verdict_cache.PostgresVerdictCache(pool),
        ledger=judge_ledger.PostgresLedger(pool),
        budgets=budgets.PostgresBudgets(pool, optional_usd(settings.eval_server_monthly_usd)),
        prices=Pricings(PostgresModelPrices(pool), book),
        verdict_retention=timedelta(days=settings.eval_cache_ttl_days),
        ledger_retention=timedelta(days=settings.eval_ledger_days),
    )


def evaluation_policy(settings: Settings) -> EvaluationPolicy:
    concurrency = settings.eval_judge_concurrency
    return EvaluationPolicy(
        evidence_tokens=settings.eval_evidence_tokens,
        masking=RedactionMode(settings.eval_mask),
        deadline_s=settings.eval_judge_timeout_seconds,
        judge_concurrency=concurrency,
        concurrent_targets=settings.eval_worker_concurrency,
        # More metrics than that would only wait for each other.
        concurrent_metrics=min(DEFAULT_POLICY.concurrent_metrics, concurrency),
    )


def _endpoints(settings: Settings) -> Iterator[wire.Endpoint]:
    """The endpoint of every provider that has the setting it needs."""
    for provider, fields in ENDPOINT_SETTINGS.items():
        given = {name: getattr(settings, field) for name, field in fields.items()}
        if next(iter(given.values())):
            yield wire.Endpoint(provider=provider, **given)


def _alert_ports(settings: Settings, pool: Pool) -> AlertPorts:
    return AlertPorts(
        alerts=alerts.PostgresAlerts(pool),
        webhooks=webhooks.PostgresWebhooks(pool, AesGcmCipher.parse(settings.secret_keys)),
        webhook_sender=webhook_sender(settings),
        on_fault=_log_alert_error,
        allow_private=settings.alert_allow_private_targets,
        public_url=settings.public_url,
        deliveries_retention=timedelta(days=settings.alert_delivery_ttl_days),
        changes_retention=timedelta(days=settings.alert_change_ttl_days),
    )


def webhook_sender(settings: Settings) -> HttpWebhookSender:
    if settings.alert_allow_private_targets:
        return HttpWebhookSender(SystemResolver(), is_allowed=lambda _: True, allow_private=True)
    return HttpWebhookSender(SystemResolver())


def _log_score_error(score: ScoreId, error: Exception) -> None:
    fields = {"score_id": str(score)}
    _log.error("evaluating a score failed with an internal error", exc_info=error, extra=fields)


def _log_monitor_error(monitor: Monitor, error: Exception) -> None:
    fields = {"project_id": str(monitor.project_id), "monitor_id": str(monitor.id)}
    if isinstance(error, Failure):
        _log.warning("firing a monitor is postponed: %s", with_cause(error), extra=fields)
    else:
        _log.error("firing a monitor failed with an internal error", exc_info=error, extra=fields)


def _log_alert_error(ended: FinishedRun | MonitorSlot, error: Exception) -> None:
    fields = {"project_id": str(ended.project), "monitor_id": str(ended.monitor)}
    if isinstance(ended, FinishedRun):
        fields["run_id"] = str(ended.run)
    _log.error("evaluating alerts failed; it is retried", exc_info=error, extra=fields)
