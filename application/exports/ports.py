"""The ports of exports."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from domain.exports.export import Export, FileFormat, RowKind, TraceWithScores
from domain.exports.ticket import DownloadTicket
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, TraceId
from domain.page import SortOrder
from domain.tracing.payloads.read_limit import TooLargeToRead
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import Trace

type Batches = AsyncIterator[Sequence[TraceWithScores]]
"""Traces in order, in batches of which a process can hold several in memory."""

BATCH_TRACES_MAX: Final = 100
LEFT_OUT_MAX: Final = 100  # traces that are too large for an export, which names them at its end
LEAVE_IT_OUT: Final = "leave it out of the export with a filter, or delete it"


def leave_out(trace: TraceId, left_out: list[TraceId]) -> None:
    """Appends the trace. Raises TooLargeToRead beyond LEFT_OUT_MAX."""
    if len(left_out) >= LEFT_OUT_MAX:
        raise TooLargeToRead(f"trace {trace} holds", LEAVE_IT_OUT)
    left_out.append(trace)


def session_too_large(session: str | None) -> TooLargeToRead:
    return TooLargeToRead(f"the scores of session {session!r} hold", "delete those that you can")


def check_not_all(left_out: Sequence[TraceId], traces: int) -> None:
    """Raises TooLargeToRead if nothing but what was left out matches: an empty export misleads."""
    if left_out and not traces:
        raise TooLargeToRead(f"trace {left_out[0]} holds", LEAVE_IT_OUT)


class TraceArchive(Protocol):
    """Whole traces of a project, with their scores and those of their sessions.

    Contract of TraceArchive: tests/contracts/exports/test_trace_archive.py.
    """

    def read(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        left_out: list[TraceId],
    ) -> AbstractAsyncContextManager[Batches]:
        """All traces that match, in the order of the list, from one snapshot.

        A batch has 1 to BATCH_TRACES_MAX traces. The first trace of each session has the scores of
        the session. Traces that are too large, with their scores, are left out, and their ids are
        appended to `left_out`. Raises TooLargeToRead if more than LEFT_OUT_MAX or all traces are
        too large, or the scores of a session; and Unavailable, on entering or later, if it takes
        too long or the store can't be reached.
        """
        ...

    async def load(self, project: ProjectId, traces: Sequence[TraceId]) -> Sequence[Trace]:
        """The traces that exist of at most BATCH_TRACES_MAX, in any order.

        Raises TooLargeToRead, Unavailable.
        """
        ...


PIECE_BYTES: Final = 256 << 10  # of a stored file; the last piece may be shorter
EXPORTS_MAX: Final = 10  # of a project, until they expire or are deleted


class Exports(Protocol):
    """The exports of every project, and their files, stored in pieces.

    Contract of Exports: tests/contracts/exports/test_exports.py. Writes are
    durable on return. All raise Unavailable.
    """

    async def create(self, export: Export, *, audit: AuditEntry | None = None) -> Export:
        """Stores it; if its id exists, returns the stored one unchanged.

        Raises Conflict if the project has EXPORTS_MAX, Unavailable if it was removed.
        """
        ...

    async def get(self, project: ProjectId, export: UUID) -> Export:
        """Raises NotFound."""
        ...

    async def all(self, project: ProjectId) -> Sequence[Export]:
        """Newest first, then by id."""
        ...

    async def delete(
        self, project: ProjectId, export: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        """Deletes it with its file, also while a worker writes it; whether it existed."""
        ...

    async def read_piece(self, project: ProjectId, export: UUID, number: int) -> bytes:
        """A piece of the file, numbered from 0. Raises NotFound."""
        ...

    async def claim(self, now: datetime, until: datetime) -> Export | None:
        """Claims the longest due export of any project, and deletes its pieces.

        None if none is due. Concurrent calls get different exports.
        """
        ...

    async def save(self, export: Export, *pieces: bytes) -> bool:
        """Stores the state of a claimed export and the next pieces of its file, atomically.

        Pieces are numbered from 0 and have PIECE_BYTES; the last one may have fewer. If the export
        FAILED, its pieces are deleted. Stores nothing and returns False if it was deleted, is
        over, or another attempt has begun.
        """
        ...

    async def delete_expired(self, now: datetime) -> int:
        """Deletes a batch of expired ones, with their files; how many rows, 0 if none is left."""
        ...


class DownloadTickets(Protocol):
    """The tickets of every project, until they are used or deleted by `RemovedProjects.purge`.

    Contract of DownloadTickets: tests/contracts/exports/test_tickets.py. All raise Unavailable.
    """

    async def add(self, ticket: DownloadTicket) -> None: ...

    async def by_digest(self, digest: bytes) -> DownloadTicket | None:
        """The ticket, also an expired one; None if it is unknown or used."""
        ...

    async def use(self, ticket: DownloadTicket) -> bool:
        """Deletes it; of concurrent calls exactly one returns True."""
        ...


class Encoder(Protocol):
    """Encodes batches of traces as one file.

    Contract of Encoder: tests/contracts/exports/test_encoders.py.
    """

    @property
    def rows(self) -> int:
        """The number of rows so far."""
        ...

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        """The next bytes of the file, possibly none; what is buffered is bounded."""
        ...

    def end(self, left_out: Sequence[TraceId] = ()) -> bytes:
        """The last bytes. NDJSON names the traces that are `left_out`."""
        ...


type Encoders = Mapping[FileFormat, Callable[[ProjectId, RowKind], Encoder]]
"""For each format, what starts a new file."""

type MissingFormats = Mapping[FileFormat, str]
"""Formats that need an optional library that isn't installed; the advice to install it."""
