"""`import-dataset` and `export-dataset`: how files become requests, and what is reported."""

import csv
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from domain.evaluation.datasets.dataset import ITEMS_PER_REQUEST_MAX
from entrypoints.cli import dataset_files
from entrypoints.cli.dataset_files import ItemImporter, create_dataset, read_lines, read_rows
from entrypoints.cli.main import main
from entrypoints.cli.server_client import Response
from entrypoints.progress import Progress
from entrypoints.startup import CommandError


@dataclass
class Server:
    """Accepts items, as NDJSON, whose id is not in `refuses`."""

    refuses: set[str] = field(default_factory=set)
    body_max: int = 1 << 30
    batches: list[list[Any]] = field(default_factory=list)

    async def __call__(self, body: bytes) -> Response:
        if len(body) > self.body_max:
            return Response(413, b'{"detail":"The body is larger than it may be"}')
        sent = [json.loads(line) for line in body.splitlines()]
        self.batches.append(sent)
        errors = [{"field": "id", "message": "is bad"}]
        rejected = [
            {"index": n, "errors": errors}
            for n, one in enumerate(sent)
            if one["id"] in self.refuses
        ]
        created = len(sent) - len(rejected)
        reported = {"version": "v", "created": created, "changed": 0, "unchanged": 0}
        return Response(200, json.dumps(reported | {"rejected": rejected}).encode())


async def imported(server: Server, text: bytes, **options: Any) -> tuple[ItemImporter, list[str]]:
    reported: list[str] = []
    importer = ItemImporter(server, Progress(None, io.StringIO()), reported.append)
    await importer.run(read_lines(io.BytesIO(text), **options))
    return importer, reported


async def test_lines_are_sent_in_batches() -> None:
    server, count = Server(), ITEMS_PER_REQUEST_MAX + 2
    text = b"".join(b'{"id":"%d"}\n' % n for n in range(count))
    importer, _ = await imported(server, text)
    assert [len(batch) for batch in server.batches] == [ITEMS_PER_REQUEST_MAX, 2]
    assert importer.progress.done == count
    assert importer.summary() == "10,002 items created, 0 changed, 0 unchanged; version v"


async def test_refused_items_are_reported_by_line() -> None:
    importer, reported = await imported(Server({"b"}), b'{"id":"a"}\n\n{"id":"b"}\n{"id":"c"}')
    assert (importer.created, importer.refused, reported) == (2, 1, ["line 3: id is bad"])


@pytest.mark.parametrize("last", [201, 409])
async def test_dataset_is_created_though_the_server_is_away_for_a_while(last: int) -> None:
    statuses, waits, reported = [0, 503, 429, last], list[float](), list[str]()

    async def post(body: bytes) -> Response:
        assert json.loads(body) == {"name": "d"}
        return Response(statuses.pop(0), b"away", retry_after="7")

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    await create_dataset(post, "d", reported.append, sleep)
    assert (statuses, waits, reported) == ([], [7, 7, 7], ["away: retrying"])
    statuses.append(422)
    with pytest.raises(CommandError, match="422"):
        await create_dataset(post, "d", reported.append, sleep)


async def test_batch_that_is_too_large_is_halved() -> None:
    server = Server(body_max=30)
    importer, reported = await imported(
        server, b'{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n{"id":"%b"}' % (b"x" * 40)
    )
    assert [[one["id"] for one in batch] for batch in server.batches] == [["a", "b"], ["c"]]
    assert (importer.created, importer.refused) == (3, 1)
    assert reported == ["line 4: 413: The body is larger than it may be"]


async def test_links_can_be_left_out() -> None:
    server = Server()
    text = b'{"id":"a","input":1.10,"from_trace":"x"}\nnot json\n'
    lines = [one.text for one in read_lines(io.BytesIO(text), with_links=False)]
    assert lines == [b'{"id":"a","input":1.10}\n', b"not json\n"]
    await imported(server, text.partition(b"\n")[0], with_links=False)
    assert server.batches == [[{"id": "a", "input": 1.1}]]


def test_rows_of_csv_keep_their_cells() -> None:
    text = '\ufeffid,input,from_trace\r\n1,"a\r\nb ""c""",x\r\n\r\n2,short\r\n'.encode()
    header, items = read_rows(io.BytesIO(text), with_links=False)
    rows = list(items)
    assert (header, [one.line for one in rows]) == (b"id,input\r\n", [3, 5])
    read = list(csv.reader(io.StringIO("".join(one.text.decode() for one in rows), newline="")))
    assert read == [["1", 'a\r\nb "c"'], ["2", "short"]]


@pytest.mark.parametrize("text", [b'id,input\n1,"x', b"id,input\n1,\xff\n"])
def test_csv_that_cannot_be_read(text: bytes) -> None:
    with pytest.raises(CommandError, match="line"):
        list(read_rows(io.BytesIO(text))[1])


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("a.csv", None, "csv"), ("a.csv.gz", None, "csv"), ("a.ndjson", None, "ndjson"),
        ("-", None, "ndjson"), ("a.txt", "csv", "csv"),
    ],
)  # fmt: skip
def test_format_of_a_file(name: str, given: str | None, expected: str) -> None:
    assert dataset_files.file_format(name, given) == expected


def test_items_in_chunks_are_counted() -> None:
    rows = [["id", "input"], ["1", "a\r\nb"], ["2", 'say "x"\n'], ["3", "c"]]
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    text = out.getvalue().encode()
    for size in (1, 7, len(text)):
        counter = dataset_files._ItemCounter("csv")
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        assert sum(counter.add(chunk) for chunk in chunks) == 3


@pytest.mark.parametrize(
    "command", [["import-dataset", "gone.csv", "--dataset", "d"], ["export-dataset", "d", "x/y/z"]]
)
def test_missing_options_and_files_are_named(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    environ = {"PANDAPROBE_DATA_DIR": str(tmp_path)}
    assert main(command, environ) == 1
    assert "--url, --key, --project must be given" in capsys.readouterr().err
    known = ["--url", "http://127.0.0.1:9", "--key", "k", "--project", "p"]
    assert main([*command, *known], environ) == 1
    assert "No such file" in capsys.readouterr().err


def test_export_that_fails_leaves_no_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "items.csv"
    environ = {"PANDAPROBE_DATA_DIR": str(tmp_path / "data")}
    options = ["--url", "http://127.0.0.1:1", "--key", "k", "--project", "p"]
    assert main(["export-dataset", "d", str(file), *options], environ) == 1
    error = capsys.readouterr().err
    assert "http://127.0.0.1:1 doesn't answer: " in error
    assert "PANDAPROBE_ENDPOINT or --url" in error
    assert list(tmp_path.glob("items*")) == []


def test_file_appears_once_it_is_complete(tmp_path: Path) -> None:
    name = str(tmp_path / "items.csv")
    for text in (b"first", b"second"):
        with dataset_files.complete_file(name) as file:
            file.write(text)
            assert [one.read_bytes() for one in tmp_path.glob("*.csv")] != [text]
        assert [one.read_bytes() for one in tmp_path.iterdir()] == [text]

    def fail() -> None:
        with dataset_files.complete_file(name) as file:
            file.write(b"third")
            raise OSError

    with pytest.raises(OSError, match=r"^$"):
        fail()
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"second"]


def test_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    name = tmp_path / "items.csv"
    os.mkfifo(name)
    reading = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    with dataset_files.complete_file(str(name)) as file:
        file.write(b"all")
    assert os.read(reading, 9) == b"all"
    os.close(reading)
    assert [one.is_fifo() for one in tmp_path.iterdir()] == [True]
