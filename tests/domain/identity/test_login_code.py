"""Login codes: verification, validity, and the name of the key."""

import base64
import hashlib
import string
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Unauthenticated
from domain.identity.login_code import (
    CODE_BYTES,
    CODE_LIFETIME,
    LoginCode,
    challenge_of,
    code_digest,
    format_code,
    key_name,
)
from domain.ids import OrganizationId, ProjectId, UserId
from tests.support.builders.values import NOON, at

# RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

BASE64URL = set(string.ascii_letters + string.digits + "-_")
UNRESERVED = string.ascii_letters + string.digits + "-._~"  # the characters of verifiers
VERIFIERS = st.text(st.sampled_from(UNRESERVED), min_size=43, max_size=128)


def code(challenge: str = CHALLENGE) -> LoginCode:
    return LoginCode(
        digest=code_digest("code"),
        user_id=UserId(uuid.uuid4()),
        organization_id=OrganizationId(uuid.uuid4()),
        project_id=ProjectId(uuid.uuid4()),
        challenge=challenge,
        label="laptop",
        created_at=NOON,
        expires_at=NOON + CODE_LIFETIME,
    )


def test_challenge_matches_rfc_7636_example():
    assert challenge_of(VERIFIER) == CHALLENGE
    assert code().check(VERIFIER, NOON) is None


def test_code_matches_rfc_7636_example():
    octets = [
        *(116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186),
        *(22, 212, 37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121),
    ]
    assert format_code(bytes(octets)) == VERIFIER


@given(VERIFIERS, VERIFIERS)
def test_only_the_matching_verifier_is_accepted(verifier, other):
    assert code(challenge_of(verifier)).check(verifier, NOON) is None
    if verifier != other:
        with pytest.raises(Unauthenticated):
            code(challenge_of(verifier)).check(other, NOON)


@given(st.text())
def test_any_other_verifier_is_rejected(text):
    challenge = challenge_of(text)
    assert len(challenge) == 43
    assert set(challenge) <= BASE64URL
    if text != VERIFIER:
        with pytest.raises(Unauthenticated):
            code().check(text, NOON)


@pytest.mark.parametrize(
    "challenge",
    [CHALLENGE + "=", CHALLENGE.lower(), CHALLENGE[:-1], "", VERIFIER, "é" * 43, CHALLENGE + "\n"],
)
def test_challenge_is_compared_completely(challenge):
    with pytest.raises(Unauthenticated):
        code(challenge).check(VERIFIER, NOON)


@pytest.mark.parametrize("verifier", ["", "\0", "\ud800", "x" * 1_000_000, CHALLENGE])
def test_malformed_verifiers_are_rejected(verifier):
    with pytest.raises(Unauthenticated):
        code().check(verifier, NOON)


def test_code_is_valid_for_exactly_120_seconds():
    assert timedelta(seconds=120) == CODE_LIFETIME
    assert code().check(VERIFIER, at(120) - timedelta(microseconds=1)) is None
    for expired_at in (at(120), at(121)):
        with pytest.raises(Unauthenticated):
            code().check(VERIFIER, expired_at)


def test_rejection_does_not_reveal_the_reason():
    messages = set()
    for verifier, now in ((VERIFIER, at(120)), ("wrong", NOON), ("wrong", at(120))):
        with pytest.raises(Unauthenticated) as refused:
            code().check(verifier, now)
        messages.add(refused.value.message)
    assert len(messages) == 1


@given(st.binary(min_size=CODE_BYTES, max_size=CODE_BYTES))
def test_code_is_32_bytes_in_base64url_without_padding(random):
    text = format_code(random)
    assert len(text) == 43
    assert set(text) <= BASE64URL
    assert base64.urlsafe_b64decode(text + "=") == random
    assert code_digest(text) == hashlib.sha256(text.encode()).digest()


@given(st.text())
def test_any_text_has_a_code_digest(text):
    assert len(code_digest(text)) == 32


def test_key_is_named_after_label_and_day():
    assert key_name("Ada's laptop", NOON) == "PandaProbe CLI Ada's laptop 2026-03-01"


def test_long_key_name_is_truncated():
    assert key_name("x" * 255, NOON) == ("PandaProbe CLI " + "x" * 255)[:255]
    assert len(key_name("x" * 229, NOON)) == 255
    assert key_name("x" * 229, NOON).endswith("x 2026-03-01")


@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_date_in_key_name_is_utc(hours):
    midnight = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
    local_time = midnight.astimezone(timezone(timedelta(hours=hours)))
    assert key_name("x", local_time) == "PandaProbe CLI x 2026-03-01"
