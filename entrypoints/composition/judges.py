"""The judges by the settings: which models a run may name, and which providers have a key."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

from adapters.judges.by_provider import JudgeByProvider
from adapters.judges.heuristic import HeuristicJudge
from adapters.judges.model import ModelJudge
from adapters.judges.wire import Endpoint
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.judging.budgets import PostgresBudgets
from adapters.postgres.evaluation.judging.judge_ledger import PostgresLedger
from adapters.postgres.evaluation.judging.verdict_cache import PostgresVerdicts
from adapters.postgres.tracing.model_prices import PostgresModelPrices
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY, EvaluationPolicy
from application.evaluation.ports.evaluation import Judge
from application.evaluation.ports.judging import JudgingPorts, Pricings
from application.tracing.ports import PriceBook
from domain.evaluation.evidence.redaction import RedactionMode
from domain.evaluation.judging.models import PROVIDERS, JudgeModels, ProviderState
from entrypoints.settings import UNPREFIXED, Settings, variable

READY: Final = "Ready"
# The setting that each provider needs. A provider that isn't here needs none.
REQUIRED_SETTINGS: Final = {
    "openai": "openai_api_key",
    "anthropic": "anthropic_api_key",
    "google_genai": "gemini_api_key",
    "vertex_ai": "google_cloud_project",
    "openai_compatible": "openai_compatible_base_url",
}
ATTEMPT_SHARE: Final = 0.75  # of a question's time, so that another attempt has some left
UNCHECKED: Final = {"vertex_ai": "the credentials themselves are not checked"}


def judge_models(settings: Settings) -> JudgeModels:
    """Without a preferred model, it is the small one of the first provider that is available."""
    small = (one.provider.small for one in judge_providers(settings) if one.is_available)
    preferred = settings.eval_llm_model or next(filter(None, small), None)
    return JudgeModels(preferred, settings.eval_allowed_models)


def judge_providers(settings: Settings) -> tuple[ProviderState, ...]:
    """Every provider, with what it lacks. A key is only mentioned by the name of its variable."""
    states = []
    for provider in PROVIDERS:
        needed = REQUIRED_SETTINGS.get(provider.key)
        if needed is None or getattr(settings, needed):
            notes = (READY, UNCHECKED.get(provider.key))
            states.append(ProviderState(provider, True, "; ".join(filter(None, notes))))
        else:
            names = [variable(needed), *([needed.upper()] if needed in UNPREFIXED else [])]
            states.append(ProviderState(provider, False, f"{' or '.join(names)} must be set"))
    return tuple(states)


@asynccontextmanager
async def opened_judge(settings: Settings) -> AsyncIterator[Judge]:
    """One judge for the models of every provider. Clients are loaded with the first question."""
    judges: dict[str, Judge | None] = {one.prefix.rstrip("/"): None for one in PROVIDERS}
    judges["heuristic"] = HeuristicJudge()
    async with AsyncExitStack() as stack:
        for endpoint in _endpoints(settings):
            attempt_s = ATTEMPT_SHARE * settings.eval_judge_timeout_seconds
            judge = ModelJudge(endpoint, attempt_s=attempt_s)
            stack.push_async_callback(judge.close)
            judges[endpoint.provider] = judge
        yield JudgeByProvider(judges)


def judging_ports(settings: Settings, pool: Pool, book: PriceBook) -> JudgingPorts:
    """What is stored about judging."""
    return JudgingPorts(
        verdicts=PostgresVerdicts(pool),
        ledger=PostgresLedger(pool),
        budgets=PostgresBudgets(pool),
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
        # More metrics than that would only wait for each other.
        concurrent_metrics=min(DEFAULT_POLICY.concurrent_metrics, concurrency),
    )


def _endpoints(settings: Settings) -> Iterator[Endpoint]:
    """The endpoint of every provider that has the settings it needs."""
    if settings.openai_api_key:
        yield Endpoint(
            provider="openai",
            api_key=settings.openai_api_key,
            base_url=settings.openai_base_url,
        )
    if settings.anthropic_api_key:
        yield Endpoint(provider="anthropic", api_key=settings.anthropic_api_key)
    if settings.gemini_api_key:
        yield Endpoint(provider="gemini", api_key=settings.gemini_api_key)
    if settings.google_cloud_project:
        yield Endpoint(
            provider="vertex_ai",
            project=settings.google_cloud_project,
            location=settings.vertex_ai_location,
        )
    if settings.openai_compatible_base_url:
        yield Endpoint(
            provider="openai_compatible",
            api_key=settings.openai_compatible_api_key,
            base_url=settings.openai_compatible_base_url,
        )
