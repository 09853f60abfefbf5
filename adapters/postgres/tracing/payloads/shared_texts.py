"""Long texts that repeat across the traces of a project are stored once.

Agents send the same prompts, documents and images with each trace. A worker that joins blocks
(`block_compaction.py`) finds the long texts of a trace, and notes them in `long_texts`. A text of
two traces is stored in `shared_texts`, and blocks with it are compressed with it as a dictionary:
they refer to it in place of repeating it. New traces with it do so at once (`text_references.py`).

A shared text is removed once no trace has it. Whatever takes a long text from a trace, or stores a
shared one, adds it to `released_texts` in the same transaction, and texts in there are looked at
later. Before a block refers to a text, it locks its row against removal (docs/adr/0070).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Final
from uuid import UUID

import zstandard
from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, Pool
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.tracing.payloads.frames import compressed, decompressed_with
from domain.ids import ProjectId, TraceId

LONG_TEXT_BYTES_MIN: Final = 4 << 10
LONG_TEXT_BYTES_MAX: Final = 2 << 20  # as much as a block
LONG_TEXTS_OF_BLOCK_MAX: Final = 32  # the longest
FRAME_BYTES_MIN: Final = 1 << 10  # of a shared text: a block repeats what is smaller
NEW_TEXTS_BYTES_MAX: Final = 8 << 20  # that are kept in memory until they are stored
RELEASED_AT_ONCE: Final = 500

_QUOTE: Final = b'"'
_ESCAPED_QUOTE: Final = b'\\"'
_QUOTE_ESCAPED_TWICE: Final = b'\\\\"'  # at least
_NO_QUOTE: Final = b"  "  # as long, so that places stay
_NO_QUOTE_TWICE: Final = b"   "
# No JSON string has such bytes: they are blanked ones, those between values, and of fragments.
_CONTROLS_AS_QUOTES: Final = bytes.maketrans(bytes(range(0x20)), _QUOTE * 0x20)

SELECT_TEXTS: Final = f"""
SELECT text_id, frame FROM shared_texts WHERE {IN_PROJECT} AND text_id = ANY($2::uuid[])
"""
LOCK_TEXTS: Final = f"{SELECT_TEXTS} FOR KEY SHARE"
# Without RETURNING, Citus would copy the rows, which policies forbid. The same below.
ADD_LONG_TEXTS: Final = """
INSERT INTO long_texts (project_id, trace_id, text_id)
SELECT $1, * FROM unnest($2::uuid[], $3::uuid[]) ON CONFLICT DO NOTHING RETURNING 1
"""
# OFFSET 0 makes each a look-up: a join might scan all texts of the project. The inner SELECT looks
# up the text alone, whose id is that of one project: without statistics of the table, the planner
# would take the key for both, and search all traces of the project for each text. Of two rows one
# is another trace's; LIMIT makes the planner look for few.
_HAS_TEXT: Final = f"""
EXISTS (
  SELECT 1 FROM (
    SELECT project_id, trace_id FROM long_texts WHERE text_id = {{text}} LIMIT 2
  ) AS found WHERE found.{IN_PROJECT}{{more}} OFFSET 0
)
"""
_IS_REPEATED: Final = _HAS_TEXT.format(text="sent.text_id", more=" AND found.trace_id <> $2")
SELECT_REPEATED: Final = f"""
SELECT sent.text_id FROM unnest($3::uuid[]) AS sent (text_id) WHERE {_IS_REPEATED}
"""
DELETE_LONG_TEXTS: Final = f"""
DELETE FROM long_texts WHERE {IN_PROJECT} AND trace_id = $2 AND text_id = ANY($3::uuid[])
"""
DELETE_LONG_TEXTS_OF_TRACES: Final = f"""
DELETE FROM long_texts WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[]) RETURNING text_id
"""
RELEASE_TEXTS: Final = f"""
INSERT INTO released_texts (project_id, text_id)
SELECT project_id, text_id FROM shared_texts WHERE {IN_PROJECT} AND text_id = ANY($2::uuid[])
RETURNING 1
"""
# A trace that is being deleted is left out: then its deletion needn't wait, nor look for the text.
LOCK_LONG_TEXTS: Final = f"""
SELECT known.project_id, known.text_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS sent (project_id, trace_id, text_id)
CROSS JOIN LATERAL (
  SELECT project_id, text_id FROM long_texts WHERE project_id = sent.project_id
    AND trace_id = sent.trace_id AND text_id = sent.text_id
  FOR KEY SHARE SKIP LOCKED
) AS known WHERE {not_removed("sent")}
"""
# The id is that of the text: a frame that differs is damaged, and what refers to it is read again.
ADD_TEXTS: Final = """
INSERT INTO shared_texts AS known (project_id, text_id, frame)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[])
ON CONFLICT (project_id, text_id) DO UPDATE SET frame = excluded.frame
WHERE known.frame <> excluded.frame RETURNING 1
"""
ADD_RELEASED: Final = """
INSERT INTO released_texts (project_id, text_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])
RETURNING 1
"""
_SELECT_RELEASED: Final = "SELECT project_id, id, text_id FROM released_texts"
_TAKE_SOME: Final = f"LIMIT {RELEASED_AT_ONCE} FOR UPDATE SKIP LOCKED"
LOCK_RELEASED: Final = f"""
{_SELECT_RELEASED} WHERE released_at < $1 AND {not_removed("released_texts")}
ORDER BY released_at {_TAKE_SOME}
"""
LOCK_RELEASED_OF_PROJECT: Final = f"{_SELECT_RELEASED} WHERE {IN_PROJECT} {_TAKE_SOME}"
HAS_RELEASED: Final = f"SELECT EXISTS (SELECT 1 FROM released_texts WHERE {IN_PROJECT})"
SELECT_USED: Final = f"""
SELECT released.text_id FROM unnest($2::uuid[]) AS released (text_id)
WHERE {_HAS_TEXT.format(text="released.text_id", more="")}
"""
# Leaves out texts to which a block begins to refer: those are looked at again later.
LOCK_UNUSED_TEXTS: Final = f"""
SELECT text_id FROM shared_texts WHERE {IN_PROJECT} AND text_id = ANY($2::uuid[])
FOR UPDATE SKIP LOCKED
"""
# A statement of its own: it sees what was committed before the rows were locked.
DELETE_UNUSED_TEXTS: Final = f"""
DELETE FROM shared_texts WHERE {IN_PROJECT} AND text_id = ANY($2::uuid[])
  AND NOT {_HAS_TEXT.format(text="shared_texts.text_id", more="")}
