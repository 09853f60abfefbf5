"""Credentials of OTLP requests: each form that exporters can send."""

from base64 import b64encode

import pytest

from domain.identity.api_key import Scope
from domain.tracing.otel.requests import Encoding
from tests.http.conftest import TOKEN, Site
from tests.support.clients.otlp_exporter import OtlpExporter, error_of

UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID = 16, 7, 5, 3


def basic(user: str, password: str, blank: str = " ", scheme: str = "Basic") -> dict[str, str]:
    encoded = b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"{scheme}{blank}{encoded}"}


async def projects_after(site: Site, headers: dict[str, str]) -> list[str]:
    """The projects after a request that succeeds."""
    answer = await OtlpExporter(site.http, headers, Encoding.JSON).post(b"{}")
    assert answer.status_code == 200, answer.text
    return [one.name for one in site.store.projects.values()]


@pytest.mark.parametrize("blank", [" ", "%20"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_key_as_bearer_token(site: Site, blank: str, scheme: str) -> None:
    named = {"x-project-name": "ours"}
    head = {"authorization": f"{scheme}{blank}{site.key()}"} | named
    assert await projects_after(site, head) == ["ours"]


@pytest.mark.parametrize("blank", [" ", "%20", "  "])
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
async def test_key_as_password_of_the_project(site: Site, blank: str, scheme: str) -> None:
    head = basic("ours", site.key(), blank, scheme)
    assert await projects_after(site, head) == ["ours"]


async def test_header_names_the_project_before_the_user(site: Site) -> None:
    head = basic("theirs", site.key()) | {"x-project-name": "ours"}
    assert await projects_after(site, head) == ["ours"]


async def test_key_as_header(site: Site) -> None:
    assert await projects_after(site, site.headers(project="ours")) == ["ours"]


async def test_key_as_header_takes_precedence(site: Site) -> None:
    for other in (basic("theirs", "pp_wrong"), {"authorization": "Bearer pp_wrong"}):
        assert await projects_after(site, site.headers(project="ours") | other) == ["ours"]


@pytest.mark.parametrize("blank", [" ", "%20"])
async def test_token_of_a_person(site: Site, blank: str) -> None:
    head = {"authorization": f"Bearer {TOKEN}"}
    await site.http.get("/me", headers=head)
    [project] = site.store.projects.values()
    sent = {"authorization": f"Bearer{blank}{TOKEN}", "x-project-id": str(project.id)}
    answer = await OtlpExporter(site.http, sent).post(b"")
    assert answer.status_code == 200


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize(
    "head",
    [
        {},
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + b64encode(b"no colon").decode()},
        {"authorization": "Basic " + b64encode(b"\xff:\xff").decode()},
        basic("ours", ""),
        basic("ours", "pp_unknown"),
        basic("pp_unknown", "secret"),
        {"authorization": "Bearer pp_unknown"},
        {"authorization": "Bearer unknown"},
        {"authorization": "Digest%20abc"},
        {"x-api-key": "pp_unknown"},
    ],
    ids=str,
)
async def test_other_credentials_are_401(
    site: Site, head: dict[str, str], encoding: Encoding
) -> None:
    sent = {"x-project-name": "ours"} | head
    error = error_of(await OtlpExporter(site.http, sent, encoding).post(b"not read"))
    assert (error.status, error.code) == (401, UNAUTHENTICATED)
    assert site.store.projects == {}


@pytest.mark.parametrize("encoding", Encoding)
async def test_missing_or_invalid_project_is_422(site: Site, encoding: Encoding) -> None:
    heads = [basic("", site.key()), basic(" ", site.key()), basic("a/b", site.key())]
    for head in [*heads, {"authorization": f"Bearer {site.key()}"}, {"x-api-key": site.key()}]:
        error = error_of(await OtlpExporter(site.http, head, encoding).post(b""))
        assert (error.status, error.code) == (422, INVALID)
        assert "header.X-Project-Name: " in error.message


@pytest.mark.parametrize("encoding", Encoding)
async def test_other_scopes_are_403(site: Site, encoding: Encoding) -> None:
    for key in (site.key(Scope.READ), site.key(Scope.EVALUATE, Scope.READ)):
        error = error_of(await OtlpExporter(site.http, basic("ours", key), encoding).post(b""))
        assert (error.status, error.code) == (403, FORBIDDEN)
    assert site.store.projects == {}


@pytest.mark.parametrize("encoding", Encoding)
async def test_project_of_another_organization_is_404(site: Site, encoding: Encoding) -> None:
    theirs = site.project()
    head = {"authorization": f"Bearer {TOKEN}", "x-project-id": theirs}
    error = error_of(await OtlpExporter(site.http, head, encoding).post(b""))
    assert (error.status, error.code) == (404, NOT_FOUND)


async def test_two_values_of_a_credential_are_400(site: Site) -> None:
    head = [*site.headers().items(), ("authorization", "Basic a"), ("authorization", "Basic b")]
    sent = [*head, ("content-type", Encoding.PROTOBUF.value)]
    answer = await site.http.post("/v1/traces", headers=sent, content=b"")
    assert error_of(answer).status == 400


async def test_other_endpoints_take_no_key_as_bearer_token(site: Site) -> None:
    for head in (basic("ours", site.key()), {"authorization": f"Bearer {site.key()}"}):
        answer = await site.http.get("/traces", headers={"x-project-name": "ours"} | head)
        assert answer.status_code == 401
