"""`import`: the requests it sends, the problems it reports, and its retries."""

import asyncio
import gzip
import io
import json
import os
import ssl
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from application.tracing.ingest import BATCH_MAX
from entrypoints.cli import server_client, trace_files
from entrypoints.cli.main import main
from entrypoints.cli.server_client import RETRIES_MAX, WAIT_MAX_S, Response, problem_detail
from entrypoints.cli.trace_files import BATCH_BYTES, PRINTED_REFUSALS_MAX, TraceImporter
from entrypoints.mcp.service_client import Credential, service_client
from entrypoints.progress import Progress
from entrypoints.startup import CommandError, is_on_loopback
from tests.adapters.postgres.database.test_tls import write_certificate
from tests.support.fakes.webhook_receivers import receiver, with_status

STORED = "stored"


def lines(count: int) -> list[bytes]:
    return [
        b'{"trace_id":"%b","name":"%d"}\n' % (str(uuid.uuid4()).encode(), n) for n in range(count)
    ]


def ended(text: list[bytes]) -> bytes:
    """An export of these lines."""
    whole = b"".join(text)
    end = {"complete": True, "traces": len(text), "sha256": sha256(whole).hexdigest()}
    return whole[:-2] + b',"export":%b}\n' % json.dumps(end, separators=(",", ":")).encode()


@dataclass
class Server:
    """Sends the scripted `answers` first, then accepts traces whose name is not in `refuses`."""

    answers: list[Response] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    body_max: int = 1 << 30
    known: set[str] = field(default_factory=set)
    batches: list[list[Any]] = field(default_factory=list)

    async def __call__(self, body: bytes) -> Response:
        if self.answers:
            return self.answers.pop(0)
        if len(body) > self.body_max:
            return Response(413, b'{"detail":"The body is larger than it may be"}')
        sent = json.loads(body)["traces"]
        self.batches.append(sent)
        errors = [{"field": "name", "message": "is bad"}]
        rejected = [
            {"index": n, "errors": errors}
            for n, one in enumerate(sent)
            if one["name"] in self.refuses
        ]
        good = {one["trace_id"] for one in sent if one["name"] not in self.refuses}
        new = good - self.known
        self.known |= good
        reported = {"stored": len(new), "unchanged": len(good) - len(new), "rejected": rejected}
        return Response(200, json.dumps(reported).encode())


@dataclass
class Run:
    importer: TraceImporter
    reported: list[str]
    waited: list[float]

    @property
    def counts(self) -> tuple[int, int, int, bool]:
        one = self.importer
        return (one.stored, one.unchanged, one.refused, one.is_complete)


async def imported(server: Server, text: bytes) -> Run:
    reported: list[str] = []
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    progress = Progress(None, io.StringIO())
    run = Run(TraceImporter(server, progress, reported.append, sleep), reported, waited)
    await run.importer.run(io.BytesIO(text))
    return run


async def test_lines_are_sent_in_batches_without_end_marks():
    server, sent = Server(), lines(BATCH_MAX + 3)
    run = await imported(server, ended(sent))
    assert run.counts == (BATCH_MAX + 3, 0, 0, True)
    assert [len(batch) for batch in server.batches] == [BATCH_MAX, 3]
    assert [one for batch in server.batches for one in batch] == [*map(json.loads, sent)]
    assert run.importer.summary() == "503 traces stored, 0 existed already"
    assert run.importer.progress.done == BATCH_MAX + 3


async def test_large_line_is_sent_alone_and_others_together():
    small = lines(4)
    large = b'{"trace_id":"x","name":"%b"}\n' % (b"a" * BATCH_BYTES)
    server = Server()
    await imported(server, ended([*small[:2], large, *small[2:]]))
    assert [len(batch) for batch in server.batches] == [2, 1, 2]


async def test_repeated_import_stores_nothing_new():
    server, text = Server(), ended(lines(3))
    await imported(server, text)
    assert (await imported(server, text)).counts == (0, 3, 0, True)


async def test_empty_file_imports_nothing():
    server = Server()
    assert (await imported(server, b"")).counts == (0, 0, 0, True)
    assert server.batches == []


