"""The access log: one line per request, without secrets, which callers can't forge."""

import io
import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import Unavailable
from entrypoints.observability.logs import ConsoleLines, JsonLines
from tests.http.conftest import TOKEN, Site, a_span, a_trace
from tests.support.hypothesis_scale import scaled

BEARER = {"authorization": f"Bearer {TOKEN}"}
CANARY = "canary7f3c"
# Characters that end a line, move a terminal's cursor, or change the text direction.
HOSTILE = "\n\r\x00\x0b\x0c\x1b[2J\x1c\x1d\x1e\x7f\x85\x9b\u2028\u2029\u202e\ud800"


class Written:
    """Captures the log of a process in both formats, from DEBUG on."""

    def __init__(self) -> None:
        self.streams = {form: io.StringIO() for form in (JsonLines, ConsoleLines)}
        self.handlers = []
        for form, stream in self.streams.items():
            handler = logging.StreamHandler(stream)
            handler.setFormatter(form())
            self.handlers.append(handler)

    @property
    def text(self) -> str:
        return "".join(stream.getvalue() for stream in self.streams.values())

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        found = map(json.loads, self.streams[JsonLines].getvalue().split("\n")[:-1])
        return [one for one in found if one["logger"] == "pandaprobe.requests"]


@pytest.fixture
def written() -> Iterator[Written]:
    root, found = logging.getLogger(), Written()
    level, quiet = root.level, logging.getLogger("httpx").level
    root.setLevel(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # of the client, not of the service
    for handler in found.handlers:
        root.addHandler(handler)
    yield found
    for handler in found.handlers:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(quiet)


async def test_line_has_caller_route_status_and_duration(site: Site, written: Written) -> None:
    head = site.headers()
    [key] = site.store.keys
    await site.http.get(f"/traces/{uuid.uuid4()}", headers=head | {"x-request-id": "r1"})
    [line] = written.lines()
    [project] = site.store.projects
    duration = line.pop("duration_ms")
    assert isinstance(duration, float)
    assert 0 < duration < 60_000
    assert {name: line[name] for name in line if name not in {"time", "logger", "message"}} == {
        "level": "INFO",
        "request_id": "r1",
        "method": "GET",
        "route": "/traces/{trace_id}",
        "status": 404,
        "organization_id": str(site.organization),
        "project_id": str(project),
        "key_id": str(key),
    }


async def test_project_that_is_not_stored_is_not_logged(site: Site, written: Written) -> None:
    head = site.headers(project="mistyped")
    assert (await site.http.get("/traces?limit=0", headers=head)).status_code == 422
    [line] = written.lines()
    assert line["organization_id"] == str(site.organization)
    assert "project_id" not in line


async def test_person_is_logged_by_user_id(site: Site, written: Written) -> None:
    await site.http.get("/me", headers=BEARER)
    [(organization, user)] = site.store.memberships
    await site.http.get(f"/organizations/{organization}", headers=BEARER)
    await site.http.get("/organizations/no-id", headers=BEARER)
    me, one, none = written.lines()
    assert [line["user_id"] for line in (me, one, none)] == [str(user)] * 3
    assert one["organization_id"] == str(organization)
    assert "organization_id" not in {**me, **none}
    assert [line["route"] for line in (me, one)] == ["/me", "/organizations/{org_id}"]


@pytest.mark.parametrize(
    ("method", "path", "status", "level", "route"),
    [
        ("GET", "/", 200, "INFO", "/"),
        ("GET", "/docs", 200, "INFO", "/docs"),
        ("GET", "/health", 200, "DEBUG", "/health"),
        ("GET", "/traces", 401, "INFO", "/traces"),
        ("GET", f"/{CANARY}", 404, "INFO", "-"),
        ("PUT", "/traces", 405, "INFO", "-"),
        (CANARY.upper(), "/traces", 405, "INFO", "-"),
    ],
)
async def test_every_response_has_one_line(
    site: Site, written: Written, method: str, path: str, status: int, level: str, route: str
) -> None:
    answer = await site.http.request(method, path)
    [line] = written.lines()
    assert (line["status"], line["level"], line["route"]) == (status, level, route)
    assert answer.headers["x-request-id"] == line["request_id"]
    assert CANARY not in written.text.lower()


async def test_accepted_traces_are_logged_at_debug(site: Site, written: Written) -> None:
    await site.http.post("/traces", headers=site.headers(), json=a_trace())
    [line] = written.lines()
    assert (line["status"], line["level"], line["route"]) == (202, "DEBUG", "/traces")


class Down:
    async def detail(self, *_: Any) -> None:
        raise Unavailable("The database is down") from OSError("connection refused\n{}")


async def test_server_errors_are_logged_as_warnings(written: Written) -> None:
    site = Site(swapped={"traces": Down()})
    async with site.http:
        await site.http.get(f"/traces/{uuid.uuid4()}", headers=site.headers())
    [line] = written.lines()
    assert (line["status"], line["level"]) == (503, "WARNING")


async def test_secrets_payloads_and_names_are_never_logged(site: Site, written: Written) -> None:
    span = a_span(**dict.fromkeys(("name", "model", "error", "input", "output"), CANARY))
    trace = a_trace(**dict.fromkeys(("name", "session_id", "user_id", "input"), CANARY))
    trace |= {"tags": [CANARY], "metadata": {CANARY: CANARY}, "spans": [span]}
    head = site.headers(project=CANARY)
    said = dict.fromkeys(("user-agent", "x-forwarded-for", "cookie", "referer"), CANARY)
    good = await site.http.post("/traces", headers=head | said, json=trace)
    assert good.status_code == 202
    bad = [
        {"x-api-key": CANARY, "x-project-name": CANARY},
        {"authorization": f"Bearer {CANARY}", "x-project-id": CANARY},
        BEARER | {"x-project-id": CANARY, "x-organization-id": CANARY},
        head | {"content-type": CANARY},
        head | {"content-encoding": CANARY},
        head | {"idempotency-key": CANARY},
    ]
    paths = [f"/traces?name={CANARY}&limit={CANARY}", f"/traces/{CANARY}", f"/sessions/{CANARY}"]
    for one in (*bad, head, BEARER):
        for path in (*paths, f"/organizations/{CANARY}", f"/{CANARY}"):
            await site.http.get(path, headers=one)
        for body in (trace, {**trace, "status": CANARY}, {"name": CANARY}, CANARY):
            await site.http.post("/traces", headers=one, json=body)
        await site.http.post("/traces", headers=one, content=f'{{"{CANARY}'.encode())
        await site.http.post("/organizations", headers=one, json={"name": CANARY})
        exchange = {"code": CANARY, "code_verifier": CANARY}
        await site.http.post("/cli/auth/exchange", headers=one, json=exchange)
    assert len(written.lines()) > 80
    assert CANARY not in written.text
    assert head["x-api-key"] not in written.text
    assert TOKEN not in written.text


class Faulty:
    """Fails for a trace with a message that quotes it, as libraries do."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    async def put(self, _project: Any, trace: Any) -> None:
        cause = KeyError(self.secret)
        cause.add_note(str(trace))
        raise ExceptionGroup(f"{trace}", [ValueError(trace.input)]) from cause

    async def detail(self, *_: Any) -> None:
        raise Unavailable("The database is away") from RuntimeError(f"{CANARY} {self.secret}")


async def test_fault_is_logged_with_its_place_and_without_values(written: Written) -> None:
    faulty = Faulty("")
    site = Site(swapped={"traces": faulty})
    async with site.http:
        head = site.headers()
        faulty.secret = head["x-api-key"]
        body = a_trace(**dict.fromkeys(("name", "session_id", "input", "output"), CANARY))
        stored = await site.http.post("/traces", headers=head, json=body)
        read = await site.http.get(f"/traces/{uuid.uuid4()}", headers=head)
    assert [stored.status_code, read.status_code] == [500, 503]
    for text in (stored.text, read.text, written.text):
        assert CANARY not in text
        assert head["x-api-key"] not in text
    assert "Unexpected fault in request" in written.text
    assert "ExceptionGroup" in written.text
    assert "in put" in written.text
    assert "The database is away (RuntimeError)" in written.text


def formed(form: type[logging.Formatter], message: str, value: str, *, fault: bool) -> str:
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": message})
    record.said = value
    if fault:
        record.exc_info = (ValueError, ValueError(value), None)
    return form().format(record)


hostile = st.text(st.sampled_from(HOSTILE) | st.characters(), max_size=20)


@given(message=hostile, value=hostile, fault=st.booleans())
def test_message_cannot_forge_a_line(message: str, value: str, fault: bool) -> None:
    line = formed(JsonLines, message, value, fault=fault)
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert line.isprintable()
    assert (json.loads(line)["message"], json.loads(line)["said"]) == (message, value)
    first, *more = formed(ConsoleLines, message, value, fault=fault).split("\n")
    assert first.isprintable()
    assert all(one.isprintable() and one.startswith("    ") for one in more)
    assert bool(more) is fault


def test_value_cannot_forge_fields() -> None:
    line = formed(ConsoleLines, "x", "a user_id=b", fault=False)
    assert line.endswith('x said="a user_id=b"')


@settings(max_examples=scaled(30), suppress_health_check=list(HealthCheck))
@given(word=st.text(st.sampled_from('\n\r\x1b[2J\x85\x9b ={}"') | st.characters(codec="latin-1")))
async def test_header_or_path_cannot_forge_a_line(site: Site, written: Written, word: str) -> None:
    said = word.encode("latin-1")
    before = len(written.text.splitlines())
    for name in (b"x-request-id", b"x-api-key", b"user-agent", b"x-project-name"):
        await site.http.get("/traces", headers={name: said})
    await site.http.get("/sessions/" + "".join(f"%{byte:02x}" for byte in said or b"x"))
    assert len(written.text.splitlines()) == before + 10  # in two formats
