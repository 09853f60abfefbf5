"""Metadata: the sender's members, the reserved ones, and the envelope in `otel`."""

import json

import pytest

from domain.evaluation.trace_content.tool_calls import declared_tools
from domain.tracing.otel.fragments import Scope, SentLink
from domain.tracing.payloads.json_scan import check_size
from domain.tracing.payloads.payload import OBJECT_VALUES_MAX, merged_objects
from tests.support.builders.otel import (
    END_NS,
    HEX_ID,
    START_NS,
    event,
    flags,
    mapped,
    metadata,
)

TOOL = {"gen_ai.operation.name": "execute_tool"}


def senders(one):
    reserved = {"otel", "tool", "tools", "agent", "prompt", "finish_reasons"}
    return {key: value for key, value in metadata(one).items() if key not in reserved}


@pytest.mark.parametrize(
    "attributes",
    [
        {"metadata": '{"k": {"a": 1.10}}'},
        {"metadata": {"k": {"a": 1.1}}},
        {"langfuse.trace.metadata.k": '{"a": 1.10}'},
        {"langfuse.observation.metadata.k": '{"a": 1.10}'},
        {"traceloop.association.properties.k": '{"a": 1.10}'},
        {"ai.telemetry.metadata.k": {"a": 1.1}},
        {"ai.settings.context.k": {"a": 1.1}},
        {"langsmith.metadata.k": '{"a": 1.10}'},
    ],
)
def test_members_of_each_source(attributes):
    assert senders(mapped(attributes)) == {"k": {"a": 1.1}}
    assert list(mapped(attributes).facts.sender_metadata) == ["k"]


def test_members_of_all_sources_are_merged_and_the_first_source_wins():
    one = mapped(
        {
            "langsmith.metadata.a": "langsmith",
            "langsmith.metadata.b": "langsmith",
            "ai.telemetry.metadata.b": "vercel",
            "metadata": '{"a": "first"}',
        }
    )
    assert senders(one) == {"a": "first", "b": "vercel"}


def test_digits_stay_as_sent():
    one = mapped({"metadata": '{"n": 12345678901234567890, "f": 1.0}', "user.id": "u"})
    assert b'"n":12345678901234567890' in one.span.metadata
    assert b'"f":1.0' in one.span.metadata


def test_variables_of_the_environment_and_usage_are_left_out():
    sent = {
        "langsmith.metadata.LANGSMITH_ENDPOINT": "http://127.0.0.1",
        "langsmith.metadata.LANGCHAIN_PROJECT": "p",
        "langsmith.metadata.usage_metadata": '{"input_tokens": 1}',
        "langsmith.metadata.LANGUAGE": "en",
    }
    assert senders(mapped(sent)) == {"LANGUAGE": "en"}


@pytest.mark.parametrize("key", ["otel", "tool", "tools", "agent", "prompt", "finish_reasons"])
def test_reserved_members_are_not_the_senders(key):
    one = mapped({"metadata": json.dumps({key: "mine", "k": 1})})
    assert senders(one) == {"k": 1}
    assert metadata(one).get(key) != "mine"
    assert list(one.facts.sender_metadata) == ["k"]


@pytest.mark.parametrize("sent", ["text", "[1]", 5, '{"broken'])
def test_metadata_that_is_not_an_object_is_skipped(sent):
    assert senders(mapped({"metadata": sent})) == {}


@pytest.mark.parametrize(
    "key",
    ["gen_ai.tool.name", "tool.name", "ai.toolCall.name", "traceloop.entity.name",
     "mlflow.spanFunctionName"],
)  # fmt: skip
def test_tool_name(key):
    assert metadata(mapped(TOOL | {key: "f"}))["tool"] == {"name": "f"}
    assert metadata(mapped(TOOL, name="own"))["tool"] == {"name": "own"}
    assert "tool" not in metadata(mapped({"gen_ai.operation.name": "chain", key: "f"}))


