"""Fetches an issuer's published keys (JSON Web Key Set, RFC 7517) over HTTP."""

import asyncio
import json
import logging
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from adapters.oidc.issuer_urls import discovery_url, is_as_trusted

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 5.0  # for discovery and keys together
DOCUMENT_BYTES_MAX: Final = 256 * 1024  # enough for 64 keys with their certificates
KEYS_MAX: Final = 64  # issuers publish one to ten
KID_CHARACTERS_MAX: Final = 1_024
RSA_BITS: Final = range(2_048, 8_192 + 1)  # shorter keys are breakable, longer ones slow

_log: Final = logging.getLogger(__name__)


class JwksError(Exception):
    """The issuer's keys can't be fetched. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class JwksClient:
    """Fetches the key set at `url`, or at the URL in the issuer's discovery document.

    Bounded in time and size. Redirects are not followed, because a redirect could replace the
    keys.
    """

    issuer: str
    url: str | None = None
    timeout_s: float = TIMEOUT_S

    async def __call__(self) -> KeySet:
        """The current keys that we can use, possibly none. Raises JwksError."""
        import httpx2  # noqa: PLC0415 - slow to import, and not needed at start-up

        source = self.url or discovery_url(self.issuer)
        # The environment's proxy leads out of our network, which plain http must not leave.
        may_use_proxy = source.startswith("https:")
        try:
            async with (
                asyncio.timeout(self.timeout_s),
                httpx2.AsyncClient(
                    follow_redirects=False, trust_env=may_use_proxy, timeout=self.timeout_s
                ) as client,
            ):
                url = self.url or await self._discover(client, source)
                return parse_keys(await read_document(client, url))
        except TimeoutError as error:
            raise JwksError(f"{source} did not answer in {self.timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise JwksError(f"{source}: {str(error) or type(error).__name__}") from error

    async def _discover(self, client: "httpx2.AsyncClient", source: str) -> str:
        document = await fetch_metadata(client, self.issuer)
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not is_as_trusted(url, source):
            raise JwksError(f"{source} has a jwks_uri that is not trusted: {url!r}")
        return url


async def fetch_metadata(client: "httpx2.AsyncClient", issuer: str) -> Mapping[str, Any]:
    """The issuer's discovery document. Raises JwksError."""
    source = discovery_url(issuer)
    document = await read_document(client, source)
    # Otherwise one issuer could provide its own keys for the tokens of another.
    if document.get("issuer") != issuer:
        raise JwksError(f"{source} has the issuer {document.get('issuer')!r}, not {issuer!r}")
    return document


async def read_document(
    client: "httpx2.AsyncClient", url: str, **headers: str
) -> Mapping[str, Any]:
    """The JSON object at `url`. Raises JwksError."""
    # No compression: a small response could unpack to any size.
    sent = {"accept": "application/json", "accept-encoding": "identity", **headers}
    body = bytearray()
    async with client.stream("GET", url, headers=sent) as response:
        if response.status_code != HTTPStatus.OK:
            raise JwksError(f"{url} answered {response.status_code}")
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > DOCUMENT_BYTES_MAX:
                raise JwksError(f"{url} answered more than {DOCUMENT_BYTES_MAX} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise JwksError(f"{url} did not answer JSON") from error
    if not isinstance(document, dict):
        raise JwksError(f"{url} did not answer a JSON object")
    return document


def parse_keys(document: Mapping[str, Any]) -> KeySet:
    """The public keys of a key set that can verify our signatures; others are skipped.

    Raises JwksError if the document isn't a key set.
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise JwksError("the document has no list of keys")
    if len(listed) > KEYS_MAX:
        raise JwksError(f"the document has more than {KEYS_MAX} keys")
    usable = list(_usable_keys(listed))
    if not usable:
        _log.warning("a key set has no usable key: %d were read", len(listed))
    return KeySet(usable)


# By type: the class, the fields of the numbers, the names of the algorithm, and the curve.
_KINDS: Final[
    Mapping[str, tuple[type[RSAKey | ECKey | OKPKey], tuple[str, ...], tuple[str, ...], str | None]]
] = {
    "RSA": (RSAKey, ("n", "e"), ("RS256",), None),
    "EC": (ECKey, ("crv", "x", "y"), ("ES256",), "P-256"),
    "OKP": (OKPKey, ("crv", "x"), ("Ed25519", "EdDSA"), "Ed25519"),  # RFC 9864, RFC 8037
}


def _usable_keys(listed: list[Any]) -> Iterator[Key]:
    for jwk in listed:
        if isinstance(jwk, dict) and _is_usable(jwk):
            key_type, numbers, algorithms, _ = _KINDS[jwk["kty"]]
            # No other fields: neither certificates nor URLs.
            fields = {name: jwk[name] for name in ("kty", "kid", "use", *numbers) if name in jwk}
            if "alg" in jwk:
                fields["alg"] = algorithms[0]  # the only name that joserfc takes
            try:
                key = key_type.import_key(fields)
            except (JoseError, ValueError, TypeError, KeyError, OverflowError) as error:
                _log.warning("key %r of a key set is invalid: %s", jwk.get("kid"), error)
                continue
            yield key


def _is_usable(jwk: Mapping[str, Any]) -> bool:
    """Whether a key is a public signing key of an algorithm that we accept."""
    kind, kid, operations = jwk.get("kty"), jwk.get("kid", ""), jwk.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in _KINDS:
        return False
    _, _, algorithms, curve = _KINDS[kind]
    return (
        "d" not in jwk  # a private key that was published proves nothing
        and isinstance(kid, str)
        and len(kid) <= KID_CHARACTERS_MAX
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and (curve is None or jwk.get("crv") == curve)
        and (kind != "RSA" or _has_valid_modulus(jwk.get("n")))
        and ("alg" not in jwk or jwk["alg"] in algorithms)
    )


def _has_valid_modulus(n: object) -> bool:
    """Checks the length before anything is computed with the number."""
    if not isinstance(n, str) or len(n) * 6 > RSA_BITS.stop * 2:
        return False
    try:
        modulus = urlsafe_b64decode(n + "=" * (-len(n) % 4))
    except ValueError:
        return False
    return int.from_bytes(modulus).bit_length() in RSA_BITS
