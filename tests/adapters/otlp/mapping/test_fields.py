"""The fields of a span, a row for each attribute that may give one."""

import json
from itertools import pairwise

import pytest

from adapters.otlp.mapping.rules import MAPPING_VERSION, RULES
from tests.support.builders.otel import (
    END_NS,
    START_NS,
    TRACE,
    event,
    flags,
    input_of,
    mapped,
    metadata,
    output_of,
    sent_span,
    value,
)

LLM = {"gen_ai.operation.name": "chat"}
TOOL = {"gen_ai.operation.name": "execute_tool"}
CHAIN = {"gen_ai.operation.name": "chain"}
EMBEDDING = {"gen_ai.operation.name": "embeddings"}

HI = {"messages": [{"role": "user", "content": "Hi"}]}
YO = {"messages": [{"role": "assistant", "content": "Yo"}]}
HI_JSON = '[{"role": "user", "content": "Hi"}]'
YO_JSON = '[{"role": "assistant", "content": "Yo"}]'


# --- input and output ------------------------------------------------------------------------

MESSAGES_IN = [
    {"gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]'},
    {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "Hi"},
    {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Hi"},
    {"ai.prompt.messages": '[{"role":"user","content":[{"type":"text","text":"Hi"}]}]'},
    {"ai.prompt": '{"messages":[{"role":"user","content":"Hi"}]}'},
]
MESSAGES_OUT = [
    {"gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"Yo"}]}]'},
    {
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "Yo",
    },
    {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Yo"},
    {"ai.response.text": "Yo"},
]
GENERIC_IN = [
    "input.value",
    "gen_ai.prompt",
    "traceloop.entity.input",
    "gen_ai.task.input",
    "mlflow.spanInputs",
    "gcp.vertex.agent.llm_request",
]
GENERIC_OUT = [
    "output.value",
    "gen_ai.completion",
    "traceloop.entity.output",
    "gen_ai.task.output",
    "mlflow.spanOutputs",
]


@pytest.mark.parametrize("attributes", MESSAGES_IN)
@pytest.mark.parametrize("kind", [LLM, CHAIN, EMBEDDING])
def test_messages_to_a_model(attributes, kind):
    assert input_of(mapped(kind | attributes).span) == HI


@pytest.mark.parametrize("attributes", MESSAGES_OUT)
@pytest.mark.parametrize("kind", [LLM, CHAIN, EMBEDDING])
def test_answers_of_a_model(attributes, kind):
    assert output_of(mapped(kind | attributes).span) == YO


@pytest.mark.parametrize("attributes", [*MESSAGES_IN[:1], *MESSAGES_IN[3:]])
def test_messages_as_structures_are_taken_alike(attributes):
    structured = {key: json.loads(one) for key, one in attributes.items()}
    assert mapped(LLM | structured).span.input == mapped(LLM | attributes).span.input


@pytest.mark.parametrize("key", GENERIC_IN)
@pytest.mark.parametrize("kind", [LLM, TOOL, CHAIN, EMBEDDING])
def test_generic_inputs(key, kind):
    assert input_of(mapped(kind | {key: "text"}).span) == "text"
    assert mapped(kind | {key: '{"b": 1.10,  "a": 12345678901234567890}'}).span.input == (
        b'{"b": 1.10,  "a": 12345678901234567890}'
    )
    assert input_of(mapped(kind | {key: {"b": [1, 2.5, None, True]}}).span) == {
        "b": [1, 2.5, None, True]
    }
    expected = json.loads(HI_JSON) if kind is TOOL else HI
    assert input_of(mapped(kind | {key: HI_JSON}).span) == expected


@pytest.mark.parametrize("key", GENERIC_OUT)
@pytest.mark.parametrize("kind", [LLM, TOOL, CHAIN, EMBEDDING])
def test_generic_outputs(key, kind):
    assert output_of(mapped(kind | {key: "text"}).span) == "text"
    assert mapped(kind | {key: '{"a": 1.0}'}).span.output == b'{"a": 1.0}'
    expected = json.loads(YO_JSON) if kind is TOOL else YO
    assert output_of(mapped(kind | {key: YO_JSON}).span) == expected


@pytest.mark.parametrize("kind", [LLM, TOOL, CHAIN])
def test_langfuse_attributes_come_first(kind):
    sent = {
        **MESSAGES_IN[0],
        **MESSAGES_OUT[0],
        "input.value": "other",
        "output.value": "other",
        "gen_ai.tool.call.arguments": "other",
        "gen_ai.tool.call.result": "other",
        "langfuse.observation.input": '{"q": 1.0}',
        "langfuse.observation.output": "answer",
    }
    one = mapped(kind | sent).span
    assert (one.input, one.output) == (b'{"q": 1.0}', b'"answer"')
    assert one.kind == mapped(kind).span.kind


def test_langfuse_values_that_are_nothing_but_messages_are_rewritten():
    one = mapped({"langfuse.observation.type": "generation", "langfuse.observation.input": HI_JSON})
    assert input_of(one.span) == HI


@pytest.mark.parametrize(
    "key",
    [
        "gen_ai.tool.call.arguments",
        "tool_arguments",
        "ai.toolCall.args",
        "tool_input",
        "full_command",
        "gcp.vertex.agent.tool_call_args",
    ],
)
def test_arguments_of_tools(key):
    assert input_of(mapped(TOOL | {key: '{"city": "Paris"}', "input.value": "x"}).span) == {
        "city": "Paris"
    }
    assert input_of(mapped(TOOL | {key: {"city": "Paris"}}).span) == {"city": "Paris"}
    assert mapped(CHAIN | {key: "x"}).span.input is None


@pytest.mark.parametrize("key", ["gen_ai.tool.call.result", "tool_response", "ai.toolCall.result"])
def test_results_of_tools(key):
    assert output_of(mapped(TOOL | {key: "sunny", "output.value": "x"}).span) == "sunny"
    assert output_of(mapped(TOOL | {key: '"sunny"'}).span) == "sunny"
    assert mapped(CHAIN | {key: "x"}).span.output is None


@pytest.mark.parametrize("sent", ["{}", "[]"])
def test_tool_without_arguments_has_empty_object_as_input(sent):
    assert mapped(TOOL | {"gen_ai.tool.call.arguments": sent}).span.input == sent.encode()
    others = {"gen_ai.tool.call.arguments": sent, "input.value": "x"}
    assert input_of(mapped(TOOL | others).span) == "x"
    assert mapped(CHAIN | {"input.value": sent}).span.input is None


def test_events_of_tools():
    one = mapped(
        TOOL,
        events=[
            event("gen_ai.tool.message", content='{"city": "Paris"}', role="tool", id="1"),
            event("tool.output", START_NS + 1, output="sunny"),
            event("gen_ai.choice", START_NS + 2, message="other", id="1"),
        ],
    ).span
    assert (input_of(one), output_of(one)) == ({"city": "Paris"}, "sunny")
    choice = event("gen_ai.choice", START_NS, message='[{"text": "sunny"}]', id="1")
    assert output_of(mapped(TOOL, events=[choice]).span) == [{"text": "sunny"}]


def test_messages_on_a_tool_stay_as_they_were_sent():
    one = mapped(TOOL | MESSAGES_IN[0] | MESSAGES_OUT[0]).span
    assert input_of(one) == json.loads(MESSAGES_IN[0]["gen_ai.input.messages"])
    assert output_of(one) == json.loads(MESSAGES_OUT[0]["gen_ai.output.messages"])
    indexed = mapped(TOOL | MESSAGES_IN[1] | MESSAGES_OUT[1]).span
    assert input_of(indexed) == [{"message": {"role": "user", "content": "Hi"}}]
    events = [event("gen_ai.user.message", content="Hi")]
    assert input_of(mapped(TOOL, events=events).span) == [{"content": "Hi"}]


def test_langchain_tool_message_is_its_content():
    sent = {"output": {"content": "sunny, 21", "type": "tool", "tool_call_id": "1", "name": "f"}}
    assert output_of(mapped(TOOL | {"gen_ai.completion": json.dumps(sent)}).span) == "sunny, 21"
    built = {"lc": 1, "type": "constructor", "id": ["langchain", "ToolMessage"],
             "kwargs": {"content": "sunny", "type": "tool", "tool_call_id": "1"}}  # fmt: skip
    assert output_of(mapped(TOOL | {"output.value": json.dumps(built)}).span) == "sunny"


@pytest.mark.parametrize("wrapper", ["inputs", "outputs", "output"])
def test_wrapped_values(wrapper):
    others = '"tags": ["a"], "metadata": {}, "kwargs": {}, "input_str": "x"'
    sent = f'{{"{wrapper}": {{"city":  "Paris", "n": 1.10}}, {others}}}'
    assert mapped(TOOL | {"gen_ai.tool.call.arguments": sent}).span.input == (
        b'{"city":  "Paris", "n": 1.10}'
    )
    assert mapped(CHAIN | {"traceloop.entity.input": json.loads(sent)}).span.input == (
        b'{"city":"Paris","n":1.1}'
    )
    more = f'{{"{wrapper}": 1, "more": 2}}'
    assert mapped(CHAIN | {"input.value": more}).span.input == more.encode()
    messages = f'{{"{wrapper}": {{"messages": {HI_JSON}}}, "tags": []}}'
    assert input_of(mapped(CHAIN | {"input.value": messages}).span) == HI


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.retrieval.query.text": "q", "input.value": "x"}, "q"),
        ({"user_prompt": "Hi", "input.value": "x"}, "Hi"),
        ({"ai.value": '"a cat"'}, "a cat"),
        ({"ai.values": ['"a cat"', '"a dog"']}, ["a cat", "a dog"]),
        ({"embedding.embeddings.1.embedding.text": "b",
          "embedding.embeddings.0.embedding.text": "a",
          "embedding.embeddings.0.embedding.vector": [0.1]}, ["a", "b"]),
        ({"input.value": "x", "ai.value": "y"}, "x"),
    ],
)  # fmt: skip
def test_inputs_of_other_kinds(attributes, expected):
    assert input_of(mapped(EMBEDDING | attributes).span) == expected
    assert input_of(mapped(CHAIN | attributes).span) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"retrieval.documents.0.document.content": "a",
             "retrieval.documents.0.document.score": 0.5,
             "retrieval.documents.2.document.content": "b", "output.value": "x"},
            [{"content": "a", "score": 0.5}, {"content": "b"}],
        ),
        ({"gen_ai.retrieval.documents": '[{"id": 1}]', "output.value": "x"}, [{"id": 1}]),
        ({"output.value": "x", "final_result": "y"}, "x"),
        ({"final_result": "y", "gen_ai.completion": "z"}, "y"),
        ({"embedding.embeddings.0.embedding.vector": [0.1]}, None),
        ({"ai.embedding": "[0.1]"}, None),
    ],
)  # fmt: skip
def test_outputs_of_other_kinds(attributes, expected):
    assert output_of(mapped({"openinference.span.kind": "CHAIN"} | attributes).span) == expected


