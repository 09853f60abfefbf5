"""Secrets at rest: what the database contains, and the rotation of keys under load."""

import asyncio
import uuid
from datetime import timedelta

import pytest

from adapters.aes_gcm import AesGcmCipher, generate_key
from adapters.postgres.database.secret_rotation import (
    ROWS_PER_BATCH,
    SECRETS,
    count_secrets_by_key,
    rotate_secrets,
)
from adapters.postgres.evaluation.alerts.webhooks import PostgresWebhooks
from application.ports import UnreadableSecret
from domain.errors import Conflict
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.alerts import a_delivery, a_webhook

pytestmark = pytest.mark.service

OLD, NEW = generate_key(f"old-{uuid.uuid4().hex}"), generate_key(f"new-{uuid.uuid4().hex}")
OLD_ID, NEW_ID = (key.partition(":")[0] for key in (OLD, NEW))
LONG_AGO = NOON - timedelta(days=365)
SECRET = b"a secret that no dump contains.."


def webhooks(pool, *keys):
    return PostgresWebhooks(pool, AesGcmCipher.parse(keys))


async def secrets_of(pool, project_ids, *keys):
    """The secrets, each read as a repeated request to create it would read it."""
    store = webhooks(pool, *keys)
    found = [one for id_ in project_ids for one in await store.all(id_)]
    return {
        one.id: (await store.create(a_webhook(one.project_id, id=one.id))).secret for one in found
    }


async def create_many(pool, number, *keys):
    store, made = webhooks(pool, *keys), {}
    for _ in range(number):
        one = await store.create(a_webhook(project(), secret=SECRET + uuid.uuid4().bytes))
        made[one.id] = one
    return made


async def test_database_contains_no_plaintext_secret(pool):
    [one] = (await create_many(pool, 1, OLD)).values()
    row = await pool.fetchrow("SELECT * FROM webhooks WHERE id = $1", one.id)
    assert row["secret_key_id"] == OLD_ID
    assert not [value for value in row.values() if isinstance(value, bytes) and SECRET in value]


async def test_secret_moved_to_another_row_is_not_used(pool):
    ours, theirs = (await create_many(pool, 2, OLD)).values()
    await pool.execute(
        "UPDATE webhooks SET encrypted_secret = "
        "(SELECT encrypted_secret FROM webhooks WHERE id = $1) WHERE id = $2",
        ours.id,
        theirs.id,
    )
    with pytest.raises(UnreadableSecret, match=OLD_ID):
        await webhooks(pool, OLD).create(theirs)
    assert await webhooks(pool, OLD).delete(theirs.project_id, theirs.id)


async def test_without_a_key_no_webhook_is_created_and_none_listed(pool):
    ours = project()
    with pytest.raises(Conflict, match="PANDAPROBE_SECRET_KEYS"):
        await webhooks(pool).create(a_webhook(ours))
    assert await webhooks(pool).all(ours) == []


async def test_message_with_missing_key_waits_and_delays_no_other(pool, caplog):
    [lost] = (await create_many(pool, 1, OLD)).values()
    [good] = (await create_many(pool, 1, NEW)).values()
    store = webhooks(pool, NEW)
    for one in (lost, good):
        await store.enqueue(a_delivery(one, next_attempt_at=LONG_AGO))
    claimed = [webhook for _, webhook in await store.claim_due(NOON, 1_000)]
    assert [one for one in claimed if one.id in {lost.id, good.id}] == [good]
    assert OLD_ID in caplog.text
    # A worker that has the key sends it once the lease is over.
    later = await webhooks(pool, NEW, OLD).claim_due(NOON + timedelta(days=1), 1_000)
    assert lost in [webhook for _, webhook in later]
    # Lists and deletion need no key.
    assert [one.id for one in await store.all(lost.project_id)] == [lost.id]
    assert await store.delete(lost.project_id, lost.id)


async def test_rotation_encrypts_all_in_batches_while_webhooks_come_and_go(pool):
    number = ROWS_PER_BATCH + 50
    made = await create_many(pool, number, OLD)
    batches = []
    store = webhooks(pool, NEW, OLD)
    keep = list(made.values())[:-20]

    async def delete_some():
        for one in list(made.values())[-20:]:
            assert await store.delete(one.project_id, one.id)

    async def create_some():
        return await create_many(pool, 20, NEW, OLD)

    cipher = AesGcmCipher.parse([NEW, OLD])
    counts, _, added = await asyncio.gather(
        rotate_secrets(pool, cipher, batches.append), delete_some(), create_some()
    )
    assert len(batches) >= 2
    assert max(batches) <= ROWS_PER_BATCH
    assert OLD_ID not in counts
    expected = {one.id: one.secret for one in (*keep, *added.values())}
    projects = [one.project_id for one in (*keep, *added.values())]
    assert await secrets_of(pool, projects, NEW) == expected
    assert (await count_secrets_by_key(pool))[NEW_ID] >= len(expected)


async def test_interrupted_rotation_resumes(pool):
    first = await create_many(pool, ROWS_PER_BATCH + 10, OLD)
    before = (await count_secrets_by_key(pool))[OLD_ID]
    cipher = AesGcmCipher.parse([NEW, OLD])

    class Stopped(Exception):
        pass

    def stop(_):
        raise Stopped

    with pytest.raises(Stopped):
        await rotate_secrets(pool, cipher, stop)
    left = (await count_secrets_by_key(pool)).get(OLD_ID, 0)
    assert 0 < left < before
    batches = []
    counts = await rotate_secrets(pool, cipher, batches.append)
    assert (sum(batches), counts.get(OLD_ID, 0)) == (left, 0)
    again = []
    await rotate_secrets(pool, cipher, again.append)
    assert sum(again) == 0
    projects = [one.project_id for one in first.values()]
    assert await secrets_of(pool, projects, NEW) == {one.id: one.secret for one in first.values()}


async def test_secret_with_missing_key_is_kept_and_counted(pool):
    [lost] = (await create_many(pool, 1, OLD)).values()
    counts = await rotate_secrets(pool, AesGcmCipher.parse([NEW]), lambda _: None)
    assert counts[OLD_ID] >= 1
    assert await webhooks(pool, OLD).create(lost) == lost


async def test_each_column_with_ciphertexts_is_rotated(pool):
    found = await pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE column_name LIKE '%encrypted%' AND table_schema = current_schema()"
    )
    assert {(row["table_name"], row["column_name"]) for row in found} == {
        (one.table, one.ciphertext) for one in SECRETS
    }
