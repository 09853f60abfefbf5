"""The values of a trace in compressed blocks: the one place that knows how payloads are stored.

All values of a trace, which are its own payloads and those of its spans, follow each other in one
text. Rows have the place of their values in it (`at`), and their sizes. Each write appends its
values, so a place never changes. The text is stored in blocks of at most BLOCK_BYTES_MAX, each a
frame of zstd: agents repeat their conversation with every step, and what is repeated within a block
takes nearly nothing. A value may lie in several blocks.

A value that is replaced stays in its block, without a row that has its place, until a worker joins
the blocks of the trace and blanks it (`block_compaction.py`). Figures: docs/adr/0043.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import zstandard
from asyncpg import Record

from adapters.postgres.database.payload_objects import object_key, store_of
from adapters.postgres.database.pool import Connection, Unstorable
from adapters.postgres.database.statements.columns import Column, Table, array_text, arrays
from adapters.postgres.tracing.payloads.frames import (
    compressed,
    compressed_with,
    decompressed_with,
)
from adapters.postgres.tracing.payloads.shared_texts import (
    LONG_TEXT_BYTES_MIN,
    fetch_frames,
    find_long_texts,
    text_from_frame,
)
from application.concurrency import compute
from domain.errors import Unavailable
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.json_scan import TooDeep, check_size
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText, JsonView
from domain.tracing.span import Span
from domain.tracing.text_preview import input_preview, output_preview

type TraceKey = tuple[ProjectId, TraceId]

FIRST: Final = 0  # where the text begins
BLOCK_BYTES_MAX: Final = 2 << 20  # of text; decompressing as many takes 2 ms
COMPRESSED_ON_LOOP_MAX: Final = 256 << 10  # bytes of text; it takes 1 ms
DECOMPRESSED_ON_LOOP_MAX: Final = 1 << 20  # bytes of text; it takes 2 ms with its values
VALUE_LEVELS_MAX: Final = 6_000  # of nested arrays and objects, as PostgreSQL accepts in `json`
DAMAGED_RETRY_AFTER_S: Final = 3_600  # until an operator has restored it


class SpanValues(NamedTuple):
    """The values of a span, in the order of the text."""

    input: JsonText | None = None
    output: JsonText | None = None
    metadata: JsonText = EMPTY_OBJECT
    token_usage: JsonText | None = None
    model_parameters: JsonText | None = None


NO_VALUES: Final = SpanValues()
SPAN_SIZES: Final = tuple(f"{name}_bytes" for name in SpanValues._fields)
_SIZES_BEFORE: Final = {name: SPAN_SIZES[:number] for number, name in enumerate(SpanValues._fields)}


class DamagedText(Unavailable):
    """A stored block can't be decompressed, or the text lacks a part that a row refers to."""

    def __init__(self, trace: TraceId) -> None:
        super().__init__(
            f"The stored payloads of trace {trace} are damaged; an operator can restore them from "
            "a backup, and the trace can be deleted",
            retry_after_s=DAMAGED_RETRY_AFTER_S,
        )


class Block(NamedTuple):
    """A part of a text as it is stored. `start` is its place, `raw_bytes` its size.

    With an `object_id`, the data lies in an object of a PayloadStore: see `payload_objects.py`.
    `texts` are shared texts that it refers to, and `frames` those texts once they were read: see
    `shared_texts.py`.
    """

    start: int
    raw_bytes: int
    data: bytes
    object_id: UUID | None = None
    texts: tuple[UUID, ...] = ()
    frames: tuple[bytes, ...] = ()


BLOCK_COLUMNS: Final = ("start", "raw_bytes", "block", "object_id", "texts")
_TEXT: Final = (
    *(Column("start", "bigint"), Column("raw_bytes", "int"), Column("block", "bytea")),
    Column("texts", "uuid[]"),
)
_HEAD: Final = (
    Column("input_at", "bigint"),
    Column("input_bytes", "int"),
    Column("output_at", "bigint"),
    Column("output_bytes", "int"),
    Column("input_preview", "text"),
    Column("output_preview", "text"),
)
HEAD_COLUMNS: Final = tuple(one.name for one in _HEAD)
PAYLOADS: Final = Table(
    "trace_payloads",
    key=("project_id", "trace_id", "start"),
    given=(Column("project_id", "uuid"), Column("trace_id", "uuid")),
    columns=(*_TEXT, *_HEAD),
)
"""The blocks of a trace. The first one, at 0, also has the head: the payloads of the trace itself.

The column `written_at` is set by later writes: then a worker joins blocks, and blanks values that
were replaced. A first write sets it too if other traces may repeat one of its long texts.
"""
NO_PAYLOADS: Final[Sequence[list[object]]] = tuple([] for _ in PAYLOADS.names)

