"""Texts that try to run, to load or to look like something else, and what a page must not have."""

import json
from datetime import timedelta

from playwright.sync_api import Page

from tests.e2e.dashboard.dashboard_project import START, span

MARKUP = (
    '<img src="https://elsewhere.test/a" onerror="hit=1"><script>hit=1</script><svg onload=hit=1>'
    "[a](javascript:hit=1) ![b](https://elsewhere.test/b) [c](data:text/html,<script>hit=1</script>"
    ") [d](https://elsewhere.test) {{hit=1}}"
)
# Overrides of direction, an isolate that isn't closed, characters without a width.
INVISIBLE = "safe\u202egpj.exe\u2067 a\u200bb\u200dc\u2060d\ufeffe"
TEXTS = {"markup": MARKUP, "invisible": INVISIBLE}
# Whatever could run or load something, except the files of the dashboard itself.
DANGEROUS = """() => [...document.querySelectorAll("*")].filter((one) =>
  ["IFRAME", "OBJECT", "EMBED", "BASE", "META", "STYLE", "IMG"].includes(one.tagName)
    && !one.matches("head > meta[charset], head > meta[name]")
  || one.tagName === "FORM" && one.hasAttribute("action") // forms of the dashboard send nothing
  || one.tagName === "SCRIPT" && !new URL(one.src, "http://none").pathname.startsWith("/app/assets/")
  || [...one.attributes].some((attribute) => attribute.name.startsWith("on"))
  || one.tagName === "A" && !/^(https?|mailto):$/.test(one.protocol)
  || one.tagName === "A" && one.host !== location.host && !/noreferrer/.test(one.rel)
).map((one) => one.outerHTML.slice(0, 200))"""


def hostile_trace(text: str) -> dict[str, object]:
    """A trace in which every field that is shown contains the text."""
    ids = [span(number)["span_id"] for number in (1, 2)]
    times = {
        "started_at": START.isoformat(),
        "ended_at": (START + timedelta(seconds=1)).isoformat(),
    }
    call = span(
        1, kind="LLM", status="ERROR", name=text, model=text, error=text, metadata={text: text}
    )
    parts = [
        {"type": "text", "text": f"# {text}\n\n- {text}\n\n> {text}\n\n|{text}|\n|-|\n|{text}|"},
        {"type": "image_url", "image_url": {"url": "https://elsewhere.test/i.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg onload=hit=1>"}},
        {"type": "thinking", "thinking": text},
    ]
    use = {"id": text, "function": {"name": text, "arguments": json.dumps({text: text})}}
    call |= {
        "input": {"messages": [{"role": one, "content": text} for one in ("system", text)]},
        "output": {"role": "assistant", "content": parts, "tool_calls": [use]},
        "model_parameters": {text: text},
        "token_usage": {text: 1},
    }
    tool = span(2, name=text, parent_span_id=ids[0], input=text, output={text: [text]})
    labels = dict.fromkeys(("name", "user_id", "session_id", "environment", "release"), text)
    return labels | times | {
        "status": "ERROR", "tags": [text], "metadata": {text: text, "tenant": "<b>north"},
        "input": f"# {text}", "output": {"answer": text}, "spans": [call, tool],
    }  # fmt: skip


def assert_harmless(page: Page) -> None:
    assert page.evaluate("globalThis.hit") is None
    assert page.evaluate(DANGEROUS) == []
