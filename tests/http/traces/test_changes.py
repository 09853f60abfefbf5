"""Changes of stored traces: PATCH of traces and spans, batch tags and batch deletion."""

import uuid
from typing import Any

import pytest

from domain.identity.api_key import Scope
from domain.identity.audit import AuditAction
from entrypoints.http.controllers.traces import examples
from entrypoints.http.controllers.traces.schemas import SpanUpdate, TraceUpdate
from tests.http.conftest import Site, a_span, a_trace, field_errors

TRACE = f"/traces/{examples.TRACE_ID}"
SPAN = f"{TRACE}/spans/{examples.SPAN_ID}"
LATER = "2026-03-02T10:00:00+00:00"
FULL_SPAN = examples.SPAN | {
    "input": {"q": 1},
    "output": "out",
    "metadata": {"a": 1, "b": {"c": 2}},
    "error": "broken",
    "model_parameters": {"temperature": 0.5},
}
FULL_TRACE = examples.TRACE | {"metadata": {"a": 1, "b": {"c": 2}}, "spans": [FULL_SPAN]}

TRACE_VALUES: list[tuple[str, Any]] = [
    ("name", "renamed"),
    ("status", "ERROR"),
    ("input", [1.0, None]),
    ("output", {"o": "x"}),
    ("ended_at", LATER),
    ("session_id", "conv-43"),
    ("user_id", ""),
    ("tags", ["z", "a", "z"]),
    ("environment", "staging"),
    ("release", "2"),
]
SPAN_VALUES: list[tuple[str, Any]] = [
    ("name", "renamed"),
    ("kind", "TOOL"),
    ("status", "ERROR"),
    ("input", 0),
    ("output", False),
    ("model", "tiny"),
    ("token_usage", {"prompt_tokens": 1}),
    ("ended_at", LATER),
    ("error", ""),
    ("completion_start_time", LATER),
    ("model_parameters", {"top_p": 1}),
    ("cost", {"total": 2.5}),
]
KEPT_ON_NULL = {"name", "status", "kind", "tags", "metadata"}
# All other fields are texts.
TRACE_TEXTS = set(TraceUpdate.__struct_fields__) - {name for name, _ in TRACE_VALUES} - KEPT_ON_NULL
SPAN_TEXTS = set(SpanUpdate.__struct_fields__) - {name for name, _ in SPAN_VALUES} - KEPT_ON_NULL
TRACE_VALUES += [(name, "another") for name in sorted(TRACE_TEXTS)]
SPAN_VALUES += [(name, "another") for name in sorted(SPAN_TEXTS)]
FULL_TRACE |= dict.fromkeys(TRACE_TEXTS, "one")
FULL_SPAN |= dict.fromkeys(SPAN_TEXTS, "one")
CASES = [(TRACE, *one) for one in TRACE_VALUES] + [(SPAN, *one) for one in SPAN_VALUES]
# Fields that are computed again if a field changes.
FOLLOWS = {
    "ended_at": {"latency_ms"},
    "completion_start_time": {"time_to_first_token_ms"},
    "cost": {"cost_source"},
}


@pytest.fixture(autouse=True)
async def stored(site: Site, head: dict[str, str]) -> None:
    assert (await site.http.post("/traces", headers=head, json=FULL_TRACE)).status_code == 202


async def read(site: Site, path: str, head: dict[str, str]) -> dict[str, Any]:
    """The trace or span at `path`."""
    trace = (await site.http.get(TRACE, headers=head)).json()
    return trace if path == TRACE else trace["spans"][0]


