"""Datasets over HTTP: items in three formats, versions, copies of traces, and exports."""

import csv
import io
import json
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.evaluation.datasets.copy_traces import COPIED_MAX
from domain.evaluation.datasets.dataset import DATASETS_MAX, ITEM_BYTES_MAX, ITEMS_PER_REQUEST_MAX
from domain.identity.api_key import Scope
from domain.page import LIMIT_MAX
from entrypoints.http.controllers.datasets.item_files import COLUMNS
from tests.http.conftest import Site, a_trace, field_errors
from tests.support.builders.datasets import an_item
from tests.support.hypothesis_scale import scaled

NAME = "refunds"
JSON = {"content-type": "application/json"}
NDJSON, CSV = {"content-type": "application/x-ndjson"}, {"content-type": "text/csv"}


@dataclass(frozen=True)
class Datasets:
    """A project with an empty dataset."""

    site: Site
    head: dict[str, str]

    async def send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        head = self.head | sent.pop("head", {})
        return await self.site.http.request(method, f"/datasets{path}", headers=head, **sent)

    async def write(self, *items: Any) -> dict[str, Any]:
        answer = await self.send("POST", f"/{NAME}/items/batch", json={"items": items})
        assert answer.status_code == 200, answer.text
        written: dict[str, Any] = answer.json()
        return written

    async def upload(self, text: str | bytes, head: dict[str, str] = NDJSON) -> httpx.Response:
        return await self.send("POST", f"/{NAME}/items/batch", content=text, head=head)

    async def items(self, query: str = "") -> list[dict[str, Any]]:
        page = (await self.send("GET", f"/{NAME}/items?limit={LIMIT_MAX}&{query}")).json()
        assert page["total"] == len(page["items"])
        items: list[dict[str, Any]] = page["items"]
        return items

    async def export(self, query: str = "") -> bytes:
        answer = await self.send("GET", f"/{NAME}/export?{query}")
        assert answer.status_code == 200
        return answer.content

    async def trace(self, **fields: Any) -> str:
        sent = a_trace(trace_id=str(uuid.uuid4()), **fields)
        assert (
            await self.site.http.post("/traces", headers=self.head, json=sent)
        ).status_code == 202
        trace: str = sent["trace_id"]
        return trace


@pytest.fixture
async def datasets(site: Site) -> Datasets:
    made = Datasets(site, site.headers(*Scope))
    answer = await made.send("POST", "", json={"name": NAME, "description": "d"})
    assert answer.status_code == 201
    return made


async def test_dataset_is_created_changed_listed_and_deleted(datasets: Datasets) -> None:
    [made] = (await datasets.send("GET", "")).json()
    assert (made["name"], made["description"], made["items"]) == (NAME, "d", 0)
    changed = await datasets.send("PATCH", f"/{NAME}", json={"description": "other"})
    assert changed.json()["description"] == "other"
    assert (await datasets.send("GET", f"/{NAME}")).json() == changed.json()
    assert (await datasets.send("DELETE", f"/{NAME}")).status_code == 204
    assert (await datasets.send("DELETE", f"/{NAME}")).status_code == 404
    assert (await datasets.send("GET", "")).json() == []


@pytest.mark.parametrize("name", ["", "Refunds", "a b", "-a", "ü", "a" * 101, "a/b"])
async def test_malformed_names_are_refused(datasets: Datasets, name: str) -> None:
    answer = await datasets.send("POST", "", json={"name": name})
    assert (answer.status_code, [*field_errors(answer)]) == (422, ["name"])


async def test_name_that_is_taken_and_too_many_are_conflicts(datasets: Datasets) -> None:
    assert (await datasets.send("POST", "", json={"name": NAME})).status_code == 409
    for number in range(1, DATASETS_MAX):
        await datasets.send("POST", "", json={"name": f"d{number}"})
    answer = await datasets.send("POST", "", json={"name": "one-more"})
    assert (answer.status_code, str(DATASETS_MAX) in answer.json()["detail"]) == (409, True)


