"""An issuer's published keys (JSON Web Key Set, RFC 7517), fetched over HTTP."""

import asyncio
import json
import logging
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from adapters.oidc.issuer_urls import discovery_url, is_as_safe
from adapters.oidc.tokens import SIGNED_WITH

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 5.0  # for discovery and keys together
BYTES_MAX: Final = 256 * 1024  # of a document; 64 keys with their certificates fit
KEYS_MAX: Final = 64  # issuers publish one to ten
KID_MAX: Final = 1_024  # characters
RSA_BITS: Final = range(2_048, 8_192 + 1)  # weaker ones are breakable, longer ones slow to use

_log: Final = logging.getLogger(__name__)


class JwksError(Exception):
    """The issuer's keys can't be had now. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class Jwks:
    """The key set at `url`, or at the address that the issuer's discovery document names.

    Bounded in time and size. Redirects are not followed: whoever can send one could send keys.
    """

    issuer: str
    url: str | None = None
    timeout_s: float = TIMEOUT_S

    async def __call__(self) -> KeySet:
        """The keys of now that we can use, maybe none. Raises JwksError."""
        import httpx2  # noqa: PLC0415 - slow to import, and not needed to be ready

        try:
            async with asyncio.timeout(self.timeout_s), self._client() as client:
                return keys_of(await _read(client, self.url or await self._discovered(client)))
        except TimeoutError as error:
            raise JwksError(f"{self._asked} gave no answer in {self.timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise JwksError(f"{self._asked}: {str(error) or type(error).__name__}") from error

    @property
    def _asked(self) -> str:
        return self.url or discovery_url(self.issuer)

    def _client(self) -> "httpx2.AsyncClient":
        import httpx2  # noqa: PLC0415

        # A proxy of the environment leads out of a network; plain http never leaves ours.
        outside = self._asked.startswith("https:")
        return httpx2.AsyncClient(follow_redirects=False, trust_env=outside, timeout=self.timeout_s)

    async def _discovered(self, client: "httpx2.AsyncClient") -> str:
        said = await _read(client, self._asked)
        # Else one issuer could bring its own keys for another's tokens.
        if said.get("issuer") != self.issuer:
            raise JwksError(f"{self._asked} speaks for {said.get('issuer')!r}, not {self.issuer!r}")
        url = said.get("jwks_uri")
        if not isinstance(url, str) or not is_as_safe(url, self._asked):
            raise JwksError(f"{self._asked} names no address of keys to be trusted: {url!r}")
        return url


async def _read(client: "httpx2.AsyncClient", url: str) -> Mapping[str, Any]:
    """The JSON object at `url`."""
    # Unpacked, a small answer may be of any size.
    head = {"accept": "application/json", "accept-encoding": "identity"}
    body = bytearray()
    async with client.stream("GET", url, headers=head) as answer:
        if answer.status_code != 200:  # noqa: PLR2004 - HTTP's own word for it
            raise JwksError(f"{url} answered {answer.status_code}")
        async for part in answer.aiter_raw():
            body += part
            if len(body) > BYTES_MAX:
                raise JwksError(f"{url} answered more than {BYTES_MAX} bytes")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise JwksError(f"{url} answered no JSON") from error
    if not isinstance(found, dict):
        raise JwksError(f"{url} answered no JSON object")
    return found


def keys_of(document: Mapping[str, Any]) -> KeySet:
    """The public keys in a key set that check signatures of ours; others are passed over.

    Raises JwksError where the document is no key set.
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise JwksError("the document holds no list of keys")
    if len(listed) > KEYS_MAX:
        raise JwksError(f"the document holds more than {KEYS_MAX} keys")
    taken = list(_taken(listed))
    if not taken:
        _log.warning("a key set of %d keys holds none that can be used", len(listed))
    return KeySet(taken)


_TYPES: Final[Mapping[str, tuple[type[RSAKey | ECKey | OKPKey], tuple[str, ...]]]] = {
    "RSA": (RSAKey, ("n", "e")),
    "EC": (ECKey, ("crv", "x", "y")),
    "OKP": (OKPKey, ("crv", "x")),
}
_CURVES: Final = {"EC": "P-256", "OKP": "Ed25519"}
_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


def _taken(listed: list[Any]) -> Iterator[Key]:
    for said in listed:
        if isinstance(said, dict) and _is_for_us(said):
            made, numbers = _TYPES[said["kty"]]
            # Nothing else of it: neither certificates nor addresses.
            kept = ("kty", "kid", "use", "alg", *numbers)
            try:
                key = made.import_key({name: said[name] for name in kept if name in said})
            except (JoseError, ValueError, TypeError, KeyError, OverflowError) as error:
                _log.warning("key %r of a key set is broken: %s", said.get("kid"), error)
                continue
            yield key


def _is_for_us(said: Mapping[str, Any]) -> bool:
    """Whether a key is a public one for signatures, of an algorithm of ours."""
    kind, kid, operations = said.get("kty"), said.get("kid", ""), said.get("key_ops", ["verify"])
    return (
        isinstance(kind, str)
        and kind in _TYPES
        and "d" not in said  # a private key in public proves nothing any more
        and isinstance(kid, str)
        and len(kid) <= KID_MAX
        and said.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and (kind not in _CURVES or said.get("crv") == _CURVES[kind])
        and (kind != "RSA" or _has_fitting_modulus(said.get("n")))
        and ("alg" not in said or _is_algorithm(said["alg"], kind))
    )


def _is_algorithm(name: object, kind: str) -> bool:
    if name == "Ed25519":  # the newer name of the same (RFC 9864)
        name = "EdDSA"
    return name in SIGNED_WITH and name == _ALGORITHMS[kind]


def _has_fitting_modulus(n: object) -> bool:
    """Looked at before anything is computed with it."""
    if not isinstance(n, str) or len(n) * 6 > RSA_BITS.stop * 2:
        return False
    try:
        modulus = urlsafe_b64decode(n + "=" * (-len(n) % 4))
    except ValueError:
        return False
    return int.from_bytes(modulus).bit_length() in RSA_BITS
