"""Outlines and single spans: the form of their answers and the limits of their queries."""

import uuid

import pytest

from domain.tracing.outline import OUTLINE_SPANS_MAX
from domain.tracing.payloads.payload_detail import PREVIEW_BYTES_MAX, READ_SPANS_MAX
from entrypoints.http.controllers.traces.part_schemas import PREVIEW_BYTES_DEFAULT
from entrypoints.http.controllers.traces.trace_etags import TraceEtags
from tests.http.conftest import Site, a_span, a_trace, field_errors

TRACE, SPAN, ORPHAN, LOST = (str(uuid.uuid4()) for _ in range(4))


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of the project that has the trace."""
    long = "x" * PREVIEW_BYTES_MAX
    spans = [
        a_span(
            span_id=SPAN, name="chat", model="gpt-4o", input=[long], output={"n": 1.0},
            metadata={"k": "v"}, started_at="2026-03-01T09:00:00.5Z",
        ),
        a_span(
            span_id=ORPHAN, parent_span_id=LOST, name="tool", status="ERROR",
            started_at="2026-03-01T09:00:01Z", ended_at="2026-03-01T09:00:03Z",
        ),
    ]  # fmt: skip
    body = a_trace(trace_id=TRACE, name="run", started_at="2026-03-01T09:00:00Z", spans=spans)
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    return head


async def test_outline_is_in_columns(site: Site, stored: dict[str, str]) -> None:
    answer = await site.http.get(f"/traces/{TRACE}/outline", headers=stored)
    found = answer.json()
    [item] = (await site.http.get("/traces", headers=stored)).json()["items"]
    assert found["trace"] == item | {"error_count": 1}
    assert (found["total_spans"], found["first"], found["next"]) == (2, 0, None)
    assert (found["names"], found["models"]) == (["chat", "tool"], ["gpt-4o"])
    columns = found["columns"]
    assert columns["span_id"] == [SPAN, ORPHAN]
    assert (columns["parent"], columns["parent_id"]) == ([-1, -2], {"1": LOST})
    assert columns["start_us"] == [500_000, 1_000_000]
    assert columns["latency_us"] == [None, 2_000_000]
    assert columns["input_bytes"] == [PREVIEW_BYTES_MAX + 4, None]
    sparse = {"parent_id", "uncounted"}
    assert {len(columns[name]) for name in columns.keys() - sparse} == {2}


async def test_outline_has_parts(site: Site, stored: dict[str, str]) -> None:
    one = (await site.http.get(f"/traces/{TRACE}/outline?limit=1", headers=stored)).json()
    other = (await site.http.get(f"/traces/{TRACE}/outline?after=1", headers=stored)).json()
    assert (one["columns"]["span_id"], one["next"]) == ([SPAN], 1)
    assert (other["columns"]["span_id"], other["first"], other["next"]) == ([ORPHAN], 1, None)
    assert one["revision"] == other["revision"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (f"limit={OUTLINE_SPANS_MAX + 1}", "query.limit"),
        ("limit=0", "query.limit"),
        ("after=-1", "query.after"),
    ],
)
async def test_outline_is_bounded(
    site: Site, stored: dict[str, str], query: str, field: str
) -> None:
    answer = await site.http.get(f"/traces/{TRACE}/outline?{query}", headers=stored)
    assert answer.status_code == 422
    assert list(field_errors(answer)) == [field]


async def test_span_is_that_of_the_trace(site: Site, stored: dict[str, str]) -> None:
    [whole, _] = (await site.http.get(f"/traces/{TRACE}", headers=stored)).json()["spans"]
    found = (await site.http.get(f"/traces/{TRACE}/spans/{SPAN}", headers=stored)).json()
    assert found == whole | {
        "input_bytes": PREVIEW_BYTES_MAX + 4, "output_bytes": 9,
        "input_preview": None, "output_preview": None, "metadata_preview": None,
    }  # fmt: skip


async def test_large_payload_is_null_with_its_beginning_elsewhere(
    site: Site, stored: dict[str, str]
) -> None:
    path = f"/traces/{TRACE}/spans/{SPAN}"
    found = (await site.http.get(f"{path}?payloads=preview", headers=stored)).json()
    assert (found["input"], found["output"], found["metadata"]) == (None, {"n": 1.0}, {"k": "v"})
    text = '["' + "x" * (PREVIEW_BYTES_MAX - 2)
    assert found["input_preview"] == {
        "truncated": True, "bytes": PREVIEW_BYTES_MAX + 4, "text": text,
    }  # fmt: skip


async def test_span_without_payloads_has_their_sizes(site: Site, stored: dict[str, str]) -> None:
    path = f"/traces/{TRACE}/spans/{SPAN}"
    found = (await site.http.get(f"{path}?payloads=none", headers=stored)).json()
    assert [found[name] for name in ("input", "output", "metadata", "input_preview")] == [None] * 4
    assert (found["input_bytes"], found["output_bytes"]) == (PREVIEW_BYTES_MAX + 4, 9)


async def test_unknown_detail_is_refused(site: Site, stored: dict[str, str]) -> None:
    answer = await site.http.get(f"/traces/{TRACE}/spans/{SPAN}?payloads=some", headers=stored)
    assert answer.status_code == 422
    assert list(field_errors(answer)) == ["query.payloads"]


async def test_known_outline_is_not_sent_again(site: Site, stored: dict[str, str]) -> None:
    path = f"/traces/{TRACE}/outline"
    etag = (await site.http.get(path, headers=stored)).headers["etag"]
    again = await site.http.get(path, headers=stored | {"if-none-match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    missing = f"/traces/{uuid.uuid4()}/outline"
    answer = await site.http.get(missing, headers=stored | {"if-none-match": etag})
    assert answer.status_code == 404


def test_etag_of_a_trace_is_of_this_version() -> None:
    this, next_one = TraceEtags([], "1"), TraceEtags([], "2")
    assert this.etag("revision") == TraceEtags([], "1").etag("revision")
    assert len({this.etag("revision"), this.etag("other"), next_one.etag("revision")}) == 3


async def test_trace_is_read_without_whole_payloads(site: Site, stored: dict[str, str]) -> None:
    whole = (await site.http.get(f"/traces/{TRACE}", headers=stored)).json()
    assert "input_bytes" not in whole
    assert (await site.http.get(f"/traces/{TRACE}?payloads=full", headers=stored)).json() == whole
    none = (await site.http.get(f"/traces/{TRACE}?payloads=none", headers=stored)).json()
    found = (await site.http.get(f"/traces/{TRACE}?payloads=preview", headers=stored)).json()
    sizes = {
        "input_bytes": None, "output_bytes": None,
        "input_preview": None, "output_preview": None, "metadata_preview": None,
    }  # fmt: skip
    assert none == whole | sizes | {
        "metadata": None,
        "spans": [
            whole["spans"][0] | sizes | {
                "input": None, "output": None, "metadata": None,
                "input_bytes": PREVIEW_BYTES_MAX + 4, "output_bytes": 9,
            },
            whole["spans"][1] | sizes | {"metadata": None},
        ],
    }  # fmt: skip
    [first, _] = found["spans"]
    beginning = ('["' + "x" * PREVIEW_BYTES_DEFAULT)[:PREVIEW_BYTES_DEFAULT]
    assert first["input"] is None
    assert first["input_preview"] == {
        "truncated": True, "bytes": PREVIEW_BYTES_MAX + 4, "text": beginning,
    }  # fmt: skip
    assert (first["output"], first["metadata"]) == ({"n": 1.0}, {"k": "v"})


async def test_previews_are_as_long_as_they_were_asked_for(
    site: Site, stored: dict[str, str]
) -> None:
    for path in (f"/traces/{TRACE}/spans/{SPAN}", f"/traces/{TRACE}/spans", f"/traces/{TRACE}"):
        query = "payloads=preview&preview_bytes=3"
        found = (await site.http.get(f"{path}?{query}", headers=stored)).json()
        [first, *_] = found.get("spans") or found.get("items") or [found]
        assert first["output_preview"] == {"truncated": True, "bytes": 9, "text": '{"n'}
        for wrong in (0, PREVIEW_BYTES_MAX + 1):
            answer = await site.http.get(f"{path}?preview_bytes={wrong}", headers=stored)
            assert list(field_errors(answer)) == ["query.preview_bytes"]


async def test_spans_are_listed_in_pages(site: Site, stored: dict[str, str]) -> None:
    path = f"/traces/{TRACE}/spans"
    [one, other] = [
        (await site.http.get(f"{path}/{id_}", headers=stored)).json() for id_ in (SPAN, ORPHAN)
    ]
    first = (await site.http.get(f"{path}?limit=1", headers=stored)).json()
    assert (first["items"], first["total"]) == ([one], 2)
    cursor = f"cursor={first['next_cursor']}"
    second = (await site.http.get(f"{path}?limit=1&{cursor}", headers=stored)).json()
    assert (second["items"], second["next_cursor"]) == ([other], None)
    none = (await site.http.get(f"{path}?payloads=none", headers=stored)).json()
    assert [span["input"] for span in none["items"]] == [None, None]
    foreign = await site.http.get(f"/traces/{uuid.uuid4()}/spans?{cursor}", headers=stored)
    assert list(field_errors(foreign)) == ["query.cursor"]


async def test_known_trace_is_not_sent_again(site: Site, stored: dict[str, str]) -> None:
    for path in (f"/traces/{TRACE}", f"/traces/{TRACE}?payloads=none", f"/traces/{TRACE}/spans"):
        etag = (await site.http.get(path, headers=stored)).headers["etag"]
        again = await site.http.get(path, headers=stored | {"if-none-match": etag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        change = {"name": f"changed {path}"}
        await site.http.patch(f"/traces/{TRACE}/spans/{SPAN}", headers=stored, json=change)
        changed = await site.http.get(path, headers=stored | {"if-none-match": etag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != etag


async def test_many_spans_are_read_by_their_ids(site: Site, stored: dict[str, str]) -> None:
    path, unknown = f"/traces/{TRACE}/spans/read", str(uuid.uuid4())
    body = {"span_ids": [ORPHAN, unknown, SPAN, ORPHAN], "preview_bytes": 9}
    found = (await site.http.post(path, headers=stored, json=body)).json()
    assert [one["span_id"] for one in found["spans"]] == [ORPHAN, SPAN]
    assert found["unknown_span_ids"] == [unknown]
    assert found["spans"][1]["input_preview"]["bytes"] == PREVIEW_BYTES_MAX + 4
    for payloads in ("none", "full"):
        body = {"span_ids": [SPAN], "payloads": payloads}
        [one] = (await site.http.post(path, headers=stored, json=body)).json()["spans"]
        query = f"payloads={payloads}"
        single = await site.http.get(f"/traces/{TRACE}/spans/{SPAN}?{query}", headers=stored)
        assert one == single.json()
    for ids in ([], [SPAN] * (READ_SPANS_MAX + 1)):
        answer = await site.http.post(path, headers=stored, json={"span_ids": ids})
        assert list(field_errors(answer)) == ["span_ids"]
    answer = await site.http.post(f"/traces/{LOST}/spans/read", headers=stored, json=body)
    assert answer.status_code == 404
