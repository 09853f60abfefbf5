"""Names of judge models: their providers, and how names given by callers are resolved."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from domain.errors import Invalid

HEURISTIC_MODEL: Final = "heuristic/1"
NAME_MAX: Final = 255  # characters of a name given by a caller

# Prefixes of model names that identify the provider without naming it.
_BARE: Final = (
    (re.compile(r"(gpt|o1|o3)-[^/]"), "openai/"),
    (re.compile(r"claude-[^/]"), "anthropic/"),
    (re.compile(r"gemini-[^/]"), "gemini/"),
)
_REASONING: Final = re.compile(r"o[0-9]")
# Some clients put the name into a URL, to which they send the operator's key. No name of a model
# may lead to another path or method there.
_NAME: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9._:/@+=,~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of verdicts. `prefix` begins the names of its models.

    `small` is the model used if none is named; None if it can't be known.
    """

    key: str
    name: str
    description: str
    prefix: str
    small: str | None = None


PROVIDERS: Final = (
    Provider(
        key="openai",
        name="OpenAI",
        description="Models of OpenAI, by its API",
        prefix="openai/",
        small="openai/gpt-5-mini",
    ),
    Provider(
        key="anthropic",
        name="Anthropic",
        description="Claude models, by Anthropic's API",
        prefix="anthropic/",
        small="anthropic/claude-haiku-4-5",
    ),
    Provider(
        key="google_genai",
        name="Google GenAI",
        description="Gemini models, by the Gemini API",
        prefix="gemini/",
        small="gemini/gemini-3.5-flash-lite",
    ),
    Provider(
        key="vertex_ai",
        name="Vertex AI",
        description="Gemini models, by a project of Google Cloud",
        prefix="vertex_ai/",
        small="vertex_ai/gemini-3.5-flash-lite",
    ),
    Provider(
        key="openai_compatible",
        name="OpenAI-compatible endpoint",
        description="Any server with the API of OpenAI: vLLM, Ollama, llama.cpp, a gateway",
        prefix="openai_compatible/",
    ),
    Provider(
        key="heuristic",
        name="Built-in heuristics",
        description="Rules over features of the trace: no model and no key needed",
        prefix="heuristic/",
    ),
)
"""In display order."""


@dataclass(frozen=True, slots=True)
class ProviderState:
    """Whether a provider is available; `message` states what is missing or unknown."""

    provider: Provider
    is_available: bool
    message: str


def resolve_model(name: str) -> str:
    """A model name with its provider. A name with an unknown provider is returned unchanged."""
    if "/" not in name:
        for bare, prefix in _BARE:
            if bare.match(name):
                return prefix + name
    return name


def provider_of(model: str) -> str:
    """The provider of a resolved name; "" if it has none.

    Names that begin with `o` and a digit are reasoning models of OpenAI, including future ones.
    """
    if "/" in model:
        return model.partition("/")[0]
    return "openai" if _REASONING.match(model) else ""


def validate_model(model: str) -> str:
    """Returns a resolved name.

    Raises Invalid, naming `model`, if its provider is unknown, or for characters that no name has.
    """
    known = [one.prefix for one in PROVIDERS]
    name = model.partition("/")[2] if "/" in model else model
    if f"{provider_of(model)}/" not in known or not name:
        message = f"must be <provider>/<model>, beginning with one of: {', '.join(known)}"
        raise Invalid.semantic("model", message)
    if _NAME.fullmatch(model) is None:
        message = (
            "may only have ASCII letters, digits and . _ : / @ + = , ~ - and no two dots in a row"
        )
        raise Invalid.semantic("model", message)
    return model


@dataclass(frozen=True, slots=True)
class JudgeModels:
    """The models that runs may use. Without `allowed` names, any model may be named.

    The default is `preferred`, otherwise the heuristic judge. `missing` says what the providers
    lack that aren't available, by the prefix of their models without the slash.
    """

    preferred: str | None = None
    allowed: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def default(self) -> str:
        """The model of a run that names none. It is always allowed."""
        return HEURISTIC_MODEL if self.preferred is None else resolve_model(self.preferred)

    def select(self, name: str | None) -> str:
        """The resolved model of a run; None selects the default. Raises Invalid, naming `model`."""
        model = self.default if name is None else resolve_model(name)
        if self.allowed and model not in {self.default, *map(resolve_model, self.allowed)}:
            there_are = ", ".join(dict.fromkeys([self.default, *map(resolve_model, self.allowed)]))
            raise Invalid.semantic("model", f"is not allowed; allowed models: {there_are}")
        return model

    def check_available(self, model: str) -> None:
        """Raises Invalid, naming `model`, if no configured provider has the resolved model.

        Whether the provider knows the model, and accepts the key, shows when it is asked.
        """
        provider = provider_of(validate_model(model))
        if (lacks := self.missing.get(provider)) is not None:
            raise Invalid.semantic("model", f"{model} can't be asked: {lacks}")
        if provider == provider_of(HEURISTIC_MODEL) and model != HEURISTIC_MODEL:
            raise Invalid.semantic("model", f"must be {HEURISTIC_MODEL}, or a model of a provider")
