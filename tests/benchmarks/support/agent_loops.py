"""Traces of agents that work in steps and send the whole conversation with each, deterministic.

The texts are sources and documentation of the standard library, as tools of a coding agent return
them: ordinary English and code, of which nothing is repeated but by the conversation itself.
"""

import inspect
import json
import random
import textwrap
import uuid
from datetime import timedelta
from importlib import import_module
from typing import Final

from tests.benchmarks.support.bodies import START

MODULES: Final = (
    *("argparse", "ast", "asyncio.tasks", "bisect", "calendar", "cmd", "codecs", "configparser"),
    *("csv", "dataclasses", "datetime", "difflib", "doctest", "email.message", "enum", "fractions"),
    *("ftplib", "functools", "gettext", "heapq", "http.client", "imaplib", "inspect", "ipaddress"),
    *("locale", "logging", "mailbox", "mimetypes", "optparse", "os", "pathlib", "pdb", "pickle"),
    *("plistlib", "poplib", "pprint", "queue", "random", "sched", "shelve", "shlex", "shutil"),
    *("smtplib", "socket", "ssl", "statistics", "string", "subprocess", "tarfile", "tempfile"),
    *("textwrap", "threading", "timeit", "tokenize", "trace", "typing", "unittest.case", "uuid"),
    *("warnings", "weakref", "webbrowser", "zipfile"),
)
SYSTEM: Final = textwrap.dedent(inspect.getdoc(import_module("unittest.case").TestCase) or "")
TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": (inspect.getdoc(import_module(module)) or "")[:300],
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
        },
    }
    for name, module in (("read", "tokenize"), ("search", "difflib"), ("run", "subprocess"))
]


def loop_body(random_: random.Random, steps: int) -> bytes:
    """Returns a trace of `steps` model calls, each followed by a tool call. 15 steps: 200 kB."""
    request = f"Please look at {random_.choice(MODULES)} and tell me why the tests fail."
    messages: list[dict[str, object]] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": request},
    ]
    root = _id(random_)
    spans: list[dict[str, object]] = [
        {"span_id": root, "name": "agent", "kind": "AGENT", "status": "OK", **_times(0),
         "input": {"request": request}}
    ]  # fmt: skip
    for step in range(steps):
        call = {"name": random_.choice(("read", "search", "run")),
                "arguments": json.dumps({"path": random_.choice(MODULES)})}  # fmt: skip
        answer: dict[str, object] = {
            "role": "assistant",
            "content": _text(random_, 250),
            "tool_calls": [{"id": f"call_{_id(random_)[:24]}", "function": call}],
        }
        prompt = sum(len(str(one["content"])) for one in messages) // 4
        spans.append(
            {
                "span_id": _id(random_), "parent_span_id": root, "name": "chat", "kind": "LLM",
                "status": "OK", **_times(2 * step), "model": "gpt-4o",
                "model_parameters": {"temperature": 0.2, "max_tokens": 4096},
                "token_usage": {"prompt_tokens": prompt, "completion_tokens": 90,
                                "total_tokens": prompt + 90},
                "metadata": {"step": step},
                "input": {"messages": list(messages), "tools": TOOLS},
                "output": answer,
            }
        )  # fmt: skip
        result = _text(random_, random_.randrange(400, 1_400))
        spans.append(
            {
                "span_id": _id(random_), "parent_span_id": root, "name": call["name"],
                "kind": "TOOL", "status": "OK", **_times(2 * step + 1),
                "metadata": {"step": step}, "input": call, "output": {"result": result},
            }
        )  # fmt: skip
        messages += [answer, {"role": "tool", "content": result}]
    return json.dumps(
        {
            "trace_id": _id(random_), "name": "fix-tests", "status": "COMPLETED", **_times(0),
            "session_id": f"conv-{random_.randrange(10_000)}",
            "user_id": f"u-{random_.randrange(1_000)}",
            "tags": ["prod"], "environment": "production", "release": "1.4.0",
            "metadata": {"sdk": "bench"},
            "input": {"messages": messages[:2]}, "output": messages[-1],
            "spans": spans,
        }
    ).encode()  # fmt: skip


def _times(at_s: int) -> dict[str, str]:
    start = START + timedelta(seconds=at_s)
    return {
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(milliseconds=700)).isoformat(),
    }


def _text(random_: random.Random, size: int) -> str:
    source = inspect.getsource(import_module(random_.choice(MODULES)))
    start = random_.randrange(max(1, len(source) - size))
    return source[start : start + size]


def _id(random_: random.Random) -> str:
    return str(uuid.UUID(int=random_.getrandbits(128), version=4))
