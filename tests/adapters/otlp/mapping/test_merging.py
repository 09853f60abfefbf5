"""Fragments of one span: ranks, log records, and independence of their order."""

import json
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.span import SpanKind
from tests.support.builders.otel import (
    END_NS,
    START_NS,
    TRACE,
    event,
    flags,
    input_of,
    mapped_from,
    metadata,
    output_of,
    sent_record,
    sent_span,
)

LLM = {"gen_ai.operation.name": "chat"}
DETAILS = "gen_ai.client.inference.operation.details"
HI = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
YO = [{"role": "assistant", "parts": [{"type": "text", "content": "Yo"}]}]
CLAUDE = "com.anthropic.claude_code.tracing"


def same_in_any_order(*fragments):
    """The row, which must not depend on the order of the fragments or on repetitions."""
    rows = [mapped_from(*one) for one in permutations(fragments)]
    rows.append(mapped_from(*fragments, *fragments))
    assert all(one == rows[0] for one in rows)
    return rows[0]


def test_each_attribute_comes_from_the_highest_rank_that_has_it():
    started = sent_span({"user.id": "started", "session.id": "started", "tags": "started"},
                        end_ns=0)  # fmt: skip
    record = sent_record(DETAILS, {"user.id": "record", "session.id": "record"})
    ended = sent_span({"user.id": "ended"})
    facts = same_in_any_order(started, record, ended).facts
    assert (facts.user_id, facts.session_id, facts.tags) == ("ended", "record", ("started",))
    assert not facts.is_start_only


def test_of_several_ended_spans_the_later_end_comes_first():
    earlier = sent_span({"user.id": "z", "session.id": "s"}, name="z", status_code=2)
    later = sent_span({"user.id": "a"}, name="a", end_ns=END_NS + 1_000, status_code=1)
    one = same_in_any_order(earlier, later)
    assert (one.facts.user_id, one.facts.session_id) == ("a", "s")
    assert (one.span.name, one.span.status) == ("a", "OK")


def test_of_equal_ends_the_greater_by_bytes_comes_first():
    first, second = sent_span({"user.id": "a"}), sent_span({"user.id": "b"})
    assert same_in_any_order(first, second).facts.user_id == "b"


def test_missing_name_is_taken_from_another_fragment():
    one = same_in_any_order(sent_span({}, name=""), sent_span({}, name="known", end_ns=0))
    assert one.span.name == "known"


def test_a_span_is_truncated_if_any_fragment_is():
    started = sent_span({"user.id": "u"}, end_ns=0, is_truncated=True)
    assert flags(same_in_any_order(started, sent_span({}))) == ["truncated"]


def test_started_span_shows_fields_known_so_far():
    one = same_in_any_order(
        sent_span(LLM, end_ns=0), sent_record(DETAILS, {"gen_ai.input.messages": HI})
    )
    assert input_of(one.span)["messages"] == [{"role": "user", "content": "Hi"}]
    assert flags(one) == ["start_only"]


def test_earlier_details_of_a_span_come_first_whatever_else_is_known_of_it():
    events = [event(DETAILS, START_NS + n, **{"user.id": f"u{n}"}) for n in (2, 1)]
    ended = sent_span(events=events)
    assert mapped_from(ended).facts.user_id == "u1"
    assert same_in_any_order(ended, sent_span(end_ns=0)).facts.user_id == "u1"


@pytest.mark.parametrize("digits", ["1.10", "1e2", "1e400"])
def test_record_may_be_json_whose_numbers_have_other_digits_in_python(digits):
    body = f'{{"content": "Yo", "temperature": {digits}}}'
    one = same_in_any_order(sent_span(LLM), sent_record("gen_ai.choice", body=body))
    assert output_of(one.span)["messages"] == [{"role": "assistant", "content": "Yo"}]


def test_identical_fragment_changes_nothing():
    one = sent_span(LLM | {"tags": "a"}, events=[event("e"), event("e")])
    assert mapped_from(one, one, replace(one)) == mapped_from(one)


def test_events_are_united_and_shown_once():
    before, after = event("a", START_NS + 1, k=1), event("b", START_NS + 2, k=2)
    started = sent_span({}, end_ns=0, events=[before])
    ended = sent_span({}, events=[after, before])
    one = same_in_any_order(started, ended)
    assert [shown["name"] for shown in metadata(one)["otel"]["events"]] == ["a", "b"]


def test_resource_and_parent_are_those_of_best_span():
    started = sent_span({}, end_ns=0, resource={"service.name": "a", "service.version": "1"},
                        parent_span_id="2122232425262728")  # fmt: skip
    ended = sent_span({}, resource={"service.name": "b"})
    one = same_in_any_order(started, ended)
    assert (one.facts.service, one.facts.release) == ("b", "1")
    assert one.span.parent_id is None


