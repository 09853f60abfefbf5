"""A headless Chromium or Chrome of this machine, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

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
def opened_page(browser: Browser) -> Iterator[Page]:
    """An empty page that shares nothing with others: no cookie, no cache, no storage."""
    with browser.new_context() as context:
        context.set_default_timeout(WAIT_MAX_MS)
        yield context.new_page()
