"""A headless Chromium or Chrome of this machine, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

WAIT_MAX_MS: Final = 60_000  # for a condition on a page; a loaded machine takes its time
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS: Final = ["--no-proxy-server", "--disable-gpu", "--disable-dev-shm-usage"]
REFUSED: Final = "Failed to load resource: "  # how the console begins to report an answer of 4xx


def executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class PageLog:
    """The requests of a page so far, and what the browser reported about it."""

    requested: list[str] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)  # without answers of 4xx

    def _add_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(REFUSED):
            self.reported.append(message.text)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", self._add_message)
        page.on("pageerror", lambda error: self.reported.append(str(error)))


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


VERIFIER: Final = "pp.verifier"  # its key in the local storage
RESET: Final = f"""for (const name of Object.keys(localStorage))
  if (name !== "{VERIFIER}") localStorage.removeItem(name);"""


class SignedInContext:
    """A context of several tests that stays signed in: the next page finds the files in its cache.

    What tests leave in it is removed: pages, preferences, permissions. A test may end the session.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser, self._url = browser, url
        self._context: BrowserContext | None = None
        self._headers: dict[str, str] = {}

    def get(self) -> BrowserContext:
        if self._context is not None:
            sessions = f"{self._url}/me/sessions"
            if self._context.request.get(sessions, headers=self._headers).status != 200:
                self.close()
        if self._context is None:
            self._context = self._signed_in()
        return self._context

    def clean(self, page: Page) -> None:
        """After a test, on its page."""
        context = page.context
        if page.url.startswith(self._url):
            page.evaluate(RESET)
        else:
            self._context = None
        for one in context.pages:
            one.close()
        context.clear_permissions()
        context.set_offline(False)
        if self._context is None:
            context.close()

    def leave(self) -> None:
        """The next test gets another context; the page that has this one closes it."""
        self._context = None

    def close(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None

    def _signed_in(self) -> BrowserContext:
        context = self._browser.new_context()
        context.set_default_timeout(WAIT_MAX_MS)
        page = context.new_page()
        page.goto(self._url)
        page.get_by_role("button", name="Continue as developer").press("Enter")
        expect(page.get_by_role("navigation")).to_be_visible()
        verifier = page.evaluate(f"localStorage.getItem('{VERIFIER}')")
        self._headers = {"X-Session-Verifier": verifier, "Sec-Fetch-Site": "same-origin"}
        page.close()
        return context
