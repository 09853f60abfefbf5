"""Long texts that traces of a project repeat are stored once, and removed with their last trace."""

import asyncio
import base64
import json
import random
import re
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.payloads.block_compaction import (
    LiveRanges,
    PostgresPayloadStorage,
    live_parts,
)
from adapters.postgres.tracing.payloads.frames import compressed, compressed_with, decompressed_with
from adapters.postgres.tracing.payloads.payload_text import Block, DamagedText
from adapters.postgres.tracing.payloads.shared_texts import (
    LONG_TEXT_BYTES_MAX,
    LONG_TEXT_BYTES_MIN,
    LONG_TEXTS_OF_BLOCK_MAX,
    find_long_texts,
    lock_texts,
    note_long_texts,
    text_from_frame,
)
from adapters.postgres.tracing.writes.batch_writer import ROUNDS_MAX, TraceWriter
from application.tracing.payload_storage import REMOVED_AFTER
from domain.ids import ProjectId, TraceId
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.values import NOON, project_prices, span, trace, trace_id
from tests.support.fixtures.data_plane import (
    DataPlane,
    fill,
    join_payloads,
    over_postgres,
    project,
    remove_unused_texts,
    traces_page,
)
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.waiting import until_done

PROJECT: Final = ProjectId(uuid.UUID(int=1))
FILLERS: Final = (1, LONG_TEXT_BYTES_MIN // 2, LONG_TEXT_BYTES_MIN - 1, LONG_TEXT_BYTES_MIN, 5_000)
BLOCKS: Final = """
SELECT octet_length(block) AS size, texts, written_at FROM trace_payloads
WHERE project_id = $1 AND trace_id = $2 ORDER BY start
"""
SHARED: Final = "SELECT frame FROM shared_texts WHERE project_id = $1"
DAMAGE: Final = """
UPDATE shared_texts SET frame = overlay(frame placing '\\xff'::bytea from 40) WHERE project_id = $1
"""
LOCK_SHARED: Final = "SELECT 1 FROM shared_texts WHERE project_id = $1 FOR KEY SHARE"
WAIT_AGAIN: Final = "UPDATE trace_payloads SET written_at = now() WHERE project_id = $1"
COUNTS: Final = """
SELECT (SELECT count(*) FROM long_texts WHERE project_id = $1) AS long,
       (SELECT count(*) FROM shared_texts WHERE project_id = $1) AS shared,
       (SELECT count(*) FROM released_texts WHERE project_id = $1) AS released
"""


def prose(seed: int, size: int = 2 * LONG_TEXT_BYTES_MIN) -> str:
    """A text that hardly compresses, with what JSON escapes, and no end of a string in it."""
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz é\n", k=size))


def json_of(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


PROMPT: Final = prose(1)


def conversation(n: int, prompt: str = PROMPT) -> bytes:
    said = [{"role": "system", "content": prompt}, {"role": "user", "content": f"question {n}"}]
    return json_of({"messages": said})


def asking(n: int, prompt: str = PROMPT, **more: Any) -> Trace:
    return trace(span(input=conversation(n, prompt), output=b'"%d"' % n), **more)


# --- which texts are long ---


def test_strings_of_a_text_are_found_however_deep_they_are():
    found = find_long_texts(PROJECT, conversation(1) + json_of([{"a": prose(2)}, "short"]))
    assert set(found.values()) == {json_of(prose(n))[1:-1] for n in (1, 2)}


def test_strings_of_json_within_a_string_are_found():
    inner = json.dumps([{"content": PROMPT}, {"content": "short " * 10}], ensure_ascii=False)
    found = find_long_texts(PROJECT, json_of({"gen_ai.input.messages": inner}))
    assert [*found.values()] == [json_of(json.dumps(PROMPT, ensure_ascii=False)[1:-1])[1:-1]]


def test_text_with_quotes_is_one_text():
    quoting = 'she said "yes" ' * LONG_TEXT_BYTES_MIN
    assert [*find_long_texts(PROJECT, json_of(quoting)).values()] == [json_of(quoting)[1:-1]]


@given(st.lists(st.sampled_from([b'"', b'\\"', b"\\", b"\0", *(b"x" * n for n in FILLERS)])))
def test_long_texts_are_what_lies_between_quotes_that_are_not_escaped(parts):
    text = b"".join(parts)
    strings = re.split(rb'(?<!\\)"|\0', text)
    expected = {one for one in strings if len(one) >= LONG_TEXT_BYTES_MIN}
    assert {*find_long_texts(PROJECT, text).values()} == expected


@given(st.lists(st.sampled_from([b'\\"', b'\\\\"', b"\\", *(b"x" * n for n in FILLERS)])))
def test_long_texts_of_json_in_a_string_are_what_lies_between_its_quotes(parts):
    text = b"".join([b"[", *parts])
    expected = {one for one in re.split(rb'(?<!\\)\\"', text) if len(one) >= LONG_TEXT_BYTES_MIN}
    assert {*find_long_texts(PROJECT, b'"%b\0' % text).values()} == expected


@pytest.mark.parametrize(
    "text",
    [
        *(b'"', b"\\", b'\\"', b"1,\n", b"\0a"),
        *(b'"[', b'"[\\"', b'"[\\"ab', b'"[\\\\"'),
    ],
)
def test_time_to_find_texts_follows_their_size_and_not_the_number_of_quotes(text):
    places, calls = 16, 0
    start, repeated = text[:2] if text[:2] == b'"[' else b"", text.removeprefix(b'"[') or b"[]"
    whole = start + repeated * (places * LONG_TEXT_BYTES_MIN // len(repeated))

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "c_call"

    sys.setprofile(count)
    try:
        find_long_texts(PROJECT, whole)
    finally:
        sys.setprofile(None)
    assert calls < 20 * places


def test_short_and_blanked_parts_are_left_out():
    short = json_of("x" * (LONG_TEXT_BYTES_MIN - 1))
    assert find_long_texts(PROJECT, short + bytes(2 * LONG_TEXT_BYTES_MIN) + short) == {}


def test_only_the_longest_texts_of_a_block_are_taken():
    sizes = range(LONG_TEXT_BYTES_MIN, LONG_TEXT_BYTES_MIN + LONG_TEXTS_OF_BLOCK_MAX + 5)
    found = find_long_texts(PROJECT, json_of([prose(n, n) for n in sizes]))
    assert len(found) == LONG_TEXTS_OF_BLOCK_MAX
    assert max(map(len, found.values())) >= sizes[-1]


def test_id_is_that_of_the_text_and_the_project():
    ids = [{*find_long_texts(project_id, json_of(PROMPT))} for project_id in (PROJECT, project())]
    assert ids[0] == {*find_long_texts(PROJECT, conversation(5))}
    assert ids[0].isdisjoint(ids[1])


@given(st.lists(st.binary(max_size=200), max_size=4), st.binary(max_size=400))
def test_frame_is_read_with_its_texts_alone(texts, text):
    whole = b"".join([*texts, text])
    frame = compressed_with(texts, whole)
    assert decompressed_with(texts, frame) == whole
    assert zstandard.frame_content_size(frame) == len(whole)


@pytest.mark.parametrize("size", [LONG_TEXT_BYTES_MIN, 1 << 20, LONG_TEXT_BYTES_MAX - 100])
def test_text_is_not_repeated_however_long_it_is(size):
    text = base64.b64encode(random.Random(1).randbytes(size * 3 // 4))
    frame = compressed_with([text], b'"%b"' % text)
    assert len(frame) < LONG_TEXT_BYTES_MIN / 4
    assert decompressed_with([text], frame) == b'"%b"' % text


def test_text_that_was_changed_is_noticed():
    frame = compressed_with([PROMPT.encode()], PROMPT.encode() + b"!")
    with pytest.raises(zstandard.ZstdError):
        decompressed_with([PROMPT.upper().encode()], frame)
    block = Block(0, len(PROMPT.encode()) + 1, frame, None, (uuid.UUID(int=1),), (b"",))
    with pytest.raises(DamagedText):
        live_parts((PROJECT, TraceId(uuid.UUID(int=2))), [block], LiveRanges([(0, 1)]))


@pytest.mark.parametrize("size", [0, LONG_TEXT_BYTES_MAX + 1])
def test_shared_text_of_another_size_is_not_inflated(size):
    with pytest.raises(zstandard.ZstdError):
        text_from_frame(compressed([bytes(size)], size))


# --- what is stored ---


@pytest.fixture
async def plane(serving_pool: Pool) -> AsyncIterator[DataPlane]:
    async with over_postgres(serving_pool) as plane:
        yield plane


async def put(plane: DataPlane, project_id: ProjectId, *sent: Trace) -> Sequence[Trace]:
    """Stores the traces, each joined before the next; what is then read of each."""
    for one in sent:
        await plane.traces.put(project_id, one)
        await join_payloads(plane)
    return [await plane.traces.get(project_id, one.id) for one in sent]


async def counts(pool: Pool, project_id: ProjectId) -> tuple[int, int]:
    """How many texts are noted for traces, and how many are shared."""
    row = await pool.fetchrow(COUNTS, project_id)
    return row["long"], row["shared"]


async def size_of(pool: Pool, project_id: ProjectId, one: Trace) -> int:
    return sum(row["size"] for row in await pool.fetch(BLOCKS, project_id, one.id))


@pytest.mark.service
async def test_text_of_two_traces_is_stored_once(plane, pool):
    ours, sent = project(), [asking(n) for n in range(4)]
    read = await put(plane, ours, *sent)
    assert [one.spans[0].input for one in read] == [conversation(n) for n in range(4)]
    assert await counts(pool, ours) == (4, 1)
    assert [text_from_frame(row[0]) for row in await pool.fetch(SHARED, ours)] == [
        json_of(PROMPT)[1:-1]
    ]
    sizes = [await size_of(pool, ours, one) for one in sent]
    assert sizes[0] > len(PROMPT) / 2
    assert all(size < 300 for size in sizes[1:])


@pytest.mark.service
async def test_text_of_opentelemetry_spans_is_stored_once(plane, pool):
    ours, ids = project(), [trace_id() for _ in range(3)]
    for id_ in ids:
        messages = json.dumps([{"role": "system", "content": PROMPT}])
        await plane.otlp.put(ours, id_, fragments(id_, sent_span({"input.value": messages})))
        await join_payloads(plane)
    assert (await counts(pool, ours))[1] >= 1
    [first], [_], [last] = [await pool.fetch(BLOCKS, ours, id_) for id_ in ids]
    assert last["texts"]
    assert last["size"] < first["size"] / 5
    spans = [(await plane.traces.get(ours, id_)).spans[0].input for id_ in ids]
    assert spans == [spans[0]] * 3
    assert json_of(PROMPT)[1:-1] in spans[0]


@pytest.mark.service
async def test_texts_that_do_not_repeat_and_those_that_are_small_once_compressed_stay(plane, pool):
    ours = project()
    await put(plane, ours, *(asking(n, prose(n)) for n in range(3)))
    assert await counts(pool, ours) == (3, 0)
    blank = " " * LONG_TEXT_BYTES_MAX
    await put(plane, ours, *(asking(n, blank[: 8 * LONG_TEXT_BYTES_MIN]) for n in range(3)))
    assert await counts(pool, ours) == (6, 0)


@pytest.mark.service
async def test_projects_share_nothing(plane, pool):
    ours, theirs = project(), project()
    await put(plane, ours, asking(1))
    await put(plane, theirs, asking(1))
    assert await counts(pool, ours) == await counts(pool, theirs) == (1, 0)


@pytest.mark.service
async def test_traces_without_a_long_text_are_not_looked_at(plane, pool):
    ours, short = project(), asking(1, "short")
    await plane.traces.put(ours, short)
    waiting = "SELECT count(written_at) FROM trace_payloads WHERE project_id = $1"
    many = trace(span(input=json_of([{"step": n} for n in range(LONG_TEXT_BYTES_MIN)])))
    await plane.traces.put(ours, many)
    assert await pool.fetchval(waiting, ours) == 0
    await plane.traces.put(ours, asking(1))
    assert await pool.fetchval(waiting, ours) == 1


@pytest.mark.service
async def test_texts_are_joined_further_after_late_writes(plane, pool):
    ours, sent = project(), [asking(n) for n in range(3)]
    await put(plane, ours, *sent)
    other = prose(9)
    for one in sent[1:]:
        await plane.traces.add_spans(ours, one.id, [span(input=conversation(7, other))])
        await join_payloads(plane)
    assert await counts(pool, ours) == (5, 2)
    assert await size_of(pool, ours, sent[2]) < 400
    read = await plane.traces.get(ours, sent[2].id)
    assert {one.input for one in read.spans} == {conversation(2), conversation(7, other)}


@pytest.mark.service
async def test_new_traces_refer_to_shared_texts_at_once(plane, pool, serving_pool):
    ours, theirs = project(), project()
    await put(plane, ours, asking(1), asking(2))
    async with over_postgres(serving_pool) as other:  # `plane` asks again after a minute
        for _ in range(3):
            sent, unrelated = asking(3), asking(3)
            await asyncio.gather(other.traces.put(ours, sent), other.traces.put(theirs, unrelated))
            read = await plane.traces.get(ours, sent.id)
            assert read.spans[0].input == conversation(3)
            [block] = await pool.fetch(BLOCKS, ours, sent.id)
            assert block["size"] < 300
            assert block["written_at"] is None
            [block] = await pool.fetch(BLOCKS, theirs, unrelated.id)
            assert block["size"] > len(PROMPT) / 2
    assert await counts(pool, ours) == (5, 1)


@pytest.mark.service
async def test_new_opentelemetry_traces_refer_to_shared_texts_at_once(plane, pool, serving_pool):
    ours, ids = project(), [trace_id() for _ in range(4)]
    messages = json.dumps([{"role": "system", "content": PROMPT}])
    for id_ in ids[:3]:
        await plane.otlp.put(ours, id_, fragments(id_, sent_span({"input.value": messages})))
        await join_payloads(plane)
    async with over_postgres(serving_pool) as other:  # `plane` asks again after a minute
        sent = fragments(ids[3], sent_span({"input.value": messages}))
        await other.otlp.put(ours, ids[3], sent)
    [first], [last] = [await pool.fetch(BLOCKS, ours, id_) for id_ in (ids[0], ids[-1])]
    assert last["size"] < first["size"] / 5
    spans = [(await plane.traces.get(ours, id_)).spans[0].input for id_ in ids]
    assert spans == [spans[0]] * 4


@pytest.mark.service
@pytest.mark.parametrize("damage", [None, DAMAGE])
async def test_trace_is_stored_whole_if_its_text_is_gone_since(plane, pool, serving_pool, damage):
    ours = project()
    old = [asking(1), asking(2), asking(3)]
    await put(plane, ours, *old[:2])
    async with over_postgres(serving_pool) as other:
        await put(other, ours, old[2])  # this writer knows now that it is shared
        if damage is None:
            await plane.traces.delete(ours, [one.id for one in old])
            await remove_unused_texts(plane)
        else:
            await pool.execute(damage, ours)
        await other.traces.put(ours, sent := asking(4))
    assert (await plane.traces.get(ours, sent.id)).spans[0].input == conversation(4)
    assert await size_of(pool, ours, sent) > len(PROMPT) / 2


@pytest.mark.service
async def test_opentelemetry_trace_is_stored_whole_if_its_text_is_gone_since(
    plane, pool, serving_pool
):
    ours, ids = project(), [trace_id() for _ in range(4)]
    messages = json.dumps([{"role": "system", "content": PROMPT}])
    sent = [fragments(id_, sent_span({"input.value": messages})) for id_ in ids]
    for n in range(2):
        await plane.otlp.put(ours, ids[n], sent[n])
        await join_payloads(plane)
    async with over_postgres(serving_pool) as other:
        await other.otlp.put(ours, ids[2], sent[2])  # this writer knows now that it is shared
        await pool.execute(DAMAGE, ours)
        await other.otlp.put(ours, ids[3], sent[3])
    [read] = (await plane.traces.get(ours, ids[3])).spans
    assert json_of(PROMPT)[1:-1] in read.input


@pytest.mark.service
async def test_late_report_of_a_known_trace_refers_to_nothing_before_it_is_joined(
    plane, pool, serving_pool
):
    ours, sent = project(), asking(3)
    await put(plane, ours, asking(1), asking(2))
    await plane.traces.put(ours, replace(sent, spans=()))
    async with over_postgres(serving_pool) as other:
        await other.traces.put(ours, sent)
    assert await size_of(pool, ours, sent) > len(PROMPT) / 2
    assert await counts(pool, ours) == (2, 1)
    await join_payloads(plane)
    assert await size_of(pool, ours, sent) < 300
    assert (await plane.traces.get(ours, sent.id)).spans[0].input == conversation(3)


@pytest.mark.service
async def test_batch_is_stored_whole_if_texts_of_many_projects_are_gone_since(plane, serving_pool):
    projects = sorted(project() for _ in range(ROUNDS_MAX + 1))
    writer = TraceWriter(serving_pool, project_prices())
    for ours in projects:
        await put(plane, ours, *(old := [asking(1), asking(2)]))
        await writer.write([(ours, asking(3))])  # this writer knows now that it is shared
        old = (await traces_page(plane, ours)).items
        await plane.traces.delete(ours, [one.id for one in old])
    await remove_unused_texts(plane)
    sent = asking(4)
    await writer.write([(ours, sent) for ours in projects])
    for ours in projects:
        assert (await plane.traces.get(ours, sent.id)).spans[0].input == conversation(4)


# --- bounds ---


@pytest.mark.service
async def test_large_traces_are_joined_in_transactions_of_their_own(plane, serving_pool):
    await join_payloads(plane)  # what other tests left
    ours = project()
    await fill(plane, ours, asking(1), asking(2), asking(3))
    storage = PostgresPayloadStorage(serving_pool, bytes_per_transaction=1)
    last = datetime.max.replace(tzinfo=UTC)
    assert [await storage.join_blocks(last) for _ in range(2)] == [1, 1]


@pytest.mark.service
async def test_blocks_of_a_very_large_trace_stay_unless_there_are_late_ones(
    plane, pool, serving_pool
):
    ours, sent = project(), [asking(n) for n in range(4)]
    storage = PostgresPayloadStorage(serving_pool, searched_bytes_max=1)
    await put(plane, ours, *sent[:3])  # the last one refers to the text
    await plane.traces.put(ours, sent[3])
    await pool.execute(WAIT_AGAIN, ours)
    await until_done(storage.join_blocks, datetime.max.replace(tzinfo=UTC))
    sizes = [await size_of(pool, ours, one) for one in sent]
    assert sizes[2] < 300 < len(PROMPT) / 2 < sizes[3]
    assert await counts(pool, ours) == (2, 1)
    await plane.traces.delete(ours, [sent[0].id])
    await remove_unused_texts(plane)
    await plane.traces.add_spans(ours, sent[3].id, [late := span(input=b"2")])
    await until_done(storage.join_blocks, datetime.max.replace(tzinfo=UTC))
    assert await size_of(pool, ours, sent[3]) < 300
    for one, spans in ((sent[2], sent[2].spans), (sent[3], (*sent[3].spans, late))):
        read = await plane.traces.get(ours, one.id)
        assert {part.input for part in read.spans} == {part.input for part in spans}


# --- removal ---


@pytest.mark.service
async def test_text_is_removed_with_its_last_trace(plane, pool):
    ours, sent = project(), [asking(n) for n in range(3)]
    await put(plane, ours, *sent)
    await plane.traces.delete(ours, [one.id for one in sent[:2]])
    await remove_unused_texts(plane)
    assert await counts(pool, ours) == (1, 1)
    assert (await plane.traces.get(ours, sent[2].id)).spans[0].input == conversation(2)
    await plane.traces.delete(ours, [sent[2].id])
    assert await counts(pool, ours) == (0, 1)
    recent = datetime.now(UTC) - REMOVED_AFTER  # readers may still need it
    await plane.tracing.payload_storage.remove_unused_texts(recent)
    assert await counts(pool, ours) == (0, 1)
    await remove_unused_texts(plane)
    assert (await pool.fetchrow(COUNTS, ours))[:] == (0, 0, 0)


@pytest.mark.service
async def test_replaced_text_is_removed(plane, pool):
    ours, sent = project(), [asking(n) for n in range(2)]
    await put(plane, ours, *sent)
    for one in sent:
        change = SpanChange(input=b"1")
        await plane.traces.change_span(ours, one.id, one.spans[0].id, change)
    await join_payloads(plane)
    await remove_unused_texts(plane)
    assert await counts(pool, ours) == (0, 0)
    assert [one.spans[0].input for one in await put(plane, ours, asking(3))] == [conversation(3)]


@pytest.mark.service
@pytest.mark.parametrize("is_shared_with_others", [False, True])
async def test_erasure_ends_once_texts_of_the_person_alone_are_gone(
    plane, pool, is_shared_with_others
):
    ours, owner = project(), DataSubject(DataSubjectKind.USER, "ada")
    others = [asking(9, user_id="bob")] if is_shared_with_others else []
    await put(plane, ours, *(asking(n, user_id="ada") for n in range(2)), *others)
    erasure = an_erasure(ours, owner)
    await plane.privacy.erasures.begin(erasure, owner, audit_entry(erasure))
    for _ in range(10):
        erasure = await plane.privacy.erasures.advance(ours, erasure.id, NOON, audit_entry)
    assert erasure.removed_at is not None
    assert await counts(pool, ours) == ((1, 1) if is_shared_with_others else (0, 0))
    for one in others:
        assert (await plane.traces.get(ours, one.id)).spans[0].input == conversation(9)


# --- two things at once ---


async def shared_text(plane: DataPlane, pool: Pool, project_id: ProjectId) -> uuid.UUID:
    """A shared text that no trace has any more, and that isn't removed yet."""
    sent = [asking(n) for n in range(2)]
    await put(plane, project_id, *sent)
    await plane.traces.delete(project_id, [one.id for one in sent])
    assert await counts(pool, project_id) == (0, 1)
    [(id_, _)] = find_long_texts(project_id, conversation(1)).items()
    return id_


@pytest.mark.service
async def test_text_to_which_a_block_begins_to_refer_is_kept(plane, pool, serving_pool):
    ours, id_ = project(), trace_id()
    text = await shared_text(plane, pool, ours)
    async with transaction(serving_pool, ALL_TENANTS) as connection:
        await note_long_texts(connection, ours, [(id_, text)])
        assert (await lock_texts(connection, ours, [text])).keys() == {text}
        await remove_unused_texts(plane)
        assert await counts(pool, ours) == (0, 1)
    await remove_unused_texts(plane)
    assert (await pool.fetchrow(COUNTS, ours))[:] == (1, 1, 0)


@pytest.mark.service
async def test_text_that_is_being_removed_is_not_referred_to(plane, pool, serving_pool):
    ours = project()
    text = await shared_text(plane, pool, ours)
    locked, go_on = asyncio.Event(), asyncio.Event()

    async def remove_slowly() -> None:
        async with transaction(serving_pool, ALL_TENANTS) as connection:
            await connection.execute("DELETE FROM shared_texts WHERE project_id = $1", ours)
            locked.set()
            await go_on.wait()

    async def lock() -> dict[uuid.UUID, bytes]:
        async with transaction(serving_pool, ALL_TENANTS) as connection:
            await connection.execute("SELECT 1")  # it is open before the other ends
            go_on.set()
            return await lock_texts(connection, ours, [text])

    removing = asyncio.create_task(remove_slowly())
    await locked.wait()
    assert await lock() == {}
    await removing


@pytest.mark.service
async def test_nothing_is_lost_while_traces_are_joined_deleted_and_written(plane, pool):
    ours = project()
    sent = [asking(n, prose(n % 3)) for n in range(30)]
    for one in sent[:10]:
        await plane.traces.put(ours, one)

    async def write() -> None:
        for one in sent[10:]:
            await plane.traces.put(ours, one)

    async def delete() -> None:
        for one in sent[:10]:
            await plane.traces.delete(ours, [one.id])

    async def keep_house() -> None:
        for _ in range(5):
            await join_payloads(plane)
            await remove_unused_texts(plane)

    await asyncio.gather(write(), delete(), *(keep_house() for _ in range(3)))
    await join_payloads(plane)
    await remove_unused_texts(plane)
    for one in sent[10:]:
        read = await plane.traces.get(ours, one.id)
        assert read.spans[0].input == one.spans[0].input
    assert await counts(pool, ours) == (20, 3)
    await plane.traces.delete(ours, [one.id for one in sent])
    await remove_unused_texts(plane)
    assert (await pool.fetchrow(COUNTS, ours))[:] == (0, 0, 0)


@pytest.mark.service
async def test_text_that_a_writer_has_locked_is_removed_later(plane, pool):
    ours, sent = project(), [asking(n) for n in range(2)]
    await put(plane, ours, *sent)
    await plane.traces.delete(ours, [one.id for one in sent])
    async with pool.acquire() as writer, writer.transaction():
        await writer.execute(LOCK_SHARED, ours)
        await remove_unused_texts(plane)
        assert await counts(pool, ours) == (0, 1)
    await remove_unused_texts(plane)
    assert (await pool.fetchrow(COUNTS, ours))[:] == (0, 0, 0)


# --- damage ---


@pytest.mark.service
@pytest.mark.parametrize(
    "damage",
    [DAMAGE, "DELETE FROM shared_texts WHERE project_id = $1"],
)
async def test_damaged_text_is_an_error_of_the_traces_that_refer_to_it(plane, pool, damage):
    ours, sent = project(), [asking(n) for n in range(2)]
    await put(plane, ours, *sent)
    await pool.execute(damage, ours)
    with pytest.raises(DamagedText) as refused:
        await plane.traces.get(ours, sent[1].id)
    assert str(sent[1].id) in refused.value.message
    assert (await plane.traces.get(ours, sent[0].id)).spans[0].input == conversation(0)
    late = span(input=b"2")
    await plane.traces.put(ours, replace(sent[1], spans=(late,)))
    await join_payloads(plane)
    assert (await counts(pool, ours))[0] == 2  # an operator can restore what it refers to
    assert await plane.traces.payload(ours, sent[1].id, late.id, "input") == b"2"
    [read] = await put(plane, ours, asking(5))  # which repeats it once more, and repairs it
    assert read.spans[0].input == conversation(5)
    repaired = await plane.traces.get(ours, sent[1].id)
    assert [one.input for one in repaired.spans if one.id != late.id] == [conversation(1)]
    assert await plane.traces.delete(ours, [sent[1].id]) == 1
