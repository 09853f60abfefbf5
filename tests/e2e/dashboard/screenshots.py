"""Takes the pictures of docs/dashboard.md, in docs/images: `make screenshots`.

Starts a `dev` of its own with generated traces. The traces and the clock of the page are always the
same, so that a second run gives nearly the same pictures.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, expect

from adapters.embedded.process import free_port
from tests.e2e.conftest import DevServer, start_dev
from tests.e2e.dashboard.browser import started, whole_browser
from tests.support.waiting import WAIT_MAX_S

IMAGES: Final = Path(__file__).parents[3] / "docs" / "images"
NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
TRACES: Final = "3000"
PROJECT: Final = "demo"
BYTES_MAX: Final = 150_000  # of one picture


def seed(server: DevServer) -> None:
    command = [sys.executable, "-m", "entrypoints.cli", "seed", "--traces", TRACES]
    command += ["--until", NOW.isoformat(), "--project", PROJECT]
    environ = os.environ | {"PANDAPROBE_DATA_DIR": str(server.folder)}
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)


def score(server: DevServer) -> str:
    """Adds scores to the first page of the list; returns the id of the project."""
    headers = server.headers | {"X-Project-Name": PROJECT}
    with server.client(**headers) as http:
        items = http.get("/traces?limit=40").json()["items"]
        for number, trace in enumerate(items):
            for name in ("helpful", "grounded")[: 1 + number % 2]:
                value = str((37 * number + 11 * len(name)) % 100 / 100)
                body = {"trace_id": trace["trace_id"], "name": name, "value": value}
                body["metadata"] = {"threshold": 0.5}
                assert http.post("/evaluations/trace-scores", json=body).status_code == 201
        project: str = http.get(f"/traces/{items[0]['trace_id']}").json()["project_id"]
    return project


def traces(page: Page, base: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 580})  # more rows would be too many bytes
    page.goto(f"{base}/traces")
    expect(page.get_by_role("link").nth(20)).to_be_visible()


def overview(page: Page, base: str) -> None:
    page.goto(f"{base}?period=30d")
    expect(page.get_by_role("figure").nth(3)).to_be_visible()


def trace(page: Page, base: str) -> None:
    """A failed trace, with the conversation of a model call."""
    page.goto(f"{base}/traces?has_error=true&status=ERROR&sort_by=latency")
    links = page.locator("a[href*='/traces/']")
    expect(links.first).to_be_visible()
    page.goto(f"http://{page.url.split('/')[2]}{links.nth(2).get_attribute('href')}")
    grid = page.get_by_role("treegrid")
    expect(grid).to_be_visible()
    page.keyboard.press("e")
    expect(page.get_by_role("tabpanel")).to_be_visible()


def conversation(page: Page, base: str) -> None:
    page.goto(f"{base}/sessions?sort_by=trace_count")
    links = page.locator("a[href*='/sessions/']")
    expect(links.first).to_be_visible()
    page.goto(f"http://{page.url.split('/')[2]}{links.first.get_attribute('href')}")
    expect(page.get_by_role("feed")).to_be_visible()


def phone(page: Page, base: str) -> None:
    page.set_viewport_size({"width": 390, "height": 700})
    trace(page, base)


PICTURES: Final[dict[str, Callable[[Page, str], None]]] = {
    "overview": overview,
    "traces": traces,
    "trace": trace,
    "trace-dark": trace,
    "conversation": conversation,
    "phone": phone,
}


def main() -> int:
    program = whole_browser()
    if program is None:
        print("no Chromium or Chrome is installed", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pandaprobe-pictures-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = start_dev(folder, free_port())
        try:
            seed(server)
            base = f"{server.url}/app/p/{score(server)}"
            with started(program) as browser:
                for picture, show in PICTURES.items():
                    scheme = "dark" if picture.endswith("-dark") else "light"
                    with browser.new_context(
                        viewport={"width": 1280, "height": 640},
                        color_scheme=scheme,
                        reduced_motion="reduce",
                        timezone_id="UTC",
                        locale="en-GB",
                    ) as context:
                        page = context.new_page()
                        page.clock.set_fixed_time(NOW)
                        page.goto(server.url)
                        page.get_by_role("button", name="Continue as developer").click()
                        expect(page.get_by_role("navigation")).to_be_visible()
                        show(page, base)
                        page.wait_for_load_state("networkidle")
                        path = IMAGES / f"dashboard-{picture}.png"
                        page.screenshot(path=path, animations="disabled", caret="hide")
                        assert path.stat().st_size <= BYTES_MAX, f"{path} is too large"
        finally:
            server.process.terminate()
            server.process.wait(WAIT_MAX_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
