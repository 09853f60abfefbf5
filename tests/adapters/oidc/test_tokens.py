"""Verification of tokens: valid ones, unusual ones, and forged, malformed or foreign ones."""

import base64
import hashlib
import hmac
import json
import logging
import multiprocessing
import stat
import warnings
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from adapters.oidc.jwks import parse_keys
from adapters.oidc.tokens import (
    EMAIL_MAX,
    SUBJECT_MAX,
    TOKEN_MAX,
    DevelopmentIssuer,
    JwtTokens,
    TokensByIssuer,
    _publish,
    static_keys,
)
from domain.errors import Unauthenticated, Unavailable
from domain.identity.caller import Claims
from tests.support.builders.values import NOON
from tests.support.clients.development_key import thumbprint

ISSUER, AUDIENCE = "https://id.example.com", "pandaprobe"
NOW = int(NOON.timestamp())
LEEWAY = 30
SECRET = "a secret that both sides know, of 32 bytes and more"
INVALID = r"\AInvalid token\Z"
EXPIRED = r"\AToken has expired\Z"

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
SHARED = OctKey.import_key(SECRET)
SIGNERS = {"RS256": RSA, "ES256": EC, "EdDSA": ED, "Ed25519": ED}


def public(*keys) -> KeySet:
    return KeySet([type(key).import_key(key.as_dict(private=False)) for key in keys])


def verifier(keys: KeySet | None = None, **overrides) -> JwtTokens:
    options = {"issuer": ISSUER, "audiences": [AUDIENCE], "clock": lambda: NOON}
    return JwtTokens(static_keys(keys or public(RSA, EC, ED)), **options | overrides)


def claims(**overrides):
    """Return valid claims with the given changes; None leaves a claim out."""
    valid = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": NOW + 60,
        "sub": "ada",
        "email": "ada@example.com",
    }
    return {name: value for name, value in (valid | overrides).items() if value is not None}


def signed(payload: object = None, alg="ES256", key=None, **header) -> str:
    """Return a correctly signed token with any payload. `kid=None` leaves out the key ID."""
    key = key or SIGNERS[alg]
    head = {"alg": alg, "kid": key.kid} | header
    head = {name: value for name, value in head.items() if value is not None}
    body = payload
    if not isinstance(payload, bytes):
        body = json.dumps(claims() if payload is None else payload)
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # the warning about the name `EdDSA`
        return jws.serialize_compact(head, body, key, registry=registry)


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_with_hmac(head: object, payload: object, secret: bytes) -> str:
    """Return a token with an HMAC, even over a key that libraries refuse."""
    message = f"{encoded(head)}.{encoded(payload)}"
    return f"{message}.{encoded(hmac.digest(secret, message.encode(), hashlib.sha256))}"


async def assert_refused(token: str, tokens: JwtTokens | None = None, match: str = INVALID) -> None:
    with pytest.raises(Unauthenticated, match=match):
        await (tokens or verifier()).verify(token)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (lambda: signed(claims(aud="other")), "its claim `aud` is missing or not as configured"),
        (lambda: signed(claims(iss="https://other")), "its claim `iss`"),
        (lambda: signed(claims(nbf=NOW + 3600)), "its claim `nbf`"),
        (lambda: signed(claims(email=None)), "no `email` that can be stored"),
        (lambda: signed(kid="unknown"), "its signature isn't by a key of its issuer"),
        (lambda: "garbage", "it can't be read (DecodeError)"),
    ],
    ids=["audience", "issuer", "not yet", "email", "key", "garbage"],
)
async def test_reason_of_a_refusal_is_logged_and_not_returned(token, said, caplog):
    with caplog.at_level(logging.INFO, "adapters.oidc"):
        await assert_refused(token(), match=f"^{INVALID}$")
    [record] = caplog.records
    assert record.getMessage().startswith("a token was refused: ")
    assert said in record.getMessage()


async def test_issuer_that_is_not_configured_is_logged(caplog):
    with caplog.at_level(logging.INFO, "adapters.oidc"), pytest.raises(Unauthenticated):
        await TokensByIssuer({"https://other": verifier()}).verify(signed())
    assert "no configured issuer is its `iss`" in caplog.text
    assert ISSUER not in caplog.text


