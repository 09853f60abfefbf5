"""The published SDK's wrappers with models that aren't there: which metrics score what they send.

docs/evaluation/metrics.md says what each metric needs, and how to send it. The libraries are
imported where they are used: it takes a second, and every process of `pytest -n` imports this
module.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pandaprobe
import pytest

from tests.e2e.conftest import DevServer
from tests.support.waiting import until_while

pytestmark = pytest.mark.e2e

ASKED = [{"role": "user", "content": "What is the weather in Oslo?"}]
SAID = "It is sunny in Oslo, 21 degrees."
TOOL = {
    "name": "get_weather",
    "description": "finds the weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
METRICS = ("tool_success_rate", "untruncated_rate", "tool_name_validity", "tool_args_schema")
SCORED = dict.fromkeys(METRICS, 1.0)
UNKNOWN_TOOLS = {"tool_name_validity": "no_declared_tools", "tool_args_schema": "no_schemas"}


CHAT = {
    "id": "chat",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": SAID}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
}
MESSAGE = {
    "id": "message",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": SAID}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 12},
}


RESPONSE = {
    "id": "response",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o",
    "status": "completed",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        {
            "type": "function_call",
            "id": "call",
            "call_id": "call",
            "name": "get_weather",
            "arguments": '{"city": "Oslo"}',
            "status": "completed",
        }
    ],
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 21,
    },
}


class OpenAiTransport(httpx.BaseTransport):
    """Answers each kind of request with one response."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = RESPONSE if request.url.path.endswith("/responses") else CHAT
        return httpx.Response(200, json=answer, request=request)


class AnthropicTransport(httpx2.BaseTransport):
    """The same, for the HTTP client that Anthropic's library uses."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=MESSAGE, request=request)


@pandaprobe.span(kind="TOOL", name="get_weather")
def get_weather(city: str) -> dict[str, Any]:
    return {"city": city, "degrees": 21}


def openai_client() -> Any:
    import openai
    from pandaprobe.wrappers.openai import wrap_openai

    transport = httpx.Client(transport=OpenAiTransport())
    return wrap_openai(openai.OpenAI(api_key="k", http_client=transport))


def ask_openai(**more: Any) -> None:
    get_weather(city="Oslo")
    client = openai_client()
    create: Any = client.chat.completions.create
    create(model="gpt-4o", messages=ASKED, tools=[{"type": "function", "function": TOOL}], **more)


def ask_openai_responses() -> None:
    client = openai_client()
    client.responses.create(model="gpt-4o", input=ASKED[0]["content"], max_output_tokens=100)


def ask_anthropic() -> None:
    import anthropic
    from pandaprobe.wrappers.anthropic import wrap_anthropic

    get_weather(city="Oslo")
    client = wrap_anthropic(
        anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=AnthropicTransport()))
    )
    asked: Any = ASKED
    client.messages.create(model="claude-haiku-4-5", messages=asked, max_tokens=100)


@pytest.fixture
def sdk(dev_server: DevServer) -> Iterator[pandaprobe.Client]:
    client = pandaprobe.init(
        api_key=dev_server.environ["PANDAPROBE_API_KEY"],
        project_name=dev_server.environ["PANDAPROBE_PROJECT_NAME"],
        endpoint=dev_server.url,
    )
    yield client
    client.shutdown()


def outcomes(dev_server: DevServer, trace_id: str) -> dict[str, float | str]:
    """Evaluates a trace, and returns the value of each metric, or the code if it is skipped."""
    with dev_server.client() as http:
        order = {"trace_ids": [trace_id], "metrics": METRICS}
        run = http.post("/evaluations/trace-runs/batch", json=order).raise_for_status().json()["id"]
        path = f"/evaluations/trace-runs/{run}"
        until_while(
            dev_server.process,
            lambda: http.get(path).json()["status"],
            is_so=lambda status: status in {"COMPLETED", "FAILED"},
        )
        listed = http.get("/evaluations/trace-scores", params={"eval_run_id": run}).json()["items"]
    return {
        one["name"]: one["metadata"]["code"] if one["value"] is None else float(one["value"])
        for one in listed
    }


@pytest.mark.parametrize(
    ("metadata", "ask", "expected"),
    [
        ({}, ask_openai, SCORED | UNKNOWN_TOOLS | {"untruncated_rate": "no_finish_reasons"}),
        ({}, lambda: ask_openai(max_tokens=100), SCORED | UNKNOWN_TOOLS),
        ({}, lambda: ask_openai(max_tokens=12), SCORED | UNKNOWN_TOOLS | {"untruncated_rate": 0.0}),
        ({"tools": [TOOL]}, lambda: ask_openai(max_tokens=100), SCORED),
        ({"tools": ["get_weather"]}, ask_anthropic, SCORED | {"tool_args_schema": "no_schemas"}),
        ({"tools": [TOOL]}, ask_anthropic, SCORED),
        ({"tools": [TOOL]}, ask_openai_responses, SCORED),
    ],
)
def test_metrics_score_what_the_wrappers_send(sdk, dev_server, metadata, ask, expected):
    sent: list[dict[str, Any]] = []
    asked = {"messages": ASKED}
    with (
        sdk.capture_traces(on_submit=sent.append),
        pandaprobe.start_trace("weather", input=asked, metadata=metadata) as trace,
    ):
        ask()
        trace.set_output({"messages": [{"role": "assistant", "content": SAID}]})
    sdk.flush()
    assert outcomes(dev_server, sent[0]["trace_id"]) == expected