CONVERSATION = json.dumps(
    [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Yo"}]},
    ]
)


@pytest.mark.parametrize("key", ["pydantic_ai.all_messages", "all_messages_events"])
def test_conversation_is_split_at_last_answer(key):
    sent = {key: CONVERSATION, "gen_ai.system_instructions": '[{"type":"text","content":"Short"}]'}
    one = mapped({"gen_ai.operation.name": "invoke_agent"} | sent).span
    assert input_of(one) == {"messages": [{"role": "system", "content": "Short"}, *HI["messages"]]}
    assert output_of(one) == YO
    final = mapped({"gen_ai.operation.name": "invoke_agent", "final_result": "Done"} | sent).span
    assert output_of(final) == "Done"


@pytest.mark.parametrize(
    "instructions", ["Short", '[{"type": "text", "content": "Short"}]',
                     [{"type": "text", "content": "Short"}]]
)  # fmt: skip
def test_system_instructions_are_put_first(instructions):
    one = mapped(LLM | MESSAGES_IN[0] | {"gen_ai.system_instructions": instructions})
    assert input_of(one.span) == {
        "messages": [{"role": "system", "content": "Short"}, *HI["messages"]]
    }


def test_system_instructions_without_messages_are_the_input_of_a_model_alone():
    sent = {"gen_ai.system_instructions": '[{"type": "text", "content": "Say hello"}]'}
    one = mapped(LLM | sent)
    assert input_of(one.span) == {"messages": [{"role": "system", "content": "Say hello"}]}
    assert not one.facts.has_user_message
    assert input_of(mapped(LLM | sent | {"input.value": "Hi"}).span) == "Hi"
    # The input of a trace would be the instructions of its agent, in place of what the user said.
    assert mapped(sent | {"gen_ai.operation.name": "invoke_agent"}).span.input is None


