"""Judges' models by their names: who provides them, and what a name that callers give means."""

import re
from dataclasses import dataclass
from typing import Final

from domain.errors import Invalid
from domain.evaluation.judging.prompt import HEURISTIC_FINGERPRINT

HEURISTIC_MODEL: Final = HEURISTIC_FINGERPRINT
NAME_MAX: Final = 255  # of a name as callers give it

# Names without a provider that everybody knows the provider of, by how they begin.
_BARE: Final = (
    (re.compile(r"(gpt|o1|o3)-[^/]"), "openai/"),
    (re.compile(r"claude-[^/]"), "anthropic/"),
    (re.compile(r"gemini-[^/]"), "gemini/"),
)
_REASONING: Final = re.compile(r"o[0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who gives verdicts. `prefix` begins the names of its models.

    `small` is the one that judges where nobody says which; None where it can't be known.
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
        description="Whatever speaks the API of OpenAI: vLLM, Ollama, llama.cpp, a gateway",
        prefix="openai_compatible/",
    ),
    Provider(
        key="heuristic",
        name="Built-in heuristics",
        description="Signs in the trace itself: no model is asked, and no key is needed",
        prefix="heuristic/",
    ),
)
"""In the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class ProviderState:
    """Whether a provider can be asked; `message` says what is missing, or what isn't known."""

    provider: Provider
    is_available: bool
    message: str


def resolve_model(name: str) -> str:
    """A model's name with its provider; a name that tells none, and isn't known, as it is."""
    if "/" not in name:
        for bare, prefix in _BARE:
            if bare.match(name):
                return prefix + name
    return name


def provider_of(model: str) -> str:
    """What stands before the slash of a resolved name; "" where it tells no provider.

    An `o` and a digit begin the names of reasoning models of OpenAI, also of later ones.
    """
    if "/" in model:
        return model.partition("/")[0]
    return "openai" if _REASONING.match(model) else ""


def validate_model(model: str) -> str:
    """A resolved name. Raises Invalid, naming `model`, where no provider can have such a model."""
    known = [one.prefix for one in PROVIDERS]
    name = model.partition("/")[2] if "/" in model else model
    if f"{provider_of(model)}/" not in known or not name:
        message = f"is no model: write <provider>/<model>, beginning with one of {', '.join(known)}"
        raise Invalid.field("model", message)
    return model


@dataclass(frozen=True, slots=True)
class JudgeModels:
    """Which models runs may ask. `allowed` are names, resolved or not; of none any may be named.

    The default is `preferred`, else the heuristic judge.
    """

    preferred: str | None = None
    allowed: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        """What a run asks that names no model. It may always be named."""
        return HEURISTIC_MODEL if self.preferred is None else resolve_model(self.preferred)

    def select(self, name: str | None) -> str:
        """The resolved model of a run; None is the default. Raises Invalid, naming `model`."""
        model = self.default if name is None else resolve_model(name)
        if self.allowed and model not in {self.default, *map(resolve_model, self.allowed)}:
            there_are = ", ".join(dict.fromkeys([self.default, *map(resolve_model, self.allowed)]))
            raise Invalid.field("model", f"is not allowed here; there are: {there_are}")
        return model
