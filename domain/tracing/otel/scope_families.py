"""Families of instrumentation scopes: the programs whose conventions the mapping has rules for.

The name of a scope is a sender's text; a family is one of our words, of which a metric may have as
many series.
"""

from collections.abc import Mapping
from typing import Final

OTHER_FAMILY: Final = "other"

# Beginnings of names, which are followed by the end, or by a character that ends a word.
_BEGINNINGS: Final[Mapping[str, str]] = {
    "opentelemetry.instrumentation.genai": "gen_ai",
    "opentelemetry.instrumentation.openai_v2": "gen_ai",
    "opentelemetry.instrumentation.openai_agents_v2": "gen_ai",
    "opentelemetry.instrumentation.google_genai": "gen_ai",
    "opentelemetry.util.genai": "gen_ai",
    "openinference": "openinference",
    "@arizeai/openinference": "openinference",
    "opentelemetry.instrumentation.anthropic": "traceloop",
    "opentelemetry.instrumentation.bedrock": "traceloop",
    "opentelemetry.instrumentation.crewai": "traceloop",
    "opentelemetry.instrumentation.langchain": "traceloop",
    "opentelemetry.instrumentation.llamaindex": "traceloop",
    "opentelemetry.instrumentation.mcp": "traceloop",
    "opentelemetry.instrumentation.openai": "traceloop",
    "opentelemetry.instrumentation.openai_agents": "traceloop",
    "traceloop": "traceloop",
    "@traceloop": "traceloop",
    "ai": "vercel",
    "pydantic-ai": "pydantic_ai",
    "logfire": "pydantic_ai",
    "langfuse": "langfuse",
    "langsmith": "langsmith",
    "mlflow": "mlflow",
    "strands": "strands",
    "gcp.vertex.agent": "google_adk",
    "com.anthropic.claude_code": "claude_code",
}


def family_of(scope: str) -> str:
    """The family of the scope with this name."""
    for beginning, family in _BEGINNINGS.items():
        if scope.startswith(beginning):
            following = scope[len(beginning) :][:1]
            if not following.isalnum() and following != "_":
                return family
    return OTHER_FAMILY
