"""Key sets over HTTP: which keys are used, and protection against hostile issuers."""

import asyncio
import gzip
import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from adapters.oidc.issuer_urls import discovery_url, is_as_trusted, is_trusted
from adapters.oidc.jwks import DOCUMENT_BYTES_MAX, KEYS_MAX, JwksClient, JwksError, parse_keys
from tests.support.fakes.issuer_server import DISCOVERY, JWKS, publishing

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})


def public(key, **more) -> dict:
    return key.as_dict(private=False) | more


def document(*keys) -> dict:
    return {"keys": [key if isinstance(key, dict) else public(key) for key in keys]}


def names(found) -> list[str]:
    return [key.kid for key in found]


@pytest.fixture
async def issuer():
    async with publishing() as publisher:
        yield publisher


# --- accepted keys -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [RSA, EC, ED])
@pytest.mark.parametrize("use", [{}, {"use": "sig"}, {"key_ops": ["verify"]}])
def test_public_keys_of_accepted_algorithms_are_used(key, use):
    assert names(parse_keys(document(public(key, **use)))) == [key.kid]


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")]
)
def test_key_with_accepted_algorithm_is_used(key, alg):
    assert names(parse_keys(document(public(key, alg=alg)))) == [key.kid]


def weak(bits: int) -> dict:
    with warnings.catch_warnings(action="ignore"):
        return public(RSAKey.generate_key(bits, {"kid": "k"}))


@pytest.mark.parametrize(
    "key",
    [
        OctKey.generate_key(256, {"kid": "k"}).as_dict(private=True),
        OctKey.generate_key(256, {"kid": "k", "use": "sig", "alg": "HS256"}).as_dict(private=True),
        public(ECKey.generate_key("P-384", {"kid": "k"})),
        public(ECKey.generate_key("secp256k1", {"kid": "k"})),
        public(OKPKey.generate_key("X25519", {"kid": "k"})),
        public(OKPKey.generate_key("Ed448", {"kid": "k"})),
        weak(1024),
        public(RSA, n="A" * 100_000),
        public(RSA, n="ä" * 342),
        public(RSA, n=7),
        public(RSA, use="enc"),
        public(RSA, use=None),
        public(RSA, key_ops=["encrypt"]),
        public(RSA, key_ops="verify"),
        public(RSA, alg="RSA-OAEP"),
        public(RSA, alg="HS256"),
        public(RSA, alg="PS256"),
        public(RSA, alg=["RS256"]),
        public(EC, alg="RS256"),
        public(ED, alg="ES256"),
        public(RSA, kid=7),
        public(RSA, kid="k" * 2000),
        public(RSA, kty="EC"),
        public(EC, x="AAAA"),
        public(EC, y=public(EC)["x"]),
        public(EC, crv=["P-256"]),
        public(ED, x=None),
        RSA.as_dict(private=True),
        EC.as_dict(private=True),
        {"kty": "RSA"},
        {"kty": []},
        {},
    ],
)
def test_other_keys_are_skipped(key):
    assert names(parse_keys(document(key, EC))) == ["ec"]


@pytest.mark.parametrize("key", [None, 7, "key", [], [public(RSA)]])
def test_invalid_keys_are_skipped(key):
    assert names(parse_keys({"keys": [key, public(EC)]})) == ["ec"]


def test_other_fields_of_a_key_are_dropped():
    more = {"x5u": "https://evil.example.com", "jku": "https://evil.example.com", "x5c": ["AA"]}
    [key] = parse_keys(document(public(EC, **more)))
    assert not more.keys() & key.as_dict().keys()


@pytest.mark.parametrize("found", [{}, {"keys": None}, {"keys": {}}, {"keys": "k"}])
def test_invalid_key_set_is_an_error(found):
    with pytest.raises(JwksError, match="no list of keys"):
        parse_keys(found)


def test_key_set_without_usable_keys_is_empty():
    assert names(parse_keys({"keys": []})) == []


