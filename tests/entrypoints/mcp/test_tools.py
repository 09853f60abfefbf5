"""The tools by the official client, over the service in memory: what they find, and what fails."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.otlp_traces import MemoryOtlpTraces
from adapters.pricing.genai_prices import GenaiPriceBook
from domain.evaluation.evidence.redaction import RedactionMode
from domain.identity.api_key import Scope
from entrypoints.composition.otlp_rules import fragment_rules
from entrypoints.mcp import http_server
from entrypoints.mcp.answer import TOKENS_DEFAULT, TOKENS_MAX, TOKENS_MIN
from entrypoints.mcp.confirmations import CONFIRM_S
from entrypoints.mcp.prompts import PROMPTS
from entrypoints.mcp.server import TOOL_S, mcp_server, toolbox
from entrypoints.mcp.service_client import ANSWER_BYTES_MAX, Credential, ServiceClient, ToolError
from entrypoints.mcp.token_count import count_tokens
from entrypoints.mcp.tools import BY_NAME, TOOLS, Caller, Toolbox, call
from tests.entrypoints.mcp.conftest import NOW, SERVICE, Connect, error_of, text_of
from tests.http.conftest import Site, a_span, a_trace
from tests.support.clients.otlp_corpus import Program

PAGE = (Path(__file__).parents[3] / "docs/mcp.md").read_text()
GOOD, BAD, SPAN, KEY = (str(uuid.UUID(int=n)) for n in (11, 12, 13, 14))
READERS = [tool.name for tool in TOOLS if tool.is_read_only]
WRITERS = ["run_evaluation", "label"]


@pytest.fixture
async def stored(site: Site, key: str) -> str:
    """The secret of the key whose project has two runs, one of which failed."""
    head = {"x-api-key": key, "x-project-name": "shop"}
    for id_, failed in ((GOOD, False), (BAD, True)):
        root = str(uuid.uuid4())
        call = {"status": "ERROR", "error": "HTTP 503 from weather.test"} if failed else {}
        spans = [
            a_span(span_id=root, name="agent", kind="AGENT", ended_at="2026-03-01T09:00:04Z"),
            a_span(
                span_id=SPAN, parent_span_id=root, name="weather", kind="TOOL",
                started_at="2026-03-01T09:00:01Z", ended_at="2026-03-01T09:00:02Z",
                input={"arguments": {"city": "Rome"}}, output={"sky": "clear"}, **call,
            ),
        ]  # fmt: skip
        body = a_trace(
            trace_id=id_, name="assistant", session_id="talk/1", release="2.0", spans=spans,
            status="ERROR" if failed else "COMPLETED", input="What is the weather?", output="Sunny",
            ended_at="2026-03-01T09:00:04Z",
        )  # fmt: skip
        answer = await site.http.post("/traces", headers=head, json=body)
        assert answer.status_code == 202
    return key


async def test_readers_see_nine_tools_and_evaluators_eleven(connect: Connect) -> None:
    async with connect() as client:
        found = (await client.list_tools()).tools
    assert [tool.name for tool in found] == [*READERS, *WRITERS]
    for tool in found:
        hints = tool.annotations
        assert hints is not None
        assert hints.read_only_hint is (tool.name in READERS)
        assert hints.destructive_hint is False
        assert tool.input_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
    for scopes, names in (
        ([Scope.READ], READERS),
        ([Scope.EVALUATE], ["run_evaluation"]),
        ([Scope.INGEST], ["label"]),
    ):
        async with connect(*scopes) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == names


async def test_a_failing_step_is_found_in_two_calls(connect: Connect, stored: str) -> None:
    async with connect(secret=stored) as client:
        listed = text_of(await client.call_tool("search_traces", {"has_error": True}))
        assert "1 trace matches" in listed
        assert BAD in listed
        assert GOOD not in listed
        shown = text_of(await client.call_tool("get_trace", {"trace_id": BAD, "focus": "errors"}))
    assert "failed steps, innermost first: s1.1" in shown
    assert "| HTTP 503 from weather.test" in shown
    assert '"city":"Rome"' in shown
    assert f"the same by REST: GET /traces/{BAD}" in shown


async def test_words_are_found_in_texts(connect: Connect, stored: str) -> None:
    async with connect(secret=stored) as client:
        asked = {"query": '"HTTP 503" weath*'}
        found = text_of(await client.call_tool("search_traces", asked))
        assert "1 trace matches" in found
        assert BAD in found
        assert f"error of {SPAN}" in found
        newest = text_of(await client.call_tool("search_traces", {"query": "weather", "limit": 1}))
        assert "at least 2 traces match" in newest
        assert "an earlier started_before" in newest
        refused = await client.call_tool("search_traces", {"query": "x*"})
        assert "at least 3" in error_of(refused)


async def test_other_views(connect: Connect, stored: str) -> None:
    async with connect(secret=stored) as client:

        async def asked(name: str, **arguments: Any) -> str:
            return text_of(await client.call_tool(name, arguments))

        by_label = await asked("get_step", trace_id=BAD, step="s1.1")
        assert by_label.startswith(f"step s1.1 of trace {BAD}: TOOL, ERROR, 1000 ms")
        assert '| {"sky":"clear"}' in by_label
        by_id = await asked("get_step", trace_id=BAD, step=SPAN, part="input")
        assert "input, characters from 0 of" in by_id
        session = await asked("get_session", session_id="talk/1")
        assert "session of 2 turns" in session
        assert "| What is the weather?" in session
        assert "GET /sessions/talk%2F1/turns" in session
        compared = await asked("compare_traces", a=GOOD, b=BAD)
        assert "steps: 1 the same, 1 changed, 0 of a missing in b, 0 added in b" in compared
        assert 'changed (status, error): TOOL "weather"' in compared
        assert "b s1.1 ERROR 1000 ms" in compared


@pytest.mark.parametrize("session", [".", ".."])
async def test_session_whose_id_looks_like_a_step_in_a_path_is_read(
    connect: Connect, site: Site, session: str
) -> None:
    key = site.key(Scope.INGEST, Scope.READ)
    head = {"x-api-key": key, "x-project-name": "shop"}
    sent = a_trace(session_id=session)
    assert (await site.http.post("/traces", headers=head, json=sent)).status_code == 202
    async with connect(secret=key) as client:
        found = text_of(await client.call_tool("get_session", {"session_id": session}))
    assert "session of 1 turn;" in found


@pytest.mark.parametrize("scope", Scope)
async def test_key_with_the_scopes_of_a_tool_may_use_it(
    connect: Connect, site: Site, stored: str, scope: Scope
) -> None:
    arguments = {
        "run_evaluation": {"metrics": ["task_completion"], "trace_ids": [BAD]},
        "label": {"trace_id": BAD, "name": "polite", "value": "0.25"},
        "get_trace": {"trace_id": BAD},
    }
    async with connect(secret=site.key(scope)) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        for name, given in arguments.items():
            result = await client.call_tool(name, given)
            is_refused = result.is_error and "(403)" in error_of(result)
            assert is_refused is (name not in listed), result.content


async def test_scores_are_stored_once_and_explained(connect: Connect, stored: str) -> None:
    said = {"trace_id": BAD, "name": "polite", "value": "0.25", "reason": "curt", "step": "s1"}
    async with connect(secret=stored) as client:
        first = text_of(await client.call_tool("label", {**said, "step": None}))
        again = text_of(await client.call_tool("label", {**said, "step": None}))
        assert first == again
        assert "PROGRAMMATIC" in first
        text_of(await client.call_tool("label", said))
        reported = text_of(await client.call_tool("explain_score", {"trace_id": BAD}))
        assert reported.startswith(f"1 score of trace {BAD}")
        assert '"polite": "0.25", scored, PROGRAMMATIC' in reported
        assert "reason:\n| curt" in reported
        of_step = {"trace_id": BAD, "step": "s1"}
        text_of(await client.call_tool("label", {**said, "value": "0.75"}))
        reported = text_of(await client.call_tool("explain_score", of_step))
        assert reported.startswith(f"1 score of step s1 of trace {BAD}")
        assert '"polite": "0.75", scored, PROGRAMMATIC' in reported
        by_id = {**of_step, "step": str(uuid.UUID(int=1))}
        none = text_of(await client.call_tool("explain_score", by_id))
        assert f"step {by_id['step']} of trace {BAD} has no such score" in none
        none = text_of(await client.call_tool("explain_score", {**of_step, "step": "s1.1"}))
        assert f"step s1.1 of trace {BAD} has no such score" in none
        none = text_of(await client.call_tool("explain_score", {"trace_id": BAD, "name": "other"}))
        assert "has no such score" in none


async def test_label_that_is_given_again_later_is_stored_again(box: Toolbox, stored: str) -> None:
    scores = []
    for minutes, value in ((0, "0.2"), (10, "0.8"), (20, "0.2")):
        now = NOW + timedelta(minutes=minutes)
        caller = Caller(replace(box, now=lambda now=now: now), Credential(stored, "shop"))
        said = {"trace_id": BAD, "name": "polite", "value": value}
        await call(BY_NAME["label"], said, caller)
        reported = await call(BY_NAME["explain_score"], {"trace_id": BAD}, caller)
        scores.append(re.findall(r'"polite": "(.*?)"', reported))
    assert scores == [["0.2"], ["0.8"], ["0.2"]]


async def test_a_period_is_set_against_the_one_before(box: Toolbox, stored: str) -> None:
    caller = Caller(replace(box, now=lambda: NOW), Credential(stored, "shop"))
    answer = await call(BY_NAME["summarize"], {}, caller)
    assert answer.startswith(
        "period 2026-03-01T00:00:00Z to 2026-03-08T00:00:00Z, against 2026-02-22T00:00:00Z"
    )
    assert "traces: 2, before 0" in answer
    assert "failed traces: 1 of 2 (50 %), before none of 0" in answer
    assert "mean latency: 4000 ms, before unknown (of 2 traces with a latency)" in answer
    assert 'search_traces(status="ERROR", started_after="2026-03-01T00:00:00Z", ' in answer
    assert 'started_before="2026-03-08T00:00:00Z")' in answer
    hourly = {"started_after": "2026-03-07T00:00:00Z", "topic": "latency"}
    latencies = await call(BY_NAME["summarize"], hourly, caller)
    note = "(approximate: mean of those of the hours, weighted by traces)"
    assert latencies.count(note) == len(("median", "p90", "p99"))
    one = await call(BY_NAME["summarize"], {"topic": "scores"}, caller)
    assert "no scores in this period" in one
    zoned = {
        "started_after": "2026-03-01T02:00:00+02:00", "started_before": "2026-03-08T02:00:00+02:00"
    }  # fmt: skip
    assert await call(BY_NAME["summarize"], zoned, caller) == answer


@pytest.mark.parametrize(
    ("tool", "period"),
    [
        ("list_errors", {"started_before": "0001-01-03T00:00:00Z"}),
        ("analyze_steps", {"started_before": "9999-12-31T23:00:00-05:00"}),
        (
            "summarize",
            {"started_after": "0001-01-01T00:00:00Z", "started_before": "0001-01-05T00:00:00Z"},
        ),
        ("search_traces", {"started_after": "0001-01-01T00:00:00+05:00"}),
    ],
)
async def test_instants_outside_of_all_years_are_refused(
    box: Toolbox, stored: str, tool: str, period: dict[str, str]
) -> None:
    with pytest.raises(ToolError, match=r"year 1|no time"):
        await call(BY_NAME[tool], period, Caller(box, Credential(stored, "shop")))


async def test_steps_and_their_errors(box: Toolbox, stored: str) -> None:
    caller = Caller(replace(box, now=lambda: NOW), Credential(stored, "shop"))
    by_name = await call(BY_NAME["analyze_steps"], {"kind": "TOOL"}, caller)
    assert by_name.startswith(
        "steps from 2026-03-01T00:00:00Z to 2026-03-08T00:00:00Z: 2, 1 failed (50.00%)"
    )
    assert '"weather": 2, 1 failed (50.00%), p50 ' in by_name
    assert "groups by name: 1\nshown: 1\n" in by_name
    by_error = await call(
        BY_NAME["analyze_steps"], {"group_by": "error", "interval": "day"}, caller
    )
    assert 'from weather.test": 1, 1 failed' in by_error, by_error
    first = await call(BY_NAME["analyze_steps"], {"limit": 1, "sort_by": "error_rate"}, caller)
    assert "left out: 1 group (of 2, 0 failed" in first
    errors = await call(BY_NAME["list_errors"], {"is_new": True}, caller)
    assert "2026-03-08T00:00:00Z: 1\nshown: 1 from offset 0" in errors
    assert "1 failed step, first 2026-03-01T09:00:01Z" in errors
    assert ", new in this period" in errors
    assert f'newest {SPAN} "weather" of trace {BAD}' in errors
    none = await call(BY_NAME["list_errors"], {"is_new": False}, caller)
    assert "shown: 0 from offset 0" in none
    with pytest.raises(ToolError, match="before started_before"):
        await call(BY_NAME["list_errors"], {"started_after": NOW.isoformat()}, caller)


# --- runs --------------------------------------------------------------------------------------


def confirmation(estimate: str) -> str:
    [found] = re.findall(r'confirm="([^"]+)"', estimate)
    return str(found)


RUN = {"metrics": ["task_completion"], "trace_ids": [BAD], "model": "heuristic/1"}


async def test_a_run_starts_only_when_it_is_confirmed(
    site: Site, connect: Connect, stored: str
) -> None:
    async with connect(secret=stored) as client:
        estimate = text_of(await client.call_tool("run_evaluation", RUN))
        assert "nothing has run yet" in estimate
        assert site.store.runs == {}
        confirmed = {**RUN, "confirm": confirmation(estimate)}
        first = text_of(await client.call_tool("run_evaluation", confirmed))
        again = text_of(await client.call_tool("run_evaluation", confirmed))
    assert first == again
    [(_, run)] = site.store.runs
    assert first.startswith(f"run {run}: ")


@pytest.mark.parametrize(
    "change",
    [
        {"trace_ids": [GOOD]},
        {"trace_ids": [BAD, GOOD]},
        {"metrics": ["tool_correctness"]},
        {"model": "openai/gpt-5"},
        {"trace_ids": [], "session_ids": ["talk/1"]},
        {"max_cost_usd": 0.01},
    ],
)
async def test_a_confirmation_is_for_one_run(
    site: Site, box: Toolbox, stored: str, change: dict[str, Any]
) -> None:
    caller = Caller(box, Credential(stored, "shop"))
    id_ = confirmation(await call(BY_NAME["run_evaluation"], RUN, caller))
    with pytest.raises(ToolError, match="not for a run with these arguments"):
        await call(BY_NAME["run_evaluation"], {**RUN, **change, "confirm": id_}, caller)
    made, _, _ = id_.partition(":")
    for forged in (f"{made}:9", f"f{id_}", "0-0:", "", " ", "ÿ:", id_[:-2], id_.upper()):
        with pytest.raises(ToolError):
            await call(BY_NAME["run_evaluation"], {**RUN, "confirm": forged}, caller)
    for other in (Credential(site.key(), "shop"), Credential(stored, "elsewhere")):
        with pytest.raises(ToolError, match="not for a run"):
            await call(
                BY_NAME["run_evaluation"],
                {**RUN, "confirm": id_},
                replace(caller, credential=other),
            )
    assert site.store.runs == {}


async def test_a_confirmation_expires(site: Site, box: Toolbox, stored: str) -> None:
    credential = Credential(stored, "shop")
    then = Caller(replace(box, now=lambda: NOW), credential)
    id_ = confirmation(await call(BY_NAME["run_evaluation"], RUN, then))
    late = Caller(replace(box, now=lambda: NOW + timedelta(seconds=601)), credential)
    with pytest.raises(ToolError, match="expired after 10 minutes"):
        await call(BY_NAME["run_evaluation"], {**RUN, "confirm": id_}, late)
    assert site.store.runs == {}


# --- what can go wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("get_trace", {"trace_id": KEY}, "no such thing: check the id"),
        ("get_trace", {"trace_id": "x"}, "invalid arguments"),
        ("get_trace", {"trace_id": BAD, "focus": "s7"}, "has no step"),
        ("get_trace", {"trace_id": BAD, "max_tokens": 999}, "max_tokens"),
        ("get_trace", {"trace_id": BAD, "max_tokens": 20_001}, "max_tokens"),
        ("get_trace", {"trace_id": BAD, "tokens": 1}, "get_trace takes trace_id, focus"),
        ("get_step", {"trace_id": BAD, "step": "s1.9"}, "has no step"),
        ("get_step", {"trace_id": BAD, "step": KEY}, "no such thing"),
        ("get_session", {"session_id": "unknown"}, "no such thing"),
        ("compare_traces", {"a": GOOD, "b": KEY}, "no such thing"),
        ("explain_score", {}, "either trace_id or session_id"),
        ("explain_score", {"session_id": "a", "step": "s1"}, "the trace_id of the step"),
        ("summarize", {"started_after": "2026-03-02", "started_before": "2026-03-01"}, "invalid"),
        ("summarize", {"started_after": "2024-03-02T00:00:00Z"}, "at most 366 days"),
        ("run_evaluation", {"metrics": ["m"]}, "either trace_ids or session_ids"),
        ("run_evaluation", {"metrics": ["unknown"], "trace_ids": [BAD]}, "these arguments (422)"),
        ("label", {"trace_id": BAD, "name": "n", "value": "much"}, "these arguments (422)"),
    ],
)
async def test_errors_say_what_to_change(
    box: Toolbox, stored: str, name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolError) as problem:
        await call(BY_NAME[name], arguments, Caller(box, Credential(stored, "shop")))
    assert said in str(problem.value)
    assert count_tokens(str(problem.value)) < 400


async def test_unknown_tools_and_prompts_are_refused(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError, match="no such tool"):
            await client.call_tool("delete_trace", {})
        with pytest.raises(MCPError, match="no such prompt"):
            await client.get_prompt("x")
        with pytest.raises(MCPError, match="takes trace_id"):
            await client.get_prompt("why_did_this_fail")


async def test_refused_key_is_reported(connect: Connect) -> None:
    async with connect(secret=f"pp_{'0' * 64}") as client:
        with pytest.raises(MCPError, match="refused the key"):
            await client.list_tools()
        answer = await client.call_tool("search_traces", {})
    assert "refused the key or token (401)" in error_of(answer)


async def test_another_project_shows_nothing_of_this_one(box: Toolbox, stored: str) -> None:
    caller = Caller(box, Credential(stored, "another"))
    assert (await call(BY_NAME["search_traces"], {}, caller)).startswith("0 traces match")
    with pytest.raises(ToolError, match="no such thing"):
        await call(BY_NAME["get_trace"], {"trace_id": BAD}, caller)


@asynccontextmanager
async def answering(handler: Any) -> AsyncIterator[Caller]:
    """A caller of a service that answers as `handler` does."""
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as http:
        box = toolbox(ServiceClient(http, SERVICE), RedactionMode.SECRETS)
        yield Caller(box, Credential("pp_x", "shop"))


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (lambda _: httpx2.Response(429, headers={"retry-after": "17"}), "wait 17 seconds"),
        (lambda _: httpx2.Response(503), "can't answer now (503)"),
        (lambda _: httpx2.Response(403, json={"detail": "no\n scope"}), 'It says: "no scope"'),
        (lambda _: httpx2.Response(200, text="<html>"), "not that of a PandaProbe service"),
        (lambda _: httpx2.Response(200, content=b"\xff{}"), "not that of a PandaProbe service"),
        (lambda _: _raise(httpx2.ConnectError("refused")), "can't be reached"),
        (lambda _: _raise(httpx2.ReadTimeout("slow")), "did not answer in time"),
    ],
)
async def test_a_service_that_fails_gives_useful_errors(handler: Any, said: str) -> None:
    async with answering(handler) as caller:
        with pytest.raises(ToolError) as problem:
            await call(BY_NAME["get_trace"], {"trace_id": BAD}, caller)
    assert said in str(problem.value)


async def test_a_slow_service_ends_the_call(mode: str) -> None:
    async def wait(_: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with answering(wait) as caller:
        server = mcp_server(caller.box, lambda _: caller.credential, "1", tool_s=0.02)
        async with Client(server, mode=mode) as client:
            answer = await client.call_tool("search_traces", {})
    assert "search_traces took longer than" in error_of(answer)


async def test_too_large_traces_are_read_without_payloads(site: Site, stored: str) -> None:
    big = httpx2.Response(200, content=b'{"a":"' + b"x" * (65 << 20) + b'"}')
    real = httpx2.ASGITransport(site.app)

    class Large(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path == f"/traces/{BAD}":
                return big
            return await real.handle_async_request(request)

    async with httpx2.AsyncClient(transport=Large()) as http:
        box = toolbox(ServiceClient(http, SERVICE), RedactionMode.SECRETS)
        answer = await call(
            BY_NAME["get_trace"], {"trace_id": BAD}, Caller(box, Credential(stored, "shop"))
        )
    assert "its payloads are too large to read at once" in answer
    assert "failed steps, innermost first: s1.1" in answer
    assert 's1.1 TOOL "weather" ERROR 1000 ms' in answer


async def test_prompts_name_only_tools_that_exist(connect: Connect) -> None:
    given = {"trace_id": BAD, "release": "2.0", "since": "2026-03-01T00:00:00Z"}
    async with connect() as client:
        prompts = (await client.list_prompts()).prompts
        assert len(prompts) == 3
        for prompt in prompts:
            arguments = {one.name: given[one.name] for one in prompt.arguments or []}
            [message] = (await client.get_prompt(prompt.name, arguments)).messages
            named = set(re.findall(r"\b([a-z]+_[a-z]+|summarize)\(", message.content.text))
            assert named <= BY_NAME.keys()
            assert len(named) > 1
            for argument in arguments.values():
                assert argument in message.content.text


def test_the_page_has_each_tool_prompt_and_limit() -> None:
    for tool in TOOLS:
        [scope] = tool.scopes
        assert re.search(rf"^\| `{tool.name}` \|[^|]+\| {scope} \|$", PAGE, re.MULTILINE)
    for prompt in PROMPTS:
        assert f"`{prompt.name}`" in PAGE
    for limit in (
        f"{TOKENS_DEFAULT:,} by default, {TOKENS_MIN:,} to {TOKENS_MAX:,}",
        f"| body of a request | {http_server.BODY_BYTES_MAX >> 10} KiB |",
        f"| requests at a time | {http_server.REQUESTS_MAX}; others get 503 |",
        f"| time of a request, of a tool | {http_server.REQUEST_S:.0f} s, {TOOL_S:.0f} s |",
        f"that a tool reads | {ANSWER_BYTES_MAX >> 20} MiB;",
        f"| {http_server.KNOWN_MAX:,}, for {http_server.KNOWN_S:.0f} s |",
    ):
        assert limit in PAGE
    assert CONFIRM_S == 600
    assert "within ten\nminutes" in PAGE


def test_configurations_of_the_page_are_json() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        named = json.loads(block)
        assert "pandaprobe" in (named.get("mcpServers") or named["servers"])


# --- the OTLP corpus ---------------------------------------------------------------------------


@pytest.mark.parametrize("program", Program.all(), ids=lambda one: one.name)
async def test_traces_of_instrumentations_keep_their_budget(program: Program) -> None:
    store = MemoryStore()
    otlp = MemoryOtlpTraces(store, GenaiPriceBook(), fragment_rules())
    site = Site(store=store, swapped={"otlp": otlp})
    key = site.key()
    async with site.http:
        for request in program.as_sent():
            assert (await request.send(site.http, key, "shop")).status_code == 200
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(site.app)) as http:
        box = toolbox(ServiceClient(http, SERVICE), RedactionMode.SECRETS)
        caller = Caller(box, Credential(key, "shop"))
        listed = await call(BY_NAME["search_traces"], {"max_tokens": 20_000}, caller)
        for trace in re.findall(r"^([0-9a-f-]{36}) ", listed, re.MULTILINE):
            for focus in (None, "errors", "tools", "cost", "s1"):
                for tokens in (1_000, 4_000):
                    arguments = {"trace_id": trace, "focus": focus, "max_tokens": tokens}
                    answer = await call(BY_NAME["get_trace"], arguments, caller)
                    assert count_tokens(answer) <= tokens
            assert "step s1 of" in await call(
                BY_NAME["get_step"], {"trace_id": trace, "step": "s1"}, caller
            )
