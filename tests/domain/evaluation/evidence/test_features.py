"""Features: equal for equal content, over the whole trace, and never printed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.evidence.answer_features import _KEYS
from domain.evaluation.evidence.builder import build_evidence
from domain.evaluation.evidence.features import (
    _REJECTION,
    ToolCallFeatures,
    TraceFeatures,
    extract_features,
)
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.tracing.span import Span, SpanStatus
from tests.support.builders.evaluated_traces import model, offering, retrieval, subject, tool
from tests.support.builders.values import at, span_id

TOOL = {
    "name": "search",
    "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
}
LOOSE = {"name": "fly", "input_schema": {"type": "object", "pattern": "x"}}


def calls(*spans: Span, **said: Any) -> tuple[ToolCallFeatures, ...]:
    return extract_features(subject(*spans, **said)).calls


def test_empty_trace_has_no_features():
    assert extract_features(subject()) == TraceFeatures()


def test_repeat_has_same_request_and_output():
    found = calls(tool(given=1, got=1), tool(given=1, got=2), tool(given=1, got=1), tool(given=2))
    assert [(one.asked_before, one.is_repeat) for one in found] == [
        *((0, False), (1, False), (2, True), (0, False)),
    ]


def test_features_without_declaration_are_none():
    [plain] = calls(tool(given={"q": "x"}))
    assert (plain.is_declared, plain.fits_schema, plain.grounding) == (None, None, None)
    found = calls(
        offering(TOOL, LOOSE),
        tool(given={"q": "Oslo"}),
        tool(given={"q": 1}),
        tool(given=None),
        tool("fly", given={"to": "Oslo"}),
        tool("swim", given={"to": "Oslo"}),
    )
    assert [one.is_declared for one in found] == [True, True, True, True, False]
    assert [one.fits_schema for one in found] == [True, False, None, None, None]


@pytest.mark.parametrize(
    ("pattern", "text"), [(_KEYS, "ключ" * 250_000), (_REJECTION, "param" * 200_000)]
)
def test_words_that_repeat_themselves_are_read_once(pattern, text):
    # Following each repetition to the end of the word would take an hour.
    assert pattern.search(text) is None


def test_grounding_counts_only_earlier_values():
    found = calls(
        model("I will look up HAT777", input="earlier I asked for HAT123"),
        tool(given={"a": "HAT123", "b": "HAT777"}, got="HAT555"),
        retrieval(["HAT444"]),
        tool(given={"a": "HAT555", "b": "HAT444", "c": "HAT000", "d": "Bergen"}),
        input="to Bergen",
    )
    assert [one.grounding for one in found] == [0.5, 0.75]
    told_later = [tool(given="HAT1"), model(input="use HAT2"), tool(given="HAT2")]
    assert [one.grounding for one in calls(*told_later)] == [0.0, 0.0]


def test_calls_of_one_instant_do_not_ground_each_other():
    pair = [
        tool(given="HAT123", got="HAT456", started_at=at(1)),
        tool(given="HAT456", started_at=at(1)),
    ]
    assert [one.grounding for one in calls(*pair)] == [0.0, 0.0]
    later = tool(given="HAT456", started_at=at(2))
    assert [one.grounding for one in calls(*pair, later)][2] == 1.0


@pytest.mark.parametrize(
    ("spans", "idle"),
    [
        ([tool(got=None), tool(got=" "), tool(got={"a": []}), tool(got=0)], 2),
        ([tool(got=None, error="no such city"), tool(got=None, status=SpanStatus.ERROR)], 0),
        ([tool(got="x"), model("y")], 0),
    ],
)
def test_idle_steps_have_neither_output_nor_error_nor_children(spans, idle):
    assert extract_features(subject(*spans)).idle_steps == idle
    outer = tool(got=None)
    inner = tool(got="x", parent_id=outer.id)
    assert extract_features(subject(outer, inner)).idle_steps == 0


def test_ends_in_error_if_the_last_root_failed():
    bad = tool(status=SpanStatus.ERROR)
    assert extract_features(subject(tool(), bad)).ends_in_error
    assert not extract_features(subject(bad, tool())).ends_in_error
    outer = tool()
    assert not extract_features(subject(outer, replace(bad, parent_id=outer.id))).ends_in_error


def test_features_are_in_the_hash_but_not_in_the_text():
    one = build_evidence(subject(tool(given={"q": "HAT123"}, got="x")))
    other = replace(one, signs=TraceFeatures())
    assert one.text() == other.text()
    assert one.hash != other.hash


instants = st.integers(1, 3).map(at)
contents = st.tuples(
    st.sampled_from(["HAT123", "HAT456"]),
    st.sampled_from(["HAT123", "HAT456"]),
    instants,
    st.booleans(),
)


@given(st.lists(contents, max_size=6), st.randoms())
def test_features_ignore_ids(some, chance):
    def spans() -> list[Span]:
        """The same calls with other ids, which decide the order within one instant."""
        return [
            tool(
                given=given, got=got, started_at=when, id=span_id(),
                status=SpanStatus.ERROR if bad else SpanStatus.OK,
            )
            for given, got, when, bad in some
        ]  # fmt: skip

    def seen(spans: list[Span]) -> tuple[TraceFeatures, str]:
        whole: EvaluatedTrace = subject(
            model(input="HAT123", started_at=at(-1)), *spans, output="HAT123"
        )
        pack = build_evidence(whole)
        return pack.signs, pack.hash

    shuffled = spans()
    chance.shuffle(shuffled)
    assert seen(spans()) == seen(shuffled)


def test_features_contain_no_sensitive_text():
    def planted(text: str) -> TraceFeatures:
        some = subject(
            *(tool(f"a {text}", {"q": [text]}, {"a": text}, error=text), tool("b", {"q": text})),
            *(model(text), tool("b", got=text)),
            input=text,
            output=text,
        )
        return build_evidence(some).signs

    assert "sk-" not in repr(planted("sk-1234567890abcdef"))
    assert planted("sk-1234567890abcdef") == planted("sk-fedcba0987654321")
    assert [one.tool for one in planted("x").calls] == [0, 1, 1]
