"""Previews of payloads: the last words of a role, in one line."""

import json
from typing import Any

import pytest
from hypothesis import given

from domain.tracing.text_preview import PREVIEW_CHARS_MAX, input_preview, output_preview
from tests.support.builders import strategies

LONG = "word " * 10_000


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"messages": [{"role": "user", "content": "Where\n is   it?"}]}, "Where is it?"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "a",
        ),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "b"),
        ([{"role": "user", "content": [{"type": "text", "text": "in a block"}]}], "in a block"),
        ([{"role": "user", "content": [{"text": "in a block"}]}], "in a block"),
        ({"contents": [{"role": "user", "parts": [{"text": "of Gemini"}]}]}, "of Gemini"),
        ({"contents": [{"parts": [{"text": "of Gemini"}], "role": "user"}]}, "of Gemini"),
        ([{"content": 'a "quoted\\" text', "role": "human"}], 'a "quoted\\" text'),
        ("plain  text", "plain text"),
        ({"question": "which?", "n": 1}, '{"question": "which?", "n": 1}'),
        ({"role": "user"}, '{"role": "user"}'),
        ([1, 2.5], "[1, 2.5]"),
        # What a text says isn't structure.
        ([{"role": "user", "content": '"role": "user", "content": "no"'}],
         '"role": "user", "content": "no"'),
    ],
)  # fmt: skip
def test_input_shows_last_words_of_user(value: Any, shown: str) -> None:
    assert input_preview(json.dumps(value).encode()) == shown
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    is_text = shown != json.dumps(value)
    assert input_preview(compact.encode()) == (shown if is_text else compact)


def test_output_shows_last_words_of_agent() -> None:
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "On its way"}}]}
    assert output_preview(json.dumps(answer).encode()) == "On its way"
    chat = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "thanks"}]
    assert output_preview(json.dumps(chat).encode()) == "yes"


def langchain(content: Any, role: str = "assistant") -> dict[str, Any]:
    """A message as the SDK's integration of LangChain sends it."""
    usage = {"token_usage": {"prompt_tokens": 900}, "finish_reason": "stop"}
    settings = {"additional_kwargs": {"refusal": None}, "response_metadata": usage}
    return {"content": content, **settings, "role": role, "name": None, "tool_calls": []}


def test_content_of_langchain_is_far_before_its_role() -> None:
    chat = [langchain("why?", "user"), langchain("so")]
    for text in ("because", [{"type": "text", "text": "because"}]):
        sent = json.dumps({"messages": [*chat, langchain(text)]}).encode()
        assert output_preview(sent) == "because"
        assert input_preview(sent) == "why?"
    other = [langchain("why?", "user"), {"role": "assistant", "tool_calls": [{"name": "f"}]}]
    assert output_preview(json.dumps(other).encode()) == json.dumps(other)[:PREVIEW_CHARS_MAX]


def test_absent_payload_has_no_preview() -> None:
    assert (input_preview(None), output_preview(None)) == (None, None)


@pytest.mark.parametrize(
    "text", [LONG, "ä" * 9_000, "𝄞" * 9_000, '"\\' * 9_000, "\n" * 9_000 + "x"]
)
def test_long_text_is_cut(text: str) -> None:
    for ensure_ascii in (True, False):
        for value in (text, [{"role": "user", "content": text}]):
            found = input_preview(json.dumps(value, ensure_ascii=ensure_ascii).encode())
            assert found is not None
            assert " ".join(text.split()).startswith(found)
            is_full = len(found) >= PREVIEW_CHARS_MAX - 1  # it may be cut before a blank
            assert is_full or text.startswith("\n") or ensure_ascii


def test_message_is_found_at_either_end_of_large_payload() -> None:
    message = {"role": "user", "content": "here"}
    for value in ({"messages": [message], "rest": LONG}, {"rest": LONG, "messages": [message]}):
        assert input_preview(json.dumps(value).encode()) == "here"


@given(payload=strategies.payloads)
def test_every_payload_has_a_preview_that_can_be_stored(payload: bytes) -> None:
    for found in (input_preview(payload), output_preview(payload)):
        assert found is not None
        assert len(found) <= PREVIEW_CHARS_MAX
        assert "\0" not in found
        assert found.encode().decode() == found