# --- log records -----------------------------------------------------------------------------


def test_details_of_an_inference_are_a_fragment():
    record = sent_record(
        DETAILS, {"gen_ai.input.messages": HI, "gen_ai.output.messages": YO, "user.id": "u"}
    )
    one = same_in_any_order(sent_span(LLM), record)
    assert input_of(one.span)["messages"] == [{"role": "user", "content": "Hi"}]
    assert output_of(one.span)["messages"] == [{"role": "assistant", "content": "Yo"}]
    assert one.facts.user_id == "u"
    in_body = same_in_any_order(sent_span(LLM), sent_record(DETAILS, body={"user.id": "u"}))
    assert in_body.facts.user_id == "u"
    as_event = same_in_any_order(sent_span(LLM, events=[event(DETAILS, **{"user.id": "u"})]))
    assert as_event.facts.user_id == "u"
    assert "events" not in metadata(as_event)["otel"]


def test_messages_in_records_by_time():
    one = same_in_any_order(
        sent_span(LLM),
        sent_record("gen_ai.user.message", body={"content": "Hi"}, time_ns=START_NS + 2),
        sent_record("gen_ai.system.message", body="Short", time_ns=START_NS + 1),
        sent_record("gen_ai.choice", {"event.name": "gen_ai.choice"},
                    body={"index": 0, "message": {"content": "Yo"}}, time_ns=START_NS + 3),
    )  # fmt: skip
    assert input_of(one.span)["messages"] == [
        {"role": "system", "content": "Short"},
        {"role": "user", "content": "Hi"},
    ]
    assert output_of(one.span)["messages"] == [{"role": "assistant", "content": "Yo"}]


def test_records_of_one_time_are_in_the_order_of_a_conversation():
    names = ["gen_ai.tool.message", "gen_ai.user.message", "gen_ai.system.message"]
    one = same_in_any_order(
        sent_span(LLM), *(sent_record(name, {"content": name, "id": "1"}) for name in names)
    )
    roles = [message["role"] for message in input_of(one.span)["messages"]]
    assert roles == ["system", "user", "tool"]


def test_body_that_repeats_the_name_is_not_content():
    record = sent_record("gen_ai.user.message", {"content": "Hi"}, body="gen_ai.user.message")
    one = same_in_any_order(sent_span(LLM), record)
    assert input_of(one.span)["messages"] == [{"role": "user", "content": "Hi"}]


def test_claude_code_prompt_is_input_of_its_span():
    span = sent_span({"span.type": "interaction"}, scope=CLAUDE)
    one = same_in_any_order(span, sent_record("claude_code.user_prompt", {"prompt": "Fix it"}))
    assert one.span.kind is SpanKind.AGENT
    assert input_of(one.span) == "Fix it"


@pytest.mark.parametrize(
    ("success", "status"), [(False, "ERROR"), ("false", "ERROR"), (True, "OK"), ("true", "OK")]
)
def test_claude_code_tool_result(success, status):
    span = sent_span(
        {"span.type": "tool", "full_command": "ls", "tool_name": "Bash", "tool_use_id": "t-1"},
        scope=CLAUDE,
        status_code=1,
    )
    sent = {"tool_input": '{"command": "ls"}', "success": success, "user.id": "hash"}
    one = same_in_any_order(span, sent_record("claude_code.tool_result", sent))
    assert input_of(one.span) == {"command": "ls"}
    assert one.span.status == status
    assert metadata(one)["tool"] == {"name": "Bash", "call_id": "t-1"}
    assert one.facts.tool_use_id == "t-1"
    assert one.facts.user_id is None
    failed = same_in_any_order(span, sent_record("claude_code.tool_result", sent | {"error": "no"}))
    bare = sent_span({"span.type": "tool", "tool_use_id": "t-1"}, scope=CLAUDE)
    record = sent_record("claude_code.tool_result", {"tool_name": "Read", "success": True})
    assert metadata(same_in_any_order(bare, record))["tool"]["name"] == "Read"
    assert failed.span.error == "no"


