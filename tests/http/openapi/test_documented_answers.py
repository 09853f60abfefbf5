"""Whatever is sent, in order or not, is answered as the OpenAPI document says."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from tests.http.conftest import Site
from tests.support.clients.contract_checks import operations
from tests.support.clients.documented_answers import acceptable_body, response_checks
from tests.support.clients.two_tenants import TwoTenants
from tests.support.endpoints.registry import BY_OPERATION
from tests.support.endpoints.spec import EndpointSpec
from tests.support.hypothesis_scale import sampled, some_of

EXAMPLES = {"quick": 1, "usual": 1, "full": 10}  # a mode, operation and kind of credential
CREDENTIALS = {"authorization", "x-api-key", "x-project-name", "x-project-id", "x-organization-id"}
SITE = Site()


@pytest.fixture(scope="module")
def checks() -> list[Any]:
    return response_checks()


@pytest.fixture(scope="module")
def schema() -> Any:
    """Reading it takes a second, which only the process that runs these tests has to spend."""
    return schemathesis.openapi.from_asgi("/openapi.json", SITE.app)


@pytest.fixture(scope="module")
def generated(schema: Any) -> dict[str, Any]:
    """The operations of the document by method and path, from which requests are generated."""
    return {one.ok().label: one.ok() for one in schema.get_all_operations()}


def test_every_operation_is_tried(schema: Any, generated: dict[str, Any]) -> None:
    reported = operations(schema.raw_schema)
    assert set(generated) == {f"{method.upper()} {path}" for method, path in reported}
    assert BY_OPERATION.keys() <= generated.keys()


@cache
def stored_objects() -> TwoTenants:
    tenants = TwoTenants(SITE)
    asyncio.run(tenants.begin())
    return tenants


def credentials(label: str) -> Sequence[dict[str, str]]:
    """Headers for each kind of credential; operations without any ignore a key.

    Only `make test-all` takes all of them; else it is one kind for each operation, by turns.
    """
    accepted = stored_objects().credentials(BY_OPERATION[label])
    heads = [head or stored_objects().key for head in accepted]
    return sampled(heads, 1, list(BY_OPERATION).index(label), usually=True)


def use_stored(case: Any, spec: EndpointSpec, mode: GenerationMode) -> None:
    """Makes `case` be about what is stored, with a body that is accepted if it is valid."""
    words = stored_objects().own_words(spec)
    for name in [name for name in case.headers if name.lower() in CREDENTIALS]:
        del case.headers[name]  # in place of ours
    for name in case.path_parameters.keys() & words.keys():
        case.path_parameters[name] = words[name].replace("/", "%2F")
    if mode is GenerationMode.POSITIVE and spec.path.endswith("/template"):
        case.query["metric"] = words["metric_name"]
    if mode is GenerationMode.POSITIVE and spec.path == "/traces/compare":
        case.query |= {"a": words["trace_id"], "b": words["trace_id"]}
    if mode is GenerationMode.POSITIVE and spec.path.endswith("/monitors/cadence"):
        case.query["cadence"] = "daily"
    if isinstance(case.body, dict):
        if mode is GenerationMode.POSITIVE:
            case.body = acceptable_body(case.body, spec, words)
        elif not spec.is_data_plane and isinstance(case.body.get("name"), str):
            case.body["name"] = "store"  # or it would hardly ever be a name


def statuses_of(
    operation: Any, head: dict[str, str], mode: GenerationMode, checks: list[Any]
) -> Counter[int]:
    """The statuses of the answers, each of which was as documented."""
    spec, statuses = BY_OPERATION[operation.label], Counter[int]()
    SITE.restore(stored_objects().first_state)

    @settings(
        max_examples=EXAMPLES[settings.get_current_profile_name()],
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        if statuses.total() % 2 == 0:  # every other one meets something that is stored
            SITE.restore(stored_objects().first_state)
            use_stored(case, spec, mode)
        answer = case.call(app=SITE.app, headers=head)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    holds()
    return statuses


@pytest.mark.parametrize("label", BY_OPERATION)
def test_valid_requests_get_documented_responses(
    label: str, generated: dict[str, Any], checks: list[Any]
) -> None:
    for head in credentials(label):
        statuses = statuses_of(generated[label], head, GenerationMode.POSITIVE, checks)
        assert BY_OPERATION[label].status in statuses


@pytest.mark.slow  # all operations together
# `test_unknown_names.py` has an invalid request for each operation.
@pytest.mark.parametrize("label", some_of(BY_OPERATION, 9))
def test_invalid_requests_get_documented_responses(
    label: str, generated: dict[str, Any], checks: list[Any]
) -> None:
    spec, operation = BY_OPERATION[label], generated[label]
    if not (operation.query or operation.body or operation.path_parameters):
        return  # nothing of the request can be invalid
    for head in credentials(label):
        statuses = statuses_of(operation, head, GenerationMode.NEGATIVE, checks)
        assert set(statuses) <= spec.documented_statuses - {415, 416, 429, 500, 503}
