"""`import-dataset` and `export-dataset`: files of items, over HTTP.

Items are written by their ids, and equal ones aren't written again. So the same command resumes an
import that was stopped.
"""

import asyncio
import csv
import gzip
import io
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.parse import quote

import msgspec

from domain.evaluation.datasets.dataset import ITEM_BYTES_MAX, ITEMS_PER_REQUEST_MAX
from domain.wording import counted
from entrypoints.cli.server_client import (
    OK,
    TOO_LARGE,
    Post,
    Response,
    Server,
    post_with_retries,
    problem_detail,
)
from entrypoints.cli.trace_files import (
    BATCH_BYTES,
    PRINTED_REFUSALS_MAX,
    STANDARD_INPUT,
    Rejected,
    file_problem,
    is_read_twice,
    open_export,
)
from entrypoints.progress import Progress
from entrypoints.startup import CommandError

DESCRIBED_IN: Final = "docs/evaluation/datasets.md"
LINE_BYTES_MAX: Final = 16 << 20  # of a line of a file; an item has at most ITEM_BYTES_MAX
CREATED, CONFLICT = 201, 409
LINK: Final = "from_trace"
CONTENT_TYPES: Final = {"ndjson": "application/x-ndjson", "csv": "text/csv"}

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Written(msgspec.Struct):
    version: str
    created: int
    changed: int
    unchanged: int
    rejected: list[Rejected]


