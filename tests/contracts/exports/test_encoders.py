"""Contract of Encoder: writes the rows of all batches to one file, however they are batched."""

import csv
import io
import json
import uuid
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.export_formats import parquet
from adapters.export_formats.columns import COLUMNS, ColumnType, build_rows
from adapters.export_formats.csv import FORMULA_ESCAPE
from application.exports.ports import Encoder
from domain.evaluation.scores.score import ScoreOutcome, ScoreSource, TraceScore
from domain.exports.export import FileFormat, RowKind, TraceWithScores
from domain.ids import ScoreId
from domain.tracing.span import Span, SpanKind
from domain.tracing.trace import Trace
from entrypoints.composition.export_formats import ENCODERS
from tests.support.builders import strategies
from tests.support.builders.values import NOON, OURS, at, prices, span, trace

TABLES = [FileFormat.CSV, FileFormat.PARQUET]


def with_scores(one: Trace, *values: str) -> TraceWithScores:
    settled = one.settled(prices().price)
    scores = [
        TraceScore(
            id=ScoreId(uuid.UUID(int=n + 1)),
            project_id=OURS,
            trace_id=one.id,
            name=f"n{n}",
            outcome=ScoreOutcome.SCORED,
            value=value,
            source=ScoreSource.ANNOTATION,
            created_at=NOON,
            updated_at=NOON,
        )
        for n, value in enumerate(values)
    ]
    return TraceWithScores(settled, tuple(scores))


def new_encoder(format_: FileFormat, kind: RowKind = RowKind.TRACES) -> Encoder:
    return ENCODERS[format_](OURS, kind)


def encode(encoder: Encoder, *batches: Sequence[TraceWithScores]) -> bytes:
    return b"".join(encoder.add(batch) for batch in batches) + encoder.end()


def read(format_: FileFormat, file: bytes) -> list[dict[str, object]]:
    match format_:
        case FileFormat.NDJSON:
            return [json.loads(line) for line in file.splitlines()]
        case FileFormat.CSV:
            return list(csv.DictReader(io.StringIO(file.decode(), newline="")))
        case FileFormat.PARQUET:
            return pyarrow.parquet.read_table(io.BytesIO(file)).to_pylist()


def some_traces(count: int) -> list[TraceWithScores]:
    return [
        with_scores(trace(span(), span(), name=f"run {n}", started_at=at(n))) for n in range(count)
    ]


@pytest.mark.parametrize("format_", FileFormat)
async def test_file_without_rows_is_readable(format_):
    encoder = new_encoder(format_)
    assert read(format_, encode(encoder)) == []
    assert encoder.rows == 0


@pytest.mark.parametrize("format_", FileFormat)
async def test_rows_of_all_batches_keep_their_order(format_):
    encoder, all_ = new_encoder(format_), some_traces(7)
    rows = read(format_, encode(encoder, all_[:1], all_[1:5], all_[5:]))
    assert [row["name"] for row in rows] == [f"run {n}" for n in range(7)]
    assert encoder.rows == 7


@pytest.mark.parametrize("format_", FileFormat)
async def test_same_rows_give_same_file(format_):
    all_ = some_traces(5)
    assert encode(new_encoder(format_), all_) == encode(new_encoder(format_), all_)


@pytest.mark.parametrize("format_", TABLES)
async def test_rows_may_be_spans(format_):
    encoder, all_ = new_encoder(format_, RowKind.SPANS), some_traces(3)
    rows = read(format_, encode(encoder, all_))
    assert [(row["trace_id"], row["span_id"]) for row in rows] == [
        (str(one.trace.id), str(each.id)) for one in all_ for each in one.trace.spans
    ]
    assert encoder.rows == 6


@pytest.mark.parametrize("format_", TABLES)
async def test_scores_are_in_the_row_of_their_trace(format_):
    [row] = read(format_, encode(new_encoder(format_), [with_scores(trace(), "0.5", "1")]))
    found = json.loads(str(row["scores"]))
    assert [(one["name"], one["value"], one["outcome"]) for one in found] == [
        ("n0", "0.5", "scored"),
        ("n1", "1", "scored"),
    ]


@pytest.mark.parametrize("format_", TABLES)
async def test_scores_of_spans_are_in_the_rows_of_their_spans(format_):
    one = with_scores(trace(span(), span()), "0.5", "1", "0")
    of_trace, of_span, of_unknown = one.scores
    second = replace(of_span, span_id=one.trace.spans[1].id)
    scored = replace(one, scores=(of_trace, second, replace(of_unknown, span_id=span().id)))
    [row] = read(format_, encode(new_encoder(format_), [scored]))
    rows = read(format_, encode(new_encoder(format_, RowKind.SPANS), [scored]))
    found = [json.loads(str(one["scores"])) for one in (row, *rows)]
    assert [[score["name"] for score in scores] for scores in found] == [["n0"], [], ["n1"]]


