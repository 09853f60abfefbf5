"""The kind of a span, by the attributes that senders have for it."""

from itertools import pairwise

import pytest

from domain.tracing.span import SpanKind
from tests.support.builders.otel import event, flags, mapped, metadata
from tests.support.hypothesis_scale import crossed

KEYS = [
    "langfuse.observation.type",
    "openinference.span.kind",
    "gen_ai.operation.name",
    "traceloop.span.kind",
    "langsmith.span.kind",
    "mlflow.spanType",
    "ai.operationId",
    "llm.request.type",
]

VALUES = {
    "LLM": (
        "llm generation chat chat_model completion text_completion generate_content "
        "ai.generateText.doGenerate ai.generateObject.doGenerate ai.streamText.doStream "
        "ai.streamObject.doStream LLM CHAT_MODEL"
    ),
    "EMBEDDING": "embedding embeddings ai.embed.doEmbed ai.embedMany.doEmbed EMBEDDING",
    "TOOL": "tool execute_tool ai.toolCall TOOL",
    "AGENT": "agent invoke_agent AGENT",
    "RETRIEVER": "retriever retrieval reranker rerank RETRIEVER RERANKER",
    "CHAIN": (
        "chain workflow task invoke_workflow plan agent_step execute_task "
        "execute_event_loop_cycle ai.generateText ai.streamText ai.generateObject "
        "ai.streamObject ai.embed ai.embedMany CHAIN"
    ),
    "OTHER": (
        "span event evaluator guardrail prompt parser memory apply_guardrail fetch_response "
        "search_memory create_memory_store create_agent"
    ),
}


SENT = [(one, kind) for kind, words in VALUES.items() for one in words.split()]


@pytest.mark.parametrize(("value", "key"), crossed(SENT, KEYS))
def test_each_attribute_knows_each_value(key, value):
    sent, kind = value
    assert mapped({key: sent}).span.kind == kind
    assert mapped({key: f'"{sent}"'}).span.kind == kind
    assert "kind_unknown" not in flags(mapped({key: sent}))


@pytest.mark.parametrize(("first", "second"), list(pairwise(KEYS)))
def test_first_recognised_attribute_wins(first, second):
    assert mapped({second: "tool", first: "llm"}).span.kind is SpanKind.LLM
    unknown = mapped({second: "tool", first: "hologram"})
    assert unknown.span.kind is SpanKind.TOOL
    assert metadata(unknown)["otel"]["kind_raw"] == "hologram"
    assert "kind_unknown" not in flags(unknown)


@pytest.mark.parametrize(
    ("span_type", "kind"),
    [
        ("interaction", SpanKind.AGENT),
        ("llm_request", SpanKind.LLM),
        ("tool", SpanKind.TOOL),
        ("tool.execution", SpanKind.OTHER),
        ("tool.blocked_on_user", SpanKind.OTHER),
    ],
)
def test_claude_code_has_types_of_its_own(span_type, kind):
    attributes = {"span.type": span_type, "gen_ai.operation.name": "chat", "gen_ai.tool.name": "f"}
    one = mapped(attributes, scope="com.anthropic.claude_code.tracing")
    assert one.span.kind is kind
    assert one.facts.is_claude_request == (span_type == "llm_request")
    assert mapped({"span.type": "tool"}, scope="other").span.kind is SpanKind.OTHER


def test_in_langsmith_its_own_kind_comes_first():
    sent = {"langsmith.span.kind": "retriever", "gen_ai.operation.name": "embeddings"}
    assert mapped(sent, scope="langsmith").span.kind is SpanKind.RETRIEVER
    assert mapped(sent).span.kind is SpanKind.EMBEDDING


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"gen_ai.tool.name": "f"}, SpanKind.TOOL),
        ({"gen_ai.tool.call.id": "1"}, SpanKind.OTHER),
        ({"mcp.method.name": "tools/call"}, SpanKind.TOOL),
        ({"mcp.method.name": "tools/list"}, SpanKind.OTHER),
        ({"retrieval.documents.0.document.content": "a"}, SpanKind.RETRIEVER),
        ({"gen_ai.retrieval.query.text": "q"}, SpanKind.RETRIEVER),
        ({"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1}, SpanKind.LLM),
        ({"gen_ai.request.model": "m", "gen_ai.input.messages": "[]"}, SpanKind.LLM),
        ({"gen_ai.request.model": "m"}, SpanKind.OTHER),
        ({"gen_ai.usage.input_tokens": 1}, SpanKind.OTHER),
        ({}, SpanKind.OTHER),
    ],
)
def test_content_decides_kind_if_no_attribute_does(attributes, kind):
    assert mapped(attributes).span.kind is kind
    assert "kind_unknown" not in flags(mapped(attributes))


def test_model_with_messages_in_events_is_llm_span():
    one = mapped({"gen_ai.request.model": "m"}, events=[event("gen_ai.user.message", content="Hi")])
    assert one.span.kind is SpanKind.LLM


def test_unknown_kind_is_flagged_and_kept():
    one = mapped({"gen_ai.operation.name": "Teleport"})
    assert one.span.kind is SpanKind.OTHER
    assert flags(one) == ["kind_unknown"]
    assert metadata(one)["otel"]["kind_raw"] == "Teleport"


def test_making_an_agent_is_setup():
    one = mapped({"gen_ai.operation.name": "create_agent"})
    assert one.span.kind is SpanKind.OTHER
    assert one.facts.is_setup
    assert flags(one) == ["setup"]