@pytest.mark.parametrize("cut", [1, 2, 40, 150])
async def test_truncated_file_is_reported(cut):
    server, sent = Server(), lines(3)
    run = await imported(server, ended(sent)[:-cut] if cut > 1 else b"".join(sent[:2]))
    assert not run.importer.is_complete
    assert "truncated" in run.reported[-1]
    assert run.importer.stored == 2


async def test_file_that_is_not_whole_is_a_failure():
    reported = json.dumps({"stored": 2, "unchanged": 0, "rejected": []}).encode()
    text = lines(2)
    async with receiver(answer=with_status("200 OK", body=reported)) as asked:
        server = server_client.Server(asked.url("", "127.0.0.1"), "pp_key", "p")
        statuses = [
            await trace_files._run(io.BytesIO(one), None, server)
            for one in (ended(text), b"".join(text))
        ]
    assert statuses == [0, 1]


async def test_altered_file_is_reported():
    server, sent = Server(), lines(3)
    run = await imported(server, ended(sent).replace(b'"name":"1"', b'"name":"7"'))
    assert run.counts == (3, 0, 0, False)
    assert run.reported == ["line 3: the export that ends here was altered"]


async def test_concatenated_exports_may_contain_the_same_trace():
    server, sent = Server(), lines(3)
    run = await imported(server, ended(sent) + ended(sent[:1]))
    assert run.counts == (3, 1, 0, True)
    assert [len(batch) for batch in server.batches] == [3, 1]


async def test_refused_lines_are_reported_and_others_imported():
    server, sent = Server(refuses={"4"}), lines(5)
    sent[1:1] = [b"no json\n", b"\n", b"[]\n", b'{"name":"no id"}\n', b'{"trace_id":"\xff"}\n']
    run = await imported(server, b"".join(sent))
    assert run.counts[:3] == (4, 0, 5)
    *_, refused = bad = [one for one in run.reported if one.startswith("line")]
    assert [one.partition(":")[0] for one in bad] == [f"line {n}" for n in (2, 4, 5, 6, 10)]
    assert "name is bad" in refused
    assert run.importer.summary() == "4 traces stored, 0 existed already, 5 refused"


@pytest.mark.parametrize("end", [b'{"a":1}', b'{"traces":"1","sha256":null}', b"{}", b"{no}"])
async def test_similar_text_is_not_an_end_mark(tmp_path, end):
    text = lines(1)[0][:-2] + b',"export":%b}\n' % end
    file = tmp_path / "a.ndjson"
    file.write_bytes(text)
    assert trace_files.read_total(str(file)) is None
    run = await imported(Server(), text + b"".join(lines(1)))
    assert run.importer.stored + run.importer.refused == 2
    assert not run.importer.is_complete


async def test_export_without_traces_that_were_too_large_is_reported():
    [text] = lines(1)
    end = {"complete": False, "traces": 1, "sha256": sha256(text).hexdigest()}
    mark = json.dumps(end | {"left_out": ["id-1", "id-2"]}, separators=(",", ":"))
    run = await imported(Server(), text[:-2] + b',"export":%b}\n' % mark.encode())
    assert run.importer.stored == 1
    assert not run.importer.is_complete
    assert [one for one in run.reported if "id-2" in one] == [
        "line 1: the export lacks 2 traces that were too large: id-1, id-2"
    ]


async def test_reports_of_refused_lines_are_limited():
    run = await imported(Server(), b"x\n" * (PRINTED_REFUSALS_MAX + 50))
    assert run.importer.refused == PRINTED_REFUSALS_MAX + 50
    assert (
        len([one for one in run.reported if "line" in one and "truncated" not in one])
        == PRINTED_REFUSALS_MAX
    )


async def test_too_large_batch_is_split_and_too_large_line_reported():
    sent = lines(8)
    large = b'{"trace_id":"x","name":"%b"}\n' % (b"a" * 1_000)
    server = Server(body_max=300)
    run = await imported(server, b"".join([*sent, large]))
    assert run.counts[:3] == (8, 0, 1)
    assert "line 9: 413" in run.reported[-1]
    assert "PANDAPROBE_MAX_BODY_BYTES of the server, and the limit of its proxy" in run.reported[-1]


