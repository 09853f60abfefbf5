"""Where the focus is, and what is announced, as pages, dialogs and menus come and go."""

import re
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, ViewportSize, expect

from tests.e2e.dashboard.browser import opened_context
from tests.e2e.dashboard.dashboard_project import START, Project, span

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}


def conversation(project: Project) -> str:
    """Sends a session of three traces; returns the id of the last one."""
    for turn in range(3):
        started = START + timedelta(minutes=turn)
        sent = project.send(
            "/traces",
            {
                "name": f"turn {turn}",
                "session_id": "talk",
                "started_at": started.isoformat(),
                "ended_at": (started + timedelta(seconds=1)).isoformat(),
                "input": {"messages": [{"role": "user", "content": "why"}]},
                "spans": [span(turn)],
            },
        )
    trace: str = sent["trace_id"]
    return trace


@pytest.mark.exhaustive  # only another build can break it
def test_focus_is_kept_as_people_sign_in_and_out(browser: Browser, project: Project) -> None:
    with opened_context(browser) as context:
        page = context.new_page()
        page.goto(project.path("sessions"))
        button = page.get_by_role("button", name="Continue as developer")
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
        title = f"Sessions · {project.name} · PandaProbe"
        expect(main_of(page, title)).to_be_focused()
        found = page.get_by_label("Find a session")
        found.focus()
        context.clear_cookies()
        page.keyboard.type("a")
        expect(page.get_by_text("The session has ended")).to_be_visible()
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
        expect(found).to_be_focused()
        page.get_by_role("button", name="Sign out").press("Enter")
        expect(page.get_by_text("The session has ended")).to_have_count(0)
        expect(button).to_be_focused()


def main_of(page: Page, title: str) -> Locator:
    return page.get_by_role("main", name=title)


def test_page_that_a_link_opens_has_the_focus_and_its_title(
    signed_in: Page, project: Project
) -> None:
    page = signed_in
    trace = conversation(project)
    page.goto(project.path("users"))
    expect(page.get_by_role("heading", name="Users")).to_be_visible()
    page.get_by_role("link", name="Sessions", exact=True).press("Enter")
    expect(main_of(page, f"Sessions · {project.name} · PandaProbe")).to_be_focused()
    page.get_by_role("link", name="talk").press("Enter")
    expect(main_of(page, f"talk · Session · {project.name} · PandaProbe")).to_be_focused()
    page.goto(project.path(f"traces?peek={trace}"))
    expect(page).to_have_title(f"turn 2 · Traces · {project.name} · PandaProbe")
    page.keyboard.press("Escape")
    expect(page).to_have_title(f"Traces · {project.name} · PandaProbe")
    page.get_by_role("link", name="turn 0").press("Enter")
    expect(page.get_by_role("treegrid")).to_be_focused()
    page.goto(project.path("nothing"))
    expect(page).to_have_title("No page has this address · PandaProbe")


@pytest.mark.exhaustive  # only another build can break it
@pytest.mark.parametrize(
    ("list_", "address", "title"),
    [
        ("/traces", "traces?peek={}", "Traces"),
        ("/sessions/talk/turns", "sessions/talk?turn={}", "talk · Session"),
    ],
)
def test_trace_closes_by_escape_while_the_list_loads(
    signed_in: Page, project: Project, list_: str, address: str, title: str
) -> None:
    page = signed_in
    page.route(lambda url: urlsplit(url).path == list_, lambda _: None)  # no answer
    page.goto(project.path(address.format(conversation(project))))
    trace = page.get_by_role("complementary", name="Selected trace")
    expect(trace.get_by_role("treegrid")).to_be_visible()
    page.keyboard.press("Escape")
    expect(trace).to_have_count(0)
    expect(page).to_have_title(f"{title} · {project.name} · PandaProbe")


@pytest.mark.exhaustive  # only another build can break it
def test_turns_of_a_conversation_take_the_focus(signed_in: Page, project: Project) -> None:
    page = signed_in
    conversation(project)
    page.goto(project.path("sessions/talk"))
    turns = page.get_by_role("feed").get_by_role("article", name="Turn")
    expect(turns).to_have_count(3)
    page.keyboard.press("j")
    expect(page.get_by_role("article", name="Turn 1, turn 0")).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("article", name="Turn 2, turn 1")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="turn 1")).to_be_focused()


@pytest.mark.exhaustive  # only another build can break it
def test_dialog_shows_and_tells_what_was_done(signed_in: Page, project: Project) -> None:
    """All outside of a dialog is behind it, and hidden from screen readers."""
    page = signed_in
    trace = conversation(project)
    page.context.grant_permissions(["clipboard-write"])
    page.goto(project.path(f"traces/{trace}"))
    expect(page.get_by_role("treegrid")).to_be_focused()
    page.keyboard.press("Shift+Y")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Copy the link to what you see").press("Enter")
    notice = page.get_by_text("Copied the link")
    expect(dialog.locator("[aria-live]", has=notice)).to_be_in_viewport(ratio=1)
    expect(notice).to_have_count(1)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("treegrid")).to_be_focused()
    expect(notice).to_be_visible()


@pytest.mark.exhaustive  # only another build can break it
def test_focus_goes_on_in_the_page_if_nothing_opened_a_dialog(
    signed_in: Page, project: Project
) -> None:
    page = signed_in
    conversation(project)
    page.goto(project.path("traces?dialog=export"))
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("main")).to_be_focused()


@pytest.mark.exhaustive  # only another build can break it
def test_focus_goes_to_the_next_column_if_one_is_hidden(signed_in: Page, project: Project) -> None:
    page = signed_in
    conversation(project)
    page.goto(project.path("traces"))
    page.get_by_role("button", name="Column Latency").press("Enter")
    page.get_by_role("menuitem", name="Hide").press("Enter")
    expect(page.get_by_role("button", name="Column Latency")).to_have_count(0)
    expect(page.get_by_role("button", name="Column Errors")).to_be_focused()


@pytest.mark.exhaustive  # only another build can break it
def test_pages_on_a_phone_open_and_close_by_keyboard(signed_in: Page, project: Project) -> None:
    page = signed_in
    conversation(project)
    page.set_viewport_size(PHONE)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile(r"/traces\?"), hold)
    page.goto(project.path("traces"))
    button = page.get_by_role("button", name="Traces", exact=True)
    sign_out = page.get_by_role("button", name="Sign out")
    users = page.get_by_role("link", name="Users")
    button.press("Enter")
    expect(users).to_be_visible()
    expect(sign_out).to_be_visible()
    for route in held:
        route.continue_()
    page.unroute_all()
    expect(page.get_by_role("link", name="turn 0")).to_be_visible()  # with its keys
    page.keyboard.press("Escape")
    expect(users).to_be_hidden()
    expect(button).to_be_focused()
    button.press("Enter")
    users.press("Enter")
    expect(main_of(page, "Users")).to_be_focused()
    expect(sign_out).to_be_hidden()


@pytest.mark.exhaustive  # only another build can break it
def test_help_has_the_keys_of_the_tree(signed_in: Page, project: Project) -> None:
    page = signed_in
    page.goto(project.path(f"traces/{conversation(project)}"))
    expect(page.get_by_role("treegrid")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Previous, next row")
