"""Fields that a list of traces shows only if it is asked to."""

import uuid
from typing import Any

import pytest

from tests.http.conftest import Site, a_span, a_trace, field_errors

FIRST, SECOND = (str(uuid.UUID(int=n)) for n in (1, 2))
FIELDS = {
    "preview": {"input_preview": "Where is it?", "output_preview": "On its way"},
    "models": {"models": ["gpt-4o", "tiny"]},
    "errors": {"error_count": 1},
}
WITHOUT = {"input_preview": None, "output_preview": None, "models": [], "error_count": 0}


@pytest.fixture
async def stored(site: Site, head: dict[str, str]) -> dict[str, str]:
    """The headers of a project with a full trace and an empty one."""
    spans = [a_span(model="tiny", status="ERROR"), a_span(model="gpt-4o")]
    full = a_trace(
        trace_id=FIRST, spans=spans, output="On its way",
        input={"messages": [{"role": "user", "content": "Where  is it?"}]},
        started_at="2026-03-01T09:00:01Z",
    )  # fmt: skip
    empty = a_trace(trace_id=SECOND, started_at="2026-03-01T09:00:00Z")
    for body in (full, empty):
        assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202
    for value in ("0.25", "0.5"):
        score = {"trace_id": FIRST, "name": "helpful", "value": value}
        sent = await site.http.post("/evaluations/trace-scores", headers=head, json=score)
        assert sent.status_code == 201
    return head


async def listed(site: Site, head: dict[str, str], query: str = "") -> list[dict[str, Any]]:
    answer = await site.http.get(f"/traces?{query}", headers=head)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


@pytest.mark.parametrize("included", [["preview"], ["models"], ["errors"], list(FIELDS)])
async def test_details_are_added_to_each_trace(
    site: Site, stored: dict[str, str], included: list[str]
) -> None:
    plain = await listed(site, stored)
    expected = {name: value for one in included for name, value in FIELDS[one].items()}
    full, empty = await listed(site, stored, f"include={','.join(included)}")
    assert full == plain[0] | expected
    assert empty == plain[1] | {name: WITHOUT[name] for name in expected}


async def test_scores_are_the_newest_of_each_name(site: Site, stored: dict[str, str]) -> None:
    full, empty = await listed(site, stored, "include=scores")
    [score] = full["scores"]
    known = await site.http.get(f"/evaluations/trace-scores/{FIRST}", headers=stored)
    [newest] = known.json()
    names = ("id", "name", "value", "outcome", "data_type", "source", "created_at")
    unknown = dict.fromkeys(("judge_kind", "threshold", "passed"))
    assert score == {name: newest[name] for name in names} | unknown
    assert (score["value"], empty["scores"]) == ("0.5", [])


@pytest.mark.parametrize(
    ("score", "passed"),
    [
        ({"value": "0.7", "metadata": {"threshold": 0.7}}, True),
        ({"value": "0.69", "metadata": {"threshold": 0.7}}, False),
        ({"value": "0", "metadata": {"threshold": 0}}, True),
        ({"value": "0.9", "metadata": {"threshold": 7}}, None),
        ({"value": "0.9", "metadata": {"threshold": None}}, None),
        ({"value": "true", "data_type": "BOOLEAN", "metadata": {"threshold": 0.7}}, None),
    ],
)
async def test_scores_say_whether_they_pass(
    site: Site, stored: dict[str, str], score: dict[str, Any], passed: bool | None
) -> None:
    body = {"trace_id": SECOND, "name": "safe"} | score
    sent = await site.http.post("/evaluations/trace-scores", headers=stored, json=body)
    assert sent.status_code == 201, sent.text
    _, traced = await listed(site, stored, "include=scores")
    [shown] = traced["scores"]
    assert shown["passed"] is passed


async def test_empty_page_has_no_details(site: Site, stored: dict[str, str]) -> None:
    assert await listed(site, stored, "name=unknown&include=preview,scores,models,errors") == []


@pytest.mark.parametrize("include", ["other", "preview,", "", "preview;models", "PREVIEW"])
async def test_unknown_details_are_refused(
    site: Site, stored: dict[str, str], include: str
) -> None:
    answer = await site.http.get(f"/traces?include={include}", headers=stored)
    assert list(field_errors(answer)) == ["query.include"]