async def test_retry_waits_for_retry_after_and_sends_the_same_body():
    server = Server(
        answers=[
            Response(429, b"{}", "7"),
            Response(503, b"{}"),
            Response(0, b"refused"),
            Response(502, b"<html>"),
            Response(429, b"{}", "3600"),
        ]
    )
    run = await imported(server, ended(lines(2)))
    assert run.counts == (2, 0, 0, True)
    assert run.waited == [7, 1, 2, 4, WAIT_MAX_S]
    assert run.reported == []


async def test_unreachable_server_is_reported_at_the_first_attempt():
    server = Server(answers=[Response(0, b"http://x: no route")] * 2)
    run = await imported(server, ended(lines(2)))
    assert run.reported == ["http://x: no route: retrying"]
    assert run.counts == (2, 0, 0, True)


async def test_import_fails_with_a_count_if_the_server_stays_down():
    server = Server(answers=[Response(0, b"http://x: no route")] * (RETRIES_MAX + 1))
    with pytest.raises(CommandError, match=r"no route .0 traces are stored; repeat it"):
        await imported(server, ended(lines(2)))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
async def test_refused_request_ends_the_import(status):
    server = Server(answers=[Response(status, b'{"detail":"not you"}')])
    with pytest.raises(CommandError, match=f"{status}: not you"):
        await imported(server, ended(lines(2)))
    assert server.batches == []


def test_files_may_be_compressed(tmp_path):
    text = ended(lines(4))
    plain, packed = tmp_path / "a.ndjson", tmp_path / "a.ndjson.gz"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    for file, total in ((plain, 4), (packed, None)):
        with trace_files.open_export(str(file)) as opened:
            assert opened.read() == text
        assert trace_files.read_total(str(file)) == total
    assert trace_files.read_total("-") is None


def test_standard_input_may_be_compressed():
    text = ended(lines(4))
    program = """
import sys
from entrypoints.cli.trace_files import open_export
with open_export("-") as opened:
    sys.stdout.buffer.write(opened.read())
"""
    for content in (text, gzip.compress(text)):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, input=content, capture_output=True, check=True)
        assert done.stdout == text


def test_file_is_read_without_a_standard_input(tmp_path):
    text = ended(lines(4))
    (tmp_path / "file").write_bytes(text)
    program = """
import sys
from entrypoints.cli.trace_files import open_export
with open_export(sys.argv[1]) as opened:
    sys.stdout.buffer.write(opened.read())
"""
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", program]
    done = subprocess.run([*command, str(tmp_path / "file")], capture_output=True, check=False)
    assert done.stdout == text, done.stderr


def test_pipe_gives_all_its_bytes():
    text = ended(lines(4))
    for content in (text, gzip.compress(text)):
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        name = f"/dev/fd/{reading}"
        assert trace_files.read_total(name) is None
        assert not trace_files.is_read_twice(name)
        with trace_files.open_export(name) as opened:
            assert opened.read() == text
        os.close(reading)


def test_missing_options_are_named():
    with pytest.raises(CommandError, match="--key, --project must be given"):
        trace_files.run("-", url="http://localhost", key=None, project="")


@pytest.mark.parametrize(
    ("url", "project"),
    [
        ("nowhere", "p"),
        ("ftp://localhost", "p"),
        ("http://[::bad", "p"),
        ("http://localhost:x", "p"),
        ("http://127.0.0.1:1", "größe"),
    ],
)
def test_invalid_options_end_the_import(tmp_path, capsys, url, project):
    file = tmp_path / "a.ndjson"
    file.write_bytes(ended(lines(1)))
    environ = {"PANDAPROBE_API_KEY": "pp_x", "PANDAPROBE_DATA_DIR": str(tmp_path)}
    assert main(["import", str(file), "--url", url, "--project", project], environ) == 1
    assert "--url" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "reported"),
    [("pp_se\ncret", "--key is invalid"), ("pp_secret\n", "127.0.0.1:1 doesn't answer")],
)
def test_key_is_sent_without_blanks_and_never_shown(tmp_path, capsys, key, reported):
    environ = {"PANDAPROBE_API_KEY": key, "PANDAPROBE_DATA_DIR": str(tmp_path)}
    options = ["--url", "http://127.0.0.1:1", "--project", "p"]
    assert main(["export-dataset", "d", "-", *options], environ) == 1
    error = capsys.readouterr().err
    assert reported in error
    assert "cret" not in error


