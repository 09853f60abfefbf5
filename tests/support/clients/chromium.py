"""A headless Chromium, driven over the DevTools protocol through a pair of pipes."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WAIT_MAX_S = 30
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Becomes the command, with the pipes where Chromium looks for them and nothing else open.
AT_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 5) for end in sys.argv[1:3]]
for place, end in enumerate(ends, 3):
    os.dup2(end, place)
os.closerange(5, 1024)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(Exception):
    """The browser refused a command, or its page went away meanwhile."""


@dataclass
class Browser:
    """Commands out, answers and events in: JSON, each with a zero byte behind it."""

    commands: int
    answers: int
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    events: list[dict[str, Any]] = field(default_factory=list)
    unread: bytes = b""

    def command(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a DevTools command. Raises BrowserError."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT_MAX_S
        while True:
            answer = self._received(deadline)
            if answer.get("id") != number:
                self.events.append(answer)
            elif "error" in answer:
                raise BrowserError(f"{method}: {answer['error']['message']}")
            else:
                result: dict[str, Any] = answer["result"]
                return result

    def _received(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser doesn't answer"
            part = os.read(self.answers, 1 << 20)
            assert part, "the browser ended"
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def page(self) -> "Page":
        """A new page."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.command(f"{domain}.enable")
        return page


@dataclass
class Page:
    browser: Browser
    session: str

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.command(method, self.session, **params)

    def open(self, url: str) -> None:
        assert "errorText" not in self.command("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is; a promise is awaited. Raises BrowserError."""
        done = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            raise BrowserError(json.dumps(done["exceptionDetails"]))
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a JavaScript condition holds, on this page or on the one that follows it."""
        look = f"() => {{ try {{ return {condition} }} catch {{ return false }} }}"
        until = (
            f"new Promise((done) => {{ const look = {look}; const end = Date.now() + 5000;"
            "const again = () => look() || Date.now() > end ? done(look()) : setTimeout(again, 20);"
            "again(); })"
        )
        deadline = time.monotonic() + WAIT_MAX_S
        while time.monotonic() < deadline:
            try:
                if self.value(until):
                    return
            except BrowserError:  # it went to another page meanwhile
                continue
        raise AssertionError(f"never came true: {condition}\n{self.text()}")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.value("document.body.innerText"))

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.command("Input.insertText", text=text)

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def tab(self) -> str:
        """Goes on to the next control; what it is called."""
        self.press("Tab", 9)
        return str(self.value("document.activeElement.id || document.activeElement.textContent"))

    def enter(self) -> None:
        self.press("Enter", 13, "\r")

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def requested(self) -> list[str]:
        """The addresses of all requests so far."""
        return [
            one["params"]["request"]["url"]
            for one in self.browser.events
            if one.get("sessionId") == self.session and one["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """What the browser found wrong with the page, refused requests aside."""
        return [
            one["params"]["entry"]["text"]
            for one in self.browser.events
            if one.get("sessionId") == self.session
            and one["method"] == "Log.entryAdded"
            and one["params"]["entry"]["source"] != "network"
        ]

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path, width: int = 900, height: int = 760) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        taken = self.command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def running(program: str) -> Iterator[Browser]:
    """A browser with a profile of its own, gone with it at the end."""
    profile = tempfile.mkdtemp(prefix="pandaprobe-chromium-")
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    flags = [
        "--headless=new",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", AT_3_AND_4, str(read_commands), str(write_answers)),
            *(program, *flags),
        ],
        pass_fds=(read_commands, write_answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        browser = Browser(commands, answers)
        yield browser
        browser.command("Browser.close")
    finally:
        try:
            process.wait(WAIT_MAX_S / 3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(commands)
        os.close(answers)
        shutil.rmtree(profile, ignore_errors=True)
