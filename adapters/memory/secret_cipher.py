"""A cipher that hides nothing, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.ports import EncryptedSecret, UnreadableSecret
from domain.errors import Conflict


@dataclass(slots=True)
class MemorySecretCipher:
    """Stores the secret itself next to its context, and a number that makes each one different."""

    key_ids: Sequence[str] = ("memory",)
    encrypted: int = 0

    def encrypt(self, secret: bytes, context: bytes) -> EncryptedSecret:
        if not self.key_ids:
            raise Conflict("This server has no key to encrypt secrets")
        self.encrypted += 1
        place = b"%d:%d:%s" % (self.encrypted, len(context), context)
        return EncryptedSecret(self.key_ids[0], place + secret)

    def decrypt(self, stored: EncryptedSecret, context: bytes) -> bytes:
        if stored.key_id not in self.key_ids:
            raise UnreadableSecret(f"The key {stored.key_id!r} is not configured")
        _, _, rest = stored.ciphertext.partition(b":")
        place = b"%d:%s" % (len(context), context)
        if not rest.startswith(place):
            raise UnreadableSecret("A stored secret was altered")
        return rest.removeprefix(place)
