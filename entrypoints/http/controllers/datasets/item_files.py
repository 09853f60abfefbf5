"""Files of items: NDJSON, an item a line, and CSV, an item a row.

A cell of CSV holds JSON, or a text that isn't JSON and stands for itself. So files of people need
no quotes around texts, and an export is imported to equal items.
"""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

import msgspec

from application.concurrency import compute
from application.evaluation.ports.datasets import Datasets
from domain.errors import Invalid
from domain.evaluation.datasets.dataset import (
    ITEM_BYTES_MAX,
    ITEMS_PER_REQUEST_MAX,
    DatasetItem,
    Version,
)
from domain.exports.formulas import FORMULA_PREFIXES
from domain.ids import ProjectId
from domain.page import LIMIT_MAX, PageRequest
from domain.wording import counted
from entrypoints.http.config import HttpConfig, http_context
from entrypoints.http.controllers.datasets.schemas import (
    DatasetItemBatch,
    DatasetItemCreate,
    DatasetItemResponse,
)
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.body_io import JSON, NDJSON, media_type_of
from entrypoints.http.requests.errors import FieldErrors, HttpProblem
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.raw_body import RawBody

CSV: Final = "text/csv"
SPLIT_IN_THREAD_BYTES: Final = 64 << 10  # of a body; splitting as many takes about 1 ms
LINE_MAX: Final = 4 * ITEM_BYTES_MAX  # of an item whose signs are all doubled, and more
COLUMNS: Final = ("id", "input", "expected", "metadata", "split", "from_trace")
TEXT_COLUMNS: Final = frozenset({"id", "split", "from_trace"})
REQUIRED_COLUMNS: Final = ("id", "input")
TOO_MANY_ITEMS: Final = (
    f"must hold at most {ITEMS_PER_REQUEST_MAX:,} items: send the others in another request"
)

BATCH: Final = Body(DatasetItemBatch, lambda batch, _: [bytes(item) for item in batch.items])

csv.field_size_limit(ITEM_BYTES_MAX)  # characters of a cell; the limit of an item is in bytes


class ItemFileFormat(StrEnum):
    NDJSON = "ndjson"
    CSV = "csv"


MEDIA_TYPES: Final = {
    ItemFileFormat.NDJSON: NDJSON,
    ItemFileFormat.CSV: f"{CSV}; charset=utf-8",
}


# --- import ------------------------------------------------------------------------------------


async def _split_body(request: HttpRequest, data: bytes) -> list[bytes | Invalid]:
    """The items of a body as JSON, and the errors of rows that are none."""
    file_format, config = (
        media_type_of(request.headers["content-type"]),
        http_context(request).config,
    )
    is_long = len(data) > SPLIT_IN_THREAD_BYTES
    if file_format == JSON:
        return await compute(_split_json, data, config, is_long=is_long)
    return await compute(_split_csv if file_format == CSV else _split_lines, data, is_long=is_long)


ITEMS_BODY: Final = RawBody(
    {JSON: DatasetItemBatch, NDJSON: DatasetItemCreate, CSV: str},
    size_setting="max_body_bytes",
    decode=_split_body,
)


def _split_json(data: bytes, config: HttpConfig) -> list[bytes | Invalid]:
    errors = FieldErrors()
    items = BATCH.parse(data, config, errors)
    errors.check()
    return [*items] if items else []


def _split_lines(data: bytes) -> list[bytes | Invalid]:
    lines = (line.removesuffix(b"\n") for line in io.BytesIO(data))
    return _check_count(_line_as_json(line) for line in lines if line.strip())


def _line_as_json(line: bytes) -> bytes | Invalid:
    if len(line) > LINE_MAX:  # decoding a line takes one call that nothing interrupts
        return Invalid.field("", f"must not have more than {LINE_MAX:,} bytes")
    try:
        return line if _is_json(line.decode()) else Invalid.field("", "is not JSON")
    except UnicodeDecodeError:
        return Invalid.field("", "is not UTF-8")


def _split_csv(data: bytes) -> list[bytes | Invalid]:
    try:
        text = data.decode("utf-8-sig")  # spreadsheets begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "The body is not UTF-8") from error
    reader = csv.reader(_csv_lines(text), strict=True)
    try:
        header = next(reader, [])
        _check_header(header)
        return _check_count(_row_as_json(header, row) for row in reader if row)
    except csv.Error as error:
        raise Invalid.field("", f"line {reader.line_num}: {error}") from error


