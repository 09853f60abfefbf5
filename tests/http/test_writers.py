"""Writers: a key without the scope `read` gets back what it wrote and ids, and nothing else."""

import re
from dataclasses import replace
from typing import Any

import pytest

from domain.identity.api_key import Scope
from tests.support.clients.two_tenants import CANARY, TwoTenants
from tests.support.endpoints.registry import BY_OPERATION, DATA_PLANE, operation_of
from tests.support.endpoints.spec import EndpointSpec, ProjectScopes

# Values that a writer sends in place of those that are stored. A run starts only over what is
# stored.
SENT = {"text": "mine", "reader": "my-reader", "erased": "my-erased"}
STARTS_RUN = re.compile(
    "POST /evaluations/(trace|session)-runs(/batch)?(/estimate)?|POST /experiments"
)
WRITES = [
    one
    for one in DATA_PLANE
    if isinstance(one.access, ProjectScopes) and Scope.READ not in one.access.scopes
]


@pytest.mark.parametrize("spec", WRITES, ids=operation_of)
async def test_writer_does_not_read_what_others_wrote(
    tenants: TwoTenants, spec: EndpointSpec
) -> None:
    """Every text of the project contains CANARY."""
    assert isinstance(spec.access, ProjectScopes)
    await tenants.begin()
    sent = {} if STARTS_RUN.fullmatch(spec.operation) else SENT
    words = spec.own_words(tenants.words(tenants.theirs) | sent)
    answer = await tenants.request(spec, tenants.their_key_with(*spec.access.scopes), words)
    assert answer.status_code == spec.status, answer.text
    text = answer.text
    for word in spec.placeholders:
        text = text.replace(words[word], f"{{{word}}}")
    assert CANARY not in text


@pytest.mark.parametrize(
    ("operation", "body", "written"),
    [
        (
            "PATCH /evaluations/trace-scores/{score_id}",
            {"value": "0.5", "reason": "r", "metadata": {"a": 1}},
            {"value": "0.5", "reason": "r", "metadata": {"a": 1}, "source": "ANNOTATION"},
        ),
        ("PATCH /evaluations/trace-scores/{score_id}", {}, {}),
        (
            "PATCH /evaluations/monitors/{monitor_id}",
            {"name": "n", "metrics": ["coherence"], "filters": {"name": "x"}, "votes": 3},
            {"name": "n", "metric_names": ["coherence"], "filters": {"name": "x"}, "votes": 3},
        ),
        ("PATCH /evaluations/monitors/{monitor_id}", {"filters": None, "model": None}, {}),
        ("POST /evaluations/monitors/{monitor_id}/pause", None, {"status": "PAUSED"}),
        ("POST /evaluations/monitors/{monitor_id}/resume", None, {"status": "ACTIVE"}),
        ("POST /evaluations/trace-runs/{run_id}/cancel", None, {"status": "CANCELLED"}),
        ("POST /evaluations/trace-runs/{run_id}/retry", None, {"status": "PENDING"}),
    ],
)
async def test_writer_gets_what_it_wrote_in_the_fields_of_the_whole(
    tenants: TwoTenants, operation: str, body: Any, written: dict[str, Any]
) -> None:
    spec = replace(BY_OPERATION[operation], body=body)
    words = tenants.own_words(spec)
    answers = []
    for scopes in ([Scope.EVALUATE], [Scope.EVALUATE, Scope.READ]):
        await tenants.begin()
        answers.append((await tenants.request(spec, tenants.new_key(*scopes), words)).json())
    narrow, whole = answers
    assert narrow.keys() == whole.keys()
    collections = [field for field, value in whole.items() if isinstance(value, dict | list)]
    assert [type(narrow[field]) for field in collections] == [
        type(whole[field]) for field in collections
    ]
    shown = {field: value for field, value in narrow.items() if value not in (None, {}, [])}
    assert shown.pop("id")
    assert shown.pop("project_id") == tenants.ours["project_id"]
    assert shown == written