type PayloadRow = tuple[object, ...]


class NewText:
    """Values that are written together, after the `start` that the text of the trace has so far."""

    __slots__ = ("_parts", "end", "long_values", "start")

    def __init__(self, start: int = 0) -> None:
        self.start = self.end = start
        self.long_values: list[bytes] = []  # those that may have a long text
        self._parts: list[bytes] = []

    @property
    def size(self) -> int:
        return self.end - self.start

    def add(self, *values: JsonText | None) -> int | None:
        """The place of the values, which follow each other; None if there is none."""
        start = self.end
        for value in values:
            if value is not None:
                self._parts.append(value)
                size = len(value)
                self.end += size
                if size >= LONG_TEXT_BYTES_MIN:
                    self.long_values.append(value)
        return None if start == self.end else start

    def add_data(self, data: bytes) -> int:
        """The place of a fragment, whose levels were checked when it was read."""
        start = self.end
        self._parts.append(data)
        self.end += len(data)
        if len(data) >= LONG_TEXT_BYTES_MIN:
            self.long_values.append(data)
        return start

    def cut(self, end: int) -> None:
        """Takes back what was added from `end` on."""
        while self.end > end:
            part = self._parts.pop()
            self.end -= len(part)
            if self.long_values and self.long_values[-1] is part:
                self.long_values.pop()

    def add_span(self, span: Span) -> int | None:
        """The place of the values of a settled span."""
        metadata = span.metadata
        return self.add(
            span.input,
            span.output,
            None if metadata == EMPTY_OBJECT else metadata,
            span.token_usage,
            span.model_parameters,
        )

    def long_texts(self, project: ProjectId) -> dict[UUID, bytes]:
        """The long texts in its values, by id."""
        return find_long_texts(project, *self.long_values)

    def blocks(
        self, block_bytes: int = BLOCK_BYTES_MAX, shared: Mapping[UUID, bytes] | None = None
    ) -> list[Block]:
        """The values in blocks of `block_bytes` of text, in their order. Raises Unstorable.

        With `shared` texts it is one block, which refers to them.
        """
        for value in self._parts:
            if len(value) > VALUE_LEVELS_MAX:  # a level takes two bytes
                check_levels(value)
        if shared:
            data = compressed_with([*shared.values()], b"".join(self._parts))
            return [Block(self.start, self.size, data, None, tuple(shared))]
        blocks, start = list[Block](), self.start
        for parts in _parts_of_blocks(self._parts, block_bytes):
            size = sum(map(len, parts))
            blocks.append(Block(start, size, compressed(parts, size)))
            start += size
        return blocks


def _parts_of_blocks(
    parts: Iterable[bytes], block_bytes: int
) -> Iterator[list[bytes | memoryview]]:
    """The parts of each text of `block_bytes`. A part may be divided."""
    some: list[bytes | memoryview] = []
    room = block_bytes
    for part in parts:
        rest: bytes | memoryview = part
        while len(rest) >= room:
            some.append(memoryview(rest)[:room])
            rest = memoryview(rest)[room:]
            yield some
            some, room = [], block_bytes
        if rest:
            some.append(rest)
            room -= len(rest)
    if some:
        yield some


def check_levels(value: JsonText) -> None:
    """Raises Unstorable if a value is nested too deeply."""
    try:
        check_size(value, VALUE_LEVELS_MAX, len(value))
    except TooDeep as error:
        raise Unstorable from error


