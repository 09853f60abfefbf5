"""Traces and spans over HTTP, endpoint by endpoint."""

import uuid
from typing import Any

import pytest

from entrypoints.http.controllers.traces import examples, schemas
from tests.http.conftest import Site, a_span, a_trace, field_errors


async def test_documented_example_round_trips(site: Site, head: dict[str, str]) -> None:
    posted = await site.http.post("/traces", headers=head, json=examples.TRACE)
    assert posted.status_code == 202
    accepted = posted.json()
    assert accepted["trace_id"] == examples.TRACE_ID
    assert uuid.UUID(accepted["task_id"]).version == 4
    assert set(accepted) == {"trace_id", "task_id"}
    project = str(next(iter(site.store.projects)))
    read = await site.http.get(f"/traces/{examples.TRACE_ID}", headers=head)
    assert read.status_code == 200
    assert read.json() == schemas.TRACE_RESPONSE | {"project_id": project}
    listed = await site.http.get("/traces", headers=head)
    assert listed.json() == examples.page_of(schemas.TRACE_ITEM)


async def test_response_is_compact_and_complete(site: Site, head: dict[str, str]) -> None:
    posted = await site.http.post("/traces", headers=head, json=a_trace(spans=[a_span()]))
    read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
    assert ", " not in read.text
    assert '": ' not in read.text
    assert read.headers["content-type"] == "application/json"
    assert set(read.json()) == set(schemas.TRACE_RESPONSE)
    [span] = read.json()["spans"]
    assert set(span) == set(schemas.TRACE_RESPONSE["spans"][0])
    assert (span["kind"], span["status"], span["cost_source"]) == ("OTHER", "UNSET", "unpriced")
    assert (span["metadata"], span["cost"], span["token_usage"]) == ({}, None, None)
    assert read.json()["status"] == "COMPLETED"
    assert '"total_cost":0.0' in read.text
    assert '"total_tokens":0' in read.text


async def test_payloads_keep_every_digit(site: Site, head: dict[str, str]) -> None:
    sent = '{"a":12345678901234567890,"b":1.0,"c":1e400,"d":0.1000,"e":"\\u00e9","f":[ 1 , 2 ]}'
    body = f'{{"name":"n","started_at":"2026-03-01","input":{sent},"output":"plain"}}'
    posted = await site.http.post("/traces", headers=head, content=body)
    read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
    assert f'"input":{sent},"output":"plain"' in read.text


async def test_table_price_is_returned_as_total(site: Site, head: dict[str, str]) -> None:
    span = a_span(model="gpt-4o", token_usage={"prompt_tokens": 1_000_000})
    posted = await site.http.post("/traces", headers=head, json=a_trace(spans=[span]))
    read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
    [shown] = read.json()["spans"]
    assert (shown["cost"], shown["cost_source"]) == ({"total": 2.5}, "table")
    assert read.json()["total_cost"] == 2.5


async def test_falsy_values_are_data(site: Site, head: dict[str, str]) -> None:
    for value in (0, False, "", [], {}):
        posted = await site.http.post(
            "/traces", headers=head, json=a_trace(input=value, session_id="")
        )
        read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
        assert read.json()["input"] == value
        assert read.json()["session_id"] == ""


async def test_repeated_trace_is_merged(site: Site, head: dict[str, str]) -> None:
    first = a_trace(trace_id=examples.TRACE_ID, status="ERROR", input=1, tags=["b"])
    again = a_trace(trace_id=examples.TRACE_ID, name="later", tags=["a"], metadata={"k": 1})
    for body in (first, again):
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    read = (await site.http.get(f"/traces/{examples.TRACE_ID}", headers=head)).json()
    assert (read["name"], read["status"], read["input"]) == ("later", "ERROR", 1)
    assert (read["tags"], read["metadata"]) == (["a", "b"], {"k": 1})


async def test_late_report_does_not_undo_a_final_status(site: Site, head: dict[str, str]) -> None:
    span = a_span(span_id=examples.SPAN_ID, status="OK")
    for status, span_status in [("ERROR", "OK"), ("RUNNING", "UNSET"), ("PENDING", "UNSET")]:
        body = a_trace(
            trace_id=examples.TRACE_ID, status=status, spans=[span | {"status": span_status}]
        )
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    url = f"/traces/{examples.TRACE_ID}"
    read = (await site.http.get(url, headers=head)).json()
    assert (read["status"], read["spans"][0]["status"]) == ("ERROR", "OK")
    changed = await site.http.patch(url, headers=head, json={"status": "RUNNING"})
    assert changed.json()["status"] == "RUNNING"


