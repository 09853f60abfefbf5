"""The command: the official client over the pipes of a process, and what other commands import."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from entrypoints.processes.dev_supervisor import mcp_line
from tests.entrypoints.mcp.conftest import text_of
from tests.http.conftest import Site
from tests.support.clients.loopback_server import served
from tests.support.waiting import WAIT_MAX_S

ROOT = Path(__file__).parents[3]
PROXY = {"http_proxy": "http://127.0.0.1:1"}  # which isn't asked for an address of this machine


@pytest.fixture
async def url(site: Site) -> AsyncIterator[str]:
    """The address of the service in memory, on a port of this machine."""
    async with served(site.app) as address:
        yield address


def command(tmp_path: Path, **environ: str) -> StdioServerParameters:
    named = {f"PANDAPROBE_{name.upper()}": value for name, value in environ.items()}
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "entrypoints.cli", "mcp"],
        env={"PANDAPROBE_DATA_DIR": str(tmp_path), **PROXY, **named},
        cwd=ROOT,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    # test_http.py and the tests of tools have both.
    [pytest.param("legacy", marks=pytest.mark.exhaustive), "auto"],
)
async def test_official_client_over_stdio(url: str, key: str, mode: str, tmp_path: Path) -> None:
    process = command(tmp_path, endpoint=url, api_key=f"{key}\n", project_name="shop")
    async with Client(process, mode=mode, read_timeout_seconds=WAIT_MAX_S) as client:
        assert len((await client.list_tools()).tools) == 11
        assert "0 traces match" in text_of(await client.call_tool("search_traces", {}))
        assert len((await client.list_prompts()).prompts) == 3


@pytest.mark.slow
async def test_official_client_over_http(url: str, key: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("PANDAPROBE_")
    } | {"PANDAPROBE_DATA_DIR": str(tmp_path), "PANDAPROBE_MCP_PORT": str(port), **PROXY}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "entrypoints.cli", "mcp", "--http", "--url", url),
        cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_MAX_S):
            line = (await process.stdout.readline()).decode()
        assert line == f"MCP at http://127.0.0.1:{port}/mcp, for the API at {url}\n"
        headers = {"authorization": f"Bearer {key}", "x-project-name": "shop"}
        async with httpx2.AsyncClient(headers=headers, timeout=WAIT_MAX_S) as http:
            target = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
            async with Client(target) as client:
                assert "0 traces match" in text_of(await client.call_tool("search_traces", {}))
    finally:
        process.terminate()
        status = await process.wait()
    assert status == 0


@pytest.mark.slow
def test_missing_key_or_extra_is_reported(tmp_path: Path) -> None:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("PANDAPROBE_")
    } | {"PANDAPROBE_DATA_DIR": str(tmp_path)}

    def given_fields(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            check=False, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=WAIT_MAX_S,
        )  # fmt: skip
        return done.returncode, done.stderr

    code, error = given_fields("-m", "entrypoints.cli", "mcp")
    assert (code, "PANDAPROBE_API_KEY and PANDAPROBE_PROJECT_NAME must be set" in error) == (
        1,
        True,
    )
    without = (
        "import sys; sys.modules['mcp'] = None; from entrypoints.cli.main import main; "
        "sys.exit(main(['mcp']))"
    )
    code, error = given_fields("-c", without)
    assert (code, "pip install '.[mcp]'" in error) == (1, True)


def test_dev_prints_a_line_that_a_shell_can_run(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    script = f"claude() {{ printf '%s\\n' \"$@\"; }}; {mcp_line(folder)}"
    done = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
    words = done.stdout.splitlines()
    assert words[:4] == ["mcp", "add", "pandaprobe", "--env"]
    assert words[4] == f"PANDAPROBE_DATA_DIR={folder}"
    assert words[-1] == "mcp"
    assert Path(words[-2]).name == "pandaprobe-server"
