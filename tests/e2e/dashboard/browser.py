"""A headless Chromium or Chrome of this machine, driven by Playwright."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

WAIT_MAX_MS: Final = 60_000  # for a condition on a page; a loaded machine takes its time
# The old headless mode, a program of its own: the same engine without windows and what belongs to
# them. The tests of the dashboard take three quarters of the processor time in it.
HEADLESS: Final = ("chromium-headless-shell", "chrome-headless-shell")
WHOLE: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS: Final = ["--no-proxy-server", "--disable-gpu", "--disable-dev-shm-usage"]
VIEWPORT: Final[ViewportSize] = {"width": 1280, "height": 720}  # that of a new page
REFUSED: Final = "Failed to load resource: "  # how the console begins to report an answer of 4xx


def executable() -> str | None:
    return _first_of(*HEADLESS, *WHOLE)


def whole_browser() -> str | None:
    """The browser that people use, for figures and pictures."""
    return _first_of(*WHOLE, *HEADLESS)


def _first_of(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


@dataclass
class PageLog:
    """The requests of a page so far, and what the browser reported about it."""

    requested: list[str] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)  # without answers of 4xx

    def _add_request(self, request: Request) -> None:
        self.requested.append(request.url)

    def _add_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(REFUSED):
            self.reported.append(message.text)

    def _add_error(self, error: Error) -> None:
        self.reported.append(str(error))

    @contextmanager
    def watching(self, page: Page) -> Iterator[None]:
        page.on("request", self._add_request)
        page.on("console", self._add_message)
        page.on("pageerror", self._add_error)
        yield
        page.remove_listener("request", self._add_request)
        page.remove_listener("console", self._add_message)
        page.remove_listener("pageerror", self._add_error)


@contextmanager
def started(program: str) -> Iterator[Browser]:
    """The browser. Its driver occupies this thread's event loop: no coroutine runs meanwhile."""
    expect.set_options(timeout=WAIT_MAX_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=FLAGS,
            chromium_sandbox=os.geteuid() != 0,  # root has none
            timeout=WAIT_MAX_MS,
        )
        yield browser
        browser.close()


@contextmanager
def opened_context(browser: Browser) -> Iterator[BrowserContext]:
    """A context that shares nothing with others: no cookie, no cache, no storage."""
    with browser.new_context() as context:
        context.set_default_timeout(WAIT_MAX_MS)
        yield context


@contextmanager
def without_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Lets coroutines run while a browser waits to be used again; gives the loop of its driver."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield loop
    finally:
        asyncio._set_running_loop(loop)


@contextmanager
def within_loop(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Lets a browser be used within `without_loop`."""
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


def leave(page: Page) -> None:
    """Ends what a page shows; nothing but its storage remains for what it loads next.

    Asked for by the page itself, an empty page stays in the same process of the browser. `goto`
    starts another one, and so does the next page.
    """
    if page.url != "about:blank":  # or what is loaded next could end before this has
        page.evaluate("location.replace('about:blank')")
        page.wait_for_url("about:blank")


VERIFIER: Final = "pp.verifier"  # its key in the local storage
RESET: Final = f"""for (const name of Object.keys(localStorage))
  if (name !== "{VERIFIER}") localStorage.removeItem(name);
sessionStorage.clear();"""


class SignedInPage:
    """A page of many tests that stays signed in: it has the files of the dashboard in its cache.

    A new page, with a process of its own, would take as much time as a short test. What tests leave
    is removed: further pages, preferences, permissions, routes. A test may end the session.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser, self._url = browser, url
        self._page: Page | None = None
        self._headers: dict[str, str] = {}

    def get(self) -> Page:
        if self._page is not None:
            sessions = f"{self._url}/me/sessions"
            answer = self._page.context.request.get(sessions, headers=self._headers)
            if answer.status != HTTPStatus.OK:
                self.drop()
        if self._page is None:
            self._page = self._signed_in()
        return self._page

    def clean(self) -> None:
        """After a test."""
        page = self._page
        if page is not None and page.url.startswith(self._url):
            try:
                self._reset(page)
            except Error:  # such as a page that has crashed
                self.drop()
        else:
            self.drop()

    def _reset(self, page: Page) -> None:
        context = page.context
        page.unroute_all(behavior="ignoreErrors")
        page.evaluate(RESET)
        leave(page)
        page.mouse.move(0, 0)
        page.set_viewport_size(VIEWPORT)
        page.emulate_media(
            color_scheme="light", reduced_motion="no-preference", forced_colors="none"
        )
        for one in context.pages:
            if one is not page:
                one.close()
        context.clear_permissions()
        context.set_offline(False)

    def drop(self) -> None:
        """The next test gets another page, in another context."""
        if self._page is not None:
            self._page.context.close()
            self._page = None

    def _signed_in(self) -> Page:
        context = self._browser.new_context()
        context.set_default_timeout(WAIT_MAX_MS)
        page = context.new_page()
        page.goto(self._url)
        page.get_by_role("button", name="Continue as developer").press("Enter")
        expect(page.get_by_role("navigation")).to_be_visible()
        verifier = page.evaluate(f"localStorage.getItem('{VERIFIER}')")
        self._headers = {"X-Session-Verifier": verifier, "Sec-Fetch-Site": "same-origin"}
        page.goto("about:blank")
        return page