# --- accepted tokens -----------------------------------------------------------------------------


@pytest.mark.parametrize("alg", SIGNERS)
async def test_algorithms_of_contract_are_accepted(alg):
    found = await verifier().verify(signed(alg=alg))
    expected = Claims(issuer=ISSUER, subject="ada", email="ada@example.com", email_verified=False)
    assert found == expected


@pytest.mark.parametrize("key_alg", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("token_alg", ["EdDSA", "Ed25519"])
async def test_eddsa_and_ed25519_are_equivalent_in_token_and_key(token_alg, key_alg):
    key = ED.as_dict(private=False) | {"alg": key_alg, "use": "sig"}
    tokens = verifier(parse_keys({"keys": [key]}))
    assert (await tokens.verify(signed(alg=token_alg))).subject == "ada"


@pytest.mark.parametrize("kid", [None, "unknown kid"])
async def test_hs256_token_is_accepted_only_with_configured_secret(kid):
    token = signed(alg="HS256", key=SHARED, kid=kid)
    assert (await verifier(secret=SECRET).verify(token)).subject == "ada"
    assert (await verifier(secret=SECRET).verify(signed(alg="RS256"))).subject == "ada"
    await assert_refused(token)
    await assert_refused(token, verifier(secret=SECRET + "!"))


@pytest.mark.parametrize(
    "audience", [AUDIENCE, [AUDIENCE], ["another", AUDIENCE], "second", ["x", "second"]]
)
async def test_token_with_one_of_the_audiences_is_accepted(audience):
    tokens = verifier(audiences=[AUDIENCE, "second"])
    assert (await tokens.verify(signed(claims(aud=audience)))).subject == "ada"


async def test_token_without_kid_is_accepted_if_one_key_fits():
    token = signed(alg="RS256", kid=None)
    assert (await verifier().verify(token)).subject == "ada"
    second = RSAKey.generate_key(2048, {"kid": "second"})
    await assert_refused(token, verifier(public(RSA, second)))


async def test_unknown_header_parameters_are_ignored():
    assert (await verifier().verify(signed(cat="cl_1", typ="at+jwt"))).subject == "ada"


@pytest.mark.parametrize(
    "overrides",
    [
        {"exp": NOW + 0.5},
        {"exp": NOW - LEEWAY + 1},
        {"nbf": NOW + LEEWAY},
        {"nbf": 0},
        {"sub": "s" * SUBJECT_MAX, "email": "e" * EMAIL_MAX},
        {"sub": " ünïcode ", "more": {"deep": [[[1]]]}},
    ],
)
async def test_claims_at_their_bounds_are_accepted(overrides):
    found = await verifier().verify(signed(claims(**overrides)))
    assert (found.subject, found.email) == (
        overrides.get("sub", "ada"),
        overrides.get("email", "ada@example.com"),
    )


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, ""),
        ({"name": "C"}, "C"),
        ({"name": "C", "user_metadata": {"name": "B"}}, "B"),
        ({"name": "C", "user_metadata": {"name": "B", "full_name": "A"}}, "A"),
        ({"name": "C", "user_metadata": {"full_name": "", "name": " "}}, "C"),
        ({"name": "C", "user_metadata": {"full_name": 7, "name": ["B"]}}, "C"),
        ({"name": "C", "user_metadata": "none"}, "C"),
        ({"name": "\0", "user_metadata": {"full_name": "\ud800"}}, ""),
        ({"name": "x" * 1000}, "x" * 255),
    ],
)
async def test_display_name_is_first_non_empty_name(overrides, name):
    assert (await verifier().verify(signed(claims(**overrides)))).display_name == name


UNVERIFIED = (False, "false", "False", "no", "", "True", "TRUE", "1", 1, 0, [], [True], {})


@pytest.mark.parametrize("value", [True, "true"])
async def test_email_is_verified_only_by_true(value):
    token = signed(claims(email_verified=value))
    assert (await verifier().verify(token)).email_verified is True


