"""Runs docs/tracing/opentelemetry.md.

Each program sends to a running service what the page promises.

The models are those of tests/support/fakes/chat_models.py. Programs that need more than
OpenTelemetry's SDK run in .venv-otel (`make otel-tests`), and only in `make test-all`.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.e2e.conftest import DevServer
from tests.e2e.documentation.test_readme import environ
from tests.support.fakes.chat_models import (
    ANSWER,
    ANTHROPIC_USAGE,
    OPENAI_USAGE,
    PLACE,
    Usage,
    chat_models,
)
from tests.support.waiting import WAIT_MAX_S, wait_a_moment

pytestmark = pytest.mark.e2e

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs/tracing/opentelemetry.md").read_text()
OTEL: Final = ROOT / ".venv-otel"
PROJECT: Final = "my-agents"  # of the page
QUESTION: Final = "Where is my order?"
NOT_A_SETTING: Final = ("pip ", "npm ", "claude")  # commands of the page that no test runs
AGENT_WITH_TOOL: Final = Counter(LLM=2, AGENT=1, TOOL=1)


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the page: in which section, in which language, the how many-th in it."""

    section: str
    language: str = "python"
    number: int = 0

    @property
    def code(self) -> str:
        return blocks(self.section, self.language)[self.number]

    @property
    def project(self) -> str:
        return re.sub(r"\W+", "-", f"{self.section} {self.number}").lower()

    @property
    def is_installed(self) -> bool:
        return (OTEL / "js" if self.language == "js" else OTEL / "bin/python").exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What becomes of a program's calls. `kinds` has the kinds that the page speaks of."""

    name: str
    kinds: Counter[str]
    usages: list[Usage]  # of the model calls that count
    session: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    duplicates: int = 0
    question: str = PLACE
    answer: str = ANSWER


LIVE: Final = {
    Program("OpenAI and Anthropic"): Stored(
        name="weather",
        kinds=Counter(LLM=3, OTHER=1),
        usages=[OPENAI_USAGE, ANTHROPIC_USAGE],
        duplicates=1,  # Anthropic's SDK reports its calls, too
    ),
    Program("LangChain and LangGraph"): Stored(
        name="invoke_agent weather_agent",
        kinds=AGENT_WITH_TOOL,
        usages=[OPENAI_USAGE] * 2,
        session="conv-langchain",
    ),
    Program("OpenAI Agents"): Stored(
        name="Agent workflow",
        kinds=AGENT_WITH_TOOL + Counter(AGENT=1),  # the workflow is one, too
        usages=[OPENAI_USAGE] * 2,
    ),
    Program("Pydantic AI and Logfire"): Stored(
        name="invoke_agent weather_agent",
        kinds=AGENT_WITH_TOOL,
        usages=[OPENAI_USAGE] * 2,
        session="conv-pydantic",
    ),
    Program("Pydantic AI and Logfire", number=1): Stored(
        name="invoke_agent logfire_agent", kinds=Counter(LLM=1, AGENT=1), usages=[OPENAI_USAGE]
    ),
    Program("Vercel AI SDK", "js"): Stored(
        name="invoke_agent gpt-4o", kinds=Counter(LLM=1, AGENT=1), usages=[OPENAI_USAGE]
    ),
    Program("Strands Agents"): Stored(
        name="invoke_agent strands_agent",
        kinds=AGENT_WITH_TOOL,
        usages=[OPENAI_USAGE] * 2,
        session="conv-strands",
        user="u-1",
    ),
    Program("Langfuse"): Stored(
        name="langfuse_agent",
        kinds=Counter(LLM=1, AGENT=1),
        usages=[OPENAI_USAGE],
        session="conv-langfuse",
        user="u-1",
        tags=("docs",),
    ),
}
PYTHON: Final = Program("Python, without a framework")
STORED_PYTHON: Final = Stored(
    name="invoke_agent support",
    kinds=Counter(LLM=1, AGENT=1),
    usages=[Usage(input=1000, output=100, cache_read=0)],
    session="conv-42",
    question=QUESTION,
    answer="On its way.",
)
# Their packages exclude those of LIVE; tests/adapters/otlp maps what the first two have sent, and
# single attributes of MLflow.
NOT_RUN: Final = {Program("Google ADK"), Program("CrewAI"), Program("MLflow")}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)


def settings_of(title: str) -> str:
    """The shell commands of a section, without those that install or start something else."""
    lines = "".join(blocks(title, "sh")).splitlines()
    return "\n".join(line for line in lines if not line.startswith(NOT_A_SETTING))


@pytest.fixture(scope="module")
def models_url() -> Iterator[str]:
    with chat_models() as url:
        yield url