def test_cost_and_answer_of_a_request_of_claude_code():
    span = sent_span(
        {"span.type": "llm_request", "model": "claude-sonnet-4-5", "input_tokens": 5,
         "cache_read_tokens": 10, "output_tokens": 3, "ttft_ms": 250, "stop_reason": "tool_use"},
        scope=CLAUDE,
    )  # fmt: skip
    one = same_in_any_order(
        span,
        sent_record("claude_code.api_request", {"cost_usd": "0.0123", "model": "other"}),
        sent_record("claude_code.assistant_response", {"response": "Done"}),
    )
    assert one.span.cost == {"total": 0.0123}
    assert one.facts.has_stated_cost
    assert one.facts.has_assistant_message
    assert output_of(one.span) == {"messages": [{"role": "assistant", "content": "Done"}]}
    assert (one.span.usage.prompt_tokens, one.span.usage.completion_tokens) == (15, 3)
    assert one.span.time_to_first_token_ms == 250
    assert metadata(one)["finish_reasons"] == ["tool_calls"]
    assert one.span.model == "claude-sonnet-4-5"


def test_last_claude_code_answer_is_text_of_interaction():
    span = sent_span({"span.type": "interaction"}, scope=CLAUDE)
    records = [
        sent_record("claude_code.assistant_response", {"response": text}, time_ns=START_NS + at)
        for at, text in enumerate(["First", "Last"])
    ]
    assert output_of(same_in_any_order(span, *records).span) == "Last"


def test_other_records_change_nothing():
    span = sent_span(LLM)
    for name in ("gen_ai.evaluation.result", "claude_code.unknown", "app.event"):
        record = sent_record(name, {"user.id": "u", "gen_ai.request.model": "m"}, body="text")
        assert mapped_from(span, record) == mapped_from(span)


# --- properties ------------------------------------------------------------------------------

KEYS = [
    "gen_ai.operation.name", "gen_ai.input.messages", "gen_ai.output.messages", "user.id",
    "gen_ai.usage.input_tokens", "gen_ai.request.temperature", "gen_ai.request.top_p", "tags",
    "langsmith.metadata.a", "langsmith.metadata.b", "llm.input_messages.0.message.content",
    "llm.input_messages.1.message.role", "metadata", "input.value", "error.type", "session.id",
]  # fmt: skip
VALUES = st.sampled_from(
    ["chat", "execute_tool", "", "7", 7, 1.5, True, HI, json.dumps(YO), ["a", "b"],
     {"b": 1, "a": [2]}, '{"b": 1, "a": 2}', {}]
)  # fmt: skip
ATTRIBUTES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
EVENTS = st.lists(
    st.builds(
        lambda name, at, attributes: event(name, START_NS + at, **attributes),
        st.sampled_from(["gen_ai.user.message", "gen_ai.choice", "exception", "app"]),
        st.integers(0, 2),
        st.dictionaries(st.sampled_from(["content", "message", "exception.type"]), VALUES),
    ),
    max_size=3,
)
SPANS = st.builds(
    lambda attributes, events, end, name: sent_span(
        attributes, events=events, end_ns=end and START_NS + end, name=name
    ),
    ATTRIBUTES,
    EVENTS,
    st.sampled_from([0, 0, 1_000, 2_000]),
    st.sampled_from(["", "a", "b"]),
)
RECORDS = st.builds(
    lambda name, attributes, at, body: sent_record(
        name, attributes, time_ns=START_NS + at, body=body
    ),
    st.sampled_from([DETAILS, "gen_ai.user.message", "gen_ai.choice", "claude_code.tool_result"]),
    ATTRIBUTES,
    st.integers(0, 2),
    VALUES | st.none(),
)


@given(SPANS, st.lists(SPANS | RECORDS, max_size=4), st.randoms(use_true_random=False))
def test_merge_is_independent_of_order_and_repetition(span, others, random):
    fragments = [span, *others]
    shuffled = [*fragments, *random.choices(fragments, k=2)]
    random.shuffle(shuffled)
    assert mapped_from(*shuffled) == mapped_from(*fragments)


def with_sorted_keys(one):
    """As fragments come back from the store, where the keys of all maps are sorted."""
    if isinstance(one, dict):
        return {key: with_sorted_keys(one[key]) for key in sorted(one)}
    return [with_sorted_keys(item) for item in one] if isinstance(one, list) else one


@given(SPANS, st.lists(SPANS | RECORDS, max_size=3))
def test_merge_is_independent_of_key_order(span, others):
    fragments = [span, *others]
    stored = [
        replace(
            one,
            attributes=with_sorted_keys(one.attributes),
            **(
                {"body": with_sorted_keys(one.body)}
                if hasattr(one, "body")
                else {
                    "events": [
                        replace(event, attributes=with_sorted_keys(event.attributes))
                        for event in one.events
                    ]
                }
            ),
        )
        for one in fragments
    ]
    assert mapped_from(*stored) == mapped_from(*fragments)
    assert mapped_from(*fragments).facts.won_keys == mapped_from(*stored).facts.won_keys
    assert TRACE
