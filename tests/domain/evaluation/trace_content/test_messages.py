"""Payloads: bounded JSON decoding, and chat messages in their usual formats."""

import json
from pathlib import Path

import pytest
from hypothesis import given

from domain.evaluation.trace_content.messages import (
    MessageText,
    canonical_json,
    decode_embedded_json,
    decode_json,
    is_blank,
    last_message_text,
    model_output_text,
)
from domain.tracing.messages.json_value import DEPTH_MAX
from domain.tracing.messages.message_blocks import ASSISTANT, USER
from tests.support.builders import strategies

TESTS = Path(__file__).parents[3]
VECTOR_FILE = TESTS / "domain/tracing/messages/vectors/messages.json"
VECTORS = json.loads(VECTOR_FILE.read_text())["payloads"]
UNLIKE = {  # formats without a word by user or assistant
    "GenAI tool response",
    "GenAI tool response under role user, with result",
    "GenAI unknown part",
}
CHAT = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]


@given(strategies.payloads | strategies.hard_objects)
def test_any_payload_can_be_decoded_and_encoded(text):
    value = decode_json(text)
    assert canonical_json(value).isascii()
    assert json.loads(canonical_json(value)) == value
    last_message_text(USER, value).text.encode(errors="surrogatepass")


@pytest.mark.parametrize("digits", ["1" * 5_000, "1e999", "-1e999"])
def test_unrepresentable_numbers_stay_text(digits):
    assert decode_json(f'{{"n":{digits}}}'.encode()) == {"n": digits}


@pytest.mark.parametrize("levels", [DEPTH_MAX + 1, 5_000, 100_000])
def test_too_deep_payload_is_text(levels):
    text = "[" * levels + "]" * levels
    assert decode_json(text.encode()) == text


def test_wide_payload_is_decoded():
    wide = [[[]]] * 1_000
    assert decode_json(json.dumps(wide).encode()) == wide


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_non_finite_constants_stay_text(word):
    assert decode_embedded_json(f"[{word}]") == [word]


def test_canonical_json_sorts_keys():
    one, other = (
        decode_json(b'{"a":1,"b":{"x":1,"y":2}}'),
        decode_json(b'{ "b":{"y":2,"x":1},"a":1 }'),
    )
    assert canonical_json(one) == canonical_json(other) == '{"a":1,"b":{"x":1,"y":2}}'


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('{"a":1}', {"a": 1}),
        (" [1]", [1]),
        ("2024", "2024"),
        ('"a"', '"a"'),
        ("{broken", "{broken"),
        ("null", "null"),
        (3, 3),
        (None, None),
    ],
)
def test_embedded_objects_and_arrays_are_decoded(value, read):
    assert decode_embedded_json(value) == read


@pytest.mark.parametrize(
    ("value", "blank"),
    [
        *((value, True) for value in (None, "", " \n", [], {}, [[]], {"documents": []}, [None])),
        *((value, False) for value in (0, False, "x", [0], {"documents": ["x"]}, {"n": 0})),
    ],
)
def test_is_blank(value, blank):
    assert is_blank(value) is blank


# --- chat ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        CHAT,
        {"messages": CHAT},
        [*CHAT, {"role": "tool", "content": "three"}],
        [{"type": "human", "content": "one"}, {"type": "ai", "content": "two"}],
        [{"role": "USER", "content": [{"type": "text", "text": "one"}]}, CHAT[1]],
        [{"role": "user", "parts": [{"type": "text", "content": "one"}]}, CHAT[1]],
        [{"role": "user", "parts": [{"text": "one"}]}, {"role": "model", "content": "two"}],
        [{"role": "user", "content": "zero"}, *CHAT],
    ],
)
def test_last_message_of_a_role_is_used(value):
    assert last_message_text(USER, value) == MessageText("one")
    assert last_message_text(ASSISTANT, value) == MessageText("two")


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [{"message": {"role": "assistant", "content": "yes"}}]},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "yes"}]}}]},
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}], "stop_reason": "end"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
        "yes",
    ],
)
def test_provider_responses(value):
    assert last_message_text(ASSISTANT, value).text == "yes"


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]},
        {"content": [{"type": "reasoning", "content": "hm"}, {"type": "text", "text": "yes"}]},
        {"content": [{"type": "reasoning", "summary": [{"text": "hm"}]}, "yes"]},
        {"content": "yes", "reasoning_content": "hm"},
        {"content": "<think>hm</think>yes"},
        {"content": "yes\n<thinking>\nhm</thinking>"},
        {"content": "yes<think>hm"},
        {"parts": [{"text": "hm", "thought": True}, {"text": "yes"}]},
    ],
)
def test_reasoning_is_separated(message):
    assert last_message_text(ASSISTANT, [{"role": "assistant", **message}]) == MessageText(
        "yes", "hm"
    )


