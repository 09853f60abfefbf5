"""JSON Web Tokens (RFC 7519), checked with joserfc; and the issuer of tokens for development."""

import json
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from joserfc import jws, jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidKeyCurveError,
    JoseError,
    UnsupportedKeyAlgorithmError,
)
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, KeySet, OctKey

from application.ports import Clock
from domain.errors import Failure, Unauthenticated
from domain.identity.user import Claims

type KeySource = Callable[[str | None], Awaitable[KeySet]]
"""The issuer's public keys, for a token that names the given key, or none.

A source that fetches them may look again for a name it doesn't know. Raises Unavailable where no
keys can be had.
"""

SIGNED_WITH: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
SYMMETRIC: Final = "HS256"

TOKEN_MAX: Final = 16_384  # characters; providers' tokens hold one to four thousand
HEADER_MAX: Final = 4_096  # bytes, encoded; some issuers send their certificate along
SECRET_MIN: Final = 32  # bytes, as many as HS256 signs with (RFC 7518, section 3.2)
SUBJECT_MAX: Final = 255  # characters (OpenID Connect Core 1.0, section 2)
EMAIL_MAX: Final = 320  # characters: 64 @ 255
DISPLAY_NAME_MAX: Final = 255  # characters; what is longer is cut
LEEWAY_S: Final = 30

INVALID: Final = "Invalid token"
EXPIRED: Final = "Token has expired"

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")  # Postgres keeps neither in a text


class JwtTokens:
    """Believes one issuer, and of its tokens those meant for one of `audiences`.

    The algorithm that a token names has to be one of ours, and the key has to be made for it:
    a public key is never taken for a shared secret. HS256 passes with `secret` only, of
    SECRET_MIN bytes at least.
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
    ) -> None:
        if secret is not None and len(secret.encode()) < SECRET_MIN:
            raise ValueError(f"a shared secret has at least {SECRET_MIN} bytes")
        self._keys = keys
        self._secret = None if secret is None else OctKey.import_key(secret.encode())
        self._registry = _Registry(
            algorithms=SIGNED_WITH if secret is None else (*SIGNED_WITH, SYMMETRIC)
        )
        self._rules = jwt.JWTClaimsRegistry(
            now=lambda: int(clock().timestamp()),
            leeway=leeway_s,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "values": list(audiences)},
            exp={"essential": True},
        )

    async def verify(self, token: str) -> Claims:
        with told_briefly():
            signed = self._read(token)
        keys = await self._keys_for(signed.headers())
        with told_briefly():
            if not any(jws.validate_compact(signed, key, registry=self._registry) for key in keys):
                raise Unauthenticated(INVALID)
            said = json.loads(signed.payload)
            self._rules.validate(said)
            return _claims(said)

    def _read(self, token: str) -> jws.CompactSignature:
        """The parts of a token, unchecked but for their form and the algorithm's name."""
        if len(token) > TOKEN_MAX:
            raise Unauthenticated(INVALID)
        signed = jws.extract_compact(token.encode("ascii"), registry=self._registry)
        self._registry.check_header(signed.headers())
        self._registry.get_alg(signed.headers()["alg"])
        return signed

    async def _keys_for(self, header: Mapping[str, Any]) -> Sequence[Key]:
        """The key that may have signed, in a list of one; none where none or several fit."""
        algorithm = self._registry.get_alg(header["alg"])
        if algorithm.name == SYMMETRIC:
            return [] if self._secret is None else [self._secret]
        kid = header.get("kid")
        fitting = [
            key for key in await self._keys(kid) if kid in {None, key.kid} and _fits(algorithm, key)
        ]
        return fitting if len(fitting) == 1 else []


def fixed(keys: KeySet) -> KeySource:
    """Keys that never change."""

    async def source(_kid: str | None) -> KeySet:
        return keys

    return source


@contextmanager
def told_briefly() -> Iterator[None]:
    """Whatever a token makes the libraries trip over, its sender learns only that it is no good."""
    try:
        yield
    except Failure:
        raise
    except ExpiredTokenError as error:
        raise Unauthenticated(EXPIRED) from error
    except Exception as error:  # a stranger's bytes: any failure is a refusal
        raise Unauthenticated(INVALID) from error


def _claims(said: Mapping[str, Any]) -> Claims:
    subject, email = _text(said.get("sub")), _text(said.get("email"))
    if not (0 < len(subject) <= SUBJECT_MAX and 0 < len(email) <= EMAIL_MAX):
        raise Unauthenticated(INVALID)
    of_user = said.get("user_metadata")
    more = of_user if isinstance(of_user, dict) else {}
    names = (more.get("full_name"), more.get("name"), said.get("name"))
    return Claims(
        issuer=said["iss"],
        subject=subject,
        email=email,
        display_name=next(filter(None, map(_text, names)), "")[:DISPLAY_NAME_MAX],
        # Some issuers say it as a string.
        email_verified=said.get("email_verified") not in (False, "false"),
    )


def _text(value: object) -> str:
    """`value` itself where it is a string that says something and can be stored, else ""."""
    if not isinstance(value, str) or not value.strip() or _UNSTORABLE.search(value):
        return ""
    return value


def _fits(algorithm: JWSAlgModel, key: Key) -> bool:
    try:
        algorithm.check_key(key)
    except JoseError:
        return False
    return True


class _Edwards(JWSAlgModel):
    """Ed25519 under its old name `EdDSA` (RFC 8037) as well as its new one (RFC 9864).

    Issuers still write the old one, in tokens and in key sets; joserfc warns of it.
    """

    name = "EdDSA"
    description = "EdDSA over Ed25519"
    key_type = "OKP"
    _names = (None, "EdDSA", "Ed25519")

    def check_key(self, key: Any) -> None:
        key.check_use("sig")
        if key.key_type != self.key_type or key.curve_name != "Ed25519":
            raise InvalidKeyCurveError
        if key.alg not in self._names:
            raise UnsupportedKeyAlgorithmError

    def sign(self, msg: bytes, key: Any) -> bytes:
        return jws.JWSRegistry.algorithms["Ed25519"].sign(msg, key)

    def verify(self, msg: bytes, sig: bytes, key: Any) -> bool:
        return jws.JWSRegistry.algorithms["Ed25519"].verify(msg, sig, key)


class _Registry(jws.JWSRegistry):
    """The algorithms we take. Header parameters that we don't know are left alone (RFC 7515)."""

    max_header_length = HEADER_MAX
    _edwards = _Edwards()

    def __init__(self, algorithms: Sequence[str]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        return self._edwards if name in _Edwards._names else super().get_alg(name)  # noqa: SLF001 - our own class


class DevelopmentIssuer:
    """Signs tokens on this machine, for as long as there is no identity provider."""

    ISSUER: Final = "pandaprobe-development"
    AUDIENCE: Final = "pandaprobe"
    FILE: Final = "development-key.json"

    def __init__(self, key: ECKey) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, folder: Path) -> Self:
        """The issuer whose key lies in `folder`; whoever comes first makes it, for everybody.

        Raises OSError, and ValueError where the file holds no key.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / cls.FILE
        if not path.exists():
            _publish(path, json.dumps(ECKey.generate_key("P-256").as_dict(private=True)))
        try:
            return cls(ECKey.import_key(json.loads(path.read_text())))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} holds no key: remove it, and a new one is made") from error

    def keys(self) -> KeySet:
        """What its tokens are checked with: the public half."""
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
    """Puts a private file in place whole, unless there is one already."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces: of two that start at once one key stays.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
