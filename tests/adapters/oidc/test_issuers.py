"""Several issuers: each verifies only its development tokens."""

import json
from base64 import urlsafe_b64encode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from adapters.oidc.tokens import (
    TOKEN_MAX,
    DevelopmentIssuer,
    JwtTokens,
    TokensByIssuer,
    static_keys,
)
from domain.errors import Unauthenticated
from tests.support.builders.values import NOON

AUDIENCE = "pandaprobe"
FIRST, SECOND = "https://first.example.com", "https://second.example.com"
KEYS = {name: ECKey.generate_key("P-256", {"kid": "same"}) for name in (FIRST, SECOND)}


def verifier(issuer: str) -> JwtTokens:
    keys = KeySet([ECKey.import_key(KEYS[issuer].as_dict(private=False))])
    return JwtTokens(static_keys(keys), issuer=issuer, audiences=[AUDIENCE], clock=lambda: NOON)


def token(issuer: object, key: ECKey) -> str:
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "ada", "email": "ada@example.com"}
    exp = int(NOON.timestamp()) + 60
    return jwt.encode({"alg": "ES256", "kid": "same"}, claims | {"exp": exp}, key)


BOTH = TokensByIssuer({name: verifier(name) for name in KEYS})


async def assert_refused(token: str, tokens: TokensByIssuer = BOTH) -> None:
    with pytest.raises(Unauthenticated, match=r"\AInvalid token\Z"):
        await tokens.verify(token)


@pytest.mark.parametrize("issuer", KEYS)
async def test_token_of_each_issuer_is_verified(issuer):
    found = await BOTH.verify(token(issuer, KEYS[issuer]))
    assert (found.issuer, found.subject) == (issuer, "ada")


@pytest.mark.parametrize(("issuer", "signer"), [(FIRST, SECOND), (SECOND, FIRST)])
async def test_issuer_cannot_sign_for_another(issuer, signer):
    await assert_refused(token(issuer, KEYS[signer]))


@pytest.mark.parametrize(
    "issuer", ["https://evil.example.com", FIRST + "/", "", None, 7, [FIRST], {FIRST: 1}]
)
async def test_unknown_issuer_is_refused(issuer):
    for key in KEYS.values():
        await assert_refused(token(issuer, key))


async def test_without_issuers_every_token_is_refused():
    await assert_refused(token(FIRST, KEYS[FIRST]), TokensByIssuer({}))


async def test_development_issuer_works_with_another_issuer(tmp_path):
    development = DevelopmentIssuer.load_or_create(tmp_path)
    tokens = TokensByIssuer(
        {
            FIRST: verifier(FIRST),
            development.ISSUER: JwtTokens(
                static_keys(development.keys()),
                issuer=development.ISSUER,
                audiences=[development.AUDIENCE],
                clock=lambda: NOON,
            ),
        }
    )
    development_token = development.token(
        subject="d", email="d@localhost", name="", expires_in_s=60, now=NOON
    )
    assert (await tokens.verify(development_token)).subject == "d"
    assert (await tokens.verify(token(FIRST, KEYS[FIRST]))).subject == "ada"
    await assert_refused(token(development.ISSUER, KEYS[FIRST]), tokens)


def encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 9000, b'{"iss":' + b"9" * 5000]
)
async def test_token_without_issuer_is_refused(body):
    head = encoded(json.dumps({"alg": "ES256", "kid": "same"}).encode())
    await assert_refused(f"{head}.{encoded(body)}.{encoded(b'x' * 64)}")


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é", "\ud800", "x" * (TOKEN_MAX + 1)])
async def test_any_text_is_refused(text):
    await assert_refused(text)