async def patched(site: Site, path: str, head: dict[str, str], body: Any) -> dict[str, Any]:
    """The response of PATCH, which equals the next read."""
    answer = await site.http.patch(path, headers=head, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == await read(site, path, head)
    return answer.json()


@pytest.mark.parametrize(("path", "field", "value"), CASES)
async def test_value_replaces_that_field_only(
    site: Site, head: dict[str, str], path: str, field: str, value: Any
) -> None:
    before = await read(site, path, head)
    assert before[field] not in (None, value)
    after = await patched(site, path, head, {field: value})
    assert after[field] == value
    changed = {name for name in after if after[name] != before[name]}
    assert changed - FOLLOWS.get(field, set()) <= {field, "total_cost"}
    assert await patched(site, path, head, {field: value}) == after


async def test_list_item_equals_the_fields_of_a_read(site: Site, head: dict[str, str]) -> None:
    shown = await read(site, TRACE, head)
    [item] = (await site.http.get("/traces", headers=head)).json()["items"]
    assert {"release", "environment", "user_id", "tags"} <= item.keys()
    assert {name: shown[name] for name in item.keys() & shown.keys()}.items() <= item.items()


@pytest.mark.parametrize(("path", "field", "_"), CASES)
async def test_null_clears_optional_fields_only(
    site: Site, head: dict[str, str], path: str, field: str, _: Any
) -> None:
    before = await read(site, path, head)
    assert before[field] is not None
    after = await patched(site, path, head, {field: None})
    if field in KEPT_ON_NULL:
        assert after == before
    else:
        assert after[field] is None or (field == "cost" and after["cost_source"] == "table")


@pytest.mark.parametrize("path", [TRACE, SPAN])
async def test_missing_or_unknown_keys_change_nothing(
    site: Site, head: dict[str, str], path: str
) -> None:
    before = await read(site, path, head)
    never = {"trace_id": "x", "span_id": 1, "parent_span_id": 2, "started_at": 3, "spans": [4]}
    for body in ({}, never, {"metadata": None}, {"metadata": {}}, {"metadata": {"a": 1}}):
        assert await patched(site, path, head, body) == before


@pytest.mark.parametrize("path", [TRACE, SPAN])
async def test_metadata_is_merged_by_top_level_keys(
    site: Site, head: dict[str, str], path: str
) -> None:
    after = await patched(site, path, head, {"metadata": {"b": None, "c": [1.0]}})
    assert after["metadata"] == {"a": 1, "b": None, "c": [1.0]}


async def test_span_is_repriced_if_its_usage_or_model_changes(
    site: Site, head: dict[str, str]
) -> None:
    assert (await read(site, SPAN, head))["cost_source"] == "client"
    cleared = await patched(site, SPAN, head, {"cost": None})
    assert (cleared["cost_source"], cleared["cost"]) == ("table", {"total": 0.00008})
    unpriced = await patched(site, SPAN, head, {"model": "unlisted"})
    assert (unpriced["cost_source"], unpriced["cost"]) == ("unpriced", None)
    again = await patched(site, SPAN, head, {"cost": {"total": "0.25"}})
    assert (again["cost_source"], again["cost"]) == ("client", {"total": 0.25})
    assert (await read(site, TRACE, head))["total_cost"] == 0.25


async def test_change_is_visible_in_lists(site: Site, head: dict[str, str]) -> None:
    body = {"session_id": "moved", "ended_at": None, "status": "RUNNING"}
    await patched(site, TRACE, head, body)
    [listed] = (await site.http.get("/traces?session_id=moved", headers=head)).json()["items"]
    assert (listed["status"], listed["latency_ms"]) == ("RUNNING", None)
    assert (await site.http.get("/sessions/conv-42", headers=head)).status_code == 404
    assert (await site.http.get("/sessions/moved", headers=head)).status_code == 200


async def test_payloads_of_a_change_keep_every_digit(site: Site, head: dict[str, str]) -> None:
    sent = '{"a":12345678901234567890,"b":1.0,"c":1e400,"d":"\\u0000","e":[ 1 ]}'
    for path in (TRACE, SPAN):
        answer = await site.http.patch(path, headers=head, content=f'{{"input":{sent}}}')
        assert f'"input":{sent}' in answer.text


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"name": ""}, {"name"}),
        ({"name": "n" * 513}, {"name"}),
        ({"name": 1, "status": "completed", "metadata": []}, {"name", "status", "metadata"}),
        ({"ended_at": "x", "input": None, "output": 1}, {"ended_at"}),
        ([], {""}),
        (None, {""}),
        ("x", {""}),
    ],
)
@pytest.mark.parametrize("path", [TRACE, SPAN])
async def test_invalid_change_is_named_and_not_applied(
    site: Site, head: dict[str, str], path: str, body: Any, fields: set[str]
) -> None:
    before = await read(site, path, head)
    assert set(field_errors(await site.http.patch(path, headers=head, json=body))) == fields
    assert await read(site, path, head) == before


async def test_each_field_is_validated(site: Site, head: dict[str, str]) -> None:
    long, nul = "x" * 256, "a\0b"
    words = ("session_id", "user_id", "environment", "release")
    for bad in (long, nul, 1, [], {}):
        refused = await site.http.patch(TRACE, headers=head, json=dict.fromkeys(words, bad))
        assert set(field_errors(refused)) == set(words)
    tags = ["a", long, None]
    refused = await site.http.patch(TRACE, headers=head, json={"tags": tags})
    assert set(field_errors(refused)) == {"tags.1", "tags.2"}
    refused = await site.http.patch(TRACE, headers=head, json={"tags": ["t"] * 101})
    assert set(field_errors(refused)) == {"tags"}
    body = {
        "kind": "llm",
        "status": "COMPLETED",
        "model": long,
        "token_usage": [],
        "model_parameters": "x",
        "error": nul,
        "completion_start_time": True,
        "cost": {"total": None, "part": "x"},
        "metadata": {"a": nul},
    }
    refused = await site.http.patch(SPAN, headers=head, json=body)
    named = {*body, "cost.total", "cost.part"} - {"cost"}
    assert set(field_errors(refused)) == named