def decompressed(trace: TraceId, block: Block) -> bytes:
    """The text of a block. Raises DamagedText.

    Memory is taken for the size that the frame says it has, and only if the row says the same.
    """
    try:
        size = zstandard.frame_content_size(block.data)
        if size != block.raw_bytes or size > BLOCK_BYTES_MAX:
            raise DamagedText(trace)
        texts = [text_from_frame(frame) for frame in block.frames]
        return decompressed_with(texts, block.data)
    except zstandard.ZstdError as error:
        raise DamagedText(trace) from error


class StoredText:
    """The text of a trace, or the blocks of it that were read. They are decompressed once needed.

    Reading a value raises DamagedText.
    """

    __slots__ = ("_blocks", "_last", "_raw", "_starts", "trace")

    def __init__(self, trace: TraceId, blocks: Iterable[Block] = ()) -> None:
        self.trace = trace
        self._blocks = sorted(blocks)
        self._starts = [one.start for one in self._blocks]
        self._raw: list[bytes | None] = [None] * len(self._blocks)
        self._last = (
            0,
            0,
            memoryview(b""),
        )  # the block that was read last: its place, its end, its text

    @property
    def size(self) -> int:
        return sum(one.raw_bytes for one in self._blocks)

    def decompress(self) -> None:
        """Decompresses all blocks before their values are read, which raises what is damaged."""
        with suppress(DamagedText):
            for start in self._starts:
                self._block_at(start)

    def value(self, at: int, size: int) -> bytes:
        """`size` bytes from the place `at` on."""
        if not size:
            return b""
        start, raw = self._block_at(at)
        found = raw[at - start : at - start + size]
        if len(found) == size:
            return found
        if not found:
            raise DamagedText(self.trace)
        return found + self.value(at + len(found), size - len(found))

    def _block_at(self, at: int) -> tuple[int, bytes]:
        """The place and the text of the last block that begins before a place, or there."""
        number = bisect_right(self._starts, at) - 1
        if number < 0:
            raise DamagedText(self.trace)
        raw = self._raw[number]
        if raw is None:
            raw = self._raw[number] = decompressed(self.trace, self._blocks[number])
        return self._starts[number], raw

    def trace_values(self, row: Record) -> tuple[JsonText | None, JsonText | None]:
        """Input and output of the trace, from a row with the head."""
        at, size = row["input_at"], row["input_bytes"]
        input_ = None if size is None else self.value(at, size)
        at, size = row["output_at"], row["output_bytes"]
        return input_, None if size is None else self.value(at, size)

    def views(self, at: int | None, sizes: Sequence[int | None]) -> list[JsonView | None]:
        """Values that follow each other from the place `at` on; None for each without a size.

        They are not copied: each keeps its block in memory. Without a size, no block is needed.
        """
        if at is None:
            return [None for _ in sizes]
        start, past, raw = self._last
        if not start <= at < past:
            if not any(sizes):
                return [None for _ in sizes]
            start, text = self._block_at(at)
            past, raw = start + len(text), memoryview(text)
            self._last = (start, past, raw)
        end = at - start
        found: list[JsonView | None] = [
            None if size is None else raw[end : (end := end + size)] for size in sizes
        ]
        if end > past - start:  # rare: some lie in the next block
            for number, size in enumerate(sizes):
                if size is not None:
                    found[number] = self.value(at, size)
                    at += size
        return found

    def span_values(self, row: Record) -> SpanValues:
        """The values of a span, from a row with `payload_at` and the sizes."""
        views = self.views(row["payload_at"], [row[name] for name in SPAN_SIZES])
        found = [None if one is None else bytes(one) for one in views]
        found[2] = found[2] or EMPTY_OBJECT
        return SpanValues._make(found)


# --- the head: the payloads of the trace itself ---


class Head(NamedTuple):
    """Where the payloads of a trace are, and their previews for lists, in the order of the row."""

    input_at: int | None = None
    input_bytes: int | None = None
    output_at: int | None = None
    output_bytes: int | None = None
    input_preview: str | None = None
    output_preview: str | None = None


NO_HEAD: Final = Head()


def add_head(text: NewText, input_: JsonText | None, output: JsonText | None) -> Head:
    """Adds the payloads of a trace to its text."""
    return Head(
        text.add(input_),
        None if input_ is None else len(input_),
        text.add(output),
        None if output is None else len(output),
        input_preview(input_),
        output_preview(output),
    )