"""
# By id, because a text may have been released again meanwhile. By ctid, because the planner takes
# the table for one row (docs/adr/0069); the rows are locked.
FORGET_RELEASED: Final = """
DELETE FROM released_texts WHERE ctid = ANY(ARRAY(
  SELECT known.ctid FROM unnest($2::uuid[]) AS done (id) CROSS JOIN LATERAL (
    SELECT ctid FROM released_texts WHERE project_id = $1 AND id = done.id OFFSET 0
  ) AS known
))
"""


def find_long_texts(project: ProjectId, *parts: bytes) -> dict[UUID, bytes]:
    """The long texts in parts of the text of a trace, by their ids within the project.

    They are JSON strings as they were sent, without their quotes, and what lies between strings,
    such as many numbers. Of a string that is JSON itself, its strings. A misread end does no harm:
    then a text is longer, and repeats less often.
    """
    found: dict[bytes, None] = {}
    for part in parts:
        masked = part.replace(_ESCAPED_QUOTE, _NO_QUOTE).translate(_CONTROLS_AS_QUOTES)
        for start, past in _long_ranges(masked, _QUOTE):
            string = part[start:past]
            found |= dict.fromkeys(_strings_within(string) if _is_json(string) else [string])
    longest = sorted(found, key=len, reverse=True)[:LONG_TEXTS_OF_BLOCK_MAX]
    return {_id_of(project, one): one for one in longest}


def _is_json(string: bytes) -> bool:
    return string[:1] in {b"[", b"{"}


def _strings_within(string: bytes) -> list[bytes]:
    """The long strings of JSON in a string, whose quotes are escaped, and theirs twice."""
    masked = string.replace(_QUOTE_ESCAPED_TWICE, _NO_QUOTE_TWICE)
    return [string[start:past] for start, past in _long_ranges(masked, _ESCAPED_QUOTE)]


def _long_ranges(text: bytes, quote: bytes) -> Iterator[tuple[int, int]]:
    """The ranges between two quotes, or an end of the text, that are long.

    A long one has one of the places that are looked at. So the time follows the size of the text,
    not the number of its quotes.
    """
    start = 0  # after a quote
    for at in range(0, len(text), LONG_TEXT_BYTES_MIN):
        if at < start:
            continue
        before = text.rfind(quote, start, at)
        if before >= 0:
            start = before + len(quote)
        past = text.find(quote, max(start, at - len(quote) + 1))
        if past < 0:
            past = len(text)
        if past - start >= LONG_TEXT_BYTES_MIN:
            yield start, past
        start = past + len(quote)


def _id_of(project: ProjectId, text: bytes) -> UUID:
    """The key makes equal texts of two projects differ."""
    return UUID(bytes=blake2b(text, digest_size=16, key=project.bytes).digest())


# --- sharing: by the worker that joins blocks ---


@dataclass(slots=True)
class NewTexts:
    """Texts that will be shared, which are stored once the traces' transaction has ended.

    Then no transaction waits for another that stores the same texts in another order.
    """

    size: int = 0
    _found: dict[tuple[ProjectId, UUID], tuple[TraceId, bytes]] = field(default_factory=dict)

    def add(self, project: ProjectId, trace: TraceId, id_: UUID, text: bytes) -> bool:
        """Whether the text will be shared: small frames aren't. Without space, it is left out."""
        frame = compressed([text], len(text))
        if len(frame) < FRAME_BYTES_MIN:
            return False
        if self.size < NEW_TEXTS_BYTES_MAX and (project, id_) not in self._found:
            self._found[project, id_] = (trace, frame)
            self.size += len(frame)
        return True

    async def store(self, pool: Pool) -> None:
        """Stores the texts whose traces still exist. Raises Unavailable."""
        if not self._found:
            return
        keys = sorted((project, trace, id_) for (project, id_), (trace, _) in self._found.items())
        async with transaction(pool, ALL_TENANTS) as connection:
            locked = [tuple(row) for row in await connection.fetch(LOCK_LONG_TEXTS, *arrays(keys))]
            rows = [(*key, self._found[key][1]) for key in sorted(locked)]
            if rows:
                await connection.fetch(ADD_TEXTS, *arrays(rows))
                await connection.fetch(ADD_RELEASED, *arrays(row[:2] for row in rows))


