"""The published TypeScript SDK, unchanged, against the service, as docs/quickstart.md shows it.

`make otel-tests` installs the package; without it the tests are skipped.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import DevServer
from tests.support.waiting import WAIT_MAX_S

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = ROOT / ".venv-otel/js"
NODE: Final = shutil.which("node")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        NODE is None or not (PACKAGES / "node_modules/pandaprobe").exists(),
        reason="the TypeScript SDK isn't installed: `make otel-tests`, with npm",
    ),
]

QUICKSTART: Final = (ROOT / "docs/quickstart.md").read_text()
# What the page says of this version: nested traces, sibling spans, and spans without a trace.
NESTED: Final = """
import { flush, withSpan, withTrace } from "pandaprobe";
await withTrace("outer", {}, () =>
  withTrace("inner", {}, () =>
    Promise.all(["one", "two"].map((name) => withSpan(name, {}, async () => name)))));
await withSpan("alone", {}, async () => "never sent");
await withTrace("failing", {}, () =>
  withSpan("bad", {}, async () => { throw new Error("no answer"); })).catch(() => {});
await flush();
"""


def run(program: str, project: str, dev_server: DevServer) -> list[dict[str, Any]]:
    """Runs a module in a project of its own; the traces that are stored then, the oldest first."""
    sdk = dev_server.environ | {"PANDAPROBE_PROJECT_NAME": project}
    done = subprocess.run(
        [str(NODE), "--input-type=module", "--eval", program],
        env=os.environ | sdk,
        cwd=PACKAGES,
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    head = dev_server.headers | {"X-Project-Name": project}
    with dev_server.client(**head) as http:
        page = http.get("/traces", params={"sort_by": "started_at", "sort_order": "asc"}).json()
        return [http.get(f"/traces/{one['trace_id']}").json() for one in page["items"]]


def test_nested_spans_arrive_as_one_trace(dev_server):
    [program] = re.findall(r"^```js\n(.*?)^```$", QUICKSTART, re.MULTILINE | re.DOTALL)
    [trace] = run(program, "typescript", dev_server)
    assert (trace["name"], trace["status"]) == ("assistant", "COMPLETED")
    assert trace["session_id"] == "conversation-1"
    assert trace["output"]["messages"][0]["content"] == "It is on its way."
    spans = {one["name"]: one for one in trace["spans"]}
    assert set(spans) == {"chat", "look-up"}
    assert spans["chat"]["parent_span_id"] is None
    assert spans["look-up"]["parent_span_id"] == spans["chat"]["span_id"]
    assert (spans["chat"]["kind"], spans["chat"]["model"]) == ("LLM", "gpt-4o")
    assert spans["chat"]["token_usage"]["prompt_tokens"] == 1000
    assert spans["look-up"]["output"] == {"found": True}


def test_traces_within_traces_and_spans_alone_are_as_the_page_says(dev_server):
    traces = run(NESTED, "typescript-nested", dev_server)
    by_name = {one["name"]: one for one in traces}
    assert len(traces) == len(by_name) == 3
    spans = {name: sorted(span["name"] for span in one["spans"]) for name, one in by_name.items()}
    assert spans == {"outer": [], "inner": ["one", "two"], "failing": ["bad"]}
    assert by_name["failing"]["status"] == "ERROR"
    assert by_name["failing"]["spans"][0]["error"] == "no answer"