@pytest.mark.parametrize("value", UNVERIFIED)
@pytest.mark.parametrize("trusts", [False, True])
async def test_email_is_not_verified_by_another_value(value, trusts):
    token = signed(claims(email_verified=value, user_metadata={"email_verified": True}))
    tokens = verifier(verifies_in_metadata=True, trusts_missing_verification=trusts)
    assert (await tokens.verify(token)).email_verified is False


@pytest.mark.parametrize("trusts", [False, True])
async def test_email_without_the_claim_is_verified_only_if_configured(trusts):
    tokens = verifier(trusts_missing_verification=trusts)
    for body in (claims(), json.dumps(claims() | {"email_verified": None}).encode()):
        assert (await tokens.verify(signed(body))).email_verified is trusts


@pytest.mark.parametrize(
    ("value", "verified"), [(True, True), ("true", True), *((one, False) for one in UNVERIFIED)]
)
async def test_email_is_verified_in_metadata_only_if_configured(value, verified):
    token = signed(claims(user_metadata={"email_verified": value}))
    assert (await verifier().verify(token)).email_verified is False
    supabase = verifier(verifies_in_metadata=True)
    assert (await supabase.verify(token)).email_verified is verified


# --- algorithms and keys -------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 7, ["ES256"], {}])
@pytest.mark.parametrize("signature", ["", "x", encoded(b"x" * 64)])
async def test_unsigned_tokens_are_refused(alg, signature):
    await assert_refused(f"{encoded({'alg': alg, 'kid': 'ec'})}.{encoded(claims())}.{signature}")
    await assert_refused(f"{encoded({'kid': 'ec'})}.{encoded(claims())}.{signature}")


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("configured", [None, SECRET])
@pytest.mark.parametrize("form", ["PEM", "DER"])
async def test_public_key_is_not_accepted_as_shared_secret(alg, configured, form):
    tokens = verifier(secret=configured)
    for key in (RSA, EC, ED):
        for secret in (key.as_bytes(form), key.as_bytes(form).strip(), b""):
            await assert_refused(
                signed_with_hmac({"alg": alg, "kid": key.kid}, claims(), secret), tokens
            )


async def test_symmetric_key_in_key_set_is_not_used():
    published = OctKey.import_key(SECRET, {"kid": "oct"})
    token = signed(alg="HS256", key=published)
    await assert_refused(token, verifier(KeySet([published])))
    await assert_refused(
        token, verifier(KeySet([published]), secret="another secret of the same length")
    )


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256"])
async def test_other_algorithms_of_known_key_are_refused(alg):
    await assert_refused(signed(alg=alg, key=RSA))
    await assert_refused(signed(alg=alg, key=RSA), verifier(secret=SECRET))


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("ES384", ECKey.generate_key("P-384", {"kid": "k"})),
        ("ES512", ECKey.generate_key("P-521", {"kid": "k"})),
        ("ES256K", ECKey.generate_key("secp256k1", {"kid": "k"})),
        ("EdDSA", OKPKey.generate_key("Ed448", {"kid": "k"})),
        ("Ed448", OKPKey.generate_key("Ed448", {"kid": "k"})),
        ("HS384", OctKey.import_key(SECRET, {"kid": "k"})),
    ],
)
async def test_other_curves_and_key_lengths_are_refused(alg, key):
    keys = public(key) if alg != "HS384" else KeySet([key])
    await assert_refused(signed(alg=alg, key=key), verifier(keys, secret=SECRET))


