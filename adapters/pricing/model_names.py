"""Prefixes of the names of models, as tracing libraries and proxies send them."""

from typing import Final

# Names of providers in tracing libraries, and in `genai-prices`.
PROVIDERS: Final = {
    "x_ai": "x-ai",
    "azure.ai.openai": "azure",
    "az.ai.openai": "azure",
    "azure_ai": "azure",
    "fireworks_ai": "fireworks",
}
PREFIXES_MAX: Final = 4  # parts of a name, as in `litellm_proxy/openrouter/openai/gpt-4o`