def test_tool_metadata():
    one = mapped(
        TOOL
        | {
            "gen_ai.tool.name": "f",
            "gen_ai.tool.call.id": "call_1",
            "gen_ai.tool.type": "function",
            "gen_ai.tool.description": "finds",
            "tool.parameters": '{"type": "object"}',
        }
    )
    assert metadata(one)["tool"] == {
        "name": "f",
        "call_id": "call_1",
        "type": "function",
        "description": "finds",
        "json_schema": {"type": "object"},
    }
    assert one.span.input is None
    assert one.facts.tool_use_id == "call_1"


@pytest.mark.parametrize(
    ("key", "member"),
    [("ai.toolCall.id", "call_id"), ("tool.description", "description"), ("tool_use_id", "call_id"),
     ("gen_ai.tool.json_schema", "json_schema")],
)  # fmt: skip
def test_other_names_of_what_is_known_of_a_tool(key, member):
    assert metadata(mapped(TOOL | {key: "x"}))["tool"][member] == "x"


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.tool.definitions": '[{"name": "f"}]'},
        {"gen_ai.tool.definitions": [{"name": "f"}]},
        {"gen_ai.tool.definitions": ['{"name": "f"}']},
        {"llm.tools.0.tool.json_schema": '{"name": "f"}'},
        {"llm.request.functions.0.name": "f"},
        {"mlflow.chat.tools": '[{"name": "f"}]'},
        {"ai.prompt.tools": ['{"name": "f"}']},
    ],
)
def test_tools_that_were_offered(attributes):
    assert metadata(mapped(attributes))["tools"] == [{"name": "f"}]


def test_names_of_strands_tools_are_declared_unless_definitions_are():
    names = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.tools": '["f", "g"]'}
    assert metadata(mapped(names))["tools"] == ["f", "g"]
    assert list(declared_tools([mapped(names).span])) == ["f", "g"]
    described = names | {"gen_ai.tool.definitions": '[{"name": "f"}]'}
    assert metadata(mapped(described))["tools"] == [{"name": "f"}]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.response.finish_reasons": ["stop", "tool_call"]}, ["stop", "tool_calls"]),
        ({"gen_ai.response.finish_reasons": '["tool-calls"]'}, ["tool_calls"]),
        ({"llm.finish_reason": "tool_use"}, ["tool_calls"]),
        ({"ai.response.finishReason": "tool-calls"}, ["tool_calls"]),
        ({"stop_reason": "end_turn"}, ["end_turn"]),
        ({"gen_ai.response.finish_reasons": [], "stop_reason": "x"}, ["x"]),
        ({"gen_ai.response.finish_reasons": 5}, None),
    ],
)
def test_finish_reasons(attributes, expected):
    assert metadata(mapped(attributes)).get("finish_reasons") == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.agent.name": "a", "gen_ai.agent.id": "1"}, {"id": "1", "name": "a"}),
        ({"agent.name": "a"}, {"name": "a"}),
        ({"agent.name": "b", "gen_ai.agent.name": "a"}, {"name": "a"}),
        ({"gen_ai.workflow.name": "w"}, {"workflow_name": "w"}),
        ({"traceloop.workflow.name": "w"}, {"workflow_name": "w"}),
        ({"traceloop.entity.name": "e", "traceloop.entity.path": "a.b"},
         {"entity_name": "e", "entity_path": "a.b"}),
        ({"graph.node.id": "n", "graph.node.name": "N", "graph.node.parent_id": "p"},
         {"node_id": "n", "node_name": "N", "parent_node_id": "p"}),
    ],
)  # fmt: skip
def test_agent_metadata(attributes, expected):
    assert metadata(mapped(attributes))["agent"] == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"langfuse.observation.prompt.name": "p", "langfuse.observation.prompt.version": 3},
         {"name": "p", "version": 3}),
        ({"gen_ai.prompt.name": "p", "gen_ai.prompt.version": "3"}, {"name": "p", "version": "3"}),
        ({"gen_ai.prompt.variable.city": "Paris"}, {"variables": {"city": "Paris"}}),
        ({"llm.prompt_template.template": "Hi {x}", "llm.prompt_template.variables": '{"x": 1}'},
         {"template": "Hi {x}", "variables": {"x": 1}}),
    ],
)  # fmt: skip
def test_prompt_metadata(attributes, expected):
    assert metadata(mapped(attributes))["prompt"] == expected
    assert mapped(attributes | {"gen_ai.operation.name": "chat"}).span.input is None


