"""Which judges there are, by the settings: models that may be named, providers with a key."""

from typing import Final

from domain.evaluation.models import PROVIDERS, JudgeModels, ProviderState
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
UNCHECKED: Final = {"vertex_ai": "the credentials themselves are not checked"}


def judge_models(settings: Settings) -> JudgeModels:
    return JudgeModels(settings.eval_llm_model, settings.eval_allowed_models)


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
