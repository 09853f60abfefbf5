"""User requests: equal, similar, and too short ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.sessions.signals import (
    READ_MAX,
    WORDS_CHARS_MAX,
    RequestFingerprint,
    UserRequest,
)
from domain.evaluation.trace_content.text import has_words

ORDER = "How do I cancel my order?"


def fingerprint(text: str) -> RequestFingerprint:
    return asked(text).fingerprint


def asked(text: str) -> UserRequest:
    found = UserRequest.from_text(text)
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0"])
def test_blank_request_is_none(text):
    assert UserRequest.from_text(text) is None


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        (ORDER, "  HOW do i\ncancel my   order? ", True),
        ("Straße 5 bitte", "STRASSE 5 bitte", True),
        ("ｈｏｗ ａｒｅ ｙｏｕ", "how are you", True),
        (ORDER, "How do I cancel my order", False),
        ("what is 2 + 2", "what is 2 - 2", False),
        ("?", "!", False),
        ("x" * READ_MAX + "a", "x" * READ_MAX + "b", False),
        ("x" * READ_MAX + "a", "x" * READ_MAX + "a", True),
    ],
)
def test_digest_ignores_case_width_and_whitespace(one, other, is_equal):
    assert (asked(one).digest == asked(other).digest) is is_equal


@pytest.mark.parametrize(
    ("one", "other", "is_close"),
    [
        (ORDER, "how do i cancel my oder", True),
        (ORDER, "How can I cancel my order?", True),
        (ORDER, "I asked: how do I cancel my order", True),
        ("Cancel my order please", "Please, cancel my order", True),
        ("Wie kann ich meine Bestellung stornieren?", "Wie kann ich die Bestellung stornieren", 1),
        (ORDER, "How do I change my order?", False),
        ("What's the weather in Oslo?", "What's the weather in Bergen?", False),
        ("Translate this into French please", "Translate this into German please", False),
        ("summarise document 17 for me", "summarise document 18 for me", False),
        ("summarise document 17 for me", "summarize document 17 for me", True),
        # In a long question, one different word isn't significant.
        ("turn on the lights in the kitchen", "turn off the lights in the kitchen", True),
    ],
)
def test_similar_requests(one, other, is_close):
    assert fingerprint(one).is_similar_to(fingerprint(other)) is bool(is_close)


@pytest.mark.parametrize(
    ("text", "is_question"),
    [
        ("yes", False),
        ("Thank you!", False),
        ("?!", False),
        ("where is it", True),
        ("取消订单", True),  # each character is a word
        ("x " * 2_000, True),
    ],
)
def test_short_replies_are_not_questions(text, is_question):
    assert asked(text).is_question is is_question


texts = (st.text(max_size=40) | st.sampled_from([ORDER, "a b c", "a b c 1", "取消订单"])).filter(
    has_words
)


@given(texts, texts)
def test_similarity_is_symmetric_and_reflexive(one, other):
    assert fingerprint(one).is_similar_to(fingerprint(one))
    assert fingerprint(one).is_similar_to(fingerprint(other)) is fingerprint(other).is_similar_to(
        fingerprint(one)
    )


@given(texts)
def test_equal_requests_are_similar(text):
    again = f"  {text.replace(' ', '  ')}\n"
    assert asked(again).digest == asked(text).digest
    assert fingerprint(again).is_similar_to(fingerprint(text))


def test_wordless_requests_are_similar_to_none():
    assert not fingerprint("?").is_similar_to(fingerprint("?"))


def test_long_requests_are_compared_by_digest_only():
    instructions = "Answer from these pages alone. " * 20
    one, other = asked(instructions + "Where is Oslo?"), asked(instructions + "Who was Ibsen?")
    assert one.is_question
    assert one.words == ""
    assert not one.fingerprint.is_similar_to(other.fingerprint)
    assert one.digest != other.digest
    assert one == asked(instructions.upper() + "where is oslo?")


def test_stored_request_is_small():
    found = asked("é" * WORDS_CHARS_MAX)
    assert (len(found.words), len(found.digest)) == (WORDS_CHARS_MAX, 16)
    assert asked("é" * (WORDS_CHARS_MAX + 1)).words == ""