def test_messages_in_events_by_time():
    one = mapped(
        LLM,
        events=[
            event("gen_ai.choice", START_NS + 9, message="Yo", finish_reason="stop"),
            event("gen_ai.assistant.message", START_NS + 3, content="Who?"),
            event("gen_ai.user.message", START_NS + 4, content="Me"),
            event("gen_ai.system.message", START_NS + 1, content="Short"),
            event("gen_ai.user.message", START_NS + 2, content="Hi"),
        ],
    ).span
    roles = [(one["role"], one["content"]) for one in input_of(one)["messages"]]
    assert roles == [
        ("system", "Short"), ("user", "Hi"), ("assistant", "Who?"), ("user", "Me")
    ]  # fmt: skip
    assert output_of(one) == YO


def test_vercel_answer_is_one_message():
    sent = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.response.text": "Look",
        "ai.response.toolCalls": '[{"toolCallId":"1","toolName":"f","input":{"a":1}}]',
    }
    [message] = output_of(mapped(sent).span)["messages"]
    assert message["content"] == "Look"
    assert message["tool_calls"] == [{"id": "1", "name": "f", "arguments": {"a": 1}}]


@pytest.mark.parametrize(
    ("parts", "content"),
    [("", None), ('{"type":"text","content":"Look"}', "Look")],
)
def test_calls_of_litellm_are_those_of_its_message(parts, content):
    sent = {
        "gen_ai.output.messages": f'[{{"role":"assistant","parts":[{parts}]}}]',
        "gen_ai.completion.0.function_call.name": "f",
        "gen_ai.completion.0.function_call.arguments": '{"a":1}',
        "gen_ai.completion.1.function_call.name": "g",
        "gen_ai.completion.1.function_call.arguments": "{}",
    }
    [message] = output_of(mapped(LLM | sent, scope="litellm").span)["messages"]
    assert message["content"] == content
    assert message["tool_calls"] == [
        {"name": "f", "arguments": {"a": 1}},
        {"name": "g", "arguments": {}},
    ]


def test_calls_in_messages_of_litellm_are_not_repeated():
    called = '{"type":"tool_call","id":"1","name":"f","arguments":{"a":1}}'
    sent = {
        "gen_ai.output.messages": f'[{{"role":"assistant","parts":[{called}]}}]',
        "gen_ai.completion.0.function_call.name": "f",
        "gen_ai.completion.0.function_call.arguments": '{"a":1}',
    }
    [message] = output_of(mapped(LLM | sent, scope="litellm").span)["messages"]
    assert message["tool_calls"] == [{"id": "1", "name": "f", "arguments": {"a": 1}}]


def test_messages_that_are_not_recognised_are_stored_parsed():
    one = mapped(LLM | {"gen_ai.input.messages": '{"strange": 1.10}', "gen_ai.completion.0": "Yo"})
    assert one.span.input == b'{"strange": 1.10}'
    text = mapped(LLM | {"gen_ai.input.messages": "Hi"})
    assert input_of(text.span) == "Hi"