@pytest.mark.parametrize("alg", SIGNERS)
@pytest.mark.parametrize("other", SIGNERS)
async def test_key_of_another_type_is_refused(alg, other):
    key, kid = SIGNERS[alg], SIGNERS[other].kid
    if kid != key.kid:
        await assert_refused(signed(alg=alg, key=key, kid=kid))
        await assert_refused(signed(alg=alg, key=key), verifier(public(SIGNERS[other])))


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_unknown_key_with_known_kid_is_refused(alg):
    unknown = unknown_key(alg)
    await assert_refused(signed(alg=alg, key=unknown))
    # A key in the token's header is ignored, too.
    await assert_refused(signed(alg=alg, key=unknown, jwk=unknown.as_dict(private=False)))


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "x5t", "x5t#S256"])
@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_key_parameters_in_header_are_ignored(alg, name):
    """Only `kid` selects a key: certificates and URLs in the header don't."""
    values = {"jwk": SIGNERS["ES256"].as_dict(private=False), "x5c": ["MIIB"]}
    parameter = {name: values.get(name, "https://127.0.0.1:9/keys")}
    assert (await verifier().verify(signed(alg=alg, **parameter))).subject == "ada"
    await assert_refused(signed(alg=alg, key=unknown_key(alg), **parameter))


UNKNOWN_KEYS = {
    "RS256": (2048, {"kid": "rsa"}),
    "ES256": ("P-256", {"kid": "ec"}),
    "EdDSA": ("Ed25519", {"kid": "ed"}),
}


@cache
def unknown_key(alg):
    return type(SIGNERS[alg]).generate_key(*UNKNOWN_KEYS[alg])


@pytest.mark.parametrize("secret", ["", "short", "x" * 31, "ü" * 15])
def test_short_shared_secret_is_refused(secret):
    with pytest.raises(ValueError, match="at least 32 bytes"):
        verifier(secret=secret)


@pytest.mark.parametrize("overrides", [{"use": "enc"}, {"alg": "HS256"}, {"key_ops": ["encrypt"]}])
@pytest.mark.parametrize("alg", SIGNERS)
async def test_key_for_another_use_is_refused(alg, overrides):
    signer = SIGNERS[alg]
    key = type(signer).import_key(signer.as_dict(private=False) | overrides)
    await assert_refused(signed(alg=alg), verifier(KeySet([key])))


async def test_unknown_key_is_refused_and_requested_by_kid():
    requested = []

    async def source(kid):
        requested.append(kid)
        return public(RSA)

    tokens = JwtTokens(source, issuer=ISSUER, audiences=[AUDIENCE], clock=lambda: NOON)
    await assert_refused(signed(), tokens)
    await assert_refused(signed(alg="HS256", key=SHARED), tokens)
    await assert_refused("not.a.token", tokens)
    assert (await tokens.verify(signed(alg="RS256"))).subject == "ada"
    assert requested == ["ec", "rsa"]  # no requests for tokens that cannot be valid


async def test_unavailable_keys_raise_unavailable():
    async def source(_kid):
        raise Unavailable("The identity provider's keys are not available; try again")

    tokens = JwtTokens(source, issuer=ISSUER, audiences=[AUDIENCE], clock=lambda: NOON)
    with pytest.raises(Unavailable):
        await tokens.verify(signed())


# --- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "sub", "email"])
@pytest.mark.parametrize(
    "value", [None, "", " ", [], {}, True, "\0", "a\0b", "\ud800", [7], "x" * 999]
)
async def test_missing_or_empty_required_claim_is_refused(name, value):
    await assert_refused(signed(claims(**{name: value})))


@pytest.mark.parametrize(
    "overrides",
    [
        {"iss": ISSUER + "/"},
        {"iss": ISSUER.upper()},
        {"iss": [ISSUER]},
        {"aud": "another"},
        {"aud": ["another", AUDIENCE.upper()]},
        {"aud": {"pandaprobe": 1}},
        {"aud": [AUDIENCE, 7]},
        {"exp": str(NOW + 60)},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": "soon"},
        {"nbf": NOW + LEEWAY + 1},
        {"nbf": "later"},
        {"nbf": float("nan")},
        {"sub": 7},
        {"email": ["ada@example.com"]},
        {"sub": "s" * (SUBJECT_MAX + 1)},
        {"email": "e" * (EMAIL_MAX + 1)},
    ],
)
async def test_invalid_claim_is_refused(overrides):
    await assert_refused(signed(claims(**overrides)))


@pytest.mark.parametrize("exp", [NOW - LEEWAY, NOW - LEEWAY - 0.5, NOW - 86_400, 0, -1, -(10**30)])
async def test_expired_token_is_refused_with_its_own_message(exp):
    await assert_refused(signed(claims(exp=exp)), match=EXPIRED)


