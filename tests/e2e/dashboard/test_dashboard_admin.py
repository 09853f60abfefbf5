"""Keys, people, data of a project, public links, and the palette, in Chromium."""

import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import DevServer, Poll, all_completed
from tests.e2e.dashboard.dashboard_project import START, Project, span
from tests.support.waiting import until_while

pytestmark = pytest.mark.e2e


def status_with(server: DevServer, key: str) -> int:
    with server.client(**{"X-API-Key": key}) as http:
        return http.get("/me/find", params={"id": str(uuid.uuid4())}).status_code


def test_key_is_made_rotated_and_revoked(
    signed_in: Page,
    project: Project,
    dev_server: DevServer,
    take_screenshot: Callable[[str], None],
) -> None:
    page, name = signed_in, project.name
    page.goto(f"{dev_server.url}/app/o/{project.organization}/keys")
    page.get_by_role("button", name="New API key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    # A selection of text may end outside the dialog, which stays.
    box = dialog.get_by_label("Name").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(2, 2)
    page.mouse.up()
    dialog.get_by_role("checkbox", name="read everything").check()
    dialog.get_by_label("Expires").select_option("90d")
    dialog.get_by_label("Project").select_option(label=name)
    dialog.get_by_role("button", name="Make the key").click()
    shown = dialog.locator("code").first
    expect(shown).to_have_text(re.compile(r"^pp_[0-9a-f]{64}$"))
    expect(dialog).to_contain_text("export PANDAPROBE_API_KEY=pp_")
    old = shown.inner_text()
    dialog.get_by_role("button", name="I have copied it").click()
    assert status_with(dev_server, old) == 200
    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("send and change traces, read everything")
    row.get_by_role("button", name="Rotate").click()
    dialog.get_by_role("button", name="Rotate").click()
    expect(shown).to_have_text(re.compile(r"^pp_"))
    expect(dialog).to_have_accessible_name(f"The key {name}")
    new = shown.inner_text()
    dialog.get_by_role("button", name="I have copied it").click()
    expect(row).to_have_count(2)
    row.filter(has_text=old[:10]).get_by_role("button", name="Revoke").click()
    dialog.get_by_role("button", name="Revoke").click()
    expect(row.filter(has_text="revoked")).to_have_count(1)
    take_screenshot("keys")
    until_while(dev_server.process, lambda: status_with(dev_server, old) == 401)
    assert status_with(dev_server, new) == 200
    page.get_by_role("link", name="Audit log").click()
    page.get_by_label("Action").fill("api_key.rotated")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row").filter(has_text=name).first).to_contain_text("api key rotated")
    expect(page).to_have_url(re.compile("action=api_key\\.rotated"))
    take_screenshot("audit")


SCROLLED_PX: Final = "one => one.scrollWidth - one.clientWidth"


@pytest.mark.exhaustive  # only another build can break it
def test_navigation_names_the_organization_of_the_page(
    signed_in: Page, project: Project, dev_server: DevServer
) -> None:
    """A long name is cut: neither the navigation nor a dialog with it scrolls sideways."""
    page, name = signed_in, f"Organization {'of many words ' * 8}{project.name}"
    token = dev_server.environ["PANDAPROBE_TOKEN"]
    with dev_server.client(Authorization=f"Bearer {token}") as http:
        other = http.post("/organizations", json={"name": name}).json()["id"]
    navigation = page.get_by_role("navigation", name="Main")
    for organization in (other, project.organization):
        page.goto(f"{dev_server.url}/app/o/{organization}/members")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        link = navigation.locator(".organization")
        expect(link).to_have_attribute("href", f"/app/o/{organization}/members")
        expect(link).to_have_attribute("aria-current", "page")
        assert navigation.evaluate(SCROLLED_PX) == 0
    page.goto(f"{dev_server.url}/app?all=1")
    page.get_by_role("button", name="New project …").click()
    dialog = page.get_by_role("dialog", name="New project")
    expect(dialog.get_by_label("Organization")).to_contain_text(name)
    assert dialog.evaluate(SCROLLED_PX) == 0


def test_trace_is_shown_by_a_public_link_until_it_is_revoked(
    signed_in: Page,
    project: Project,
    dev_server: DevServer,
    take_screenshot: Callable[[str], None],
) -> None:
    page, url = signed_in, dev_server.url
    step = span(
        1, name="look up", input={"q": "sek-rit"}, output="found", status="ERROR", error="E"
    )
    sent = {"name": "answers", "started_at": START.isoformat(), "input": "sek-rit", "spans": [step]}
    trace = project.send("/traces", sent | {"user_id": "sek-user"})["trace_id"]
    page.goto(f"{url}/app/o/{project.organization}/sharing")
    page.get_by_role("switch").click()
    expect(page.get_by_role("switch")).to_be_checked()
    page.goto(project.path(f"traces/{trace}"))
    expect(page.get_by_role("treegrid")).to_be_visible()
    page.keyboard.press("Shift+Y")
    dialog = page.get_by_role("dialog", name="Share the trace")
    links: list[str] = []
    for is_masked in (True, False):
        dialog.get_by_role("checkbox", name="Without inputs").set_checked(is_masked)
        dialog.get_by_role("button", name="Make a public link").click()
        expect(dialog.get_by_role("listitem")).to_have_count(len(links) + 1)
        links.append(dialog.get_by_role("link").get_attribute("href") or "")
        take_screenshot("share")
    assert len({*links}) == 2
    stranger = page.context.browser
    assert stranger is not None
    with stranger.new_context() as context:  # without the session
        reader = context.new_page()
        for link, is_masked in zip(links, (True, False), strict=True):
            answer = reader.goto(link)
            assert answer is not None
            assert answer.headers["x-robots-tag"] == "noindex"
            assert answer.headers["referrer-policy"] == "no-referrer"
            expect(reader.get_by_role("heading", level=1)).to_have_text("answers")
            reader.get_by_role("row").filter(has_text="look up").click()
            expect(reader.get_by_role("heading", level=2, name="look up")).to_be_visible()
            if folder := os.environ.get("SCREENSHOTS"):
                reader.screenshot(path=Path(folder) / f"shared-{is_masked}.png")
                reader.set_viewport_size({"width": 390, "height": 844})
                reader.screenshot(path=Path(folder) / f"shared-{is_masked}-phone.png")
            text = reader.get_by_role("main")
            if is_masked:
                expect(text).to_contain_text("This link leaves out")
                assert "sek-rit" not in reader.content()
            else:
                expect(text).to_contain_text("sek-rit")
            assert "sek-user" not in reader.content()
        reader.goto(project.path(f"traces/{trace}"))
        expect(reader.get_by_role("button", name="Continue as developer")).to_be_visible()
        dialog.get_by_role("button", name="Revoke").first.click()
        expect(dialog.get_by_role("listitem")).to_have_count(1)
        reader.goto(links[1])
        expect(reader.get_by_text("doesn’t work any more")).to_be_visible()
        page.goto(f"{url}/app/o/{project.organization}/sharing")
        page.get_by_role("switch").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Forbid and revoke all").click()
        expect(page.get_by_role("switch")).not_to_be_checked()
        reader.goto(links[0])
        expect(reader.get_by_text("doesn’t work any more")).to_be_visible()


def test_data_is_imported_erased_and_checked(
    signed_in: Page,
    project: Project,
    poll: Poll,
    tmp_path: Path,
    take_screenshot: Callable[[str], None],
) -> None:
    page = signed_in
    page.goto(project.path("data?tab=imports"))
    ids = [str(uuid.uuid4()) for _ in range(2)]
    lines = [
        {
            "trace_id": id_,
            "name": f"imported {n}",
            "started_at": START.isoformat(),
            "user_id": "ada",
        }
        for n, id_ in enumerate(ids)
    ]
    file = tmp_path / "traces.ndjson"
    file.write_text("\n".join(map(json.dumps, [*lines, {"name": "without an id"}])) + "\n")
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("3 lines, 2 stored, 0 unchanged, 1 refused")).to_be_visible()
    expect(page.get_by_role("table", name="Refused lines")).to_contain_text("trace_id")
    take_screenshot("imports")
    page.get_by_role("link", name="Retention").click()
    page.get_by_label("Delete traces after").fill("3")
    expect(page.get_by_text("2 traces started before")).to_be_visible()
    page.get_by_role("link", name="Exports", exact=True).click()
    page.get_by_role("button", name="Export all traces").click()
    poll("/traces/exports", all_completed(1))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    exported = download.value.path().read_text().splitlines()
    assert sorted(json.loads(line)["trace_id"] for line in exported) == sorted(ids)
    project.send("/erasures", {"user_id": "ada"})
    page.get_by_role("link", name="Erasures").click()
    page.get_by_text("user, ").click()
    page.get_by_label("Id of the user").fill("ada")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Checked: nothing is left.")).to_be_visible()
    take_screenshot("erasures")