async def test_trace_that_ends_before_its_start_is_kept_without_latency_and_flagged(
    site: Site, head: dict[str, str]
) -> None:
    span = a_span(ended_at="2020-01-01", completion_start_time="2020-01-01")
    body = a_trace(trace_id=examples.TRACE_ID, ended_at="2020-01-01", spans=[span, a_span()])
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    read = (await site.http.get(f"/traces/{examples.TRACE_ID}", headers=head)).json()
    assert (read["ended_at"], read["clock_skew"]) == ("2020-01-01T00:00:00+00:00", True)
    skewed = [one for one in read["spans"] if one["clock_skew"]]
    assert [one["ended_at"] for one in skewed] == ["2020-01-01T00:00:00+00:00"]
    assert (skewed[0]["latency_ms"], skewed[0]["time_to_first_token_ms"]) == (None, None)
    [listed] = (await site.http.get("/traces", headers=head)).json()["items"]
    assert (listed["latency_ms"], listed["clock_skew"]) == (None, True)


async def test_span_may_be_its_own_parent_and_occur_twice(site: Site, head: dict[str, str]) -> None:
    span = a_span(span_id=examples.SPAN_ID, parent_span_id=examples.SPAN_ID)
    body = a_trace(spans=[span, span | {"name": "second"}], ended_at="2020-01-01")
    posted = await site.http.post("/traces", headers=head, json=body)
    assert posted.status_code == 202
    read = (await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)).json()
    [shown] = read["spans"]
    assert (shown["name"], shown["parent_span_id"]) == ("second", examples.SPAN_ID)


async def test_spans_are_added_to_a_stored_trace(site: Site, head: dict[str, str]) -> None:
    await site.http.post("/traces", headers=head, json=a_trace(trace_id=examples.TRACE_ID))
    spans = [a_span(span_id=examples.SPAN_ID, trace_id="ignored"), a_span()]
    added = await site.http.post(f"/traces/{examples.TRACE_ID}/spans", headers=head, json=spans)
    assert added.status_code == 201
    ids = added.json()["span_ids"]
    assert len(ids) == 2
    assert ids[0] == examples.SPAN_ID
    read = (await site.http.get(f"/traces/{examples.TRACE_ID}", headers=head)).json()
    assert {span["span_id"] for span in read["spans"]} == set(ids)


async def test_spans_of_an_unknown_trace_are_404(site: Site, head: dict[str, str]) -> None:
    refused = await site.http.post(f"/traces/{uuid.uuid4()}/spans", headers=head, json=[a_span()])
    assert refused.status_code == 404
    assert site.trace_count() == 0


@pytest.mark.parametrize(
    ("spans", "field"),
    [([], ""), ({}, ""), (None, ""), ([{}], "0.name"), ([a_span(), a_span(name="")], "1.name")],
)
async def test_errors_of_added_spans_have_their_index(
    site: Site, head: dict[str, str], spans: Any, field: str
) -> None:
    refused = await site.http.post(f"/traces/{uuid.uuid4()}/spans", headers=head, json=spans)
    assert field in field_errors(refused)


async def test_deleted_trace_is_gone_and_second_delete_is_404(
    site: Site, head: dict[str, str]
) -> None:
    await site.http.post("/traces", headers=head, json=a_trace(trace_id=examples.TRACE_ID))
    path = f"/traces/{examples.TRACE_ID}"
    first = await site.http.delete(path, headers=head)
    assert (first.status_code, first.content) == (204, b"")
    assert (await site.http.delete(path, headers=head)).status_code == 404
    assert (await site.http.get(path, headers=head)).status_code == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_path_id_must_be_a_uuid(site: Site, head: dict[str, str], method: str) -> None:
    refused = await site.http.request(method, "/traces/no-uuid", headers=head)
    assert set(field_errors(refused)) == {"path.trace_id"}