def _csv_lines(text: str) -> Iterator[str]:
    """The lines of CSV. They are bounded, because one call parses a line without a pause."""
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if len(line) > LINE_MAX:
            raise Invalid.field("", f"line {number}: has more than {LINE_MAX:,} characters")
        yield line


def _check_header(header: Sequence[str]) -> None:
    for name in REQUIRED_COLUMNS:
        if name not in header:
            raise Invalid.field("", f"the first line must have the column {name}")
    for name in header:
        if name not in COLUMNS:
            raise Invalid.field(
                "", f"{name[:40]!r} isn't a column; the columns are {', '.join(COLUMNS)}"
            )
    if len(set(header)) < len(header):
        raise Invalid.field("", "a column is there twice")


def _check_count(items: Iterable[bytes | Invalid]) -> list[bytes | Invalid]:
    """The items, which are made one by one: a body may have millions of empty ones."""
    found = list(islice(items, ITEMS_PER_REQUEST_MAX + 1))
    if not found:
        raise Invalid.field("", "must hold at least one item")
    if len(found) > ITEMS_PER_REQUEST_MAX:
        raise Invalid.field("", TOO_MANY_ITEMS)
    return found


def _row_as_json(header: Sequence[str], row: Sequence[str]) -> bytes | Invalid:
    if len(row) != len(header):
        return Invalid.field(
            "", f"has {counted(len(row), 'cell')}, and the header has {len(header)}"
        )
    members = (
        f"{json.dumps(name)}:{_cell_as_json(name, cell)}"
        for name, cell in zip(header, row, strict=True)
        if cell
    )
    return f"{{{','.join(members)}}}".encode()


def _cell_as_json(column: str, cell: str) -> str:
    may_be_json = column not in TEXT_COLUMNS or cell[:1] == '"'
    return cell if may_be_json and _is_json(cell) else json.dumps(cell)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


# --- export ------------------------------------------------------------------------------------


async def encode_items(
    datasets: Datasets,
    project: ProjectId,
    version: Version,
    split: str | None,
    file_format: ItemFileFormat,
) -> AsyncIterator[bytes]:
    """The items of a version as a file, in chunks. A version doesn't change meanwhile."""
    encode = _csv_rows if file_format is ItemFileFormat.CSV else _lines
    if file_format is ItemFileFormat.CSV:
        yield _csv_text([COLUMNS])
    window: PageRequest | None = PageRequest(limit=LIMIT_MAX)
    while window is not None:
        page = await datasets.items(project, version, split, window)
        if page.items:
            yield encode(page.items)
        window = None if page.end is None else PageRequest(limit=LIMIT_MAX, after=page.end)


def _lines(items: Sequence[DatasetItem]) -> bytes:
    responses = (DatasetItemResponse.from_domain(item) for item in items)
    return b"".join(_on_one_line(msgspec.json.encode(one)) + b"\n" for one in responses)


def _on_one_line(line: bytes) -> bytes:
    """JSON as it was sent may have line breaks between its tokens."""
    return line.replace(b"\r", b" ").replace(b"\n", b" ")


def _csv_rows(items: Sequence[DatasetItem]) -> bytes:
    return _csv_text([_cells(item) for item in items])


def _cells(item: DatasetItem) -> Iterator[str]:
    trace = item.from_trace
    yield _text_cell(item.id)
    for payload in (item.input, item.expected, item.metadata):
        yield "" if payload is None else _payload_cell(payload.decode())
    yield _text_cell(item.split or "")
    yield "" if trace is None else str(trace)


def _text_cell(text: str) -> str:
    """Quotes a text that a spreadsheet would evaluate, or that begins with a quote."""
    is_plain = not text.startswith((*FORMULA_PREFIXES, '"'))
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _payload_cell(payload: str) -> str:
    """A text without its quotes, unless it would then be read as something else."""
    value = msgspec.json.decode(payload) if payload.startswith('"') else None
    if isinstance(value, str) and value and not value.startswith(FORMULA_PREFIXES):
        return payload if _is_json(value) else value
    return payload


def _csv_text(rows: Sequence[Any] | Sequence[Mapping[str, str]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
