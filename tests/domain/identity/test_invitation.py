"""Invitations: validity, statuses, and addresses."""

import uuid
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Conflict, Invalid
from domain.identity.invitation import (
    EMAIL_MAX,
    INVITATION_LIFETIME,
    Invitation,
    InvitationStatus,
    SentInvitation,
    normalize_email,
    validate_email,
)
from domain.identity.organization import Role
from domain.ids import InvitationId, OrganizationId, UserId
from tests.support.builders.values import NOON, at

SENT = Invitation(
    id=InvitationId(uuid.uuid4()),
    organization_id=OrganizationId(uuid.uuid4()),
    email="ada@example.com",
    role=Role.MEMBER,
    invited_by=UserId(uuid.uuid4()),
    created_at=NOON,
    expires_at=at(60),
)
PENDING, EXPIRED = InvitationStatus.PENDING, InvitationStatus.EXPIRED
FINAL = [InvitationStatus.ACCEPTED, InvitationStatus.DECLINED, InvitationStatus.REVOKED]
INSTANTS = st.integers(-120, 120).map(at)


def test_invitation_lifetime_is_7_days():
    assert timedelta(days=7) == INVITATION_LIFETIME


def test_invitation_statuses_are_the_published_ones():
    assert {*FINAL, PENDING, EXPIRED} == set(InvitationStatus)


def test_pending_invitation_expires_exactly():
    last = at(60) - timedelta(microseconds=1)
    assert SENT.as_of(last) == SENT
    assert SENT.is_pending(last)
    assert SENT.as_of(at(60)) == replace(SENT, status=EXPIRED)
    assert not SENT.is_pending(at(60))


@given(st.sampled_from(FINAL), INSTANTS)
def test_final_status_never_changes(status, now):
    settled = replace(SENT, status=status)
    assert settled.as_of(now) == settled
    assert not settled.is_pending(now)
    for other in FINAL:
        with pytest.raises(Conflict, match=status):
            settled.settled(other, now)


@given(st.sampled_from(FINAL), INSTANTS)
def test_only_pending_invitation_can_be_settled(status, now):
    if now < SENT.expires_at:
        assert SENT.settled(status, now) == replace(SENT, status=status)
    else:
        with pytest.raises(Conflict, match=EXPIRED):
            SENT.settled(status, now)


@given(INSTANTS, INSTANTS)
def test_expired_invitation_stays_expired(one, other):
    early, late = sorted((one, other))
    assert SENT.is_pending(early) or not SENT.is_pending(late)
    assert SENT.as_of(early).as_of(late) == SENT.as_of(late)


def test_sent_invitation_shows_the_current_status():
    shown = SentInvitation(
        invitation=SENT, organization_name="Ours", inviter_display_name="Bob", inviter_email="b@b.b"
    )
    assert shown.as_of(NOON) == shown
    assert shown.as_of(at(60)) == replace(shown, invitation=SENT.as_of(at(60)))


@pytest.mark.parametrize(
    ("email", "same"),
    [
        ("ada@example.com", True),
        ("ADA@Example.COM", True),
        ("  ada@example.com\n", True),
        ("adа@example.com", False),  # a Cyrillic letter
        ("ada@example.co", False),
        ("", False),
    ],
)
def test_invitation_address_is_case_insensitive(email, same):
    assert SENT.is_to(email) is same


@pytest.mark.parametrize(
    ("sent", "email"),
    [
        ("Ada@Example.com", "ada@example.com"),
        ("  ada@example.com\t", "ada@example.com"),
        ("abc", "abc"),
        ("no address at all", "no address at all"),
        ("x" * EMAIL_MAX, "x" * EMAIL_MAX),
        (" " * 500 + "x" * EMAIL_MAX, "x" * EMAIL_MAX),
        ("ÄDA@EXAMPLE.COM", "äda@example.com"),
    ],
)
def test_email_is_normalized_without_syntax_check(sent, email):
    assert validate_email(sent, "email") == email


@pytest.mark.parametrize("sent", ["", "ab", " ab ", "x" * 321, "   "])
def test_email_length_error_names_the_field(sent):
    with pytest.raises(Invalid) as refused:
        validate_email(sent, "email")
    assert [error.field for error in refused.value.errors] == ["email"]


@pytest.mark.parametrize("character", ["\n", "\u202e", "\u200b", "\0"])
def test_email_has_no_invisible_characters(character):
    with pytest.raises(Invalid) as refused:
        validate_email(f"ada{character}@example.com", "email")
    assert [error.field for error in refused.value.errors] == ["email"]


def test_email_length_limits_are_the_published_ones():
    assert validate_email("x" * 3, "email") == "x" * 3
    assert validate_email("x" * 320, "email") == "x" * 320


@given(st.text(max_size=330))
def test_validation_is_idempotent(text):
    try:
        email = validate_email(text, "email")
    except Invalid:
        return
    assert 3 <= len(email) <= 320
    assert email == normalize_email(text)
    assert validate_email(email, "email") == email
    assert replace(SENT, email=email).is_to(text)


@pytest.mark.parametrize(("status", "again"), list(product(FINAL, FINAL)))
def test_second_answer_is_a_conflict(status, again):
    with pytest.raises(Conflict):
        SENT.settled(status, NOON).settled(again, NOON)


@pytest.mark.parametrize(
    "codes",
    # The planes above 1 contain rare ideographs, no alphabets.
    [range(0x80, 0x20000), pytest.param(range(0x20000, 0x110000), marks=pytest.mark.exhaustive)],
)
def test_only_ascii_characters_normalize_to_ascii_letters(codes):
    for code in codes:
        assert not normalize_email(f"a{chr(code)}a").isascii()