async def test_items_are_read_as_they_were_written(datasets: Datasets) -> None:
    item = {"id": "ü/1", "input": {"a": [1.10, "x"]}, "expected": False, "metadata": {"k": 1}}
    item |= {"split": "test", "from_trace": None}
    written = await datasets.write(item, {"id": "b", "input": None})
    assert (written["created"], written["version_number"], written["rejected"]) == (2, 1, [])
    bare = {"id": "b", "input": None, "expected": None, "metadata": {}, "split": None}
    assert await datasets.items() == [bare | {"from_trace": None}, item]
    assert await datasets.items("split=test") == [item]
    assert await datasets.items(f"version={written['version']}") == await datasets.items()
    again = await datasets.write(item)
    assert (again["unchanged"], again["version"]) == (1, written["version"])


async def test_invalid_items_are_rejected_by_themselves(datasets: Datasets) -> None:
    large = "x" * ITEM_BYTES_MAX
    written = await datasets.write(
        {"id": "a", "input": 1},
        {"id": "", "input": 1},
        {"id": "c"},
        {"id": "d", "input": large},
        {"id": "a", "input": 2},
        {"id": "f", "input": 1, "from_trace": str(uuid.uuid4())},
        {"id": "g", "input": 1, "extra": 1},
        {"id": "h", "input": 1, "metadata": []},
        {"id": "i", "input": 1, "split": "a\0"},
    )
    assert written["created"] == 1
    found = {one["index"]: one["errors"][0]["field"] for one in written["rejected"]}
    assert found == {
        1: "id", 2: "input", 3: "input", 4: "id", 5: "from_trace", 6: "extra", 7: "metadata",
        8: "split",
    }  # fmt: skip
    assert await datasets.items() == [(await datasets.items())[0] | {"id": "a", "input": 1}]


async def test_unparsably_deep_items_are_rejected_by_themselves(datasets: Datasets) -> None:
    levels = 400_000
    deep = f'{{"id":"deep","input":{"[" * levels}{"]" * levels}}}'
    answer = await datasets.upload(f'{{"items":[{deep},{{"id":"a","input":1}}]}}', JSON)
    assert answer.status_code == 200
    assert [(one["index"], one["errors"][0]["field"]) for one in answer.json()["rejected"]] == [
        (0, "input")
    ]
    assert [item["id"] for item in await datasets.items()] == ["a"]


async def test_old_version_stays_readable(datasets: Datasets) -> None:
    first = await datasets.write({"id": "a", "input": 1}, {"id": "b", "input": 1})
    await datasets.write({"id": "a", "input": 2})
    assert (await datasets.send("DELETE", f"/{NAME}/items/b")).status_code == 204
    assert (await datasets.send("DELETE", f"/{NAME}/items/b")).status_code == 404
    old = await datasets.items(f"version={first['version']}")
    assert [(one["id"], one["input"]) for one in old] == [("a", 1), ("b", 1)]
    assert [(one["id"], one["input"]) for one in await datasets.items()] == [("a", 2)]
    versions = (await datasets.send("GET", f"/{NAME}/versions")).json()
    assert [(one["version_number"], one["items"]) for one in versions] == [
        (3, 1), (2, 2), (1, 2), (0, 0)
    ]  # fmt: skip
    assert versions[2]["version"] == first["version"]


@pytest.mark.parametrize(("version", "status"), [("0" * 64, 404), ("0", 422), ("G" * 64, 422)])
async def test_unknown_version(datasets: Datasets, version: str, status: int) -> None:
    for path in ("items", "export"):
        answer = await datasets.send("GET", f"/{NAME}/{path}?version={version}")
        assert answer.status_code == status


async def test_cursor_belongs_to_one_version_and_split(datasets: Datasets) -> None:
    first = await datasets.write(*({"id": str(n), "input": n} for n in range(3)))
    page = (await datasets.send("GET", f"/{NAME}/items?limit=2")).json()
    rest = await datasets.send("GET", f"/{NAME}/items?limit=2&cursor={page['next_cursor']}")
    assert [one["id"] for one in rest.json()["items"]] == ["2"]
    other = await datasets.send(
        "GET", f"/{NAME}/items?cursor={page['next_cursor']}&version={first['version']}"
    )
    assert other.status_code == 422


