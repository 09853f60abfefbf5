"""Bodies of writes, mutated: each is refused as documented, or reads back as it was sent.

In memory and in PostgreSQL, which may refuse values of its own.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.http.conftest import Site, a_trace
from tests.support.builders.strategies import hard_objects, hard_texts, objects, payloads
from tests.support.clients.contract_checks import operations
from tests.support.hypothesis_scale import scaled

EXAMPLES = 400  # of a test
DEPTH_MAX = 10_000
TRACE_ID, SPAN_ID = ("5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10", "0d6c2c2e-3b55-4a35-9f0b-55b0a8a0c001")
# Each member as JSON text: the spelling is fuzzed, not the value.
TRACE = {
    "trace_id": f'"{TRACE_ID}"',
    "name": '"answer"',
    "started_at": '"2026-03-01T09:00:00Z"',
    "ended_at": "1772355601.5",
    "status": '"RUNNING"',
    "input": '{"messages":[{"content":"hi"}]}',
    "output": "1.0",
    "metadata": '{"a":{"b":[1,null]}}',
    "session_id": '"conv/42"',
    "user_id": '"u"',
    "tags": '["b","a","b"]',
    "environment": '""',
    "release": "null",
}
SPAN = {
    "span_id": f'"{SPAN_ID}"',
    "parent_span_id": "null",
    "name": '"chat"',
    "kind": '"LLM"',
    "status": '"OK"',
    "started_at": '"2026-03-01"',
    "ended_at": '"2026-03-01 09:00:00"',
    "input": "[]",
    "output": '"x"',
    "model": '"unlisted"',
    "token_usage": '{"prompt_tokens":12,"total_tokens":"x"}',
    "model_parameters": '{"temperature":0.10}',
    "metadata": "{}",
    "cost": '{"total":"0.1"}',
    "error": "null",
    "completion_start_time": "null",
}
# Fields that are returned as sent; times and costs have several spellings.
PLAIN = ("name", "input", "output", "metadata")
OF_TRACE = (*PLAIN, "status", "session_id", "user_id", "tags", "environment", "release")
OF_SPAN = (*PLAIN, "kind", "status", "model", "error", "token_usage", "model_parameters")

ODD = [
    *("null", "true", "0", "-0", "-0.0", "1.0", "1E+2", "1e400", "-1e-400", "5e-324", "0.1"),
    *("12345678901234567890", "9" * 400, "-" + "9" * 5000, "1." + "3" * 400, "2e10", "20000000001"),
    *("NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x1", "tru", "'a'", "undefined", ""),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\udc3c"', '"\\x"'),
    *('"a\\u0000"', '"\u202e\u2028"', '"\U0010ffff"', '"\ufeff"', '"\x7f"', '"\x01"', '"a\nb"'),
    *('"' + "a" * size + '"' for size in (255, 256, 512, 513, 70_000)),
    *("[]", "{}", "[null]", "[[]]", '{"":""}', '{"a":1,"a":2}', '{"\\u0000":1}', '{"\\ud800":1}'),
    *('{"total":null}', '{"total":"1e3"}', '{"total":1e309}', '{"total":"NaN"}', '{"a":true}'),
    *(
        '"2026-02-30"',
        '"0000-01-01"',
        '"9999-12-31T23:59:59-14:00"',
        '"1e3"',
        '"-1"',
        "-62135596801",
    ),
    *('"ERROR"', '"error"', f'"{{{TRACE_ID}}}"', f'"urn:uuid:{SPAN_ID}"', f'"{TRACE_ID.upper()}"'),
    *("[" + ",".join('"t"' for _ in range(size)) + "]" for size in (100, 101)),
]
values = (
    st.sampled_from(ODD)
    | (payloads | objects | hard_objects).map(bytes.decode)
    | (st.text(st.characters(codec="utf-8"), max_size=20) | hard_texts).map(json.dumps)
    | st.integers().map(str)
    | st.floats().map(json.dumps)
)
type Pairs = list[tuple[str, str]]


@st.composite
def objects_like(draw: st.DrawFn, good: dict[str, str]) -> Pairs:
    """The members of a valid object; some with other values, unknown, missing or twice."""
    members = list(good.items())
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from([*good, *good, "unknown", "", "\\u0000", "\\ud800"]))
        place = draw(st.integers(0, len(members)))
        match draw(st.sampled_from(["other", "other", "twice", "gone"])):
            case "gone":
                members = [pair for pair in members if pair[0] != name]
            case "twice":
                members.insert(place, (name, draw(values)))
            case _:
                kept = [pair for pair in members if pair[0] != name]
                members = [*kept, (name, draw(values))]
    return members


def text_of(members: Pairs) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """The text, mostly unchanged; or truncated, with an insertion, or with a deletion."""
    data = text.encode(errors="surrogatepass")
    at = draw(st.integers(0, len(data)))
    match draw(st.sampled_from(["whole"] * 6 + ["cut", "inserted", "removed"])):
        case "cut":
            return data[:at]
        case "inserted":
            return data[:at] + draw(st.binary(min_size=1, max_size=3)) + data[at:]
        case "removed":
            return data[:at] + data[at + draw(st.integers(1, 4)) :]
    return data


@st.composite
def traces(draw: st.DrawFn) -> bytes:
    spans = draw(values) if draw(st.integers(0, 9)) == 0 else None
    span = text_of(draw(objects_like(SPAN)))
    members = [*draw(objects_like(TRACE)), ("spans", f"[{span}]" if spans is None else spans)]
    return draw(damaged(text_of(members)))


def meaning(data: bytes) -> Any:
    """JSON as values that distinguish integers from fractions and keep every digit."""
    return json.loads(
        data,
        parse_int=lambda digits: ("integer", Decimal(digits)),
        parse_float=lambda digits: ("fraction", Decimal(digits)),
    )


def expected(sent: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The expected read of a sent trace; a missing status has a default of its own."""
    unsaid: dict[str, Any] = {"metadata": {}, "tags": []}
    defaults = {"status", "kind"} - sent.keys()
    return {name: sent.get(name, unsaid.get(name)) for name in names if name not in defaults}