async def test_expired_token_with_bad_signature_gets_general_message():
    unknown_key = ECKey.generate_key("P-256", {"kid": "ec"})
    await assert_refused(signed(claims(exp=0), key=unknown_key))


@pytest.mark.parametrize("leeway_s", [0, 300])
async def test_leeway_is_configurable(leeway_s):
    tokens = verifier(leeway_s=leeway_s)
    inside = signed(claims(exp=NOW - leeway_s + 1, nbf=NOW + leeway_s))
    assert (await tokens.verify(inside)).subject == "ada"
    await assert_refused(signed(claims(exp=NOW - leeway_s)), tokens, EXPIRED)
    await assert_refused(signed(claims(nbf=NOW + leeway_s + 1)), tokens)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b"7", b"{", b"\xff\xfe", b'{"a":' * 4000, b"[" * 9000],
)
async def test_signed_body_that_is_not_an_object_is_refused(body):
    await assert_refused(signed(body))


async def test_number_with_many_digits_is_refused():
    await assert_refused(signed(json.dumps(claims()).replace(str(NOW + 60), "9" * 5000).encode()))


# --- malformed tokens ----------------------------------------------------------------------------

VALID = signed()
HEAD, BODY, SIGNATURE = VALID.split(".")
UNENCODED_PAYLOAD_HEADER = {"alg": "ES256", "kid": "ec", "b64": False, "crit": ["b64"]}


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "..", "...", "a.b.c", f"{HEAD}.{BODY}", f"{HEAD}.{BODY}.", f"{HEAD}..{SIGNATURE}",
        f".{BODY}.{SIGNATURE}", f"{VALID}.", f".{VALID}", f"{VALID}.{SIGNATURE}", f"{VALID}\n",
        f" {VALID}",
        f"{VALID}=", f"{HEAD}.{BODY}.{SIGNATURE[:-2]}", f"{HEAD}.{BODY}.{SIGNATURE[::-1]}",
        f"{HEAD}.{BODY[:-4]}.{SIGNATURE}", f"{BODY}.{HEAD}.{SIGNATURE}", f"Bearer {VALID}",
        f"{encoded([])}.{BODY}.{SIGNATURE}", f"{encoded('alg')}.{BODY}.{SIGNATURE}",
        f"{encoded(['alg'])}.{BODY}.{SIGNATURE}", f"{encoded(None)}.{BODY}.{SIGNATURE}",
        f"{encoded(b'{')}.{BODY}.{SIGNATURE}", f"{encoded(b'[' * 3000)}.{BODY}.{SIGNATURE}",
        f"{encoded({'alg': 'ES256', 'kid': 7})}.{BODY}.{SIGNATURE}",
        f"{encoded({'alg': 'ES256', 'kid': ['ec']})}.{BODY}.{SIGNATURE}",
        f"{encoded({'alg': 'ES256', 'kid': 'ec', 'crit': ['exp']})}.{BODY}.{SIGNATURE}",
        f"{encoded(UNENCODED_PAYLOAD_HEADER)}.{BODY}.{SIGNATURE}",
        "é" + VALID, "\0", "\ud800", VALID.replace(".", "。"), "💥.💥.💥",
    ],
)  # fmt: skip
async def test_malformed_token_is_refused(token):
    await assert_refused(token)
    await assert_refused(token, verifier(secret=SECRET))


async def test_too_long_token_with_good_signature_is_refused():
    base_length = len(signed(claims(more="")))
    fits = signed(claims(more="x" * ((TOKEN_MAX - base_length) * 3 // 4 - 8)))
    assert TOKEN_MAX - 64 < len(fits) <= TOKEN_MAX
    assert (await verifier().verify(fits)).subject == "ada"
    await assert_refused(signed(claims(more="x" * TOKEN_MAX)))
    await assert_refused("x" * 10_000_000)


@given(
    token=st.text()
    | st.tuples(st.binary(), st.binary(), st.binary()).map(lambda t: ".".join(map(encoded, t)))
)
@example(token=VALID + "x")
async def test_arbitrary_text_raises_only_unauthenticated(token):
    await assert_refused(token)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    head=st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "jwk", "typ"]), json_values)
)
async def test_arbitrary_header_raises_only_unauthenticated(head):
    await assert_refused(f"{encoded(head)}.{BODY}.{SIGNATURE}")
    await assert_refused(
        f"{encoded({'alg': 'ES256', 'kid': 'ec'} | head)}.{BODY}.{SIGNATURE[::-1]}"
    )