def payload_rows(key: TraceKey, blocks: Sequence[Block], head: Head = NO_HEAD) -> list[PayloadRow]:
    """The rows of blocks; the first one gets the head."""
    return [
        (*key, *block[:3], _texts_of(block), *(NO_HEAD if number else head))
        for number, block in enumerate(blocks)
    ]


def _texts_of(block: Block) -> str | None:
    return array_text(map(str, block.texts)) if block.texts else None


# --- reading ---

# Columns of the head and the block of each row of trace_payloads.
TEXT_COLUMNS: Final = (*BLOCK_COLUMNS, *HEAD_COLUMNS)
# The blocks that have a part of one of the ranges.
SELECT_BLOCKS: Final = f"""
SELECT p.project_id, p.trace_id, {", ".join(f"p.{name}" for name in BLOCK_COLUMNS)}
FROM (
  SELECT DISTINCT found.project_id, found.trace_id, found.start
  FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
    AS range (project_id, trace_id, first, past)
  JOIN trace_payloads AS found ON found.project_id = range.project_id
    AND found.trace_id = range.trace_id
    AND found.start < range.past AND found.start + found.raw_bytes > range.first
) AS wanted JOIN trace_payloads AS p USING (project_id, trace_id, start)
"""
# The 0 comes with each key: in a condition of its own, PostgreSQL might take it for rare and search
# all of the index for it.
SELECT_HEADS: Final = f"""
SELECT p.project_id, p.trace_id, {", ".join(f"p.{name}" for name in HEAD_COLUMNS[:4])}
FROM {PAYLOADS.unnest_keys("wanted")} JOIN trace_payloads AS p USING (project_id, trace_id, start)
"""


async def with_data(
    connection: Connection, blocks: Mapping[TraceKey, Sequence[Block]]
) -> Mapping[TraceKey, Sequence[Block]]:
    """The blocks with their data, and the frames of texts that they refer to.

    A missing part stays empty, which is damage.
    """
    return await _with_frames(connection, await _with_objects(connection, blocks))


async def _with_frames(
    connection: Connection, blocks: Mapping[TraceKey, Sequence[Block]]
) -> Mapping[TraceKey, Sequence[Block]]:
    wanted = {(key[0], id_) for key, some in blocks.items() for one in some for id_ in one.texts}
    if not wanted:
        return blocks
    found = await fetch_frames(connection, wanted)
    return {
        key: [
            one._replace(frames=tuple(found.get((key[0], id_), b"") for id_ in one.texts))
            for one in some
        ]
        for key, some in blocks.items()
    }


async def _with_objects(
    connection: Connection, blocks: Mapping[TraceKey, Sequence[Block]]
) -> Mapping[TraceKey, Sequence[Block]]:
    wanted = [
        object_key(key, one.object_id)
        for key, some in blocks.items()
        for one in some
        if one.object_id is not None
    ]
    if not wanted:
        return blocks
    found = await store_of(connection).get(wanted)
    return {
        key: [
            one
            if one.object_id is None
            else one._replace(data=found.get(object_key(key, one.object_id), b""))
            for one in some
        ]
        for key, some in blocks.items()
    }


type Range = tuple[int, int]
"""The place of the first byte of a part of a text, and the place after the last."""


def block_from_row(row: Record) -> Block:
    """From a row with BLOCK_COLUMNS."""
    return Block(
        row["start"], row["raw_bytes"], row["block"], row["object_id"], tuple(row["texts"] or ())
    )


async def texts_from_rows(
    connection: Connection, project: ProjectId, rows: Iterable[Record]
) -> Mapping[TraceKey, StoredText]:
    """The texts of traces from all their rows of trace_payloads; an empty one for other traces.

    Rows without a block are left out. Raises Unavailable if a store of blocks can't be read.
    """
    blocks: dict[TraceKey, list[Block]] = defaultdict(list)
    for row in rows:
        if row["start"] is not None:
            blocks[project, row["trace_id"]].append(block_from_row(row))
    return await _texts(connection, blocks)