def test_generic_values_with_more_than_messages_stay_as_sent():
    sent = '{"messages": [{"role":"user","content":"Hi"}], "documents": [1]}'
    assert mapped(CHAIN | {"input.value": sent}).span.input == sent.encode()


@pytest.mark.parametrize("sent", ["2024", "true", "null", "{not json", '"open', "[1", " {}"])
def test_text_stays_text(sent):
    assert input_of(mapped(CHAIN | {"input.value": sent}).span) == sent


def test_half_characters_in_json_are_replaced():
    sent = '[{"role":"user","content":"cut \\ud83c"}, {"role":"user","content":"\\ud83c\\udf24"}]'
    one = mapped(LLM | {"gen_ai.input.messages": sent}).span
    assert [one["content"] for one in input_of(one)["messages"]] == ["cut \ufffd", "\U0001f324"]


@pytest.mark.parametrize(("levels", "is_parsed"), [(500, True), (501, False), (100_000, False)])
def test_json_that_is_too_deep_stays_text(levels, is_parsed):
    sent = "[" * levels + "1" + "]" * levels
    one = mapped(CHAIN | {"input.value": sent, "output.value": json.dumps({"output": sent})}).span
    assert one.input == (sent if is_parsed else json.dumps(sent)).encode()


@pytest.mark.parametrize("key", ["input.value", "gen_ai.input.messages"])
def test_sources_that_are_empty_are_passed_over(key):
    for empty in ("", None, [], {}, '""', "[]", "{}", "null"[:0]):
        one = mapped(LLM | {key: empty, "mlflow.spanInputs": "Hi"}).span
        assert input_of(one) == "Hi"


# --- model, provider, parameters, times ------------------------------------------------------

TEXT_TARGETS = {
    "model": [
        "langfuse.observation.model.name", "gen_ai.response.model", "llm.response.model_name",
        "ai.response.model", "ai.model.id", "gen_ai.request.model", "llm.model_name",
        "llm.request.model_name", "embedding.model_name", "reranker.model_name",
        "mlflow.llm.model", "model",
    ],
    "provider": [
        "gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider",
    ],
    "request_model": ["gen_ai.request.model", "llm.request.model_name", "ai.model.id"],
}  # fmt: skip
FACT_TARGETS = {
    "session_id": [
        "langfuse.session.id", "session.id", "gen_ai.conversation.id",
        "traceloop.association.properties.session_id",
        "traceloop.association.properties.thread_id", "ai.telemetry.metadata.sessionId",
        "ai.settings.context.sessionId",
        "langsmith.metadata.session_id", "langsmith.metadata.thread_id", "thread_id",
    ],
    "user_id": [
        "langfuse.user.id", "user.id", "enduser.id", "gen_ai.user", "llm.user",
        "gen_ai.request.user", "traceloop.association.properties.user_id",
        "ai.telemetry.metadata.userId", "ai.settings.context.userId", "langsmith.metadata.user_id",
    ],
    "response_id": ["gen_ai.response.id", "ai.response.id"],
}  # fmt: skip


def pairs(targets):
    return [
        (field, first, second)
        for field, keys in targets.items()
        for first, second in pairwise(keys)
    ]


@pytest.mark.parametrize(
    ("field", "key"), [(field, key) for field, keys in TEXT_TARGETS.items() for key in keys]
)
def test_texts_of_spans(field, key):
    assert getattr(mapped({key: "a-1"}).span, field) == "a-1"
    assert getattr(mapped({key: '"a-1"'}).span, field) == "a-1"
    assert getattr(mapped({key: "x" * 300}).span, field) == "x" * 255
    assert "truncated" in flags(mapped({key: "x" * 300}))


@pytest.mark.parametrize(("field", "first", "second"), pairs(TEXT_TARGETS))
def test_first_text_of_span_wins(field, first, second):
    assert getattr(mapped({second: "b", first: "a"}).span, field) == "a"
    assert getattr(mapped({second: "b", first: ""}).span, field) == "b"


@pytest.mark.parametrize(
    ("field", "key"), [(field, key) for field, keys in FACT_TARGETS.items() for key in keys]
)
def test_ids(field, key):
    assert getattr(mapped({key: "a-1"}).facts, field) == "a-1"
    assert getattr(mapped({key: "x" * 255}).facts, field) == "x" * 255
    oversize = mapped({key: "x" * 256})
    assert getattr(oversize.facts, field) is None
    assert flags(oversize) == ["oversize_id"]


@pytest.mark.parametrize(("field", "first", "second"), pairs(FACT_TARGETS))
def test_first_id_wins(field, first, second):
    assert getattr(mapped({second: "b", first: "a"}).facts, field) == "a"
    assert getattr(mapped({second: "b", first: ""}).facts, field) == "b"


@pytest.mark.parametrize("form", [json.dumps, dict])
def test_session_and_user_in_metadata(form):
    one = mapped({"metadata": form({"session_id": "s", "user_id": "u", "k": 1})})
    assert (one.facts.session_id, one.facts.user_id) == ("s", "u")
    first = mapped({"metadata": form({"session_id": "s", "user_id": "u"}), "thread_id": "t",
                    "user.id": "v"})  # fmt: skip
    assert (first.facts.session_id, first.facts.user_id) == ("t", "v")


