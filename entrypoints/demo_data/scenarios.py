"""The agents of synthetic traces: their steps, models and texts."""

import json
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from domain.tracing.span import SpanKind

_QUESTIONS: Final = 64
_PARAGRAPHS: Final = 128


@dataclass(frozen=True, slots=True)
class Step:
    """A kind of span. `seconds` is its mean duration."""

    kind: SpanKind
    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent that repeats `steps`, then does `answer`.

    A CHAIN holds the steps that follow it, up to the next one. `weight` is the share of traces,
    relative to the other agents. A sentence has one part of each group of `vocabulary`: who, does,
    what and how. `tells_cost`: its framework sends the cost of its calls.
    """

    name: str
    weight: int
    tag: str
    system: str
    models: tuple[str, ...]
    steps: tuple[Step, ...]
    answer: Step
    vocabulary: tuple[tuple[str, ...], ...]
    tells_cost: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """An agent with its texts, generated once: JSON text without its quotes."""

    agent: Agent
    system: bytes
    questions: tuple[bytes, ...]
    paragraphs: tuple[bytes, ...]

    @classmethod
    def generate(cls, random: Random, agent: Agent) -> "Script":
        def text(sentences: int) -> bytes:
            parts = (map(random.choice, agent.vocabulary) for _ in range(sentences))
            return _inner(" ".join(f"{' '.join(sentence)}." for sentence in parts))

        def texts(count: int, shortest: int, longest: int) -> tuple[bytes, ...]:
            lengths = [random.randint(shortest, longest) for _ in range(count)]
            return tuple(map(text, lengths))

        return cls(agent, _inner(agent.system), texts(_QUESTIONS, 1, 3), texts(_PARAGRAPHS, 6, 15))


def _inner(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


RATES: Final = {  # USD per million tokens, in and out, for agents that send their cost
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "claude-sonnet-4-5": (3.0, 15.0),
    "gemini-2.5-flash": (0.3, 2.5),
    "text-embedding-3-small": (0.02, 0.0),
}
SMALL_MODEL: Final = "gpt-4o-mini"
EMBEDDER: Final = "text-embedding-3-small"
IN_HOUSE_MODEL: Final = "house-llama-70b"  # no price table knows it

ENVIRONMENTS: Final = ("production",) * 16 + ("staging",) * 2 + ("development",) * 2
REGIONS: Final = ("eu-west-1",) * 5 + ("us-east-1",) * 4 + ("ap-south-1",) * 2 + ("sa-east-1",)
CHANNELS: Final = ("web",) * 6 + ("email",) * 3 + ("api",) * 2 + ("voice",)
CUSTOMERS: Final = (
    *("Brightwater", "Kiesel & Söhne", "Lumen Foods", "Ostrava Tools", "Petrel Air", "Quillon"),
    *("Río Claro", "Saltmarsh", "Tern Logistics", "Umbra Optics", "Velo Nord", "Wickerby"),
    *("Yarrow Health", "Zephyr Rail", "Aldgate Books", "Birch Energy", "Corvid Labs", "Dunlin"),
)
ERRORS: Final = {
    SpanKind.LLM: (
        "RateLimitError: 429, the limit of 30000 tokens a minute was reached; try again in 2.4 s",
        "APITimeoutError: no answer within 60 s",
        "BadRequestError: 400, the prompt is longer than the context of this model",
    ),
    SpanKind.TOOL: (
        "TimeoutError: the order system did not answer within 10 s",
        "KeyError: 'tracking_number'",
        "ConnectionError: upstream closed the connection (attempt 3 of 3)",
    ),
    SpanKind.RETRIEVER: (
        "IndexUnavailable: shard 3 of 8 does not answer",
        "ValueError: the filter names a field that the index lacks: 'valid_until'",
    ),
}

_llm: Final = partial(Step, SpanKind.LLM)
_tool: Final = partial(Step, SpanKind.TOOL)
_retriever: Final = partial(Step, SpanKind.RETRIEVER)
_chain: Final = partial(Step, SpanKind.CHAIN)

_PLAN: Final = _llm("plan", 1.4)
_ANSWER: Final = _llm("write-answer", 2.2)
_EMBED: Final = Step(SpanKind.EMBEDDING, "embed-query", 0.12)
_RERANK: Final = Step(SpanKind.OTHER, "rerank", 0.25)
_SEARCH_POLICIES: Final = _retriever("search-policies", 0.2)

AGENTS: Final = (
    Agent(
        name="answer-question",
        weight=30,
        tag="support",
        system="You answer customers of a shop. Be brief and polite. Look orders up before you "
        "say anything of them, quote the policy you rely on, and never promise a date.",
        models=("gpt-4o", "gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5"),
        steps=(_PLAN, _tool("look-up-order", 0.3), _SEARCH_POLICIES, _llm("check-policy", 1.1)),
        answer=_ANSWER,
        vocabulary=(
            ("The customer", "Our warehouse", "The carrier", "The order", "A colleague"),
            ("asks about", "reports", "has confirmed", "is waiting for", "refused"),
            ("the late parcel", "a refund of 42.90 €", "the second address", "a broken lid"),
            ("since Monday morning", "according to section four", "without a receipt", "twice"),
        ),
    ),
    Agent(
        name="ask-documents",
        weight=22,
        tag="rag",
        system="You answer from the documents you are given and from nothing else. Name the "
        "document behind each statement. Where they don't say it, say so.",
        models=("gpt-4o-mini", "gemini-2.5-flash", "gemini-2.5-flash"),
        steps=(_EMBED, _retriever("vector-search", 0.15), _RERANK, _llm("judge-relevance", 0.9)),
        answer=_ANSWER,
        vocabulary=(
            ("The handbook", "Chapter seven", "The annex", "An older edition", "The glossary"),
            ("describes", "rules out", "refers to", "contradicts", "defines"),
            ("the notice period", "remote work abroad", "parental leave", "travel in first class"),
            ("for staff in Zürich", "from January on", "with two exceptions", "in one sentence"),
        ),
    ),
    Agent(
        name="fix-issue",
        weight=16,
        tag="coding",
        system="You repair defects in a repository. Read before you write, change as little as "
        "you can, and run the tests after each change. Explain what was wrong in two sentences.",
        models=("claude-sonnet-4-5", "claude-sonnet-4-5", "gpt-4o"),
        steps=(
            *(_chain("attempt", 0.0), _llm("next-action", 2.8), _tool("read-file", 0.05)),
            *(_llm("write-patch", 4.5), _tool("run-tests", 8.0)),
        ),
        answer=_llm("summarise-change", 1.8),
        vocabulary=(
            ("The parser", "This loop", "The second branch", "A cached value", "The test"),
            ("skips", "overwrites", "never closes", "compares against", "still expects"),
            ("the last line", "an empty list", "the connection", "the old name of the column"),
            ("when the input ends early", "under load", "on 32-bit machines", "after a retry"),
        ),
        tells_cost=True,
    ),
    Agent(
        name="research-topic",
        weight=14,
        tag="research",
        system="You research a question for an analyst. Split it into parts, search for each, "
        "compare at least two sources, and end with what remains uncertain.",
        models=("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"),
        steps=(
            *(_chain("sub-question", 0.0), _PLAN, _tool("web-search", 0.9)),
            *(_tool("fetch-page", 0.7), _llm("take-notes", 2.0)),
        ),
        answer=_llm("write-report", 7.0),
        vocabulary=(
            ("The survey of 2023", "One operator", "The ministry", "A later study", "The market"),
            ("estimates", "doubts", "published", "expects", "no longer counts"),
            ("a capacity of 40 GW", "falling prices", "the second pilot plant", "a shortage"),
            ("by the end of the decade", "without naming a source", "in three regions", "again"),
        ),
        tells_cost=True,
    ),
    Agent(
        name="extract-invoice",
        weight=11,
        tag="extraction",
        system="You read invoices and return their fields as JSON: number, date, supplier, net, "
        "tax, gross, lines. Leave out what isn't on the page. Amounts are decimal strings.",
        models=("gpt-4o-mini", "gemini-2.5-flash", IN_HOUSE_MODEL),
        steps=(_tool("read-page", 0.6), _llm("extract-fields", 1.9), _tool("check-sums", 0.02)),
        answer=_llm("merge-pages", 1.2),
        vocabulary=(
            ("Line 3", "The supplier", "The total", "Page two", "The tax rate"),
            ("reads", "lists", "differs from", "repeats", "is printed beside"),
            ("12 x filter cartridge", "1,284.50", "the delivery note", "a discount of 2 %"),
            ("in the margin", "before tax", "under the stamp", "as in the last invoice"),
        ),
    ),
    Agent(
        name="triage-ticket",
        weight=6,
        tag="support",
        system="You sort incoming tickets: product, urgency from 1 to 4, team. One line each.",
        models=("gpt-4o-mini",),
        steps=(_llm("classify", 0.6), _tool("assign-team", 0.1)),
        answer=_llm("confirm", 0.5),
        vocabulary=(
            ("The reporter", "The dashboard", "An export", "Single sign-on", "The mobile app"),
            ("stopped showing", "rejects", "times out on", "asks again for", "duplicates"),
            ("the monthly figures", "valid passwords", "every third row", "the consent form"),
            ("since the last release", "for one tenant only", "in Safari", "at midnight"),
        ),
    ),
    Agent(
        name="plan-trip",
        weight=1,
        tag="assistant",
        system="You plan business trips within the travel policy. Offer three options at most, "
        "with times and prices, and book nothing without a clear yes.",
        models=("gpt-4o", "gemini-2.5-flash"),
        steps=(_PLAN, _tool("search-trains", 1.1), _tool("search-hotels", 1.3), _SEARCH_POLICIES),
        answer=_ANSWER,
        vocabulary=(
            ("The night train", "The early flight", "The hotel", "Our traveller", "The café car"),
            ("connects to", "costs less than", "is full on", "prefers", "leaves before"),
            ("the 7:12 from Basel", "the second of May", "a room to the yard", "platform nine"),
            ("with one change", "during the fair", "at the company rate", "by ten minutes"),
        ),
    ),
)
