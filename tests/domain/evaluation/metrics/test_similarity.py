"""Coherence and loop detection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.evidence.redaction import RedactionMode
from domain.evaluation.metrics.similarity import (
    COHERENCE,
    ComparedTexts,
    coherence,
    embedding_fingerprint,
    loop_detection,
)
from domain.evaluation.scores.outcome import Scored, SkipCode
from domain.evaluation.trace_content.text import hashed_vector, shingle_similarity
from tests.support.builders.evaluated_traces import subject

TEXTS = ["", " ", ":", "a", "Yes.", "flight to Paris", "flight to Paris is cancelled", "天气"]
some_texts = st.sampled_from(TEXTS) | st.text(max_size=20)


def alike(_one, _other):
    return 1.0


@pytest.mark.parametrize(
    ("answer", "window", "score"),
    [
        ("Flight C789 cancelled", ["Flight A123 cancelled", "Flight B456 cancelled"], 0.5),
        ("无法完成请求", ["无法完成请求"], 0.0),
        ("Yes.", ["Yes."], 0.0),
        ("a", ["a"], 1.0),
        ("hello world foo", ["hello world foo", "", "different thing entirely"], 0.0),
    ],
)
def test_loop_detection_matches_golden_values(answer, window, score):
    assert loop_detection(answer, window, alike).value == score


def test_comparison_index_includes_empty_outputs():
    window = ["hello world foo", "", "different thing entirely"]
    found = loop_detection("hello world foo", window, alike).metadata
    assert [one["trace_index"] for one in found["comparisons"]] == [0, 2]
    assert found["comparisons"][0] == {
        "trace_index": 0,
        "cosine_similarity": 1.0,
        "jaccard_similarity": 1.0,
        "hybrid_score": 1.0,
    }
    assert (found["window_size"], found["max_hybrid"]) == (3, 1.0)


@pytest.mark.parametrize(
    ("answer", "window", "code"),
    [
        ("x", [], SkipCode.NO_PREVIOUS_TRACES),
        ("", [], SkipCode.NO_PREVIOUS_TRACES),
        (" ", ["x"], SkipCode.EMPTY_OUTPUT),
        ("x", ["", " "], SkipCode.NO_PREVIOUS_OUTPUTS),
        ("x", ["x", "", " ", "\n"], SkipCode.NO_PREVIOUS_OUTPUTS),
    ],
)
def test_loop_detection_without_outputs_is_skipped(answer, window, code):
    assert loop_detection(answer, window).code is code


def test_loop_detection_uses_the_last_three_outputs():
    window = ["the same old answer", "one thing", "another thing", "some third matter"]
    assert loop_detection("the same old answer", window).value == 1.0
    assert loop_detection("the same old answer", window[:3]).value == 0.0


@given(some_texts, st.lists(some_texts, max_size=4), st.sampled_from([alike, shingle_similarity]))
def test_loop_score_is_within_0_and_1(answer, window, similar):
    outcome = loop_detection(answer, window, similar)
    assert not isinstance(outcome, Scored) or 0 <= outcome.value <= 1
    assert isinstance(outcome, Scored) == bool(
        answer.strip() and any(text.strip() for text in window[-3:])
    )


# --- coherence -----------------------------------------------------------------------------


@pytest.mark.parametrize(("request_", "answer"), [("", "x"), ("x", " "), ("", ""), ("\n", "x")])
def test_coherence_without_text_is_skipped(request_, answer):
    assert coherence(request_, answer, hashed_vector).code is SkipCode.EMPTY_INPUT_OR_OUTPUT


def test_coherence_of_wordless_text_is_0():
    outcome = coherence(":", ":", hashed_vector)
    assert (outcome.value, outcome.metadata) == (0.0, {"coherence_gap": 1.0})


def test_coherence_is_the_cosine():
    request_ = "Cancel my flight to Paris on Monday"
    outcome = coherence(request_, "Your flight to Paris on Monday is cancelled", hashed_vector)
    assert (outcome.value, outcome.metadata["coherence_gap"]) == (0.7318, 0.2682)
    assert coherence(request_, "The weather is nice and warm", hashed_vector).value == 0.0
    assert coherence(request_, request_, hashed_vector).value == 1.0


@given(some_texts, some_texts)
def test_coherence_is_within_0_and_1(request_, answer):
    outcome = coherence(request_, answer, hashed_vector)
    assert isinstance(outcome, Scored) == bool(request_.strip() and answer.strip())
    assert not isinstance(outcome, Scored) or 0 <= outcome.value <= 1


# --- compared texts --------------------------------------------------------------------------

KEY = "sk-" + "a1B2" * 8


def test_compared_texts_are_redacted():
    texts = ComparedTexts.from_trace(
        subject(input=f"use {KEY}", output=f"used {KEY}", earlier=(f"had {KEY}",)),
        RedactionMode.SECRETS,
    )
    assert texts == ComparedTexts("use [secret:1]", "used [secret:1]", ("had [secret:1]",))


@pytest.mark.parametrize("length", [8_000, 8_001, 32_001, 1_000_000])
def test_long_texts_are_compared_by_head_and_tail(length):
    text = "ab " * (length // 3) + "the end"
    texts = ComparedTexts.from_trace(subject(input="a", output=text), RedactionMode.SECRETS)
    assert len(texts.answer) <= 8_000
    assert texts.answer[:4_000] == text[:4_000]
    assert texts.answer[-2_000:] == text[-2_000:]


def test_window_hash_depends_on_evidence_and_outputs():
    hashes = {
        ComparedTexts("a", "b", window).windowed(evidence)
        for evidence in ("1", "2")
        for window in ((), ("x",), ("x", "y"), ("y", "x"))
    }
    assert len(hashes) == 8


def test_fingerprint_names_the_embedder():
    assert embedding_fingerprint(COHERENCE, "hash") == "hash/1"
    assert embedding_fingerprint(COHERENCE, "openai/small") != embedding_fingerprint(
        COHERENCE, "hash"
    )
