"""Encrypts stored secrets with AES-256-GCM.

Unlike Fernet, it also authenticates what isn't encrypted: the place of a secret. So the secret of
one row can't be used in another by writing to the database.
"""

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from application.ports import EncryptedSecret, UnreadableSecret
from domain.errors import Conflict

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # random: one key may encrypt 2^32 secrets, far more than a service has
KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
NO_KEY: Final = (
    "This server has no key to encrypt secrets, so it can't store any: its operator has to set "
    "PANDAPROBE_SECRET_KEYS"
)


def generate_key(key_id: str) -> str:
    """A new random key in the form `id:key`."""
    return f"{key_id}:{urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()}"


@dataclass(frozen=True, slots=True)
class AesGcmCipher:
    """`keys` are by id; the first one encrypts. A ciphertext begins with its nonce."""

    keys: Mapping[str, AESGCM] = field(repr=False)

    @classmethod
    def parse(cls, keys: Sequence[str]) -> Self:
        """From keys in the form `id:key`, with the key in Base64. Raises ValueError."""
        parsed: dict[str, AESGCM] = {}
        for text in keys:
            key_id, _, encoded = text.partition(":")
            key = urlsafe_b64decode(encoded.replace("+", "-").replace("/", "_").rstrip("=") + "=")
            if not KEY_ID.fullmatch(key_id) or key_id in parsed or len(key) != KEY_BYTES:
                raise ValueError(f"a key has a unique id and {KEY_BYTES} bytes in Base64")
            parsed[key_id] = AESGCM(key)
        return cls(parsed)

    @property
    def key_ids(self) -> Sequence[str]:
        return tuple(self.keys)

    def encrypt(self, secret: bytes, context: bytes) -> EncryptedSecret:
        if not self.keys:
            raise Conflict(NO_KEY)
        key_id, key = next(iter(self.keys.items()))
        nonce = os.urandom(NONCE_BYTES)
        return EncryptedSecret(key_id, nonce + key.encrypt(nonce, secret, context))

    def decrypt(self, stored: EncryptedSecret, context: bytes) -> bytes:
        key = self.keys.get(stored.key_id)
        if key is None:
            raise UnreadableSecret(
                f"A stored secret is encrypted with the key {stored.key_id!r}, which isn't "
                "configured: the operator of this server has to add it to PANDAPROBE_SECRET_KEYS"
            )
        nonce, ciphertext = stored.ciphertext[:NONCE_BYTES], stored.ciphertext[NONCE_BYTES:]
        try:
            return key.decrypt(nonce, ciphertext, context)
        except (InvalidTag, ValueError) as error:
            raise UnreadableSecret(
                f"A stored secret was altered, or the key {stored.key_id!r} isn't the one that "
                "encrypted it"
            ) from error