def run(
    program: Program, command: list[str], dev: DevServer, models_url: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a command after the shell commands of the page, in a project of its own."""
    settings = f"{settings_of('Connect')}\n{settings_of(program.section)}"
    script = settings.replace(".local/", f"{dev.folder}/").replace(PROJECT, program.project)
    models = {
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{models_url}/v1",
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": models_url,
    }
    done = subprocess.run(
        ["sh", "-c", f'set -e\n{script}\nexec "$@"', "sh", *command],
        env={**environ(), **models},
        cwd=dev.folder,
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def stored_trace(program: Program, dev: DevServer) -> Mapping[str, Any]:
    headers = {**dev.headers, "X-Project-Name": program.project}
    with httpx.Client(base_url=dev.url, headers=headers, timeout=WAIT_MAX_S) as http:
        [listed] = http.get("/traces").json()["items"]
        trace = http.get(f"/traces/{listed['trace_id']}").json()
    return listed | trace


def assert_stored(trace: Mapping[str, Any], expected: Stored) -> None:
    assert (trace["name"], trace["status"]) == (expected.name, "COMPLETED")
    assert (trace["session_id"], trace["user_id"]) == (expected.session, expected.user)
    assert trace["tags"] == list(expected.tags)
    spans = trace["spans"]
    kinds = Counter(span["kind"] for span in spans)
    assert {kind: kinds[kind] for kind in expected.kinds} == expected.kinds
    assert "ERROR" not in {span["status"] for span in spans}
    roles = [span["metadata"]["otel"].get("usage_role") for span in spans]
    assert roles.count("duplicate") == expected.duplicates
    assert trace["total_tokens"] == sum(one.input + one.output for one in expected.usages)
    assert trace["total_cost"] > 0
    assert expected.question in str(trace["input"])
    assert expected.answer in str(trace["output"])
    calls = [
        span
        for span, role in zip(spans, roles, strict=True)
        if span["kind"] in {"LLM", "TOOL"} and role is None
    ]
    for span in calls:
        assert span["input"], span["name"]
        assert span["output"], span["name"]
    cached = [(span["token_usage"] or {}).get("cache_read_tokens", 0) for span in calls]
    assert sum(cached) == sum(one.cache_read for one in expected.usages)


def test_program_without_framework_works(dev_server: DevServer) -> None:
    done = run(PYTHON, [sys.executable, "-c", PYTHON.code], dev_server)
    assert done.stderr == ""  # exporters only log what they couldn't send
    trace = stored_trace(PYTHON, dev_server)
    assert_stored(trace, STORED_PYTHON)
    assert trace["metadata"]["otel"]["service"] == "support-bot"


def test_rejections_are_read_as_written(dev_server: DevServer) -> None:
    program = Program("Rejections")
    head = {**dev_server.headers, "X-Project-Name": program.project}
    with dev_server.client(**head) as http:
        bad = {"traceId": "1" * 32, "spanId": "1" * 16, "name": "without a start"}
        good = {**bad, "spanId": "2" * 16, "startTimeUnixNano": "1772355600000000000"}
        spans = {"resourceSpans": [{"scopeSpans": [{"spans": [bad, good]}]}]}
        assert http.post("/v1/traces", json=spans).status_code == 200
        deadline = time.monotonic() + WAIT_MAX_S
        while not http.get("/ingest/rejections").json()["items"]:
            assert time.monotonic() < deadline
            wait_a_moment(dev_server.process)
    done = run(program, ["true"], dev_server)
    assert '"reason":"no_start_time"' in done.stdout


@pytest.mark.exhaustive
@pytest.mark.parametrize("program", LIVE, ids=lambda program: program.project)
def test_framework_works_as_written(
    dev_server: DevServer, models_url: str, program: Program
) -> None:
    if not program.is_installed:
        pytest.skip(f"{program.section}: not installed; make otel-tests installs it")
    if program.language == "python":
        command = [str(OTEL / "bin/python"), "-c", program.code]
    else:
        script = OTEL / "js" / f"{os.getpid()}.mjs"  # where Node finds the packages
        script.write_text(program.code)
        command = ["node", str(script)]
    run(program, command, dev_server, models_url)
    assert_stored(stored_trace(program, dev_server), LIVE[program])


def test_every_program_is_run_or_named() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    programs = {
        Program(title, language, number)
        for title in titles
        for language in ("python", "js")
        for number in range(len(blocks(title, language)))
    }
    assert programs == {*LIVE, *NOT_RUN, PYTHON}


def test_collector_configuration_is_complete() -> None:
    [text] = blocks("Collector", "yaml")
    config = yaml.safe_load(text)
    used = set()
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            used |= {(kind, name) for name in pipeline[kind]}
    assert used == {
        (kind, name) for kind in ("receivers", "processors", "exporters") for name in config[kind]
    }
    assert config["service"]["extensions"] == list(config["extensions"])
    queue = config["exporters"]["otlphttp"]["sending_queue"]
    assert queue["storage"] in config["extensions"]
