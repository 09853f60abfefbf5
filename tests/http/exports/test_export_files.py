"""Export files: requested, written by a worker, downloaded in ranges."""

import csv
import io
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pyarrow.parquet
import pytest

from adapters.memory.store import MemoryStore
from application.clock import utc_now
from application.exports.ports import EXPORTS_MAX, PIECE_BYTES
from application.use_cases import UseCases
from domain.exports.export import Export, ExportStatus, FileFormat
from domain.ids import TraceId
from entrypoints.composition.export_formats import INSTALL_PARQUET
from entrypoints.composition.memory import memory_exporting, replace_ports
from entrypoints.http.controllers.exports.files import MEDIA_TYPES, disposition
from tests.http.conftest import Site, a_span, field_errors
from tests.support.builders.values import NOON, OURS
from tests.support.clients.scored_project import ScoredProject
from tests.support.waiting import until_done

EXPORTS = "/traces/exports"


@dataclass(frozen=True)
class Files(ScoredProject):
    """A project with a trace, and a worker that writes its export files."""

    async def orders(self, **overrides: Any) -> Any:
        answer = await self("POST", EXPORTS, {"format": "csv"} | overrides)
        assert answer.status_code == 202, answer.text
        return answer.json()

    @property
    def use_cases(self) -> Any:
        return UseCases(replace_ports(self.site.ports, **self.site.swapped)).exporting

    async def run_jobs(self) -> None:
        await until_done(self.use_cases.write_export)

    async def written(self, **overrides: Any) -> Any:
        ordered = await self.orders(**overrides)
        await self.run_jobs()
        return await self.read(f"{EXPORTS}/{ordered['id']}")

    async def file(self, export: Any, **headers: str) -> Any:
        return await self("GET", f"{EXPORTS}/{export['id']}/download", **headers)


@pytest.fixture
async def files(either: Site) -> AsyncIterator[Files]:
    made = await Files.new(either)
    yield made
    for one in await made.read(EXPORTS):
        await made("DELETE", f"{EXPORTS}/{one['id']}")


async def test_export_is_written_and_downloaded(files):
    await files.store_trace(name="second", spans=[a_span(), a_span()])
    ordered = await files.orders(filters={"name": "SECOND"})
    assert (ordered["status"], ordered["filters"]) == ("PENDING", {"name": "SECOND"})
    assert (await files.file(ordered)).status_code == 409
    await files.run_jobs()
    done = await files.read(f"{EXPORTS}/{ordered['id']}")
    file = await files.file(done)
    assert file.status_code == 200
    assert (done["status"], done["row_count"], done["traces_done"], done["traces_total"]) == (
        *("COMPLETED", 1),
        *(1, 1),
    )
    assert (done["size"], done["sha256"]) == (
        len(file.content),
        sha256(file.content).hexdigest(),
    )
    assert file.headers["etag"] == f'"{done["sha256"]}"'
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert f"{done['id']}.csv" in file.headers["content-disposition"]
    [row] = csv.DictReader(io.StringIO(file.text))
    assert (row["name"], row["span_count"]) == ("second", "2")


def test_name_of_a_file_says_that_it_is_incomplete():
    export = Export(
        id=uuid.UUID(int=1),
        project_id=OURS,
        format=FileFormat.CSV,
        status=ExportStatus.RUNNING,
        created_at=NOON,
        due_at=NOON,
        expires_at=NOON,
    )
    for left_out, name in (
        ([], f"{export.id}.csv"),
        ([TraceId(uuid.UUID(int=2))], f"{export.id}-incomplete.csv"),
    ):
        done = export.completed("f" * 64, NOON, left_out)
        assert f'"{name}"' in disposition(done)


async def test_every_format_supports_its_rows(files):
    await files.store_trace(spans=[a_span(name="a"), a_span(name="b")])
    given = await files.add_score()
    spans = await files.written(format="parquet", rows="spans")
    table = pyarrow.parquet.read_table(io.BytesIO((await files.file(spans)).content))
    assert sorted(table["name"].to_pylist()) == ["a", "b"]
    assert spans["row_count"] == 2
    lines = await files.written(format="ndjson")
    text = (await files.file(lines)).content
    streamed = await files("GET", "/traces/export?sort_order=asc")
    assert text == streamed.content
    assert given in [score for line in text.splitlines() for score in json.loads(line)["scores"]]
    asked = {"format": "ndjson", "rows": "spans", "filters": {"name": 1}}
    refused = await files("POST", EXPORTS, asked)
    assert set(field_errors(refused)) == {"rows", "filters.name"}


async def test_parquet_without_pyarrow_is_refused_with_extra_to_install():
    store = MemoryStore()
    missing = {FileFormat.PARQUET: INSTALL_PARQUET}
    exporting = replace(memory_exporting(store), missing_formats=missing)
    here = await Files.new(Site(store=store, swapped={"exporting": exporting}))
    refused = await here("POST", EXPORTS, {"format": "parquet"})
    assert refused.status_code == 422
    assert field_errors(refused) == {"format": INSTALL_PARQUET}
    assert "pip install '.[parquet]'" in INSTALL_PARQUET
    assert await here.read(EXPORTS) == []
    for format_ in ("csv", "ndjson"):
        assert (await here.written(format=format_))["status"] == "COMPLETED"


