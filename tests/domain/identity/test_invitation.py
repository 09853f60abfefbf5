"""Invitations: until when they count, how they end, to whom they are."""

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


def test_an_invitation_is_good_for_seven_days():
    assert timedelta(days=7) == INVITATION_LIFETIME


def test_the_states_are_the_published_ones():
    assert {*FINAL, PENDING, EXPIRED} == set(InvitationStatus)


def test_a_pending_one_expires_to_the_microsecond():
    last = at(60) - timedelta(microseconds=1)
    assert SENT.as_of(last) == SENT
    assert SENT.is_pending(last)
    assert SENT.as_of(at(60)) == replace(SENT, status=EXPIRED)
    assert not SENT.is_pending(at(60))


@given(st.sampled_from(FINAL), INSTANTS)
def test_a_final_status_is_seen_as_it_is_and_never_changes(status, now):
    settled = replace(SENT, status=status)
    assert settled.as_of(now) == settled
    assert not settled.is_pending(now)
    for other in FINAL:
        with pytest.raises(Conflict, match=status):
            settled.settled(other, now)


@given(st.sampled_from(FINAL), INSTANTS)
def test_it_is_settled_while_it_is_pending_and_only_then(status, now):
    if now < SENT.expires_at:
        assert SENT.settled(status, now) == replace(SENT, status=status)
    else:
        with pytest.raises(Conflict, match=EXPIRED):
            SENT.settled(status, now)


@given(INSTANTS, INSTANTS)
def test_what_expired_stays_expired(one, other):
    early, late = sorted((one, other))
    assert SENT.is_pending(early) or not SENT.is_pending(late)
    assert SENT.as_of(early).as_of(late) == SENT.as_of(late)


def test_what_is_shown_of_it_changes_with_it():
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
def test_it_is_to_an_address_without_regard_to_case(email, same):
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
def test_an_address_is_trimmed_and_folded_and_its_syntax_not_looked_at(sent, email):
    assert validate_email(sent, "email") == email


@pytest.mark.parametrize("sent", ["", "ab", " ab ", "x" * 321, "   "])
def test_an_address_of_another_length_is_refused_naming_the_field(sent):
    with pytest.raises(Invalid) as refused:
        validate_email(sent, "email")
    assert [error.field for error in refused.value.errors] == ["email"]


def test_the_bounds_are_the_published_ones():
    assert validate_email("x" * 3, "email") == "x" * 3
    assert validate_email("x" * 320, "email") == "x" * 320


@given(st.text(max_size=330))
def test_what_is_taken_is_taken_again_unchanged(text):
    try:
        email = validate_email(text, "email")
    except Invalid:
        return
    assert 3 <= len(email) <= 320
    assert email == normalize_email(text)
    assert validate_email(email, "email") == email
    assert replace(SENT, email=email).is_to(text)


@pytest.mark.parametrize(("status", "again"), list(product(FINAL, FINAL)))
def test_two_answers_don_t_both_count(status, again):
    with pytest.raises(Conflict):
        SENT.settled(status, NOON).settled(again, NOON)


def test_no_other_sign_passes_for_an_ascii_letter_of_an_address():
    for code in range(0x80, 0x110000):
        assert not normalize_email(f"a{chr(code)}a").isascii()
