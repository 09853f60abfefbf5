"""API keys: format, stored digest, and validity."""

import hashlib
import re
import zlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import Invalid, Unauthenticated
from domain.identity.api_key import (
    ALL_SCOPES,
    PREFIX_LENGTH,
    RANDOM_BYTES,
    ApiKey,
    Expiration,
    KeyLimits,
    Scope,
    format_key,
    key_digest,
    validate_network,
)
from domain.ids import ApiKeyId, OrganizationId
from tests.support.builders.values import NOON, at, trace_id

SECRET = format_key(bytes(range(RANDOM_BYTES)))
KEY = ApiKey(
    id=ApiKeyId(trace_id()),
    organization_id=OrganizationId(trace_id()),
    created_by=None,
    name="ci",
    prefix=SECRET[:PREFIX_LENGTH],
    digest=key_digest(SECRET),
    created_at=NOON,
)


def test_secret_has_the_published_format():
    body = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b"
    assert f"pp_{body}{zlib.crc32(f'pp_{body}'.encode()):08x}" == SECRET
    assert re.fullmatch("pp_[0-9a-f]{64}", SECRET)
    assert KEY.prefix == "pp_0001020"


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_checksum_covers_every_digit(random):
    secret = format_key(random)
    for place in range(3, len(secret)):
        changed = secret[:place] + ("0" if secret[place] != "0" else "1") + secret[place + 1 :]
        assert f"{zlib.crc32(changed[:-8].encode()):08x}" != changed[-8:]


def test_keys_from_before_the_checksum_stay_good():
    assert len(key_digest("pp_" + "0f" * 32)) == 32


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_digest_covers_the_whole_text(random):
    secret = format_key(random)
    assert key_digest(secret) == hashlib.sha256(secret.encode()).digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pp_",
        SECRET[:-1],
        SECRET + "0",
        SECRET.upper(),
        SECRET.replace("pp_", "pk_"),
        SECRET.replace("a", "A"),
        SECRET.replace("a", "g"),
        " " + SECRET,
        SECRET + "\n",
        "pp_" + "٣" * 64,
        "x" * 1_000_000,
    ],
)
def test_malformed_key_is_rejected(text):
    with pytest.raises(Unauthenticated):
        key_digest(text)


def test_key_is_valid_until_its_expiry():
    key = replace(KEY, expires_at=at(10))
    assert key.check_active(at(9.999999)) is None
    for late in (at(10), at(11)):
        with pytest.raises(Unauthenticated, match="expired"):
            key.check_active(late)


def test_revoked_key_is_rejected_like_an_unknown_one():
    with pytest.raises(Unauthenticated) as unknown:
        key_digest("pp_unknown")
    revoked = replace(KEY, revoked_at=at(-1), expires_at=at(-2))
    with pytest.raises(Unauthenticated) as refused:
        revoked.check_active(NOON)
    assert refused.value.message == unknown.value.message


def test_key_has_every_scope_by_default():
    assert KEY.scopes == ALL_SCOPES == {Scope.INGEST, Scope.READ, Scope.EVALUATE}


@given(
    st.none() | st.integers(-20, 20).map(at),
    st.none() | st.integers(-20, 20).map(at),
    st.integers(-20, 20).map(at),
)
@example(None, at(5), at(5))
def test_is_active_agrees_with_check_active(revoked_at, expires_at, now):
    key = replace(KEY, revoked_at=revoked_at, expires_at=expires_at)
    if key.is_active(now):
        assert key.check_active(now) is None
    else:
        with pytest.raises(Unauthenticated):
            key.check_active(now)
    assert key.is_active(now) == (revoked_at is None and (expires_at is None or now < expires_at))


def test_key_lifetime_is_90_days_or_unlimited():
    assert [str(one) for one in Expiration] == ["never", "90d"]
    assert Expiration.NEVER.after(NOON) is None
    assert Expiration.DAYS_90.after(NOON) == NOON + timedelta(days=90)


def test_revoking_is_idempotent():
    revoked = KEY.revoked(at(1))
    assert revoked == replace(KEY, revoked_at=at(1))
    assert revoked.revoked(at(2)) == revoked
    assert not revoked.is_active(at(-100))


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"revoked_at": at(1), "expires_at": at(9)}, "revoked"),
        ({"revoked_at": at(1), "expires_at": None}, "revoked"),
        ({"expires_at": None}, "never expires"),
    ],
)
def test_revoked_or_unlimited_key_cannot_be_rotated(said, word):
    with pytest.raises(Invalid, match=word):
        replace(KEY, **said).check_rotatable()


def test_expiring_or_expired_key_can_be_rotated():
    assert replace(KEY, expires_at=at(-1)).check_rotatable() is None
    assert replace(KEY, expires_at=at(1)).check_rotatable() is None


@pytest.mark.parametrize(
    ("written", "network", "client"),
    [
        ("192.0.2.7/24", "192.0.2.0/24", "192.0.2.9"),
        ("::ffff:192.0.2.7", "192.0.2.7/32", "192.0.2.7"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24", "::ffff:192.0.2.9"),
        ("2001:db8::7/48", "2001:db8::/48", "2001:db8::9"),
    ],
)
def test_written_networks_admit_their_clients(written: str, network: str, client: str) -> None:
    assert validate_network(f" {written} ") == network
    KeyLimits(networks=(network,)).check_address(client)
    with pytest.raises(Unauthenticated):
        KeyLimits(networks=(network,)).check_address("198.51.100.1")