def check_read(sent: dict[str, Any], read: dict[str, Any]) -> None:
    of_trace = expected(sent, OF_TRACE)
    assert {name: read[name] for name in of_trace} == of_trace
    spans = sent.get("spans", [])
    assert len(read["spans"]) == len(spans)
    if len(spans) == 1:
        of_span = expected(spans[0], OF_SPAN)
        assert {name: read["spans"][0][name] for name in of_span} == of_span


@pytest.fixture(scope="module")
async def documented(memory_site: Site) -> dict[tuple[str, str], set[int]]:
    memory_site.begin()
    async with memory_site.http:
        document = (await memory_site.http.get("/openapi.json")).json()
    return {
        key: {*map(int, reported["responses"])} for key, reported in operations(document).items()
    }


async def stored(site: Site, head: dict[str, str]) -> int:
    """How many traces the project of `head` has."""
    page = (await site.http.get("/traces", headers=head)).json()
    return int(page["total"])


def check_refused(answer: httpx.Response, statuses: set[int]) -> None:
    assert answer.status_code in statuses
    assert answer.status_code < 500
    body = answer.json()
    assert body["detail"]
    if answer.status_code == 422:
        assert body["errors"]
    assert "errors" not in body or answer.status_code == 422


def fuzzed(test: Any) -> Any:
    return settings(max_examples=scaled(EXAMPLES), suppress_health_check=list(HealthCheck))(test)


GOOD = text_of([*TRACE.items(), ("spans", f"[{text_of(list(SPAN.items()))}]")]).encode()