async def test_pages_by_cursor_are_of_one_version(datasets: Datasets) -> None:
    await datasets.write(*({"id": str(n), "input": n} for n in range(4)))
    page = (await datasets.send("GET", f"/{NAME}/items?limit=2")).json()
    await datasets.write(
        {"id": "1x", "input": 0}, {"id": "2x", "input": 0}, {"id": "3", "input": 0}
    )
    assert (await datasets.send("DELETE", f"/{NAME}/items/2")).status_code == 204
    rest = await datasets.send("GET", f"/{NAME}/items?limit=2&cursor={page['next_cursor']}")
    assert [(one["id"], one["input"]) for one in rest.json()["items"]] == [("2", 2), ("3", 3)]
    assert rest.json()["total"] == 4
    newest = [one["id"] for one in await datasets.items()]
    assert newest == ["0", "1", "1x", "2x", "3"]


# --- files -------------------------------------------------------------------------------------


async def test_ndjson_has_an_item_a_line(datasets: Datasets) -> None:
    answer = await datasets.upload(
        b'{"id":"a","input":{"q":1}}\r\n\n{"id":"b"}\n{"id":"c","input":\n{"id":"d","input":"\xff"}\n'
        b'{"id":"e","input":"last"}'
    )
    written = answer.json()
    assert (written["created"], [one["index"] for one in written["rejected"]]) == (2, [1, 2, 3])
    assert [one["id"] for one in await datasets.items()] == ["a", "e"]


async def test_csv_cells_are_json_or_text(datasets: Datasets) -> None:
    text = (
        "\ufeffid,input,expected,metadata,split\r\n"
        '1,"What, now?",42,"{""k"": [1]}",test\r\n'
        '"""2""","{""q"": ""x""}","""42""",,\r\n'
        "\r\n"
        '3,"two\nlines",yes,,\r\n'
        "4,short\r\n"
        "5,x,y,not an object,\r\n"
    )
    written = (
        await datasets.upload(text, CSV | {"content-type": "text/csv; charset=utf-8"})
    ).json()
    assert [(one["index"], one["errors"][0]["field"]) for one in written["rejected"]] == [
        (3, ""), (4, "metadata")
    ]  # fmt: skip
    found = {one["id"]: (one["input"], one["expected"]) for one in await datasets.items()}
    assert found == {
        "1": ("What, now?", 42), "2": ({"q": "x"}, "42"), "3": ("two\nlines", "yes")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column id"),
        ("id,output\n1,2\n", "column input"),
        ("id,input,answer\n1,2,3\n", "'answer' isn't a column"),
        ("id,input,input\n1,2,3\n", "twice"),
        ("id,input\n", "at least one"),
        ('id,input\n1,"x\n', "line 2"),
        (f"id,input\n1,{'x' * (ITEM_BYTES_MAX + 1)}\n", "line 2"),
        ("id,input\n" + "1,2\n" * (ITEMS_PER_REQUEST_MAX + 1), "another request"),
    ],
)
async def test_csv_without_a_table_of_items_is_refused(
    datasets: Datasets, text: str, message: str
) -> None:
    answer = await datasets.upload(text, CSV)
    assert (answer.status_code, message in answer.text) == (422, True), answer.text[:500]