@pytest.mark.parametrize(("path", "field", "value"), CASES)
async def test_caller_without_read_gets_only_what_it_sent(
    site: Site, path: str, field: str, value: object
) -> None:
    writer = site.headers(Scope.INGEST)
    ids = {"trace_id", "project_id", "span_id"}
    for body in ({}, {field: value}, {field: value, "metadata": {"own": 1}}):
        answer = await site.http.patch(path, headers=writer, json=body)
        assert answer.status_code == 200
        shown = answer.json()
        full = (await site.http.patch(path, headers=site.headers(), json={})).json()
        assert shown.keys() == full.keys()
        assert all(shown[one] == full[one] for one in ids & shown.keys())
        reported = {name: one for name, one in shown.items() if one not in (None, [], {})}
        if field in body and value not in (None, [], {}):
            expected = full[field] if field in {"ended_at", "completion_start_time"} else value
            assert reported.pop(field) == expected
        assert reported.pop("metadata", {}) == body.get("metadata", {})
        assert reported.keys() <= ids


async def test_body_must_be_json(site: Site, head: dict[str, str]) -> None:
    for path in (TRACE, SPAN):
        assert set(field_errors(await site.http.patch(path, headers=head))) == {""}
        for content in (b"{", b'{"input":NaN}', b'{"name":"\xff"}'):
            answer = await site.http.patch(path, headers=head, content=content)
            assert answer.status_code == 400


async def test_unknown_trace_or_span_is_404(site: Site, head: dict[str, str]) -> None:
    other, theirs = uuid.uuid4(), site.headers(project="theirs")
    paths = (f"/traces/{other}", f"{TRACE}/spans/{other}", f"/traces/{other}/spans/{other}")
    for path in (*paths, f"/traces/{other}/spans/{examples.SPAN_ID}"):
        assert (await site.http.patch(path, headers=head, json={})).status_code == 404
    for path in (TRACE, SPAN):
        answer = await site.http.patch(path, headers=theirs, json={"name": "x"})
        assert answer.status_code == 404
    assert (await read(site, TRACE, head))["name"] == FULL_TRACE["name"]


async def test_path_and_body_errors_are_reported_together(site: Site, head: dict[str, str]) -> None:
    refused = await site.http.patch("/traces/x/spans/y", headers=head, json={"name": ""})
    assert set(field_errors(refused)) == {"path.trace_id", "path.span_id", "name"}


