"""How long expensive bodies block the event loop: other requests wait as long.

The figures are printed (`pytest -rP`), and docs/operation/reliability.md has them. Only the
exhaustive tests judge them, and loosely, since a busy machine delays everything.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import pytest

from tests.http.conftest import CONFIG, Site
from tests.support.builders.hostile_bodies import (
    LARGE_TRACE_ID,
    SHAPES,
    TRACE_ID,
    Hostile,
    span_list,
    trace,
)
from tests.support.clients.asgi_client import chunk, exchange
from tests.support.loop_blocks import watched_loop

pytestmark = pytest.mark.service

CHUNK_BYTES: Final = 64 << 10
QUICK_BYTES: Final = 512 << 10
FULL_BYTES: Final = 20 << 20
BLOCK_MAX_MS: Final = 200.0


@pytest.fixture
async def busy_site(postgres_site: Site) -> AsyncIterator[Site]:
    """A site that stores in PostgreSQL, with one trace, and takes the largest bodies."""
    postgres_site.begin()
    site = Site(
        config=replace(CONFIG, max_body_bytes=FULL_BYTES + (2 << 20)), swapped=postgres_site.swapped
    )
    site.begin()
    async with site.http:
        yield site


async def blocked_ms(site: Site, hostile: Hostile, size: int, head: dict[str, str]) -> float:
    """The longest block while the request is served, which is not an error of the service."""
    body = hostile.body(size)
    parts = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)] or [b""]
    messages = [chunk(part, more=n < len(parts)) for n, part in enumerate(parts, 1)]
    headers = {"content-type": "application/json", **head, **hostile.headers}
    async with watched_loop() as blocks:
        sent, _ = await exchange(site.app, hostile.method, hostile.path, headers, messages)
    # A batch may be larger than what may wait to be written.
    assert sent[0]["status"] < 500 or sent[0]["status"] == 503, sent
    size_mib, status = len(body) / 2**20, sent[0]["status"]
    print(f"{hostile.name:35} {size_mib:5.1f} MiB {status} {blocks.longest_ms:7.1f} ms")
    return blocks.scaled_ms


async def stored_trace(site: Site, size: int) -> dict[str, str]:
    """The headers of a key, in a project with a large trace and a small one."""
    head = site.headers()
    for body in (trace(trace_id=b'"%b"' % TRACE_ID.encode()), span_list(size, LARGE_TRACE_ID)):
        stored = await site.http.post("/traces", headers=head, content=body)
        assert stored.status_code == 202
    return head


READS: Final = [
    Hostile("a large trace", lambda _: b"", f"/traces/{LARGE_TRACE_ID}", "GET"),
    Hostile("a large session", lambda _: b"", "/sessions/s", "GET"),
    Hostile(
        "a change of a large trace", lambda _: b'{"name":"x"}', f"/traces/{LARGE_TRACE_ID}", "PATCH"
    ),
    Hostile(
        "a late report of a large trace",
        lambda _: trace(trace_id=b'"%b"' % LARGE_TRACE_ID.encode()),
    ),
]


@pytest.mark.parametrize("hostile", [*SHAPES[::9], READS[0]], ids=lambda one: one.name)
async def test_expensive_bodies_are_answered(busy_site: Site, hostile: Hostile) -> None:
    head = await stored_trace(busy_site, 1_000)
    await blocked_ms(busy_site, hostile, QUICK_BYTES, head)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("hostile", [*SHAPES, *READS], ids=lambda one: one.name)
async def test_expensive_bodies_block_the_loop_shortly(busy_site: Site, hostile: Hostile) -> None:
    head = await stored_trace(busy_site, FULL_BYTES if hostile in READS else 1_000)
    assert await blocked_ms(busy_site, hostile, FULL_BYTES, head) < BLOCK_MAX_MS
