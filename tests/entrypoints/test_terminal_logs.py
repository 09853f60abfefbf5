"""Logs on a terminal, which is a pty here, and elsewhere."""

import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.observability.logs import TerminalLines

ROOT = Path(__file__).parents[2]
LOG_ONE_LINE = """
import logging, os
from entrypoints.observability import logs
from entrypoints.settings import read_settings
logs.configure(read_settings(os.environ))
logging.getLogger("pandaprobe.worker").warning("stopped: %s", "\\x1b[31mred")
"""
REQUEST = {
    "request_id": "ea50d049-ef99-416b-be7a-b2768e83517c",
    "method": "GET",
    "route": "/traces/{trace_id}",
    "status": 200,
    "duration_ms": 37.381,
    "organization_id": "b02099fd-9d1d-4fcc-811a-f44b79e8837a",
    "project_id": "3d5fb3e2-62ef-4157-85ed-65eb7022b0c4",
}


def environ(**settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | settings


def on_terminal(**settings: str) -> str:
    """What a terminal gets that is the standard error of a process."""
    ours, its = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", LOG_ONE_LINE],
            stdin=subprocess.DEVNULL,
            stderr=its,
            env=environ(**settings),
        )
        os.close(its)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    finally:
        os.close(ours)
    return shown.decode()


def in_pipe(**settings: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", LOG_ONE_LINE],
        stderr=subprocess.PIPE,
        env=environ(**settings),
        text=True,
        check=True,
    ).stderr


@pytest.mark.parametrize("form", ["auto", "console"])
def test_lines_have_colours_on_a_terminal(form):
    shown = on_terminal(PANDAPROBE_LOG_FORMAT=form)
    assert "\x1b[33mWARNING\x1b[0m" in shown
    assert r"stopped: \x1b[31mred" in shown  # of a message, no control character is shown


def test_lines_have_no_colours_if_these_are_unwanted():
    shown = on_terminal(NO_COLOR="1")
    assert "\x1b" not in shown
    assert r"WARNING worker stopped: \x1b[31mred" in shown


def test_json_is_written_if_it_is_asked_for():
    assert json.loads(on_terminal(PANDAPROBE_LOG_FORMAT="json"))["level"] == "WARNING"


def test_lines_are_json_in_a_pipe():
    assert json.loads(in_pipe())["message"] == "stopped: \x1b[31mred"


def test_lines_for_reading_have_no_colours_in_a_pipe():
    assert "\x1b" not in in_pipe(PANDAPROBE_LOG_FORMAT="console")


def formatted(name: str, message: str, **extra: object) -> str:
    record = logging.makeLogRecord({"name": name, "levelname": "INFO", "msg": message, **extra})
    record.created = 1_700_000_000
    return TerminalLines(lambda text, _: text).format(record)


def test_request_is_short():
    assert formatted("pandaprobe.requests", "request", **REQUEST) == (
        "22:13:20 INFO    200 GET /traces/{trace_id} 37 ms request_id=ea50d049"
    )


def test_other_lines_keep_their_fields_and_shorten_ids():
    line = formatted("uvicorn.error", "Started", run_id=REQUEST["request_id"], count=3)
    assert line == "22:13:20 INFO    uvicorn Started run_id=ea50d049 count=3"


@pytest.mark.parametrize("status", [0, 404, 503, None])
def test_every_status_is_shown(status):
    line = formatted("pandaprobe.requests", "request", **(REQUEST | {"status": status}))
    assert f" {status} GET " in line