class TestMany:
    @pytest.fixture
    async def ids(self, site: Site, head: dict[str, str]) -> list[str]:
        """Three traces: with the tags b and a; with the tag a; without tags."""
        found = []
        for tags in (["b", "a", "b"], ["a"], []):
            done = await site.http.post("/traces", headers=head, json=a_trace(tags=tags))
            found.append(done.json()["trace_id"])
        return found

    async def tags(self, site: Site, head: dict[str, str], ids: list[str]) -> list[list[str]]:
        return [(await site.http.get(f"/traces/{one}", headers=head)).json()["tags"] for one in ids]

    @pytest.mark.parametrize(
        ("add", "remove", "left"),
        [
            (["c"], [], [["a", "b", "c"], ["a", "c"], ["c"]]),
            ([], ["a"], [["b", "b"], [], []]),
            (["a"], ["a"], [["a", "b"], ["a"], ["a"]]),
            (["é", "Z"], ["b", "nothing"], [["Z", "a", "é"], ["Z", "a", "é"], ["Z", "é"]]),
            ([], ["nothing"], [["b", "a", "b"], ["a"], []]),
        ],
    )
    async def test_tags_are_removed_before_they_are_added(
        self,
        site: Site,
        head: dict[str, str],
        ids: list[str],
        add: list[str],
        remove: list[str],
        left: list[list[str]],
    ) -> None:
        body = {"trace_ids": [*ids, ids[0], str(uuid.uuid4())], "add_tags": add}
        body |= {"remove_tags": remove}
        for _ in range(2):
            done = await site.http.post("/traces/batch/tags", headers=head, json=body)
            assert (done.status_code, done.json()) == (200, {"updated": 3})
            assert await self.tags(site, head, ids) == left

    async def test_empty_tag_lists_change_nothing(
        self, site: Site, head: dict[str, str], ids: list[str]
    ) -> None:
        body: dict[str, Any] = {"trace_ids": ids}
        for more in ({}, {"add_tags": [], "remove_tags": []}):
            done = await site.http.post("/traces/batch/tags", headers=head, json=body | more)
            assert done.json() == {"updated": 0}

    async def test_existing_traces_are_deleted(
        self, site: Site, head: dict[str, str], ids: list[str]
    ) -> None:
        body = {"trace_ids": [ids[0], ids[0].upper(), ids[1], str(uuid.uuid4())]}
        for deleted in (2, 0):
            done = await site.http.post("/traces/batch/delete", headers=head, json=body)
            assert (done.status_code, done.json()) == (200, {"deleted": deleted})
        statuses = [
            (await site.http.get(f"/traces/{one}", headers=head)).status_code for one in ids
        ]
        assert statuses == [404, 404, 200]
        entry = next(
            one for one in site.store.audit_log.values() if one.action is AuditAction.TRACES_DELETED
        )
        assert {*ids[:2]} < {*entry.detail["trace_ids"].split()}

    async def test_traces_of_other_projects_are_unchanged(
        self, site: Site, head: dict[str, str], ids: list[str]
    ) -> None:
        theirs = site.headers(project="theirs")
        body: dict[str, Any] = {"trace_ids": ids}
        tags = body | {"add_tags": ["x"]}
        tagged = await site.http.post("/traces/batch/tags", headers=theirs, json=tags)
        gone = await site.http.post("/traces/batch/delete", headers=theirs, json=body)
        assert (tagged.json(), gone.json()) == ({"updated": 0}, {"deleted": 0})
        assert await self.tags(site, head, ids) == [["b", "a", "b"], ["a"], []]

    @pytest.mark.parametrize("path", ["/traces/batch/delete", "/traces/batch/tags"])
    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            ({}, {"trace_ids"}),
            ({"trace_ids": []}, {"trace_ids"}),
            ({"trace_ids": None}, {"trace_ids"}),
            ({"trace_ids": [examples.TRACE_ID] * 501}, {"trace_ids"}),
            ({"trace_ids": [examples.TRACE_ID, "x", None]}, {"trace_ids.1", "trace_ids.2"}),
            ([], {""}),
        ],
    )
    async def test_invalid_ids_are_named(
        self, site: Site, head: dict[str, str], path: str, body: Any, fields: set[str]
    ) -> None:
        assert set(field_errors(await site.http.post(path, headers=head, json=body))) == fields

    async def test_invalid_tags_are_named(self, site: Site, head: dict[str, str]) -> None:
        body: dict[str, Any] = {"trace_ids": [examples.TRACE_ID], "add_tags": ["t"] * 101}
        body["remove_tags"] = ["ok", "x" * 256, "\0", 1]
        refused = await site.http.post("/traces/batch/tags", headers=head, json=body)
        places = {"add_tags", "remove_tags.1", "remove_tags.2", "remove_tags.3"}
        assert set(field_errors(refused)) == places
        for name in ("add_tags", "remove_tags"):
            body = {"trace_ids": [examples.TRACE_ID], name: None}
            refused = await site.http.post("/traces/batch/tags", headers=head, json=body)
            assert set(field_errors(refused)) == {name}

    async def test_five_hundred_traces_are_changed(self, site: Site, head: dict[str, str]) -> None:
        body = {"trace_ids": [str(uuid.uuid4()) for _ in range(499)] + [examples.TRACE_ID]}
        done = await site.http.post("/traces/batch/delete", headers=head, json=body)
        assert done.json() == {"deleted": 1}


async def test_odd_spellings_are_accepted_by_the_walk(site: Site, head: dict[str, str]) -> None:
    body = (
        '{"ended_at":1772442000,"name":"last","name":"\\u006cater","metadata":null,"release":null}'
    )
    answer = await site.http.patch(TRACE, headers=head, content=body)
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["ended_at"], shown["name"], shown["release"]) == (
        "2026-03-02T09:00:00+00:00",
        "later",
        None,
    )
    body = '{"output":"\\u0000","session_id":null,"tags":null,"ended_at":null}'
    shown = (await site.http.patch(TRACE, headers=head, content=body)).json()
    assert (shown["output"], shown["session_id"], shown["tags"]) == ("\0", None, ["prod"])
    assert shown["ended_at"] is None
    body = '{"output":"\\u0000","token_usage":null,"model_parameters":null,"cost":{"total":"1"}}'
    shown = (await site.http.patch(SPAN, headers=head, content=body)).json()
    assert (shown["token_usage"], shown["cost"]) == (None, {"total": 1.0})


async def test_equal_span_id_in_another_trace_is_unchanged(
    site: Site, head: dict[str, str]
) -> None:
    other = a_trace(spans=[a_span(span_id=examples.SPAN_ID, name="other")])
    id_ = (await site.http.post("/traces", headers=head, json=other)).json()["trace_id"]
    await patched(site, SPAN, head, {"name": "ours"})
    shown = (await site.http.get(f"/traces/{id_}", headers=head)).json()
    assert shown["spans"][0]["name"] == "other"
