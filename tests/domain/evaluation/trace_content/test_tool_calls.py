"""Tool calls, declared tools, finish reasons."""

import json

import pytest

from domain.evaluation.trace_content.tool_calls import (
    ToolCall,
    declared_tools,
    finish_reasons,
    is_cut_off,
    is_length_limited,
    named_arguments,
    tool_name,
)
from domain.tracing.span import SpanKind, SpanStatus
from tests.support.builders.evaluated_traces import json_payload, model, offering, tool
from tests.support.builders.values import span

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}


@pytest.mark.parametrize(
    "given_",
    [
        {"q": 1},
        {"arguments": {"q": 1}},
        {"args": {"q": 1}},
        {"input": '{"q": 1}'},
        {"parameters": {"q": 1}},
        '{"q":1}',
        '{"arguments": {"q": 1}}',
    ],
)
def test_arguments_are_unwrapped_and_parsed(given_):
    call = ToolCall.from_span(tool("f", given_))
    assert call.arguments == {"q": 1}
    assert call.request_key == ("f", '{"q":1}')


@pytest.mark.parametrize(
    ("given_", "arguments"),
    [
        ({"args": {"args": {"q": 1}}}, {"args": {"q": 1}}),
        ({"args": 1, "q": 2}, {"args": 1, "q": 2}),
        ('{"args": "{\\"q\\": 1}"}', '{"q": 1}'),
        ("2024", "2024"),
        (None, None),
    ],
)
def test_arguments_are_unwrapped_and_parsed_only_once(given_, arguments):
    assert ToolCall.from_span(tool("f", given_)).arguments == arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"q": 1}, {"q": 1}),
        ("{'q': 1, 'all': None, 'text': 'it\\'s'}", {"q": 1, "all": None, "text": "it's"}),
        ({"args": [], "sanitize_inputs_outputs": True, "kwargs": {"q": 1}}, {"q": 1}),
        ({"kwargs": {"q": 1}}, {"q": 1}),
        ({"args": ["Lisbon"], "kwargs": {}}, None),
        ("Lisbon", None),
        (None, None),
        *((text, text) for text in ('{"q": 1', "{1: 2}", "{'q'}", "{[]: 1}", "{x()}")),
        ('{"q": "\\d"}', '{"q": "\\d"}'),
        *((text, text) for text in ("{'q': '" + "x" * 10_000 + "'}", "{" * 9_000)),
        ({"kwargs": {"q": 1}, "z": 1}, {"kwargs": {"q": 1}, "z": 1}),
        ({"kwargs": "x"}, {"kwargs": "x"}),
    ],
)  # fmt: skip
def test_arguments_by_their_names(arguments, named):
    assert named_arguments(arguments) == named


LANGCHAIN_MESSAGE = {"type": "tool", "content": "no", "tool_call_id": "1"}
FAILED_MESSAGE = LANGCHAIN_MESSAGE | {"status": "error"}
GENAI_RESPONSE = {"role": "tool"}


def response(got: object) -> dict[str, object]:
    return {"type": "tool_call_response", "response": got}


@pytest.mark.parametrize(
    ("more", "failed"),
    [
        *(({"got": got}, True) for got in ({"isError": True}, {"is_error": True}, {"error": "x"})),
        *(({"got": got}, True) for got in ({"error": True}, {"status": 400}, {"statusCode": 503})),
        *(({"got": {"error": one}}, True) for one in ({"code": 0}, ["x"], 1)),
        *(({"got": {"error": one}}, False) for one in (False, "", " ", {}, [], [None], 0)),
        *(({"got": {"status_code": 404.0}}, True), ({"error": "x"}, True)),
        ({"status": SpanStatus.ERROR}, True),
        *(({"got": json.dumps(one)}, True) for one in ({"is_error": True}, {"error": "x"})),
        *(({"got": json.dumps(one)}, True) for one in ({"isError": True}, {"statusCode": 400})),
        *(({"got": text}, False) for text in ('{"error": null}', '[{"error": "x"}]', '{"error": ')),
        ({"got": [GENAI_RESPONSE | {"parts": [response({"error": "x"})]}]}, True),
        ({"got": [GENAI_RESPONSE | {"parts": [response({"error": ""})]}]}, False),
        ({"got": LANGCHAIN_MESSAGE | {"content": '{"error": "x"}'}}, True),
        *(({"got": one}, True) for one in (FAILED_MESSAGE, {"output": FAILED_MESSAGE})),
        ({"got": {"lc": 1, "id": ["ToolMessage"], "kwargs": FAILED_MESSAGE}}, True),
        ({"got": LANGCHAIN_MESSAGE | {"status": "success"}}, False),
        ({"got": {"status": "error", "content": "a log line"}}, False),
        *(({"got": got}, False) for got in (None, "error", ["error"], {"isError": "true"})),
        *(({"got": got}, False) for got in ({"error": None}, {"status": 399}, {"status": "500"})),
        *(({"got": got}, False) for got in ({"status": True}, {"data": {"error": "x"}})),
        *(({"status": SpanStatus.OK}, False), ({"error": ""}, False)),
    ],
)
def test_has_failed(more, failed):
    assert ToolCall.from_span(tool("f", {}, **more)).has_failed is failed


def test_output_of_a_framework_message_is_its_content():
    def call(message_id, content="ok"):
        message = {"type": "tool", "content": content, "tool_call_id": message_id}
        return ToolCall.from_span(tool("f", {"a": 1}, {"output": message, "kwargs": {}}))

    assert call("1").output == "ok"
    assert call("1").exchange_key == call("2").exchange_key != call("2", "no").exchange_key


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"tool": {"name": "g"}}, "g"),
        *(
            (one, "f")
            for one in ({}, {"tool": "g"}, {"tool": {"name": " "}}, {"tool": {"name": 3}})
        ),
        ({"x": {"tool": {"name": "g"}}}, "f"),
    ],
)
def test_name_of_the_tool(metadata, name):
    call = ToolCall.from_span(tool("f", {}, metadata=metadata))
    assert call.name == name
    assert call.request_key == (name, "{}")


