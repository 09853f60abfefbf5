"""Organizations: the last owner, and descriptions. Names: test_names.py."""

import unicodedata
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Conflict, Invalid
from domain.identity.organization import (
    DESCRIPTION_MAX,
    FIRST_ORGANIZATION,
    FIRST_PROJECT,
    NAME_MAX,
    Role,
    check_owner_remains,
    validate_description,
    validate_name,
)
from domain.ids import UserId
from tests.support.problems import for_each

ADA, BOB, CID = (UserId(uuid.UUID(int=n)) for n in range(3))
USERS = st.sampled_from([ADA, BOB, CID])
KEPT = "\t\n\r"


def test_roles_match_contract():
    assert [str(role) for role in Role] == ["OWNER", "ADMIN", "MEMBER"]


def test_default_names_are_the_published_ones():
    assert (FIRST_ORGANIZATION, FIRST_PROJECT) == ("My Organization", "onboarding")
    assert validate_name(FIRST_ORGANIZATION, "name") == FIRST_ORGANIZATION
    assert validate_name(FIRST_PROJECT, "name") == FIRST_PROJECT
    assert NAME_MAX == 255


@pytest.mark.parametrize("owners", [[], [ADA], [ADA, ADA]])
def test_last_owner_cannot_leave(owners):
    with pytest.raises(Conflict):
        check_owner_remains(owners, ADA)


@given(st.lists(USERS), USERS)
def test_owner_may_leave_if_another_remains(owners, leaving):
    if any(owner != leaving for owner in owners):
        assert check_owner_remains(owners, leaving) is None
    else:
        with pytest.raises(Conflict):
            check_owner_remains(owners, leaving)


@pytest.mark.parametrize(
    ("sent", "description"),
    [
        ("", ""),
        (" \t\r\n ", ""),
        ("  Sells things.\n", "Sells things."),
        ("one\ttwo\r\nthree\n\nfour", "one\ttwo\r\nthree\n\nfour"),
        ("Ünïcode 🔑 日本", "Ünïcode 🔑 日本"),
        ("x" * 2_000, "x" * 2_000),
        (" " * 3_000 + "x" * 2_000 + "\n", "x" * 2_000),
        ("a\u200bb\u2028c", "a\u200bb\u2028c"),  # unusual, but not control characters
    ],
)
def test_valid_description_is_trimmed(sent, description):
    assert validate_description(sent, "description") == description


@for_each(map(chr, range(256)), repr)
def test_control_characters_are_rejected_except_tab_and_line_breaks(character):
    text = f"a{character}b"
    if unicodedata.category(character) != "Cc" or character in KEPT:
        assert validate_description(text, "description") == text
        return
    with pytest.raises(Invalid) as refused:
        validate_description(text, "description")
    assert [error.field for error in refused.value.errors] == ["description"]


def test_too_long_description_error_names_the_field():
    with pytest.raises(Invalid) as refused:
        validate_description("x" * (DESCRIPTION_MAX + 1), "description")
    assert [error.field for error in refused.value.errors] == ["description"]


@given(st.text(st.characters(codec="utf-8")))
def test_validation_is_idempotent(text):
    try:
        description = validate_description(text, "description")
    except Invalid:
        assert any(unicodedata.category(one) == "Cc" for one in text)
        return
    assert validate_description(description, "description") == description == text.strip()
    assert not any(unicodedata.category(one) == "Cc" and one not in KEPT for one in description)