CLAIM_NAMES = ["iss", "aud", "exp", "nbf", "iat", "sub", "email", "name", "user_metadata", "jti"]


@given(overrides=st.dictionaries(st.sampled_from(CLAIM_NAMES), json_values))
async def test_arbitrary_signed_claims_give_storable_user_or_are_refused(overrides):
    try:
        found = await verifier().verify(signed(claims(**overrides)))
    except Unauthenticated:
        return
    for text in (found.subject, found.email, found.display_name):
        assert "\0" not in text.encode().decode()  # encode() refuses lone surrogates
    assert 0 < len(found.subject) <= SUBJECT_MAX
    assert 0 < len(found.email) <= EMAIL_MAX


async def test_cause_of_refusal_is_kept_for_log_only():
    with pytest.raises(Unauthenticated) as error:
        await verifier().verify(signed(claims(iss="https://evil.example.com")))
    assert "iss" in str(error.value.__cause__)
    assert "iss" not in error.value.message


# --- the development issuer ----------------------------------------------------------------------


def development(issuer: DevelopmentIssuer) -> JwtTokens:
    return JwtTokens(
        static_keys(issuer.keys()),
        issuer=DevelopmentIssuer.ISSUER,
        audiences=[DevelopmentIssuer.AUDIENCE],
        clock=lambda: NOON,
    )


def token_of(issuer: DevelopmentIssuer, expires_in_s: int = 60) -> str:
    return issuer.token(
        subject="dev", email="dev@example.com", name="Dev", expires_in_s=expires_in_s, now=NOON
    )


async def test_development_token_passes_same_checks(tmp_path):
    issuer = DevelopmentIssuer.load_or_create(tmp_path / "new" / "folder")
    assert await development(issuer).verify(token_of(issuer)) == Claims(
        issuer="pandaprobe-development",
        subject="dev",
        email="dev@example.com",
        display_name="Dev",
    )
    await assert_refused(token_of(issuer, expires_in_s=-LEEWAY), development(issuer), EXPIRED)
    await assert_refused(token_of(issuer))
    await assert_refused(signed(), development(issuer))


async def test_key_of_development_issuer_is_persistent_and_private(tmp_path):
    folder = tmp_path / "issuer"
    before, after = (DevelopmentIssuer.load_or_create(folder) for _ in range(2))
    assert (await development(after).verify(token_of(before))).subject == "dev"
    [file] = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    published = after.keys()
    assert [key.is_private for key in published] == [False]


async def test_each_folder_has_its_own_key(tmp_path):
    first, second = (DevelopmentIssuer.load_or_create(tmp_path / name) for name in "ab")
    await assert_refused(token_of(second), development(first))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"kty":"EC"}', "-----BEGIN"])
def test_invalid_key_file_is_named_and_not_overwritten(tmp_path, text):
    path = tmp_path / DevelopmentIssuer.FILE
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)):
        DevelopmentIssuer.load_or_create(tmp_path)
    assert path.read_text() == text


@pytest.mark.slow
def test_processes_that_start_concurrently_share_one_key(tmp_path):
    folder = tmp_path / "issuer"
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        seen = processes.map(thumbprint, [folder] * 16, chunksize=1)
    assert set(seen) == {thumbprint(folder)}
    assert [file.name for file in folder.iterdir()] == [DevelopmentIssuer.FILE]


def test_concurrent_key_creation_keeps_first_key(tmp_path):
    path = tmp_path / DevelopmentIssuer.FILE
    for text in ("first", "second"):
        _publish(path, text)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
