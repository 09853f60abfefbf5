"""`import`: sends an export to a server over HTTP, so that it works on any installation.

A trace that is reported as stored is committed, and an existing trace isn't written again. So the
same command resumes an import that was stopped, or whose server was down for long.
"""

import asyncio
import gzip
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from application.tracing.ingest import BATCH_MAX
from domain.wording import counted
from entrypoints.cli.server_client import (
    TOO_LARGE,
    FieldProblem,
    Post,
    Response,
    Server,
    post_with_retries,
    problem_detail,
)
from entrypoints.progress import Progress
from entrypoints.startup import CommandError

BATCH_BYTES: Final = 8 << 20  # of the lines in one request; a longer line is sent alone
LINE_BYTES_MAX: Final = 256 << 20  # no server accepts as much in one request
PRINTED_REFUSALS_MAX: Final = 100  # further refused lines are only counted
STANDARD_INPUT: Final = "-"

_END: Final = re.compile(rb',"export":(\{[^{}]*\})\}\n?\Z')
_TAIL_BYTES: Final = 1_000  # at the end of a file; they contain its end mark
_LINE: Final = msgspec.json.Decoder(msgspec.defstruct("Line", [("trace_id", str)]))


class _EndMark(msgspec.Struct):
    traces: int
    sha256: str
    left_out: list[str] = msgspec.field(default_factory=list)


class Rejected(msgspec.Struct):
    """What the server refused of a request: its place there, and why."""

    index: int
    errors: list[FieldProblem]


class _ImportResult(msgspec.Struct):
    stored: int
    unchanged: int
    rejected: list[Rejected]


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    text: bytes
    trace_id: str


@dataclass(slots=True)
class TraceImporter:
    """Imports one file. `report` is called with a message about each problem."""

    post: Post
    progress: Progress
    report: Callable[[str], object]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    stored: int = 0
    unchanged: int = 0
    refused: int = 0
    is_complete: bool = True
    _batch: dict[str, Line] = field(default_factory=dict)  # by trace id
    _batch_bytes: int = 0

    async def run(self, file: BinaryIO) -> None:
        """Sends all lines. Raises CommandError if the server refuses them or stays down."""
        for line in self._lines(file):
            size = self._batch_bytes + len(line.text)
            is_full = size > BATCH_BYTES or len(self._batch) >= BATCH_MAX
            if self._batch and (is_full or line.trace_id in self._batch):
                await self._send()
            self._batch[line.trace_id] = line
            self._batch_bytes += len(line.text)
        if self._batch:
            await self._send()

    def _lines(self, file: BinaryIO) -> Iterator[Line]:
        digest, traces, number, has_end_mark = sha256(), 0, 0, True
        while text := file.readline(LINE_BYTES_MAX):
            number += 1
            if text.isspace():
                continue
            has_end_mark, traces = False, traces + 1
            if (found := _find_end_mark(text)) is not None:
                begin, end = found
                text = text[:begin] + b"}\n"
                digest.update(text)
                if (end.traces, end.sha256) != (traces, digest.hexdigest()):
                    self.is_complete = False
                    self.report(f"line {number}: the export that ends here was altered")
                if end.left_out:
                    self.is_complete = False
                    missing = counted(len(end.left_out), "trace that was", "traces that were")
                    ids = ", ".join(end.left_out)
                    self.report(f"line {number}: the export lacks {missing} too large: {ids}")
                digest, traces, has_end_mark = sha256(), 0, True
            else:
                digest.update(text)
            if (line := self._parse(number, text)) is not None:
                yield line
        if not has_end_mark:
            self.is_complete = False
            self.report("the file is truncated: its last line lacks the end mark of the export")

    def _parse(self, number: int, text: bytes) -> Line | None:
        try:
            text.decode()
            return Line(number, text.strip(), cast("Line", _LINE.decode(text)).trace_id)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
            self._refuse(number, str(error))
            self.progress.advance(1)
            return None

    async def _send(self) -> None:
        lines = [*self._batch.values()]
        self._batch.clear()
        self._batch_bytes = 0
        await self._send_lines(lines)

    async def _send_lines(self, lines: list[Line]) -> None:
        body = b'{"traces":[' + b",".join(line.text for line in lines) + b"]}"
        response = await self._post_with_retries(body)
        if response.status == TOO_LARGE and len(lines) > 1:
            half = len(lines) // 2
            await self._send_lines(lines[:half])
            await self._send_lines(lines[half:])
            return
        if response.status == TOO_LARGE:
            hint = "see PANDAPROBE_MAX_BODY_BYTES of the server, and the limit of its proxy"
            self._refuse(lines[0].number, f"{problem_detail(response)}: {hint}")
        else:
            result = msgspec.json.decode(response.body, type=_ImportResult)
            self.stored += result.stored
            self.unchanged += result.unchanged
            for rejected in result.rejected:
                first = rejected.errors[0]
                self._refuse(lines[rejected.index].number, f"{first.field} {first.message}".strip())
        self.progress.advance(len(lines))

    async def _post_with_retries(self, body: bytes) -> Response:
        """As the function. Its CommandError says what is stored."""
        try:
            return await post_with_retries(self.post, body, self.report, self.sleep)
        except CommandError as error:
            raise CommandError(
                f"{error} ({counted(self.stored, 'trace is', 'traces are')} stored; repeat it to "
                "continue)"
            ) from error

    def _refuse(self, number: int, reason: str) -> None:
        self.refused += 1
        if self.refused <= PRINTED_REFUSALS_MAX:
            self.report(f"line {number}: {reason}")

    def summary(self) -> str:
        """The counts of traces, in a line."""
        refused = f", {self.refused:,} refused" if self.refused else ""
        return (
            f"{counted(self.stored, 'trace')} stored, {self.unchanged:,} existed already{refused}"
        )