def test_numeric_id_becomes_text():
    one = mapped({"user.id": 42})
    assert one.facts.user_id == "42"
    assert flags(one) == ["coerced"]


@pytest.mark.parametrize("sent", [["a"], {"a": 1}, True])
def test_id_of_another_type_is_dropped(sent):
    one = mapped({"user.id": sent, "enduser.id": "u"})
    assert one.facts.user_id == "u"
    assert flags(one) == ["coerced"]


def test_browser_session_is_a_visit():
    sent = {"session.id": "visit", "gen_ai.conversation.id": "c"}
    browser = {"telemetry.sdk.language": "webjs"}
    assert mapped(sent, resource=browser).facts.session_id == "c"
    assert mapped(sent, resource={"telemetry.sdk.language": "nodejs"}).facts.session_id == "visit"


def test_response_of_openai_is_not_a_conversation():
    response = "resp_" + "0a1b2c3d" * 6
    found = mapped({"gen_ai.conversation.id": response, "thread_id": "t"}).facts
    assert found.session_id == "t"
    for own in ("resp_team_5", "conv_" + "0a1b2c3d" * 6):
        assert mapped({"gen_ai.conversation.id": own}).facts.session_id == own


def test_pieces_of_a_stream_of_google_adk_are_one_answer():
    def piece(*parts, finish_reason=""):
        return {"role": "assistant", "parts": list(parts), "finish_reason": finish_reason}

    def text(content, kind="text"):
        return {"type": kind, "content": content}

    call = {"type": "tool_call", "id": "1", "name": "f", "arguments": {}}
    stream = [
        piece(text("Let me", "reasoning")),
        piece(text(" see.", "reasoning"), text("Rain is")),
        piece(text(" expected.")),
        piece(call, finish_reason="stop"),
    ]
    answer = {
        "role": "assistant",
        "content": [
            {"type": "reasoning", "text": "Let me see."},
            {"type": "text", "text": "Rain is expected."},
        ],
        "tool_calls": [{"id": "1", "name": "f", "arguments": {}}],
    }
    sent = {"gen_ai.operation.name": "generate_content", "gen_ai.request.model": "gemini"}

    def returned(stream, scope="gcp.vertex.agent"):
        output = {"gen_ai.output.messages": json.dumps(stream)}
        return json.loads(mapped(sent | output, scope=scope).span.output)["messages"]

    assert returned(stream) == [answer]
    assert returned([*stream, piece(text("Bye"))]) == [
        answer,
        {"role": "assistant", "content": "Bye"},
    ]
    assert len(returned(stream, "other")) == len(stream)
    assert len(returned([*stream, {"role": "assistant", "content": "x"}])) == len(stream) + 1


CREWAI = "openinference.instrumentation.crewai"
LLAMA_INDEX = "openinference.instrumentation.llama_index"
CREW_OUTPUT = {
    "raw": "It is sunny.", "pydantic": None, "json_dict": None,
    "tasks_output": [{"description": "Weather in Paris?", "raw": "It is sunny."}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"city": "Paris", "days": 2}, "Weather in Paris, 2 days?\n\nSay it in {words} {0}"),
        (None, "Weather in {city}, {days} days?\n\nSay it in {words} {0}"),
    ],
)
def test_input_and_output_of_a_crew_are_its_tasks_and_its_answer(inputs, expected):
    tasks = [{"description": "Weather in {city}, {days} days?", "agent_role": "Forecaster"},
             {"description": "Say it in {words} {0}", "agent_role": "Writer"}]  # fmt: skip
    sent = {
        "openinference.span.kind": "CHAIN",
        "crew_inputs": json.dumps(inputs) if inputs else "",
        "crew_tasks": json.dumps(tasks),
        "output.value": json.dumps(CREW_OUTPUT),
    } | ({"input.value": json.dumps(inputs)} if inputs else {})
    one = mapped(sent, scope=CREWAI).span
    assert (input_of(one), output_of(one)) == (expected, "It is sunny.")
    assert output_of(mapped(sent, scope="other").span) == CREW_OUTPUT


def test_input_and_output_of_an_agent_of_crewai_are_words():
    sent = {"openinference.span.kind": "AGENT", "output.value": json.dumps(CREW_OUTPUT)}
    asked = {"messages": "Weather?", "response_format": None}
    one = mapped(sent | {"input.value": json.dumps(asked)}, scope=CREWAI).span
    assert (input_of(one), output_of(one)) == ("Weather?", "It is sunny.")
    chat = asked | json.loads(json.dumps(HI))
    assert input_of(mapped(sent | {"input.value": json.dumps(chat)}, scope=CREWAI).span) == HI
    tool = sent | {"openinference.span.kind": "TOOL"}
    assert output_of(mapped(tool, scope=CREWAI).span) == CREW_OUTPUT


def test_state_and_printed_result_of_an_agent_of_llama_index_are_no_payloads():
    state = {"init_state": {"is_running": False}, "start_event": "AgentWorkflowStartEvent()"}
    result = "StopEvent(result=AgentOutput(response=ChatMessage(role=<MessageRole.ASSISTANT: 'a..."
    sent = {"openinference.span.kind": "CHAIN", "input.value": json.dumps(state)}
    one = mapped(sent | {"output.value": result}, scope=LLAMA_INDEX).span
    assert (one.input, one.output) == (None, None)
    own = "StopEvent(result={'a': 1})"
    assert output_of(mapped(sent | {"output.value": own}, scope=LLAMA_INDEX).span) == own
    assert output_of(mapped(sent | {"output.value": result}).span) == result