@fuzzed
@given(body=traces(), in_batch=st.booleans())
@example(body=GOOD, in_batch=False)
@example(body=GOOD, in_batch=True)
async def test_trace_is_refused_or_read_back_as_sent(
    storage_site: Site, documented: Any, body: bytes, in_batch: bool
) -> None:
    storage_site.begin()
    head = storage_site.headers()
    path = "/traces/batch" if in_batch else "/traces"
    content = b'{"traces":[' + body + b"]}" if in_batch else body
    async with storage_site.http:
        answer = await storage_site.http.post(path, headers=head, content=content)
        assert body != GOOD or answer.status_code == 202
        if answer.status_code != 202:
            check_refused(answer, documented["post", path])
            assert await stored(storage_site, head) == 0
            return
        answer_body = answer.json()
        accepted = answer_body["accepted"] if in_batch else [answer_body]
        assert await stored(storage_site, head) == len({one["trace_id"] for one in accepted})
        if len(accepted) == 1:
            read = await storage_site.http.get(f"/traces/{accepted[0]['trace_id']}", headers=head)
            assert read.status_code == 200
            sent = meaning(content)
            check_read(sent["traces"][0] if in_batch else sent, meaning(read.content))


@fuzzed
@given(data=st.data())
async def test_other_writes_are_refused_as_documented_or_applied(
    storage_site: Site, documented: Any, data: st.DataObject
) -> None:
    span = text_of(data.draw(objects_like(SPAN)))
    change = text_of(data.draw(objects_like(TRACE)))
    ids, tags = data.draw(values), data.draw(values)
    method, path, text = data.draw(
        st.sampled_from(
            [
                ("post", "/traces/{trace_id}/spans", f"[{span}]"),
                ("patch", "/traces/{trace_id}", change),
                ("patch", "/traces/{trace_id}/spans/{span_id}", span),
                ("post", "/traces/batch/tags", f'{{"trace_ids":["{TRACE_ID}"],"add_tags":{tags}}}'),
                ("post", "/traces/batch/delete", f'{{"trace_ids":{ids}}}'),
            ]
        )
    )
    content = data.draw(damaged(text))
    storage_site.begin()
    head = storage_site.headers()
    async with storage_site.http:
        sent = a_trace(trace_id=TRACE_ID, spans=[a_trace(span_id=SPAN_ID)])
        await storage_site.http.post("/traces", headers=head, json=sent)
        before = await storage_site.http.get(f"/traces/{TRACE_ID}", headers=head)
        place = path.format(trace_id=TRACE_ID, span_id=SPAN_ID)
        answer = await storage_site.http.request(method, place, headers=head, content=content)
        if answer.is_success:
            assert answer.status_code in documented[method, path]
        else:
            check_refused(answer, documented[method, path])
        read = await storage_site.http.get(f"/traces/{TRACE_ID}", headers=head)
        assert read.status_code in {200, 404}
        assert answer.is_success or read.json() == before.json()


@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
@pytest.mark.parametrize("field", ["input", "metadata", "name", "spans", "unknown"])
@settings(max_examples=scaled(15), suppress_health_check=list(HealthCheck))
@given(depth=st.integers(1, 200) | st.integers(1, DEPTH_MAX), cut=st.booleans())
async def test_nesting_is_stored_or_refused(
    storage_site: Site, documented: Any, field: str, brackets: str, depth: int, cut: bool
) -> None:
    deep = brackets[:-1] * depth + ("1" if ":" in brackets else "") + brackets[-1] * (depth - cut)
    if field == "metadata":
        deep = f'{{"m":{deep}}}'
    said = {name: value for name, value in TRACE.items() if name != field} | {field: deep}
    storage_site.begin()
    head = storage_site.headers()
    async with storage_site.http:
        content = text_of(list(said.items()))
        answer = await storage_site.http.post("/traces", headers=head, content=content)
        if answer.status_code != 202:
            check_refused(answer, documented["post", "/traces"])
            assert cut or depth > 128 or field in {"name", "spans"}
            return
        read = await storage_site.http.get(f"/traces/{TRACE_ID}", headers=head)
        assert read.status_code == 200
        assert field == "unknown" or f'"{field}":{deep}' in read.text
