"""What a refusal says suffices to correct the request."""

from http import HTTPStatus
from typing import Any

import pytest

from domain.identity.api_key import Scope
from entrypoints.http.error_responses import NO_SUCH_PATH
from tests.http.conftest import Site, a_trace, field_errors

UNKNOWN_ID = "3f0c2b7e-0a7d-4d4e-9c7a-5a2e1f6b8c90"


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        (
            "/traces",
            a_trace(started_at="9999-12-31T23:59:59-01:00"),
            {"started_at": "must be within the years 1 to 9999, in UTC"},
        ),
        (
            "/traces",
            a_trace(started_at=1e17),
            {"started_at": "must be within the years 1 to 9999, in UTC"},
        ),
        (
            "/evaluations/trace-runs",
            {"metrics": ["coherence"], "sampling_rate": "1e400"},
            {"sampling_rate": "must be between 0 and 1"},
        ),
        (
            "/experiments",
            {"name": "e", "dataset": "absent", "metrics": ["coherence"]},
            {"dataset": "this project has no such dataset"},
        ),
        (
            "/evaluations/custom-metrics/dry-run",
            {
                "kind": "judge",
                "definition": {"criterion": "c", "anchor": []},
                "trace_id": UNKNOWN_ID,
            },
            {"definition.anchor": "is not a known key; there are: anchors, criterion"},
        ),
    ],
)
async def test_field_says_what_is_allowed(
    site: Site, path: str, body: dict[str, Any], errors: dict[str, str]
) -> None:
    found = field_errors(await site.http.post(path, headers=site.headers(), json=body))
    said = {name: found.get(name, "")[: len(message)] for name, message in errors.items()}
    assert said == errors, found


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        (
            "/spans?error_group=x",
            "query.error_group",
            "must be an id of GET /errors: 16 digits in hex",
        ),
        (
            "/datasets/d/items?version=2",
            "query.version",
            "must be the hash of a version: 64 digits in hex",
        ),
    ],
)
async def test_text_of_a_form_is_described(site: Site, path: str, name: str, said: str) -> None:
    answer = await site.http.get(path, headers=site.headers())
    assert field_errors(answer) == {name: said}


async def test_unknown_path_and_method_say_what_there_is(site: Site) -> None:
    path = await site.http.get("/v2/traces", headers=site.headers())
    assert (path.status_code, path.json()["detail"]) == (404, NO_SUCH_PATH)
    method = await site.http.put("/traces", headers=site.headers(), json={})
    said = "PUT isn't served here, only GET, OPTIONS, POST"
    assert (method.status_code, method.json()["detail"]) == (405, said)


async def test_byte_order_mark_is_named(site: Site) -> None:
    content = b"\xef\xbb\xbf{}"
    answer = await site.http.post("/traces", headers=site.headers(), content=content)
    assert answer.json()["detail"] == "The body is not JSON: it begins with a byte order mark"


async def test_key_as_a_bearer_token_is_recognized(site: Site) -> None:
    bearer = {"authorization": f"Bearer {site.key()}", "x-project-name": "shop"}
    for path in ("/traces", "/me"):
        answer = await site.http.get(path, headers=bearer)
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert "send it as X-API-Key" in answer.json()["detail"]


async def test_key_where_only_people_are_admitted_gets_the_reason(site: Site) -> None:
    answer = await site.http.get("/me", headers=site.headers())
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert "no API key is accepted here" in answer.json()["detail"]


async def test_every_missing_scope_is_named(site: Site) -> None:
    path = f"/traces/{UNKNOWN_ID}"
    answer = await site.http.delete(path, headers=site.headers(Scope.EVALUATE))
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert answer.json()["detail"] == "This API key lacks the scopes 'ingest' and 'read'"


async def test_reused_idempotency_key_is_named(site: Site) -> None:
    head = {**site.headers(), "idempotency-key": "one"}
    for name, status in (("a", HTTPStatus.CREATED), ("b", HTTPStatus.CONFLICT)):
        monitor = {
            "name": name,
            "target_type": "TRACE",
            "cadence": "daily",
            "metrics": ["coherence"],
        }
        answer = await site.http.post("/evaluations/monitors", headers=head, json=monitor)
        assert answer.status_code == status, answer.text
    assert "idempotency key was sent with another request" in answer.json()["detail"]


async def test_malformed_otlp_says_where(site: Site) -> None:
    head = {**site.headers(), "content-type": "application/json"}
    answer = await site.http.post("/v1/traces", headers=head, content=b'{"resourceSpans": 1}')
    assert answer.json()["detail"].endswith("[ is missing at byte 18")
