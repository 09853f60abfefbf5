"""Which judges there are, by the settings: models that may be named, providers with a key."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

from adapters.judges.by_provider import JudgeByProvider
from adapters.judges.heuristic import HeuristicJudge
from adapters.judges.model import ModelJudge
from adapters.judges.policy import PatientJudge
from adapters.judges.wire import Endpoint
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.judging.budgets import PostgresBudgets
from adapters.postgres.evaluation.judging.judge_ledger import PostgresLedger
from adapters.postgres.evaluation.judging.verdict_cache import PostgresVerdicts
from adapters.postgres.tracing.model_prices import PostgresModelPrices
from application.evaluation.judging import JudgingPorts, Pricings
from application.evaluation.matter import USUAL, MeasuringPolicy
from application.evaluation.ports.evaluation import Judge
from application.tracing.ports import PriceBook
from domain.evaluation.evidence.redaction import RedactionMode
from domain.evaluation.judging.models import PROVIDERS, JudgeModels, ProviderState
from entrypoints.settings import UNPREFIXED, Settings, variable

READY: Final = "Ready"
# The setting without which a provider can't be asked; who has none always can.
NEEDED: Final = {
    "openai": "openai_api_key",
    "anthropic": "anthropic_api_key",
    "google_genai": "gemini_api_key",
    "vertex_ai": "google_cloud_project",
    "openai_compatible": "openai_compatible_base_url",
}
ATTEMPT: Final = 0.75  # of the time of a question, so that another attempt has some left
UNCHECKED: Final = {"vertex_ai": "the credentials themselves are not checked"}


def judge_models(settings: Settings) -> JudgeModels:
    """Where none is preferred, the small model of the first provider that is available."""
    small = (one.provider.small for one in judge_providers(settings) if one.is_available)
    preferred = settings.eval_llm_model or next(filter(None, small), None)
    return JudgeModels(preferred, settings.eval_allowed_models)


def judge_providers(settings: Settings) -> tuple[ProviderState, ...]:
    """Every provider, with what it lacks. No key is told of but by the name of its variable."""
    states = []
    for provider in PROVIDERS:
        needed = NEEDED.get(provider.key)
        if needed is None or getattr(settings, needed):
            notes = (READY, UNCHECKED.get(provider.key))
            states.append(ProviderState(provider, True, "; ".join(filter(None, notes))))
        else:
            names = [variable(needed), *([needed.upper()] if needed in UNPREFIXED else [])]
            states.append(ProviderState(provider, False, f"{' or '.join(names)} must be set"))
    return tuple(states)


@asynccontextmanager
async def opened_judge(settings: Settings) -> AsyncIterator[Judge]:
    """One for the models of every provider. No client is loaded before it is asked something."""
    judges: dict[str, Judge | None] = {one.prefix.rstrip("/"): None for one in PROVIDERS}
    judges["heuristic"] = HeuristicJudge()
    async with AsyncExitStack() as stack:
        for endpoint in _endpoints(settings):
            attempt_s = ATTEMPT * settings.eval_judge_timeout_seconds
            model = ModelJudge(endpoint, attempt_s=attempt_s)
            stack.push_async_callback(model.close)
            at_once = settings.eval_judge_concurrency
            judges[endpoint.provider] = PatientJudge(model, at_once=at_once)
        yield JudgeByProvider(judges)


def judging_ports(settings: Settings, pool: Pool, book: PriceBook) -> JudgingPorts:
    """What is kept of those who judge."""
    return JudgingPorts(
        verdicts=PostgresVerdicts(pool),
        ledger=PostgresLedger(pool),
        budgets=PostgresBudgets(pool),
        prices=Pricings(PostgresModelPrices(pool), book),
        kept_for=timedelta(days=settings.eval_cache_ttl_days),
        entered_for=timedelta(days=settings.eval_ledger_days),
    )


def measuring_policy(settings: Settings) -> MeasuringPolicy:
    return MeasuringPolicy(
        evidence_tokens=settings.eval_evidence_tokens,
        masking=RedactionMode(settings.eval_mask),
        deadline_s=settings.eval_judge_timeout_seconds,
        # More of them would only wait for their turn.
        metrics_at_once=min(USUAL.metrics_at_once, settings.eval_judge_concurrency),
    )


def _endpoints(settings: Settings) -> Iterator[Endpoint]:
    """Of every provider that has what it needs."""
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
