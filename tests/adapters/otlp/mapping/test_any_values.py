"""Any values of any attributes: nothing raises, and what comes out can be stored."""

import json
from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from adapters.otlp.mapping.reading import EVENT, expanded
from adapters.otlp.mapping.rules import RULES
from domain.tracing.otel.fragments import Scope, SentEvent
from domain.tracing.span import Span
from tests.support.builders.otel import START_NS, event, mapped_from, sent_record, sent_span

EXACT_KEYS = sorted(
    {
        key.replace("*", tail)
        for rule in RULES
        for written in rule.keys
        for key in expanded(written)
        if not key.startswith(EVENT)
        for tail in ("0", "0.message.content", "a.b", "metadata", "10000.message.role", "")
    }
)
EVENT_NAMES = sorted(
    {
        key.removeprefix(EVENT)
        for rule in RULES
        for written in rule.keys
        for key in expanded(written)
        if key.startswith(EVENT)
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text()
    | st.sampled_from(["\x00", '"', "{", "[", "{}", "[1e999]", '{"a":"\\ud83c"}', "NaN"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MESSAGE_MEMBERS = st.sampled_from(
    ["role", "content", "parts", "type", "text", "tool_calls", "messages", "id", "name", "inputs",
     "output", "arguments", "input_tokens", "prompt_tokens_details", "cached_tokens", "total"]
)  # fmt: skip
LIKE_MESSAGES = st.recursive(
    SCALARS | st.sampled_from(["user", "assistant", "tool", "text", "tool_call"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MESSAGE_MEMBERS, inner, max_size=4),
    max_leaves=8,
)


def as_json(value):
    return json.dumps(value, default=str)


SENT = VALUES | LIKE_MESSAGES | LIKE_MESSAGES.map(as_json) | VALUES.map(as_json)
ATTRIBUTES = st.dictionaries(st.sampled_from(EXACT_KEYS) | st.text(max_size=8), SENT, max_size=8)
SCOPES = st.sampled_from(
    ["", "langsmith", "pydantic-ai", "com.anthropic.claude_code.tracing", "ai"]
)


def check(span: Span) -> None:
    """What a row of the database accepts."""
    for payload in (
        span.input,
        span.output,
        span.metadata,
        span.token_usage,
        span.model_parameters,
    ):
        if payload is not None:
            json.loads(payload)
            payload.decode()
    assert isinstance(json.loads(span.metadata), dict)
    assert b"\\u0000" not in span.metadata.replace(b"\\\\", b"")
    for text in (span.name, span.model, span.provider, span.request_model, span.error):
        assert text is None or "\x00" not in text
        assert text is None or text.encode()
    assert 0 < len(span.name) <= 512
    for text in (span.model, span.provider, span.request_model):
        assert text is None or 0 < len(text) <= 255
    for instant in (span.started_at, span.ended_at, span.completion_started_at):
        assert instant is None or instant.tzinfo is UTC
    for cost in (span.cost or {}).values():
        assert 0 <= cost <= 1_000_000


@given(
    ATTRIBUTES,
    st.lists(st.tuples(st.sampled_from(EVENT_NAMES) | st.text(), ATTRIBUTES), max_size=3),
    SCOPES,
    st.sampled_from([0, 1, 2, 99]),
    SENT,
)
def test_any_value_is_mapped_and_can_be_stored(attributes, events, scope, code, body):
    span = sent_span(
        attributes,
        scope=Scope(scope),
        events=[SentEvent(START_NS, name, given) for name, given in events],
        status_code=code,
        status_message=body if isinstance(body, str) else "",
        resource={"service.name": body, "deployment.environment": body, "service.version": body},
        dropped={"events": 1},
    )
    record = sent_record("gen_ai.client.inference.operation.details", attributes, body=body)
    choice = sent_record("gen_ai.choice", attributes, body=body)
    for one in (mapped_from(span), mapped_from(span, record, choice)):
        check(one.span)
        facts = one.facts
        for text in (facts.session_id, facts.user_id, facts.environment, facts.release):
            assert text is None or (0 < len(text) <= 255 and "\x00" not in text)
        assert all(0 < len(tag) <= 255 and "\x00" not in tag for tag in facts.tags)
        for members in (facts.sender_metadata, facts.trace_metadata):
            assert all(json.loads(member) is not ... for member in members.values())


def test_index_bomb_is_bounded():
    attributes = {f"llm.input_messages.{at * 1_000}.message.content": "x" for at in range(1_000)}
    attributes["llm.input_messages." + "0." * 5_000] = "x"
    one = mapped_from(sent_span({"gen_ai.operation.name": "chat"} | attributes))
    assert len(json.loads(one.span.input)["messages"]) == 10


def test_names_of_any_length_are_looked_up_in_bounded_time():
    attributes = {"a." * 500_000: 1, "gen_ai.request." + "b" * 1_000: 2, "langsmith.metadata.": 3}
    one = mapped_from(sent_span(attributes)).span
    assert json.loads(one.model_parameters) == {"b" * 1_000: 2}


def test_lists_of_any_length_are_cut():
    many = ",".join(f"t{at}" for at in range(100_000))
    one = mapped_from(sent_span({"tags": many, "gen_ai.response.finish_reasons": ["stop"] * 5_000}))
    assert len(one.facts.tags) == 100
    assert len(json.loads(one.span.metadata)["finish_reasons"]) == 1_000


def test_json_of_too_many_values_stays_text():
    sent = "[" + "[]," * 200_000 + "1]"
    one = mapped_from(sent_span({"input.value": sent, "output.value": sent[3 * 100_001 :]})).span
    assert json.loads(one.input) == sent
    fewer = "[" + "[]," * 50_000 + "1]"
    assert mapped_from(sent_span({"input.value": fewer})).span.input == fewer.encode()


def test_large_events_are_not_all_shown():
    events = [event("e", START_NS + at, text="x" * 100_000) for at in range(10)]
    otel = json.loads(mapped_from(sent_span(events=events)).span.metadata)["otel"]
    assert len(otel["events"]) == 2
    assert otel["flags"] == ["truncated"]