async def _texts(
    connection: Connection, blocks: Mapping[TraceKey, Sequence[Block]]
) -> Mapping[TraceKey, StoredText]:
    loaded = await with_data(connection, blocks)
    return _Texts({key: StoredText(key[1], some) for key, some in loaded.items()})


def head_of(rows: Iterable[Record]) -> Record:
    """The row with the head, of all rows of a trace, or of one without a block."""
    return next(row for row in rows if not row["start"])


def span_range(row: Record) -> Range | None:
    """The range of all values of a span; None if it has none."""
    at = row["payload_at"]
    if at is None:
        return None
    return at, at + sum(row[name] or 0 for name in SPAN_SIZES)


def payload_range(row: Record, name: str) -> Range | None:
    """The range of one value, from the row of a span, or from one with the head of a trace."""
    size = row[f"{name}_bytes"]
    if size is None:
        return None
    at = row.get("payload_at")
    if at is None:
        at = row[f"{name}_at"]
    else:
        at += sum(row[one] or 0 for one in _SIZES_BEFORE[name])
    return at, at + size


async def fetch_texts(
    connection: Connection, ranges: Iterable[tuple[TraceKey, Range | None]]
) -> Mapping[TraceKey, StoredText]:
    """The parts of texts that contain the ranges; an empty text for traces that aren't named."""
    wanted: dict[TraceKey, list[Range]] = defaultdict(list)
    for key, one in ranges:
        if one is not None and one[0] < one[1]:
            wanted[key].append(one)
    rows = [(*key, *one) for key, some in wanted.items() for one in joined_ranges(some)]
    blocks: dict[TraceKey, list[Block]] = defaultdict(list)
    for row in await connection.fetch(SELECT_BLOCKS, *arrays(rows)) if rows else ():
        blocks[row["project_id"], row["trace_id"]].append(block_from_row(row))
    return await _texts(connection, blocks)


class _Texts(dict[TraceKey, StoredText]):
    def __missing__(self, key: TraceKey) -> StoredText:
        return StoredText(key[1])


def joined_ranges(ranges: list[Range]) -> list[Range]:
    """The ranges in order, those that touch each other joined."""
    joined: list[Range] = []
    for first, past in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(past, joined[-1][1]))
        else:
            joined.append((first, past))
    return joined


async def fetch_heads(connection: Connection, keys: Collection[TraceKey]) -> dict[TraceKey, Record]:
    """Places and sizes of the payloads of traces, without previews."""
    wanted = arrays((*key, FIRST) for key in keys)
    rows = await connection.fetch(SELECT_HEADS, *wanted) if keys else ()
    return {(row["project_id"], row["trace_id"]): row for row in rows}


# --- later writes ---

# Only for traces that this transaction has locked or created: no other writer appends meanwhile.
SELECT_TEXT_ENDS: Final = """
SELECT p.project_id, p.trace_id, max(p.start + p.raw_bytes)
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (project_id, trace_id)
JOIN trace_payloads AS p ON p.project_id = wanted.project_id AND p.trace_id = wanted.trace_id
GROUP BY p.project_id, p.trace_id
"""
APPEND_BLOCKS: Final = f"""
INSERT INTO trace_payloads ({PAYLOADS.select()}, written_at)
SELECT {PAYLOADS.values("sent")}, now() FROM {PAYLOADS.unnest("sent")}
RETURNING 1
"""


def _head_assignments(name: str) -> str:
    return ", ".join(
        f"{one} = CASE WHEN sent.sets_{name} THEN sent.{one} ELSE trace_payloads.{one} END"
        for one in (f"{name}_at", f"{name}_bytes", f"{name}_preview")
    )


UPDATE_HEADS: Final = f"""
UPDATE trace_payloads SET {_head_assignments("input")}, {_head_assignments("output")},
  written_at = CASE WHEN sent.has_blocks THEN trace_payloads.written_at ELSE current.instant END
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::int[], $6::bigint[], $7::int[],
            $8::text[], $9::text[], $10::boolean[], $11::boolean[], $12::boolean[])
  AS sent (project_id, trace_id, start, {", ".join(HEAD_COLUMNS)}, sets_input, sets_output,
           has_blocks), (SELECT now() AS instant) AS current
WHERE {PAYLOADS.on_key("sent")}
"""