async def test_every_filter_is_accepted_and_returned(files):
    filters = {
        "session_id": "s",
        "user_id": "u",
        "environment": "e",
        "release": "r",
        "status": "ERROR",
        "tags": ["a", "b"],
        "name": "n",
        "started_after": "2026-03-01T00:00:00+00:00",
        "started_before": "2026-03-02T00:00:00+00:00",
        "model": "m",
        "min_latency_ms": 1.0,
        "max_latency_ms": 2.0,
        "has_error": True,
        "metadata": {"k": ["1", "v"]},
    }
    assert (await files.orders(filters=filters))["filters"] == filters
    refused = await files("POST", EXPORTS, {"format": "xml", "filters": {"status": "X", "tags": 1}})
    assert set(field_errors(refused)) == {"format", "filters.status", "filters.tags"}


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({"filter": {"name": "n"}}, {"filter"}),
        (
            {"filters": {"start_after": "2026-03-01", "status": "X"}},
            {"filters.start_after", "filters.status"},
        ),
        ({"filters": {"metadata.k": ["v"]}, "row": "spans"}, {"filters.metadata.k", "row"}),
        ({"filters": {"\ud800": 1, "n" * 300: 1}}, {"filters.", f"filters.{'n' * 200}"}),
    ],
)
async def test_misspelled_key_is_named_and_exports_nothing(files, said, fields):
    body = json.dumps({"format": "csv"} | said)
    refused = await files.site.http.post(EXPORTS, headers=files.head, content=body)
    assert set(field_errors(refused)) == fields
    assert await files.read(EXPORTS) == []


async def test_interrupted_download_is_resumed(files):
    done = await files.written()
    whole = (await files.file(done)).content
    first = await files.file(done, range="bytes=0-9")
    assert (first.status_code, first.content) == (206, whole[:10])
    assert first.headers["content-range"] == f"bytes 0-9/{len(whole)}"
    rest = await files.file(done, range="bytes=10-", if_range=first.headers["etag"])
    assert (rest.status_code, first.content + rest.content) == (206, whole)
    assert (await files.file(done, range="bytes=10-", if_range='"other"')).content == whole
    beyond = await files.file(done, range=f"bytes={len(whole)}-")
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(whole)}"


async def test_file_of_many_chunks_is_downloaded_whole(files):
    noise = "".join(uuid.uuid4().hex for _ in range(PIECE_BYTES // 32))
    for n in range(3):
        await files.store_trace(name=f"{n}", input=noise, started_at=f"2026-03-01T09:00:0{n}Z")
    done = await files.written()
    whole = (await files.file(done)).content
    assert len(whole) == done["size"] > 3 * PIECE_BYTES
    assert sha256(whole).hexdigest() == done["sha256"]
    for start in (0, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 7):
        part = await files.file(done, range=f"bytes={start}-{start + PIECE_BYTES}")
        assert part.content == whole[start : start + PIECE_BYTES + 1]


async def test_export_without_traces_is_an_empty_file(files):
    done = await files.written(filters={"name": "nothing has this name"})
    assert (done["status"], done["row_count"], done["traces_total"]) == ("COMPLETED", 0, 0)
    assert (await files.file(done)).text.startswith("trace_id,name,")
    lines = await files.written(format="ndjson", filters={"name": "nothing has this name"})
    empty = await files.file(lines)
    assert (empty.status_code, empty.content) == (200, b"")


async def test_too_large_export_fails_with_advice(files):
    exporting = files.site.ports.exporting
    ports = replace_ports(files.site.ports, **files.site.swapped)
    exporting = replace(ports.exporting, size_max=100)
    use_cases = UseCases(replace(ports, exporting=exporting)).exporting
    ordered = await files.orders()
    assert await use_cases.write_export() == 1
    failed = await files.read(f"{EXPORTS}/{ordered['id']}")
    assert failed["status"] == "FAILED"
    assert "started_after" in failed["error_message"]
    refused = await files.file(failed)
    assert refused.status_code == 409
    assert "larger" in refused.json()["detail"]


async def test_export_limit_per_project_is_enforced(files):
    made = [await files.orders() for _ in range(EXPORTS_MAX)]
    assert {one["id"] for one in await files.read(EXPORTS)} == {one["id"] for one in made}
    assert (await files("POST", EXPORTS, {"format": "csv"})).status_code == 409
    path = f"{EXPORTS}/{made[0]['id']}"
    assert (await files("DELETE", path)).status_code == 204
    assert (await files("DELETE", path)).status_code == 404
    assert (await files("GET", path)).status_code == 404
    await files.orders()


async def test_repeated_request_creates_one_export(files):
    first, again = [
        await files("POST", EXPORTS, {"format": "csv"}, idempotency_key="k") for _ in range(2)
    ]
    assert first.json() == again.json()
    assert len(await files.read(EXPORTS)) == 1


async def test_download_is_aborted_when_the_export_is_deleted(files):
    done = await files.written()
    await files("DELETE", f"{EXPORTS}/{done['id']}")
    assert (await files.file(done)).status_code == 404


async def test_export_expires(files):
    done = await files.written()
    kept = utc_now() + files.use_cases.request_export.retention
    assert done["expires_at"] < (kept + timedelta(seconds=1)).isoformat()
    exports = replace_ports(files.site.ports, **files.site.swapped).exporting.exports
    await until_done(exports.delete_expired, kept + timedelta(days=1))
    assert await files.read(EXPORTS) == []


async def test_other_project_gets_404(files):
    done = await files.written()
    head = files.site.headers(project=f"p-{uuid.uuid4()}")
    for path in ("", "/download"):
        theirs = await files.site.http.get(f"{EXPORTS}/{done['id']}{path}", headers=head)
        assert theirs.status_code == 404
    assert (await files.site.http.get(EXPORTS, headers=head)).json() == []
    gone = await files.site.http.delete(f"{EXPORTS}/{done['id']}", headers=head)
    assert gone.status_code == 404
    assert (await files.file(done)).status_code == 200


def test_every_format_has_a_media_type():
    assert set(MEDIA_TYPES) == set(FileFormat)
