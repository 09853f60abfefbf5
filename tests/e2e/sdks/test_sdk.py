"""The published SDK, unchanged, against the service: its traces are read back exactly."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandaprobe
import pytest
from pandaprobe.api import PlatformClient
from pandaprobe.api.errors import ApiError

from tests.e2e.conftest import ROOT, serving
from tests.e2e.documentation.test_readme import environ
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e

BURST = 120  # more than twice what a second admits
PROCESSES = """
import contextvars, multiprocessing, os, signal, sys, threading
import pandaprobe

def forked(name, is_prepared):
    if is_prepared:
        pandaprobe.init()
    with pandaprobe.get_client().trace(name):
        pass
    if is_prepared:
        pandaprobe.shutdown()

def in_thread(*call):
    thread = threading.Thread(target=call[0], args=call[1:])
    thread.start()
    thread.join()

@pandaprobe.span(kind="TOOL")
def tool():
    pass

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
client = pandaprobe.init()
with client.trace("threads"):
    in_thread(tool)
    in_thread(contextvars.copy_context().run, tool)
pandaprobe.flush()
for one in [("forked", False), ("forked and prepared", True)]:
    process = multiprocessing.get_context("fork").Process(target=forked, args=one)
    process.start()
    process.join()
with client.trace("terminated"):
    pass
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""


@pytest.fixture
def sdk(dev_server) -> Iterator[pandaprobe.Client]:
    client = pandaprobe.init(
        api_key=dev_server.environ["PANDAPROBE_API_KEY"],
        project_name="sdk",
        endpoint=dev_server.url,
        environment="test",
        release="1.2.3",
    )
    problems: list[Exception] = []
    client.on_error(problems.append)
    yield client
    client.shutdown()
    assert problems == []


@pandaprobe.span(kind="TOOL", name="look-up")
def look_up(order: str) -> dict[str, Any]:
    return {"order": order, "rows": [1, 2.5, None, "ü🐼"], "found": False}


@pandaprobe.span(kind="TOOL", name="carrier")
def carrier(order: str) -> str:
    raise TimeoutError(f"no answer about {order}")


@pandaprobe.span(kind="AGENT", name="assistant")
def assistant(messages: list[dict[str, str]]) -> dict[str, Any]:
    look_up("A-1")
    with pytest.raises(TimeoutError):
        carrier("A-1")
    trace = pandaprobe.tracing.context.get_current_trace()
    with trace.span("chat", kind="LLM", model="gpt-4o") as span:
        span.set_input({"messages": messages})
        span.set_model_parameters({"temperature": 0.0})
        span.set_completion_start_time(datetime.now(UTC))
        span.set_token_usage(prompt_tokens=1000, completion_tokens=100, cache_read_tokens=7)
        answer = {"messages": [{"role": "assistant", "content": "It is on its way."}]}
        span.set_output(answer)
    return answer


@pandaprobe.trace(name="where-is-it", tags=["shop", "prod"], metadata={"a.b": {"c": 0}})
def agent(messages: list[dict[str, str]]) -> dict[str, Any]:
    return assistant(messages)


def trace_agent(sdk: pandaprobe.Client) -> dict[str, Any]:
    """Runs the agent once, and returns what the SDK submitted."""
    sent: list[dict[str, Any]] = []
    with (
        sdk.capture_traces(on_submit=sent.append),
        pandaprobe.session("conv-42"),
        pandaprobe.user("u-7"),
    ):
        agent([{"role": "user", "content": "Where is my order?"}])
    sdk.flush()
    [one] = sent
    return one