async def test_path_and_body_errors_are_reported_together(site: Site, head: dict[str, str]) -> None:
    refused = await site.http.post("/traces/x/spans", headers=head, json=[{"name": "a"}])
    assert set(field_errors(refused)) == {"path.trace_id", "0.started_at"}


class TestBatch:
    async def test_invalid_item_does_not_affect_others(
        self, site: Site, head: dict[str, str]
    ) -> None:
        twice = a_trace(trace_id=examples.TRACE_ID)
        items = [twice, {"name": 1}, a_trace(), a_trace(spans=[{}]), twice | {"name": "last"}]
        done = await site.http.post("/traces/batch", headers=head, json={"traces": items})
        assert done.status_code == 202
        accepted, rejected = done.json()["accepted"], done.json()["rejected"]
        assert [one["trace_id"] for one in accepted][::2] == [examples.TRACE_ID] * 2
        assert [one["index"] for one in rejected] == [1, 3]
        assert [one["field"] for one in rejected[0]["errors"]] == ["name", "started_at"]
        assert [one["field"] for one in rejected[1]["errors"]] == [
            "spans.0.name",
            "spans.0.started_at",
        ]
        assert site.trace_count() == 2
        read = await site.http.get(f"/traces/{examples.TRACE_ID}", headers=head)
        assert read.json()["name"] == "last"

    async def test_all_invalid_items_are_422_with_body_paths(
        self, site: Site, head: dict[str, str]
    ) -> None:
        items = [3, {"name": "n", "started_at": "x"}]
        refused = await site.http.post("/traces/batch", headers=head, json={"traces": items})
        assert set(field_errors(refused)) == {"traces.0", "traces.1.started_at"}

    async def test_batch_errors_stop_at_the_maximum(self, site: Site, head: dict[str, str]) -> None:
        items = [{}] * 500
        refused = await site.http.post("/traces/batch", headers=head, json={"traces": items})
        assert len(refused.json()["errors"]) == 100

    @pytest.mark.parametrize("body", [{}, {"traces": []}, {"traces": None}, {"traces": [{}] * 501}])
    async def test_missing_empty_or_too_many_items_are_refused(
        self, site: Site, head: dict[str, str], body: Any
    ) -> None:
        refused = await site.http.post("/traces/batch", headers=head, json=body)
        assert set(field_errors(refused)) == {"traces"}

    async def test_lone_surrogate_rejects_only_its_item(
        self, site: Site, head: dict[str, str]
    ) -> None:
        good = '{"name":"n","started_at":0}'
        bad = '{"name":"\\ud800","started_at":0,"input":["\\udfff"]}'
        nul = '{"name":"\\u0000","started_at":0}'
        body = f'{{"traces":[{bad},{good},{nul}]}}'
        done = await site.http.post("/traces/batch", headers=head, content=body)
        assert done.status_code == 202
        rejected = {one["index"]: one["errors"] for one in done.json()["rejected"]}
        assert {one["field"] for one in rejected[0]} == {"name", "input"}
        assert {one["field"] for one in rejected[2]} == {"name"}
        assert site.trace_count() == 1