def test_tool_call_message_has_no_text():
    calls = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    assert last_message_text(ASSISTANT, [*CHAT, calls]) == MessageText("")
    block = {"role": "assistant", "content": [{"type": "tool_use", "input": {"text": "x"}}]}
    assert last_message_text(ASSISTANT, [block]) == MessageText("")


def test_output_of_tool_calls_alone_shows_the_calls():
    calls = [{"id": n, "function": {"name": "f", "arguments": '{"a":1}'}} for n in "12"]
    chat = [{"role": "assistant", "content": None, "tool_calls": calls}]
    assert model_output_text(chat) == MessageText('call f {"a":1}\ncall f {"a":1}')
    item = {"type": "function_call", "call_id": "1", "name": "g", "arguments": ""}
    assert model_output_text({"object": "response", "output": [item]}) == MessageText("call g")
    assert model_output_text([{**chat[0], "content": "yes"}]) == MessageText("yes")
    assert model_output_text(CHAT[:1]) == MessageText("")
    assert model_output_text({"q": "x"}) == MessageText('{"q":"x"}')


def test_tool_results_are_not_what_the_user_asked():
    result = {"type": "tool_result", "tool_use_id": "1", "content": "three"}
    assert last_message_text(USER, [*CHAT, {"role": "user", "content": [result]}]).text == "one"


def test_messages_by_other_roles_are_used_if_no_other_fits():
    critic = {"role": "Critic", "content": "three"}
    assert last_message_text(ASSISTANT, [CHAT[0], critic]) == MessageText("three")
    assert last_message_text(ASSISTANT, [*CHAT, critic]) == MessageText("two")
    assert last_message_text(USER, [CHAT[0], critic]) == MessageText("one")
    for role in ("system", "tool"):
        assert last_message_text(ASSISTANT, [CHAT[0], {**critic, "role": role}]) == MessageText("")


def test_tool_message_alone_is_an_answer():
    message = {"type": "tool", "content": "three", "tool_call_id": "1"}
    assert last_message_text(ASSISTANT, message) == MessageText("three")
    assert last_message_text(USER, message) == MessageText("")


def test_unknown_blocks_alone_are_shown():
    block = {"type": "hologram", "x": 1}
    message = {"role": "assistant", "content": [block]}
    assert last_message_text(ASSISTANT, [message]) == MessageText('{"type":"hologram","x":1}')
    message["content"] = [block, {"type": "text", "text": "yes"}]
    assert last_message_text(ASSISTANT, [message]) == MessageText("yes")


def text_of(messages, role):
    """Return what the last message by a role says, and its reasoning."""
    content = next((one["content"] for one in reversed(messages) if one["role"] == role), None)
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    texts = {"text": "", "reasoning": ""}
    for one in blocks:
        texts[one["type"]] = texts.get(one["type"], "") + one.get("text", "")
    return MessageText(texts["text"], texts["reasoning"])


@pytest.mark.parametrize("role", [USER, ASSISTANT])
@pytest.mark.parametrize(
    "vector",
    [one for one in VECTORS if one["name"] not in UNLIKE and one["messages"]],
    ids=lambda one: one["name"],
)
def test_every_format_is_read_as_its_canonical_messages_are(vector, role):
    for value in (vector["sent"], vector["messages"], {"messages": vector["messages"]}):
        assert last_message_text(role, value) == text_of(vector["messages"], role)


@pytest.mark.parametrize("value", [CHAT[:1], {"messages": CHAT[:1]}])
def test_chat_without_assistant_has_no_answer(value):
    assert last_message_text(ASSISTANT, value) == MessageText("")


@pytest.mark.parametrize("value", [{"q": "x"}, ["a"], [], {}, 3, {"messages": "x"}, {"role": "x"}])
def test_non_chat_payload_is_its_own_text(value):
    assert json.loads(last_message_text(USER, value).text) == value