@pytest.mark.parametrize("key", ["message", "user_msg"])
def test_input_and_output_of_a_chat_engine_of_llama_index_are_words(key):
    answer = {"response": "Sunny", "sources": [], "source_nodes": [], "metadata": None}
    asked = {"input.value": json.dumps({key: "Weather?"}), "output.value": json.dumps(answer)}
    sent = {"openinference.span.kind": "CHAIN"} | asked
    one = mapped(sent, scope=LLAMA_INDEX).span
    assert (input_of(one), output_of(one)) == ("Weather?", "Sunny")
    assert output_of(mapped(sent).span) == answer


def test_input_of_an_agent_of_smolagents_is_its_task():
    asked = {"task": "Weather in Paris?", "stream": False, "reset": True, "images": None}
    sent = {"openinference.span.kind": "AGENT", "input.value": json.dumps(asked)}
    scope = "openinference.instrumentation.smolagents"
    assert input_of(mapped(sent, scope=scope).span) == "Weather in Paris?"
    for other in (
        sent | {"openinference.span.kind": "TOOL"},
        sent | {"openinference.span.kind": "LLM"},
    ):
        assert input_of(mapped(other, scope=scope).span) == asked


def test_langsmith_project_is_not_session():
    assert mapped({"langsmith.trace.session_name": "default"}).facts.session_id is None


def test_made_up_conversations_of_pydantic_ai_are_marked():
    made_up, own = "01a21fc6-451f-77e0-bc90-acd4f4316c2c", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    for conversation, scope, expected in (
        (made_up, "pydantic-ai", True),
        (made_up, "other", False),
        (own, "pydantic-ai", False),
        ("conv-42", "pydantic-ai", False),
    ):
        one = mapped({"gen_ai.conversation.id": conversation}, scope=scope).facts
        assert (one.session_id, one.made_up_session) == (conversation, expected)
    named = mapped({"gen_ai.conversation.id": made_up, "session.id": "s"}, scope="pydantic-ai")
    assert (named.facts.session_id, named.facts.made_up_session) == ("s", False)
    baggage = {"gen_ai.conversation.id": made_up, "gen_ai.agent.call.id": made_up}
    copied = mapped(baggage, scope="com.anthropic.sdk.python").facts
    assert (copied.session_id, copied.made_up_session) == (made_up, True)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("openai.chat", "openai"), ("openai", "openai"), ("strands-agents", "strands-agents"),
        ("google.generative-ai", "google"), ("gcp.gemini", "gcp.gemini"),
        ("gcp.vertex_ai", "gcp.vertex_ai"), ("aws.bedrock", "aws.bedrock"),
        ("azure.ai.openai", "azure.ai.openai"), ("az.ai.inference", "az.ai.inference"),
        ("ibm.watsonx.ai", "ibm.watsonx.ai"), ("microsoft.agent_framework", "microsoft"),
        (".chat", ".chat"),
    ],
)  # fmt: skip
def test_providers_are_cut_at_the_first_dot(sent, expected):
    assert mapped({"gen_ai.provider.name": sent}).span.provider == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"langfuse.observation.model.parameters": '{"temperature": 1.0}'}, {"temperature": 1.0}),
        ({"llm.invocation_parameters": '{"temperature": 1.0}'}, {"temperature": 1.0}),
        ({"gen_ai.request.temperature": 0.5, "gen_ai.request.model": "m",
          "gen_ai.request.stop_sequences": ["a"]}, {"stop_sequences": ["a"], "temperature": 0.5}),
        ({"ai.settings.maxRetries": 2}, {"maxRetries": 2}),
        ({"ai.settings.maxRetries": 2, "ai.settings.context.plan": "pro"}, {"maxRetries": 2}),
        ({"ai.settings.maxRetries": 2, "gen_ai.request.top_p": 1.0}, {"top_p": 1.0}),
        ({"llm.invocation_parameters": "[1]", "ai.settings.a": 1}, {"a": 1}),
        ({"gen_ai.request.model": "m"}, None),
    ],
)  # fmt: skip
def test_model_parameters(attributes, expected):
    assert value(mapped(attributes).span.model_parameters) == expected


def test_parameters_are_stored_digit_by_digit():
    sent = '{"temperature": 1.10, "seed": 12345678901234567890}'
    assert mapped({"llm.invocation_parameters": sent}).span.model_parameters == sent.encode()


@pytest.mark.parametrize(
    ("attributes", "ms"),
    [
        ({"langfuse.observation.completion_start_time": "2025-11-24T16:00:00.250Z"}, 250.0),
        ({"langfuse.observation.completion_start_time": '"2025-11-24T17:00:00.25+01:00"'}, 250.0),
        ({"gen_ai.response.time_to_first_chunk": 0.25}, 250.0),
        ({"gen_ai.client.operation.time_to_first_chunk": "0.25"}, 250.0),
        ({"gen_ai.server.time_to_first_token": 250}, 250.0),
        ({"ai.response.msToFirstChunk": 250.0009}, 250.0),
        ({"ttft_ms": 250}, 250.0),
        ({"ttft_ms": "soon"}, None),
        ({"ttft_ms": -1}, None),
        ({"ttft_ms": 1e300}, None),
        ({"ttft_ms": "NaN"}, None),
        ({"langfuse.observation.completion_start_time": "yesterday"}, None),
    ],
)
def test_first_token(attributes, ms):
    assert mapped(attributes).span.time_to_first_token_ms == ms
    assert ("coerced" in flags(mapped(attributes))) == (ms is None)


