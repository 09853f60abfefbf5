"""What agents and users wrote may be hostile: nothing of it runs, loads, hangs or gets lost."""

import hashlib
import json
import re
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import DevServer
from tests.e2e.dashboard.dashboard_project import NOTHING, START, Project, show, span
from tests.e2e.dashboard.hostile import INVISIBLE, MARKUP, TEXTS, assert_harmless, hostile_trace
from tests.support.waiting import until_while

pytestmark = pytest.mark.e2e
ELEMENTS_MAX = 1_500  # in the page, whatever the payload


@pytest.mark.parametrize(
    "text",
    [
        # test_dashboard_hostile_views.py has invisible characters, in a trace as well.
        pytest.param(text, id=name, marks=[pytest.mark.exhaustive] if text == INVISIBLE else [])
        for name, text in TEXTS.items()
    ],
)
def test_hostile_text_is_text_in_every_view(opened: Page, project: Project, text: str) -> None:
    page = opened
    trace = project.send("/traces", hostile_trace(text))["trace_id"]
    for of_span in ({}, {"span_id": span(1)["span_id"]}):
        score = {"trace_id": trace, "name": "quality", "value": "0.5", "reason": text} | of_span
        project.send("/evaluations/trace-scores", score | {"metadata": {"judge_kind": text}})
    main = page.get_by_role("main")
    page.goto(project.path(f"traces?environment={quote(text)}&peek={trace}"))
    expect(page.get_by_role("status").first).to_have_text("1 trace")
    expect(page.get_by_role("complementary")).to_contain_text(text)
    expect(page.get_by_role("table").or_(page.get_by_role("grid"))).to_contain_text(text)
    assert_harmless(page)
    show(page, project, "traces")
    filters = page.get_by_role("combobox", name="Filter traces")
    for field in ("env", "tag", "user", "session", "release", "model"):
        filters.fill(f"{field}:")
        expect(page.get_by_role("listbox", name="Filters")).to_contain_text(text)
        assert_harmless(page)
    for typed, offered in (("meta.te", "meta.tenant:"), ("meta.tenant:", "meta.tenant:<b>north")):
        filters.fill(typed)
        expect(page.get_by_role("option", name=offered)).to_be_visible()
    show(page, project, f"traces/{trace}")
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    expect(page.get_by_role("treegrid")).to_contain_text(text)
    assert_harmless(page)
    for tab in ("io", "details", "metadata", "scores", "raw"):
        show(page, project, f"traces/{trace}?span={span(1)['span_id']}&tab={tab}")
        expect(page.get_by_role("tabpanel")).to_contain_text(text)
        expect(page.get_by_role("group", name="Error", exact=True)).to_contain_text(text)
        assert_harmless(page)
    for number, way in ((1, "chat"), (1, "json"), (1, "raw"), (2, "text"), (2, "markdown")):
        show(page, project, f"traces/{trace}?span={span(number)['span_id']}&as={way}")
        expect(page.get_by_role("region", name="Input")).to_contain_text(
            "safe" if text == INVISIBLE else "hit=1"
        )
        assert_harmless(page)
    show(page, project, "sessions")
    page.get_by_role("link", name=text).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    expect(page.get_by_role("feed")).to_contain_text(text)
    assert_harmless(page)
    show(page, project, "users")
    expect(main).to_contain_text(text)
    assert_harmless(page)
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("combobox").fill(MARKUP)
    assert_harmless(page)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_names_of_projects_and_organizations_take_no_markup(
    dev_server: DevServer, text: str
) -> None:
    bearer = {"Authorization": f"Bearer {dev_server.environ['PANDAPROBE_TOKEN']}"}
    with dev_server.client(**bearer) as http:
        organization = http.get("/organizations").json()[0]["id"]
        for path in ("/organizations", f"/organizations/{organization}/projects"):
            assert http.post(path, json={"name": text}).status_code == 422
    with dev_server.client(**dev_server.headers | {"X-Project-Name": "onboarding"}) as http:
        body = {"name": "run", "started_at": START.isoformat(), "input": "@"}
        lone = json.dumps(body).replace('"@"', r'"\ud800"')
        answer = http.post("/traces", content=lone, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422  # JSON that no page could show as it was sent


# --- payloads ------------------------------------------------------------------------------------

WORD = 5 << 20
PAYLOADS = {
    "one word of 5 MB": json.dumps("x" * WORD),
    "markdown of 1 MB": json.dumps("[a](b " * 20_000 + "**_`" * 200_000),
    "an array of a million": f"[{','.join(map(str, range(1_000_000)))}]",
    "a million objects": f"[{','.join(['{}'] * 1_000_000)}]",
    "a long list of messages": json.dumps([{"role": "user", "content": "x"}] * 100_000),
    "900 levels": "[" * 900 + '{"deep": 1}' + "]" * 900,
    "900 levels of objects": '{"a":' * 900 + "1" + "}" * 900,
    "pairs of surrogates": r'{"\ud83d\ude00": "\ud83d\ude00 and 😀"}',
    "escapes": r'{"a": "\u0041\n\t\"\\", "a": 1.0, "__proto__": {"hit": 1}, "": 1e999}',
}  # fmt: skip
# The test below has the first one, and others are like the next ones.
REPEATED = (
    "an array of a million", "a million objects", "a long list of messages",
    "900 levels", "900 levels of objects", "markdown of 1 MB", "pairs of surrogates",
)  # fmt: skip
# Presses the buttons that show more, until none is there, and hashes what is shown. While the whole
# payload is loading, nothing is shown.
HASH_OF_ALL = """async ([box, labels]) => {
  const more = () => [...document.querySelectorAll(`${box} button`)]
    .find((one) => new RegExp(labels).test(one.textContent.trim()));
  for (let button; (button = more()); ) {
    button.click();
    await new Promise(requestAnimationFrame);
  }
  const text = document.querySelector(`${box} pre.raw .chars`)?.textContent ?? "";
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((one) => one.toString(16).padStart(2, "0")).join("");
}"""
# What the page does with a whole payload: pauses of a scan, and the longest text that is parsed.
COUNT = """() => {
  globalThis.pauses = 0, globalThis.parsed = 0;
  const pause = scheduler.yield.bind(scheduler), parse = JSON.parse;
  scheduler.yield = () => (pauses++, pause());
  JSON.parse = (text, ...more) => (parsed = Math.max(parsed, text.length), parse(text, ...more));
}"""
SLICE_STEPS = 100_000  # characters between two pauses, as in json-scan.ts
MORE = "^(Load all|Show all .* characters|Show the next .* characters)$"


@pytest.mark.slow
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(payload, id=name, marks=[pytest.mark.exhaustive] if name in REPEATED else [])
        for name, payload in PAYLOADS.items()
    ],
)
def test_hostile_payload_is_shown_in_parts_and_whole(
    opened: Page, project: Project, payload: str
) -> None:
    page = opened
    body = json.dumps(span(1, input="@", output="small")).replace('"@"', payload)
    trace = f'{{"name": "large", "started_at": "{START.isoformat()}", "spans": [{body}]}}'
    sent = project.send("/traces", trace)
    where = f"traces/{sent['trace_id']}?span={span(1)['span_id']}"
    page.goto(project.path(where))
    box = page.get_by_role("region", name="Input")
    expect(page.get_by_role("region", name="Output")).to_contain_text("small")
    expect(box.get_by_role("button", name="Raw")).to_be_visible()
    ways = box.get_by_role("button", name=re.compile("^(JSON|Text|Markdown|Chat|Raw)$"))
    for way in ways.all_inner_texts():  # Raw is the last one
        button = box.get_by_role("button", name=way, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("document.getElementsByTagName('*').length") <= ELEMENTS_MAX
        assert_harmless(page)
    expect(box.locator("pre.raw")).to_be_visible()

    # The raw view has each byte.
    whole = hashlib.sha256(payload.encode()).hexdigest()
    until_while(
        project.server.process,
        lambda: page.evaluate(HASH_OF_ALL, [".payload[aria-label=Input]", MORE]),
        lambda shown: shown == whole,
    )
    assert page.evaluate("({}).hit") is None


@pytest.mark.exhaustive  # only another build can break it
def test_a_million_numbers_are_scanned_in_slices(opened: Page, project: Project) -> None:
    """Work is counted, since times say nothing on a busy machine: `make bench` has the tasks."""
    page = opened
    payload = PAYLOADS["an array of a million"]
    body = json.dumps(span(1, input="@")).replace('"@"', payload)
    trace = f'{{"name": "large", "started_at": "{START.isoformat()}", "spans": [{body}]}}'
    sent = project.send("/traces", trace)
    page.goto(project.path(NOTHING))
    page.evaluate(COUNT)
    show(page, project, f"traces/{sent['trace_id']}?span={span(1)['span_id']}")
    box = page.get_by_role("region", name="Input")
    before = page.evaluate("pauses")
    box.get_by_role("button", name="Load all").click()
    box.get_by_role("button", name="JSON", exact=True).click()
    expect(box.get_by_role("group", name="Input", exact=True)).to_contain_text("99: 99")
    assert page.evaluate("pauses") - before >= len(payload) // SLICE_STEPS
    box.get_by_role("searchbox").fill("777777")
    expect(box.locator(".found")).to_have_text("777777: 777777")
    box.get_by_role("button", name="before").click()
    expect(box).to_contain_text("777600: 777600")
    assert page.evaluate("document.getElementsByTagName('*').length") <= ELEMENTS_MAX
    assert page.evaluate("parsed") < len(payload) // 10
