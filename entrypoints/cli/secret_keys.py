"""`secrets`: keys that encrypt stored secrets, and their rotation."""

import asyncio
import secrets
from typing import Final

from adapters.aes_gcm import generate_key
from domain.wording import counted
from entrypoints.composition import database
from entrypoints.settings import Settings, variable
from entrypoints.startup import CommandError, print_line

STILL_USED: Final = (
    "start every process with the new list of keys, and run this again; what remains then was "
    "altered, and its webhooks have to be created again"
)


def generate(key_id: str | None) -> int:
    print_line(generate_key(key_id or f"key-{secrets.token_hex(4)}"))
    return 0


def rotate(settings: Settings) -> int:
    """Prints how many secrets each key encrypts now. Raises CommandError, Unavailable."""
    if not settings.secret_keys:
        raise CommandError(
            f"{variable('secret_keys')} must be set: `secrets generate-key` prints a key"
        )
    rotated = 0

    def count(batch: int) -> None:
        nonlocal rotated
        rotated += batch

    remaining = asyncio.run(database.rotate_secrets(settings, count))
    first, *others = (key.partition(":")[0] for key in settings.secret_keys)
    print_line(
        f"{counted(rotated, 'secret')} encrypted again; the key {first} encrypts "
        f"{remaining.pop(first, 0)}"
    )
    for key_id, number in sorted(remaining.items()):
        why = STILL_USED if key_id in others else f"{variable('secret_keys')} lacks this key"
        print_line(f"The key {key_id} still encrypts {number}: {why}")
    return 1 if remaining else 0
