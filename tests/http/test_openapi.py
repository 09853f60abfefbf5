"""The OpenAPI document and the reference made of it."""

import importlib.util
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from entrypoints.http.config import HttpConfig
from tests.http.conftest import CONFIG, Site

CHECK = Path(__file__).parents[3] / "shared" / "contract" / "check_openapi.py"
SERVED = {
    ("post", "/traces"),
    ("get", "/traces"),
    ("post", "/traces/batch"),
    ("get", "/traces/{trace_id}"),
    ("delete", "/traces/{trace_id}"),
    ("post", "/traces/{trace_id}/spans"),
    ("get", "/"),
    ("get", "/health"),
    ("get", "/health/ready"),
}
LATER = {"GET /traces ?tags"}


@pytest.fixture
async def document(site: Site) -> Any:
    return (await site.http.get("/openapi.json")).json()


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {
        (method, path): told
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    }


async def test_it_holds_what_is_served(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    assert set(operations(document)) >= SERVED
    assert set(document["components"]["securitySchemes"]) == {
        "HTTPBearer",
        "ApiKey",
        "ProjectID",
        "ProjectName",
        "OrganizationID",
    }


async def test_every_operation_is_told_in_full(document: Any) -> None:
    envelope = {"$ref": "#/components/schemas/ErrorResponse"}
    for (method, path), told in operations(document).items():
        assert told["summary"]
        assert told["description"]
        assert ("security" in told) is True
        assert bool(told["security"]) is path.startswith("/traces")
        if "requestBody" in told:
            assert told["requestBody"]["content"]["application/json"]["example"]
            assert {"400", "401", "413", "415", "422"} <= set(told["responses"])
        for status, answer in told["responses"].items():
            assert answer["description"]
            assert "X-Request-ID" in answer["headers"]
            if status == "204":
                assert "content" not in answer
            elif int(status) < 300:
                assert answer["content"]["application/json"]["example"] is not None
            elif (method, path, status) != ("get", "/health/ready", "503"):
                assert answer["content"]["application/json"]["schema"] == envelope
        assert "500" in told["responses"]
    ids = [told["operationId"] for told in operations(document).values()]
    assert len(set(ids)) == len(ids)


async def test_every_reference_leads_somewhere(document: Any) -> None:
    schemas = document["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [ref for one in node for ref in references(one)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for one in node.values() for ref in references(one)]
        return []

    found = {ref.rpartition("/")[2] for ref in references(document)}
    assert found <= set(schemas)
    assert {"TraceCreate", "SpanCreate", "TraceResponse", "SpanStatusCode"} <= found
    assert "PaginatedResponse_TraceListItem_" in found
    assert not {"TraceQuery", "TracePath"} & set(schemas)


async def test_types_say_what_is_accepted(document: Any) -> None:
    schemas = document["components"]["schemas"]
    trace = schemas["TraceCreate"]
    assert set(trace["required"]) == {"name", "started_at"}
    assert trace["properties"]["started_at"] == {"type": "string", "format": "date-time"}
    assert trace["properties"]["name"] == {"type": "string", "minLength": 1, "maxLength": 512}
    assert trace["properties"]["spans"]["maxItems"] == CONFIG.max_spans
    assert set(schemas["TraceResponse"]["required"]) == set(schemas["TraceResponse"]["properties"])
    parameters = {one["name"]: one for one in document["paths"]["/traces"]["get"]["parameters"]}
    assert parameters["limit"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 200,
        "default": 50,
    }
    [path] = document["paths"]["/traces/{trace_id}"]["get"]["parameters"]
    assert (path["in"], path["required"]) == ("path", True)
    assert path["schema"] == {"type": "string", "format": "uuid"}


async def test_a_configured_limit_is_published() -> None:
    site = Site(config=HttpConfig(version="1", environment="test", max_spans=7))
    async with site.http:
        document = (await site.http.get("/openapi.json")).json()
    body = document["paths"]["/traces/{trace_id}/spans"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert (schema["minItems"], schema["maxItems"]) == (1, 7)


@pytest.mark.skipif(not CHECK.exists(), reason="the contract doesn't lie beside this checkout")
async def test_nothing_of_the_contract_is_missing_of_what_is_served(document: Any) -> None:
    spec = importlib.util.spec_from_file_location("check_openapi", CHECK)
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    gaps = check.missing(document)
    served = {f"{method.upper()} {path}" for method, path in SERVED}
    ours = [gap for gap in gaps if " ".join(gap.split(" ")[:2]) in served]
    assert set(ours) <= LATER


class Tags(HTMLParser):
    """What a page opens, links to, and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        found = dict(attrs)
        self.targets += [found[name] or "" for name in ("href", "src") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []


async def test_the_reference_tells_all_and_loads_nothing(site: Site, document: Any) -> None:
    answer = await site.http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = Tags()
    page.feed(answer.text)
    assert not {"script", "link", "img", "iframe"} & set(page.opened)
    assert all(target.startswith(("#", "/openapi.json")) for target in page.targets)
    assert {target[1:] for target in page.targets if target[0] == "#"} <= set(page.ids)
    for told in operations(document).values():
        assert told["operationId"] in page.ids