def test_number_of_keys_is_limited():
    assert len(parse_keys(document(*[EC] * KEYS_MAX)).keys) == KEYS_MAX
    with pytest.raises(JwksError, match="more than"):
        parse_keys(document(*[EC] * (KEYS_MAX + 1)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
MEMBERS = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops"]


@given(
    key=st.sampled_from([RSA, EC, ED]), more=st.dictionaries(st.sampled_from(MEMBERS), json_values)
)
def test_malformed_key_does_not_affect_others(key, more):
    assert "valid" in names(parse_keys(document(public(key, **more), public(EC, kid="valid"))))


# --- over HTTP -----------------------------------------------------------------------------------


async def test_keys_are_fetched_from_the_configured_url(issuer):
    issuer.says(JWKS, document(RSA, EC))
    assert names(await JwksClient("any", issuer.url + JWKS)()) == ["rsa", "ec"]
    assert issuer.asked == [JWKS]


async def test_keys_are_fetched_from_the_discovered_url(issuer):
    issuer.describes_itself()
    issuer.says(JWKS, document(EC))
    assert names(await JwksClient(issuer.url)()) == ["ec"]
    assert issuer.asked == [DISCOVERY, JWKS]


async def assert_error(source: JwksClient, match: str) -> None:
    with pytest.raises(JwksError, match=match):
        await source()


@pytest.mark.parametrize("named", ["https://other.example.com", "", None, 7])
async def test_discovery_document_of_another_issuer_is_an_error(issuer, named):
    issuer.describes_itself(issuer=named)
    issuer.says(JWKS, document(EC))
    await assert_error(JwksClient(issuer.url), "has the issuer")
    assert issuer.asked == [DISCOVERY]


@pytest.mark.parametrize(
    "url", [None, 7, "", "/jwks.json", "file:///etc/passwd", "http://keys.example.com", "http://["]
)
async def test_keys_at_an_untrusted_url_are_not_fetched(issuer, url):
    issuer.describes_itself(jwks_uri=url)
    await assert_error(JwksClient(issuer.url), "has a jwks_uri that is not trusted")


@pytest.mark.parametrize("status", [204, 206, 301, 302, 303, 307, 308, 400, 401, 404, 500, 503])
async def test_other_statuses_and_redirects_are_errors(issuer, status):
    issuer.says("/elsewhere", document(EC))
    issuer.says(JWKS, document(EC), status=status, headers=(f"location: {issuer.url}/elsewhere",))
    await assert_error(JwksClient("any", issuer.url + JWKS), f"answered {status}")
    assert issuer.asked == [JWKS]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"<html>", b"[]", b"null", b'"keys"', b"\xff\xfe", b"[" * 100_000, b'{"keys":7}'],
)
async def test_invalid_document_is_an_error(issuer, body):
    issuer.says(JWKS, body)
    await assert_error(JwksClient("any", issuer.url + JWKS), "did not answer|no list of keys")


async def test_document_size_is_limited(issuer):
    body = json.dumps(document(EC)).encode()
    issuer.says(JWKS, body.ljust(DOCUMENT_BYTES_MAX))
    assert names(await JwksClient("any", issuer.url + JWKS)()) == ["ec"]
    issuer.says(JWKS, body.ljust(DOCUMENT_BYTES_MAX + 1))
    await assert_error(JwksClient("any", issuer.url + JWKS), "more than")


async def test_compressed_document_is_not_decompressed(issuer):
    compressed = gzip.compress(b" " * 100_000_000)
    assert len(compressed) < DOCUMENT_BYTES_MAX
    issuer.says(JWKS, compressed, headers=("content-encoding: gzip",))
    await assert_error(JwksClient("any", issuer.url + JWKS), "did not answer JSON")
    assert "accept-encoding: identity" in issuer.heads[0].lower()


@pytest.mark.parametrize("drips", [True, False])
async def test_slow_issuer_times_out(issuer, drips):
    hold = asyncio.Event()
    issuer.says(JWKS, document(EC), release=None if drips else hold, drips=drips)
    await assert_error(
        JwksClient("any", issuer.url + JWKS, timeout_s=0.2), "did not answer in|timed? ?out"
    )
    hold.set()


async def test_unreachable_issuer_is_an_error_with_its_url(issuer):
    issuer.pages.clear()
    gone = "http://127.0.0.1:9/jwks.json"  # the port of `discard`, which is closed
    await assert_error(JwksClient("any", gone), "127.0.0.1:9")


# --- URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com", "https://id.example.com:8443/a?b=c", "http://localhost:8080",
        "http://127.0.0.1", "http://[::1]:80/jwks", "http://10.1.2.3", "http://keycloak:8080/realms",
        "http://keycloak.auth.svc.cluster.local", "http://idp.internal",
    ],
)  # fmt: skip
def test_trusted_urls(url):
    assert is_trusted(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com", "http://8.8.8.8", "http://[2001:4860::8888]", "ftp://localhost",
        "file:///etc/passwd", "//localhost", "localhost", "", "https://", "https://u:p@example.com",
        "https://u@example.com", "https://example.com/#a", "https://example.com:port", "http://[",
        "https://exa mple.com", "https://example.com/\n", "https://ünicode.example.com",
        "http://localhost.example.com", "http://evil.com/.local", "http://.",
    ],
)  # fmt: skip
def test_untrusted_urls(url):
    assert not is_trusted(url)


def test_discovered_url_must_not_downgrade():
    assert is_as_trusted("https://keys.example.com", "https://id.example.com")
    assert is_as_trusted("https://keys.example.com", "http://localhost")
    assert is_as_trusted("http://localhost/keys", "http://localhost")
    assert not is_as_trusted("http://localhost/keys", "https://id.example.com")
    assert not is_as_trusted("http://example.com/keys", "http://localhost")


@pytest.mark.parametrize("issuer", ["https://a.example.com/x", "https://a.example.com/x/"])
def test_discovery_url_is_below_the_issuer(issuer):
    assert discovery_url(issuer) == "https://a.example.com/x/.well-known/openid-configuration"
