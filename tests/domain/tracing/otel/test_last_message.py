"""The last message of a user or of the assistant in a payload, with its text as stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.otel.last_message import is_answer, last_answer, last_user_message

TALK = (
    b' {"model": "m", "messages" : [\n {"role": "user", "content": "Hi"} , '
    b'{"role":"assistant","content":"Hello"},'
    b'{"content": [{"type": "other", "value": 1.50e+400}], "role": "user"},'
    b'{"role":"assistant","content":null,"tool_calls":[{"id":"1","name":"f","arguments":{}}]},'
    b'{"role":"tool","content":"]}"}]}'
)


def test_last_user_message_keeps_its_digits() -> None:
    assert last_user_message(TALK) == (
        b'{"messages":[{"content": [{"type": "other", "value": 1.50e+400}], "role": "user"}]}'
    )


def test_last_answer_has_content() -> None:
    assert last_answer(TALK) == b'{"messages":[{"role":"assistant","content":"Hello"}]}'


@pytest.mark.parametrize("content", [None, "", []])
def test_message_without_content_is_not_an_answer(content: object) -> None:
    assert not is_answer({"role": "assistant", "content": content})
    assert not is_answer({"role": "assistant"})


@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"1",
        b'"messages"',
        b"[]",
        b'[{"role":"user","content":"Hi"}]',
        b"{}",
        b'{"messages":null}',
        b'{"messages":{"role":"user"}}',
        b'{"messages":[]}',
        b'{"messages":[ ]}',
        b'{"messages":["user",1,null,["user"],{"role":["user"]},{"role":"User"}]}',
    ],
)
def test_other_payloads_have_no_messages(payload: bytes | None) -> None:
    assert last_user_message(payload) is None
    assert last_answer(payload) is None


messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "tool"]),
        "content": st.none() | st.text() | st.lists(st.integers()),
    }
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.lists(messages | values), st.sampled_from([None, 1]))
def test_last_of_any_messages_is_found(items: list[object], indent: int | None) -> None:
    payload = json.dumps({"messages": items}, indent=indent).encode()
    asked = [one for one in items if isinstance(one, dict) and one.get("role") == "user"]
    found = last_user_message(payload)
    assert (found and json.loads(found)) == ({"messages": asked[-1:]} if asked else None)
    answers = [
        one
        for one in items
        if isinstance(one, dict) and one.get("role") == "assistant" and one.get("content")
    ]
    found = last_answer(payload)
    assert (found and json.loads(found)) == ({"messages": answers[-1:]} if answers else None)