async def test_files_that_are_not_text_are_refused(datasets: Datasets) -> None:
    assert (await datasets.upload(b"id,input\n1,\xff\n", CSV)).status_code == 400
    assert (await datasets.upload(b"\n\n")).status_code == 422
    assert (await datasets.upload(b"x", {"content-type": "text/plain"})).status_code == 415


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
    | st.sampled_from(["=1+1", "42", '"quoted"', "null", "", " padded ", "a\r\nb", "-5"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
ids = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
items = st.fixed_dictionaries(
    {
        "id": ids | st.sampled_from(["=x", '"x"', "-1"]),
        "input": json_values,
        "expected": json_values,
        "split": st.none() | st.sampled_from(["test", "=x"]),
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["ndjson", "csv"])
async def test_export_is_imported_to_the_same_version(datasets: Datasets, file: str) -> None:
    """Any items. Hypothesis runs inside the test, since each example needs the event loop."""
    head = CSV if file == "csv" else NDJSON
    examples: list[list[dict[str, Any]]] = []

    @settings(max_examples=scaled(60), database=None, deadline=None)
    @given(st.lists(items, min_size=1, max_size=5, unique_by=lambda one: one["id"]))
    def collect(example: list[dict[str, Any]]) -> None:
        examples.append(example)

    collect()
    for example in examples:
        await datasets.send("DELETE", f"/{NAME}")
        await datasets.send("POST", "", json={"name": NAME})
        written = await datasets.write(*example)
        assert written["rejected"] == []
        text = await datasets.export(f"format={file}")
        before = await datasets.items()
        await datasets.send("DELETE", f"/{NAME}")
        await datasets.send("POST", "", json={"name": NAME})
        copied = (await datasets.upload(text, head)).json()
        assert copied["rejected"] == []
        assert copied["version"] == written["version"]
        assert await datasets.items() == before


@pytest.mark.parametrize("first", "=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20")
async def test_csv_cells_are_not_read_as_formulas(datasets: Datasets, first: str) -> None:
    text = f"{first}1+1"
    is_printable = first in "=+-@\uff1d\uff0b\uff0d\uff20"
    item = {"id": text if is_printable else "an id", "input": text, "expected": [text]}
    assert (await datasets.write(item))["rejected"] == []
    exported = (await datasets.export("format=csv")).decode()
    [_, cells] = csv.reader(io.StringIO(exported, newline=""))
    assert {cell[:1] for cell in cells} <= {"a", '"', "[", "{", ""}


async def test_export_of_a_version_and_split(datasets: Datasets) -> None:
    many = [{"id": f"{n:03}", "input": n, "split": "b" if n % 2 else "a"} for n in range(450)]
    first = await datasets.write(*many)
    await datasets.write({"id": "000", "input": "later", "split": "a"})
    old = await datasets.export(f"version={first['version']}&split=a")
    lines = [json.loads(line) for line in old.splitlines()]
    assert [one["input"] for one in lines] == [*range(0, 450, 2)]
    rows = list(csv.reader(io.StringIO((await datasets.export("format=csv")).decode())))
    assert (rows[0], len(rows), rows[1][:2]) == ([*COLUMNS], 451, ["000", "later"])
    assert await datasets.export("split=none") == b""


# --- copies of traces --------------------------------------------------------------------------


async def copy(datasets: Datasets, body: dict[str, Any]) -> httpx.Response:
    return await datasets.send("POST", f"/{NAME}/items/from-traces", json=body)


async def test_traces_of_filters_and_ids_are_copied(datasets: Datasets) -> None:
    good = await datasets.trace(name="good", input={"q": 1}, output="a")
    other = await datasets.trace(name="other", input="b", output=None)
    copied = (await copy(datasets, {"filters": {"name": "good"}, "split": "test"})).json()
    assert (copied["trace_ids"], copied["created"]) == ([good], 1)
    [item] = await datasets.items()
    assert item == {
        "id": good, "input": {"q": 1}, "expected": None, "metadata": {}, "split": "test",
        "from_trace": good,
    }  # fmt: skip
    gone = str(uuid.uuid4())
    answer = await copy(datasets, {"trace_ids": [good, other, gone], "expected": "output"})
    copied = answer.json()
    assert (copied["changed"], [one["index"] for one in copied["rejected"]]) == (1, [1, 2])
    assert (await datasets.items())[0]["expected"] == "a"


async def test_empty_annotation_queue_copies_nothing(datasets: Datasets) -> None:
    copied = (await copy(datasets, {"annotation_queue": {"name": "coherence"}})).json()
    assert (copied["trace_ids"], copied["created"], copied["version_number"]) == ([], 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filters": {}, "trace_ids": [str(uuid.uuid4())]},
        {"trace_ids": []},
        {"trace_ids": [str(uuid.uuid4()) for _ in range(COPIED_MAX + 1)]},
        {"filters": {"date_from": "yesterday"}},
    ],
)
async def test_copies_need_one_source(datasets: Datasets, body: dict[str, Any]) -> None:
    answer = await copy(datasets, body)
    assert (answer.status_code, len(field_errors(answer))) == (422, 1), answer.text


async def test_copy_into_unknown_dataset(datasets: Datasets) -> None:
    answer = await datasets.send(
        "POST", "/nothing/items/from-traces", json={"trace_ids": [str(uuid.uuid4())]}
    )
    assert answer.status_code == 404
    answer = await datasets.send(
        "POST", "/nothing/items/batch", json={"items": [{"id": "a", "input": 1}]}
    )
    assert answer.status_code == 404


def test_an_item_counts_all_its_payloads() -> None:
    assert an_item("a", 1, expected=22, metadata=b'{"k":1}').size == 1 + 2 + 7