@pytest.mark.exhaustive  # only another build can break it
def test_palette_finds_what_is_elsewhere(
    signed_in: Page, project: Project, dev_server: DevServer, take_screenshot: Callable[[str], None]
) -> None:
    page, url = signed_in, dev_server.url
    sent = {"name": "answers", "started_at": START.isoformat(), "session_id": f"s/{project.name}"}
    trace = project.send("/traces", sent)["trace_id"]
    page.goto(f"{url}/app/me")
    expect(page.get_by_text("this one")).to_be_visible()
    page.get_by_label("Density").select_option("compact")
    take_screenshot("me")
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("combobox").fill(trace.replace("-", ""))
    page.get_by_role("option", name=f"in {project.name}").click()
    expect(page.get_by_role("treegrid")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"^{re.escape(project.path(f'traces/{trace}'))}(\?|$)"))
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("combobox").fill("answ")
    expect(page.get_by_role("option", name="Trace answers")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto(f"{url}/app/go/session/{sent['session_id'].replace('/', '%2F')}")
    expect(page.get_by_role("feed")).to_contain_text("answers")
    page.goto(f"{url}/app/go/trace/{uuid.uuid4()}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("None of your projects")


@pytest.mark.exhaustive  # only another build can break it
def test_audit_log_shows_details_whole(
    signed_in: Page, project: Project, dev_server: DevServer
) -> None:
    page = signed_in
    erasure = f"/erasures/{project.send('/erasures', {'user_id': 'nobody'})['id']}"
    until_while(dev_server.process, lambda: project.read(erasure)["state"] == "REMOVED")
    page.goto(f"{dev_server.url}/app/o/{project.organization}/audit?action=erasure.finished")
    detail = page.get_by_text("receipt_sha256: ").first
    expect(detail).to_be_visible()
    assert detail.evaluate("one => one.scrollWidth <= one.clientWidth")