async def note_long_texts(
    connection: Connection, project: ProjectId, texts: Iterable[tuple[TraceId, UUID]]
) -> None:
    """Notes new long texts of traces, which the caller has locked or created."""
    if rows := arrays(texts):
        await connection.fetch(ADD_LONG_TEXTS, project, *rows)


async def release_texts(
    connection: Connection, project: ProjectId, trace: TraceId, ids: Collection[UUID]
) -> None:
    """Releases long texts that a trace has lost, which the caller has locked."""
    if ids:
        await connection.execute(DELETE_LONG_TEXTS, project, trace, sorted(ids))
        await connection.fetch(RELEASE_TEXTS, project, sorted(ids))


async def release_texts_of_traces(
    connection: Connection, project: ProjectId, traces: Sequence[TraceId]
) -> None:
    """Releases all long texts of traces, which are being deleted."""
    rows = await connection.fetch(DELETE_LONG_TEXTS_OF_TRACES, project, traces)
    if gone := sorted({row[0] for row in rows}):
        await connection.fetch(RELEASE_TEXTS, project, gone)


async def lock_texts(
    connection: Connection, project: ProjectId, ids: Collection[UUID]
) -> dict[UUID, bytes]:
    """The frames of those that are shared. They stay until the transaction ends."""
    if not ids:
        return {}
    rows = await connection.fetch(LOCK_TEXTS, project, sorted(ids))
    return {row["text_id"]: row["frame"] for row in rows}


