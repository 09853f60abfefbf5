"""`import`: puts an export back, over HTTP, so that it works on any installation.

What is told as stored is stored, and what is there already isn't written again: where it was
stopped, or a server was away for long, the same command goes on.
"""

import asyncio
import gzip
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

import msgspec

from application.tracing.ingest import BATCH_MAX
from entrypoints.progress import Progress
from entrypoints.startup import CommandError

BATCH_BYTES: Final = 8 << 20  # of lines in one request; a longer line goes alone
LINE_MAX: Final = 256 << 20  # bytes; no server takes as much in one request
RETRIES_MAX: Final = 30  # of one request; a server restarts within it
WAIT_MAX_S: Final = 60.0  # before another try
TOLD_MAX: Final = 100  # refused lines; the rest are counted
PASSING: Final = frozenset({429, 502, 503, 504})
TOO_LARGE: Final = 413
OK: Final = 200
STANDARD_INPUT: Final = "-"

_END: Final = re.compile(rb',"export":(\{[^{}]*\})\}\n?\Z')
_TAIL: Final = 1_000  # bytes, in which the end is found
_LINE: Final = msgspec.json.Decoder(msgspec.defstruct("Line", [("trace_id", str)]))


class _End(msgspec.Struct):
    traces: int
    sha256: str


class _Mistake(msgspec.Struct):
    field: str
    message: str


class _Rejected(msgspec.Struct):
    index: int
    errors: list[_Mistake]


class _Told(msgspec.Struct):
    stored: int
    unchanged: int
    rejected: list[_Rejected]


class _Problem(msgspec.Struct):
    detail: str = "no JSON"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to one request; `retry_after` as it was sent. 0: it wasn't reached."""

    status: int
    body: bytes
    retry_after: str | None = None


type Post = Callable[[bytes], Awaitable[Answer]]
"""Sends a body to `POST /traces/import`. Never raises for a server that is away."""


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    text: bytes
    trace_id: str


@dataclass(slots=True)
class Importing:
    """One file on its way. `tell` is given a line about each line that couldn't be taken."""

    post: Post
    progress: Progress
    tell: Callable[[str], object]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    stored: int = 0
    unchanged: int = 0
    refused: int = 0
    is_whole: bool = True
    _waiting: dict[str, Line] = field(default_factory=dict)
    _bytes: int = 0

    async def run(self, file: BinaryIO) -> None:
        """Sends all of it. Raises CommandError where the server refuses, or stays away."""
        for line in self._lines(file):
            is_full = self._bytes + len(line.text) > BATCH_BYTES or len(self._waiting) >= BATCH_MAX
            if self._waiting and (is_full or line.trace_id in self._waiting):
                await self._send()
            self._waiting[line.trace_id] = line
            self._bytes += len(line.text)
        if self._waiting:
            await self._send()

    def _lines(self, file: BinaryIO) -> Iterator[Line]:
        digest, traces, number, is_ended = sha256(), 0, 0, True
        while text := file.readline(LINE_MAX):
            number += 1
            if text.isspace():
                continue
            is_ended, traces = False, traces + 1
            if (found := _ending(text)) is not None:
                begin, end = found
                text = text[:begin] + b"}\n"
                digest.update(text)
                if (end.traces, end.sha256) != (traces, digest.hexdigest()):
                    self.is_whole = False
                    self.tell(f"line {number}: what ends here isn't what was exported")
                digest, traces, is_ended = sha256(), 0, True
            else:
                digest.update(text)
            if (line := self._checked(number, text)) is not None:
                yield line
        if not is_ended:
            self.is_whole = False
            self.tell("the file is not whole: its last line doesn't say that the export ends")

    def _checked(self, number: int, text: bytes) -> Line | None:
        try:
            text.decode()
            return Line(number, text.strip(), cast("Line", _LINE.decode(text)).trace_id)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
            self._refuse(number, str(error))
            self.progress.advance(1)
            return None

    async def _send(self) -> None:
        lines = [*self._waiting.values()]
        self._waiting.clear()
        self._bytes = 0
        await self._put(lines)

    async def _put(self, lines: list[Line]) -> None:
        body = b'{"traces":[' + b",".join(line.text for line in lines) + b"]}"
        answer = await self._answered(body)
        if answer.status == TOO_LARGE and len(lines) > 1:
            half = len(lines) // 2
            await self._put(lines[:half])
            await self._put(lines[half:])
            return
        if answer.status == TOO_LARGE:
            self._refuse(lines[0].number, f"{_detail(answer)}: PANDAPROBE_MAX_BODY_BYTES there")
        else:
            told = msgspec.json.decode(answer.body, type=_Told)
            self.stored += told.stored
            self.unchanged += told.unchanged
            for one in told.rejected:
                first = one.errors[0]
                self._refuse(lines[one.index].number, f"{first.field} {first.message}".strip())
        self.progress.advance(len(lines))

    async def _answered(self, body: bytes) -> Answer:
        """Of the statuses OK and TOO_LARGE. Raises CommandError."""
        for tried in range(RETRIES_MAX + 1):
            answer = await self.post(body)
            if answer.status in {OK, TOO_LARGE}:
                return answer
            if answer.status not in PASSING and answer.status:
                break
            if not tried and not answer.status:
                self.tell(f"{_detail(answer)}: trying again")
            if tried < RETRIES_MAX:
                await self.sleep(_wait_s(answer, tried))
        raise CommandError(
            f"{_detail(answer)} ({self.stored:,} traces are stored; the same command goes on)"
        )

    def _refuse(self, number: int, why: str) -> None:
        self.refused += 1
        if self.refused <= TOLD_MAX:
            self.tell(f"line {number}: {why}")

    def told(self) -> str:
        """What was done, in a line."""
        refused = f", {self.refused:,} refused" if self.refused else ""
        return f"{self.stored:,} traces stored, {self.unchanged:,} were there already{refused}"


