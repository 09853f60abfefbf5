"""NDJSON exports: one trace per line, and the totals on the last line."""

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import UNSET

from application.concurrency import compute
from application.exports.ports import Batches
from domain.exports.export import TraceWithScores
from domain.ids import ProjectId, TraceId
from entrypoints.http.controllers.exports.schemas import ExportEnd, encode_line
from entrypoints.http.controllers.traces.schemas import traces_are_large

SCORES_ON_LOOP_MAX: Final = 50  # with reasons and metadata as long as they may be


class NdjsonEncoder:
    """Encodes an export of one project, a batch at a time.

    The text that `add` returns never ends with a complete line: if an export is aborted between
    two batches, the text received so far doesn't consist of whole lines. The last line has the
    totals.
    """

    def __init__(self, project: ProjectId) -> None:
        self.rows = 0
        self._project = project
        self._spans = 0
        self._scores = 0
        self._session_scores = 0
        self._digest = sha256()

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        lines = [encode_line(self._project, trace)[:-1] for trace in batch]
        text = (b"}\n" if self.rows else b"") + b"}\n".join(lines)
        self._digest.update(text)
        self.rows += len(batch)
        self._spans += sum(len(archived.trace.spans) for archived in batch)
        self._scores += sum(len(archived.scores) for archived in batch)
        self._session_scores += sum(len(archived.session_scores) for archived in batch)
        return text

    def end(self, left_out: Sequence[TraceId] = ()) -> bytes:
        if not self.rows:
            return b""
        self._digest.update(b"}\n")
        digest = self._digest.hexdigest()
        counts = (self.rows, self._spans, self._scores, self._session_scores)
        end = ExportEnd(not left_out, *counts, digest, [*left_out] or UNSET)
        return b',"export":%b}\n' % msgspec.json.encode(end)


async def encode_batches(
    project: ProjectId, batches: Batches, left_out: Sequence[TraceId]
) -> AsyncIterator[bytes]:
    """The text of an export, in chunks. `left_out` is complete once all batches are read."""
    encoder = NdjsonEncoder(project)
    async for batch in batches:
        yield await compute(encoder.add, batch, is_long=_takes_long(batch))
    yield encoder.end(left_out)


def _takes_long(batch: Sequence[TraceWithScores]) -> bool:
    """A batch of one trace may be much larger than others."""
    scores = sum(len(one.scores) + len(one.session_scores) for one in batch)
    return scores > SCORES_ON_LOOP_MAX or traces_are_large(one.trace for one in batch)
