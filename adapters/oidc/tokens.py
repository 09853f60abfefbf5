"""Verifies JSON Web Tokens (RFC 7519) with joserfc, and issues tokens for development."""

import json
import logging
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, KeySet, OctKey

from application.identity.ports import Tokens
from application.ports import Clock
from domain.errors import Failure, Unauthenticated
from domain.identity.caller import Claims
from domain.plain_text import is_plain, made_plain

type KeySource = Callable[[str | None], Awaitable[KeySet]]
"""Returns the issuer's public keys, given the key id of a token, or None.

A source that fetches keys may fetch again for an unknown id. Raises Unavailable if it has no keys.
"""

ASYMMETRIC_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
SYMMETRIC_ALGORITHM: Final = "HS256"

TOKEN_MAX: Final = 16_384  # characters; providers' tokens have one to four thousand
HEADER_MAX: Final = 4_096  # bytes, encoded; some issuers send their certificate along
SECRET_MIN: Final = 32  # bytes, the size of an HS256 key (RFC 7518, section 3.2)
SUBJECT_MAX: Final = 255  # characters (OpenID Connect Core 1.0, section 2)
EMAIL_MAX: Final = 320  # characters: 64 @ 255
DISPLAY_NAME_MAX: Final = 255  # characters; longer names are truncated
LEEWAY_S: Final = 30

INVALID: Final = "Invalid token"
EXPIRED: Final = "Token has expired"

# For the log alone: its sender learns no details, and the log nothing of what a token says.
UNKNOWN_ISSUER: Final = "no configured issuer is its `iss`"
UNKNOWN_KEY: Final = "its signature isn't by a key of its issuer, or by an algorithm of that key"
NO_EMAIL: Final = (
    "it has no `sub` or no `email` that can be stored: ask the issuer for the scope email"
)

_log: Final = logging.getLogger(__name__)
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")  # PostgreSQL stores neither in text


class JwtTokens:
    """Verifies the tokens of one issuer that are meant for one of `audiences`.

    The algorithm that a token names must be accepted here, and the key must be of that algorithm,
    so that a public key is never used as a shared secret. HS256 is accepted only with a `secret`
    of at least SECRET_MIN bytes.

    An email is verified if `email_verified` is `true` or `"true"`. With `verifies_in_metadata` the
    claim may be in `user_metadata` instead. With `trusts_missing_verification` an email without the
    claim is verified too.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audiences: Sequence[str],
        clock: Clock,
        leeway_s: int = LEEWAY_S,
        secret: str | None = None,
        verifies_in_metadata: bool = False,
        trusts_missing_verification: bool = False,
    ) -> None:
        if secret is not None and len(secret.encode()) < SECRET_MIN:
            raise ValueError(f"a shared secret has at least {SECRET_MIN} bytes")
        self._keys = keys
        self._verifies_in_metadata = verifies_in_metadata
        self._trusts_missing_verification = trusts_missing_verification
        self._secret = None if secret is None else OctKey.import_key(secret.encode())
        self._registry = _Registry(
            algorithms=ASYMMETRIC_ALGORITHMS
            if secret is None
            else (*ASYMMETRIC_ALGORITHMS, SYMMETRIC_ALGORITHM)
        )
        self._rules = jwt.JWTClaimsRegistry(
            now=lambda: int(clock().timestamp()),
            leeway=leeway_s,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "values": list(audiences)},
            exp={"essential": True},
        )

    async def verify(self, token: str) -> Claims:
        return self.claims_from(await self.verified_payload(token))

    def claims_from(self, payload: Mapping[str, Any]) -> Claims:
        """The claims of a verified payload. Raises Unauthenticated."""
        with hide_token_errors():
            return _claims(payload, is_verified=self._is_verified(payload))

    async def verified_payload(self, token: str) -> Mapping[str, Any]:
        """The claims of a verified token. Raises Unauthenticated, Unavailable."""
        with hide_token_errors():
            signed = self._read(token)
        keys = await self._keys_for(signed.headers())
        with hide_token_errors():
            if not any(jws.validate_compact(signed, key, registry=self._registry) for key in keys):
                raise _refused(UNKNOWN_KEY)
            claims: Mapping[str, Any] = json.loads(signed.payload)
            self._rules.validate(dict(claims))
            return claims

    def _is_verified(self, payload: Mapping[str, Any]) -> bool:
        claim = payload.get("email_verified")
        if claim is None and self._verifies_in_metadata:
            claim = _profile(payload).get("email_verified")
        if claim is None:
            return self._trusts_missing_verification
        return claim is True or claim == "true"  # some issuers send a string

    def _read(self, token: str) -> jws.CompactSignature:
        """The parts of a token. Only their form and the algorithm's name are checked."""
        if len(token) > TOKEN_MAX:
            raise Unauthenticated(INVALID)
        signed = jws.extract_compact(token.encode("ascii"), registry=self._registry)
        self._registry.check_header(signed.headers())
        self._registry.get_alg(signed.headers()["alg"])
        return signed

    async def _keys_for(self, header: Mapping[str, Any]) -> Sequence[Key]:
        """A list with the key that may have signed; empty if none or several keys match."""
        algorithm = self._registry.get_alg(header["alg"])
        if algorithm.name == SYMMETRIC_ALGORITHM:
            return [] if self._secret is None else [self._secret]
        kid = header.get("kid")
        matching = [
            key
            for key in await self._keys(kid)
            if kid in {None, key.kid} and _matches(algorithm, key)
        ]
        return matching if len(matching) == 1 else []