def _ending(text: bytes) -> tuple[int, _End] | None:
    """Where a text tells the end of its export, and what it says of it."""
    found = _END.search(text)
    try:
        return found and (found.start(), msgspec.json.decode(found[1], type=_End))
    except ValueError:
        return None


def _wait_s(answer: Answer, tried: int) -> float:
    said = answer.retry_after
    wait = float(said) if said is not None and said.isdigit() else 2.0**tried / 2
    return min(wait, WAIT_MAX_S)


def _detail(answer: Answer) -> str:
    if not answer.status:
        return answer.body.decode()
    try:
        told = msgspec.json.decode(answer.body, type=_Problem)
    except ValueError:
        told = _Problem()
    return f"{answer.status}: {told.detail}"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an import goes."""

    url: str
    key: str
    project: str

    @classmethod
    def of(cls, **said: str | None) -> Self:
        """Raises CommandError for what nothing said."""
        missing = [name for name, value in said.items() if not value]
        if missing:
            raise CommandError(
                f"{', '.join(f'--{name}' for name in missing)} must be given, or stand in the "
                "environment as docs/exports.md says"
            )
        return cls(**cast("Mapping[str, str]", said))


def run(name: str, destination: Destination) -> int:
    """Puts the file `name` back, `-` being the standard input. 0, or 1 where not all was taken.

    Raises CommandError.
    """
    try:
        with opened(name) as file:
            return asyncio.run(_run(file, total_of(name), destination))
    except (OSError, EOFError) as error:
        raise CommandError(f"{name}: {error}") from error


async def _run(file: BinaryIO, total: int | None, destination: Destination) -> int:
    import httpx2  # noqa: PLC0415 - slow to import, and only this command and workers need it

    head = {
        "x-api-key": destination.key,
        "x-project-name": destination.project,
        "content-type": "application/json",
    }
    try:
        client = httpx2.AsyncClient(base_url=destination.url, headers=head, timeout=60)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise CommandError(f"--url, --key or --project is none: {error}") from error
    async with client:

        async def post(body: bytes) -> Answer:
            try:
                answer = await client.post("/traces/import", content=body)
            except httpx2.UnsupportedProtocol as error:
                raise CommandError(f"--url {destination.url}: {error}") from error
            except httpx2.HTTPError as error:
                why = str(error) or type(error).__name__
                return Answer(0, f"{destination.url}: {why}".encode())
            return Answer(answer.status_code, answer.content, answer.headers.get("retry-after"))

        with Progress(total, sys.stderr) as progress:
            importing = Importing(post, progress, lambda line: sys.stderr.write(f"{line}\n"))
            await importing.run(file)
    sys.stdout.write(f"{importing.told()}\n")
    return 0 if importing.is_whole and not importing.refused else 1


def opened(name: str) -> BinaryIO:
    """A file, which may be compressed with gzip, or the standard input. Raises OSError."""
    if name == STANDARD_INPUT:
        return sys.stdin.buffer
    path = Path(name)
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path)) if is_gzip else path.open("rb")


def total_of(name: str) -> int | None:
    """How many traces the end of a plain file promises; None where it can't be seen from here."""
    if name == STANDARD_INPUT:
        return None
    with Path(name).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        found = _ending(file.read())
    return None if found is None else found[1].traces
