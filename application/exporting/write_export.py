"""The worker's half of exports: one file at a time, from beginning to end."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Final

from application.exporting.ports import PIECE_BYTES, TraceArchive, Encoder, Encoders, Exports
from application.ports import Clock
from application.tracing.ports import Traces
from domain.errors import Unavailable
from domain.exporting.export import ATTEMPTS_MAX, Export
from domain.page import PageRequest, SortOrder
from domain.tracing.query import TraceSort

HELD: Final = timedelta(minutes=5)  # with nothing kept; then its worker is taken for dead
PUT_OFF: Final = timedelta(seconds=30)  # where something was away
GIVEN_UP: Final = f"Workers began it {ATTEMPTS_MAX} times, and none could finish it: narrow it"
FAULT: Final = "An unexpected fault; the log of the worker tells it"


@dataclass(frozen=True, slots=True)
class WriteExport:
    """Writes the file of the export that waits for longest, all of it of one moment.

    One that is broken off begins again, here or elsewhere: its rows are of a later moment then.
    """

    archive: TraceArchive
    traces: Traces
    exports: Exports
    encoders: Encoders
    size_max: int  # bytes of a file
    clock: Clock

    async def __call__(self) -> int:
        """1 where there was one to write. Raises Unavailable, and whatever is a fault of ours."""
        now = self.clock()
        export = await self.exports.claim(now, now + HELD)
        if export is None:
            return 0
        if export.attempts > ATTEMPTS_MAX:
            await self.exports.save(export.failed(GIVEN_UP, now))
            return 1
        try:
            await self._write(export)
        except Unavailable:
            await self.exports.save(export.put_off(self.clock() + PUT_OFF))
            raise
        except asyncio.CancelledError:  # this worker leaves; another may begin at once
            await self.exports.save(export.put_off(self.clock()))
            raise
        except Exception:
            await self.exports.save(export.failed(FAULT, self.clock()))
            raise
        return 1

    async def _write(self, export: Export) -> None:
        project, matching = export.project_id, export.matching
        sort, order = TraceSort.STARTED_AT, SortOrder.ASC
        page = await self.traces.summaries(project, matching, sort, order, PageRequest(limit=1))
        export = replace(export, traces_total=page.total)
        encoder = self.encoders[export.format](project, export.row_kind)
        file = _Pieces()
        async with self.archive.read(project, matching, sort, order) as batches:
            async for batch in batches:
                file.add(encoder.add(batch))
                export = self._standing(export, encoder, file, len(batch))
                if file.size > self.size_max:
                    await self.exports.save(export.failed(self._too_large, self.clock()))
                    return
                pieces = [*file.whole()]
                if pieces and not await self.exports.save(export, *pieces):
                    return  # deleted, or another's by now
        file.add(encoder.end())
        export = self._standing(export, encoder, file, 0)
        done = export.completed(file.digest.hexdigest(), self.clock())
        await self.exports.save(done, *file.whole(), *file.rest())

    def _standing(self, export: Export, encoder: Encoder, file: "_Pieces", done: int) -> Export:
        return replace(
            export,
            traces_done=export.traces_done + done,
            rows=encoder.rows,
            size=file.size,
            due_at=self.clock() + HELD,
        )

    @property
    def _too_large(self) -> str:
        return (
            f"The file is larger than {self.size_max >> 20} MiB: narrow it with started_after "
            "and started_before, or stream it with GET /traces/export"
        )


class _Pieces:
    """A file on its way: what of it isn't kept yet, and what all of it comes to."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = sha256()
        self._held = bytearray()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
        self._held += data

    def whole(self) -> Iterator[bytes]:
        while len(self._held) >= PIECE_BYTES:
            piece = bytes(self._held[:PIECE_BYTES])
            del self._held[:PIECE_BYTES]
            yield piece

    def rest(self) -> list[bytes]:
        return [bytes(self._held)] if self._held else []