async def list_repeated(
    connection: Connection, project: ProjectId, trace: TraceId, ids: Collection[UUID]
) -> list[UUID]:
    """The texts that another trace has too."""
    if not ids:
        return []
    return [row[0] for row in await connection.fetch(SELECT_REPEATED, project, trace, sorted(ids))]


# --- reading ---


async def fetch_frames(
    connection: Connection, wanted: Iterable[tuple[ProjectId, UUID]]
) -> Mapping[tuple[ProjectId, UUID], bytes]:
    """The frames of shared texts that exist."""
    by_project: dict[ProjectId, set[UUID]] = defaultdict(set)
    for project, id_ in wanted:
        by_project[project].add(id_)
    return {
        (project, row["text_id"]): row["frame"]
        for project, ids in by_project.items()
        for row in await connection.fetch(SELECT_TEXTS, project, sorted(ids))
    }


def text_from_frame(frame: bytes) -> bytes:
    """Raises ZstdError, also for a frame that says it has more than LONG_TEXT_BYTES_MAX."""
    if not 0 < zstandard.frame_content_size(frame) <= LONG_TEXT_BYTES_MAX:
        raise zstandard.ZstdError("the size of the text is wrong")
    return decompressed_with([], frame)


def is_frame_of(frame: bytes, text: bytes) -> bool:
    """Whether it can be read, and is the text's."""
    with suppress(zstandard.ZstdError):
        return text_from_frame(frame) == text
    return False


def intact_texts(frames: Mapping[UUID, bytes], texts: Mapping[UUID, bytes]) -> set[UUID]:
    """The ids of the frames that are those of the texts."""
    return {id_ for id_, frame in frames.items() if is_frame_of(frame, texts[id_])}


# --- removal ---


async def remove_unused_texts(pool: Pool, before: datetime) -> int:
    """Deletes texts that were released before an instant and that no trace has.

    Takes some of all projects, and returns how many it has done. Raises Unavailable.
    """
    async with transaction(pool, ALL_TENANTS) as connection:
        return await _remove(connection, await connection.fetch(LOCK_RELEASED, before))


async def remove_unused_texts_of_project(connection: Connection, project: ProjectId) -> bool:
    """Deletes some texts of the project that no trace has; whether any may be left.

    In the transaction of the caller.
    """
    await _remove(connection, await connection.fetch(LOCK_RELEASED_OF_PROJECT, project))
    is_left: bool = await connection.fetchval(HAS_RELEASED, project)
    return is_left


async def _remove(connection: Connection, rows: Sequence[Record]) -> int:
    by_project: dict[ProjectId, list[Record]] = defaultdict(list)
    for row in rows:
        by_project[row["project_id"]].append(row)
    count = 0
    for project, released in by_project.items():
        ids = {row["text_id"] for row in released}
        used = {row[0] for row in await connection.fetch(SELECT_USED, project, sorted(ids))}
        unused = sorted(ids - used)
        waiting = await _delete(connection, project, unused) if unused else set()
        done = [row["id"] for row in released if row["text_id"] not in waiting]
        await connection.execute(FORGET_RELEASED, project, done)
        count += len(done)
    return count


async def _delete(connection: Connection, project: ProjectId, ids: Sequence[UUID]) -> set[UUID]:
    """Returns those that another transaction has locked."""
    locked = [row[0] for row in await connection.fetch(LOCK_UNUSED_TEXTS, project, ids)]
    await connection.execute(DELETE_UNUSED_TEXTS, project, locked)
    rows = await connection.fetch(SELECT_TEXTS, project, sorted(set(ids) - set(locked)))
    return {row["text_id"] for row in rows}