_PREVIEWS: Final = {"input": input_preview, "output": output_preview}


@dataclass(slots=True)
class TextChange:
    """The changes that a transaction makes in the text of a trace that it has locked or created.

    `is_first` if the trace has no block. `head` are new payloads of the trace by name: place, size
    and preview. `replaces` if values lose the row that has their place.
    """

    key: TraceKey
    text: NewText
    is_first: bool
    head: dict[str, tuple[int | None, int | None, str | None]] = field(default_factory=dict)
    replaces: bool = False

    def set_payload(self, name: str, payload: JsonText | None) -> None:
        """Sets `input` or `output` of the trace."""
        size = None if payload is None else len(payload)
        self.head[name] = (self.text.add(payload), size, _PREVIEWS[name](payload))

    def whole_head(self) -> Head:
        none = (None, None, None)
        input_place, output_place = self.head.get("input", none), self.head.get("output", none)
        return Head(*input_place[:2], *output_place[:2], input_place[2], output_place[2])


async def open_changes(
    connection: Connection, keys: Collection[TraceKey]
) -> dict[TraceKey, TextChange]:
    """A change of the text of each trace."""
    rows = await connection.fetch(SELECT_TEXT_ENDS, *arrays(keys)) if keys else ()
    ends = {(row[0], row[1]): row[2] for row in rows}
    return {key: TextChange(key, NewText(ends.get(key, 0)), key not in ends) for key in keys}


async def write_changes(connection: Connection, changes: Collection[TextChange]) -> None:
    """Stores what was added, and begins new changes in the same objects. Raises Unstorable."""
    size = sum(one.text.size for one in changes)
    blocks, heads = await compute(_rows_of_changes, changes, is_long=size > COMPRESSED_ON_LOOP_MAX)
    if blocks:
        await connection.execute(APPEND_BLOCKS, *arrays(blocks))
    if heads:
        await connection.execute(UPDATE_HEADS, *arrays(heads))
    for one in changes:
        one.is_first = one.is_first and not one.text.size
        one.text = NewText(one.text.end)
        one.head, one.replaces = {}, False


def _rows_of_changes(
    changes: Iterable[TextChange],
) -> tuple[list[PayloadRow], list[PayloadRow]]:
    """The rows to insert, and those with which heads are updated."""
    appended: list[PayloadRow] = []
    heads: list[PayloadRow] = []
    for one in changes:
        blocks, head = one.text.blocks(), one.whole_head()
        appended += payload_rows(one.key, blocks, head if one.is_first else NO_HEAD)
        if not one.is_first and (one.head or (one.replaces and not blocks)):
            sets = ("input" in one.head, "output" in one.head)
            heads.append((*one.key, FIRST, *head, *sets, bool(blocks)))
    return appended, heads


async def list_new_payloads(
    connection: Connection, sent: Mapping[TraceKey, Mapping[str, JsonText]]
) -> dict[TraceKey, dict[str, JsonText]]:
    """The payloads of stored traces that were sent and differ from the stored ones, by name."""
    heads = await fetch_heads(connection, sent)
    same_size = [
        (key, name)
        for key, payloads in sent.items()
        for name, payload in payloads.items()
        if key in heads and heads[key][f"{name}_bytes"] == len(payload)
    ]
    texts = await fetch_texts(
        connection, ((key, payload_range(heads[key], name)) for key, name in same_size)
    )
    size = sum(text.size for text in texts.values())

    def is_known(key: TraceKey, name: str) -> bool:
        payload = sent[key][name]
        with suppress(DamagedText):  # the one that was sent replaces it
            return texts[key].value(heads[key][f"{name}_at"], len(payload)) == payload
        return False

    def known() -> set[tuple[TraceKey, str]]:
        return {one for one in same_size if is_known(*one)}

    same = await compute(known, is_long=size > DECOMPRESSED_ON_LOOP_MAX)
    new = {
        key: {name: one for name, one in payloads.items() if (key, name) not in same}
        for key, payloads in sent.items()
    }
    return {key: payloads for key, payloads in new.items() if payloads}