def test_envelope_metadata():
    one = mapped(
        {"gen_ai.request.model": "gpt-4o", "gen_ai.response.id": "r-1"},
        parent_span_id="2122232425262728",
        kind=3,
        trace_state="a=1",
        scope=Scope("lib", "1.0", "https://example.com/schema"),
        resource={"service.name": "shop", "k8s.pod.name": "p"},
        dropped={"events": 2},
        links=[SentLink("0" * 31 + "1", "0" * 15 + "2", "b=2", {"k": 1})],
        events=[event("cache.miss", START_NS + 1, key="k"), event("gen_ai.user.message")],
    )
    assert metadata(one)["otel"] == {
        "span_id": HEX_ID,
        "parent_span_id": "2122232425262728",
        "start_time_unix_nano": str(START_NS),
        "end_time_unix_nano": str(END_NS),
        "kind": "CLIENT",
        "scope": {"name": "lib", "version": "1.0", "schema_url": "https://example.com/schema"},
        "resource": {"service.name": "shop", "k8s.pod.name": "p"},
        "trace_state": "a=1",
        "links": [
            {
                "trace_id": "0" * 31 + "1",
                "span_id": "0" * 15 + "2",
                "trace_state": "b=2",
                "attributes": {"k": 1},
            }
        ],
        "events": [
            {
                "name": "cache.miss",
                "time_unix_nano": str(START_NS + 1),
                "attributes": {"key": "k"},
            }
        ],
        "dropped": {"events": 2},
        "request_model": "gpt-4o",
        "response_id": "r-1",
    }


def test_members_of_the_envelope_without_a_value_are_left_out():
    assert metadata(mapped({}, end_ns=0))["otel"] == {
        "span_id": HEX_ID,
        "start_time_unix_nano": str(START_NS),
        "kind": "UNSPECIFIED",
        "flags": ["start_only"],
    }


def test_unknown_envelope_kind_is_its_number():
    assert metadata(mapped({}, kind=9))["otel"]["kind"] == 9


def test_truncated_fragment_is_flagged():
    assert flags(mapped({}, is_truncated=True)) == ["truncated"]


def test_metadata_can_be_searched_in_postgres():
    one = mapped(
        {"metadata": '{"a": "x\\u0000y", "b\\u0000": "\\\\u0000", "c": "\\ud83c"}'},
        events=[event("e", START_NS, key="x\x00y")],
    )
    assert one.facts.sender_metadata == {
        "a": '"x\ufffdy"',
        "b\ufffd": '"\\\\u0000"',
        "c": '"\ufffd"',
    }
    assert metadata(one)["otel"]["events"][0]["attributes"] == {"key": "x\ufffdy"}


def test_metadata_is_bounded():
    many = {f"langsmith.metadata.k{at}": "[1,2,3]" for at in range(OBJECT_VALUES_MAX // 2)}
    events = [event("e", START_NS + at, key="k") for at in range(OBJECT_VALUES_MAX)]
    for attributes, given in ((many, ()), ({}, events), (many, events), (many | TOOL, events)):
        one = mapped(attributes, events=given)
        check_size(one.span.metadata, 500, OBJECT_VALUES_MAX)
        merged_objects(one.span.metadata, b'{"more": 1}')
        assert metadata(one)["otel"]["span_id"] == HEX_ID
    assert "truncated" in flags(mapped(many))
    assert len(metadata(mapped({}, events=events))["otel"]["events"]) == 128
