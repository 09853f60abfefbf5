"""Writes the files of exports: the work of a worker, one file at a time."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Final

from application.exports.ports import (
    PIECE_BYTES,
    Encoder,
    Encoders,
    Exports,
    MissingFormats,
    TraceArchive,
)
from application.ports import Clock
from application.tracing.ports import Traces
from domain.errors import Invalid, Unavailable
from domain.exports.export import ATTEMPTS_MAX, Export
from domain.ids import TraceId
from domain.page import PageRequest, SortOrder
from domain.tracing.query import TraceSort

EXPORT_LEASE: Final = timedelta(minutes=5)  # without progress; then the worker counts as dead
RETRY_DELAY: Final = timedelta(seconds=30)  # after something was unavailable
TOO_MANY_ATTEMPTS: Final = f"{ATTEMPTS_MAX} attempts failed to finish it: narrow it"
UNEXPECTED_ERROR: Final = "An unexpected error; see the log of the worker"


@dataclass(frozen=True, slots=True)
class WriteExport:
    """Writes the file of the longest waiting export, from one snapshot.

    An interrupted one starts again, on any worker, with a later snapshot.
    """

    archive: TraceArchive
    traces: Traces
    exports: Exports
    encoders: Encoders
    missing_formats: MissingFormats
    size_max: int  # bytes of a file
    clock: Clock

    async def __call__(self) -> int:
        """1 if an export was due, else 0. Raises Unavailable, and any unexpected error."""
        now = self.clock()
        export = await self.exports.claim(now, now + EXPORT_LEASE)
        if export is None:
            return 0
        if export.attempts > ATTEMPTS_MAX:
            await self.exports.save(export.failed(TOO_MANY_ATTEMPTS, now))
            return 1
        # The API refuses such a request, but the API may have libraries that this worker lacks.
        if (advice := self.missing_formats.get(export.format)) is not None:
            await self.exports.save(export.failed(f"On the worker: {advice}", now))
            return 1
        try:
            await self._write(export)
        except Unavailable:
            await self.exports.save(export.put_off(self.clock() + RETRY_DELAY))
            raise
        except asyncio.CancelledError:  # this worker stops; another may start immediately
            await self.exports.save(export.put_off(self.clock()))
            raise
        except Invalid as refused:  # a trace is too large, and stays so
            await self.exports.save(export.failed(refused.message, self.clock()))
        except Exception:
            await self.exports.save(export.failed(UNEXPECTED_ERROR, self.clock()))
            raise
        return 1

    async def _write(self, export: Export) -> None:
        project, matching = export.project_id, export.matching
        sort, order = TraceSort.STARTED_AT, SortOrder.ASC
        counting = PageRequest(limit=1, counts_all=True)
        page = await self.traces.summaries(project, matching, sort, order, counting)
        export = replace(export, traces_total=page.total)
        encoder = self.encoders[export.format](project, export.row_kind)
        file = _PieceBuffer()
        left_out: list[TraceId] = []
        async with self.archive.read(project, matching, sort, order, left_out) as batches:
            async for batch in batches:
                file.add(encoder.add(batch))
                export = self._progress(export, encoder, file, len(batch))
                if file.size > self.size_max:
                    await self.exports.save(export.failed(self._too_large, self.clock()))
                    return
                pieces = [*file.whole_pieces()]
                if pieces and not await self.exports.save(export, *pieces):
                    return  # it was deleted, or another attempt has begun
        file.add(encoder.end(left_out))
        export = self._progress(export, encoder, file, 0)
        done = export.completed(file.digest.hexdigest(), self.clock(), left_out)
        await self.exports.save(done, *file.whole_pieces(), *file.rest())

    def _progress(
        self, export: Export, encoder: Encoder, file: "_PieceBuffer", batch_traces: int
    ) -> Export:
        return replace(
            export,
            traces_done=export.traces_done + batch_traces,
            rows=encoder.rows,
            size=file.size,
            due_at=self.clock() + EXPORT_LEASE,
        )

    @property
    def _too_large(self) -> str:
        return (
            f"The file is larger than {self.size_max >> 20} MiB: narrow it with started_after "
            "and started_before, or stream it with GET /traces/export"
        )


class _PieceBuffer:
    """The bytes of a file that aren't stored yet, and the size and digest of the whole file."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = sha256()
        self._buffer = bytearray()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
        self._buffer += data

    def whole_pieces(self) -> Iterator[bytes]:
        while len(self._buffer) >= PIECE_BYTES:
            piece = bytes(self._buffer[:PIECE_BYTES])
            del self._buffer[:PIECE_BYTES]
            yield piece

    def rest(self) -> list[bytes]:
        return [bytes(self._buffer)] if self._buffer else []