@dataclass(frozen=True, slots=True)
class TokensByIssuer:
    """Verifies a token with the verifier of the issuer that it names, and with no other.

    `by_issuer` maps an `iss` to its verifier. If it is empty, every token is refused.
    """

    by_issuer: Mapping[str, Tokens]

    async def verify(self, token: str) -> Claims:
        with hide_token_errors():
            if len(token) > TOKEN_MAX:
                raise Unauthenticated(INVALID)
            claimed = json.loads(jws.extract_compact(token.encode("ascii")).payload)
            verifier = self.by_issuer.get(claimed["iss"])
        if verifier is None:
            raise _refused(UNKNOWN_ISSUER)
        # `iss` is unverified so far. The verifier checks it after the signature.
        return await verifier.verify(token)


def static_keys(keys: KeySet) -> KeySource:
    """A source of keys that never change."""

    async def source(_kid: str | None) -> KeySet:
        return keys

    return source


@contextmanager
def hide_token_errors() -> Iterator[None]:
    """Turns every error about a token into Unauthenticated: its sender learns no details."""
    try:
        yield
    except Failure:
        raise
    except ExpiredTokenError as error:
        raise Unauthenticated(EXPIRED) from error
    except ClaimError as error:
        raise _refused(f"its claim `{error.claim}` is missing or not as configured") from error
    except Exception as error:  # untrusted bytes: any error is a refusal
        raise _refused(f"it can't be read ({type(error).__name__})") from error


def _refused(reason: str) -> Unauthenticated:
    _log.info("a token was refused: %s", reason)
    return Unauthenticated(INVALID)


def _profile(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = payload.get("user_metadata")
    return metadata if isinstance(metadata, dict) else {}


def _claims(payload: Mapping[str, Any], *, is_verified: bool) -> Claims:
    subject, email = _text(payload.get("sub")), _text(payload.get("email"))
    # Members and inviters see the email.
    is_stored = is_plain(email) and 0 < len(subject) <= SUBJECT_MAX and 0 < len(email) <= EMAIL_MAX
    if not is_stored:
        raise _refused(NO_EMAIL)
    profile = _profile(payload)
    names = (profile.get("full_name"), profile.get("name"), payload.get("name"))
    return Claims(
        issuer=payload["iss"],
        subject=subject,
        email=email,
        display_name=made_plain(next(filter(None, map(_text, names)), ""))[:DISPLAY_NAME_MAX],
        email_verified=is_verified,
        expires_at=_instant(payload["exp"]),
        nonce=_text(payload.get("nonce")) or None,
    )


def _instant(seconds: float) -> datetime | None:
    """None for a time that no datetime can hold: some tokens are valid for ever."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _text(value: object) -> str:
    """`value` if it is a string that isn't blank and can be stored, else ""."""
    if not isinstance(value, str) or not value.strip() or _UNSTORABLE.search(value):
        return ""
    return value


def _matches(algorithm: JWSAlgModel, key: Key) -> bool:
    try:
        algorithm.check_key(key)
    except JoseError:
        return False
    return True


class _Registry(jws.JWSRegistry):
    """The accepted algorithms. Unknown header parameters are ignored (RFC 7515).

    Issuers still use the old name of Ed25519, `EdDSA` (RFC 8037), in tokens and in key sets.
    joserfc warns about it, and accepts another curve under that name.
    """

    max_header_length = HEADER_MAX

    def __init__(self, algorithms: Sequence[str]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


class DevelopmentIssuer:
    """Signs tokens on this machine, for development without an identity provider."""

    ISSUER: Final = "pandaprobe-development"
    AUDIENCE: Final = "pandaprobe"
    FILE: Final = "development-key.json"

    def __init__(self, key: ECKey) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, folder: Path) -> Self:
        """Loads the issuer's key from `folder`. The first caller creates it.

        Raises OSError, and ValueError if the file doesn't contain a key.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / cls.FILE
        if not path.exists():
            _publish(path, json.dumps(ECKey.generate_key("P-256").as_dict(private=True)))
        try:
            return cls(ECKey.import_key(json.loads(path.read_text())))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path} doesn't contain a key: delete it, and a new one is created"
            ) from error

    def keys(self) -> KeySet:
        """The public keys that verify its tokens."""
        return KeySet([ECKey.import_key(self._key.as_dict(private=False))])

    def token(
        self, *, subject: str, email: str, name: str, expires_in_s: int, now: datetime
    ) -> str:
        issued = int(now.timestamp())
        claims = {
            "iss": self.ISSUER,
            "aud": self.AUDIENCE,
            "sub": subject,
            "email": email,
            "email_verified": True,
            "name": name,
            "iat": issued,
            "exp": issued + expires_in_s,
        }
        [public] = self.keys()
        return jwt.encode({"alg": "ES256", "kid": public.kid}, claims, self._key)


def _publish(path: Path, text: str) -> None:
    """Creates a private file atomically, unless it exists."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces a file: concurrent starts keep one key.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
