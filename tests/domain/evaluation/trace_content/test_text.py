"""Words, shingles and hashed vectors."""

import json
import math
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.trace_content.text import (
    DIMENSIONS,
    STOP_WORDS,
    containment,
    content_words,
    cosine,
    has_words,
    hashed_vector,
    jaccard,
    shingles,
    to_text,
    truncate_for_embedding,
    words,
)

texts = st.text(max_size=40)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (" a ", " a "),
        (0, "0"),
        (False, "false"),
        ({}, "{}"),
        ({"b": [1, None], "a": "é"}, '{"a":"é","b":[1,null]}'),
    ],
)
def test_to_text(value, text):
    assert to_text(value) == text


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x, max_size=3)))
def test_to_text_of_non_strings_round_trips(value):
    if value is not None and not isinstance(value, str):
        assert json.loads(to_text(value)) == value


def test_long_texts_are_embedded_by_head_and_tail():
    text = "a" * 5_300 + "b" * 2_700
    assert truncate_for_embedding(text) == text
    assert truncate_for_embedding("a" * 5_300 + "x" + "b" * 2_700) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("…: -_- 🐼", []),
        ("Hello, WORLD_2 x1", ["hello", "world", "2", "x1"]),
        ("I can't", ["i", "can", "t"]),
        ("Straße ﬁn ①", ["strasse", "fin", "1"]),
        ("无法完成 ok", ["无", "法", "完", "成", "ok"]),
        ("abc日本x", ["abc", "日", "本", "x"]),
        ("한국 カナ ไทย", ["한", "국", "カ", "ナ", "ไ", "ท", "ย"]),
        ("。・฿", []),
        ("e\u0301t\u00e9", ["été"]),
        ("\ud800a", ["a"]),
    ],
)
def test_words(text, found):
    assert words(text) == found


@given(texts)
def test_words_consist_of_letters_and_digits(text):
    found = words(text)
    assert all(word and all(map(str.isalnum, word)) for word in found)
    assert not has_words(text) or found


def test_content_words():
    assert content_words("The X of a 7 无 flight and no") == {"无", "flight", "no"}
    assert 75 <= len(STOP_WORDS) <= 105
    assert not STOP_WORDS & {"yes", "no", "not", "cancelled"}


@pytest.mark.parametrize(
    ("own", "other", "jac"),
    [("", "", 0), ("flight", "", 0), ("x1 y1", "y1 z1", 1 / 3), ("x1", "x1 x1", 1)],
)
def test_jaccard(own, other, jac):
    assert jaccard(content_words(own), content_words(other)) == jac


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", set()),
        ("one", {("one",)}),
        ("one two", {("one", "two")}),
        ("one two three", {("one", "two", "three")}),
        ("1 2 3 4 4", {("1", "2", "3"), ("2", "3", "4"), ("3", "4", "4")}),
    ],
)
def test_shingles(text, found):
    assert shingles(text) == found


def test_containment_is_asymmetric():
    short, long = shingles("a b c"), shingles("a b c d e")
    assert containment(short, long) == 1
    assert containment(long, short) == 1 / 3
    assert containment(shingles(""), long) == containment(long, shingles("")) == 0


# --- vectors -------------------------------------------------------------------------------


def test_hashed_vector_matches_golden_feature():
    digest = blake2b(b"w2:hello world", digest_size=8).digest()
    assert digest.hex() == "494d759562d9ac42"
    assert place("w2:hello world") == (329, -1)


def place(feature: str) -> tuple[int, int]:
    digest = blake2b(feature.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little") % 1024, 1 if digest[4] % 2 else -1


def told_again(text: str) -> list[float]:
    """The definition, implemented literally and slowly."""
    found = words(text)
    s = " " + " ".join(found) + " "
    grams = [f"c{n}:{s[at : at + n]}" for n in (3, 4, 5) for at in range(max(0, len(s) - n + 1))]
    pairs = [f"w2:{found[at]} {found[at + 1]}" for at in range(len(found) - 1)]
    vector = [0.0] * 1024
    for feature in [*grams, *pairs] if found else []:
        index, sign = place(feature)
        vector[index] += sign
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector


@given(texts)
def test_hashed_vector_equals_its_definition(text):
    assert list(hashed_vector(text)) == pytest.approx(told_again(text))


@pytest.mark.parametrize(
    ("other", "near"),
    [
        ("Your flight to Paris on Monday is cancelled", 0.7318),
        ("The weather is nice and warm", -0.0110),
        ("cancel MY flight, to Paris: on Monday!", 1.0),
    ],
)
def test_cosines_match_golden_values(other, near):
    one = hashed_vector("Cancel my flight to Paris on Monday")
    assert round(cosine(one, hashed_vector(other)), 4) == near


@given(texts)
def test_vector_has_length_1_or_0(text):
    vector = hashed_vector(text)
    assert len(vector) == DIMENSIONS
    if words(text) == []:
        assert not any(vector)
    else:
        assert math.isclose(cosine(vector, vector), 1) or not any(vector)
        assert any(vector) <= math.isclose(math.hypot(*vector), 1)


def test_cosine_of_zero_vectors_is_0():
    assert cosine(hashed_vector(""), hashed_vector("")) == 0
    assert cosine(hashed_vector(""), hashed_vector("flight")) == 0