@pytest.mark.parametrize("format_", TABLES)
async def test_unknown_cost_is_missing_and_not_0(format_):
    free, unknown = span(cost={"total": 0.0}), span(model="house", kind=SpanKind.LLM)
    all_ = [with_scores(trace(free, unknown))]
    rows = read(format_, encode(new_encoder(format_, RowKind.SPANS), all_))
    by_source = {row["cost_source"]: row["cost"] for row in rows}
    assert by_source["client"] in {0.0, "0.0"}
    assert by_source["unpriced"] in {None, ""}
    [row] = read(format_, encode(new_encoder(format_), all_))
    assert str(row["unpriced_span_count"]) == "1"


@pytest.mark.parametrize(
    ("kind", "entity", "elsewhere"),
    [
        (RowKind.TRACES, Trace, {"id", "spans", "new_status"}),
        (RowKind.SPANS, Span, {"id", "parent_id", "completion_started_at", "usage", "charge"}),
    ],
)
def test_every_field_has_a_column_or_a_listed_replacement(kind, entity, elsewhere):
    names = [one.name for one in COLUMNS[kind]]
    assert len(set(names)) == len(names)
    assert {one.name for one in fields(entity)} - set(names) == elsewhere


# --- Parquet --------------------------------------------------------------------------------------


def as_read_back(kind: ColumnType, value: object) -> object:
    """Returns a value as a Parquet reader returns it."""
    if isinstance(value, bytes):
        return value.decode()
    return value


trace_lists = st.lists(strategies.traces().map(with_scores), max_size=6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RowKind)
@given(all_=trace_lists, group=st.sampled_from([1, 200, 1 << 20]), step=st.integers(1, 6))
def test_parquet_returns_every_value_for_any_group_size(kind, all_, group, step):
    before, parquet.GROUP_BYTES = parquet.GROUP_BYTES, group
    try:
        encoder = parquet.ParquetEncoder(kind)
        file = encode(encoder, *(all_[n : n + step] for n in range(0, len(all_), step)))
    finally:
        parquet.GROUP_BYTES = before
    columns = COLUMNS[kind]
    assert read(FileFormat.PARQUET, file) == [
        {one.name: as_read_back(one.kind, one.get(row)) for one in columns}
        for row in build_rows(kind, all_)
    ]


def test_parquet_has_types_and_compression():
    file = encode(
        new_encoder(FileFormat.PARQUET), [with_scores(trace(input=b'"' + b"a" * 90_000 + b'"'))]
    )
    schema = pyarrow.parquet.read_schema(io.BytesIO(file))
    kinds = {field.name: str(field.type) for field in schema}
    assert kinds["started_at"] == "timestamp[us, tz=UTC]"
    assert (kinds["name"], kinds["span_count"], kinds["total_cost"]) == (
        *("string", "int64"),
        "double",
    )
    assert len(file) < 9_000


def test_parquet_buffers_at_most_one_row_group():
    encoder = new_encoder(FileFormat.PARQUET)
    heavy = with_scores(trace(input=b'"' + uuid.uuid4().hex.encode() * (1 << 12) + b'"'))
    sizes = [len(encoder.add([heavy])) for _ in range(3 * parquet.GROUP_BYTES // (1 << 17))]
    assert sum(one > 0 for one in sizes) >= 2
    meta = pyarrow.parquet.read_metadata(
        io.BytesIO(encode(new_encoder(FileFormat.PARQUET), some_traces(3)))
    )
    assert (meta.num_rows, meta.num_row_groups) == (3, 1)


# --- CSV ------------------------------------------------------------------------------------------


def test_csv_has_header_and_line_ends_of_rfc_4180():
    file = encode(new_encoder(FileFormat.CSV), some_traces(1))
    head, row, rest = file.split(b"\r\n")
    assert head.decode().split(",") == [one.name for one in COLUMNS[RowKind.TRACES]]
    assert rest == b""
    assert row.count(b",") >= len(COLUMNS[RowKind.TRACES]) - 1


@pytest.mark.parametrize("first", "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
def test_csv_guards_against_formulas(first):
    text = f'{first}cmd|"/c calc"!A1'
    one = with_scores(trace(name=text, user_id=text, metadata=b'{"a":"=1"}', input=b"-5"))
    [row] = read(FileFormat.CSV, encode(new_encoder(FileFormat.CSV), [one]))
    assert (row["name"], row["user_id"]) == (FORMULA_ESCAPE + text, FORMULA_ESCAPE + text)
    assert (row["metadata"], row["input"]) == ('{"a":"=1"}', "-5")


@given(all_=trace_lists)
def test_csv_returns_every_text_except_the_guard(all_):
    rows = read(FileFormat.CSV, encode(new_encoder(FileFormat.CSV), all_))
    assert [row["name"].removeprefix(FORMULA_ESCAPE) for row in rows] == [
        one.trace.name.removeprefix(FORMULA_ESCAPE) for one in all_
    ]
    assert [row["input"] for row in rows] == [(one.trace.input or b"").decode() for one in all_]
    assert [datetime.fromisoformat(row["started_at"]).astimezone(UTC) for row in rows] == [
        one.trace.started_at for one in all_
    ]