def test_exchange_key_covers_request_and_output():
    one = ToolCall.from_span(tool("f", {"a": 1, "b": 2}, {"x": 1, "y": 2}))
    same = ToolCall.from_span(tool("f", {"b": 2, "a": 1}, {"y": 2, "x": 1}))
    assert one.exchange_key == same.exchange_key
    assert one.request_key == ToolCall.from_span(tool("f", {"a": 1, "b": 2}, "other")).request_key
    others = [tool("g", {"a": 1, "b": 2}, {"x": 1, "y": 2}), tool("f", {"a": 1}, {"x": 1, "y": 2})]
    assert one.exchange_key not in {ToolCall.from_span(other).exchange_key for other in others}


@pytest.mark.parametrize(
    "declared",
    [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}},
        {"name": "f", "description": "d", "input_schema": SCHEMA},
        {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA},
        {"functionDeclarations": [{"name": "f", "description": "d", "parameters": SCHEMA}]},
        json.dumps({"name": "f", "description": "d", "input_schema": SCHEMA}),
        {"name": "f", "description": "d", "input_schema": json.dumps(SCHEMA)},
        {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}},
    ],
)
def test_declared_tool_formats(declared):
    for one in (offering(declared), model(model_parameters={"tools": [declared]})):
        found = declared_tools([one])
        assert list(found) == ["f"]
        assert (found["f"].description, found["f"].schema) == ("d", SCHEMA)


def test_declared_tool_precedence():
    both = model(
        metadata={"tools": [{"name": "a"}]}, model_parameters={"tools": [{"name": "never"}]}
    )
    later = offering({"name": "b"}, {"name": "a", "description": "again"})
    found = declared_tools([both, both, later])
    assert list(found) == ["a", "b"]
    assert found["a"].description == ""


def test_agents_and_traces_declare_tools():
    agent = span(kind=SpanKind.AGENT, metadata=json_payload({"tools": ["a", "b"]}))
    described = offering({"name": "b", "description": "d"})
    found = declared_tools([agent, described], json_payload({"tools": [{"name": "c"}, "b"]}))
    assert list(found) == ["a", "b", "c"]
    assert found["b"].description == "d"
    bedrock = {"toolConfig": {"tools": [{"toolSpec": {"name": "a"}}]}}
    assert list(declared_tools([model(model_parameters=bedrock)])) == ["a"]


@pytest.mark.parametrize("declared", [None, 3, " ", {}, {"name": 3}, {"name": ""}, [], {"a": []}])
def test_payloads_without_declared_tools(declared):
    assert declared_tools([offering(declared), tool(metadata={"tools": [{"name": "f"}]})]) == {}


@pytest.mark.parametrize(
    ("span", "reasons"),
    [
        (model(metadata={"finish_reasons": ["stop", "length"]}), ["stop", "length"]),
        (model(metadata={"finish_reasons": "stop"}, got={"stop_reason": "x"}), ["stop"]),
        (model(metadata={"finish_reasons": []}, got={"stop_reason": "x"}), ["x"]),
        (model({"finish_reason": "stop"}), ["stop"]),
        (model({"choices": [{"finish_reason": "length"}, {"finish_reason": "x"}]}), ["length"]),
        (model({"candidates": [{"finishReason": "MAX_TOKENS"}]}), ["MAX_TOKENS"]),
        (model({"messages": [{"role": "assistant", "stop_reason": "tool_use"}]}), ["tool_use"]),
        (model({"messages": [{"response_metadata": {"finish_reason": "stop"}}]}), ["stop"]),
        *((model(got), []) for got in (None, {"messages": []}, {"messages": ["x"]})),
        *((model(got), []) for got in (None, "stop", {"choices": []}, {"finish_reason": None})),
    ],
)
def test_finish_reasons(span, reasons):
    assert list(finish_reasons(span)) == reasons


@pytest.mark.parametrize(
    ("fields", "is_cut"),
    [
        ({}, None),
        ({"model_parameters": {"max_tokens": 9}}, None),
        ({"token_usage": {"completion_tokens": 9}}, None),
        ({"model_parameters": {"max_tokens": 9}, "token_usage": {"completion_tokens": 9}}, True),
        ({"model_parameters": {"maxTokens": 9}, "token_usage": {"completion_tokens": 8}}, False),
        ({"model_parameters": {"max_tokens": True}, "token_usage": {"completion_tokens": 9}}, None),
        (
            {
                "metadata": {"finish_reasons": ["stop"]},
                "model_parameters": {"max_tokens": 9},
                "token_usage": {"completion_tokens": 9},
            },
            False,
        ),
    ],
)
def test_cut_answers_are_known_by_reason_or_by_usage(fields, is_cut):
    assert is_cut_off(model("x", **fields)) is is_cut


def test_name_of_a_call_of_the_responses_api():
    assert tool_name(tool("function_call:get_weather")) == "get_weather"
    assert tool_name(tool("function_call:")) == "function_call:"


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens"])
def test_length_limit_reasons(reason):
    assert is_length_limited(["stop", reason])
    assert not is_length_limited(["stop", "content_filter", "tool_calls", "end_turn"])


def test_test_payloads_round_trip():
    assert json.loads(json_payload({"a": 1}) or b"") == {"a": 1}