def test_missing_file_is_an_error(tmp_path, capsys):
    known = {"PANDAPROBE_ENDPOINT": "http://127.0.0.1:1", "PANDAPROBE_API_KEY": "pp_x"}
    gone = str(tmp_path / "gone")
    environ = known | {"PANDAPROBE_DATA_DIR": str(tmp_path)}
    assert main(["import", gone, "--project", "p"], environ) == 1
    assert capsys.readouterr().err == f"pandaprobe-server: {gone}: No such file or directory\n"
    assert main(["import", gone], environ) == 1
    assert "--project must be given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "body", "reported"),
    [
        (401, {"detail": "Invalid API key"}, "401: Invalid API key. PANDAPROBE_API_KEY or --key"),
        (422, {"detail": "Validation error", "errors": [{"field": "query.version", "message":
            "must be a hash"}]}, "422: Validation error; query.version: must be a hash"),
        (422, {"detail": "cadence: is required", "errors": [{"field": "cadence", "message":
            "is required"}]}, "422: cadence: is required"),
        (502, {}, "502: without a reason"),
    ],
)  # fmt: skip
def test_refusal_says_what_to_change(status, body, reported):
    assert problem_detail(Response(status, json.dumps(body).encode())).startswith(reported)


def test_refusal_of_a_proxy_is_not_taken_for_one_of_the_server():
    answer = Response(413, b"<html><title>413 Request Entity Too Large</title></html>")
    assert "a proxy in front of it" in problem_detail(answer)


def test_error_of_the_whole_request_is_shown_once():
    detail = "The organization has 8 projects"
    body = {"detail": detail, "errors": [{"field": "", "message": detail}]}
    assert problem_detail(Response(422, json.dumps(body).encode())) == f"422: {detail}"


async def test_token_of_a_person_is_sent_with_the_id_of_the_project():
    sent = []
    for key in ("pp_key", "head.claims.signature"):
        async with server_client.Server("http://localhost", key, "p").open() as client:
            names = ("x-api-key", "x-project-name", "authorization", "x-project-id")
            sent.append([client.headers.get(name) for name in names])
    assert sent == [
        ["pp_key", "p", None, None],
        [None, None, "Bearer head.claims.signature", "p"],
    ]


async def test_token_of_a_person_in_several_organizations_is_sent_with_one_of_them():
    sent = []
    for key in ("pp_key", "head.claims.signature"):
        server = server_client.Server.from_options(
            "http://localhost", key, "p", organization="org", described_in=""
        )
        async with server.open() as client:
            sent.append(client.headers.get("x-organization-id"))
    assert sent == [None, "org"]
    with pytest.raises(CommandError, match="--organization is invalid"):
        server_client.Server.from_options(
            "http://localhost", "k", "p", organization="o\n", described_in=""
        )


async def test_service_on_this_machine_is_asked_without_a_proxy(monkeypatch):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        of = (f"http://127.0.0.1:{port}", "key", "shop")
        server = server_client.Server.from_options(*of, described_in="")
        async with server.open() as client:
            response = await server.poster(client, "/", "application/json")(b"")
    assert (response.status, response.body) == (200, b"{}")


async def test_service_on_this_machine_may_have_an_authority_of_its_own(monkeypatch, tmp_path):
    certificate, key = write_certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with receiver(tls=tls, answer=with_status("200 OK", body=b"{}")) as asked:
        url = asked.url("", "127.0.0.1", "https")
        server = server_client.Server.from_options(url, "key", "shop", described_in="")
        async with server.open() as client:
            response = await server.poster(client, "/", "application/json")(b"")
        async with service_client(url) as service:
            read = await service.get(Credential("pp_key", "shop"), "/", dict[str, Any])
    assert (response.status, read) == (200, {})


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:8000/x", True),
        ("http://127.0.0.1.example.com", False),
        ("https://traces.example.com", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_addresses_of_this_machine(url, is_ours):
    assert is_on_loopback(url) is is_ours