class _Page(msgspec.Struct):
    total: int


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a file, encoded as a line or a row, and the line where it ends."""

    line: int
    text: bytes


@dataclass(slots=True)
class ItemImporter:
    """Imports items. `report` is called with a message about each refused item.

    `header` begins each request: the first line of CSV.
    """

    post: Post
    progress: Progress
    report: Callable[[str], object]
    header: bytes = b""
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    version: str = ""

    async def run(self, items: Iterator[Item]) -> None:
        """Sends all items. Raises CommandError if the server refuses them or stays down."""
        batch: list[Item] = []
        size = 0
        for item in items:
            size += len(item.text)
            if batch and (size > BATCH_BYTES or len(batch) >= ITEMS_PER_REQUEST_MAX):
                await self._send(batch)
                batch, size = [], len(item.text)
            batch.append(item)
        if batch:
            await self._send(batch)

    async def _send(self, batch: Sequence[Item]) -> None:
        body = self.header + b"".join(item.text for item in batch)
        response = await post_with_retries(self.post, body, self.report)
        if response.status == TOO_LARGE and len(batch) > 1:
            half = len(batch) // 2
            await self._send(batch[:half])
            await self._send(batch[half:])
            return
        if response.status == TOO_LARGE:
            self._refuse(batch[0].line, problem_detail(response))
        else:
            written = msgspec.json.decode(response.body, type=_Written)
            self.version = written.version
            self.created += written.created
            self.changed += written.changed
            self.unchanged += written.unchanged
            for one in written.rejected:
                first = one.errors[0]
                self._refuse(batch[one.index].line, f"{first.field} {first.message}".strip())
        self.progress.advance(len(batch))

    def _refuse(self, line: int, reason: str) -> None:
        self.refused += 1
        if self.refused <= PRINTED_REFUSALS_MAX:
            self.report(f"line {line}: {reason}")

    def summary(self) -> str:
        """The counts of items, and the version, in a line."""
        refused = f", {self.refused:,} refused" if self.refused else ""
        return (
            f"{counted(self.created, 'item')} created, {self.changed:,} changed, "
            f"{self.unchanged:,} "
            f"unchanged{refused}; version {self.version or 'unchanged'}"
        )


def read_lines(file: BinaryIO, *, with_links: bool = True) -> Iterator[Item]:
    """The items of NDJSON."""
    number = 0
    while text := file.readline(LINE_BYTES_MAX):
        number += 1
        if text.strip():
            yield Item(number, (text if with_links else _without_link(text)).strip() + b"\n")


def _without_link(text: bytes) -> bytes:
    try:
        members = _MEMBERS.decode(text)
    except (ValueError, RecursionError):  # the server says what is wrong
        return text
    members.pop(LINK, None)
    return msgspec.json.encode(members)


def read_rows(file: BinaryIO, *, with_links: bool = True) -> tuple[bytes, Iterator[Item]]:
    """The header of CSV, and its items. Raises CommandError for what isn't CSV in UTF-8."""
    csv.field_size_limit(max(csv.field_size_limit(), ITEM_BYTES_MAX))
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise CommandError(f"line {reader.line_num}: {error}") from error
    kept = [n for n, name in enumerate(header) if with_links or name != LINK]

    def cut(row: Sequence[str]) -> list[str]:
        return [row[n] for n in kept] if len(row) == len(header) else list(row)

    def items() -> Iterator[Item]:
        try:
            for row in reader:
                if row:
                    yield Item(reader.line_num, _csv_line(cut(row)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise CommandError(f"line {reader.line_num}: {error}") from error
        finally:
            if not text.closed:
                text.detach()  # the caller closes the file

    return _csv_line(cut(header)), items()


def _csv_line(cells: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()


def file_format(name: str, given: str | None) -> str:
    """`ndjson` or `csv`: as given, or by the name of the file."""
    if given is not None:
        return given
    return "csv" if name.removesuffix(".gz").endswith(".csv") else "ndjson"


def import_file(
    name: str, dataset: str, server: Server, *, format_: str | None, with_links: bool
) -> int:
    """Imports the file `name`; `-` is the standard input. Returns 1 if items were refused, else 0.

    Creates the dataset if it doesn't exist. Raises CommandError.
    """
    file_type = file_format(name, format_)
    try:
        total = _count(name, file_type) if is_read_twice(name) else None
        with open_export(name) as file:
            return asyncio.run(
                _import(file, dataset, server, file_type, total, with_links=with_links)
            )
    except (OSError, EOFError) as error:
        raise CommandError(file_problem(name, error)) from error


def _count(name: str, format_: str) -> int:
    with open_export(name) as file:
        items = read_rows(file)[1] if format_ == "csv" else read_lines(file)
        return sum(1 for _ in items)


async def create_dataset(
    post: Post,
    name: str,
    report: Callable[[str], object],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Creates it, unless it exists. Raises CommandError if the server refuses or stays down."""
    body = msgspec.json.encode({"name": name})
    await post_with_retries(post, body, report, sleep, accepted=(CREATED, CONFLICT))


async def _import(
    file: BinaryIO,
    dataset: str,
    server: Server,
    format_: str,
    total: int | None,
    *,
    with_links: bool,
) -> int:
    if format_ == "csv":
        header, items = read_rows(file, with_links=with_links)
    else:
        header, items = b"", read_lines(file, with_links=with_links)
    async with server.open() as client:
        create = server.poster(client, "/datasets", "application/json")
        await create_dataset(create, dataset, lambda line: sys.stderr.write(f"{line}\n"))
        path = f"/datasets/{quote(dataset, safe='')}/items/batch"
        post = server.poster(client, path, CONTENT_TYPES[format_])
        with Progress(total, sys.stderr) as progress:
            importer = ItemImporter(
                post, progress, lambda line: sys.stderr.write(f"{line}\n"), header
            )
            await importer.run(items)
    sys.stdout.write(f"{importer.summary()}\n")
    return 1 if importer.refused else 0


def export_file(
    dataset: str,
    name: str,
    server: Server,
    *,
    format_: str | None,
    version: str | None,
    split: str | None,
) -> int:
    """Writes a version of a dataset to the file `name`; `-` is the standard output.

    Raises CommandError.
    """
    file_type = file_format(name, format_)
    given = {"version": version, "split": split}
    query = {key: value for key, value in given.items() if value is not None}
    try:
        if name == STANDARD_INPUT:
            count = asyncio.run(_export(dataset, server, file_type, query, sys.stdout.buffer))
        else:
            with complete_file(name) as file:
                count = asyncio.run(_export(dataset, server, file_type, query, file))
    except OSError as error:
        raise CommandError(file_problem(name, error)) from error
    sys.stderr.write(f"{counted(count, 'item')} written\n")
    return 0


@contextmanager
def complete_file(name: str) -> Iterator[BinaryIO]:
    """The file `name`, compressed for `.gz`. It appears once the block has ended without an error.

    A pipe or a device can't be replaced: the block writes to it.
    """
    path = Path(name)
    is_replaced = path.is_file() or not path.exists()
    part = Path(f"{name}.part") if is_replaced else path
    try:
        with gzip.open(part, "wb") if name.endswith(".gz") else part.open("wb") as file:
            yield cast("BinaryIO", file)
        if is_replaced:
            part.replace(path)
    except BaseException:
        if is_replaced:
            part.unlink(missing_ok=True)
        raise


async def _export(
    dataset: str, server: Server, format_: str, query: dict[str, str], out: BinaryIO
) -> int:
    """The number of items."""
    import httpx2  # noqa: PLC0415 - as in `Server`

    path = f"/datasets/{quote(dataset, safe='')}"
    async with server.open() as client:
        try:
            page = await client.get(f"{path}/items", params={**query, "limit": 1})
            if page.status_code != OK:
                raise CommandError(problem_detail(Response(page.status_code, page.content)))
            total = msgspec.json.decode(page.content, type=_Page).total
            with Progress(total, sys.stderr) as progress:
                counter = _ItemCounter(format_)
                request = client.stream(
                    "GET", f"{path}/export", params={**query, "format": format_}
                )
                async with request as response:
                    if response.status_code != OK:
                        content = await response.aread()
                        raise CommandError(problem_detail(Response(response.status_code, content)))
                    async for chunk in response.aiter_bytes():
                        out.write(chunk)
                        progress.advance(counter.add(chunk))
        except httpx2.HTTPError as error:
            raise CommandError(server.unreachable_message(error)) from error
    return total


class _ItemCounter:
    """Counts the items in the chunks of a file."""

    def __init__(self, format_: str) -> None:
        self._is_csv = format_ == "csv"
        self._quotes = 0
        self._skips = 1 if self._is_csv else 0  # the header

    def add(self, chunk: bytes) -> int:
        """How many items end in the chunk. A line break between quotes ends none."""
        if not self._is_csv:
            return chunk.count(b"\n")
        ended = 0
        for piece in chunk.splitlines(keepends=True):
            self._quotes += piece.count(b'"')
            if piece.endswith(b"\n") and self._quotes % 2 == 0:
                ended += 1
        skipped = min(self._skips, ended)
        self._skips -= skipped
        return ended - skipped
