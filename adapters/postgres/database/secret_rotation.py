"""Encrypts the stored secrets again, with the key that encrypts now.

A secret has two columns: its ciphertext, and the id of its key. The rows themselves tell what is
left to do, so that a rotation can be stopped and started again at any time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import Pool, translate_errors
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.database.transactions import transaction
from application.ports import EncryptedSecret, SecretCipher, UnreadableSecret

ROWS_PER_BATCH: Final = 200  # rows that one transaction locks, for some milliseconds
FIRST_KEY: Final = (UUID(int=0), UUID(int=0))


@dataclass(frozen=True, slots=True)
class SecretColumns:
    """The columns of a secret in a table whose key is (project_id, id)."""

    table: str
    ciphertext: str
    key_id: str

    def select_batch(self) -> str:
        return f"""
SELECT project_id, id, {self.key_id} AS key_id, {self.ciphertext} AS ciphertext FROM {self.table}
WHERE (project_id, id) > ($1, $2) AND {self.key_id} <> $3
ORDER BY project_id, id LIMIT {ROWS_PER_BATCH} FOR UPDATE
"""

    def update_batch(self) -> str:
        return f"""
UPDATE {self.table} AS t SET {self.key_id} = n.key_id, {self.ciphertext} = n.ciphertext
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[])
  AS n (project_id, id, key_id, ciphertext)
WHERE t.project_id = n.project_id AND t.id = n.id
"""

    def count_by_key(self) -> str:
        return f"SELECT {self.key_id} AS key_id, count(*) AS n FROM {self.table} GROUP BY 1"


# Every column with a secret that is read again. Across projects.
SECRETS: Final = (SecretColumns("webhooks", "encrypted_secret", "secret_key_id"),)


def secret_context(table: str, project: UUID, row: UUID) -> bytes:
    """The place of a secret: at another one it can't be decrypted."""
    return b"%s:%s:%s" % (table.encode(), project.bytes, row.bytes)


async def count_secrets_by_key(pool: Pool) -> dict[str, int]:
    """How many secrets are encrypted with each key, by its id. Raises Unavailable."""
    counts: dict[str, int] = {}
    async with translate_errors():
        for columns in SECRETS:
            everyone = within(pool, ALL_TENANTS)
            for row in await everyone.fetch(columns.count_by_key()):
                counts[row["key_id"]] = counts.get(row["key_id"], 0) + row["n"]
    return counts


async def rotate_secrets(
    pool: Pool, cipher: SecretCipher, on_batch: Callable[[int], None]
) -> dict[str, int]:
    """Encrypts every secret with the first key. Returns the counts by key afterwards.

    Works in batches, each in a transaction of its own; `on_batch` gets how many secrets it has
    encrypted. Secrets that can't be decrypted stay as they are. Raises Unavailable.
    """
    for columns in SECRETS:
        after: tuple[UUID, UUID] | None = FIRST_KEY
        while after is not None:
            after = await _rotate_batch(pool, cipher, columns, after, on_batch)
    return await count_secrets_by_key(pool)


async def _rotate_batch(
    pool: Pool,
    cipher: SecretCipher,
    columns: SecretColumns,
    after: tuple[UUID, UUID],
    on_batch: Callable[[int], None],
) -> tuple[UUID, UUID] | None:
    """Encrypts the next secrets again. Returns the key of the last one; None if it is done."""
    async with transaction(pool, ALL_TENANTS) as connection:
        rows = await connection.fetch(columns.select_batch(), *after, cipher.key_ids[0])
        changed: list[tuple[UUID, UUID, str, bytes]] = []
        for row in rows:
            context = secret_context(columns.table, row["project_id"], row["id"])
            stored = EncryptedSecret(row["key_id"], row["ciphertext"])
            try:
                secret = cipher.decrypt(stored, context)
            except UnreadableSecret:
                continue
            new = cipher.encrypt(secret, context)
            changed.append((row["project_id"], row["id"], new.key_id, new.ciphertext))
        if changed:
            await connection.execute(columns.update_batch(), *zip(*changed, strict=True))
    on_batch(len(changed))
    return (rows[-1]["project_id"], rows[-1]["id"]) if len(rows) == ROWS_PER_BATCH else None
