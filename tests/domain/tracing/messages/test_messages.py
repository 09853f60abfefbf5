"""Canonical messages: vectors of all formats, and what holds for any JSON value."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.tracing.messages.json_value import encoded
from domain.tracing.messages.messages import (
    answer_message,
    canonical_messages,
    event_messages,
    indexed_messages,
    only_messages,
    split_answer,
    tool_output,
    unwrapped,
    with_instructions,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "messages.json").read_text())
HI = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "a"}
CALL = {"id": "1", "name": "f", "arguments": {"a": 1}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
READERS = (canonical_messages, only_messages)


def by_name(vectors):
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


# --- vectors -------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", by_name(VECTORS["payloads"]))
@pytest.mark.parametrize("read", READERS)
def test_payloads(vector, read):
    assert read(vector["sent"]) == vector["messages"]


@pytest.mark.parametrize(
    "vector", by_name(one for one in VECTORS["payloads"] if not isinstance(one["sent"], str))
)
@pytest.mark.parametrize("read", READERS)
def test_payloads_as_json_in_a_string(vector, read):
    assert read(json.dumps(vector["sent"])) == vector["messages"]


@pytest.mark.parametrize("vector", by_name(VECTORS["events"]))
def test_events(vector):
    events = [(event["name"], event["attributes"]) for event in vector["events"]]
    found = event_messages(events)
    expected = (None, vector["messages"]) if vector["side"] == "out" else (vector["messages"], None)
    assert found == expected


@pytest.mark.parametrize("vector", by_name(VECTORS["attributes"]))
def test_indexed_attributes(vector):
    assert indexed_messages(vector["attributes"], vector["family"]) == vector["messages"]


# --- formats that have no vector -----------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "messages"),
    [
        ([["user", "Hi"]], [HI]),
        ({"messages": [["human", "Hi"], ["ai", "a"]]}, [HI, ANSWER]),
        ([json.dumps(HI), json.dumps(ANSWER)], [HI, ANSWER]),
        ({"inputs": {"messages": [HI]}, "tags": ["t"], "kwargs": {}}, [HI]),
        ({"outputs": [{"graph": None, "update": {"messages": [ANSWER]}, "goto": []}]}, [ANSWER]),
        ({"output": {"message": ANSWER}, "stopReason": "end_turn", "metrics": {}}, [ANSWER]),
        ([{"index": 0, "message": ANSWER, "finish_reason": "stop"}], [ANSWER]),
        ({"choices": [{"text": "a", "index": 0}], "object": "text_completion"}, [ANSWER]),
        ({"generations": [[{"text": "a", "type": "Generation"}]]}, [ANSWER]),
        ({"object": "response", "output": [ANSWER], "instructions": "x", "more": 1}, [ANSWER]),
        ({"input": [HI], "instructions": "s", "model": "m"},
         [{"role": "system", "content": "s"}, HI]),
        ({"role": "Critic", "content": "x"}, [{"role": "critic", "content": "x"}]),
        ([{"role": "assistant", "content": ""}], [{"role": "assistant", "content": None}]),
        ({"contents": ["Hi"], "systemInstruction": {"parts": [{"text": "s"}]}},
         [{"role": "system", "content": "s"}, HI]),
        ({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"x": 1}},
         [ANSWER]),
        ([{"event.name": "gen_ai.user.message", "content": "Hi", "role": "user"},
          {"event.name": "gen_ai.choice", "index": 0, "message": ANSWER}], [HI, ANSWER]),
        ([{"event.name": "gen_ai.tool.message", "content": "ok", "role": "tool", "id": "1"}],
         [{"role": "tool", "content": "ok", "tool_call_id": "1"}]),
        ([{"role": "assistant", "content": "", "additional_kwargs": {"tool_calls": [
            {"id": "1", "function": {"name": "f", "arguments": '{"a":1}'}}]}}], [CALLS]),
        ([{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
          {"role": "function", "name": "f", "content": "ok"}],
         [{"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {}}]},
          {"role": "tool", "content": "ok", "name": "f"}]),
        ([{"role": "assistant", "content": None, "refusal": "no"}],
         [{"role": "assistant", "content": "no"}]),
        ([{"role": "assistant", "content": None, "audio": {"transcript": "a"}}], [ANSWER]),
        ([{"role": "user", "parts": [{"type": "text", "text": "Hi"}], "content": "Hi"}], [HI]),
        ([{"type": "mcp_call", "id": "1", "name": "f", "arguments": '{"a":1}', "output": "ok"}],
         [CALLS, {"role": "tool", "content": "ok", "tool_call_id": "1", "name": "f"}]),
        ([{"type": "web_search_call", "id": "1"}],
         [{"role": "assistant", "content": [
             {"type": "other", "value": {"type": "web_search_call", "id": "1"}}]}]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", READERS)
def test_containers_and_messages(sent, messages, read):
    assert read(sent) == messages


@pytest.mark.parametrize(
    ("block", "content"),
    [
        *(({"type": kind, "text": "x"}, "x") for kind in ("text", "input_text", "output_text")),
        ({"type": "text", "text": {"value": "x", "annotations": []}}, "x"),
        ({"type": "refusal", "refusal": "x"}, "x"),
        ({"type": "document", "source": {"type": "text", "data": "x"}}, "x"),
        *(
            (block, [{"type": "reasoning", "text": "x"}])
            for block in (
                {"type": "thinking", "thinking": "x", "signature": "s"},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]},
                {"reasoningContent": {"reasoningText": {"text": "x", "signature": "s"}}},
            )
        ),
        ({"type": "redacted_thinking", "data": "x"}, None),
        ({"message_content": {"type": "text"}}, None),
        ({"type": "text", "text": None}, None),
        ({"type": "text", "index": 0}, [{"type": "other", "value": {"type": "text", "index": 0}}]),
        *(
            (block, [{"type": "media", "mime_type": "image/png", "size": 3}])
            for block in (
                {"type": "blob", "mime_type": "image/png", "content": "QUJD"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "image", "source": {"media_type": "image/png", "data": "QUJD"}},
                {"image": {"format": "png", "source": {"bytes": "QUJD"}}},
                {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                {"type": "image", "content": {"format": "png", "source": {"bytes": "QUJD"}}},
                {"message_content": {"type": "image", "image": {
                    "image": {"url": "data:image/png;base64,QUJD"}}}},
            )
        ),
        *(
            (block, [{"type": "media", "mime_type": "image/png"}])  # the data was left out
            for block in (
                {"image": {"format": "png", "source": {"bytes": "<replaced>"}}},
                {"type": "image", "content": {"format": "png", "source": {"bytes": "<replaced>"}}},
            )
        ),
        *(
            (block, [{"type": "media", "uri": "https://x/a"}])
            for block in (
                {"type": "image_url", "image_url": {"url": "https://x/a"}},
                {"type": "input_image", "image_url": "https://x/a"},
                {"type": "image", "image": "https://x/a"},
                {"fileData": {"fileUri": "https://x/a"}},
            )
        ),
        ({"type": "file", "file": {"file_id": "f1"}}, [{"type": "media", "uri": "f1"}]),
        ({"type": "image"}, [{"type": "other", "value": {"type": "image"}}]),
        (3, [{"type": "other", "value": 3}]),
    ],
)  # fmt: skip
def test_blocks(block, content):
    message = {"role": "user", "content": [block]}
    assert canonical_messages([message]) == [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    "call",
    [
        {"type": "tool_call", "id": "1", "name": "f", "args": {"a": 1}},
        {"type": "function", "id": "1", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"toolCallId": "1", "toolName": "f", "input": '{"a":1}'},
        {"tool_call": {"id": "1", "function": {"name": "f", "arguments": '{"a":1}'}}},
    ],
)
def test_tool_calls_next_to_content(call):
    sent = {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "input": ""}]}
    sent["tool_calls"] = [call, call]
    found = canonical_messages(sent)
    # The id counts once. What the first report of it lacks comes from the second.
    assert found[0]["tool_calls"] == [{**CALL, "name": found[0]["tool_calls"][0]["name"]}]
    assert canonical_messages({**sent, "content": None}) == [CALLS]


def test_call_without_an_id_is_one_that_the_content_has():
    content = [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]
    same, other = ({"name": "f", "arguments": {"a": a}} for a in (1, 2))
    sent = {"role": "assistant", "content": content, "tool_calls": [same, other, other]}
    assert canonical_messages(sent)[0]["tool_calls"] == [CALL, other, other]
    assert canonical_messages(sent | {"content": None})[0]["tool_calls"] == [same, other, other]


def test_empty_messages_of_a_user_after_calls_are_left_out():
    empty = {"role": "user", "content": None}
    sent = [HI, CALLS, empty, empty, ANSWER, empty]
    assert canonical_messages({"messages": sent}) == [HI, CALLS, ANSWER, empty]
    assert only_messages(sent) == [HI, CALLS, ANSWER, empty]
    reported = {"role": "user", "content": "go on"}
    assert canonical_messages([CALLS, reported]) == [CALLS, reported]


def test_members_of_a_part_that_are_null_do_not_say_what_it_is():
    unset = ("executable_code", "file_data", "function_response", "inline_data", "text", "thought")
    part = dict.fromkeys(unset) | {"function_call": {"id": None, "name": "f", "args": {"a": 1}}}
    sent = {"role": "model", "parts": [part]}
    call = {"name": "f", "arguments": {"a": 1}}
    assert canonical_messages(sent) == [
        {"role": "assistant", "content": None, "tool_calls": [call]}
    ]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("ok", "ok"),
        (None, None),
        (21, "21"),
        ({"b": 1, "a": "é"}, '{"b":1,"a":"é"}'),
        ([], "[]"),
        (["a", "b"], '["a","b"]'),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"message_content": {"type": "text"}}], None),
        ({"type": "text", "text": ""}, None),
        ([{"text": "a"}, {"json": {"t": 1}}], 'a\n{"t":1}'),
        ([{"text": "a", "score": 1}], '[{"text":"a","score":1}]'),
        ([{"type": "file", "name": "a.txt", "content": "x"}],
         '{"type":"file","name":"a.txt","content":"x"}'),
        ([{"type": "image", "source": {"data": "QUJD"}}], '{"type":"media","size":3}'),
        ({"type": "json", "value": {"t": 1}}, '{"t":1}'),
        ({"type": "content", "value": [{"type": "text", "text": "a"}]}, "a"),
        ({"type": "point", "value": 1}, '{"type":"point","value":1}'),
    ],
)  # fmt: skip
def test_tool_results_are_text(result, text):
    expected = [{"role": "tool", "content": text, "tool_call_id": "1"}]
    part = {"type": "tool_call_response", "id": "1", "response": result}
    assert canonical_messages([{"role": "user", "parts": [part]}]) == expected
    assert (
        canonical_messages([{"role": "tool", "content": result, "tool_call_id": "1"}]) == expected
    )


def test_tool_results_split_a_message_at_their_place():
    text = {"type": "text", "text": "a"}
    result = {"type": "tool_result", "tool_use_id": "1", "content": "ok"}
    call = {"type": "tool_use", "id": "2", "name": "f", "input": {}}
    assert canonical_messages([{"role": "assistant", "content": [text, result, text, call]}]) == [
        ANSWER,
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
        {**ANSWER, "tool_calls": [{"id": "2", "name": "f", "arguments": {}}]},
    ]


# --- nothing but messages ------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        {"messages": [HI], "documents": [1]},
        {"model": "gpt-4o", "messages": [HI]},
        [HI, {"city": "Paris"}],
        [HI, "more"],
        {"choices": [{"message": HI, "logprobs": {"content": []}}]},
        {"role": "Critic", "content": "Hi", "age": 3},
    ],
)
def test_other_values_are_left_as_sent_but_can_be_read(sent):
    assert only_messages(sent) is None
    assert len(canonical_messages(sent)) == 1


@pytest.mark.parametrize(
    "sent",
    [
        *(None, True, 3, "", "Hi", "2024", "{broken", [], {}, [[]], ["user", "Hi"]),
        *({"messages": []}, {"messages": "Hi"}, {"input": "Hi"}, [{"type": "text"}]),
        {"output": [ANSWER], "answer": "x"},
        *({"args": ["Hi"], "kwargs": {}}, {"choices": []}, {"type": "reasoning", "summary": []}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", READERS)
def test_values_without_messages(sent, read):
    assert read(sent) is None


def test_bare_prompt_is_read_only_where_it_must_be_a_message():
    assert canonical_messages({"prompt": "Hi"}) == [HI]
    assert only_messages({"prompt": "Hi"}) is None


# --- events, attributes, parts -------------------------------------------------------------


def test_events_of_a_conversation():
    tool_use = '[{"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": 1}}}]'
    result = '[{"toolResult": {"toolUseId": "1", "content": [{"text": "ok"}]}}]'
    assert event_messages(
        [
            ("gen_ai.system.message", {"content": "s", "role": "developer"}),
            ("gen_ai.user.message", {"content": '[{"text": "Hi"}]'}),
            ("other", {"content": "x"}),
            ("gen_ai.assistant.message", {"content": tool_use}),
            ("gen_ai.tool.message", {"content": result}),
            ("gen_ai.tool.message", {"content": "ok", "id": "2"}),
            ("gen_ai.user.message", {"content": '[{"city": "Paris"}]'}),
            ("gen_ai.user.message", {}),
            ("gen_ai.choice", {"message": {"content": "a", "tool_calls": [CALL]}}),
            ("gen_ai.choice", {"message": '{"role": "assistant", "content": "a"}'}),
            ("gen_ai.choice", {"message": {"role": "assistant"}}),
        ]
    ) == (
        [
            {"role": "system", "content": "s"},
            HI,
            CALLS,
            {"role": "tool", "content": "ok", "tool_call_id": "1"},
            {"role": "tool", "content": "ok", "tool_call_id": "2"},
            {"role": "user", "content": '[{"city": "Paris"}]'},
        ],
        [{**ANSWER, "tool_calls": [CALL]}, ANSWER],
    )


def test_indexed_attributes_of_openllmetry():
    attributes = {
        "gen_ai.completion.0.content": "a",
        "gen_ai.completion.0.finish_reason": "stop",
        "gen_ai.completion.0.tool_calls.0.id": "1",
        "gen_ai.completion.0.tool_calls.0.name": "f",
        "gen_ai.completion.0.tool_calls.0.arguments": '{"a": 1}',
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": '[{"type": "text", "text": "Hi"}]',
        "gen_ai.prompt.name": "greeting",
    }
    assert indexed_messages(attributes, "gen_ai.completion") == [{**ANSWER, "tool_calls": [CALL]}]
    assert indexed_messages(attributes, "gen_ai.prompt") == [HI]
    assert indexed_messages(attributes, "llm.input_messages") is None


def test_answer_of_parts():
    calls = '[{"toolCallId":"1","toolName":"f","input":"{\\"a\\":1}"}]'
    assert answer_message("a", None, None) == [ANSWER]
    assert answer_message("", calls, None) == [CALLS]
    assert answer_message("a", calls) == [{**ANSWER, "tool_calls": [CALL]}]
    assert answer_message(structured='{"n":1.10}') == [{**ANSWER, "content": '{"n":1.10}'}]
    assert answer_message(structured={"n": 1}) == [{**ANSWER, "content": '{"n":1}'}]
    assert answer_message() is None


@pytest.mark.parametrize(
    "instructions",
    ["s", '[{"type":"text","content":"s"}]', [{"type": "text", "content": "s"}], {"text": "s"}],
)
def test_instructions_are_the_first_message(instructions):
    whole = [{"role": "system", "content": "s"}, HI]
    assert with_instructions(instructions, [HI]) == whole
    assert with_instructions(instructions, whole) == whole


@pytest.mark.parametrize("instructions", [None, "", [], {}])
def test_messages_without_instructions(instructions):
    assert with_instructions(instructions, [HI]) == [HI]


def test_conversation_is_split_at_the_last_answer():
    assert split_answer([HI, CALLS, ANSWER]) == ([HI, CALLS], [ANSWER])
    assert split_answer([HI]) == ([HI], [])


def test_results_of_the_calls_in_the_answer_go_with_it():
    done, other = ({"role": "tool", "content": "ok", "tool_call_id": one} for one in ("1", "2"))
    assert split_answer([HI, CALLS, done]) == ([HI], [CALLS])
    assert split_answer([HI, CALLS, other]) == ([HI, other], [CALLS])
    assert split_answer([HI, ANSWER, {"role": "tool", "content": "ok"}])[0][1:] == [
        {"role": "tool", "content": "ok"}
    ]


@pytest.mark.parametrize(
    ("value", "inner"),
    [
        ({"inputs": {"a": 1}, "tags": [], "metadata": {}, "kwargs": {}, "input_str": ""}, {"a": 1}),
        ({"outputs": 3}, 3),
        ({"output": None, "kwargs": {}}, None),
        *((value, value) for value in ({"output": 1, "more": 2}, {"tags": []}, [1], "x", None)),
    ],
)  # fmt: skip
def test_wrapped_values(value, inner):
    assert unwrapped(value) == inner


@pytest.mark.parametrize(
    "message",
    [
        {"type": "tool", "content": "ok", "tool_call_id": "1", "status": "success"},
        {"lc": 1, "id": ["x", "ToolMessage"], "kwargs": {"content": "ok", "tool_call_id": "1"}},
        {"type": "tool", "data": {"content": "ok", "tool_call_id": "1"}},
    ],
)
def test_output_of_a_langchain_tool(message):
    assert tool_output(message) == "ok"


def test_output_of_a_tool_in_a_message_of_the_genai_conventions():
    part = {"type": "tool_call_response", "id": "1", "response": [{"text": "Error: no network"}]}
    assert tool_output([{"role": "tool", "parts": [part]}]) == [{"text": "Error: no network"}]
    several = [{"role": "tool", "parts": [part, part]}]
    assert tool_output(several) == several


@pytest.mark.parametrize("value", [HI, {"content": "ok", "tool_call_id": "1"}, "ok", None, [1]])
def test_other_tool_outputs(value):
    assert tool_output(value) == value


# --- numbers, depth ------------------------------------------------------------------------


def test_numbers_keep_their_digits():
    call = {"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": "N"}]}
    sent = json.dumps([call]).replace('"N"', '{"n": [1.10, 1e400, 12345678901234567890]}')
    assert '"arguments":{"n":[1.10,"1e400",12345678901234567890]}' in encoded(only_messages(sent))
    result = '[{"role":"tool","content":{"n":2.50}}]'
    assert only_messages(result) == [{"role": "tool", "content": '{"n":2.50}'}]


@pytest.mark.parametrize("levels", [20, 1_000, 50_000])
def test_deep_values(levels):
    deep = wrapped_list = message = chain = result = HI
    for _ in range(levels):
        deep, wrapped_list = {"x": deep}, [wrapped_list]
        message, chain = {"role": "user", "content": [message]}, {"message": chain}
        result = {"type": "content", "value": [result]}
    part = {"type": "tool_call_response", "id": "1", "response": result}
    for value in (deep, wrapped_list, message, chain, {"role": "user", "content": deep}):
        canonical_messages(value)
        only_messages(value)
    found = canonical_messages([{"role": "user", "parts": [part]}])
    assert '"content":"Hi"' in encoded(found).replace("\\", "")
    text = "[" * levels + "]" * levels
    assert canonical_messages([{"role": "user", "content": text}]) == [{**HI, "content": text}]
    canonical_messages(text)


# --- properties ----------------------------------------------------------------------------

_KEYS = st.sampled_from(
    "role type content parts contents text tool_calls function name id arguments input output "
    "messages message choices candidates generations prompt system lc data kwargs thinking "
    "reasoning value json source url image toolUse toolResult functionCall functionResponse "
    "message_content tool_call tool_call_id additional_kwargs update response size "
    "event.name".split()
)
_WORDS = st.sampled_from(
    "user assistant ai system tool text tool_call tool_use tool_result tool_call_response "
    "reasoning image media blob other function_call function_call_output content json "
    "gen_ai.choice gen_ai.tool.message".split()
)
_TEXTS = _WORDS | st.sampled_from(["", "Hi", "{broken", '"[1]"', '"Hi"', "[]", "data:image/png,QQ"])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS
json_values = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_KEYS, inner, max_size=5)
        | inner.map(json.dumps)
        | st.builds(
            lambda role, more: {"role": role, **more}, _WORDS, st.dictionaries(_KEYS, inner)
        )
        | st.builds(
            lambda kind, more: {"type": kind, **more}, _WORDS, st.dictionaries(_KEYS, inner)
        )
    ),
    max_leaves=12,
)


def texts_of(messages) -> Iterator[str]:
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            yield content
        for block in content if isinstance(content, list) else ():
            yield block.get("text", "")


def assert_canonical(messages) -> None:
    assert messages
    for message in messages:
        assert {"role", "content"} <= message.keys()
        assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id", "name"}
        content = message["content"]
        assert content is None or content
        assert isinstance(content, str | list | None)
        for block in content if isinstance(content, list) else ():
            assert block["type"] in {"text", "reasoning", "media", "other"}
        for call in message.get("tool_calls", ()):
            assert {"name", "arguments"} <= call.keys() <= {"id", "name", "arguments"}


@given(json_values)
def test_any_json_value_is_read_without_an_error(value):
    events = event_messages(
        [("gen_ai.choice", {"message": value}), ("gen_ai.user.message", {"content": value})]
    )
    attributes = {"llm.input_messages.0.message.content": value, "gen_ai.prompt.1.role": value}
    found = [
        *(canonical_messages(value), only_messages(value), *events, answer_message(value, value)),
        *(indexed_messages(attributes, one) for one in ("llm.input_messages", "gen_ai.prompt")),
        with_instructions(value, [HI]),
    ]
    tool_output(unwrapped(value))
    for messages in found:
        if messages is not None:
            assert_canonical(messages)
            json.loads(encoded(messages))


@given(json_values)
@example({"type": "user", "choices": '{"role": null, "type": false, "messages": "null"}'})
@example({"choices": '[["user", "Hi"], {"documents": [1]}]'})
def test_canonical_messages_are_canonical(value):
    found = canonical_messages(value)
    if found is not None:
        assert canonical_messages(found) == only_messages(found) == found
        assert canonical_messages({"messages": found}) == found
    if (only := only_messages(value)) is not None:
        assert only == found


_BLOCKS = [
    lambda text: {"type": "text", "text": text},
    lambda text: {"type": "text", "content": text},
    lambda text: {"text": text},
    lambda text: {"type": "output_text", "text": text, "annotations": []},
    lambda text: {"type": "thinking", "thinking": text},
    lambda text: {"type": "tool_result", "tool_use_id": "1", "content": text},
    lambda text: {"type": "tool_call_response", "id": "1", "response": [{"text": text}]},
    lambda text: text,
]


@given(
    st.lists(st.tuples(st.sampled_from(_BLOCKS), st.text(min_size=1)), min_size=1),
    st.sampled_from(["user", "assistant", "critic"]),
    st.sampled_from(["content", "parts"]),
)
def test_text_of_every_block_is_kept_in_order(parts, role, key):
    blocks = [make(text) for make, text in parts]
    messages = canonical_messages([{"role": role, key: blocks}])
    whole = "\n".join(texts_of(messages))
    at = 0
    for _, text in parts:
        place = whole.find(text, at)
        assert place >= at
        at = place + len(text)