class TestList:
    @pytest.fixture(autouse=True)
    async def three(self, site: Site, head: dict[str, str]) -> None:
        for hour, said in enumerate(
            (
                {"name": "First%", "session_id": "s", "status": "ERROR"},
                {"name": "second", "session_id": "", "user_id": "u"},
                {"name": "THIRD", "session_id": "s", "user_id": "u"},
            )
        ):
            body = a_trace(started_at=f"2026-03-01T0{hour}:00:00Z", **said)
            assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", ["THIRD", "second", "First%"]),
            ("sort_by=started_at&sort_order=asc", ["First%", "second", "THIRD"]),
            ("session_id=s", ["THIRD", "First%"]),
            ("session_id=", ["second"]),
            ("user_id=u&session_id=s", ["THIRD"]),
            ("status=ERROR", ["First%"]),
            ("name=", ["THIRD", "second", "First%"]),
            ("name=ir", ["THIRD", "First%"]),
            ("name=%25", ["First%"]),
            ("started_after=2026-03-01T01:00:00Z", ["THIRD", "second"]),
            ("started_before=2026-03-01T03:00:00%2B02:00", ["First%"]),
            ("started_after=1772326800", ["THIRD", "second"]),
            ("limit=1&offset=1", ["second"]),
            ("limit=1.0", ["THIRD"]),
            ("limit=7&limit=1", ["THIRD"]),
            ("offset=99", []),
        ],
    )
    async def test_filters_order_and_paging_apply(
        self, site: Site, head: dict[str, str], query: str, names: list[str]
    ) -> None:
        page = (await site.http.get(f"/traces?{query}", headers=head)).json()
        assert [one["name"] for one in page["items"]] == names

    async def test_total_counts_all_matches_and_the_page_is_echoed(
        self, site: Site, head: dict[str, str]
    ) -> None:
        page = (await site.http.get("/traces?limit=1&offset=5", headers=head)).json()
        del page["items"]
        assert page == {"total": 3, "limit": 1, "offset": 5, "next_cursor": None}

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=201",
            "limit=",
            "limit=ten",
            "limit=1.5",
            "limit=1e400",
            "limit=" + "9" * 5000,
            "offset=-1",
            f"offset={2**63}",
            "status=error",
            "status=",
            "sort_by=spans",
            "sort_order=up",
            "started_after=yesterday",
            "started_after=2026-03-01T01:00:00+02:00",  # a raw plus reads as a space
            "started_before=0001-01-01T00:00:00%2B01:00",
            "name=%00",
            "session_id=%FF",
            "user_id=%ED%A0%80",
        ],
    )
    async def test_each_invalid_parameter_is_named(
        self, site: Site, head: dict[str, str], query: str
    ) -> None:
        refused = await site.http.get(f"/traces?{query}", headers=head)
        assert set(field_errors(refused)) == {f"query.{query.partition('=')[0]}"}

    async def test_all_invalid_parameters_are_reported_together(
        self, site: Site, head: dict[str, str]
    ) -> None:
        refused = await site.http.get("/traces?limit=0&sort_by=x&status=y", headers=head)
        assert set(field_errors(refused)) == {"query.limit", "query.sort_by", "query.status"}

    @pytest.mark.parametrize(
        ("query", "fields"),
        [
            ("limit=0&query=*", {"limit", "query"}),
            ("query=*&sort_by=name&offset=1", {"query", "sort_by", "offset"}),
            ("query=word&sort_order=asc&limit=0&zzz=1", {"sort_order", "limit", "zzz"}),
            ("score_min=1&score_max=x&query=*", {"score_min", "score_max", "query"}),
            ("score=x&score_min=1&score_max=0&limit=0", {"score_min", "limit"}),
            ("score=%00&score_min=1", {"score"}),
            ("min_cost=x&min_cost=0&status=x", {"status"}),  # the last value counts
        ],
    )
    async def test_rules_between_parameters_are_reported_with_the_others(
        self, site: Site, head: dict[str, str], query: str, fields: set[str]
    ) -> None:
        refused = await site.http.get(f"/traces?{query}", headers=head)
        assert set(field_errors(refused)) == {f"query.{name}" for name in fields}

    async def test_too_many_query_parameters_are_refused(
        self, site: Site, head: dict[str, str]
    ) -> None:
        refused = await site.http.get("/traces?" + "a=1&" * 1500, headers=head)
        assert set(field_errors(refused)) == {"query"}


async def test_traces_of_two_projects_are_separate(site: Site) -> None:
    ours, theirs = site.headers(project="ours"), site.headers(project="theirs")
    body = a_trace(trace_id=examples.TRACE_ID, spans=[a_span(span_id=examples.SPAN_ID)])
    path = f"/traces/{examples.TRACE_ID}"
    await site.http.post("/traces", headers=ours, json=body | {"name": "ours"})
    assert (await site.http.get(path, headers=theirs)).status_code == 404
    assert (await site.http.delete(path, headers=theirs)).status_code == 404
    added = await site.http.post(f"{path}/spans", headers=theirs, json=[a_span()])
    assert added.status_code == 404
    assert (await site.http.get("/traces", headers=theirs)).json()["total"] == 0
    await site.http.post("/traces", headers=theirs, json=body | {"name": "theirs"})
    await site.http.post("/traces/batch", headers=theirs, json={"traces": [body]})
    read = (await site.http.get(path, headers=ours)).json()
    assert (read["name"], len(read["spans"])) == ("ours", 1)