def test_first_token_by_an_event():
    events = [event("First Token Stream Event", START_NS + 7_000_999)]
    assert mapped(LLM, events=events).span.time_to_first_token_ms == 7.0


# --- envelope --------------------------------------------------------------------------------


def test_ids_are_derived_from_the_trace():
    one = mapped({}, parent_span_id="2122232425262728").span
    assert str(one.id) == "da1a80cb-e49a-5c5a-a83b-b8f8b08a7d3a"
    assert one.parent_id != one.id
    assert one.parent_id == mapped({}, span_id="2122232425262728").span.id
    assert str(TRACE) == "01020304-0506-0708-090a-0b0c0d0e0f10"


def test_times_are_cut_to_microseconds():
    one = mapped({}, start_ns=START_NS + 1_999, end_ns=START_NS + 3_999).span
    assert (one.started_at.microsecond, one.ended_at.microsecond) == (1, 3)
    latest = mapped({}, start_ns=2**64 - 1, end_ns=2**64 - 1).span
    assert latest.started_at.year == 2554


def test_end_before_start_is_kept():
    one = mapped({}, end_ns=START_NS - 1_000)
    assert one.span.ended_at < one.span.started_at
    assert flags(one) == ["clock_skew"]


def test_started_span_has_no_end():
    one = mapped({}, end_ns=0)
    assert one.span.ended_at is None
    assert one.facts.is_start_only
    assert flags(one) == ["start_only"]


@pytest.mark.parametrize(
    ("name", "attributes", "expected", "flag"),
    [
        ("a" * 512, {}, "a" * 512, []),
        ("a" * 513, {}, "a" * 512, ["truncated"]),
        ("", LLM | {"model": "gpt-4o"}, "LLM gpt-4o", []),
        ("", LLM, "LLM", []),
        ("a\x00b", {}, "a\ufffdb", []),
    ],
)
def test_names(name, attributes, expected, flag):
    one = mapped(attributes, name=name)
    assert one.span.name == expected
    assert flags(one) == flag


@pytest.mark.parametrize(
    ("code", "attributes", "status"),
    [
        (0, {}, "UNSET"), (1, {}, "OK"), (2, {}, "ERROR"), (7, {}, "UNSET"),
        (0, {"error.type": "timeout"}, "ERROR"), (1, {"error.type": "timeout"}, "OK"),
        (1, {"langfuse.observation.level": "ERROR"}, "ERROR"),
        (0, {"langfuse.observation.level": "WARNING"}, "UNSET"),
    ],
)  # fmt: skip
def test_status(code, attributes, status):
    assert mapped(attributes, status_code=code).span.status == status


EXCEPTION = {"exception.type": "openai.Timeout", "exception.message": "too slow"}


def test_errors():
    failed = {"status_code": 2, "status_message": "it failed"}
    raised = event("exception", **EXCEPTION, **{"exception.stacktrace": "Traceback …"})
    assert mapped({}, **failed, events=[raised]).span.error == "openai.Timeout: too slow"
    assert mapped({}, **failed).span.error == "it failed"
    assert mapped({"error.type": "timeout"}, status_code=2).span.error == "timeout"
    assert mapped({"error.type": "timeout"}, **failed).span.error == "it failed"
    said = {"langfuse.observation.level": "ERROR", "langfuse.observation.status_message": "bad"}
    for level in ("ERROR", "error"):
        stated = said | {"langfuse.observation.level": level}
        assert mapped(stated, **failed, events=[raised]).span.error == "bad"
    warned = said | {"langfuse.observation.level": "WARNING"}
    assert mapped(warned).span.error is None
    assert mapped({}).span.error is None
    only_type = event("exception", **{"exception.type": "E"})
    assert mapped({}, events=[only_type]).span.error == "E"
    otel = metadata(mapped({}, **failed, events=[raised]))["otel"]
    assert otel["stacktrace"] == "Traceback …"
    assert "events" not in otel


# --- facts of the trace ----------------------------------------------------------------------


def test_trace_attributes():
    one = mapped(
        {
            "langfuse.trace.name": "checkout",
            "langfuse.trace.input": '{"n": 1.10}',
            "langfuse.trace.output": "done",
            "langfuse.internal.is_app_root": True,
            "langfuse.trace.metadata.k": '"v"',
            "langfuse.trace.metadata.n": "1",
            "langfuse.observation.metadata.own": '{"a": 1.0}',
        },
        parent_is_remote=True,
    ).facts
    assert (one.trace_name, one.trace_input, one.trace_output) == (
        "checkout", '{"n": 1.10}', '"done"'
    )  # fmt: skip
    assert one.is_app_root
    assert one.parent_is_remote
    assert one.trace_metadata == {"k": '"v"', "n": '"1"'}
    assert one.sender_metadata == {"k": '"v"', "n": '"1"', "own": '{"a": 1.0}'}
    assert one.mapping_version == MAPPING_VERSION
    assert (one.start_ns, one.end_ns) == (START_NS, END_NS)


