"""Erasing a user or a session over HTTP, and its receipts."""

import hashlib
import json
import uuid
from typing import Any

import pytest

from tests.http.conftest import Site, a_span, a_trace, field_errors
from tests.support.builders.values import NOON


async def sent(site: Site, head: dict[str, str], **overrides: Any) -> str:
    """The id of a trace that was stored."""
    body = a_trace(trace_id=str(uuid.uuid4()), spans=[a_span()], **overrides)
    answer = await site.http.post("/traces", headers=head, json=body)
    assert answer.status_code == 202
    return body["trace_id"]


async def test_user_is_erased_and_the_receipt_can_be_checked(site: Site) -> None:
    head, http = site.headers(), site.http
    site.now = NOON
    gone = await sent(site, head, user_id="grace@example.com", session_id="s", input=[1])
    kept = await sent(site, head, user_id="ada@example.com")
    body = {"user_id": "grace@example.com"}
    answer = await http.post("/erasures", headers=head, json=body)
    receipt = answer.json()
    assert answer.status_code == 202
    assert (receipt["kind"], receipt["state"]) == ("user", "REMOVED")
    assert receipt["rows"] == {"spans": 1, "trace_payloads": 1, "traces": 1}
    assert receipt["requested_at"] == NOON.isoformat()
    assert receipt["removed_at"] > receipt["requested_at"]  # by the clock that dates traces
    assert receipt["requested_by"]["name"] == head["x-api-key"][:10]
    assert "grace" not in answer.text
    assert (await http.get(f"/traces/{gone}", headers=head)).status_code == 404
    listed = (await http.get("/traces", headers=head)).json()["items"]
    assert [one["trace_id"] for one in listed] == [kept]
    assert (await http.get("/sessions", headers=head)).json()["total"] == 0

    path = f"/erasures/{receipt['id']}"
    assert (await http.get(path, headers=head)).json() == receipt
    page = (await http.get("/erasures", headers=head)).json()
    assert (page["items"], page["total"]) == ([receipt], 1)
    checked = await http.post(f"{path}/check", headers=head, json=body)
    assert checked.status_code == 200
    assert checked.json() == {
        "erasure_id": receipt["id"],
        "checked_at": NOON.isoformat(),
        "is_erased": True,
        "found": {},
        "traces_since": 0,
    }
    assert site.store.audit_log  # requested, and completed


async def test_receipt_hashes_can_be_recomputed(site: Site) -> None:
    answer = await site.http.post("/erasures", headers=site.headers(), json={"session_id": "sé/1"})
    receipt = answer.json()
    seal = receipt.pop("receipt_sha256")
    text = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert seal == hashlib.sha256(text.encode()).hexdigest()
    salt = bytes.fromhex(receipt["salt"])
    hashed = hashlib.scrypt("session:sé/1".encode(), salt=salt, n=4_096, r=8, p=1, dklen=32)
    assert receipt["owner_hash"] == hashed.hex()


async def test_late_reports_are_refused_and_new_traces_stored(site: Site) -> None:
    head, http = site.headers(), site.http
    site.now = NOON
    late = await sent(site, head, user_id="u")
    receipt = (await http.post("/erasures", headers=head, json={"user_id": "u"})).json()
    again = await http.post("/traces", headers=head, json=a_trace(trace_id=late, user_id="u"))
    assert set(field_errors(again)) == {"trace_id"}
    other = str(uuid.uuid4())
    batch = {"traces": [a_trace(trace_id=late), a_trace(trace_id=other)]}
    body = (await http.post("/traces/batch", headers=head, json=batch)).json()
    assert [one["index"] for one in body["rejected"]] == [0]
    assert [one["trace_id"] for one in body["accepted"]] == [other]
    spans = await http.post(f"/traces/{late}/spans", headers=head, json=[a_span()])
    assert spans.status_code == 404
    await sent(site, head, user_id="u")
    path = f"/erasures/{receipt['id']}/check"
    checked = (await http.post(path, headers=head, json={"user_id": "u"})).json()
    assert (checked["is_erased"], checked["traces_since"]) == (True, 1)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {""}),
        ({"user_id": None, "session_id": None}, {""}),
        ({"user_id": "u", "session_id": "s"}, {""}),
        ({"user_id": "", "session_id": ""}, {""}),
        ({"session_id": "s" * 256}, {"session_id"}),
        ({"user_id": 7}, {"user_id"}),
        ({"user_id": "a\0"}, {"user_id"}),
    ],
)
async def test_request_without_a_subject_is_refused(
    site: Site, body: Any, fields: set[str]
) -> None:
    head = site.headers()
    for path in ("/erasures", f"/erasures/{uuid.uuid4()}/check"):
        assert set(field_errors(await site.http.post(path, headers=head, json=body))) == fields
    assert site.store.erasures == {}


@pytest.mark.parametrize("label", ["user_id", "session_id"])
async def test_empty_id_is_erased_like_any_other(site: Site, label: str) -> None:
    head, http = site.headers(), site.http
    gone = await sent(site, head, **{label: ""})
    kept = await sent(site, head)
    answer = await http.post("/erasures", headers=head, json={label: ""})
    assert (answer.status_code, answer.json()["rows"]["traces"]) == (202, 1)
    path = f"/erasures/{answer.json()['id']}/check"
    assert (await http.post(path, headers=head, json={label: ""})).json()["is_erased"]
    assert (await http.get(f"/traces/{gone}", headers=head)).status_code == 404
    assert (await http.get(f"/traces/{kept}", headers=head)).status_code == 200


async def test_check_of_another_subject_is_refused(site: Site) -> None:
    head = site.headers()
    receipt = (await site.http.post("/erasures", headers=head, json={"user_id": "u"})).json()
    path = f"/erasures/{receipt['id']}/check"
    for body in ({"user_id": "v"}, {"session_id": "u"}):
        assert set(field_errors(await site.http.post(path, headers=head, json=body))) == {*body}
    unknown = await site.http.post(
        f"/erasures/{uuid.uuid4()}/check", headers=head, json={"user_id": "u"}
    )
    assert unknown.status_code == 404
