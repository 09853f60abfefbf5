"""Contract of PayloadStore: objects are kept as they are, and found in the order of their keys."""

import socket
from datetime import UTC, datetime, timedelta

import pytest

from adapters.memory.tracing.payload_store import MemoryPayloadStore
from adapters.s3.payload_store import PAUSE_S, S3PayloadStore
from application.tracing.ports import PayloadStore
from domain.errors import Unavailable
from tests.support.fixtures.servers.payload_store import bucket_at, new_bucket

LATER = datetime.now(UTC) + timedelta(days=1)
EARLIER = LATER - timedelta(days=2)


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.service)])
def store(request: pytest.FixtureRequest) -> PayloadStore:
    if request.param == "memory":
        return MemoryPayloadStore()
    return new_bucket(request.getfixturevalue("s3_url"))


async def test_objects_come_back_byte_by_byte(store):
    data = bytes(range(256)) * 1_000
    await store.put("p/t/1", data)
    await store.put("p/t/2", b"")
    assert await store.get(["p/t/1", "p/t/2", "p/t/3"]) == {"p/t/1": data, "p/t/2": b""}
    assert await store.get([]) == {}


async def test_deleted_objects_are_gone_and_can_be_deleted_again(store):
    for n in range(3):
        await store.put(f"p/t/{n}", b"x")
    for _ in range(2):
        await store.delete(["p/t/0", "p/t/2", "p/unknown"])
    assert await store.list_keys("", LATER) == ["p/t/1"]


async def test_keys_are_listed_in_order_after_a_text_and_before_an_instant(store):
    keys = [f"{project}/t/{n}" for project in "ab" for n in range(3)]
    for key in reversed(keys):
        await store.put(key, b"x")
    assert await store.list_keys("", LATER) == keys
    assert await store.list_keys("a/t/1", LATER) == keys[2:]
    assert await store.list_keys("b", LATER) == keys[3:]
    assert await store.list_keys("c", LATER) == []
    assert await store.list_keys("", EARLIER) == []


def silent_server() -> socket.socket:
    """Accepts connections and answers nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    server.listen(8)
    return server


@pytest.mark.slow
@pytest.mark.parametrize("is_silent", [False, True])
async def test_storage_that_is_away_fails_once_and_then_at_once(is_silent):
    now = [0.0]
    with silent_server() as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not is_silent:
            server.close()
        store = S3PayloadStore(bucket_at(url, "b").open(), monotonic=lambda: now[0])
        with pytest.raises(Unavailable) as first:
            await store.put("p/t/1", b"x")
        assert first.value.retry_after_s == PAUSE_S
        server.close()
        for call in (store.get(["k"]), store.delete(["k"]), store.list_keys("", LATER)):
            with pytest.raises(Unavailable) as later:
                await call
            assert later.value.__cause__ is None  # it wasn't asked
        now[0] = PAUSE_S
        with pytest.raises(Unavailable) as again:
            await store.get(["k"])
        assert again.value.__cause__ is not None