def test_case_of_an_experiment_is_metadata_of_the_trace():
    named = {"pandaprobe.experiment.id": "e", "pandaprobe.experiment.item": "a"}
    facts = mapped(named | {"pandaprobe.experiment.repetition": 2, "pandaprobe.other": 1}).facts
    assert facts.trace_metadata == {
        "experiment.id": '"e"', "experiment.item": '"a"', "experiment.repetition": "2"
    }  # fmt: skip


def test_environment_and_release():
    resource = {
        "deployment.environment.name": "new",
        "deployment.environment": "old",
        "service.version": "1.2",
        "service.name": "shop",
    }
    one = mapped({}, resource=resource).facts
    assert (one.environment, one.release, one.service) == ("new", "1.2", "shop")
    said = {"langfuse.environment": "staging", "langfuse.release": "r1"}
    two = mapped(said, resource=resource).facts
    assert (two.environment, two.release) == ("staging", "r1")
    assert mapped({}, resource={"deployment.environment": "old"}).facts.environment == "old"
    assert mapped({}).facts.environment is None
    three = mapped({}, resource=resource | said).facts
    assert (three.environment, three.release) == ("staging", "r1")


@pytest.mark.parametrize("useless", [[1], {"a": 1}, True, ""])
def test_environment_of_no_use_is_passed_over(useless):
    resource = {"deployment.environment.name": useless, "deployment.environment": "old"}
    assert mapped({}, resource=resource).facts.environment == "old"
    assert mapped({"langfuse.environment": useless}, resource=resource).facts.environment == "old"


def test_environment_that_is_too_long_is_null():
    long = mapped({"langfuse.environment": "x" * 300}, resource={"deployment.environment": "old"})
    assert (long.facts.environment, flags(long)) == (None, ["oversize_id"])


TAG_KEYS = [
    "langfuse.trace.tags",
    "langfuse.tags",
    "tag.tags",
    "tags",
    "langsmith.span.tags",
    "ai.telemetry.metadata.tags",
    "ai.settings.context.tags",
    "opik.tags",
]


@pytest.mark.parametrize("key", TAG_KEYS)
@pytest.mark.parametrize("sent", [["b", "a"], '["b", "a"]', "b, a ", "a,b,,a"])
def test_tags(key, sent):
    assert mapped({key: sent}).facts.tags == ("a", "b")


def test_tags_of_all_attributes_are_united():
    sent = {key: f"t{at}" for at, key in enumerate(TAG_KEYS)}
    assert mapped(sent).facts.tags == tuple(f"t{at}" for at in range(len(TAG_KEYS)))


def test_tags_are_bounded():
    one = mapped({"tags": [f"{at:03}" for at in range(200)] + ["x" * 300]})
    assert len(one.facts.tags) == 100
    assert flags(one) == ["truncated"]


@pytest.mark.parametrize(
    ("kind", "given", "returned", "expected"),
    [
        (LLM, HI_JSON, YO_JSON, (True, True)),
        (LLM, YO_JSON, HI_JSON, (False, False)),
        (LLM, "Hi", "Yo", (False, False)),
        (LLM, f'{{"model": "m", "messages": {HI_JSON}}}', '{"messages": [1]}', (True, False)),
        (CHAIN, HI_JSON, YO_JSON, (False, False)),
    ],
)
def test_messages_of_users_and_assistants_are_known(kind, given, returned, expected):
    one = mapped(kind | {"input.value": given, "output.value": returned}).facts
    assert (one.has_user_message, one.has_assistant_message) == expected


def test_answer_of_calls_only_has_no_content():
    calls = '[{"role":"assistant","content":null,"tool_calls":[{"id":"1","name":"f","args":{}}]}]'
    assert not mapped(LLM | {"gen_ai.output.messages": calls}).facts.has_assistant_message


def test_response_id_in_answer_itself():
    sent = {"output.value": '{"id": "msg_6", "content": []}', "openinference.span.kind": "LLM"}
    assert mapped(sent).facts.response_id == "msg_6"
    assert mapped(sent | {"openinference.span.kind": "CHAIN"}).facts.response_id is None
    assert mapped(sent | {"output.value": '{"id": 6}'}).facts.response_id is None
    assert mapped(sent | {"gen_ai.response.id": "a"}).facts.response_id == "a"
    assert mapped(sent | {"output.value": {"id": "msg_6"}}).facts.response_id == "msg_6"


def test_winning_keys_are_known():
    one = mapped(LLM | MESSAGES_IN[1] | {"llm.model_name": "m", "user.id": "u"}).facts
    assert one.won_keys["kind"] == "gen_ai.operation.name"
    assert one.won_keys["model"] == "llm.model_name"
    assert one.won_keys["messages_in"] == "llm.input_messages.*"
    assert one.won_keys["user_id"] == "user.id"


def test_rule_keys_of_a_target_are_unique():
    keys = [(rule.target, rule.when_scope, key) for rule in RULES for key in rule.keys]
    assert len(keys) == len(set(keys))


def test_span_without_known_attributes_is_mapped():
    one = mapped({"app.tenant": "t-9", "http.route": "/"}).span
    assert (one.input, one.output, one.model, one.cost, one.token_usage) == (None,) * 5
    assert sent_span().name == one.name
