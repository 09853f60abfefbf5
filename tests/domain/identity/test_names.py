"""Names of organizations and projects."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import FieldError, Invalid
from domain.identity.organization import NAME_MAX, validate_name

EDGE = string.ascii_letters + string.digits
INSIDE = EDGE + " _.'-"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("checkout-bot", "checkout-bot"),
        ("  trimmed\t\n", "trimmed"),
        ("O'Neill & Co".replace(" & ", " "), "O'Neill Co"),
        ("a", "a"),
        ("7", "7"),
        ("é", "é"),
        ("日", "日"),
        ("٣", "٣"),
        ("a..b--c__d  e", "a..b--c__d  e"),
        ("x" * NAME_MAX, "x" * NAME_MAX),
        (" " * 300 + "x" * NAME_MAX, "x" * NAME_MAX),
    ],
)
def test_valid_name_is_trimmed(sent, name):
    assert validate_name(sent, "name") == name


@pytest.mark.parametrize(
    "sent",
    [
        *("", " ", "\u3000", "-", "_", "'", "🐼", "\x00", "\u0301"),
        *("-a", "a-", ".a", "a.", "'a'", "a_"),
        *("é1", "aé", "a é b", "ab\u00a0c", "日本"),
        *("a/b", "a&b", "a\tb", "a\nb", "a\x00b", "a\\b", 'a"b', "a%b", "a@b", "a+b"),
        "x" * (NAME_MAX + 1),
    ],
)
def test_invalid_name_error_names_the_field(sent):
    with pytest.raises(Invalid) as caught:
        validate_name(sent, "header.X-Project-Name")
    [error] = caught.value.errors
    assert isinstance(error, FieldError)
    assert error.field == "header.X-Project-Name"


def test_name_length_limit_is_the_published_one():
    assert validate_name("x" * 255, "name") == "x" * 255
    with pytest.raises(Invalid):
        validate_name("x" * 256, "name")


@given(
    st.sampled_from(EDGE),
    st.text(st.sampled_from(INSIDE), max_size=NAME_MAX - 2),
    st.sampled_from(EDGE),
)
def test_every_valid_name_is_unchanged(first, inside, last):
    assert validate_name(first + inside + last, "name") == first + inside + last


@given(st.text())
def test_validation_is_idempotent(text):
    try:
        name = validate_name(text, "name")
    except Invalid:
        return
    assert validate_name(name, "name") == name
    assert 1 <= len(name) <= NAME_MAX
    assert len(name) == 1 or name.isascii()
