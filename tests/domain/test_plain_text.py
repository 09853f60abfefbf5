"""Text of one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.plain_text import is_plain, made_plain, validate_plain


@pytest.mark.parametrize("text", ["", "ci", "Ünï 🔑 日本", "a\u00a0b", "a\u3000b", "e\u0301"])
def test_visible_characters_are_accepted(text):
    assert validate_plain(text, "name") == text
    assert made_plain(text) == text


@pytest.mark.parametrize(
    "character",
    [
        *("\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"),
        *("\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"),
        *("\u200b", "\u200d", "\u200e", "\u200f", "\u061c", "\u00ad", "\ufeff", "\U000e0041"),
    ],
)
def test_invisible_characters_are_refused_at_every_position(character):
    for text in (character, f"{character}ab", f"a{character}b", f"ab{character}"):
        with pytest.raises(Invalid) as refused:
            validate_plain(text, "label")
        assert [one.field for one in refused.value.errors] == ["label"]
        assert made_plain(text) == text.replace(character, "")


@given(st.text())
def test_cleaned_text_is_plain(text):
    assert is_plain(made_plain(text))
    assert (made_plain(text) == text) is is_plain(text)