def same_instant(ours: str | None, theirs: str | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return datetime.fromisoformat(ours) == datetime.fromisoformat(theirs)


def test_sdk_trace_is_read_back_exactly(sdk, dev_server):
    sent = trace_agent(sdk)
    headers = dev_server.headers | {"X-Project-Name": "sdk"}
    with dev_server.client(**headers) as http:
        found = http.get(f"/traces/{sent['trace_id']}").raise_for_status().json()
        [listed] = http.get("/traces", params={"session_id": "conv-42"}).json()["items"]
    for name in ("name", "status", "input", "output", "metadata", "session_id", "user_id", "tags"):
        assert found[name] == sent[name], name
    assert (found["environment"], found["release"]) == ("test", "1.2.3")
    spans = {span["span_id"]: span for span in found["spans"]}
    assert len(spans) == len(sent["spans"]) == 4
    times = {"started_at", "ended_at", "completion_start_time"}
    for one in sent["spans"]:
        for name, value in one.items():
            stored = spans[one["span_id"]][name]
            assert same_instant(stored, value) if name in times else stored == value, name
    by_name = {span["name"]: span for span in found["spans"]}
    assert by_name["carrier"]["status"] == "ERROR"
    assert by_name["carrier"]["error"] == "no answer about A-1"
    assert by_name["assistant"]["parent_span_id"] is None
    for child in ("look-up", "carrier", "chat"):
        assert by_name[child]["parent_span_id"] == by_name["assistant"]["span_id"]
    assert by_name["chat"]["token_usage"]["cache_read_tokens"] == 7
    assert by_name["chat"]["cost"] == {"total": 0.0035}
    assert by_name["chat"]["cost_source"] == "table"
    assert (listed["trace_id"], listed["span_count"]) == (sent["trace_id"], 4)
    assert (listed["total_tokens"], listed["total_cost"]) == (1100, 0.0035)


def test_burst_of_traces_arrives_completely(sdk, dev_server):
    with pandaprobe.session("burst"):
        for _ in range(60):
            agent([{"role": "user", "content": "again"}])
    sdk.flush()
    headers = dev_server.headers | {"X-Project-Name": "sdk"}
    with dev_server.client(**headers) as http:
        page = http.get("/traces", params={"session_id": "burst", "limit": 200}).json()
    assert page["total"] == len(page["items"]) == 60
    assert {item["span_count"] for item in page["items"]} == {4}


@pytest.fixture
def limited_url(dev_server) -> Iterator[str]:
    """A second API process of the server, for 50 traces per second, fewer than the SDK sends."""
    limits = {
        "PANDAPROBE_RATE_LIMIT_ENABLED": "on",
        "PANDAPROBE_RATE_LIMIT_INGEST": "50/second",
    }
    with serving(dev_server, **limits) as url:
        yield url


@pytest.mark.exhaustive  # tests/http has the limit, and when its answer says to come back
def test_burst_beyond_rate_limit_arrives_completely(limited_url, dev_server):
    client = pandaprobe.Client(
        api_key=dev_server.environ["PANDAPROBE_API_KEY"],
        project_name="burst",
        endpoint=limited_url,
    )
    problems: list[Exception] = []
    client.on_error(problems.append)
    for number in range(BURST):
        with client.trace(f"run {number}"):
            pass
    client.flush(timeout=WAIT_MAX_S)
    client.shutdown()
    assert problems == []
    headers = dev_server.headers | {"X-Project-Name": "burst"}
    with dev_server.client(**headers) as http:
        assert http.get("/traces").json()["total"] == BURST
        one = {"name": "one", "started_at": "2026-03-01"}
        spent = http.post(f"{limited_url}/traces", json=one)
    assert spent.headers["ratelimit-limit"] == "50"


@pytest.mark.exhaustive  # only another version of the SDK can break it
def test_processes_and_threads_send_what_the_guide_says(dev_server):
    """docs/guide/traces.md#from-python says what is lost, and what helps."""
    subprocess.run(
        [sys.executable, "-c", PROCESSES],
        env=environ() | dev_server.environ | {"PANDAPROBE_PROJECT_NAME": "processes"},
        cwd=ROOT,
        timeout=WAIT_MAX_S,
        check=True,
    )
    with dev_server.client(**dev_server.headers | {"X-Project-Name": "processes"}) as http:
        items = http.get("/traces").raise_for_status().json()["items"]
    found = sorted((one["name"], one["span_count"]) for one in items)
    assert found == [("forked and prepared", 0), ("terminated", 0), ("threads", 1)]


def test_score_sent_right_after_trace_is_stored(sdk, dev_server):
    sent = trace_agent(sdk)
    pandaprobe.score(sent["trace_id"], "thumbs", "1", reason="👍", metadata={"a.b": 0})
    sdk.flush()
    headers = dev_server.headers | {"X-Project-Name": "sdk"}
    with dev_server.client(**headers) as http:
        [score] = http.get(f"/evaluations/trace-scores/{sent['trace_id']}").json()
    assert (score["name"], score["value"], score["status"]) == ("thumbs", "1", "SUCCESS")
    assert (score["source"], score["data_type"]) == ("PROGRAMMATIC", "NUMERIC")
    assert (score["reason"], score["metadata"]) == ("👍", {"a.b": 0})


async def test_sdk_evaluates_its_traces(sdk):
    sent = trace_agent(sdk)
    metrics = ["tool_success_rate", "task_completion"]
    async with PlatformClient(sdk) as platform:
        known = {one.name for one in await platform.evaluations.metrics()}
        assert set(metrics) <= known
        trace = await platform.traces.wait_visible(sent["trace_id"])
        run = await platform.evaluations.create([trace.trace_id], metrics, name="from the SDK")
        found = await platform.evaluations.wait(
            run.id, trace_ids=[trace.trace_id], metrics=metrics, timeout=WAIT_MAX_S
        )
        assert found.run.status == "COMPLETED"
        assert {one.name: one.eval_run_id for one in found.scores} == dict.fromkeys(metrics, run.id)
        with pytest.raises(ApiError) as refused:
            await platform.evaluations.create([trace.trace_id], ["loop_detection"])
    assert refused.value.status_code == 422