def _find_end_mark(text: bytes) -> tuple[int, _EndMark] | None:
    """The position of the export's end mark in a text, and the mark."""
    found = _END.search(text)
    try:
        return found and (found.start(), msgspec.json.decode(found[1], type=_EndMark))
    except ValueError:
        return None


def file_problem(name: str | Path, error: Exception) -> str:
    """Why a file can't be used, with its name once, as it was given."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"{name}: {reason}"


def run(
    name: str,
    *,
    url: str | None,
    key: str | None,
    project: str | None,
    organization: str | None = None,
) -> int:
    """Imports the file `name`; `-` is the standard input. Returns 1 if lines were refused, else 0.

    Raises CommandError, also for a missing URL, key or project.
    """
    server = Server.from_options(
        url, key, project, organization=organization, described_in="docs/tracing/exports.md"
    )
    try:
        with open_export(name) as file:
            return asyncio.run(_run(file, read_total(name), server))
    except (OSError, EOFError) as error:
        raise CommandError(file_problem(name, error)) from error


async def _run(file: BinaryIO, total: int | None, server: Server) -> int:
    async with server.open() as client:
        post = server.poster(client, "/traces/import", "application/json")
        with Progress(total, sys.stderr) as progress:
            importer = TraceImporter(post, progress, lambda line: sys.stderr.write(f"{line}\n"))
            await importer.run(file)
    sys.stdout.write(f"{importer.summary()}\n")
    return 0 if importer.is_complete and not importer.refused else 1


def _standard_input() -> AbstractContextManager[BufferedReader]:
    """Stays open after the block. Raises OSError if the process has none."""
    if sys.stdin is None:
        raise OSError("this process has no standard input")
    return nullcontext(cast("BufferedReader", sys.stdin.buffer))


@contextmanager
def open_export(name: str) -> Iterator[BinaryIO]:
    """Opens a plain or gzip file, or the standard input, for the block. Raises OSError."""
    # Opened once: a pipe gives its bytes only once.
    with _standard_input() if name == STANDARD_INPUT else Path(name).open("rb") as file:
        if file.peek(2).startswith(b"\x1f\x8b"):
            with gzip.open(file) as unpacked:
                yield cast("BinaryIO", unpacked)
        else:
            yield file


def is_read_twice(name: str) -> bool:
    """Whether a name is that of a file, which can be read before it is sent. A pipe can't."""
    return name != STANDARD_INPUT and Path(name).is_file()


def read_total(name: str) -> int | None:
    """The number of traces in the end mark of a plain file; None if it can't be read first."""
    if not is_read_twice(name):
        return None
    with Path(name).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        found = _find_end_mark(file.read())
    return None if found is None else found[1].traces
