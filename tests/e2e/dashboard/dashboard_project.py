"""A project of its own for a test of the dashboard, and the traces that the test sends to it."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.e2e.conftest import DevServer

START: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)


def span(number: int, **fields: Any) -> dict[str, Any]:
    started = START + timedelta(milliseconds=number)
    return {
        "span_id": f"00000000-0000-4000-8000-{number:012x}",
        "name": f"step {number}",
        "kind": "TOOL",
        "status": "OK",
        "started_at": started.isoformat(),
        "ended_at": (started + timedelta(milliseconds=5)).isoformat(),
        **fields,
    }


class Project:
    """A project of its own, and the traces that a test sends to it."""

    def __init__(self, server: "DevServer") -> None:
        # Without vowels, so that tests find no word of theirs in the names of all projects.
        self.name = f"dashboard-{''.join(secrets.choice('bcdfghjkmnpqrtvwxz') for _ in range(8))}"
        self.server = server
        # That of the key. Other tests on this server make more organizations.
        oldest = min(self.organizations(), key=lambda one: one["created_at"])
        self.organization = oldest["id"]
        with self._person() as http:
            path = f"/organizations/{self.organization}/projects"
            created = http.post(path, json={"name": self.name})
            self.id = created.json()["id"]

    def _person(self) -> httpx.Client:
        token = self.server.environ["PANDAPROBE_TOKEN"]
        return self.server.client(Authorization=f"Bearer {token}")

    def organizations(self) -> list[dict[str, Any]]:
        """The organizations of the developer."""
        with self._person() as http:
            found: list[dict[str, Any]] = http.get("/organizations").json()
        return found

    def change(self, path: str, body: Any) -> Any:
        return self.send(path, body, method="PUT")

    def send(self, path: str, body: Any, method: str = "POST") -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        headers = self.server.headers | {
            "X-Project-Name": self.name,
            "Content-Type": "application/json",
        }
        with self.server.client(**headers) as http:
            answer = http.request(method, path, content=text)
        assert answer.is_success, answer.text
        return answer.json()

    def read(self, path: str) -> Any:
        with self.server.client(**self.server.headers | {"X-Project-Name": self.name}) as http:
            answer = http.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def path(self, page: str) -> str:
        return f"{self.server.url}/app/p/{self.id}/{page}"


NOTHING: Final = "nothing"  # the path of no view
# As a link within the dashboard does.
FOLLOW: Final = "(url) => history.pushState(null, '', url)"


def show(page: Page, project: Project, path: str) -> None:
    """Goes to a view as its links do; loads it on a page that isn't in the dashboard.

    Loading each view would take half a second of a processor more. On the way is a page that has
    nothing, so that no part of the view before can be taken for one of this view.
    """
    if not page.url.startswith(project.server.url):
        page.goto(project.path(path))
        return
    nothing = page.get_by_text("No page has this address")
    page.keyboard.press("Escape")
    page.evaluate(FOLLOW, project.path(NOTHING))
    expect(nothing).to_be_visible()
    if path != NOTHING:
        page.evaluate(FOLLOW, project.path(path))
        expect(nothing).to_have_count(0)
