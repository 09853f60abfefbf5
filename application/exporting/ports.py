"""What exports need from the world."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from domain.exporting.export import Export, FileFormat, RowKind
from domain.exporting.exported_trace import TraceWithScores
from domain.ids import ProjectId, TraceId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort

type Batches = AsyncIterator[Sequence[TraceWithScores]]
"""Traces in an order, some at a time: as many as a process can hold several times."""

BATCH_TRACES_MAX: Final = 100


class TraceArchive(Protocol):
    """Whole traces with their scores and those of their sessions, of one project.

    Contract of TraceArchive: tests/contracts/exporting/test_trace_archive.py.
    """

    def read(
        self, project: ProjectId, matching: TraceFilter, sort: TraceSort, order: SortOrder
    ) -> AbstractAsyncContextManager[Batches]:
        """All traces that `matching` admits, in the order of the list, as they are at one moment.

        A batch has 1 to BATCH_TRACES_MAX traces. The first trace of each session brings along what
        was said of the session. Bounded in time: raises Unavailable beyond it,
        or where the store is out of reach, on entering or later.
        """
        ...

    async def load(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Sequence[TraceWithScores]:
        """Those of at most BATCH_TRACES_MAX traces that are there, in any order.

        Without what was said of their sessions. Raises Unavailable.
        """
        ...


PIECE_BYTES: Final = 256 << 10  # of a file as it is kept; the last piece may be shorter
EXPORTS_MAX: Final = 10  # of a project, until they expire or are deleted


class Exports(Protocol):
    """The exports of every project, and the files that they came to, kept in pieces.

    Contract of Exports: tests/contracts/exporting/test_exports.py. What is written
    is durable on return. All raise Unavailable.
    """

    async def create(self, export: Export) -> Export:
        """Stores it; the one that is there under its id, if any.

        Raises Conflict where the project has EXPORTS_MAX, Unavailable where it was removed.
        """
        ...

    async def get(self, project: ProjectId, export: UUID) -> Export:
        """Raises NotFound."""
        ...

    async def all(self, project: ProjectId) -> Sequence[Export]:
        """Newest first, ties by id."""
        ...

    async def delete(self, project: ProjectId, export: UUID) -> bool:
        """Removes it with its file, whoever writes it; whether it was there."""
        ...

    async def read_piece(self, project: ProjectId, export: UUID, number: int) -> bytes:
        """A piece of the file, numbered from 0. Raises NotFound."""
        ...

    async def claim(self, now: datetime, until: datetime) -> Export | None:
        """The export of any project that is due for longest, `claimed`, and no piece of it.

        None where nothing is due. Of claims at once each gets another.
        """
        ...

    async def save(self, export: Export, *pieces: bytes) -> bool:
        """Stores how a claimed export stands, and the next pieces of its file, wholly or not.

        Every piece has PIECE_BYTES, but the last of the file may have fewer: the first one kept
        has the number 0. Of one that FAILED no piece stays. False, and nothing is stored, where it
        was deleted, is over, or another attempt has begun since.
        """
        ...

    async def delete_expired(self, now: datetime) -> int:
        """Removes some that have expired, with their files; how many rows, 0 when none is left."""
        ...


class Encoder(Protocol):
    """Makes one file out of batches.

    Contract of Encoder: tests/contracts/exporting/test_encoders.py.
    """

    @property
    def rows(self) -> int:
        """How many there are in the file by now."""
        ...

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        """The next bytes of the file, which may be none; what it holds back is bounded."""
        ...

    def end(self) -> bytes:
        """The last bytes."""
        ...


type Encoders = Mapping[FileFormat, Callable[[ProjectId, RowKind], Encoder]]
"""How a file of each format is begun."""
