"""Each page of a project while the service is away: it says so, keeps what it has, and recovers."""

import re
from collections.abc import Sequence
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from entrypoints.dashboard import SOURCES
from tests.e2e.dashboard.dashboard_project import FOLLOW, Project
from tests.e2e.dashboard.every_page import PAGES, fill

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
# A list, a trace, a form, and what is polled.
USUAL: Final = ("traces", "traces/:trace", "runs/new", "runs/:of/:run")


@pytest.fixture
def sent(project: Project) -> dict[str, str]:
    """The ids of what the pages show."""
    return fill(project)


class Service:
    """The service as the page reaches it; while it is away, every connection is refused."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.is_away = False
        page.route("**/*", self._answer)

    def settle(self) -> None:
        """Lets time pass: what is asked again has been, and was answered or not."""
        for _ in range(4):
            self._page.clock.run_for(2_500)

    def _answer(self, route: Route) -> None:
        if self.is_away:
            route.abort("connectionrefused")
        else:
            route.continue_()


def test_every_page_is_tried() -> None:
    table = (SOURCES / "src" / "pages.tsx").read_text()
    assert set(re.findall(r'^\s*(?:\{ )?path: "([^"]*)"', table, re.MULTILINE)) == set(PAGES)


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param(USUAL, id="usual"),
        pytest.param(tuple(PAGES), id="all", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.usefixtures("fast_forward")  # the clock of the page
def test_pages_recover_by_themselves(
    signed_in: Page, project: Project, sent: Any, pages: Sequence[str]
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    page.goto(project.path("../../?all=1"))
    expect(main.get_by_role("link", name=project.name)).to_be_visible()
    service = Service(page)
    for where, ready in map(PAGES.__getitem__, pages):
        check_recovery(page, service, project.path(where.format_map(sent)), ready(main))


def check_recovery(page: Page, service: Service, url: str, ready: Locator) -> None:
    main = page.get_by_role("main")
    away = main.get_by_text("The service does not answer.")
    loading = main.get_by_text(re.compile("^Loading"))
    palette = page.get_by_role("dialog", name="Commands")
    # It is opened while the service is away.
    service.is_away = True
    page.evaluate(FOLLOW, url)
    expect(away, url).to_be_visible()
    service.settle()
    expect(loading, url).to_have_count(0)
    service.is_away = False
    service.settle()
    expect(ready, url).to_be_visible()
    service.settle()
    expect(loading, url).to_have_count(0)
    expect(away, url).to_have_count(0)
    expect(main.get_by_role("alert"), url).to_have_count(0)
    # The service ends while it is open: the next thing that is asked for shows it.
    service.is_away = True
    page.keyboard.press("Control+k")
    # Closing the palette cancels what it asks for, so that has to fail first.
    with page.expect_event("requestfailed"):
        palette.get_by_role("combobox").fill("something")
        service.settle()
    page.keyboard.press("Escape")  # clears the text,
    page.keyboard.press("Escape")  # and closes
    expect(palette).to_have_count(0)
    expect(away, url).to_be_visible()
    service.settle()
    expect(ready, url).to_be_visible()
    expect(main.get_by_role("alert"), url).to_have_count(0)
    service.is_away = False
    service.settle()
    expect(away, url).to_have_count(0)
    expect(ready, url).to_be_visible()


def test_page_without_its_scripts_says_so(signed_in: Page, project: Project) -> None:
    """While two versions serve, the page may be of one, and its scripts be asked of the other."""
    page = signed_in
    page.route("**/app/assets/chunk-*.js", lambda route: route.fulfill(status=404))
    page.goto(project.path("traces"))
    expect(page.get_by_text("This page couldn’t be loaded.")).to_be_visible()
